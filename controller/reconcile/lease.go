package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

// Annotations of the Lease. The writer keeps them for its successor; they are
// written together with renewals, or before the first write through a member.
const (
	// TermAnnotation counts how often an instance became the writer.
	TermAnnotation = "vtm.pulsesecure.net/term"
	// ThroughAnnotation is the REST URL of the member that it writes through.
	ThroughAnnotation = "vtm.pulsesecure.net/through"
	// LastWriteAnnotation is when it last wrote, by its own clock.
	LastWriteAnnotation = "vtm.pulsesecure.net/last-write"
)

// Record is what the Lease says.
type Record struct {
	Holder  string // identity; "" if nobody has it
	Term    int    // 0: nobody had it yet
	Through string // REST URL; "" if nothing was written yet
	// LastWrite and Renewed are by the holder's clock; zero: never.
	LastWrite, Renewed time.Time
	Duration           time.Duration
	// Version orders what is seen of one Lease.
	Version uint64
}

// RecordOf reads a Lease. What somebody else wrote into its annotations counts as
// nothing.
func RecordOf(l *coordinationv1.Lease) Record {
	r := Record{
		Holder: ptr.Deref(l.Spec.HolderIdentity, ""), Through: l.Annotations[ThroughAnnotation],
		Duration: time.Duration(ptr.Deref(l.Spec.LeaseDurationSeconds, 0)) * time.Second,
	}
	r.Version, _ = strconv.ParseUint(l.ResourceVersion, 10, 64) // as Kubernetes compares them; 0 if it is none
	if n, err := strconv.Atoi(l.Annotations[TermAnnotation]); err == nil && n > 0 {
		r.Term = n
	}
	if at, err := time.Parse(time.RFC3339Nano, l.Annotations[LastWriteAnnotation]); err == nil {
		r.LastWrite = at.UTC()
	}
	if l.Spec.RenewTime != nil {
		r.Renewed = l.Spec.RenewTime.UTC()
	}
	return r
}

// Inheritance is what a new writer must know of the one before it.
type Inheritance struct {
	// Through is the REST URL of the member that was written through last; "": nothing
	// was written yet.
	Through string
	// LastWrite is, by our clock, not before that write; zero: there was none.
	LastWrite time.Time
	// Silent: the Lease was not given up in an orderly way. A write may still land.
	Silent bool
}

// inherit says what is inherited of a Lease that is taken over now and was seen first
// as it is at a moment. One that was given up names its last write, and how long
// before the end that was is by one clock. One that ran out may have written until
// then.
func inherit(r Record, seen, now time.Time) Inheritance {
	switch {
	case r.Through == "":
		return Inheritance{}
	case r.Holder != "" || r.LastWrite.IsZero():
		return Inheritance{r.Through, now, r.Holder != ""}
	}
	return Inheritance{r.Through, seen.Add(-max(r.Renewed.Sub(r.LastWrite), 0)), false}
}

// leaseLock is the elector's lock on the Lease. It bounds each request, notes when the
// API server acknowledged that this instance holds it, and keeps the annotations.
type leaseLock struct {
	w      *Writer
	leases coordinationclient.LeaseInterface
	// turn holds a token: who has it may send requests.
	turn  chan struct{}
	lease *coordinationv1.Lease // as the API server gave it last; nil: not yet
}

func newLeaseLock(w *Writer) *leaseLock {
	return &leaseLock{w: w, leases: w.o.Client.CoordinationV1().Leases(w.o.Namespace), turn: make(chan struct{}, 1)}
}

// request makes one request when it is its turn. Several fit into the time in which
// the Lease must be renewed. The odd part keeps it from ending at the instant of the
// elector's own deadlines.
func (l *leaseLock) request(ctx context.Context, do func(context.Context) (*coordinationv1.Lease, error)) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, l.w.o.RenewDeadline/3+17*time.Nanosecond)
	defer cancel()
	lease, err := do(ctx)
	l.note(ctx, err)
	if err != nil {
		return err
	}
	l.lease = lease
	l.w.see(RecordOf(lease), false)
	return nil
}

func (l *leaseLock) get(ctx context.Context) (*coordinationv1.Lease, error) {
	return l.leases.Get(ctx, l.w.o.Name, metav1.GetOptions{})
}

// Get is the elector's.
func (l *leaseLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	var record *resourcelock.LeaderElectionRecord
	var raw []byte
	err := l.request(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) {
		lease, err := l.get(ctx)
		if err != nil {
			return nil, err
		}
		record = resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec)
		raw, err = json.Marshal(*record)
		return lease, err
	})
	return record, raw, err
}

// Create is the elector's.
func (l *leaseLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, func(ctx context.Context, _, fresh *coordinationv1.Lease) (*coordinationv1.Lease, error) {
		fresh.ResourceVersion, fresh.UID = "", ""
		return l.leases.Create(ctx, fresh, metav1.CreateOptions{})
	})
}

// Update is the elector's.
func (l *leaseLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity != l.w.identity {
		// The Lease is being given up: from then on another one may write.
		if err := l.w.quiet(ctx); err != nil {
			return err
		}
	}
	return l.write(ctx, record, func(ctx context.Context, stored, fresh *coordinationv1.Lease) (*coordinationv1.Lease, error) {
		if stored == nil {
			return nil, errors.New("the Lease was not read yet")
		}
		return l.leases.Update(ctx, fresh, metav1.UpdateOptions{})
	})
}

