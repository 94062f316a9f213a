package dataplane

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
)

// udpNode answers each datagram on an address, by answer or with its own name and
// the datagram.
func udpNode(t *testing.T, w outside.World, address, name string, answer func(request string) []string) (at string, stop func()) {
	t.Helper()
	c, err := w.ListenPacket("node/"+name, "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			answers := []string{name + " " + string(b[:n])}
			if answer != nil {
				answers = answer(string(b[:n]))
			}
			for _, a := range answers {
				if _, err := c.WriteTo([]byte(a), from); err != nil {
					t.Error(err)
				}
			}
		}
	})
	stop = func() { c.Close(); done.Wait() }
	t.Cleanup(stop)
	return c.LocalAddr().String(), stop
}

// udpClient sends datagrams from one port.
type udpClient struct {
	net.Conn
	t *testing.T
}

func newUDPClient(t *testing.T, w outside.World, actor, to string) udpClient {
	t.Helper()
	c, err := w.Dial(t.Context(), actor, "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return udpClient{c, t}
}

// next returns the next datagram; "" when none comes within limit.
func (c udpClient) next(limit time.Duration) string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(limit))
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%v", err)
	}
	return string(b[:n])
}

func (c udpClient) ask(text string) string {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Error(err)
	}
	return c.next(10 * time.Second)
}

func aUDPServer(port int, pool string, change ...func(*VirtualServer)) *VirtualServer {
	return aServer(port, pool, append([]func(*VirtualServer){func(v *VirtualServer) {
		v.Protocol = "udp"
		v.UDP = UDP{EndPointPersistence: true, Responses: 1, Timeout: 7 * time.Second}
	}}, change...)...)
}

// idle waits until no flow of a virtual server is left.
func (p *plane) idle(server string) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, _ := p.ServerStatistics(server); s["current_conn"] == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("flows do not end")
		}
	}
}

func TestDatagramsAreBalancedAndAnswered(t *testing.T) {
	p, w := newPlane(t), outside.Real()
	a, _ := udpNode(t, w, "127.0.2.1:0", "a", nil)
	b, _ := udpNode(t, w, "127.0.2.2:0", "b", nil)
	port := freePort(t)
	web := backend(t, "tcp")
	p.Apply(Update{
		Pools: map[string]*Pool{"app": aPool(a, b), "web": aPool(addr(web))},
		VirtualServers: map[string]*VirtualServer{
			"dns": aUDPServer(port, "app", func(v *VirtualServer) { v.Protocol = "dns" }),
			"web": aServer(port, "web"), // on the same port of TCP
		},
	})
	c := newUDPClient(t, w, "", fmt.Sprintf("127.0.0.1:%d", port))
	seen := make(map[string]int)
	for i := range 6 {
		text := strings.Repeat("x", i*10_000) // an empty one, too
		name, rest, _ := strings.Cut(c.ask(text), " ")
		if seen[name]++; rest != text {
			t.Errorf("%d bytes came back as %d", len(text), len(rest))
		}
		p.idle("dns") // one datagram was expected, and came
	}
	if seen["a"] != 3 || seen["b"] != 3 {
		t.Errorf("round robin gave %v", seen)
	}
	s, _ := p.ServerStatistics("dns")
	if s["total_dgram"] != 6 || s["total_requests"] != 6 || s["bytes_in"] != 150_000 || s["bytes_out"] != 150_000+6*2 {
		t.Errorf("counted %v", s)
	}
	p.want(testClient(t), at(port, "/"), 200, "tcp")

	// Gone with its port, and back.
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"dns": nil}})
	if l, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		l.Close()
	}
	p.want(testClient(t), at(port, "/"), 200, "tcp")
}

func TestRulesSeeDatagrams(t *testing.T) {
	p, w := newPlane(t), outside.Real()
	a, _ := udpNode(t, w, "127.0.2.1:0", "a", nil)
	b, _ := udpNode(t, w, "127.0.2.2:0", "b", nil)
	port := freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{"app": aPool(a), "other": aPool(b)},
		Rules: map[string]*Rule{
			"request": {Source: `$d = request.get();
if ($d == "who") { request.sendResponse("me"); }
if ($d == "drop") { connection.discard(); }
request.set($d . "!" . request.getLength());
if (string.startsWith($d, "other")) { pool.use("other"); }`},
			"response": {Source: `response.set("<" . response.get() . " from " . connection.getNode() . ">");`},
		},
		VirtualServers: map[string]*VirtualServer{"v": aUDPServer(port, "app", func(v *VirtualServer) {
			v.RequestRules, v.ResponseRules = []string{"request"}, []string{"response"}
			v.UDP.Responses = -1
		})},
	})
	for _, c := range []struct{ send, want string }{
		{"hello", "<a hello!5 from " + a + ">"},
		{"other", "<b other!5 from " + b + ">"},
		{"who", "me"},
	} {
		got := newUDPClient(t, w, "", fmt.Sprintf("127.0.0.1:%d", port)).ask(c.send)
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.send, got, c.want)
		}
	}
	c := newUDPClient(t, w, "", fmt.Sprintf("127.0.0.1:%d", port))
	io.WriteString(c, "drop")
	if got := c.ask("after"); !strings.HasPrefix(got, "<a after!5") {
		t.Errorf("behind a discarded datagram: got %q", got)
	}
}

