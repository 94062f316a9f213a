package reconcile

import (
	"time"

	"vtm-ingress/internal/mutation"
)

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
	term    int       // of the lease, when leading began: each has a higher one
	through string    // the member that the lease names in this term; "": none yet
	under   int       // writes under way
	wrote   time.Time // not before the last write by anyone; zero: there was none
}

// started notes that this instance was told to lead, and when the one before it wrote
// last.
func (g *gate) started(term int, wrote time.Time) {
	g.leading, g.term, g.through, g.wrote = true, term, "", wrote
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

// announced notes that the API server acknowledged that the lease names a member as
// the one that this instance writes through.
func (g *gate) announced(term int, through string) {
	if g.leading && g.term == term {
		g.through = through
	}
}

// permit says whether this instance is the writer now, and when a write that starts
// now must have ended.
func (g *gate) permit(now time.Time) (until time.Time, ok bool) {
	if mutation.On(mutation.GateStaysOpen) && g.term > 0 {
		return now.Add(g.leaseDuration), true
	}
	if !g.leading || g.proof.IsZero() || now.Before(g.proof) || !now.Before(g.proof.Add(g.renewDeadline)) {
		return time.Time{}, false
	}
	return g.proof.Add(g.leaseDuration), true
}

// begin starts a write of a term through a member, if it may; who did calls end.
func (g *gate) begin(now time.Time, term int, through string) (until time.Time, ok bool) {
	until, ok = g.permit(now)
	if ok = ok && g.term == term && g.through == through; !ok {
		return time.Time{}, false
	}
	g.under++
	g.wrote = now
	return until, true
}

// end notes that a write has ended, whatever came of it.
func (g *gate) end(now time.Time) {
	g.under--
	g.wrote = now
}

// mayRelease says whether the lease can be given up: another instance may write
// from then on, so none of ours must be under way.
func (g *gate) mayRelease() bool { return !g.leading && g.under == 0 }
