package reconcile

import "time"

// offerAgain is after what time a writer that should not be the writer looks again
// whether another one would take over: doing so stops all writes for a while.
const offerAgain = 10 * time.Minute

// candidacy decides when this instance runs for the Lease. It is a pure state machine,
// as the gate is.
//
// An instance is fit while its own traffic manager is healthy and in the cluster. Those
// that are fit run at any time. One that is not waits until the Lease has been free for
// longer than any fit one would need to take it; as the writer it gives way, and if
// nobody takes the Lease it goes on: then all are unfit, or it is alone.
type candidacy struct {
	me string // its name in the Lease
	// patience is how long a Lease must have been free before one that is unfit runs;
	// again after what time it gives way again, if it had to go on.
	patience, again time.Duration

	judged, fit bool
	offered     time.Time // when it gave way last; zero: not since it was fit
	seen        Record    // the Lease
	seenAt      time.Time // when it was first seen as it is
	released    bool      // the watch saw that it was given up, and it was not run for since
}

// judge notes whether this instance is fit.
func (c *candidacy) judge(fit bool) {
	c.judged, c.fit = true, fit
	if fit {
		c.offered = time.Time{}
	}
}

// see notes what the Lease says. It reports whether that may decide something.
func (c *candidacy) see(r Record, watched bool, now time.Time) (news bool) {
	if r == c.seen || r.Version < c.seen.Version {
		return false // the watch and the elector see it on two ways
	}
	news = r.Holder != c.seen.Holder
	c.released = watched && news && r.Holder == ""
	c.seen, c.seenAt = r, now
	return news
}

// free is since when, or from when on, nobody holds the Lease, if nothing is seen of
// it any more.
func (c *candidacy) free() time.Time {
	if c.seen.Holder == "" {
		return c.seenAt
	}
	return c.seenAt.Add(c.seen.Duration)
}

// mayRun says whether this instance may run for the Lease now, or else from when on, if
// nothing happens; zero: not at all.
func (c *candidacy) mayRun(now time.Time) (at time.Time, may bool) {
	if !c.judged {
		return time.Time{}, false
	}
	at = c.free().Add(c.patience)
	if !c.fit && !now.Before(at) {
		c.offered = now // to all who are fit: none came
	}
	return at, c.fit || !now.Before(at)
}

// mustEnd says whether one that runs must end and begin anew, or else when that is to
// be looked at again; zero: only when something happens.
func (c *candidacy) mustEnd(now time.Time, leading bool) (end bool, at time.Time) {
	switch {
	case leading && c.fit:
		return false, time.Time{}
	case leading:
		if !c.offered.IsZero() && now.Before(c.offered.Add(c.again)) {
			return false, c.offered.Add(c.again)
		}
		c.offered = now
		return true, time.Time{}
	case c.fit:
		// The elector would look again only after its period.
		end, c.released = c.released, false
		return end, time.Time{}
	}
	return c.seen.Holder != "" && c.seen.Holder != c.me && now.Before(c.free()), time.Time{}
}

// fitness judges by what each look at the own traffic manager came to. What lasts
// shorter than a moment changes nothing.
type fitness struct {
	moment time.Duration

	judged, fit bool
	against     time.Time // since when each look says the contrary; zero: the last did not
}

// look notes what a look came to, and reports whether the judgement is another one.
func (f *fitness) look(good bool, now time.Time) (changed bool) {
	switch {
	case !f.judged:
		f.judged, f.fit = true, good
		return true
	case good == f.fit:
		f.against = time.Time{}
		return false
	case f.against.IsZero():
		f.against = now
	}
	if now.Sub(f.against) < f.moment {
		return false
	}
	f.fit, f.against = good, time.Time{}
	return true
}
