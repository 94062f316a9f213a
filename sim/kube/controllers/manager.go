package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// Options of Run.
type Options struct {
	World  outside.World
	Log    *slog.Logger
	Config *rest.Config
	// Actor is the name under which all connections are made.
	Actor string
	// KubernetesVersion of the API server, as "1.20"; empty is the newest. Below 1.21
	// there are Endpoints, but no EndpointSlices.
	KubernetesVersion string
}

// requestTimeout bounds each request of a controller.
const requestTimeout = 10 * time.Second

// manager is what the controllers share.
type manager struct {
	Options
	factory informers.SharedInformerFactory
	slices  bool // the API server has discovery.k8s.io/v1

	loops   []*loop
	clients []*kubeclient.Client
}

// Run runs all controllers until ctx ends, and returns when all have ended.
func Run(ctx context.Context, o Options) error {
	m := &manager{Options: o, slices: true}
	if o.KubernetesVersion != "" {
		v, err := version.ParseGeneric(o.KubernetesVersion)
		if err != nil {
			return fmt.Errorf("Kubernetes version %q: %w", o.KubernetesVersion, err)
		}
		m.slices = v.AtLeast(version.MajorMinor(1, 21))
	}
	defer func() {
		for _, l := range m.loops {
			l.queue.ShutDown()
		}
		for _, c := range m.clients {
			c.Close()
		}
	}()
	client, err := m.client("informers")
	if err != nil {
		return err
	}
	m.factory = informers.NewSharedInformerFactory(client, 0)
	for _, add := range []func() error{
		m.addDeployments, m.addReplicaSets, m.addScheduler, m.addEndpoints,
		m.addGarbageCollector, m.addNamespaces, m.addNodeLifecycle,
	} {
		if err := add(); err != nil {
			return err
		}
	}
	m.factory.Start(ctx.Done())
	m.factory.WaitForCacheSync(ctx.Done()) // or ctx ends, and all with it
	var workers sync.WaitGroup
	for _, l := range m.loops {
		workers.Go(func() { l.run(ctx) })
	}
	<-ctx.Done()
	for _, l := range m.loops {
		l.queue.ShutDown()
	}
	workers.Wait()
	m.factory.Shutdown()
	return nil
}

// client makes a client of its own for one controller.
func (m *manager) client(name string) (*kubeclient.Client, error) {
	c, err := kubeclient.New(m.World, m.Actor+"/"+name, m.Config)
	if err == nil {
		m.clients = append(m.clients, c)
	}
	return c, err
}

func (m *manager) now() time.Time { return m.World.Clock().Now() }

// loop is one controller's queue with its worker. Keys are what sync understands.
type loop struct {
	name  string
	log   *slog.Logger
	world outside.World
	queue workqueue.TypedRateLimitingInterface[string]
	sync  func(ctx context.Context, key string) error
}

// loop makes a controller whose sync is called for each key, never twice at once.
func (m *manager) loop(name string, sync func(ctx context.Context, key string) error) *loop {
	l := &loop{
		name: name, log: m.Log, world: m.World, sync: sync,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, 10*time.Second),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: name, Clock: m.World.Clock()},
		),
	}
	m.loops = append(m.loops, l)
	return l
}

// add queues a key for what an informer saw. An informer hands over what it has
// listed in the order of a map: each key waits a little of its own, so that keys are
// worked on in an order that is theirs.
func (l *loop) add(key string) {
	l.queue.AddAfter(key, l.world.Jitter("cluster/"+l.name+"/"+key, 0, time.Millisecond))
}

func (l *loop) run(ctx context.Context) {
	for {
		key, down := l.queue.Get()
		if down {
			return
		}
		if ctx.Err() == nil {
			l.one(ctx, key)
		}
		l.queue.Done(key)
	}
}

func (l *loop) one(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := l.sync(ctx, key)
	if err == nil {
		l.queue.Forget(key)
		return
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		l.queue.Forget(key) // it goes with its namespace
		return
	}
	// Conflicts and what is gone meanwhile are everyday: the next event or try
	// settles them.
	if !errors.Is(err, errNotEmpty) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
		l.log.Warn("cluster controller", "controller", l.name, "key", key, "error", err)
	}
	l.queue.AddRateLimited(key)
}

// on calls f with each object that is added, changed (then the new one; the old one
// is nil otherwise) or deleted.
func on[T any](informer cache.SharedIndexInformer, f func(object, old T)) {
	var none T
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if o, ok := object.(T); ok {
				f(o, none)
			}
		},
		UpdateFunc: func(old, object any) {
			o, ok1 := object.(T)
			p, ok2 := old.(T)
			if ok1 && ok2 {
				f(o, p)
			}
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if o, ok := object.(T); ok {
				f(o, none)
			}
		},
	})
}

func keyOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
