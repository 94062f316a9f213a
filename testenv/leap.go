package testenv

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"vtm-ingress/internal/outside"
)

// leapingClock is a clock that can be put forward: at once it is later for all who
// have it, and what they waited for until then is due, as on a machine that was
// suspended. Tickers, and deadlines of contexts, are not moved.
type leapingClock struct {
	outside.Clock

	mu      sync.Mutex // guards all below
	ahead   time.Duration
	pending map[*leapingTimer]struct{}
	tidyAt  int // so many pending timers are looked through for those that fired
}

func newLeapingClock(base outside.Clock) *leapingClock {
	return &leapingClock{Clock: base, pending: map[*leapingTimer]struct{}{}, tidyAt: 64}
}

// leap puts the clock forward, or back: then nobody waits longer for that.
func (c *leapingClock) leap(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tidy()
	c.ahead += d
	for t := range c.pending {
		if d < 0 {
			t.at = t.at.Add(d)
			continue
		}
		t.Timer.Reset(max(t.at.Sub(c.now()), 0))
	}
}

// now and tidy are called with mu held.
func (c *leapingClock) now() time.Time { return c.Clock.Now().Add(c.ahead) }

// tidy forgets the timers that have fired.
func (c *leapingClock) tidy() {
	for t := range c.pending {
		if !t.at.After(c.now()) {
			delete(c.pending, t)
		}
	}
	c.tidyAt = 2*len(c.pending) + 64
}

func (c *leapingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *leapingClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *leapingClock) NewTimer(d time.Duration) clock.Timer { return c.add(c.Clock.NewTimer(d), d) }

func (c *leapingClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return c.add(c.Clock.AfterFunc(d, f), d)
}

func (c *leapingClock) After(d time.Duration) <-chan time.Time { return c.NewTimer(d).C() }

func (c *leapingClock) Sleep(d time.Duration) { <-c.After(d) }

func (c *leapingClock) add(base clock.Timer, d time.Duration) clock.Timer {
	t := &leapingTimer{Timer: base, clock: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.pend(d)
	return t
}

type leapingTimer struct {
	clock.Timer
	clock *leapingClock
	at    time.Time // guarded by clock.mu
}

// pend is called with the clock's mu held.
func (t *leapingTimer) pend(d time.Duration) {
	t.at = t.clock.now().Add(d)
	t.clock.pending[t] = struct{}{}
	if len(t.clock.pending) > t.clock.tidyAt {
		t.clock.tidy()
	}
}

func (t *leapingTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	delete(t.clock.pending, t)
	return t.Timer.Stop()
}

func (t *leapingTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.pend(d)
	return t.Timer.Reset(d)
}

// leapingWorld is a World whose clock can be put forward.
type leapingWorld struct {
	outside.World
	clock *leapingClock
}

func (w leapingWorld) Clock() outside.Clock { return w.clock }
