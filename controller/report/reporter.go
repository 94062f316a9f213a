package report

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

const (
	workers        = 4 // requests under way at most
	requestTimeout = 10 * time.Second
	firstRetry     = 500 * time.Millisecond
	lastRetry      = 30 * time.Second
	// troubleEvery is how often it is told at most that telling fails.
	troubleEvery = time.Minute
	// unsentEvents of one Ingress at most; of more, the oldest are not sent.
	unsentEvents = 8
	// rememberedEvents of one Ingress at most; see pendingEvent.
	rememberedEvents = 16
)

// Options for New.
type Options struct {
	World  outside.World
	Log    *slog.Logger
	Config *rest.Config
	// Actor begins the names of the connections, and is the instance named in
	// Events ("controller/a/report").
	Actor string
	// ControllerID is the field manager of the status, after "vtm-ingress-".
	ControllerID string
	// May says whether this instance is still the one that writes; it is asked
	// before each request.
	May func() bool
	// Current returns an Ingress as it was last heard of, nil if there is none.
	Current func(types.NamespacedName) *networkingv1.Ingress
}

// Entry says what became of one Ingress.
type Entry struct {
	Ingress *networkingv1.Ingress
	// Verdict of the translation; nil if the Ingress is not ours any more.
	Verdict *translate.Verdict
	// Left are, of one that is not ours any more, addresses that an earlier process
	// may have written into its status.
	Left map[string]bool
	// Live says that all it needs is on the traffic manager.
	Live bool
	// Problems say why it isn't live, as far as that is known.
	Problems []translate.Reason
	// Notices are what happened and is over, each a Warning of its own.
	Notices []translate.Reason
}

// Reporter tells. Its methods may be called from several goroutines.
type Reporter struct {
	o       Options
	clients []*kubeclient.Client
	// queues, one a worker, hold the UIDs of Ingresses with something to tell, each
	// once: as many as there are Ingresses at most.
	queues []workqueue.TypedRateLimitingInterface[types.UID]

	mu      sync.Mutex
	records map[types.UID]*record
	sweepAt int       // number of records at which those of deleted Ingresses are dropped
	toldAt  time.Time // when it was last told that telling fails
}

// record is what was and is to be told of one Ingress.
type record struct {
	name types.NamespacedName
	last []told // of the last verdict
	ever []told // since the start, each once
	// To do: the state as the last Entry had it, and Events.
	entry  Entry
	todo   bool
	events []pendingEvent

	// What this process has written into the status, the resourceVersion it got
	// (0: none), and the addresses that are there because of us.
	written []networkingv1.IngressLoadBalancerIngress
	version uint64
	ours    []string
}

// New makes a Reporter. Run must follow.
func New(o Options) (*Reporter, error) {
	o.Config = rest.CopyConfig(o.Config)
	o.Config.ContentType = runtime.ContentTypeProtobuf
	o.Config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	r := &Reporter{o: o, records: map[types.UID]*record{}, sweepAt: 1024}
	for i := range workers {
		client, err := kubeclient.New(o.World, fmt.Sprintf("%s/%d", o.Actor, i), o.Config)
		if err != nil {
			return nil, err
		}
		r.clients = append(r.clients, client)
	}
	for i := range workers {
		first := firstRetry + o.World.Jitter(o.Actor+"/retry", uint64(i), firstRetry/4)
		r.queues = append(r.queues, workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](first, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[types.UID]{Clock: o.World.Clock()},
		))
	}
	return r, nil
}

// Report tells entries: log lines at once, status and Events soon after, by Run.
// Of an Ingress only the latest state is written. It does not wait for anybody.
func (r *Reporter) Report(_ context.Context, entries []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		uid := e.Ingress.UID
		rec := r.records[uid]
		if rec == nil {
			rec = &record{name: types.NamespacedName{Namespace: e.Ingress.Namespace, Name: e.Ingress.Name}}
			r.records[uid] = rec
		}
		rec.entry, rec.todo = e, true
		if now, settled := tellings(e); settled {
			for _, t := range now {
				if rec.toldAlready(t) {
					continue
				}
				r.log(rec.name, t)
				rec.events = append(rec.events, pendingEvent{told: t, at: r.o.World.Clock().Now(), first: rec.remember(t)})
			}
			rec.last = now
		}
		for _, n := range e.Notices {
			t := warning([]translate.Reason{n})
			r.log(rec.name, t)
			rec.events = append(rec.events, pendingEvent{told: t, at: r.o.World.Clock().Now()})
		}
		if n := len(rec.events); n > unsentEvents {
			rec.events = rec.events[n-unsentEvents:]
		}
		r.queue(uid).Add(uid)
	}
	r.sweep()
}

