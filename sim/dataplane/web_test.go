package dataplane

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
)

// web is a data plane with nodes and clients on an in-memory network, in a bubble:
// time is fake, and nothing outlives close.
type web struct {
	t     *testing.T
	net   *network.Network
	world outside.World
	d     *DataPlane

	mu     sync.Mutex
	events []Event
	ends   []func()
}

// newWeb starts a data plane at 10.9.0.1.
func newWeb(t *testing.T) *web {
	w := &web{t: t, net: network.New(network.Options{Seed: 1})}
	w.world = w.net.World()
	w.d = New(Options{
		World: w.world, Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "10.9.0.1", PerClientTransports: true,
		Events: func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	})
	return w
}

// listen takes connections to an address; each is handled in a goroutine of its own.
func (w *web) listen(address string, handle func(net.Conn)) {
	l, err := w.world.Listen("node/"+address, "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ends = append(w.ends, func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
}

// node serves HTTP.
func (w *web) node(address string, handler http.HandlerFunc) {
	l, err := w.world.Listen("node/"+address, "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Handler: handler}
	go func() { _ = s.Serve(l) }()
	w.ends = append(w.ends, func() { s.Close() })
}

// client is an HTTP client with connections of its own.
func (w *web) client(name string) *http.Client {
	c := w.world.HTTPClient("client/"+name, nil)
	w.ends = append(w.ends, c.CloseIdleConnections)
	return c
}

// dial opens a connection to the data plane. Reads and writes on it end after an
// hour.
func (w *web) dial(address string) net.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := w.world.Dial(ctx, "client/"+address, "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Hour))
	return conn
}

// told returns the events whose tag is this one and whose text has what.
func (w *web) told(tag, what string) []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Event
	for _, e := range w.events {
		if e.Tag == tag && strings.Contains(e.Text, what) {
			list = append(list, e)
		}
	}
	return list
}

// wantTold fails unless an event says so.
func (w *web) wantTold(tag, what string) {
	w.t.Helper()
	if len(w.told(tag, what)) == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t.Errorf("no event %s %q; have %v", tag, what, w.events)
	}
}

func (w *web) close() {
	w.d.Close()
	for _, f := range w.ends {
		f()
	}
	w.net.Close()
	time.Sleep(2 * time.Minute) // what waits in the standard library ends by itself
}
