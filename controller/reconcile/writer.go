package reconcile

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"

	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// Permit is the right to start writes, at one moment.
type Permit struct {
	// Term tells the times apart at which an instance became the writer: each, of any
	// instance, has a higher one.
	Term int
	// Until is when a write that starts now must have ended.
	Until time.Time
	// Agent is how the traffic manager is told who writes: instance and term.
	Agent string
	// Inherited is of the writer before this term.
	Inherited Inheritance
}

// WriterOptions for NewWriter.
type WriterOptions struct {
	World outside.World
	Log   *slog.Logger
	// Client is used by the Writer alone. Watch, if set, is too: with it a Lease that is
	// given up is taken at once.
	Client, Watch kubernetes.Interface
	// Actor names this instance in the Lease, with a random part, so that two never
	// have the same name.
	Actor string
	// Namespace and Name of the Lease.
	Namespace, Name string
	// The times of client-go's leader election. LeaseDuration counts in whole
	// seconds, as the Lease does; RenewDeadline is shorter, RetryPeriod shorter
	// still.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// Judged: it is no candidate before Judge says whether it is fit.
	Judged bool
}

// Writer takes part in the election of the one instance that writes, by a
// Kubernetes Lease. It does so with one replica too: during an update there are
// two.
type Writer struct {
	o        WriterOptions
	identity string
	changed  chan struct{} // capacity 1: there is something new, never how much
	news     chan struct{} // capacity 1: the Lease, or what was judged, is another one
	ended    chan struct{} // capacity 1: a write has ended
	lock     *leaseLock

	mu        sync.Mutex
	gate      gate
	inherited Inheritance // of gate.term
	agent     string      // attribution of agentTerm
	agentTerm int
	candidate candidacy
	failing   bool // the last request for the Lease failed: told once
}

// NewWriter makes a Writer; Run makes it a candidate.
func NewWriter(o WriterOptions) (*Writer, error) {
	random := make([]byte, 4)
	if _, err := io.ReadFull(o.World.Rand(o.Actor+"/identity"), random); err != nil {
		return nil, fmt.Errorf("random name for the leader election: %w", err)
	}
	w := &Writer{
		o:        o,
		identity: o.Actor + "_" + hex.EncodeToString(random),
		changed:  make(chan struct{}, 1), news: make(chan struct{}, 1), ended: make(chan struct{}, 1),
		gate: gate{
			renewDeadline: o.RenewDeadline,
			leaseDuration: o.LeaseDuration.Truncate(time.Second),
		},
	}
	w.candidate = candidacy{
		me: w.identity, patience: 5 * o.RetryPeriod, again: offerAgain,
		judged: !o.Judged, fit: !o.Judged, seenAt: o.World.Clock().Now(),
	}
	w.lock = newLeaseLock(w)
	if _, err := w.elector(); err != nil {
		return nil, fmt.Errorf("leader election: %w: check lease_duration, renew_deadline and retry_period", err)
	}
	return w, nil
}

// Identity is this instance's name in the Lease.
func (w *Writer) Identity() string { return w.identity }

// Changed signals that this instance became the writer, or ceased to be it.
func (w *Writer) Changed() <-chan struct{} { return w.changed }

// Record is the Lease as it was seen last.
func (w *Writer) Record() Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.candidate.seen
}

// Unreplicated says whether a change that was made through the member of that REST URL
// may not have reached the others yet, as far as the Lease tells.
func (w *Writer) Unreplicated(endpoint string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.o.World.Clock().Now()
	age := vtm.UsualReplication.Absolute
	switch r := w.candidate.seen; {
	case w.gate.leading && !w.gate.wrote.IsZero():
		age = now.Sub(w.gate.wrote)
		if w.gate.through != endpoint {
			return false
		}
	case r.Through == endpoint && !r.LastWrite.IsZero():
		age = now.Sub(w.candidate.seenAt) + r.Renewed.Sub(r.LastWrite)
	}
	return age < vtm.UsualReplication.Absolute
}

// Permit says whether this instance is the writer now.
func (w *Writer) Permit() (Permit, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.gate.permit(w.o.World.Clock().Now())
	return w.permitted(until), ok
}

// permitted makes the Permit of now. mu is held.
func (w *Writer) permitted(until time.Time) Permit {
	if w.agent == "" || w.agentTerm != w.gate.term {
		w.agent, w.agentTerm = attribution(w.identity, w.gate.term), w.gate.term
	}
	return Permit{Term: w.gate.term, Until: until, Agent: w.agent, Inherited: w.inherited}
}

// Begin starts a write of a term through the member of that REST URL, if it may start:
// the Lease names that member by then (Announce). Whoever began calls end when the
// request has ended: before that, the Lease is not given up.
func (w *Writer) Begin(term int, through string) (p Permit, end func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.gate.begin(w.o.World.Clock().Now(), term, through)
	if !ok {
		return Permit{}, nil, false
	}
	return w.permitted(until), w.endWrite, true
}

func (w *Writer) endWrite() {
	w.mu.Lock()
	w.gate.end(w.o.World.Clock().Now())
	w.mu.Unlock()
	signal(w.ended)
}

// Announce has the Lease name the member of that REST URL as the one that this
// instance writes through in a term, which must be the present one. An error says that
// it is not known whether it does.
func (w *Writer) Announce(ctx context.Context, term int, through string) error {
	w.mu.Lock()
	present, named := w.gate.leading && w.gate.term == term, w.gate.through
	w.mu.Unlock()
	switch {
	case !present:
		return errNoPermit
	case named == through:
		return nil
	}
	return w.lock.announce(ctx, term, through)
}

