package trafficscript_test

import (
	"context"
	"fmt"
	"io"
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

	streamed *ts.Answer // by http.stream.startResponse
	written  string
	unread   []string // pieces of the body that http.stream reads
}

func newHost() *memoryHost {
	h := &memoryHost{
		unread: []string{"yes and ", "no\nyes\n--", "-\nlast"},
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
			Machine: newMachine(), Sockets: new(ts.Sockets), Cache: memoryCache{},
			Data: ts.NewStore(1 << 20), LocalData: ts.NewStore(1 << 20), ConnectionData: ts.NewStore(1 << 20),
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
	h.tx.Streamer = h
	return h
}

// pieces is what comes from one end, piece by piece.
func pieces(first string, more ...string) *ts.Data {
	d := &ts.Data{Bytes: []byte(first)}
	d.More = func(context.Context) ([]byte, error) {
		if len(more) == 0 {
			return nil, io.EOF
		}
		next := more[0]
		more = more[1:]
		return []byte(next), nil
	}
	return d
}

// generic makes the transaction one of a generic protocol.
func (h *memoryHost) generic() *memoryHost {
	h.tx.Request, h.tx.Response = new(ts.Request), nil
	h.tx.ClientData = pieces("LOGIN a", "da\nPASS x\n", "QUIT")
	if h.tx.Phase == ts.ResponsePhase {
		h.tx.Response = new(ts.Response)
		h.tx.ServerData = pieces("+OK", " hello\n+OK bye\n")
		h.tx.ServerData.Flush = func(_ context.Context, b []byte) error {
			h.written += string(b)
			return nil
		}
	}
	return h
}

func (h *memoryHost) Waiting() {}

func (h *memoryHost) StartResponse(_ context.Context, a *ts.Answer, length int64) error {
	h.streamed = a
	h.written += fmt.Sprintf("%d %d|", a.Code, length)
	return nil
}

func (h *memoryHost) WriteResponse(_ context.Context, data string) error {
	h.written += data
	return nil
}

func (h *memoryHost) ReadResponse(_ context.Context, max int) (string, error) {
	if len(h.unread) == 0 {
		return "", nil
	}
	piece := head(h.unread[0], max)
	if h.unread[0] = h.unread[0][len(piece):]; h.unread[0] == "" {
		h.unread = h.unread[1:]
	}
	return piece, nil
}

// memoryCache has the answer for pool "web" alone.
type memoryCache struct{}

func (memoryCache) Has(pool string) bool { return pool == "" || pool == "web" }

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
