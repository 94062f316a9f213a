package dataplane

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRequestsGoRoundTheNodes(t *testing.T) {
	p := newPlane(t)
	a, b, c := backend(t, "a"), backend(t, "b"), backend(t, "c")
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(a), addr(b), addr(c))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	p.await("vsstart", "vservers/web", 1)
	client := testClient(t)
	for _, want := range []string{"a", "b", "c", "a", "b", "c"} {
		p.want(client, at(port, "/"), 200, want)
	}
	stats, _ := p.PoolStatistics("app")
	for _, n := range stats.Nodes {
		if n.Counts["total_conn"] != 2 || n.Counts["failures"] != 0 {
			t.Errorf("node %s: %v; want 2 tries and no failure", n.Node, n.Counts)
		}
	}
	if s, ok := p.ServerStatistics("web"); !ok || s["total_requests"] != 6 || s["http2xx_responses"] != 6 || s["max_conn"] != 1 {
		t.Errorf("statistics of web: %v", s)
	}
}

func TestNodesSeeTheHeadersAsConfigured(t *testing.T) {
	p := newPlane(t)
	seen := make(chan http.Header, 1)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { seen <- r.Header })
	port := freePort(t)
	send := func(vs *VirtualServer) http.Header {
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": vs}})
		req, _ := http.NewRequest("GET", at(port, "/?a=1;b=2&%zz"), nil)
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		req.Header.Set("X-Forwarded-Proto", "https")
		req.Header.Set("X-Forwarded-Host", "evil")
		req.Header.Set("X-Cluster-Client-Ip", "192.0.2.2")
		req.Header.Set("Proxy-Connection", "keep-alive")
		res, err := testClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return <-seen
	}
	p.Apply(Update{Pools: map[string]*Pool{"app": aPool(addr(b))}})
	check := func(what string, h http.Header, want map[string]string) {
		t.Helper()
		for name, v := range want {
			if got := h.Get(name); got != v {
				t.Errorf("%s: %s is %q, want %q", what, name, got, v)
			}
		}
	}
	check("defaults", send(aServer(port, "app")), map[string]string{
		"X-Cluster-Client-Ip": "127.0.0.1", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "",
		"X-Forwarded-Host": "evil", "Proxy-Connection": "", "User-Agent": "Go-http-client/1.1",
	})
	check("adding all", send(aServer(port, "app", func(v *VirtualServer) { v.AddXForwardedFor, v.AddXForwardedProto = true, true })),
		map[string]string{"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Proto": "http"})
	check("changing nothing", send(aServer(port, "app", func(v *VirtualServer) { v.AddClusterIP, v.StripXForwardedProto = false, false })),
		map[string]string{"X-Cluster-Client-Ip": "192.0.2.2", "X-Forwarded-Proto": "https"})
}

func TestTheTargetReachesTheNodeAsTheClientSentIt(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, target := range []string{"/", "/a%2Fb/../c//d", "//host/x", "/?q=1;2&%zz", "/a?", "/%E4?x=a+b", "*"} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		method := "GET"
		if target == "*" {
			method = "OPTIONS"
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", method, target)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(res.Body)
		conn.Close()
		if string(got) != target {
			t.Errorf("the node got %q for %q", got, target)
		}
	}
}

func TestBodiesStreamBothWaysAtOnce(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			w.(http.Flusher).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"X-End", "done")
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunk := func(s string) { fmt.Fprintf(conn, "%x\r\n%s\r\n", len(s), s) }
	// The node answers each line before the next one is sent: nothing is held back.
	chunk("one\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for _, next := range []string{"two", "three", ""} {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "echo ") {
			t.Fatalf("got %q, %v", line, err)
		}
		if next != "" {
			chunk(next + "\n")
		}
	}
	fmt.Fprint(conn, "0\r\n\r\n")
	if _, err := io.ReadAll(lines); err != nil {
		t.Fatal(err)
	}
	if got := res.Trailer.Get("X-End"); got != "done" {
		t.Errorf("the node's trailer is %q", got)
	}
}

func TestBigBodiesPassUnchanged(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
		w.Header().Set("Content-Length", fmt.Sprint(n))
		for range n / (1 << 20) {
			_, _ = w.Write(bytes.Repeat([]byte("r"), 1<<20))
		}
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	for _, method := range []string{"PUT", "POST"} {
		req, _ := http.NewRequest(method, at(port, "/"), bytes.NewReader(body))
		res, err := testClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || n != int64(len(body)) {
			t.Errorf("%s: got %d bytes back, %v", method, n, err)
		}
		res.Body.Close()
		if want := fmt.Sprintf("%x", sha256.Sum256(body)); res.Header.Get("X-Sum") != want {
			t.Errorf("%s: the node got another body", method)
		}
	}
}

