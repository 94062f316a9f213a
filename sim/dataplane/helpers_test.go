package dataplane

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

// plane is a data plane under test with its events, on real loopback sockets.
type plane struct {
	*DataPlane
	t *testing.T

	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed and replaced with each event
}

// newPlane starts a data plane on 127.0.0.1 and ends it with the test.
func newPlane(t *testing.T, options ...func(*Options)) *plane {
	t.Helper()
	p := &plane{t: t, more: make(chan struct{})}
	o := Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1.test", Address: "127.0.0.1",
		AddressMap: NewAddressMap(MapLoopback),
		Events: func(e Event) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
			close(p.more)
			p.more = make(chan struct{})
		},
	}
	for _, f := range options {
		f(&o)
	}
	p.DataPlane = New(o)
	t.Cleanup(p.Close)
	return p
}

func (p *plane) list() ([]Event, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Event(nil), p.events...), p.more
}

// await waits for the nth event with this tag whose section, further tags or
// text hold what, and returns it.
func (p *plane) await(tag, what string, nth int) Event {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		events, more := p.list()
		found := 0
		for _, e := range events {
			if e.Tag == tag && strings.Contains(fmt.Sprint(e), what) {
				if found++; found == nth {
					return e
				}
			}
		}
		select {
		case <-more:
		case <-deadline:
			p.t.Fatalf("no event %s %q number %d; have %v", tag, what, nth, events)
		}
	}
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// aServer is a virtual server with the schema's defaults, on listen_on_any.
func aServer(port int, pool string, change ...func(*VirtualServer)) *VirtualServer {
	vs := &VirtualServer{
		Enabled: true, Port: port, Protocol: "http", Pool: pool, ListenOnAny: true,
		ConnectTimeout: 10 * time.Second, Timeout: 300 * time.Second,
		Keepalive: true, KeepaliveTimeout: 10 * time.Second,
		AddClusterIP: true, StripXForwardedProto: true, AutodetectUpgrade: true,
		LocationRewrite: "if_host_matches", HTTP2: HTTP2{Enabled: true}, MaxClientBuffer: 64 << 10,
	}
	for _, f := range change {
		f(vs)
	}
	return vs
}

// aPool is a pool with the schema's defaults but for shorter time-outs.
func aPool(nodes ...string) *Pool {
	p := &Pool{
		Algorithm: "round_robin", PassiveMonitoring: true, NodeConnectionAttempts: 3, NodeRetryFailTime: 60 * time.Second,
		MaxTimedOutConnectionAttempts: 2, MaxConnectTime: 4 * time.Second, MaxReplyTime: 30 * time.Second,
		Keepalive: true, MaxIdlePerNode: 50,
	}
	for _, n := range nodes {
		p.Nodes = append(p.Nodes, Node{Address: n, State: "active", Weight: 1, Priority: 1})
	}
	return p
}

// with returns a changed copy.
func with(p *Pool, change func(*Pool)) *Pool {
	c := *p
	change(&c)
	return &c
}

// backend is a node that answers with its name.
func backend(t *testing.T, name string, handlers ...http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Node", name)
		for _, h := range handlers {
			h(w, r)
			return
		}
		fmt.Fprint(w, name)
	}))
	s.Config.DisableGeneralOptionsHandler = true
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func addr(s *httptest.Server) string { return s.Listener.Addr().String() }

// client returns an HTTP client with connections of its own.
func testClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func at(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }

// get returns status and body, or an error as text.
func get(c *http.Client, where string) (int, string) {
	res, err := c.Get(where)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err.Error()
	}
	return res.StatusCode, string(b)
}

func (p *plane) want(c *http.Client, where string, status int, body string) {
	p.t.Helper()
	if gotStatus, got := get(c, where); gotStatus != status || body != "" && got != body {
		p.t.Errorf("GET %s: got %d %q, want %d %q", where, gotStatus, got, status, body)
	}
}

// refusing returns an address that refuses connections.
func refusing(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// contextFor ends with the test or after a time that no test takes.
func contextFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