// Judge says whether this instance should be the writer: its own traffic manager is
// healthy and in the cluster. Who should not gives way to those who should, and goes
// on only if there are none.
func (w *Writer) Judge(fit bool) {
	w.mu.Lock()
	w.candidate.judge(fit)
	w.mu.Unlock()
	signal(w.news)
}

// Run is a candidate until ctx ends, then gives the Lease up, so that another
// instance need not wait for its end. Whoever writes must have stopped before
// ctx ends.
func (w *Writer) Run(ctx context.Context) {
	// What the elector logs about requests that fail is told by the lock, once; its
	// other lines say what Changed says.
	ctx = klog.NewContext(ctx, logr.Discard())
	var watching sync.WaitGroup
	if w.o.Watch != nil {
		watching.Go(func() { w.watch(ctx) })
	}
	defer watching.Wait()
	for w.awaitTurn(ctx) {
		elector, err := w.elector()
		if err != nil {
			return // NewWriter has made one of the same options
		}
		attempt, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			elector.Run(attempt)
		}()
		w.tend(done)
		cancel()
		<-done
	}
}

// awaitTurn returns when this instance may run for the Lease, false when ctx ended.
func (w *Writer) awaitTurn(ctx context.Context) bool {
	for ctx.Err() == nil {
		w.mu.Lock()
		now := w.o.World.Clock().Now()
		at, may := w.candidate.mayRun(now)
		w.mu.Unlock()
		if may {
			return true
		}
		var due <-chan time.Time
		if !at.IsZero() {
			timer := w.o.World.Clock().NewTimer(at.Sub(now))
			defer timer.Stop()
			due = timer.C()
		}
		select {
		case <-due:
		case <-w.news:
		case <-ctx.Done():
		}
	}
	return false
}

// tend returns when the elector has ended, or should.
func (w *Writer) tend(done <-chan struct{}) {
	for {
		var due <-chan time.Time
		w.mu.Lock()
		now := w.o.World.Clock().Now()
		end, at := w.candidate.mustEnd(now, w.gate.leading)
		leading := w.gate.leading
		w.mu.Unlock()
		if end {
			if leading {
				w.o.Log.Warn("gives way as the writer: its own traffic manager is away or not in the cluster",
					"lease", w.lock.Describe(), "identity", w.identity)
			}
			return
		}
		if !at.IsZero() {
			timer := w.o.World.Clock().NewTimer(at.Sub(now))
			defer timer.Stop()
			due = timer.C()
		}
		select {
		case <-done:
			return
		case <-due:
		case <-w.news:
		}
	}
}

func (w *Writer) elector() (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            w.lock,
		LeaseDuration:   w.o.LeaseDuration,
		RenewDeadline:   w.o.RenewDeadline,
		RetryPeriod:     w.o.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            w.o.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			// Beginning is noted by the lock, together with its proof.
			OnStartedLeading: func(context.Context) {},
			OnStoppedLeading: w.stopped,
		},
	})
}

// see notes what the Lease says now.
func (w *Writer) see(r Record, watched bool) {
	w.mu.Lock()
	news := w.candidate.see(r, watched, w.o.World.Clock().Now())
	w.mu.Unlock()
	if news {
		signal(w.news)
	}
}

// quiet closes the gate and returns when no write is under way any more.
func (w *Writer) quiet(ctx context.Context) error {
	w.stopped()
	for {
		w.mu.Lock()
		ready := w.gate.mayRelease()
		w.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-w.ended:
		case <-ctx.Done():
			return errors.New("a write is still under way: the Lease runs out by itself")
		}
	}
}

func (w *Writer) stopped() {
	w.mu.Lock()
	was := w.gate.leading
	w.gate.stopped()
	w.mu.Unlock()
	if was {
		w.o.Log.Info("no longer the writer", "lease", w.lock.Describe(), "identity", w.identity)
		signal(w.changed)
		signal(w.news)
	}
}

// next is what the Lease is to say of this instance, in place of before, with a
// request that is sent now: of its term, or of the one that begins with it.
func (w *Writer) next(before Record, now time.Time) (term int, in Inheritance, wrote time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gate.leading {
		return w.gate.term, Inheritance{Through: w.gate.through}, w.gate.wrote
	}
	seen := now
	if w.candidate.seen == before {
		seen = w.candidate.seenAt
	}
	in = inherit(before, seen, now)
	return max(before.Term, w.gate.term) + 1, in, in.LastWrite
}

// last is what the Lease says when it is given up.
func (w *Writer) last() (through string, wrote time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gate.through, w.gate.wrote
}

// renewed notes that the Lease has this instance's name, by a request that was sent
// at that time. If a term begins with it, that is what it inherits.
func (w *Writer) renewed(sent time.Time, term int, in Inheritance) {
	w.mu.Lock()
	began := !w.gate.leading
	if began {
		w.inherited = in
		w.gate.started(term, in.LastWrite)
	}
	_, could := w.gate.permit(sent)
	w.gate.renewed(sent)
	w.mu.Unlock()
	if began {
		w.o.Log.Info("became the writer", "lease", w.lock.Describe(), "identity", w.identity, "term", term)
	}
	if !could {
		signal(w.changed)
	}
}

func (w *Writer) announced(term int, through string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate.announced(term, through)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
