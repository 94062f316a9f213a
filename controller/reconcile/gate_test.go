package reconcile

import (
	"fmt"
	"testing"
	"time"
)

// All histories of two instances up to some length (states that were reached
// before are not explored again): renewals that are sent,
// arrive and are acknowledged or lost, release, time that passes, one instance
// that is told late or never that it lost. At no moment may both start a write,
// nor one start while another one's write may still be under way.
//
// The lease is modelled as client-go keeps it: a candidate takes it when it is
// released, or when it has seen no change of it for its whole duration.
func TestGateNeverLetsTwoWriteAtOnce(t *testing.T) {
	const (
		duration = 2 * time.Second
		deadline = 1 * time.Second
		depth    = 14
	)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type instance struct {
		gate     gate
		seen     int           // version of the lease seen last
		seenAt   time.Duration // when
		writing  time.Duration // until when a write that it started may be under way
		proposed time.Duration // when a renewal that is not acknowledged yet was sent; -1: none
		applied  bool          // that renewal took effect
		version  int           // of the lease that it renews: others conflict
	}
	type world struct {
		now     time.Duration
		holder  int // -1: none
		version int
		a       [2]instance
	}
	seen := map[world]int{} // state -> steps that were left when it was explored
	var explore func(w world, left int, history []string)
	explore = func(w world, left int, history []string) {
		if done, ok := seen[w]; ok && done >= left {
			return
		}
		seen[w] = left
		open := 0
		for i := range w.a {
			until, ok := w.a[i].gate.permit(start.Add(w.now))
			if !ok {
				continue
			}
			open++
			if w.a[1-i].writing > w.now {
				t.Fatalf("instance %d may start a write while one of the other may be under way: %v", i, history)
			}
			if u := until.Sub(start); u > w.a[i].writing {
				w.a[i].writing = u // it writes whenever it may
			}
		}
		if open > 1 {
			t.Fatalf("both may write: %v", history)
		}
		if left == 0 {
			return
		}
		next := func(what string, i int, change func(*world)) {
			n := w
			change(&n)
			explore(n, left-1, append(history[:len(history):len(history)], fmt.Sprint(what, i)))
		}
		next("time passes", 0, func(n *world) { n.now += time.Second })
		for i := range w.a {
			me := &w.a[i]
			if me.seen != w.version {
				next("sees the lease ", i, func(n *world) { n.a[i].seen, n.a[i].seenAt = n.version, n.now })
			}
			free := w.holder == -1 || w.now >= me.seenAt+duration
			if me.proposed < 0 && me.seen == w.version && (w.holder == i || free) {
				next("sends a renewal ", i, func(n *world) { n.a[i].proposed, n.a[i].applied, n.a[i].version = n.now, false, n.version })
			}
			if me.proposed >= 0 && !me.applied && me.version == w.version {
				next("renewal takes effect ", i, func(n *world) {
					n.holder = i
					n.version++
					n.a[i].seen, n.a[i].seenAt, n.a[i].applied = n.version, n.now, true
				})
			}
			if me.proposed >= 0 && me.applied {
				next("renewal is acknowledged ", i, func(n *world) {
					if !n.a[i].gate.leading {
						n.a[i].gate.started(n.a[i].gate.term+1, time.Time{})
					}
					n.a[i].gate.renewed(start.Add(n.a[i].proposed))
					n.a[i].proposed = -1
				})
			}
			if me.proposed >= 0 {
				next("renewal fails ", i, func(n *world) { n.a[i].proposed = -1 })
			}
			if me.gate.leading && me.proposed < 0 {
				next("gives up ", i, func(n *world) {
					n.a[i].gate.stopped()
					n.a[i].writing = 0 // its writes have ended by then
					if n.holder == i {
						n.holder = -1
						n.version++
					}
				})
			}
		}
	}
	var w world
	w.holder = -1
	for i := range w.a {
		w.a[i].gate = gate{renewDeadline: deadline, leaseDuration: duration}
		w.a[i].proposed = -1
	}
	explore(w, depth, nil)
	t.Logf("%d states", len(seen))
	terms := 0
	for w := range seen {
		terms = max(terms, w.a[0].gate.term+w.a[1].gate.term)
	}
	if terms < 3 {
		t.Errorf("no history has more than %d terms: the model is stuck", terms)
	}
}

func TestGateIsOpenOnlyWhileProved(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := gate{renewDeadline: 10 * time.Second, leaseDuration: 15 * time.Second}
	check := func(after time.Duration, want bool) {
		t.Helper()
		until, ok := g.permit(start.Add(after))
		if ok != want {
			t.Errorf("after %v: open %v, want %v", after, ok, want)
		}
		if ok && until.Sub(g.proof) != g.leaseDuration {
			t.Errorf("after %v: a write may last until %v after the proof, want %v", after, until.Sub(g.proof), g.leaseDuration)
		}
	}
	check(0, false)
	g.started(1, start)
	check(0, false)
	g.renewed(start)
	check(0, true)
	check(10*time.Second-1, true)
	check(10*time.Second, false)
	check(-1, false) // a clock that went back proves nothing
	g.renewed(start.Add(8 * time.Second))
	g.renewed(start.Add(4 * time.Second)) // a late answer to an older request
	check(18*time.Second-1, true)
	check(18*time.Second, false)
	g.stopped()
	check(9*time.Second, false)
}
