package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

// keeper keeps the connections that a virtual server accepted.
type keeper struct {
	outside.World
	accepted chan *net.TCPConn
}

func (k keeper) Listen(actor, network, address string) (net.Listener, error) {
	l, err := k.World.Listen(actor, network, address)
	return keptListener{l, k.accepted}, err
}

type keptListener struct {
	net.Listener
	accepted chan *net.TCPConn
}

func (l keptListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		l.accepted <- tcp
	}
	return c, err
}

func TestNagleIsOnWhereItIsSet(t *testing.T) {
	for _, nagle := range []bool{true, false} {
		accepted := make(chan *net.TCPConn, 1)
		p := newPlane(t, func(o *Options) { o.World = keeper{o.World, accepted} })
		port := freePort(t)
		p.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool(addr(backend(t, "b")))},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Nagle = nagle })},
		})
		p.want(testClient(t), at(port, "/"), 200, "b")
		raw, err := (<-accepted).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var noDelay int
		var optionErr error
		if err := raw.Control(func(fd uintptr) {
			noDelay, optionErr = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		}); err != nil || optionErr != nil {
			t.Fatal(err, optionErr)
		}
		if nagle != (noDelay == 0) {
			t.Errorf("nagle %v: TCP_NODELAY is %d", nagle, noDelay)
		}
	}
}

// TestClientsConnectionsEndAsTheVirtualServerSays: by FIN or RST, with a close alert
// or without.
func TestClientsConnectionsEndAsTheVirtualServerSays(t *testing.T) {
	for _, c := range []struct {
		rst, secure, alerts bool
		want                string
		rule                string
	}{
		{secure: true, alerts: true, want: "FIN", rule: "ssl.setClientCloseAlert(0);"},
		{secure: true, want: "close alert", rule: "ssl.setClientCloseAlert(1);"},
		{want: "FIN"}, {rst: true, want: "RST"},
		{secure: true, alerts: true, want: "close alert"}, {secure: true, want: "FIN"},
	} {
		t.Run(fmt.Sprint(c.want, c.secure, c.rule), func(t *testing.T) {
			_, port := secure(t, Update{Rules: map[string]*Rule{"rule": {Source: c.rule}}}, func(v *VirtualServer) {
				v.RequestRules = []string{"rule"}
				v.SSLDecrypt, v.TLS.SendCloseAlerts, v.CloseWithRST, v.Keepalive = c.secure, c.alerts, c.rst, false
			})
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			wire := &endingConn{Conn: conn}
			var data net.Conn = wire
			if c.secure {
				data = tls.Client(wire, &tls.Config{InsecureSkipVerify: true})
			}
			fmt.Fprint(data, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			_, err = io.Copy(io.Discard, data)
			got := "RST"
			switch {
			case err == nil && c.secure && wire.err == nil:
				got = "close alert"
			case errors.Is(wire.err, io.EOF):
				got = "FIN"
			}
			if got != c.want {
				t.Errorf("the connection ended by %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

func TestConnectionsBeyondTheMostAreRefusedAndTold(t *testing.T) {
	for _, protocol := range []string{"http", "server_first"} {
		p := newPlane(t)
		port := freePort(t)
		p.Apply(Update{
			Pools: map[string]*Pool{"app": aPool(addr(backend(t, "b")))},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
				v.Protocol, v.MaxConcurrentConnections, v.LogClientFailures = protocol, 2, true
			})},
		})
		dial := func() net.Conn {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		first := dial()
		dial()
		third := dial()
		e := p.await("connfail", "max_concurrent_connections is reached", 1)
		if e.Level != "WARN" {
			t.Errorf("%s: told as %s", protocol, e.Level)
		}
		_ = third.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the third connection: %v", protocol, err)
		}
		first.Close()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // its place is free
			if s, _ := p.ServerStatistics("web"); s["current_conn"] < 2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a closed connection keeps its place")
			}
		}
		if got := say(t, "127.0.0.1", port, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); got != "200" {
			t.Errorf("%s: a connection in a free place got %s", protocol, got)
		}
	}
}

// What goes wrong is told always; where section log asks for it as a warning.
func TestSectionLogDecidesTheLevelOfFailures(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		level := map[bool]string{true: "WARN", false: "INFO"}[wanted]
		p := newPlane(t)
		server, handshake := freePort(t), freePort(t)
		key, _ := selfSigned(t, "k")
		logs := func(v *VirtualServer) {
			v.LogClientFailures, v.LogServerFailures, v.LogSSLFailures = wanted, wanted, wanted
		}
		p.Apply(Update{
			ServerKeys: map[string]*ServerKey{"k": key},
			Pools:      map[string]*Pool{"gone": aPool("127.0.0.1:1")},
			VirtualServers: map[string]*VirtualServer{
				"server": aServer(server, "gone", logs),
				"secure": aServer(handshake, "gone", logs, func(v *VirtualServer) { v.SSLDecrypt, v.ServerCertDefault = true, "k" }),
			},
		})
		p.want(testClient(t), at(server, "/"), 503, "")
		say(t, "127.0.0.1", handshake, "this is no handshake")
		for tag, section := range map[string]string{"connfail": "vservers/server", "sslfail": "vservers/secure"} {
			if e := p.await(tag, section, 1); e.Level != level {
				t.Errorf("%s of %s is told as %s, want %s", tag, section, e.Level, level)
			}
		}
	}
}

// With rules_on_connect the rules of a client-first protocol do not wait for data.
func TestRulesOnConnectDoNotWaitForData(t *testing.T) {
	for _, now := range []bool{true, false} {
		p := newPlane(t)
		port := freePort(t)
		p.Apply(Update{
			Rules: map[string]*Rule{"in": {Source: `log.info("rule with " . request.getLength() . " bytes");`}},
			Pools: map[string]*Pool{"app": aPool(lineServer(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))},
			VirtualServers: map[string]*VirtualServer{"v": aServer(port, "app", func(v *VirtualServer) {
				v.Protocol, v.RequestRules, v.RulesOnConnect = "client_first", []string{"in"}, now
			})},
		})
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := "rule with 5 bytes"
		if now {
			want = "rule with 0 bytes"
			p.await("rulelogmsginfo", want, 1)
		}
		fmt.Fprint(c, "hello")
		p.await("rulelogmsginfo", want, 1)
	}
}

// close_on_death cuts what a node that fails still serves.
func TestConnectionsToANodeThatDiesAreCutWhereThePoolSays(t *testing.T) {
	for _, cut := range []bool{true, false} {
		inBubble(t, func(b *bubble) {
			begun, goOn := make(chan bool), make(chan bool)
			stop := b.serve("10.8.0.1:80", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/long" {
					begun <- true
					<-goOn
				}
				fmt.Fprint(w, "whole")
			})
			defer stop()
			sick := func(sick bool) {
				regex := "whole"
				if sick {
					regex = "never"
				}
				b.Apply(Update{Monitors: map[string]*Monitor{"m": {Type: "http", Path: "/", BodyRegex: regex, Delay: time.Second, Timeout: time.Second, Failures: 1}}})
			}
			sick(false)
			b.Apply(Update{
				Pools:          map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) { p.Monitors, p.CloseOnDeath = []string{"m"}, cut })},
				VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")},
			})
			var got string
			var done sync.WaitGroup
			done.Go(func() {
				c := b.world.HTTPClient("client", nil)
				defer c.CloseIdleConnections()
				_, got = b.get(c, "/long")
			})
			<-begun
			sick(true)
			time.Sleep(5 * time.Second)
			if b.count("nodefail") != 1 {
				t.Errorf("the node has not failed")
			}
			close(goOn)
			done.Wait()
			if whole := got == "whole"; whole == cut {
				t.Errorf("close_on_death %v: the client got %q", cut, got)
			}
		})
	}
}

