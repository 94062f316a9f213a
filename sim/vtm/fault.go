package vtm

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Fault makes the REST API misbehave. The zero value is a healthy one. The data
// plane and the configuration are not touched.
type Fault struct {
	// Down: connections are closed, those that are open and those that come.
	Down bool
	// WrongPassword: every user and password is refused with 401.
	WrongPassword bool
	// Status, if not 0, answers every request, after authentication, with that
	// status and an error body. Nothing is read or changed.
	Status int
	// Garbage: answers keep their status but have a body that is not JSON. Writes
	// take effect.
	Garbage bool
}

// SetFault replaces the fault that is in effect; Fault{} heals.
func (t *TrafficManager) SetFault(f Fault) {
	t.fault.Store(&f)
	if f.Down {
		t.sockets.cut()
	}
}

// garbageWriter replaces the body of a response.
type garbageWriter struct {
	http.ResponseWriter
	written bool
}

func (g *garbageWriter) WriteHeader(status int) {
	g.Header().Del("Content-Length")
	g.ResponseWriter.WriteHeader(status)
}

func (g *garbageWriter) Write(b []byte) (int, error) {
	if !g.written {
		g.written = true
		if _, err := g.ResponseWriter.Write([]byte("<html>\x00{\"error_id\": out of order")); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// cuttableListener knows its open connections, so that a fault can end them.
type cuttableListener struct {
	net.Listener
	refuse func() bool // whether new connections are closed at once
	now    func() time.Time

	mu   sync.Mutex
	open map[*cuttableConn]struct{} // guarded by mu
}

func (l *cuttableListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &cuttableConn{Conn: c, of: l}
		l.mu.Lock()
		l.open[conn] = struct{}{}
		l.mu.Unlock()
		if !l.refuse() {
			return conn, nil
		}
		conn.reset()
	}
}

// cut ends every open connection.
func (l *cuttableListener) cut() {
	l.mu.Lock()
	conns := make([]*cuttableConn, 0, len(l.open))
	for c := range l.open {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.reset()
	}
}

type cuttableConn struct {
	net.Conn
	of   *cuttableListener
	idle atomic.Int64 // see idleFor; 0: nothing was asked for
}

func (c *cuttableConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// reset closes so that the peer sees a reset rather than an orderly end, where
// the connection can.
func (c *cuttableConn) reset() {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
