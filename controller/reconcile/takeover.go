package reconcile

import (
	"time"

	"vtm-ingress/controller/vtm"
)

// takeOver keeps a writer from undoing, repeating or racing what was written through
// another member and has not reached the one that it reads and writes now: members
// tell each other of changes only seconds later. It is a pure state machine, as the
// gate is.
//
// What was written last, by whom ever, went through one member. A writer goes on
// through that one. Where another one must do, and until replication must have ended,
// it writes only what is newer than what was written, or, if another instance did, than
// its own first look at that member; then all is read
// anew, and what still differs is put right. So is what a late write of a writer that
// fell silent changed.
type takeOver struct {
	through string    // the member that was written through last; "": none is known
	wrote   time.Time // not before that; zero: nothing was written
	silent  bool      // the one before fell silent, and its late writes were not looked for
	until   time.Time // what differs may be on its way; zero: nothing is
	again   time.Time // when all is read anew for late writes; zero: not
	// desired is what was, or must have been, written through the other member; nil: that
	// is not known yet.
	desired map[vtm.ID]*vtm.Resource
}

// inherit begins a term, after that of another instance or an earlier one of ours.
func (t *takeOver) inherit(in Inheritance) {
	*t = takeOver{through: in.Through, wrote: in.LastWrite, silent: in.Silent}
}

// looked notes that all was read through a member, which has, or will have, what was
// written elsewhere at most as much later as ends says. known is what this instance
// wrote there itself; nil: another one did, and what is desired now stands for it.
func (t *takeOver) looked(through string, now time.Time, ends time.Duration, known map[vtm.ID]*vtm.Resource) {
	if t.silent {
		t.silent, t.again = false, now.Add(max(ends, vtm.DefaultTimeout))
	}
	if t.wrote.IsZero() || t.through == through {
		return
	}
	if until := t.wrote.Add(ends); now.Before(until) && until.After(t.until) {
		if !t.waiting() {
			t.desired = known
		}
		t.until = until
	}
}

// written notes that a write was begun or has ended through a member.
func (t *takeOver) written(through string, now time.Time) { t.through, t.wrote = through, now }

// waiting says whether differences are left.
func (t *takeOver) waiting() bool { return !t.until.IsZero() }

// next is when all is to be read anew; zero: not because of a take-over.
func (t *takeOver) next() time.Time {
	if t.until.IsZero() || !t.again.IsZero() && t.again.Before(t.until) {
		return t.again
	}
	return t.until
}

// over says whether that time has come, and forgets it.
func (t *takeOver) over(now time.Time) bool {
	due := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	waited, again := due(t.until), due(t.again)
	if waited {
		t.until, t.desired = time.Time{}, nil
	}
	if again {
		t.again = time.Time{}
	}
	return waited || again
}

// resting says whether all that was written has reached every member, so that any may
// be written through.
func (t *takeOver) resting(now time.Time, ends time.Duration) bool {
	return !t.waiting() && (t.wrote.IsZero() || !now.Before(t.wrote.Add(ends)))
}

// leaves says whether a step is left while waiting: it is nothing new.
func (t *takeOver) leaves(s *Step) bool {
	if t.until.IsZero() {
		return false
	}
	then := t.desired[s.ID]
	if s.Action == Delete {
		return then == nil
	}
	return then != nil && vtm.Equal(then, s.After)
}
