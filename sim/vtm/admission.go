package vtm

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxWaitingConns is how many connections of a listener may be open without the
// header of a request being complete: new ones, and those between two requests.
const maxWaitingConns = 1000

// admission bounds what connections cost that send nothing. With one more than
// the bound the one that has waited longest is closed, so that nobody keeps
// others out by opening many.
type admission struct {
	mu      sync.Mutex // guards all below; held for look-ups alone
	waiting list.List  // of net.Conn, the longest waiting first
	at      map[net.Conn]*list.Element
}

// changed follows the state of one of the server's connections.
func (a *admission) changed(c net.Conn, state http.ConnState) {
	a.mu.Lock()
	if e := a.at[c]; e != nil {
		a.waiting.Remove(e)
		delete(a.at, c)
	}
	var longest net.Conn
	if state == http.StateNew || state == http.StateIdle {
		if a.at == nil {
			a.at = make(map[net.Conn]*list.Element)
		}
		a.at[c] = a.waiting.PushBack(c)
		if a.waiting.Len() > maxWaitingConns {
			longest, _ = a.waiting.Remove(a.waiting.Front()).(net.Conn)
			delete(a.at, longest)
		}
	}
	a.mu.Unlock()
	if conn := cuttable(longest); conn != nil {
		conn.reset() // without TLS's goodbye, which could take its time
	}
}

// cuttable is the connection of a cuttableListener that c is or wraps; nil if it
// is none.
func cuttable(c net.Conn) *cuttableConn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	conn, _ := c.(*cuttableConn)
	return conn
}

// idleFor has the next read deadline be that far away. net/http sets one when a
// connection becomes idle, after it has told so.
func (c *cuttableConn) idleFor(d time.Duration) { c.idle.Store(int64(d)) }

// SetReadDeadline sets the deadline, or the one that idleFor asked for.
func (c *cuttableConn) SetReadDeadline(at time.Time) error {
	if d := c.idle.Swap(0); d > 0 {
		at = c.of.now().Add(time.Duration(d))
	}
	return c.Conn.SetReadDeadline(at)
}
