package dataplane

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// node is one node of one pool. It lives as long as the pool names its address,
// through every change of configuration, and longer while it drains.
type node struct {
	pool    *pool
	address string // as configured, "host:port": its name

	guest bool // of one request alone, not of the pool

	transports atomic.Pointer[nodeTransports]

	requests atomic.Int64 // under way
	total    atomic.Int64 // tries ever
	failures atomic.Int64 // failed tries ever
	stats    nodeStats
	removed  atomic.Bool // no longer in the pool: drains
	suspect  atomic.Bool // a try failed since the last good one

	// Under pool.mu.

	state      string          // "active", "draining", "disabled"
	inARow     int             // failed tries since the last good one
	passive    bool            // failed by failed tries; a good one ends it
	retryAt    time.Time       // when a failed node gets its next trial request
	monitoring map[string]bool // monitors that found it dead
	announced  bool            // a nodefail event without its nodeworking yet

	mu    sync.Mutex
	gone  bool // closeAll was called: no new connections
	conns map[*nodeConn]struct{}
}

// failed tells whether monitors or tries found the node dead. The caller holds
// pool.mu.
func (n *node) failed() bool { return n.passive || len(n.monitoring) > 0 }

// transportSpec is the part of the configuration that connections to nodes
// depend on. A change of it makes new transports; what is under way goes on.
type transportSpec struct {
	connectTime time.Duration
	replyTime   time.Duration
	keepalive   bool
	maxIdle     int
	idleTimeout time.Duration
}

// nodeTransports are the connections to one node: reused ones, and fresh ones
// for requests that must not meet a connection which the node is about to close.
type nodeTransports struct {
	spec  transportSpec
	keep  *http.Transport
	fresh *http.Transport
}

// newNodeTransports makes the transports of one node for one actor.
func newNodeTransports(n *node, spec transportSpec, actor string) *nodeTransports {
	idle := spec.maxIdle
	if !spec.keepalive || idle == 0 {
		idle = neverIdle
	}
	return &nodeTransports{spec: spec, keep: newTransport(n, spec, actor, idle), fresh: newTransport(n, spec, actor, neverIdle)}
}

// neverIdle makes a transport close a connection after its first response. The
// node is not told beforehand: many close without reading the whole body when
// they know that the connection ends, and that may destroy their response.
const neverIdle = -1

func newTransport(n *node, spec transportSpec, actor string, idle int) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return n.dial(ctx, actor, spec.connectTime)
		},
		DisableCompression:    true, // bodies pass as they are
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       spec.idleTimeout,
		ResponseHeaderTimeout: spec.replyTime,
		ExpectContinueTimeout: time.Second,
		// Against a node that never ends its header.
		MaxResponseHeaderBytes: 1 << 20,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
	}
}

func (t *nodeTransports) closeIdle() {
	t.keep.CloseIdleConnections()
	t.fresh.CloseIdleConnections()
}

// begin counts a request on the node until end; false when the node was removed
// since it was picked. Either the one who removes it sees the request, or the
// request sees the removal.
func (n *node) begin() bool {
	n.requests.Add(1)
	if n.removed.Load() && !n.guest {
		n.end()
		return false
	}
	n.total.Add(1)
	return true
}

func (n *node) end() {
	if n.requests.Add(-1) == 0 && n.removed.Load() {
		n.pool.drained(n)
	}
}

// connectError is a failure to connect: the node has seen nothing of the request.
type connectError struct {
	cause   error
	timeout bool
}

func (e *connectError) Error() string { return "cannot connect to the node: " + e.cause.Error() }
func (e *connectError) Unwrap() error { return e.cause }

var errNodeRemoved = errors.New("the node was removed")

// dial opens a connection to the node, within the pool's max_connect_time.
func (n *node) dial(ctx context.Context, actor string, limit time.Duration) (net.Conn, error) {
	d := n.pool.d
	if !d.dials.enter() {
		return nil, &connectError{cause: errClosed}
	}
	defer d.dials.leave()
	to, err := d.options.AddressMap.HostPort(n.address)
	if err != nil {
		return nil, &connectError{cause: err}
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The transport goes on dialling when its request has gone; the end of the
	// data plane must stop it.
	stop := context.AfterFunc(d.ctx, cancel)
	defer stop()
	conn, err := d.options.World.Dial(ctx, actor, "tcp", to)
	if err != nil {
		n.stats.add(nodeConnectFailed, 1)
		return nil, &connectError{cause: err, timeout: ctx.Err() != nil && d.ctx.Err() == nil}
	}
	n.stats.add(nodeNewConn, 1)
	c := &nodeConn{Conn: conn, node: n}
	n.mu.Lock()
	gone := n.gone
	if !gone {
		n.conns[c] = struct{}{}
	}
	n.mu.Unlock()
	if gone {
		conn.Close()
		return nil, &connectError{cause: errNodeRemoved}
	}
	return c, nil
}

// closeAll ends every connection to the node and refuses new ones.
func (n *node) closeAll() {
	n.mu.Lock()
	n.gone = true
	conns := make([]*nodeConn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	n.transports.Load().closeIdle()
}

// nodeConn is a connection to a node, known to it until closed.
type nodeConn struct {
	net.Conn
	node *node
}

func (c *nodeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.node.stats.add(nodeBytesFrom, int64(n))
	c.node.pool.stats.add(poolBytesIn, int64(n))
	return n, err
}

func (c *nodeConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.node.stats.add(nodeBytesTo, int64(n))
	c.node.pool.stats.add(poolBytesOut, int64(n))
	return n, err
}

func (c *nodeConn) Close() error {
	c.node.mu.Lock()
	delete(c.node.conns, c)
	c.node.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite passes on the end of one direction of an upgraded connection.
func (c *nodeConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
