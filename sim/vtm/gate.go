package vtm

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// acceptPause is how long a listener that fails rests.
const acceptPause = 10 * time.Millisecond

// Directions in which a gate can be shut.
const (
	gateREST    uint32 = 1 << iota // the REST API's clients
	gateClients                    // clients of virtual servers
	gateNodes                      // back-end nodes
)

// gate holds back the bytes of one member: what comes and what goes waits until
// the gate opens, as with a process that stands still or a network that loses
// everything and retransmits.
type gate struct {
	name string
	shut atomic.Uint32 // directions; read without mu on every pass

	mu     sync.Mutex
	change chan struct{} // closed and replaced with each change of shut
}

func newGate(name string) *gate { return &gate{name: name, change: make(chan struct{})} }

// set shuts these directions and opens all others.
func (g *gate) set(directions uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut.Load() == directions {
		return
	}
	g.shut.Store(directions)
	close(g.change)
	g.change = make(chan struct{})
}

var errGateEnded = errors.New("ended while the gate was shut")

// wait returns nil when the direction is open, or an error when ended is closed
// first.
func (g *gate) wait(ended <-chan struct{}, direction uint32) error {
	for g.shut.Load()&direction != 0 {
		g.mu.Lock()
		change := g.change
		g.mu.Unlock()
		if g.shut.Load()&direction == 0 {
			return nil
		}
		select {
		case <-change:
		case <-ended:
			return errGateEnded
		}
	}
	return nil
}

// conn lets a connection through the gate.
func (g *gate) conn(c net.Conn, direction uint32) net.Conn {
	return &gatedConn{Conn: c, gate: g, direction: direction, closed: make(chan struct{})}
}

type gatedConn struct {
	net.Conn
	gate      *gate
	direction uint32
	once      sync.Once
	closed    chan struct{}
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.gate.wait(c.closed, c.direction) != nil {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if c.gate.wait(c.closed, c.direction) != nil {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// CloseWrite passes on the end of one direction.
func (c *gatedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetLinger passes on how the connection is closed.
func (c *gatedConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// SetNoDelay passes on whether small pieces are sent at once.
func (c *gatedConn) SetNoDelay(at bool) error {
	if tcp, ok := c.Conn.(interface{ SetNoDelay(bool) error }); ok {
		return tcp.SetNoDelay(at)
	}
	return nil
}

// gatedListener is for a listener that one member has for itself.
type gatedListener struct {
	net.Listener
	gate      *gate
	direction uint32
}

func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.gate.conn(c, l.direction), nil
}
