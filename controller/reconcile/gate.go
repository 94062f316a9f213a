package reconcile

import "time"

// gate decides whether this instance may start a write. It is a pure state
// machine: what happens is told to it with the time at which it happened, and
// nothing else moves it. Times are those of one monotonic clock.
//
// It is open only while this instance holds the lease and can prove it: the
// proof is the last renewal that the API server acknowledged, and it counts from
// the moment when that request was sent, since the others count the lease's
// duration from a moment after that.
type gate struct {
	// renewDeadline is how long a proof lets writes start; leaseDuration, longer,
	// is how long nobody else takes the lease: the difference is what a write that
	// has started has to end.
	renewDeadline, leaseDuration time.Duration

	leading bool
	proof   time.Time // when the last acknowledged renewal was sent; zero: none
	term    int       // counts how often leading began
}

// started notes that this instance was told to lead.
func (g *gate) started() {
	g.leading = true
	g.term++
}

// stopped notes that this instance gave the lease up, or lost it.
func (g *gate) stopped() {
	g.leading = false
	g.proof = time.Time{}
}

// renewed notes that the API server acknowledged a renewal of the lease that was
// sent at that time.
func (g *gate) renewed(sent time.Time) {
	if sent.After(g.proof) {
		g.proof = sent
	}
}

// permit says whether a write may start now, and when it must have ended.
func (g *gate) permit(now time.Time) (until time.Time, ok bool) {
	if !g.leading || g.proof.IsZero() || now.Before(g.proof) || !now.Before(g.proof.Add(g.renewDeadline)) {
		return time.Time{}, false
	}
	return g.proof.Add(g.leaseDuration), true
}