// write stores a record with do, which is given the Lease as it was last (nil: there
// was none) and as it is to be. A term begins with the first record that has this
// instance's name.
func (l *leaseLock) write(ctx context.Context, record resourcelock.LeaderElectionRecord,
	do func(ctx context.Context, stored, fresh *coordinationv1.Lease) (*coordinationv1.Lease, error)) error {
	return l.request(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) {
		sent := l.w.o.World.Clock().Now()
		fresh := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.w.o.Namespace, Name: l.w.o.Name}}
		var before Record
		if l.lease != nil {
			fresh, before = l.lease.DeepCopy(), RecordOf(l.lease)
		}
		fresh.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&record)
		if record.HolderIdentity != l.w.identity {
			through, wrote := l.w.last()
			if through != "" {
				annotate(fresh, ThroughAnnotation, through)
			}
			annotate(fresh, LastWriteAnnotation, timeText(wrote))
			return do(ctx, l.lease, fresh)
		}
		term, in, wrote := l.w.next(before, sent)
		annotate(fresh, TermAnnotation, strconv.Itoa(term))
		annotate(fresh, LastWriteAnnotation, timeText(wrote))
		if in.Through != "" {
			annotate(fresh, ThroughAnnotation, in.Through)
		}
		lease, err := do(ctx, l.lease, fresh)
		if err == nil {
			l.w.renewed(sent, term, in)
		}
		return lease, err
	})
}

func timeText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// annotate sets an annotation, or removes it if value is "".
func annotate(lease *coordinationv1.Lease, key, value string) {
	if value == "" {
		delete(lease.Annotations, key)
		return
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[key] = value
}

// announce has the Lease name the member that this instance writes through.
func (l *leaseLock) announce(ctx context.Context, term int, through string) error {
	for try := 0; ; try++ {
		err := l.request(ctx, func(ctx context.Context) (*coordinationv1.Lease, error) {
			lease := l.lease
			if try > 0 || lease == nil {
				var err error
				if lease, err = l.get(ctx); err != nil {
					return nil, err
				}
			}
			if r := RecordOf(lease); r.Holder != l.w.identity || r.Term != term {
				return nil, errNoPermit
			}
			lease = lease.DeepCopy()
			annotate(lease, ThroughAnnotation, through)
			return l.leases.Update(ctx, lease, metav1.UpdateOptions{})
		})
		if err == nil {
			l.w.announced(term, through)
			return nil
		}
		if try > 0 || !apierrors.IsConflict(err) {
			return err
		}
	}
}

// note tells when the Lease begins to be out of reach. Missing and in conflict
// are ordinary.
func (l *leaseLock) note(ctx context.Context, err error) {
	ordinary := apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || errors.Is(err, errNoPermit)
	failing := err != nil && !ordinary && context.Cause(ctx) != context.Canceled
	l.w.mu.Lock()
	tell := failing && !l.w.failing
	l.w.failing = failing
	l.w.mu.Unlock()
	if tell {
		l.w.o.Log.Error("the Lease that decides who writes can't be reached or changed: check the API server and the permissions on leases.coordination.k8s.io",
			"lease", l.w.o.Namespace+"/"+l.w.o.Name, "error", err)
	}
}

// RecordEvent is the elector's: who writes is told in the log.
func (l *leaseLock) RecordEvent(string) {}

// Identity is the elector's.
func (l *leaseLock) Identity() string { return l.w.identity }

// Describe is the elector's.
func (l *leaseLock) Describe() string { return l.w.o.Namespace + "/" + l.w.o.Name }

// watch sees each change of the Lease as it happens, until ctx ends: a Lease that is
// given up need not wait for the elector's next look.
func (w *Writer) watch(ctx context.Context) {
	leases := w.o.Watch.CoordinationV1().Leases(w.o.Namespace)
	for n := uint64(0); ctx.Err() == nil; n++ {
		began := w.o.World.Clock().Now()
		w.watchOnce(ctx, leases)
		if w.o.World.Clock().Since(began) > w.o.RetryPeriod {
			continue // it ended as watches do
		}
		select {
		case <-ctx.Done():
		case <-w.o.World.Clock().After(w.o.RetryPeriod + w.o.World.Jitter(w.o.Actor+"/lease-watch", n, w.o.RetryPeriod)):
		}
	}
}

// watchFor is how long the API server is asked to keep a watch.
const watchFor = 10 * time.Minute

func (w *Writer) watchOnce(ctx context.Context, leases coordinationclient.LeaseInterface) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+w.o.RenewDeadline)
	defer cancel()
	events, err := leases.Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + w.o.Name, TimeoutSeconds: ptr.To(int64(watchFor / time.Second)),
	})
	if err != nil {
		w.o.Log.Debug("the Lease can't be watched", "error", err)
		return // the elector asks all the same
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if lease, ok := e.Object.(*coordinationv1.Lease); ok {
			w.see(RecordOf(lease), true)
		}
	}
}

// attribution is what traffic managers are told of who writes.
func attribution(identity string, term int) string {
	return fmt.Sprintf("vtm-ingress-controller (%s; term %d)", identity, term)
}
