package reconcile

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"vtm-ingress/internal/outside"
)

// Permit is the right to start writes, at one moment.
type Permit struct {
	// Term tells the times apart at which this instance became the writer.
	Term int
	// Until is when a write that starts now must have ended.
	Until time.Time
}

// WriterOptions for NewWriter.
type WriterOptions struct {
	World outside.World
	Log   *slog.Logger
	// Client is used by the Writer alone.
	Client kubernetes.Interface
	// Actor names this instance in the Lease, with a random part, so that two never
	// have the same name.
	Actor string
	// Namespace and Name of the Lease.
	Namespace, Name string
	// The times of client-go's leader election. LeaseDuration counts in whole
	// seconds, as the Lease does; RenewDeadline is shorter, RetryPeriod shorter
	// still.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Writer takes part in the election of the one instance that writes, by a
// Kubernetes Lease. It does so with one replica too: during an update there are
// two.
type Writer struct {
	o        WriterOptions
	identity string
	changed  chan struct{} // capacity 1: there is something new, never how much

	mu      sync.Mutex
	gate    gate
	failing bool // the last request for the Lease failed: told once
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
		changed:  make(chan struct{}, 1),
		gate: gate{
			renewDeadline: o.RenewDeadline,
			leaseDuration: o.LeaseDuration.Truncate(time.Second),
		},
	}
	if _, err := w.elector(); err != nil {
		return nil, fmt.Errorf("leader election: %w: check lease_duration, renew_deadline and retry_period", err)
	}
	return w, nil
}

// Identity is this instance's name in the Lease.
func (w *Writer) Identity() string { return w.identity }

// Changed signals that this instance became the writer, or ceased to be it.
func (w *Writer) Changed() <-chan struct{} { return w.changed }

// Permit says whether a write may start now.
func (w *Writer) Permit() (Permit, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.gate.permit(w.o.World.Clock().Now())
	return Permit{w.gate.term, until}, ok
}

// Run is a candidate until ctx ends, then gives the Lease up, so that another
// instance need not wait for its end. Whoever writes must have stopped before
// ctx ends.
func (w *Writer) Run(ctx context.Context) {
	// What the elector logs about requests that fail is told by the lock below,
	// once; its other lines say what Changed says.
	ctx = klog.NewContext(ctx, logr.Discard())
	for ctx.Err() == nil {
		elector, err := w.elector()
		if err != nil {
			return // NewWriter has made one of the same options
		}
		elector.Run(ctx)
	}
}

func (w *Writer) elector() (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &provingLock{
			Interface: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: w.o.Namespace, Name: w.o.Name},
				Client:     w.o.Client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: w.identity},
			},
			w: w,
		},
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

func (w *Writer) stopped() {
	w.mu.Lock()
	was := w.gate.leading
	w.gate.stopped()
	w.mu.Unlock()
	if was {
		w.o.Log.Info("no longer the writer", "lease", w.o.Namespace+"/"+w.o.Name, "identity", w.identity)
		w.signal()
	}
}

func (w *Writer) renewed(sent time.Time) {
	w.mu.Lock()
	began := !w.gate.leading
	if began {
		w.gate.started()
	}
	_, could := w.gate.permit(sent)
	w.gate.renewed(sent)
	w.mu.Unlock()
	if began {
		w.o.Log.Info("became the writer", "lease", w.o.Namespace+"/"+w.o.Name, "identity", w.identity)
	}
	if !could {
		w.signal()
	}
}

func (w *Writer) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// provingLock is the elector's lock. It bounds each request, and notes when the
// API server acknowledged that this instance holds the Lease.
type provingLock struct {
	resourcelock.Interface
	w *Writer
}

// deadline of one request: several fit into the time in which the Lease must be
// renewed. The odd part keeps it from ending at the instant of the elector's own
// deadlines.
func (l *provingLock) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, l.w.o.RenewDeadline/3+17*time.Nanosecond)
}

func (l *provingLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := l.deadline(ctx)
	defer cancel()
	record, raw, err := l.Interface.Get(ctx)
	l.note(ctx, err)
	return record, raw, err
}

func (l *provingLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

func (l *provingLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *provingLock) write(ctx context.Context, record resourcelock.LeaderElectionRecord, do func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	ctx, cancel := l.deadline(ctx)
	defer cancel()
	mine := record.HolderIdentity == l.w.identity
	if !mine {
		// The Lease is being given up: from here on another one may write.
		l.w.stopped()
	}
	sent := l.w.o.World.Clock().Now()
	err := do(ctx, record)
	l.note(ctx, err)
	if err == nil && mine {
		l.w.renewed(sent)
	}
	return err
}

// note tells when the Lease begins to be out of reach. Missing and in conflict
// are ordinary.
func (l *provingLock) note(ctx context.Context, err error) {
	failing := err != nil && !ordinary(err) && context.Cause(ctx) != context.Canceled
	l.w.mu.Lock()
	tell := failing && !l.w.failing
	l.w.failing = failing
	l.w.mu.Unlock()
	if tell {
		l.w.o.Log.Error("the Lease that decides who writes can't be reached or changed: check the API server and the permissions on leases.coordination.k8s.io",
			"lease", l.w.o.Namespace+"/"+l.w.o.Name, "error", err)
	}
}

func ordinary(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}
