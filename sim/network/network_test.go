package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"vtm-ingress/sim/network"
)

func TestConnectionsBehaveAsNetConnDemands(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		n := network.New(network.Options{Latency: time.Microsecond, Spread: time.Microsecond})
		w := n.World()
		l, err := w.Listen("server", "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		c1, err = w.Dial(t.Context(), "client", "tcp", l.Addr().String())
		if err != nil {
			return nil, nil, nil, err
		}
		c2, err = l.Accept()
		return c1, c2, n.Close, err
	})
}

// serve answers "hello" on address until the returned function is called.
func serve(t *testing.T, n *network.Network, address string) (stop func()) {
	t.Helper()
	l, err := n.World().Listen("server", "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		io.WriteString(w, "hello")
	})}
	done := make(chan struct{})
	go func() { server.Serve(l); close(done) }()
	return func() { server.Close(); <-done }
}

// run is a small busy world: clients that ask one server at the same instants,
// each also with parallel requests of its own. It returns the canonical trace.
func run(t *testing.T, seed uint64) string {
	var trace network.Trace
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: seed, Trace: &trace})
		stop := serve(t, n, "127.3.0.1:80")
		var clients sync.WaitGroup
		for c := range 5 {
			clients.Go(func() {
				client := n.World().HTTPClient(fmt.Sprint("client-", c), nil)
				defer client.CloseIdleConnections()
				for range 20 {
					var parallel sync.WaitGroup
					for i := range 3 {
						parallel.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), time.Second)
							defer cancel()
							body := strings.NewReader(fmt.Sprint("object-", i))
							r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.3.0.1/objects", body)
							response, err := client.Do(r)
							if err != nil {
								t.Error(err)
								return
							}
							io.Copy(io.Discard, response.Body)
							response.Body.Close()
						})
					}
					parallel.Wait()
					time.Sleep(time.Second)
				}
			})
		}
		clients.Wait()
		stop()
		n.Close()
		time.Sleep(2 * time.Minute) // transports' own goroutines end
	})
	return trace.Canonical()
}

func TestOneSeedGivesOneTrace(t *testing.T) {
	first := run(t, 1)
	if n := strings.Count(first, " POST /objects 200\n"); n != 300 {
		t.Fatalf("%d requests succeeded, want 300", n)
	}
	for range 10 {
		if again := run(t, 1); again != first {
			t.Fatal("the same seed gave another trace")
		}
	}
	if run(t, 2) == first {
		t.Fatal("another seed gave the same trace: the seed decides nothing")
	}
}

func TestNobodyListeningRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{})
		defer n.Close()
		_, err := n.World().Dial(t.Context(), "a", "tcp", "127.0.0.1:1")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestAnAddressIsTakenOnce(t *testing.T) {
	n := network.New(network.Options{})
	defer n.Close()
	l, err := n.World().Listen("a", "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.World().Listen("b", "tcp", "127.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
	l.Close()
	if _, err := n.World().Listen("b", "tcp", "127.0.0.1:80"); err != nil {
		t.Fatalf("after the first has closed: %v", err)
	}
}

func TestACutHoldsBackWhatHealingDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{})
		defer n.Close()
		l, err := n.World().Listen("server", "tcp", "127.3.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.World().Dial(t.Context(), "controller/a", "tcp", "127.3.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		n.Cut("controller/", "127.3.0.1")
		c.Write([]byte("late"))
		s.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := s.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("read across a cut")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.World().Dial(ctx, "controller/b", "tcp", "127.3.0.1:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("dialled across a cut: %v", err)
		}
		n.Heal("controller/", "127.3.0.1")
		s.SetReadDeadline(time.Now().Add(time.Second))
		b := make([]byte, 10)
		if k, err := s.Read(b); err != nil || string(b[:k]) != "late" {
			t.Fatalf("after healing: %q, %v", b[:k], err)
		}
		c.Close()
		s.Close()
	})
}

func TestRandNeverRepeatsItselfWithinARunAndAlwaysAcrossRuns(t *testing.T) {
	draw := func() (a, b [16]byte) {
		w := network.New(network.Options{Seed: 7}).World()
		io.ReadFull(w.Rand("uid"), a[:])
		io.ReadFull(w.Rand("uid"), b[:])
		return
	}
	a1, b1 := draw()
	a2, b2 := draw()
	if a1 == b1 {
		t.Error("two readers of one name gave the same bytes")
	}
	if a1 != a2 || b1 != b2 {
		t.Error("the same seed gave other bytes")
	}
}
