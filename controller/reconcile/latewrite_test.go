package reconcile

import (
	"fmt"
	"testing"
	"time"
)

// All interleavings, up to some length, of two instances that each hold the lease for
// a while, read the traffic manager and write one value, of the lease's changes, and of
// when their caches see a change in Kubernetes. In the beginning one of them has a write
// under way that is old by then. A write takes its time: it may land after its sender
// gave up waiting for it, and after another instance became the writer. Two may never write at once. And wherever such a history stops,
// who is the writer then finds what a late write changed, and puts it right. What is
// decided is decided by gate, takeOver and changedByOthers themselves; how the lease
// passes on in detail is the other test's.
func TestALateWriteOfAFormerWriterIsFoundAndPutRight(t *testing.T) {
	const (
		duration = 3 * time.Second
		deadline = 2 * time.Second
		ends     = 4 * time.Second
		depth    = 10
		member   = "the one"
	)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }

	type flight struct {
		on, landed, late bool
		value            int
		until            time.Duration
	}
	type instance struct {
		gate          gate
		cache         int           // what it believes Kubernetes wants
		renewed       time.Duration // when it saw the lease change last
		seen          int           // as of which version
		read          bool          // observed holds
		observed      int
		readAt, wrote time.Duration
		silent        bool // of takeOver, as again
		again         time.Time
		flight        flight
	}
	type world struct {
		now     time.Duration
		want    int
		holder  int // -1: nobody
		version int
		value   int // on the traffic manager
		changed time.Duration
		a       [2]instance
	}
	read := func(w *world, i int) {
		me := &w.a[i]
		machine := takeOver{silent: me.silent, again: me.again, through: member}
		machine.over(at(w.now))
		machine.looked(member, at(w.now), ends, nil)
		me.silent, me.again = machine.silent, machine.again
		if !machine.again.IsZero() {
			// vtm.DefaultTimeout is longer than this model lasts.
			me.again = at(w.now + ends)
		}
		me.read, me.observed, me.readAt = true, w.value, w.now
	}
	lands := func(w *world, i int) {
		f := &w.a[i].flight
		w.value, w.changed, f.landed = f.value, w.now, true
		if f.late {
			*f = flight{}
		}
	}
	// The writer of now goes on alone, and everything that is under way lands first.
	// It is checked by which means it finds what differs: none, a look at the time of the
	// last change, or that all is read anew.
	found := map[string]int{}
	settle := func(w world, after time.Duration, history []string) {
		w.now += after
		for i := range w.a {
			me := &w.a[i]
			if me.flight.on && !me.flight.landed {
				me.flight.late = true
				if _, ok := me.gate.permit(at(w.now - after)); ok {
					return // it still waits for it: that is another history
				}
				lands(&w, i)
			}
		}
		for i := range w.a {
			me := &w.a[i]
			if _, ok := me.gate.permit(at(w.now - after)); !ok || me.flight.on {
				continue // it goes on renewing the lease
			}
			me.cache = w.want
			how := "nothing was to be found"
			pass := func() {
				if !me.read {
					read(&w, i)
				}
				if me.observed != me.cache {
					w.value, me.observed, me.wrote, w.changed = me.cache, me.cache, w.now, w.now
				}
			}
			pass()
			if w.value != w.want {
				how = "found by the time of the last change"
				me.read = !changedByOthers(at(w.changed), at(me.wrote), at(me.readAt))
				pass()
			}
			w.now += 10 * ends
			if machine := (takeOver{again: me.again}); w.value != w.want && machine.over(at(w.now)) {
				how = "found when all was read again after the take-over"
				me.read = false
				pass()
			}
			if w.value != w.want {
				how = "found when all is read anew"
				me.read = false
				pass()
			}
			if w.value != w.want {
				t.Fatalf("the traffic manager has %d, Kubernetes wants %d: %v", w.value, w.want, history)
			}
			found[how]++
		}
	}

	seen := map[world]int{}
	var explore func(w world, left int, history []string)
	explore = func(w world, left int, history []string) {
		if done, ok := seen[w]; ok && done >= left {
			return
		}
		seen[w] = left
		settle(w, 0, history)
		settle(w, 2*clockSlack, history)
		if left == 0 {
			return
		}
		next := func(what string, i int, change func(*world, *instance)) {
			n := w
			change(&n, &n.a[i])
			explore(n, left-1, append(history[:len(history):len(history)], fmt.Sprint(what, " ", i)))
		}
		if w.now < 7*time.Second {
			next("time passes", 0, func(n *world, _ *instance) { n.now += time.Second })
		}
		for i := range w.a {
			me := w.a[i]
			_, may := me.gate.permit(at(w.now))
			if me.cache != w.want {
				next("sees the change", i, func(n *world, me *instance) { me.cache = n.want })
			}
			if me.seen != w.version {
				next("sees the lease", i, func(n *world, me *instance) { me.seen, me.renewed = n.version, n.now })
			}
			if me.seen == w.version && (w.holder == i || w.holder < 0 || w.now >= me.renewed+duration) {
				next("holds the lease", i, func(n *world, me *instance) {
					if !me.gate.leading || n.holder != i {
						me.gate.stopped()
						me.gate.started(n.version+1, time.Time{})
						me.gate.announced(n.version+1, member)
						me.read, me.silent, me.again = false, n.holder >= 0, time.Time{}
					}
					me.gate.renewed(at(n.now))
					n.holder = i
					n.version++
					me.seen, me.renewed = n.version, n.now
				})
			}
			if me.gate.leading && me.gate.under == 0 && w.holder == i {
				next("gives up", i, func(n *world, me *instance) {
					me.gate.stopped()
					if !me.gate.mayRelease() {
						t.Fatalf("the lease can't be given up though nothing is under way: %v", history)
					}
					n.holder = -1
					n.version++
				})
			}
			if may && !me.read {
				next("reads", i, func(n *world, _ *instance) { read(n, i) })
			}
			if may && me.read && me.observed != me.cache && !me.flight.on {
				next("writes", i, func(n *world, me *instance) {
					until, ok := me.gate.begin(at(n.now), me.gate.term, member)
					if !ok {
						t.Fatalf("the writer may not write: %v", history)
					}
					if other := n.a[1-i].flight; other.on && !other.late && n.now < other.until {
						t.Fatalf("%d starts a write while one of the other is under way: %v", i, history)
					}
					me.flight = flight{on: true, value: me.cache, until: until.Sub(start)}
				})
			}
			if me.flight.on && !me.flight.landed {
				next("its write lands", i, func(n *world, _ *instance) { lands(n, i) })
			}
			if me.flight.on && me.flight.landed {
				next("hears that it landed", i, func(n *world, me *instance) {
					me.gate.end(at(n.now))
					me.observed, me.wrote, me.flight = me.flight.value, n.now, flight{}
				})
			}
			if me.flight.on && !me.flight.late && !me.flight.landed && w.now >= me.flight.until {
				next("waits for its write no more", i, func(n *world, me *instance) {
					me.gate.end(at(n.now))
					me.read, me.flight.late = false, true
				})
			}
		}
	}
	w := world{want: 2, holder: 0, version: 1}
	for i := range w.a {
		w.a[i] = instance{gate: gate{renewDeadline: deadline, leaseDuration: duration}, cache: 1, seen: 1}
	}
	w.a[0].gate.started(1, time.Time{})
	w.a[0].gate.announced(1, member)
	w.a[0].gate.renewed(at(0))
	w.a[0].read = true
	until, ok := w.a[0].gate.begin(at(0), 1, member)
	w.a[0].flight = flight{on: ok, value: 1, until: until.Sub(start)}
	explore(w, depth, nil)
	t.Logf("%d states; %v", len(seen), found)
	for _, how := range []string{"nothing was to be found", "found by the time of the last change", "found when all was read again after the take-over"} {
		if found[how] == 0 {
			t.Errorf("no history in which it was %s: the model shows nothing", how)
		}
	}
}
