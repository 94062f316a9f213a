package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// route is the way of one request or one stream to a node: who comes, what its
// rules and its session say, and where it was tried. One goroutine at a time
// uses it.
type route struct {
	d      *DataPlane
	client netip.AddrPort
	// script holds what rules decided; nil: none ran.
	script  *trafficscript.Transaction
	request *http.Request // nil: a stream
	random  func() uint64 // for the random algorithm
	// sslSession is the session that the client of a passed-through TLS connection
	// resumes, in hex; "": a new one.
	sslSession string
	udp        bool // datagrams: nothing tells that a node is there until it answers

	tries   []*node  // since it was last balanced
	few     [2]*node // where tries begins
	session *session
	pinned  *node // the session's node while it is tried
	waited  time.Duration
}

var (
	errSessionClosed = errors.New("the session's node is gone, and its persistence class closes the connection")
	errNoPool        = errors.New("the pool does not exist")
)

// movedError sends the client of a session whose node is gone to another URL.
type movedError struct{ url string }

func (e *movedError) Error() string {
	return "the session's node is gone: the client is sent to " + e.url
}

// again forgets what was tried: the request is balanced anew.
func (r *route) again() { r.tries, r.session, r.pinned = r.tries[:0], nil, nil }

func (r *route) skip(n *node) bool {
	if slices.Contains(r.tries, n) {
		return true
	}
	if r.script == nil {
		return false
	}
	for _, at := range r.script.Excluded {
		if n.address == at.String() {
			return true
		}
	}
	return false
}

