package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Changes of everything beside a virtual server, and of what in it takes effect with
// the next request, leave its connections alone: an upgraded one, one in the middle of
// a response, a stream, and one over TLS that waits for its next request.
func TestAChangeDisturbsNothingElse(t *testing.T) {
	p := newPlane(t)
	echo := lineServer(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	more := make(chan string)
	web := addr(backend(t, "web", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/upgrade":
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			rw.Flush()
			_, _ = io.Copy(conn, rw)
		case "/long":
			for piece := range more {
				fmt.Fprintln(w, piece)
				w.(http.Flusher).Flush()
			}
		default:
			fmt.Fprint(w, "fine")
		}
	}))
	ports := make(map[string]int)
	for _, name := range []string{"web", "stream", "secure", "beside", "new"} {
		ports[name] = freePort(t)
	}
	key, _ := selfSigned(t, "a")
	other, _ := selfSigned(t, "b")
	site := func(change ...func(*VirtualServer)) *VirtualServer {
		return aServer(ports["secure"], "app", append([]func(*VirtualServer){func(v *VirtualServer) { v.SSLDecrypt, v.ServerCertDefault = true, "key" }}, change...)...)
	}
	p.Apply(Update{
		ServerKeys: map[string]*ServerKey{"key": key, "other": other},
		Pools:      map[string]*Pool{"app": aPool(web), "echo": aPool(echo), "beside": aPool(web)},
		VirtualServers: map[string]*VirtualServer{
			"web": aServer(ports["web"], "app"), "secure": site(), "beside": aServer(ports["beside"], "beside"),
			"stream": aServer(ports["stream"], "echo", func(v *VirtualServer) { v.Protocol = "client_first" }),
		},
	})
	stream := bufio.NewReadWriter(both(dialPort(t, ports["stream"])))
	upgraded := bufio.NewReadWriter(both(dialPort(t, ports["web"])))
	long := bufio.NewReadWriter(both(dialPort(t, ports["web"])))
	secure := bufio.NewReadWriter(both(tls.Client(dialPort(t, ports["secure"]), &tls.Config{InsecureSkipVerify: true})))
	send := func(c *bufio.ReadWriter, text string) {
		fmt.Fprint(c, text)
		c.Flush()
	}
	lines := func(c *bufio.ReadWriter, end string) {
		t.Helper()
		for line := ""; line != end; {
			var err error
			if line, err = c.ReadString('\n'); err != nil {
				t.Fatalf("waiting for %q: %v", end, err)
			}
		}
	}
	send(upgraded, "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	lines(upgraded, "\r\n")
	send(long, "GET /long HTTP/1.1\r\nHost: h\r\n\r\n")
	more <- "begun"
	lines(long, "begun\n")
	talk := func(text string) {
		t.Helper()
		send(stream, text+"\n")
		lines(stream, text+"\n")
		send(upgraded, text+"\n")
		lines(upgraded, text+"\n")
		more <- text
		lines(long, text+"\n")
		send(secure, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		res, err := http.ReadResponse(secure.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "fine" {
			t.Fatalf("%q, %v", body, err)
		}
	}
	talk("before")
	for name, u := range map[string]Update{
		"another virtual server": {VirtualServers: map[string]*VirtualServer{"new": aServer(ports["new"], "app")}},
		"one is deleted":         {VirtualServers: map[string]*VirtualServer{"beside": nil}, Pools: map[string]*Pool{"beside": nil}},
		"a group":                {TrafficIPGroups: map[string]*TrafficIPGroup{"group": {Enabled: true, IPAddresses: []string{"127.0.0.77"}}}},
		"rules":                  {Rules: map[string]*Rule{"rule": {Source: `http.setHeader("X", "y");`}, "bad": {Source: "("}}},
		"a monitor and a class":  {Monitors: map[string]*Monitor{"m": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 3}}, Persistence: map[string]*Persistence{"c": {Type: "ip"}}},
		"a key":                  {ServerKeys: map[string]*ServerKey{"key": other, "other": nil}},
		"a node more":            {Pools: map[string]*Pool{"app": aPool(web, refusing(t)), "echo": aPool(echo, refusing(t))}},
		"what the next request sees": {VirtualServers: map[string]*VirtualServer{
			"web":    aServer(ports["web"], "app", func(v *VirtualServer) { v.RequestRules, v.AddXForwardedFor = []string{"rule"}, true }),
			"secure": site(func(v *VirtualServer) { v.RequestRules, v.Timeout = []string{"rule"}, time.Minute }),
		}},
		"what the next connection sees": {VirtualServers: map[string]*VirtualServer{
			"web":    aServer(ports["web"], "app", func(v *VirtualServer) { v.KeepaliveTimeout = 20 * time.Second }),
			"secure": site(func(v *VirtualServer) { v.HTTP2.Enabled, v.ConnectTimeout = false, 5*time.Second }),
		}},
	} {
		p.Apply(u)
		talk("after " + strings.ReplaceAll(name, " ", "-"))
	}
	close(more)
}

func both(c net.Conn) (*bufio.Reader, *bufio.Writer) { return bufio.NewReader(c), bufio.NewWriter(c) }

// Requests that a client sends at once are answered in turn, each by itself; what is
// behind one that ends the connection is not carried out.
func TestPipelinedRequestsAreAnsweredInTurn(t *testing.T) {
	var asked []string // one at a time
	p, port := one(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.URL.Path)
		fmt.Fprintf(w, "%s %s.", r.URL.Path, body)
	}, func(v *VirtualServer) { v.RequestRules = []string{"rule"} })
	p.Apply(Update{Rules: map[string]*Rule{"rule": {Source: `
		if (http.getPath() == "/slow") { connection.sleep(100); }
		if (http.getPath() == "/drop") { connection.discard(); }
		if (http.getPath() == "/own") { http.sendResponse(200, "text/plain", "own.", ""); }`}}})
	const end = "\r\nHost: h\r\n\r\n"
	for _, c := range []struct{ name, sent, got string }{
		{"all kinds", "GET /slow HTTP/1.1" + end + "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + "GET /own HTTP/1.1" + end +
			"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + "GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + "GET /never HTTP/1.1" + end,
			"/slow ./a hello.own./b abc./c ."},
		{"a refused one", "GET /a HTTP/1.1" + end + "GET /b HTTP/1.1\r\nHost : h\r\n\r\n" + "GET /never HTTP/1.1" + end, "/a ."},
		{"a discarded one", "GET /a HTTP/1.1" + end + "GET /drop HTTP/1.1" + end + "GET /never HTTP/1.1" + end, "/a ."},
	} {
		asked = nil
		conn := dialPort(t, port)
		fmt.Fprint(conn, c.sent)
		got, in := "", bufio.NewReader(conn)
		for {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if res.StatusCode == 200 {
				got += string(body)
			}
		}
		conn.Close()
		if got != c.got || strings.Contains(strings.Join(asked, " "), "/never") {
			t.Errorf("%s: got %q, want %q; the node was asked for %v", c.name, got, c.got, asked)
		}
	}
}
