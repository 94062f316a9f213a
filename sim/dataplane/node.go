package dataplane

import (
	"context"
	"errors"
	"math"
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
	mapped  string // the same in cookies of persistence classes

	guest bool // of one request alone, not of the pool

	transports atomic.Pointer[nodeTransports]

	requests atomic.Int64 // under way
	total    atomic.Int64 // tries ever
	failures atomic.Int64 // failed tries ever
	stats    nodeStats
	removed  atomic.Bool // no longer in the pool: drains
	suspect  atomic.Bool // a try failed since the last good one
	weight   atomic.Int64
	times    responseTimes
	backAt   atomic.Int64 // Unix time in ns when it came back, as long as it gets less; 0: long ago

	// Under pool.shares.

	share  int     // of weighted round robin
	credit float64 // of its part while it comes back

	// Under pool.mu.

	state      string          // "active", "draining", "disabled"
	priority   int             // the higher, the sooner
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
	closeRST    bool
	tls         *nodeTLS // nil: plain
}

// nodeTransports are the connections to one node: reused ones, and fresh ones
// for requests that must not meet a connection which the node is about to close.
// Most nodes of a big configuration never get a request, so a transport is made
// when it is first needed.
type nodeTransports struct {
	node  *node
	spec  transportSpec
	actor string

	mu    sync.Mutex      // guards both
	keep  *http.Transport // nil: not needed so far
	fresh *http.Transport
}

// newNodeTransports makes the transports of one node for one actor.
func newNodeTransports(n *node, spec transportSpec, actor string) *nodeTransports {
	return &nodeTransports{node: n, spec: spec, actor: actor}
}

// reused is the transport whose connections serve one request after the other.
func (t *nodeTransports) reused() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keep == nil {
		idle := t.spec.maxIdle
		if idle == 0 {
			idle = math.MaxInt
		}
		if !t.spec.keepalive {
			idle = neverIdle
		}
		t.keep = newTransport(t.node, t.spec, t.actor, idle)
	}
	return t.keep
}

// once is the transport whose connections serve one request each.
func (t *nodeTransports) once() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fresh == nil {
		t.fresh = newTransport(t.node, t.spec, t.actor, neverIdle)
	}
	return t.fresh
}

// neverIdle makes a transport close a connection after its first response. The
// node is not told beforehand: many close without reading the whole body when
// they know that the connection ends, and that may destroy their response.
const neverIdle = -1

func newTransport(n *node, spec transportSpec, actor string, idle int) *http.Transport {
	return &http.Transport{
		// The address is the node's, or what SNI says: see try.
		DialContext: func(ctx context.Context, _, serverName string) (net.Conn, error) {
			return n.open(ctx, actor, spec, serverName)
		},
		DisableCompression:    true, // bodies pass as they are
		MaxIdleConnsPerHost:   idle,
		MaxIdleConns:          max(idle, 0), // of all names that SNI says
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
	t.mu.Lock()
	made := []*http.Transport{t.keep, t.fresh}
	t.mu.Unlock()
	for _, transport := range made {
		if transport != nil {
			transport.CloseIdleConnections()
		}
	}
}

// begin counts a request on the node until end; false when the node was removed
// since it was picked. Either the one who removes it sees the request, or the
// request sees the removal.
func (n *node) begin() bool {
	n.requests.Add(1)
	return n.begun()
}

// begun goes on with what begin does when the request is counted.
func (n *node) begun() bool {
	if n.removed.Load() && !n.guest {
		n.end()
		return false
	}
	n.total.Add(1)
	return true
}

func (n *node) end() {
	var left int64
	if limit := n.pool.conf.Load().limit(); limit > 0 {
		left = n.pool.queue.release(n, limit)
	} else {
		left = n.requests.Add(-1)
	}
	if left == 0 && n.removed.Load() {
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

// open opens a connection to the node and encrypts it if the pool does, within
// max_connect_time.
func (n *node) open(ctx context.Context, actor string, spec transportSpec, serverName string) (net.Conn, error) {
	if spec.connectTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spec.connectTime)
		defer cancel()
	}
	conn, err := n.dial(ctx, actor, "tcp", spec)
	if err != nil || spec.tls == nil {
		return conn, err
	}
	secure, err := spec.tls.handshake(ctx, conn, n.address, serverName)
	if err != nil {
		conn.Close()
		n.stats.add(nodeConnectFailed, 1)
		return nil, &connectError{cause: err, timeout: ctx.Err() != nil && n.pool.d.ctx.Err() == nil}
	}
	return secure, nil
}

// dial opens a plain connection over network "tcp" or "udp".
func (n *node) dial(ctx context.Context, actor, network string, spec transportSpec) (net.Conn, error) {
	d := n.pool.d
	if !d.dials.enter() {
		return nil, &connectError{cause: errClosed}
	}
	defer d.dials.leave()
	to, err := d.options.AddressMap.HostPort(n.address)
	if err != nil {
		return nil, &connectError{cause: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The transport goes on dialling when its request has gone; the end of the
	// data plane must stop it.
	stop := context.AfterFunc(d.ctx, cancel)
	defer stop()
	conn, err := d.options.World.Dial(ctx, actor, network, to)
	if err == nil && network == "udp" {
		conn, err = n.answers(actor, conn)
	}
	if err != nil {
		n.stats.add(nodeConnectFailed, 1)
		return nil, &connectError{cause: err, timeout: ctx.Err() != nil && d.ctx.Err() == nil}
	}
	n.stats.add(nodeNewConn, 1)
	c := &nodeConn{Conn: conn, node: n, rst: spec.closeRST}
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
	n.mu.Unlock()
	n.cut()
}

// cut ends every connection to the node.
func (n *node) cut() {
	n.mu.Lock()
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
	rst  bool // ends with RST: node_close_with_rst
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
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok && c.rst {
		_ = tcp.SetLinger(0)
	}
	return c.Conn.Close()
}

// CloseWrite passes on the end of one direction of an upgraded connection.
func (c *nodeConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
