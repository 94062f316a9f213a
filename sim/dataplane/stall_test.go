package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Clients and nodes that stall at each point of an exchange: that request ends,
// with the answer and at the time that the settings say, an event tells of it,
// and the next client is served.
func TestWhoStallsEndsThatRequestAlone(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
	for _, c := range []struct {
		what   string
		client string // what it sends before it stalls
		node   string // what the node sends before it stalls; "-": nothing, and it closes
		status int    // 0: closed without an answer
		cut    bool   // the answer's body is cut off
		after  time.Duration
		told   string
	}{
		{"a client that sends nothing", "", "", 0, false, 10 * time.Second, "headers"},
		{"a client within its request line", "GET / HT", "", 0, false, 10 * time.Second, "headers"},
		{"a client within its headers", "GET / HTTP/1.1\r\nHost: h\r\nX", "", 0, false, 10 * time.Second, "headers"},
		{"a client before its body", post, "", http.StatusRequestTimeout, false, 20 * time.Second, "no data was received"},
		{"a client within its body", post + "1234", "", http.StatusRequestTimeout, false, 20 * time.Second, "no data was received"},
		{"a client within a chunk's size", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4", "", http.StatusRequestTimeout, false, 20 * time.Second, "no data was received"},
		{"a node before its answer", head, "", http.StatusGatewayTimeout, false, 30 * time.Second, "did not reply in time"},
		{"a node within its status line", head, "HTTP/1.1 200", http.StatusGatewayTimeout, false, 30 * time.Second, "did not reply in time"},
		{"a node within its headers", head, "HTTP/1.1 200 OK\r\nX: ", http.StatusGatewayTimeout, false, 30 * time.Second, "did not reply in time"},
		{"a node within its body", head, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234", 200, true, 20 * time.Second, "no data was received"},
		{"a node between its headers and its body", head, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 0, false, 20 * time.Second, "no data was received"},
		{"a node within a chunk", head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n12", 200, true, 20 * time.Second, "no data was received"},
		{"a node that closes at once", head, "-", http.StatusServiceUnavailable, false, 0, "no node is available"},
		{"a node that answers nonsense", head, "nonsense\r\n\r\n", http.StatusServiceUnavailable, false, 0, "no node is available"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWeb(t)
			w.listen("10.8.0.1:80", func(conn net.Conn) {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Hour))
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err != nil || c.node == "-" {
					return
				}
				fmt.Fprint(conn, c.node)
				_, _ = io.Copy(io.Discard, r)
			})
			w.node("10.8.0.2:80", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "fine") })
			w.d.Apply(Update{
				Pools: map[string]*Pool{"bad": aPool("10.8.0.1:80"), "good": aPool("10.8.0.2:80")},
				Rules: map[string]*Rule{"route": {Source: `if (http.getPath() == "/good") { pool.use("good"); }`}},
				VirtualServers: map[string]*VirtualServer{"web": aServer(80, "bad", func(v *VirtualServer) {
					v.RequestRules, v.Timeout = []string{"route"}, 20*time.Second
				})},
			})
			conn := w.dial("10.9.0.1:80")
			begun := time.Now()
			fmt.Fprint(conn, c.client)
			other, body := ask(t, w.client("other"), "GET", "http://10.9.0.1/good")
			if other.StatusCode != 200 || body != "fine" {
				t.Errorf("%s: another client got %d %q", c.what, other.StatusCode, body)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			switch {
			case c.status == 0:
				if err == nil {
					t.Errorf("%s: got %s", c.what, res.Status)
				}
			case err != nil || res.StatusCode != c.status:
				t.Errorf("%s: got %v, %v; want %d", c.what, res, err, c.status)
			default:
				if _, err := io.ReadAll(res.Body); (err != nil) != c.cut {
					t.Errorf("%s: the answer's body ended with %v", c.what, err)
				}
			}
			if took := time.Since(begun).Round(time.Second); took != c.after {
				t.Errorf("%s: it took %v, want %v", c.what, took, c.after)
			}
			w.wantTold("connfail", c.told)
			conn.Close()
			w.close()
		})
	}
}

