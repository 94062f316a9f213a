package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	"k8s.io/klog/v2"

	"vtm-ingress/controller/config"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// Options for New.
type Options struct {
	World outside.World
	Log   *slog.Logger
	// Config says how to reach the API server; its Timeout is 0.
	Config   *rest.Config
	Settings *config.Settings
	// Actor begins the names of the connections ("controller/a/kube").
	Actor string
}

// Watcher keeps what Kubernetes holds. Its methods may be called from several
// goroutines.
type Watcher struct {
	o      Options
	health *health
	// Clients, made by New so that no mistake in Config shows later. Each source
	// has its own, in their order, since each watches at the same time.
	identity, lists *kubeclient.Client
	watches         []*kubeclient.Client

	changed   chan struct{} // capacity 1: one signal says it all
	suspected chan struct{} // capacity 1: see suspect

	mu        sync.Mutex
	tables    *tables
	cluster   cluster
	confirmed bool // see suspect
	tooOld    types.UID
	last      *Snapshot
	anew      []context.CancelFunc // by source: see Relist
}

// New makes a Watcher that does nothing until Run.
func New(o Options) (*Watcher, error) {
	o.Config = rest.CopyConfig(o.Config)
	// Protobuf costs a fraction of JSON's time; kinds without it come as JSON.
	o.Config.ContentType = runtime.ContentTypeProtobuf
	o.Config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	w := &Watcher{
		o:         o,
		health:    newHealth(o.Log, o.World.Clock(), o.Config.Host),
		changed:   make(chan struct{}, 1),
		suspected: make(chan struct{}, 1),
		tables:    newTables(o.World.Clock().Now),
	}
	w.tables.apiServer = addressOf(o.Config.Host)
	var err error
	if w.identity, err = w.client("cluster"); err != nil {
		return nil, err
	}
	if w.lists, err = w.client("list"); err != nil {
		return nil, err
	}
	for _, s := range sources(o.Settings.WatchNamespace, o.Settings.SecretLabelSelector, cluster{hasSlices: true, hasRanges: true}) {
		client, err := w.client(s.resource)
		if err != nil {
			return nil, err
		}
		w.watches = append(w.watches, client)
		w.anew = append(w.anew, func() {})
	}
	return w, nil
}

func (w *Watcher) client(part string) (*kubeclient.Client, error) {
	return kubeclient.New(w.o.World, w.o.Actor+"/"+part, w.o.Config)
}

// close closes connections once nothing uses them any more.
func (w *Watcher) close() {
	w.identity.Close()
	w.lists.Close()
	for _, client := range w.watches {
		client.Close()
	}
}

// Changed signals that Snapshot may return another one than before. Several
// changes make one signal.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Snapshot returns what Kubernetes holds: the latest of what was heard of each
// kind. It is nil until all caches are full and the cluster is identified. While
// nothing changes it is the same Snapshot.
func (w *Watcher) Snapshot() *Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.confirmed && w.tables.full() {
		w.last = w.tables.snapshot(w.cluster.uid, w.last)
	}
	return w.last
}

// Ingress returns one Ingress as it was last heard of, nil if there is none. It
// may be newer than Snapshot's.
func (w *Watcher) Ingress(name types.NamespacedName) *networkingv1.Ingress {
	w.mu.Lock()
	defer w.mu.Unlock()
	ingress, _ := w.tables.ingresses.lookup(name)
	return ingress
}

// Version is the API server's, e.g. "v1.35.0"; "" while it is not known.
func (w *Watcher) Version() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cluster.version
}

// Err is why Kubernetes can't be watched at present, a *TooOldError or an
// *UnavailableError; nil if it can.
func (w *Watcher) Err() error { return w.health.err() }

// Heard tells of each resource ("ingresses") when the API server last answered for
// it, or sent an object. A watch that hears nothing is begun anew after four
// minutes at the latest: what is much older than that is out of date.
func (w *Watcher) Heard() map[string]time.Time {
	w.health.mu.Lock()
	defer w.health.mu.Unlock()
	heard := maps.Clone(w.health.heard)
	delete(heard, "cluster")
	return heard
}

// Run watches until ctx ends, and returns when nothing of it runs any more. What
// fails is told and tried again.
func (w *Watcher) Run(ctx context.Context) {
	// The Reflectors' own log lines repeat what health tells.
	ctx = klog.NewContext(ctx, logr.Discard())
	defer w.close()
	if !w.identify(ctx) {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	for i, s := range sources(w.o.Settings.WatchNamespace, w.o.Settings.SecretLabelSelector, w.cluster) {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w.watch(w.until(ctx, i), s, w.watches[i], n > 0)
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.suspected:
			if !w.identify(ctx) {
				return
			}
		}
	}
}

// identify asks the API server who it is until it answers; false if ctx ended.
func (w *Watcher) identify(ctx context.Context) bool {
	delay := firstRetry
	for n := uint64(0); ctx.Err() == nil; n++ {
		found, what, err := identify(ctx, w.identity)
		if err == nil {
			w.identified(found)
			return true
		}
		if ctx.Err() != nil {
			break
		}
		w.health.failed("cluster", what, err)
		var old *TooOldError
		if errors.As(err, &old) {
			w.refused(found.uid)
		}
		timer := w.o.World.Clock().NewTimer(delay + w.o.World.Jitter(w.o.Actor+"/cluster", n, delay/4))
		select {
		case <-ctx.Done():
		case <-timer.C():
		}
		timer.Stop()
		delay = min(2*delay, lastRetry)
	}
	return false
}

