package network_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
)

// echo answers each datagram on address with itself, until the function that it
// returns is called.
func echo(t *testing.T, w outside.World, address string) (at string, stop func()) {
	t.Helper()
	c, err := w.ListenPacket("server", "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if _, err := c.WriteTo(b[:n], from); err != nil {
				t.Error(err)
			}
		}
	})
	return c.LocalAddr().String(), func() { c.Close(); done.Wait() }
}

// exchange sends text and returns what comes back within a second, or the error.
func exchange(c net.Conn, text string) (string, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 2048)
	n, err := c.Read(b)
	return string(b[:n]), err
}

func TestDatagramsBehaveAsThoseOfTheMachine(t *testing.T) {
	check := func(t *testing.T, w outside.World) {
		at, stop := echo(t, w, "127.0.0.1:0")
		dial := func() net.Conn {
			c, err := w.Dial(t.Context(), "client", "udp", at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		c, other := dial(), dial()
		if c.LocalAddr().String() == other.LocalAddr().String() || c.RemoteAddr().String() != at {
			t.Errorf("addresses: %v, %v -> %v", c.LocalAddr(), other.LocalAddr(), c.RemoteAddr())
		}
		for _, text := range []string{"hello", "", strings.Repeat("x", 1400)} {
			if got, err := exchange(c, text); err != nil || got != text {
				t.Errorf("%.10q came back as %.10q, %v", text, got, err)
			}
		}
		if _, err := c.Write(make([]byte, 70000)); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("a datagram that is too long: %v", err)
		}
		if _, err := w.ListenPacket("other", "udp", at); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("an address given twice: %v", err)
		}
		_ = other.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := other.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read behind its deadline: %v", err)
		}
		// A stranger's datagram does not reach a connected socket.
		l, err := w.ListenPacket("stranger", "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.WriteTo([]byte("forged"), c.LocalAddr()); err != nil {
			t.Error(err)
		}
		if got, err := exchange(c, "mine"); got != "mine" {
			t.Errorf("after a stranger's datagram: %q, %v", got, err)
		}
		stop()
		if _, err := exchange(c, "anybody?"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("when nobody listens any more: %v", err)
		}
		c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read after close: %v", err)
		}
		if _, err := c.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after close: %v", err)
		}
		again, stop := echo(t, w, at)
		defer stop()
		if again != at {
			t.Errorf("the address is %s, want %s again", again, at)
		}
	}
	t.Run("machine", func(t *testing.T) { check(t, outside.Real()) })
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := network.New(network.Options{Seed: 3})
			check(t, n.World())
			n.Close()
		})
	})
}

// datagrams sends 300 of them from three actors at the same instants and returns
// when each answer came, in order.
func datagrams(t *testing.T, seed uint64) (answers []string) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: seed, Loss: 100})
		defer n.Close()
		at, stop := echo(t, n.World(), "127.3.0.2:53")
		var mu sync.Mutex
		var clients sync.WaitGroup
		start := time.Now()
		for a := range 3 {
			clients.Go(func() {
				c, err := n.World().Dial(t.Context(), fmt.Sprint("client/", a), "udp", at)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				for i := range 100 {
					text, err := exchange(c, fmt.Sprint(a, "-", i))
					if err != nil {
						text = fmt.Sprint(a, "-", i, " lost")
					}
					mu.Lock()
					answers = append(answers, fmt.Sprint(time.Since(start), " ", text))
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		stop()
	})
	slices.Sort(answers)
	return answers
}

func TestOneSeedLosesAndDelaysTheSameDatagrams(t *testing.T) {
	first := datagrams(t, 5)
	lost := 0
	for _, a := range first {
		if strings.HasSuffix(a, "lost") {
			lost++
		}
	}
	// Both ways lose a tenth each.
	if lost < 30 || lost > 90 {
		t.Errorf("%d of 300 answers were lost, want about 57", lost)
	}
	for range 5 {
		if !slices.Equal(first, datagrams(t, 5)) {
			t.Fatal("the same seed gave other losses or delays")
		}
	}
	if slices.Equal(first, datagrams(t, 6)) {
		t.Error("another seed changes nothing")
	}
}

func TestACutLosesDatagramsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{})
		defer n.Close()
		_, stop := echo(t, n.World(), ":53")
		defer stop()
		c, err := n.World().Dial(t.Context(), "client", "udp", "127.3.0.2:53")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := func(text string, lost bool) {
			t.Helper()
			got, err := exchange(c, text)
			if lost != errors.Is(err, os.ErrDeadlineExceeded) || !lost && got != text {
				t.Errorf("%s: %q, %v", text, got, err)
			}
		}
		want("before", false)
		n.Cut("client", "127.3.0.2")
		want("meanwhile", true)
		n.Heal("client", "127.3.0.2")
		want("after", false)
		// A cut while the answer is on its way.
		n2 := network.New(network.Options{Latency: time.Second, Spread: time.Millisecond})
		defer n2.Close()
		_, stop2 := echo(t, n2.World(), "127.3.0.2:53")
		defer stop2()
		slow, err := n2.World().Dial(t.Context(), "client", "udp", "127.3.0.2:53")
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		io.WriteString(slow, "x")
		time.Sleep(1500 * time.Millisecond)
		n2.Cut("client", "127.3.0.2")
		_ = slow.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := slow.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("an answer crossed the cut: %v", err)
		}
	})
}