// Who stalls in what comes before the exchange: the same.
func TestWhoStallsBeforeTheExchangeEndsAlone(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, c := range []struct {
		what   string
		client string // what it sends before it stalls
		server func(*VirtualServer)
		pool   func(*Pool)
		status int // 0: closed without an answer
		after  time.Duration
		tag    string
		told   string
	}{
		{"a client before its handshake", "", func(v *VirtualServer) { v.SSLDecrypt = true }, nil, 0, 10 * time.Second, "sslfail", "SSL handshake failed"},
		{"a client within its handshake", "\x16\x03\x01\x00\x50\x01", func(v *VirtualServer) { v.SSLDecrypt = true }, nil, 0, 10 * time.Second, "sslfail", "SSL handshake failed"},
		{"a client before its PROXY header", "", func(v *VirtualServer) { v.ProxyProtocol = true }, nil, 0, 10 * time.Second, "connfail", "PROXY"},
		{"a client within its PROXY header", "PROXY TCP4 192.0", func(v *VirtualServer) { v.ProxyProtocol = true }, nil, 0, 10 * time.Second, "connfail", "PROXY"},
		{"a node within its handshake", head, nil, func(p *Pool) { p.TLS.Enabled = true }, http.StatusServiceUnavailable, 4 * time.Second, "connfail", "no node is available"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWeb(t)
			w.listen("10.8.0.1:80", func(conn net.Conn) {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Hour))
				_, _ = io.Copy(io.Discard, conn)
			})
			w.node("10.8.0.2:80", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "fine") })
			stalls, others := aServer(80, "app"), aServer(81, "good")
			pool := aPool("10.8.0.1:80")
			if c.server != nil {
				c.server(stalls)
			}
			if c.pool != nil {
				c.pool(pool)
			}
			w.d.Apply(Update{
				Pools:          map[string]*Pool{"app": pool, "good": aPool("10.8.0.2:80")},
				VirtualServers: map[string]*VirtualServer{"stalls": stalls, "others": others},
			})
			conn := w.dial("10.9.0.1:80")
			begun := time.Now()
			fmt.Fprint(conn, c.client)
			if other, body := ask(t, w.client("other"), "GET", "http://10.9.0.1:81/"); other.StatusCode != 200 || body != "fine" {
				t.Errorf("%s: another client got %d %q", c.what, other.StatusCode, body)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if c.status == 0 && err == nil || c.status != 0 && (err != nil || res.StatusCode != c.status) {
				t.Errorf("%s: got %v, %v; want %d", c.what, res, err, c.status)
			}
			if took := time.Since(begun).Round(time.Second); took != c.after {
				t.Errorf("%s: it took %v, want %v", c.what, took, c.after)
			}
			w.wantTold(c.tag, c.told)
			conn.Close()
			w.close()
		})
	}
}

// A client that takes nothing holds up its node by what is buffered, not more.
func TestASlowClientHoldsUpItsNode(t *testing.T) {
	const whole = 64 << 20
	wrote := make(chan int, 1)
	_, port := one(t, func(w http.ResponseWriter, r *http.Request) {
		piece := []byte(strings.Repeat("x", 64<<10))
		sum := 0
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(time.Second))
		for sum < whole {
			n, err := w.Write(piece)
			sum += n
			if err != nil {
				break
			}
		}
		wrote <- sum
	})
	conn := dialPort(t, port)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if n := <-wrote; n >= whole {
		t.Errorf("the node could send all %d bytes to a client that reads nothing", n)
	}
}

// A client or a node that takes nothing of what is sent to it: that request ends with
// the virtual server's time-out, and an event tells of it. (Real sockets: those in
// memory take everything.)
func TestWhoTakesNothingEndsThatRequestAlone(t *testing.T) {
	for _, c := range []struct {
		who    string
		client string // what it sends
		node   string // how the node's answer begins; "": it takes nothing and says nothing
	}{
		{"a client", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"},
		{"a node", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n", ""},
	} {
		ended := make(chan error, 1)
		flood := func(conn net.Conn) error {
			for piece := make([]byte, 64<<10); ; {
				if _, err := conn.Write(piece); err != nil {
					return err
				}
			}
		}
		node := lineServer(t, func(conn net.Conn) {
			if c.node != "" {
				// What comes before the request is no answer to it.
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				fmt.Fprint(conn, c.node)
				ended <- flood(conn)
				return
			}
			<-t.Context().Done() // until the test ends, and not before the virtual server
		})
		p := newPlane(t)
		port := freePort(t)
		p.Apply(Update{
			Pools: map[string]*Pool{"app": aPool(node), "good": aPool(addr(backend(t, "fine")))},
			Rules: map[string]*Rule{"route": {Source: `if (http.getPath() == "/good") { pool.use("good"); }`}},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
				v.RequestRules, v.Timeout, v.LogClientFailures = []string{"route"}, 300*time.Millisecond, true
			})},
		})
		conn := dialPort(t, port)
		fmt.Fprint(conn, c.client)
		if c.node == "" {
			go func() { ended <- flood(conn) }()
		}
		p.want(testClient(t), at(port, "/good"), 200, "fine")
		if e := p.await("connfail", "no data was received", 1); e.Level != "WARN" {
			t.Errorf("%s: %v", c.who, e)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s took nothing, and all was sent", c.who)
		}
		p.want(testClient(t), at(port, "/good"), 200, "fine")
	}
}