// A node that is taken out drains for node_drain_to_delete_timeout at most.
func TestARemovedNodeDrainsNoLongerThanItsTime(t *testing.T) {
	for _, limit := range []time.Duration{0, 10 * time.Second} {
		inBubble(t, func(b *bubble) {
			begun := make(chan bool, 9)
			stop := b.serve("10.8.0.1:80", func(w http.ResponseWriter, r *http.Request) {
				begun <- true
				select {
				case <-time.After(25 * time.Second):
					fmt.Fprint(w, "whole")
				case <-r.Context().Done():
				}
			})
			defer stop()
			pool := with(aPool("10.8.0.1:80"), func(p *Pool) { p.DeleteDrain, p.DrainTimeout = true, limit })
			b.Apply(Update{Pools: map[string]*Pool{"app": pool}, VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")}})
			began := time.Now()
			var got string
			var took time.Duration
			var done sync.WaitGroup
			done.Go(func() {
				c := b.world.HTTPClient("client", nil)
				defer c.CloseIdleConnections()
				_, got = b.get(c, "/")
				took = time.Since(began)
			})
			<-begun
			b.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(p *Pool) { p.Nodes = nil })}})
			done.Wait()
			switch {
			case limit == 0 && got != "whole":
				t.Errorf("without a limit the client got %q after %v", got, took)
			case limit > 0 && (got == "whole" || took < limit || took > limit+time.Second):
				t.Errorf("with %v the client got %q after %v", limit, got, took)
			}
		})
	}
}

// POST goes over a kept connection only where the pool allows that.
func TestNonIdempotentRequestsUseKeptConnectionsWhereAllowed(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		p := newPlane(t)
		port := freePort(t)
		node := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
		p.Apply(Update{
			Pools:          map[string]*Pool{"app": with(aPool(addr(node)), func(p *Pool) { p.KeepaliveNonIdempotent = allowed })},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
		})
		client := testClient(t)
		_, kept := get(client, at(port, "/"))
		res, err := client.Post(at(port, "/"), "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if same := string(body) == kept; same != allowed {
			t.Errorf("keepalive_non_idempotent %v: POST on the kept connection: %v", allowed, same)
		}
	}
}

func TestSessionsByAddressAreOfTheSubnetThatIsSet(t *testing.T) {
	p := &Persistence{PrefixV4: 24, PrefixV6: 56}
	for _, c := range [][3]string{
		{"10.1.2.3", "10.1.2.3", "10.1.2.0/24"}, {"2001:db8:1:2ff::1", "2001:db8:1:2ff::1", "2001:db8:1:200::/56"},
		{"::ffff:10.1.2.3", "10.1.2.3", "10.1.2.0/24"}, {"fe80::1%eth0", "fe80::1", "fe80::/56"},
	} {
		a := netip.MustParseAddr(c[0])
		if got := [2]string{subnet(a, &Persistence{}), subnet(a, p)}; got != [2]string{c[1], c[2]} {
			t.Errorf("%s: got %v, want %v", a, got, c[1:])
		}
	}
}
