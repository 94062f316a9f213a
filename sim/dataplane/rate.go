package dataplane

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"vtm-ingress/sim/trafficscript"
)

// rateClass is a rate class at run time, with a class of the same limits for each
// context that rules name.
type rateClass struct {
	clock clock.Clock
	conf  atomic.Pointer[Rate]

	mu       sync.Mutex
	contexts map[string]*rateQueue
}

// rateQueue lets uses through in their order. A limit of n in a period lets n
// through at once, and then one each time a period's n-th part has passed.
type rateQueue struct {
	second, minute time.Time // when the next use would be on time, were there no burst
	waiting        int
}

// maxContexts is how many contexts a class keeps before those are forgotten that
// nobody waits in.
const maxContexts = 10_000

// with returns the class with new limits; those who wait go on by the old ones.
func (c *rateClass) with(clock clock.Clock, conf *Rate) *rateClass {
	if c == nil {
		c = &rateClass{clock: clock, contexts: make(map[string]*rateQueue)}
	}
	c.conf.Store(conf)
	return c
}

// queue returns the queue of a context. The caller holds c.mu.
func (c *rateClass) queue(context string, now time.Time) *rateQueue {
	q := c.contexts[context]
	if q != nil {
		return q
	}
	if len(c.contexts) >= maxContexts {
		for name, old := range c.contexts {
			if old.waiting == 0 && !old.second.After(now) && !old.minute.After(now) {
				delete(c.contexts, name)
			}
		}
	}
	q = &rateQueue{}
	c.contexts[context] = q
	return q
}

// claim books the next use and returns how long it has to wait. With atOnce it
// books only what need not wait.
func (c *rateClass) claim(context string, atOnce bool) (wait time.Duration, booked bool) {
	now, conf := c.clock.Now(), c.conf.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.queue(context, now)
	second, wait1 := slot(q.second, now, time.Second, conf.PerSecond)
	minute, wait2 := slot(q.minute, now, time.Minute, conf.PerMinute)
	wait = max(wait1, wait2)
	if atOnce && wait > 0 {
		return wait, false
	}
	q.second, q.minute = second, minute
	if wait > 0 {
		q.waiting++
	}
	return wait, true
}

// slot is the generic cell rate algorithm (ITU-T I.371): due moves by the n-th part
// of a period with each use, and a use may be early by the rest of the period.
func slot(due, now time.Time, period time.Duration, n int) (next time.Time, wait time.Duration) {
	if n <= 0 {
		return due, 0
	}
	step := period / time.Duration(n)
	if due.Before(now) {
		due = now
	}
	return due.Add(step), max(due.Sub(now)-(period-step), 0)
}

// done ends a wait.
func (c *rateClass) done(context string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.contexts[context].waiting--
}

// rateClasses are those of the catalog, for rules.
type rateClasses struct{ all *sync.Map }

var _ trafficscript.RateClasses = rateClasses{}

func (r rateClasses) Take(class, context string) (taken, known bool) {
	c := find[rateClass](r.all, class)
	if c == nil {
		return false, false
	}
	_, taken = c.claim(context, true)
	return taken, true
}

func (r rateClasses) Wait(ctx context.Context, class, context string) (known bool, err error) {
	c := find[rateClass](r.all, class)
	if c == nil {
		return false, nil
	}
	wait, _ := c.claim(context, false)
	if wait <= 0 {
		return true, nil
	}
	defer c.done(context)
	if !sleep(ctx, c.clock, wait) {
		return true, ctx.Err()
	}
	return true, nil
}

func (r rateClasses) Backlog(class, context string) int {
	c := find[rateClass](r.all, class)
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.contexts[context]; q != nil {
		return q.waiting
	}
	return 0
}
