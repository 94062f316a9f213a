package dataplane

import (
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// watchdog ends those transactions of one client connection in which no data flows
// either way for the virtual server's time-out. It has one timer, which is left
// running when a transaction has ended: most end long before it, and the next one
// on the connection finds it.
type watchdog struct {
	mu      sync.Mutex // guards all below; held while transactions are aborted
	timer   clock.Timer
	due     time.Time // when the timer fires; zero: it does not
	watched []*transaction
	ended   bool
}

// watch ends the transaction when no data flows either way for the virtual
// server's time-out. Exchanges that are over at once are not watched: what waits
// for a reply is bounded by the pool.
func (t *transaction) watch() {
	now := t.moved()
	limit := t.conf.Timeout
	if t.watched || limit <= 0 {
		return
	}
	t.watched = true
	w := &t.client.watchdog
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return // cut off already
	}
	w.watched = append(w.watched, t)
	if due := now.Add(limit); w.due.IsZero() || due.Before(w.due) {
		w.wake(t.client, due, limit)
	}
}

// moved notes that data flows now, and returns that time. Any goroutine may call it.
func (t *transaction) moved() time.Time {
	now := t.v.d.now()
	t.activity.Store(now.UnixNano())
	return now
}

// unwatch lets go of a transaction. When it returns, nothing aborts it any more.
func (t *transaction) unwatch() {
	w := &t.client.watchdog
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.watched, t); i >= 0 {
		w.watched = slices.Delete(w.watched, i, i+1)
	}
}

// wake sets the timer. w.mu is held.
func (w *watchdog) wake(c *client, due time.Time, in time.Duration) {
	w.due = due
	if w.timer == nil {
		w.timer = c.server.d.options.World.Clock().AfterFunc(in, func() { w.look(c) })
	} else {
		w.timer.Reset(in)
	}
}

// look aborts what is idle for too long, and comes again when the next one may be.
func (w *watchdog) look(c *client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	now := c.server.d.now()
	w.due = time.Time{}
	var next time.Time
	w.watched = slices.DeleteFunc(w.watched, func(t *transaction) bool {
		due := time.Unix(0, t.activity.Load()).Add(t.conf.Timeout)
		if due.After(now) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			return false
		}
		if t.ctx.Err() == nil {
			t.abort(errIdle)
		}
		return true
	})
	if !next.IsZero() {
		w.wake(c, next, next.Sub(now))
	}
}

// end stops the timer: a call of look that is on its way finds that nothing is
// watched.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
