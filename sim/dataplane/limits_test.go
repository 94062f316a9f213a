package dataplane

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestARuleMayChooseAMachineAndShortenTheWait(t *testing.T) {
	outsider := backend(t, "outsider")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	host, port, _ := net.SplitHostPort(addr(outsider))
	_, silentPort, _ := net.SplitHostPort(silent.Addr().String())
	p, listen := ruled(t, `
		if (http.getPath() == "/machine") { pool.use("app", "`+host+`", `+port+`); }
		request.setMaxReplyTime(1);
		pool.use("app", "127.0.0.1", `+silentPort+`);`, "")
	client := testClient(t)
	p.want(client, at(listen, "/machine"), 200, "outsider")
	p.want(client, at(listen, "/"), 504, "")
	if s := p.State(); len(s.Pools[0].Active) != 1 {
		t.Errorf("the machines stayed in the pool: %+v", s.Pools[0])
	}
}

func TestATransactionEndsAfterItsLongestDuration(t *testing.T) {
	p := newPlane(t)
	endless := backend(t, "endless", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(endless))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.MaxTransactionDuration = 200 * time.Millisecond })},
	})
	client := testClient(t)
	// What ended the request ends its connection: the client is told so, and not left
	// to find out by its next request.
	res, err := client.Get(at(port, "/"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 504 || !res.Close {
		t.Errorf("got %s, Connection: close %v; want 504 and true", res.Status, res.Close)
	}
	if status, body := get(client, at(port, "/begun")); status != 200 || !strings.Contains(body, "EOF") {
		t.Errorf("got %d %q; want 200 and an end before its time", status, body)
	}
}

func TestHeadersHaveALimitInTimeAndSize(t *testing.T) {
	p := newPlane(t)
	port := freePort(t)
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": aServer(port, "discard", func(v *VirtualServer) {
		v.ConnectTimeout, v.MaxClientBuffer = 200*time.Millisecond, 4096
	})}})
	conn, err := net.Dial("tcp", strings.TrimPrefix(at(port, ""), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost"))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("a client that never ends its headers is kept: %v", err)
	}
	req, _ := http.NewRequest("GET", at(port, "/"), nil)
	req.Header.Set("X-Big", strings.Repeat("x", 16<<10))
	res, err := testClient(t).Do(req)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers beyond the buffer: %v, %v", res, err)
	}
}

// A node that is used by nobody any more keeps no connection.
func TestARemovedNodesConnectionsEnd(t *testing.T) {
	p := newPlane(t)
	a := backend(t, "a")
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": with(aPool(addr(a)), func(p *Pool) { p.DeleteDrain = true })},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	p.want(testClient(t), at(port, "/"), 200, "a")
	n := p.pool("app").nodes[0]
	p.Apply(Update{Pools: map[string]*Pool{"app": aPool()}})
	deadline := time.Now().Add(10 * time.Second)
	for open := 1; open > 0; {
		n.mu.Lock()
		open = len(n.conns)
		n.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still open", open)
		}
	}
}