func TestExpectContinueIsTheNodesToGrant(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", body)
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for path, want := range map[string]string{"/yes": "HTTP/1.1 100 Continue", "/no": "HTTP/1.1 417 Expectation Failed"} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", path)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if strings.TrimSpace(line) != want {
			t.Errorf("%s: first line %q, %v; want %s", path, line, err, want)
		}
		conn.Close()
	}
}

func TestUpgradedConnectionsCarryBytesBothWays(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(rw, strings.ToUpper(line))
			rw.Flush()
		}
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Timeout = time.Second })},
	})
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("got %v, %v", res, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, word)
		if line, err := r.ReadString('\n'); line != strings.ToUpper(word) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	// Nothing flows any more: the virtual server's time-out ends it.
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("the idle connection ended with %v", err)
	}
}

func TestErrorPages(t *testing.T) {
	p := newPlane(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	empty, dead, slow, missing := freePort(t), freePort(t), freePort(t), freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{
			"empty": aPool(), "dead": aPool(refusing(t)),
			"slow": with(aPool(silent.Addr().String()), func(p *Pool) { p.MaxReplyTime = 50 * time.Millisecond }),
		},
		VirtualServers: map[string]*VirtualServer{
			"empty": aServer(empty, "empty"), "dead": aServer(dead, "dead"), "slow": aServer(slow, "slow"), "missing": aServer(missing, "nowhere"),
		},
	})
	client := testClient(t)
	for port, want := range map[int]int{empty: 503, dead: 503, slow: 504, missing: 503} {
		status, body := get(client, at(port, "/"))
		if status != want || !strings.Contains(body, "<h1>"+http.StatusText(want)+"</h1>") {
			t.Errorf("got %d %q, want the page of %d", status, body, want)
		}
	}
	res, err := client.Head(at(empty, "/"))
	if err != nil || res.StatusCode != 503 || res.ContentLength <= 0 {
		t.Errorf("HEAD: %v, %v", res, err)
	}
	if errs := p.State().Errors; len(errs) != 1 || errs[0] != "Virtual server 'missing': pool 'nowhere' does not exist" {
		t.Errorf("errors in state: %q", errs)
	}
}

func TestTheDiscardPoolClosesWithoutAWord(t *testing.T) {
	p := newPlane(t)
	port := freePort(t)
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": aServer(port, "discard")}})
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, err := io.ReadAll(conn); len(got) != 0 {
		t.Errorf("got %q, %v; want nothing", got, err)
	}
	if s, _ := p.ServerStatistics("web"); s["discard"] != 1 {
		t.Errorf("statistics: %+v", s)
	}
}

func TestAmbiguousFramingIsRefused(t *testing.T) {
	p := newPlane(t)
	var reached atomic.Int32
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { reached.Add(1) })
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, headers := range []string{
		"Content-Length: 4\r\nContent-Length: 5\r\n",
		"Content-Length: +4\r\n",
		"Transfer-Encoding: xchunked\r\n",
		"Transfer-Encoding: chunked, identity\r\n",
		"Transfer-Encoding : chunked\r\n",
		"Content-Length: 4\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n",
		"X: a\x00b\r\n",
		"Host: other\r\n",
	} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\nabcd", headers)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		conn.Close()
		if err != nil || res.StatusCode < 400 {
			t.Errorf("%q: got %v, %v; want a refusal", headers, res, err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the node", n)
	}
}

func TestAStalledBodyEndsThatRequestAlone(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Timeout = 300 * time.Millisecond })},
	})
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nbegin")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusRequestTimeout || !res.Close {
		t.Errorf("got %v, %v; want 408 and the end of the connection", res, err)
	}
	p.want(testClient(t), at(port, "/"), 200, "")
	if stats, _ := p.PoolStatistics("app"); stats.Nodes[0].Counts["failures"] != 0 {
		t.Errorf("the node is blamed: %+v", stats)
	}
}

func TestKeepaliveOffClosesAfterEachResponse(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b")
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Keepalive = false })},
	})
	client := testClient(t)
	p.want(client, at(port, "/"), 200, "b")
	p.want(client, at(port, "/"), 200, "b")
	if n := p.GlobalStatistics()["total_conn"]; n != 2 {
		t.Errorf("%d connections for two requests", n)
	}
}