// next returns the node for the next try, with the request counted on it: of p
// or, when all its nodes failed, of its failure pools in turn. It waits where a
// limit says so. The node is nil when there is none left.
func (r *route) next(ctx context.Context, p *pool) (*node, *pool, error) {
	if r.script != nil && r.script.PoolNode.IsValid() {
		n := p.machine(r.script.PoolNode.String())
		if r.skip(n) || len(r.tries) > 0 || !n.begin() {
			return nil, nil, nil
		}
		r.tries = append(r.tries, n)
		return n, p, nil
	}
	if r.pinned != nil {
		// The try on it has failed.
		r.pinned = nil
		if err := r.sessionLost(p); err != nil {
			return nil, nil, err
		}
	} else if len(r.tries) == 0 {
		r.session = r.d.session(r, p.conf.Load())
	}
	alone := [1]*pool{p}
	chain := alone[:]
	if p.conf.Load().FailurePool != "" {
		chain = r.d.chain(p)
	}
	if r.session.begun() {
		for _, p := range chain {
			n, err := r.seatSession(ctx, p)
			if n != nil || err != nil {
				return n, p, err
			}
		}
		if err := r.sessionLost(p); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range chain {
		n, alive, err := r.seatAny(ctx, p)
		if n != nil || err != nil {
			return n, p, err
		}
		if alive {
			break
		}
	}
	return nil, nil, nil
}

// chain is a pool with its failure pools.
func (d *DataPlane) chain(p *pool) []*pool {
	var list []*pool
	for p != nil && !slices.Contains(list, p) {
		list = append(list, p)
		p = d.pool(p.conf.Load().FailurePool)
	}
	return list
}

// seatSession takes a place on the session's node, if the pool has it.
func (r *route) seatSession(ctx context.Context, p *pool) (*node, error) {
	// It takes requests of sessions if it works, and is active or drains; and one
	// that failed gets its trial from its own session.
	find := func() *node {
		if n := r.session.among(*p.bound.Load()); n != nil && !r.skip(n) {
			return n
		}
		return nil
	}
	if n := p.dueTrial(func(n *node) bool { return r.skip(n) || r.session.among([]*node{n}) == nil }); n != nil && n.begin() {
		r.pinned = n
		return r.seated(n), nil
	}
	n, waited, err := p.seat(ctx, seeker{
		choose: func(free func(*node) bool) *node {
			if n := find(); n != nil && free(n) {
				return n
			}
			return nil
		},
		fits: func(n *node) bool { return n == find() },
		any:  func() bool { return find() != nil },
	})
	r.waited += waited
	if n != nil {
		r.pinned = r.seated(n)
	}
	return n, err
}

// seatAny takes a place on a node as the pool's algorithm chooses. alive tells
// whether the pool has any node that works.
func (r *route) seatAny(ctx context.Context, p *pool) (n *node, alive bool, err error) {
	if n := p.dueTrial(r.skip); n != nil && n.begin() {
		return r.seated(n), true, nil
	}
	if len((*p.usable.Load())[0]) == 0 {
		return nil, false, nil
	}
	if p.conf.Load().limit() == 0 {
		// Nobody waits: no seeker is needed.
		if n := p.choose(r.skip, unlimited, r.random); n == nil || n.begin() {
			if n != nil {
				r.seated(n)
			}
			return n, true, nil
		}
	}
	n, waited, err := p.seat(ctx, seeker{
		choose: func(free func(*node) bool) *node { return p.choose(r.skip, free, r.random) },
		fits:   func(n *node) bool { return p.has(func(u *node) bool { return u != n || r.skip(n) }) },
		any:    func() bool { return p.has(r.skip) },
	})
	r.waited += waited
	if n != nil {
		r.seated(n)
	}
	return n, true, err
}

func (r *route) seated(n *node) *node {
	r.tries = append(r.tries, n)
	if r.session != nil {
		r.session.chosen(r.d, n)
	}
	return n
}

// sessionLost does what the class of the session says when its node is gone: nil
// means that another node takes over.
func (r *route) sessionLost(p *pool) error {
	s := r.session
	s.lost(r.d)
	switch s.conf.FailureMode {
	case "close":
		return errSessionClosed
	case "url":
		if s.conf.URL != "" {
			return &movedError{s.conf.URL}
		}
	}
	p.stats.add(poolSessionMigrated, 1)
	return nil
}

// attempts are how many nodes may be tried, and of these how many without a reply
// in time; 0: any number.
func (r *route) attempts(conf *Pool) (all, timedOut int) {
	all, timedOut = conf.MaxConnectionAttempts, conf.MaxTimedOutConnectionAttempts
	if r.script != nil {
		all = or(r.script.Overrides.MaxConnectionAttempts, all)
		timedOut = or(r.script.Overrides.MaxTimedOutAttempts, timedOut)
	}
	return all, timedOut
}

// nodeStream is a connection to a node for a client whose protocol has no
// requests. Close ends it and gives back its place on the node.
type nodeStream struct {
	net.Conn
	node  *node
	once  sync.Once
	err   error
	sniff func([]byte) bool // sees what the node sends first, until it returns true
}

func (s *nodeStream) Close() error {
	s.once.Do(func() {
		s.err = s.Conn.Close()
		s.node.end()
	})
	return s.err
}

// CloseWrite passes on the end of the client's data.
func (s *nodeStream) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// connect opens a connection to a node of a pool, with all that the pool says of
// algorithm, sessions, limits, retries, time-outs and TLS. serverName is what SNI
// says if the pool sends it. Errors wrap errNoNode, or are errSessionClosed or a
// *movedError, upon both of which the client's connection is closed.
func (d *DataPlane) connect(ctx context.Context, poolName string, r *route, serverName string) (*nodeStream, error) {
	p := d.pool(poolName)
	if p == nil {
		return nil, fmt.Errorf("%w: pool '%s': %w", errNoNode, poolName, errNoPool)
	}
	var last error = errNoNode
	for {
		n, of, err := r.next(ctx, p)
		if err != nil {
			return nil, queueError(err)
		}
		if n == nil {
			return nil, last
		}
		conf := of.conf.Load()
		of.stats.add(poolTries, 1)
		began := d.now()
		actor, spec := d.actor("pools/"+of.name+"/"+n.address+"/"+r.client.String()), n.transports.Load().spec
		var conn net.Conn
		if r.udp {
			if conn, err = n.dial(ctx, actor, "udp", spec); err == nil {
				return &nodeStream{Conn: conn, node: n}, nil
			}
		} else {
			conn, err = n.open(ctx, actor, spec, serverName)
		}
		if err == nil {
			n.times.add(d.now(), d.now().Sub(began))
			of.tried(n, true, "")
			return (&nodeStream{Conn: conn, node: n}).learn(r), nil
		}
		n.end()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		of.tried(n, false, err.Error())
		n.stats.add(nodeErrors, 1)
		last = fmt.Errorf("%w: %w", errNoNode, err)
		if all, _ := r.attempts(conf); all > 0 && len(r.tries) >= all {
			return nil, last
		}
	}
}

// queueError makes of a wait that was in vain that no node is available.
func queueError(err error) error {
	if errors.Is(err, errQueueFull) || errors.Is(err, errQueueTimeout) {
		return fmt.Errorf("%w: %w", errNoNode, err)
	}
	return err
}