func TestADatagramOfANodeThatRefusesGoesToAnother(t *testing.T) {
	p, w := newPlane(t), outside.Real()
	gone, stop := udpNode(t, w, "127.0.2.1:0", "gone", nil)
	stop()
	b, _ := udpNode(t, w, "127.0.2.2:0", "b", nil)
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": with(aPool(gone, b), func(p *Pool) { p.NodeConnectionAttempts = 2 }), "none": aPool(gone)},
		VirtualServers: map[string]*VirtualServer{"v": aUDPServer(port, "app")},
	})
	for range 4 {
		if got := newUDPClient(t, w, "", fmt.Sprintf("127.0.0.1:%d", port)).ask("x"); got != "b x" {
			t.Errorf("got %q", got)
		}
	}
	p.await("nodefail", gone, 1)
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"v": aUDPServer(port, "none")}})
	io.WriteString(newUDPClient(t, w, "", fmt.Sprintf("127.0.0.1:%d", port)), "x")
	p.await("connfail", "no node is available", 1)
}

// inUDPBubble runs test with a data plane in a bubble, whose virtual server 10.9.0.1:53
// has three nodes.
func inUDPBubble(t *testing.T, change func(*VirtualServer, *Pool), answer func(node string) func(string) []string, test func(t *testing.T, d *DataPlane, w outside.World)) {
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: 7})
		d := New(Options{World: net.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "10.9.0.1", PerClientTransports: true})
		pool := aPool()
		for i := range 3 {
			name := fmt.Sprint("n", i)
			var a func(string) []string
			if answer != nil {
				a = answer(name)
			}
			at, _ := udpNode(t, net.World(), fmt.Sprintf("10.8.0.%d:53", i+1), name, a)
			pool.Nodes = append(pool.Nodes, Node{Address: at, State: "active", Weight: 1, Priority: 1})
		}
		v := aUDPServer(53, "app")
		change(v, pool)
		d.Apply(Update{
			Persistence:    map[string]*Persistence{"ip": {Type: "ip", FailureMode: "new_node"}},
			Pools:          map[string]*Pool{"app": pool},
			VirtualServers: map[string]*VirtualServer{"v": v},
		})
		t.Cleanup(func() { d.Close(); net.Close() })
		test(t, d, net.World())
	})
}

func TestAFlowStaysOnItsNodeUntilNothingMoves(t *testing.T) {
	for _, protocol := range []string{"udp", "udpstreaming"} {
		t.Run(protocol, func(t *testing.T) {
			inUDPBubble(t, func(v *VirtualServer, _ *Pool) {
				if v.Protocol = protocol; protocol == "udp" {
					v.UDP.Responses = -1
				}
			}, nil, func(t *testing.T, d *DataPlane, w outside.World) {
				c := newUDPClient(t, w, "c", "10.9.0.1:53")
				for range 5 {
					if got := c.ask("x"); got != "n0 x" {
						t.Errorf("got %q", got)
					}
					time.Sleep(6900 * time.Millisecond) // of a time-out of 7 s
				}
				if got := newUDPClient(t, w, "d", "10.9.0.1:53").ask("x"); got != "n1 x" {
					t.Errorf("another client got %q", got)
				}
				time.Sleep(7 * time.Second)
				s, _ := d.ServerStatistics("v")
				if s["current_conn"] != 0 || s["udp_timed_out"] != 2 {
					t.Errorf("%d flows are left, and %d timed out, want 0 and 2", s["current_conn"], s["udp_timed_out"])
				}
				if got := c.ask("x"); got != "n2 x" {
					t.Errorf("a new flow got %q", got)
				}
			})
		})
	}
}

func TestAFlowEndsWithTheDatagramsThatAreExpected(t *testing.T) {
	three := func(node string) func(string) []string {
		return func(r string) []string { return []string{node + " 1", node + " 2", node + " 3"} }
	}
	for expected, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 3, -1: 3} {
		t.Run(fmt.Sprint(expected), func(t *testing.T) {
			inUDPBubble(t, func(v *VirtualServer, _ *Pool) { v.UDP.Responses = expected }, three, func(t *testing.T, d *DataPlane, w outside.World) {
				c := newUDPClient(t, w, "c", "10.9.0.1:53")
				io.WriteString(c, "x")
				got := 0
				for c.next(time.Second) != "" {
					got++
				}
				if got != want {
					t.Errorf("%d datagrams came, want %d", got, want)
				}
				if s, _ := d.ServerStatistics("v"); (s["current_conn"] == 0) != (expected >= 0) {
					t.Errorf("%d flows are left", s["current_conn"])
				}
			})
		})
	}
}