func (w *Watcher) identified(found cluster) {
	w.health.worked("cluster")
	w.mu.Lock()
	before := w.cluster
	w.tooOld = ""
	// Which sources there are stays as the first answer had it: an API server that was
	// upgraded goes on serving them.
	if before.uid != "" {
		found.hasSlices, found.hasRanges = before.hasSlices, before.hasRanges
	}
	w.cluster, w.tables.hasRanges = found, found.hasRanges
	// Whoever suspects since the question was asked wants it asked again.
	w.confirmed = len(w.suspected) == 0
	w.mu.Unlock()
	if before.uid != "" && before.uid != found.uid {
		w.o.Log.Error(fmt.Sprintf("the API server %s is another cluster's now: kube-system had the UID %s, and has %s",
			w.o.Config.Host, before.uid, found.uid))
	}
	w.signal()
}

// refused notes whose API server it is that is too old.
func (w *Watcher) refused(uid types.UID) {
	w.mu.Lock()
	first := w.tooOld != uid
	w.tooOld = uid
	w.mu.Unlock()
	if first {
		w.signal()
	}
}

// TooOld is the identity of a cluster whose API server is too old to be watched;
// "" if it is not. There is no Snapshot then.
func (w *Watcher) TooOld() types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tooOld
}

// suspect makes Run ask the API server again who it is: after an outage, or when
// a watch could not be resumed, another cluster may have taken its place. Until
// the answer, what is heard goes into no Snapshot: it must not be taken for this
// cluster's.
func (w *Watcher) suspect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspectLocked()
}

func (w *Watcher) suspectLocked() {
	w.confirmed = false
	select {
	case w.suspected <- struct{}{}:
	default:
	}
}

func (w *Watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Relist has all that is watched listed anew, past the API server's caches: what was
// heard of it is not believed any more. Until then the Snapshot stays as it is.
func (w *Watcher) Relist() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.anew {
		end()
	}
}

// until gives what a source's watch lives in, which ends with ctx or by Relist.
func (w *Watcher) until(ctx context.Context, source int) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anew[source]() // frees the one before
	ctx, w.anew[source] = context.WithCancel(ctx)
	return ctx
}

// watch keeps one source's table up to date; fresh: its list comes past the API
// server's caches.
func (w *Watcher) watch(ctx context.Context, s source, client kubernetes.Interface, fresh bool) {
	actor := w.o.Actor + "/" + s.resource
	lw := &listWatch{source: s, client: client, fresh: fresh, health: w.health, suspect: w.suspect, jitter: func(n uint64, d time.Duration) time.Duration {
		return w.o.World.Jitter(actor+"/watch", n, d)
	}}
	logger := logr.Discard()
	reflector := cache.NewReflectorWithOptions(lw, s.example, &receiver{w: w, resource: s.resource, into: s.into(w.tables)}, cache.ReflectorOptions{
		Name: actor, Logger: &logger, Clock: w.o.World.Clock(),
		Backoff: &wait.Backoff{
			// Not the Reflector's own jitter, which is drawn from a process-wide generator.
			Duration: firstRetry + w.o.World.Jitter(actor+"/retry", 0, firstRetry/4),
			Factor:   2, Steps: 20, Cap: lastRetry,
		},
	})
	reflector.RunWithContext(ctx)
	lw.lists.Wait()
}

// receiver is where a Reflector puts what it hears.
type receiver struct {
	w        *Watcher
	resource string
	into     sink
}

var _ cache.TransformingStore = (*receiver)(nil)

func (r *receiver) Add(object any) error    { return r.take(r.into.put, object) }
func (r *receiver) Update(object any) error { return r.take(r.into.put, object) }
func (r *receiver) Delete(object any) error { return r.take(r.into.remove, object) }

// Resync has no meaning here.
func (r *receiver) Resync() error { return nil }

// Transformer lets the Reflector trim objects while it gathers a list of them.
func (r *receiver) Transformer() cache.TransformFunc { return trim }

func (r *receiver) take(how func(any) change, object any) error {
	r.w.health.hear(r.resource)
	if _, err := trim(object); err != nil {
		return err
	}
	r.w.mu.Lock()
	what := how(object)
	r.w.mu.Unlock()
	if what == loud {
		r.w.signal()
	}
	return nil
}

// Replace takes a whole list, the first one or one after a watch that could not
// be resumed.
func (r *receiver) Replace(list []any, _ string) error {
	for _, object := range list {
		if _, err := trim(object); err != nil {
			return err
		}
	}
	r.w.mu.Lock()
	first := !r.into.full()
	what := r.into.replace(list)
	if !first {
		r.w.suspectLocked()
	}
	r.w.mu.Unlock()
	if what == loud || first {
		r.w.signal()
	}
	return nil
}

// List asks the API server for everything once more, past all caches. The
// Snapshot shares nothing with those of Snapshot().
func (w *Watcher) List(ctx context.Context) (*Snapshot, error) {
	found, what, err := identify(ctx, w.lists)
	if err != nil {
		return nil, &UnavailableError{w.o.Config.Host, what, err}
	}
	all := newTables(w.o.World.Clock().Now)
	all.apiServer = w.tables.apiServer
	for _, s := range sources(w.o.Settings.WatchNamespace, w.o.Settings.SecretLabelSelector, found) {
		var objects []any
		pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			return s.list(ctx, w.lists, o)
		})
		err := pages.EachListItemWithAlloc(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
			trimmed, err := trim(object)
			objects = append(objects, trimmed)
			return err
		})
		if err != nil {
			return nil, &UnavailableError{w.o.Config.Host, "list " + s.resource, err}
		}
		s.into(all).replace(objects)
	}
	return all.snapshot(found.uid, nil), nil
}
