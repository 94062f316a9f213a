package reconcile

import (
	"testing"
	"time"

	"vtm-ingress/controller/vtm"
)

func at(seconds float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func TestWhatLastsShorterThanAMomentChangesNoJudgement(t *testing.T) {
	f := fitness{moment: 10 * time.Second}
	for _, step := range []struct {
		at           float64
		good         bool
		changed, fit bool
	}{
		{0, true, true, true},
		{10, false, false, true},
		{12, false, false, true},
		{14, true, false, true}, // it answered in between
		{16, false, false, true},
		{25, false, false, true},
		{26, false, true, false},
		{28, true, false, false},
		{30, false, false, false},
		{32, true, false, false},
		{41, true, false, false},
		{42, true, true, true},
	} {
		if changed := f.look(step.good, at(step.at)); changed != step.changed || f.fit != step.fit {
			t.Errorf("after %v s: changed %v, fit %v; want %v, %v", step.at, changed, f.fit, step.changed, step.fit)
		}
	}
	f = fitness{moment: 10 * time.Second}
	if !f.look(false, at(0)) || f.fit {
		t.Error("the first look does not count at once")
	}
}

func TestAnUnfitInstanceRunsOnlyForALeaseThatNobodyTakes(t *testing.T) {
	c := candidacy{me: "me", patience: 10 * time.Second, again: time.Hour, seenAt: at(0)}
	may := func(when float64, want bool) {
		t.Helper()
		if _, ok := c.mayRun(at(when)); ok != want {
			t.Errorf("after %v s: may run %v, want %v", when, ok, want)
		}
	}
	may(100, false) // not judged
	c.judge(false)
	c.see(Record{Holder: "other", Duration: 15 * time.Second, Version: 1}, true, at(100))
	may(124.9, false)
	may(125, true)
	c.see(Record{Holder: "other", Duration: 15 * time.Second, Version: 2, Renewed: at(102)}, true, at(102))
	may(126, false)
	if end, _ := c.mustEnd(at(103), false); !end {
		t.Error("goes on running though another one holds the Lease")
	}
	c.see(Record{Version: 3}, true, at(104))
	may(113.9, false)
	may(114, true)
	if end, next := c.mustEnd(at(115), true); end || !next.Equal(at(114).Add(time.Hour)) {
		t.Errorf("gives way at once (%v), or again at %v, though nobody came", end, next)
	}
	c.judge(true)
	if end, next := c.mustEnd(at(116), true); end || !next.IsZero() {
		t.Error("gives way though it is fit")
	}
	c.judge(false)
	if end, _ := c.mustEnd(at(117), true); !end {
		t.Error("does not give way though it was fit in between")
	}
}

func TestWhatWasSeenLateOverrulesNothing(t *testing.T) {
	c := candidacy{me: "me", judged: true, fit: true}
	c.see(Record{Holder: "other", Version: 1}, false, at(1))
	if !c.see(Record{Version: 2}, true, at(2)) {
		t.Error("that the Lease is free is no news")
	}
	if c.see(Record{Holder: "other", Version: 1, Renewed: at(0)}, false, at(3)) || c.seen.Holder != "" {
		t.Error("an older answer counts")
	}
	if end, _ := c.mustEnd(at(3), false); !end {
		t.Error("does not take the Lease at once")
	}
	if end, _ := c.mustEnd(at(3), false); end {
		t.Error("begins anew again and again")
	}
}

func resource(name, value string) *vtm.Resource {
	return vtm.New(vtm.Pools, name, vtm.Properties{"basic": {"note": value}})
}

func TestATakeOverLeavesWhatMayBeOnItsWay(t *testing.T) {
	const ends = 30 * time.Second
	old, newer := resource("p", "old"), resource("p", "new")
	update := func(r *vtm.Resource) *Step { return &Step{Action: Update, ID: r.ID, After: r} }
	gone := &Step{Action: Delete, ID: old.ID}

	var m takeOver
	m.inherit(Inheritance{})
	m.looked("one", at(0), ends, nil)
	if m.waiting() || m.leaves(update(old)) || !m.resting(at(0), ends) {
		t.Error("waits though nothing was written")
	}
	m.inherit(Inheritance{Through: "one", LastWrite: at(100)})
	m.looked("one", at(101), ends, nil)
	if m.waiting() || m.resting(at(101), ends) || !m.resting(at(130), ends) {
		t.Error("waits though it goes on through the same traffic manager, or any other one would do")
	}
	m.inherit(Inheritance{Through: "one", LastWrite: at(100)})
	m.looked("two", at(130), ends, nil)
	if m.waiting() {
		t.Error("waits though all is replicated")
	}

	m.inherit(Inheritance{Through: "one", LastWrite: at(100), Silent: true})
	m.looked("two", at(101), ends, nil)
	if !m.waiting() || !m.next().Equal(at(130)) {
		t.Fatalf("waits until %v", m.next())
	}
	m.desired = map[vtm.ID]*vtm.Resource{old.ID: old}
	if !m.leaves(update(resource("p", "old"))) || m.leaves(update(newer)) || m.leaves(gone) {
		t.Error("leaves what is new, or not what may be on its way")
	}
	if other := resource("q", "x"); m.leaves(update(other)) || !m.leaves(&Step{Action: Delete, ID: other.ID}) {
		t.Error("leaves a new resource, or deletes one that was not desired before either")
	}
	m.written("two", at(110))
	m.looked("three", at(111), ends, nil) // the second one went away too
	if !m.next().Equal(at(131)) || m.desired == nil {
		t.Errorf("next look at %v; what is left is forgotten: %v", m.next(), m.desired == nil)
	}
	if m.over(at(130)) || !m.over(at(131)) || m.next() != at(140) {
		t.Errorf("not over when it should be, or late writes are not looked for: %v", m.next())
	}
	if !m.over(at(141)) || m.over(at(1000)) || !m.next().IsZero() {
		t.Error("looks for late writes never, or again and again")
	}

	m.inherit(Inheritance{})
	m.written("one", at(200))
	m.looked("two", at(201), ends, map[vtm.ID]*vtm.Resource{old.ID: old})
	if !m.leaves(update(old)) || m.leaves(update(newer)) {
		t.Error("of what this instance itself wrote through another one, it leaves what was not written")
	}
}
