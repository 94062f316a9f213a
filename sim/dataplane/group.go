package dataplane

import "sync"

// group counts what is under way, so that its owner can refuse more and wait
// for the rest. Unlike a sync.WaitGroup it may be entered while it is waited
// for: the entry fails.
type group struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // closed when closed and n is 0; made by close
}

// enter counts one more, or returns false when the group is closed.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

// join counts one more on behalf of one that has entered and not left, so that it
// cannot fail.
func (g *group) join() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
}

// leave ends what one enter or join began.
func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.closed && g.n == 0 {
		close(g.empty)
	}
}

// close refuses further entries and returns a channel that is closed when all
// have left.
func (g *group) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		g.empty = make(chan struct{})
		if g.n == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

// spawn runs f in a goroutine of the group; it does nothing when the group is
// closed.
func (g *group) spawn(f func()) {
	if !g.enter() {
		return
	}
	go func() {
		defer g.leave()
		f()
	}()
}
