package dataplane

import (
	"context"
	"net"
	"net/http"
	"time"
)

// generation is that part of a virtual server which cannot change while
// connections use it: what serves them, and how long that waits. Connections stay
// with the one they began with, and read all other configuration from the virtual
// server at each request.
type generation struct {
	v       *vserver
	timings timings
	ctx     context.Context
	cancel  context.CancelFunc // ends requests, upgraded and streamed ones too
	clients group              // connections

	// Of protocol http alone. http2 is nil without TLS, or when it is off.
	http1, http2 *httpServer
}

// timings are the settings that are fixed within a generation.
type timings struct {
	mode         mode
	header, idle time.Duration
	maxHeader    int
	tls, proxy   bool // connections begin with a handshake, with a PROXY header
	http2        HTTP2
}

func (c *serverConf) timings() timings {
	if c.mode == modeUDP {
		return timings{mode: modeUDP} // TLS and PROXY headers are of connections
	}
	return timings{c.mode, c.ConnectTimeout, c.KeepaliveTimeout, c.clientBuffer(), c.SSLDecrypt, c.ProxyProtocol, c.HTTP2}
}

// httpServer is an http.Server and the listener that feeds it: virtual servers
// hand it connections that come from sockets of any number.
type httpServer struct {
	*http.Server
	queue  chan net.Conn // unbuffered: accepted connections on their way
	closed chan struct{} // the server takes no more connections
}

// Accept, Close and Addr make an httpServer's listener.
type listener struct{ *httpServer }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error {
	close(l.closed) // http.Server calls it once
	return nil
}

func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// give hands the server a connection; false when it takes no more.
func (s *httpServer) give(c net.Conn) bool {
	select {
	case s.queue <- c:
		return true
	case <-s.closed:
		return false
	}
}

// defaultClientBuffer is connection!max_client_buffer where it is not set.
const defaultClientBuffer = 64 << 10

func (c *serverConf) clientBuffer() int {
	if c.MaxClientBuffer <= 0 {
		return defaultClientBuffer
	}
	return c.MaxClientBuffer
}

// start makes the generation that conf needs, if it is not the present one. The
// one before goes on with its connections until they end. The caller holds d.mu.
func (v *vserver) start(conf *serverConf) {
	t := conf.timings()
	old := v.gen.Load()
	if old != nil && old.timings == t {
		return
	}
	g := &generation{v: v, timings: t}
	g.ctx, g.cancel = context.WithCancel(v.d.ctx)
	if t.mode == modeHTTP {
		g.http1 = g.newHTTP(t.header, t.idle, t.maxHeader)
		if t.tls && t.http2.Enabled {
			g.http2 = g.newHTTP2()
		}
	}
	v.d.generations[g] = struct{}{}
	v.gen.Store(g)
	if old != nil {
		v.retire(old, 0)
	}
}

func (g *generation) newHTTP(header, idle time.Duration, maxHeader int) *httpServer {
	s := &httpServer{queue: make(chan net.Conn), closed: make(chan struct{})}
	s.Server = &http.Server{
		Handler:           g.v,
		ReadHeaderTimeout: header,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeader,
		// "OPTIONS *" is the node's to answer.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return g.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			client := clientOf(c)
			if client.http != nil {
				ctx, client.cancel = context.WithCancelCause(ctx)
			}
			return context.WithValue(ctx, clientKey{}, client)
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			switch s {
			case http.StateHijacked:
				clientOf(c).hijacked.Store(true)
			case http.StateClosed:
				clientOf(c).end()
			}
		},
		// What clients do wrong is told by events.
		ErrorLog: g.v.d.proxyLog,
	}
	g.v.d.tasks.spawn(func() {
		// It ends when the generation is closed.
		_ = s.Serve(listener{s})
	})
	return s
}

func (g *generation) newHTTP2() *httpServer {
	t := g.timings
	header, limit := t.http2.ConnectTimeout, t.http2.HeadersSizeLimit
	if header == 0 {
		header = t.header
	}
	s := g.newHTTP(header, t.http2.IdleNoStreams, limit)
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:      t.http2.MaxConcurrentStreams,
		MaxDecoderHeaderTableSize: t.http2.HeaderTableSize,
		MaxEncoderHeaderTableSize: t.http2.HeaderTableSize,
		MaxReadFrameSize:          t.http2.MaxFrameSize,
		MaxReceiveBufferPerStream: t.http2.StreamWindowSize,
	}
	return s
}

// drainLimit is how long requests of a stopped virtual server may go on.
const drainLimit = 30 * time.Second

// stop takes no more connections, ends the idle ones, and lets requests end
// within drainLimit. The caller holds d.mu.
func (v *vserver) stop() {
	g := v.gen.Swap(nil)
	if g == nil {
		return
	}
	v.retire(g, drainLimit)
	for _, s := range g.servers() {
		s.SetKeepAlivesEnabled(false)
	}
}

func (g *generation) servers() []*httpServer {
	var list []*httpServer
	for _, s := range []*httpServer{g.http1, g.http2} {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// close ends the generation's connections and what they carry.
func (g *generation) close() {
	g.cancel()
	for _, s := range g.servers() {
		s.Close()
	}
}

// retire closes a generation when its connections have ended, or limit has
// passed (0: none). The caller holds d.mu.
func (v *vserver) retire(g *generation, limit time.Duration) {
	ended := g.clients.close()
	v.d.tasks.spawn(func() {
		var late <-chan time.Time
		if limit > 0 {
			timer := v.d.options.World.Clock().NewTimer(limit)
			defer timer.Stop()
			late = timer.C()
		}
		select {
		case <-ended:
		case <-late:
		case <-v.d.ctx.Done():
		}
		g.close()
		<-ended
		v.d.mu.Lock()
		defer v.d.mu.Unlock()
		delete(v.d.generations, g)
	})
}
