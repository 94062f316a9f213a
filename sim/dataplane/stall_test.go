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
