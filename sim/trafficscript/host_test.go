package trafficscript_test

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	ts "vtm-ingress/sim/trafficscript"
)

// memoryHost is a Host without a data plane.
type memoryHost struct {
	tx           ts.Transaction
	requestBody  string
	responseBody string
	bodyErr      error
	pools        map[string][]ts.PoolNode
	events       []ts.Event
	now          time.Time
	random       uint64
	slept        time.Duration
}

func newHost() *memoryHost {
	return &memoryHost{
		tx: ts.Transaction{
			VirtualServer: "shop",
			Remote:        netip.MustParseAddrPort("192.0.2.7:4711"),
			Local:         netip.MustParseAddrPort("198.51.100.1:80"),
			DefaultPool:   "web",
			Request: &ts.Request{
				Method: "GET", Target: "/a%20b/c?x=1&y=%41&x=2", Proto: "HTTP/1.1", Host: "Shop.Example.COM.:8080",
				Header: http.Header{
					"Accept":     {"text/html", "text/plain"},
					"Cookie":     {"session=abc; lang=de"},
					"User-Agent": {"curl"},
				},
			},
			Started: time.Date(2026, 11, 23, 14, 5, 8, 0, time.UTC), QueueTime: 5 * time.Millisecond,
			RequestLog: ts.Marking{Enabled: true, Marked: true}, RecentConnections: ts.Marking{Enabled: true},
			Machine: newMachine(),
			Data:    ts.NewStore(1 << 20), LocalData: ts.NewStore(1 << 20), ConnectionData: ts.NewStore(1 << 20),
		},
		requestBody: "line one\r\nline two\n",
		pools: map[string][]ts.PoolNode{
			"web": {
				{Address: "10.0.0.1:80", State: ts.NodeActive}, {Address: "10.0.0.2:80", State: ts.NodeFailed},
				{Address: "10.0.0.3:80", State: ts.NodeDraining}, {Address: "10.0.0.4:80", State: ts.NodeDisabled},
				{Address: "10.0.0.5:80", State: ts.NodeActive},
			},
			"api": {},
		},
		now: time.Date(2026, 11, 23, 14, 5, 9, 250_000_000, time.UTC),
	}
}

// respond takes the transaction to its response rules.
func (h *memoryHost) respond() *memoryHost {
	h.tx.Phase = ts.ResponsePhase
	h.tx.Node = "10.0.0.1:80"
	h.tx.NodeLocal = netip.MustParseAddrPort("10.0.0.99:5555")
	h.tx.Response = &ts.Response{Proto: "HTTP/1.1", Code: 404, Reason: "Nope", Header: http.Header{
		"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}, "Content-Length": {"9"},
		"Set-Cookie": {"a=1; path=/", "b=2; secure"},
	}}
	h.responseBody = "not here\n"
	return h
}

func (h *memoryHost) Transaction() *ts.Transaction { return &h.tx }

func (h *memoryHost) RequestBody(_ context.Context, max int) (string, error) {
	return head(h.requestBody, max), h.bodyErr
}

func (h *memoryHost) ResponseBody(_ context.Context, max int) (string, error) {
	return head(h.responseBody, max), h.bodyErr
}

func head(s string, max int) string {
	if max > 0 && max < len(s) {
		return s[:max]
	}
	return s
}

func (h *memoryHost) PoolNodes(pool string) ([]ts.PoolNode, bool) {
	nodes, ok := h.pools[pool]
	return nodes, ok
}

func (h *memoryHost) Log(e ts.Event) { h.events = append(h.events, e) }

func (h *memoryHost) Now() time.Time { return h.now }

func (h *memoryHost) Random() uint64 { h.random += 7; return h.random }

func (h *memoryHost) Sleep(ctx context.Context, d time.Duration) error {
	h.slept += d
	return ctx.Err()
}