func TestWithoutEndPointPersistenceEachDatagramIsBalanced(t *testing.T) {
	for _, class := range []string{"", "ip"} {
		inUDPBubble(t, func(v *VirtualServer, p *Pool) {
			v.UDP.EndPointPersistence, v.UDP.Responses, p.PersistenceClass = false, -1, class
		}, nil, func(t *testing.T, d *DataPlane, w outside.World) {
			c := newUDPClient(t, w, "c", "10.9.0.1:53")
			var got []string
			for range 3 {
				got = append(got, c.ask("x"))
			}
			want := []string{"n0 x", "n1 x", "n2 x"}
			if class != "" { // the client's address has a session
				want = []string{"n0 x", "n0 x", "n0 x"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("persistence class %q: got %v", class, got)
			}
		})
	}
}

func TestANodeThatAnswersNoDatagramFails(t *testing.T) {
	silent := func(node string) func(string) []string {
		if node == "n0" {
			return func(string) []string { return nil }
		}
		return nil
	}
	inUDPBubble(t, func(_ *VirtualServer, p *Pool) {
		p.UDPResponseTimeout, p.NodeConnectionAttempts = 2*time.Second, 2
	}, silent, func(t *testing.T, d *DataPlane, w outside.World) {
		lost := 0
		for i := range 9 {
			c := newUDPClient(t, w, fmt.Sprint("c", i), "10.9.0.1:53")
			io.WriteString(c, "x")
			if c.next(5*time.Second) == "" {
				lost++
			}
		}
		if lost != 2 {
			t.Errorf("%d datagrams were not answered, want 2: then the node has failed", lost)
		}
		if s := d.State(); len(s.FailedNodes) != 1 || s.FailedNodes[0].Node != "10.8.0.1:53" {
			t.Errorf("failed nodes: %v", s.FailedNodes)
		}
	})
}

func TestAFloodOfDatagramsIsBounded(t *testing.T) {
	inUDPBubble(t, func(v *VirtualServer, _ *Pool) { v.MaxConcurrentConnections = 5; v.UDP.Responses = -1 }, nil, func(t *testing.T, d *DataPlane, w outside.World) {
		for i := range 20 {
			io.WriteString(newUDPClient(t, w, fmt.Sprint("c", i), "10.9.0.1:53"), "x")
		}
		time.Sleep(time.Second)
		if s, _ := d.ServerStatistics("v"); s["current_conn"] != 5 {
			t.Errorf("%d flows, want 5", s["current_conn"])
		}
	})
	// One client that sends more than is taken: one is with the rule, and 64 wait.
	inUDPBubble(t, func(v *VirtualServer, _ *Pool) { v.RequestRules, v.UDP.Responses = []string{"slow"}, -1 }, nil, func(t *testing.T, d *DataPlane, w outside.World) {
		d.Apply(Update{Rules: map[string]*Rule{"slow": {Source: `connection.sleep(1000);`}}})
		c := newUDPClient(t, w, "fast", "10.9.0.1:53")
		io.WriteString(c, "0123456789")
		time.Sleep(100 * time.Millisecond)
		for range 99 {
			io.WriteString(c, "0123456789")
		}
		answers := 0
		for c.next(5*time.Second) != "" {
			answers++
		}
		if s, _ := d.ServerStatistics("v"); answers != 65 || s["udp_bytes_in_dropped"] != 350 {
			t.Errorf("%d answers, and %d bytes dropped, want 65 and 350", answers, s["udp_bytes_in_dropped"])
		}
	})
}

func TestFlowsOfADeletedVirtualServerDrain(t *testing.T) {
	const at = "10.9.0.1:53"
	unlimited := func(v *VirtualServer, _ *Pool) { v.UDP.Responses = -1 }
	// begin has a flow of client c when its virtual server is deleted.
	begin := func(t *testing.T, d *DataPlane, w outside.World) udpClient {
		c := newUDPClient(t, w, "c", at)
		if got := c.ask("x"); got != "n0 x" {
			t.Errorf("got %q", got)
		}
		d.Apply(Update{VirtualServers: map[string]*VirtualServer{"v": nil}})
		return c
	}
	listen := func(w outside.World) error {
		conn, err := w.ListenPacket("another", "udp", at)
		if err == nil {
			conn.Close()
		}
		return err
	}
	t.Run("until nothing moves", func(t *testing.T) {
		inUDPBubble(t, unlimited, nil, func(t *testing.T, d *DataPlane, w outside.World) {
			c := begin(t, d, w)
			time.Sleep(5 * time.Second)
			if got := c.ask("y"); got != "n0 y" {
				t.Errorf("the flow got %q of its node", got)
			}
			other := newUDPClient(t, w, "d", at)
			io.WriteString(other, "x")
			if got := other.next(time.Second); got != "" {
				t.Errorf("a new client got %q", got)
			}
			if listen(w) == nil {
				t.Error("the port is free while a flow uses it")
			}
			time.Sleep(8 * time.Second)
			if err := listen(w); err != nil {
				t.Errorf("the last flow has ended: %v", err)
			}
		})
	})
	t.Run("for 30 s at most", func(t *testing.T) {
		inUDPBubble(t, unlimited, nil, func(t *testing.T, d *DataPlane, w outside.World) {
			c := begin(t, d, w)
			for range 5 {
				time.Sleep(5 * time.Second)
				if got := c.ask("y"); got != "n0 y" {
					t.Errorf("the flow got %q of its node", got)
				}
			}
			time.Sleep(6 * time.Second)
			if err := listen(w); err != nil {
				t.Errorf("after 31 s: %v", err)
			}
		})
	})
	t.Run("until the port is needed", func(t *testing.T) {
		inUDPBubble(t, unlimited, nil, func(t *testing.T, d *DataPlane, w outside.World) {
			c := begin(t, d, w)
			d.Apply(Update{VirtualServers: map[string]*VirtualServer{"next": aUDPServer(53, "app")}})
			if s := d.State(); len(s.Errors) > 0 {
				t.Errorf("the next virtual server: %v", s.Errors)
			}
			if got := c.ask("y"); got != "n1 y" {
				t.Errorf("the next virtual server answered %q", got)
			}
		})
	})
	t.Run("until the address moves", func(t *testing.T) {
		inUDPBubble(t, func(v *VirtualServer, p *Pool) {
			unlimited(v, p)
			v.ListenOnAny, v.ListenOnTrafficIPs = false, []string{"g"}
		}, nil, func(t *testing.T, d *DataPlane, w outside.World) {
			group := func(machine string) Update {
				return Update{TrafficIPGroups: map[string]*TrafficIPGroup{"g": {Enabled: true, IPAddresses: []string{"10.9.0.1"}, Machines: []string{machine}}}}
			}
			d.Apply(group("vtm-1"))
			begin(t, d, w)
			d.Apply(group("vtm-2"))
			if err := listen(w); err != nil {
				t.Errorf("the address is no longer this machine's: %v", err)
			}
		})
	})
}

func TestAnswersAreTakenFromWhomThePoolAccepts(t *testing.T) {
	const node, same, other = "10.8.1.1:53", "10.8.1.1:5353", "10.7.0.1:53"
	for _, c := range []struct{ from, mask, want string }{
		{"", "", node},
		{"dest_only", "", node},
		{"dest_ip_only", "", same},
		{"ip_mask", "10.7.0.0/16", other},
		{"ip_mask", "10.7.0.0/255.255.0.0", other},
		{"ip_mask", "10.8.0.0/16", same},
		{"ip_mask", "nonsense", node},
		{"all", "", other},
	} {
		t.Run(c.from+" "+c.mask, func(t *testing.T) {
			inUDPBubble(t, func(*VirtualServer, *Pool) {}, nil, func(t *testing.T, d *DataPlane, w outside.World) {
				sockets := make(map[string]net.PacketConn)
				for _, at := range []string{node, same, other} {
					conn, err := w.ListenPacket("node/"+at, "udp", at)
					if err != nil {
						t.Fatal(err)
					}
					sockets[at] = conn
				}
				var answering sync.WaitGroup
				answering.Go(func() {
					_, from, err := sockets[node].ReadFrom(make([]byte, 10))
					// The node itself is the last.
					for _, at := range []string{other, same, node} {
						if err == nil {
							_, err = sockets[at].WriteTo([]byte(at), from)
						}
						time.Sleep(time.Second)
					}
					if err != nil {
						t.Error(err)
					}
				})
				pool := aPool(node)
				pool.UDPAcceptFrom, pool.UDPAcceptMask = c.from, c.mask
				d.Apply(Update{Pools: map[string]*Pool{"app": pool}})
				if got := newUDPClient(t, w, "c", "10.9.0.1:53").ask("x"); got != c.want {
					t.Errorf("the answer of %q came, want that of %s", got, c.want)
				}
				answering.Wait()
				for _, conn := range sockets {
					conn.Close()
				}
			})
		})
	}
}