// Run writes what is reported until ctx ends, and returns when no request is
// under way any more. What was not written by then is reported anew after the
// next start.
func (r *Reporter) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		for _, q := range r.queues {
			q.ShutDown()
		}
	})
	defer stop()
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for r.work(ctx, r.queues[i], r.clients[i]) {
			}
		})
	}
	running.Wait()
	for _, client := range r.clients {
		client.Close()
	}
}

func (r *Reporter) queue(uid types.UID) workqueue.TypedRateLimitingInterface[types.UID] {
	h := fnv.New32a()
	h.Write([]byte(uid))
	return r.queues[h.Sum32()%workers]
}

// work does one thing; false when the queue is shut down.
func (r *Reporter) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[types.UID], client *kubeclient.Client) bool {
	uid, shutdown := queue.Get()
	if shutdown {
		return false
	}
	defer queue.Done(uid)
	err := r.write(ctx, uid, client)
	switch {
	case err == nil:
		queue.Forget(uid)
	case ctx.Err() == nil:
		r.tellTrouble(err)
		queue.AddRateLimited(uid)
	}
	return true
}

// errDrop says that there is nobody to tell any more.
var errDrop = errors.New("nobody to tell")

// write brings status and Events of one Ingress to what was reported last. It
// returns an error if that is to be tried again.
func (r *Reporter) write(ctx context.Context, uid types.UID, client *kubeclient.Client) error {
	r.mu.Lock()
	rec := r.records[uid]
	if rec == nil {
		r.mu.Unlock()
		return nil
	}
	entry, todo, events := rec.entry, rec.todo, rec.events
	rec.todo = false
	r.mu.Unlock()

	err := func() error {
		if todo {
			if err := r.writeStatus(ctx, client, rec, entry); err != nil {
				return err
			}
			todo = false
		}
		for len(events) > 0 {
			if err := r.writeEvent(ctx, client, entry.Ingress, events[0]); err != nil {
				return err
			}
			r.mu.Lock()
			// Report may have dropped it meanwhile, and appended others.
			if len(rec.events) > 0 && rec.events[0] == events[0] {
				rec.events = rec.events[1:]
			}
			if len(rec.events) == 0 {
				rec.events = nil // what is told takes no memory
			}
			r.mu.Unlock()
			events = events[1:]
		}
		return nil
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, errDrop):
		delete(r.records, uid)
		return nil
	case errors.Is(err, errNotWriting):
		// The writer tells; if this instance becomes it, all is reported anew.
		rec.todo, rec.events = false, nil
		return nil
	case err != nil:
		rec.todo = rec.todo || todo
	}
	return err
}

// errNotWriting says that another instance reports by now.
var errNotWriting = errors.New("not the writer any more")

// request runs one request, if this instance may still make it.
func (r *Reporter) request(ctx context.Context, f func(context.Context) error) error {
	if !r.o.May() {
		return errNotWriting
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := f(ctx)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return errDrop
	}
	return err
}

// tellTrouble logs that telling fails: not for each Ingress, since mostly one
// reason concerns them all.
func (r *Reporter) tellTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.World.Clock().Now()
	if !r.toldAt.IsZero() && now.Sub(r.toldAt) < troubleEvery {
		return
	}
	r.toldAt = now
	r.o.Log.Error(err.Error() + "; it is tried again")
}

// sweep forgets Ingresses that do not exist any more, now and then, so that it
// costs little for each.
func (r *Reporter) sweep() {
	if len(r.records) < r.sweepAt {
		return
	}
	for uid, rec := range r.records {
		if now := r.o.Current(rec.name); now == nil || now.UID != uid {
			delete(r.records, uid)
		}
	}
	r.sweepAt = 2*len(r.records) + 1024
}

// version of a resource as a number; 0 if it is none.
func version(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
