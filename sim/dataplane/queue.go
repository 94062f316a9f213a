package dataplane

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

var (
	errQueueFull    = errors.New("the pool's queue is full (connection!max_queue_size)")
	errQueueTimeout = errors.New("no node became free in time (connection!queue_timeout)")
)

// queue holds those who wait because all nodes they could use have as many
// connections as they may. A node that becomes free goes to the one of them who
// has waited longest. Its mutex is a leaf, and guards the count of requests of
// nodes as long as there is a limit.
type queue struct {
	mu      sync.Mutex
	waiting []*waiter // by ticket
	tickets uint64    // given so far
}

type waiter struct {
	seeker
	ticket uint64
	// got has room for one: the node, its request counted already; or nil: there is
	// none any more.
	got chan *node
}

// seeker finds a node for a request.
type seeker struct {
	choose func(free func(*node) bool) *node // among those that are free
	fits   func(*node) bool                  // whether a node that became free would do
	any    func() bool                       // whether there is a node at all, free or not
}

// limit is how many requests a node serves at a time; 0: any number. A request
// under way is a connection in use, and a transaction.
func (c *Pool) limit() int64 {
	if c.MaxConnectionsPerNode == 0 || c.MaxTransactionsPerNode > 0 && c.MaxTransactionsPerNode < c.MaxConnectionsPerNode {
		return int64(c.MaxTransactionsPerNode)
	}
	return int64(c.MaxConnectionsPerNode)
}

// seat finds a node and counts a request on it. When limits alone are in the way
// it waits, and tells for how long. It returns nil when there is no node.
func (p *pool) seat(ctx context.Context, s seeker) (*node, time.Duration, error) {
	for {
		limit := p.conf.Load().limit()
		if limit > 0 {
			return p.queued(ctx, limit, s)
		}
		n := s.choose(unlimited)
		if n == nil || n.begin() {
			return n, 0, nil
		}
	}
}

func unlimited(*node) bool { return true }

// below accepts nodes that have not as many requests as they may.
func below(limit int64) func(*node) bool {
	if limit == 0 {
		return unlimited
	}
	return func(n *node) bool { return n.requests.Load() < limit }
}

func (p *pool) queued(ctx context.Context, limit int64, s seeker) (_ *node, waited time.Duration, err error) {
	q := &p.queue
	w := &waiter{seeker: s, got: make(chan *node, 1)}
	var began time.Time
	var late <-chan time.Time
	defer func() {
		if w.ticket > 0 {
			now := p.d.now()
			waited = now.Sub(began)
			p.stats.unqueued(now, waited, errors.Is(err, errQueueTimeout))
		}
	}()
	for {
		q.mu.Lock()
		n := s.choose(below(limit))
		if n != nil {
			// The count is the queue's to guard; whether the node is removed is seen
			// without it, since giving up a place takes it again.
			n.requests.Add(1)
			q.mu.Unlock()
			if n.begun() {
				return n, 0, nil
			}
			continue
		}
		if !s.any() {
			q.mu.Unlock()
			return nil, 0, nil
		}
		if w.ticket == 0 {
			conf := p.conf.Load()
			if conf.MaxQueueSize > 0 && len(q.waiting) >= conf.MaxQueueSize {
				q.mu.Unlock()
				return nil, 0, errQueueFull
			}
			q.tickets++
			w.ticket = q.tickets
			began = p.d.now()
			p.stats.queued.Add(1)
			if conf.QueueTimeout > 0 {
				timer := p.d.options.World.Clock().NewTimer(conf.QueueTimeout)
				defer timer.Stop()
				late = timer.C()
			}
		}
		at, _ := slices.BinarySearchFunc(q.waiting, w, func(a, b *waiter) int { return cmp.Compare(a.ticket, b.ticket) })
		q.waiting = slices.Insert(q.waiting, at, w)
		q.mu.Unlock()
		select {
		case n := <-w.got:
			if n != nil {
				return n, 0, nil
			}
			limit = p.conf.Load().limit()
			continue
		case <-late:
			err = errQueueTimeout
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-p.d.ctx.Done():
			err = errClosed
		}
		q.leave(w)
		select {
		case n := <-w.got: // at the same moment
			if n != nil {
				n.end()
			}
		default:
		}
		return nil, 0, err
	}
}

func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// release gives back a request's place on a node: to who waits for it, or to
// nobody. It returns how many requests are left on the node.
func (q *queue) release(n *node, limit int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n.requests.Load() <= limit && !n.removed.Load() {
		for i, w := range q.waiting {
			if w.fits(n) {
				q.waiting = slices.Delete(q.waiting, i, i+1)
				n.total.Add(1)
				w.got <- n
				return n.requests.Load()
			}
		}
	}
	return n.requests.Add(-1)
}

// recheck serves those that wait, in order, when nodes or limits have changed.
func (q *queue) recheck(limit int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(w *waiter) bool {
		n := w.choose(below(limit))
		if n == nil && w.any() {
			return false
		}
		if n != nil {
			n.requests.Add(1)
			n.total.Add(1)
		}
		w.got <- n
		return true
	})
}
