package kube

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	// listTimeout is for one page of a list.
	listTimeout = time.Minute
	// A watch ends after watchTimeout to twice that, and is begun again where it
	// ended, which costs next to nothing. A connection that died unnoticed is
	// noticed no later.
	watchTimeout = 2 * time.Minute
	// watchGrace is how much longer than it asked for a watch may last.
	watchGrace = 10 * time.Second
)

// source is one kind of objects at the API server, and where they go.
type source struct {
	resource string         // as in URLs and access rules
	example  runtime.Object // of the type that comes
	into     func(*tables) sink
	list     func(context.Context, kubernetes.Interface, metav1.ListOptions) (runtime.Object, error)
	watch    func(context.Context, kubernetes.Interface, metav1.ListOptions) (watch.Interface, error)
}

// api is the part of a typed client that a source needs.
type api[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func newSource[L runtime.Object](resource string, example runtime.Object, into func(*tables) sink, fields, labels string, of func(kubernetes.Interface) api[L]) source {
	return source{
		resource: resource, example: example, into: into,
		list: func(ctx context.Context, client kubernetes.Interface, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector, o.LabelSelector = fields, labels
			return of(client).List(ctx, o)
		},
		watch: func(ctx context.Context, client kubernetes.Interface, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.LabelSelector = fields, labels
			return of(client).Watch(ctx, o)
		},
	}
}

// sources of a watcher for one namespace, or for all but kube-system if it is
// empty; of the Secrets those with keys that match the selector; of an API server that is such.
func sources(namespace, secrets string, c cluster) []source {
	fields := ""
	secretFields := "type=" + string(corev1.SecretTypeTLS)
	if namespace == "" {
		fields = "metadata.namespace!=" + metav1.NamespaceSystem
		secretFields += "," + fields
	}
	list := []source{
		newSource("ingresses", &networkingv1.Ingress{}, func(t *tables) sink { return t.ingresses }, fields, "",
			func(c kubernetes.Interface) api[*networkingv1.IngressList] {
				return c.NetworkingV1().Ingresses(namespace)
			}),
		newSource("ingressclasses", &networkingv1.IngressClass{}, func(t *tables) sink { return t.classes }, "", "",
			func(c kubernetes.Interface) api[*networkingv1.IngressClassList] {
				return c.NetworkingV1().IngressClasses()
			}),
		newSource("services", &corev1.Service{}, func(t *tables) sink { return t.services }, fields, "",
			func(c kubernetes.Interface) api[*corev1.ServiceList] { return c.CoreV1().Services(namespace) }),
		newSource("nodes", &corev1.Node{}, func(t *tables) sink { return t.nodes }, "", "",
			func(c kubernetes.Interface) api[*corev1.NodeList] { return c.CoreV1().Nodes() }),
		newSource("secrets", &corev1.Secret{}, func(t *tables) sink { return t.secrets }, secretFields, secrets,
			func(c kubernetes.Interface) api[*corev1.SecretList] { return c.CoreV1().Secrets(namespace) }),
	}
	if c.hasSlices {
		list = append(list, newSource("endpointslices", &discoveryv1.EndpointSlice{}, func(t *tables) sink { return t.endpoints }, fields, "",
			func(c kubernetes.Interface) api[*discoveryv1.EndpointSliceList] {
				return c.DiscoveryV1().EndpointSlices(namespace)
			}))
	} else {
		list = append(list, newSource("endpoints", &legacyEndpoints{}, func(t *tables) sink { return t.endpoints }, fields, "",
			func(c kubernetes.Interface) api[*legacyEndpointsList] { return c.CoreV1().Endpoints(namespace) }))
	}
	if c.hasRanges {
		list = append(list, newSource("servicecidrs", &networkingv1.ServiceCIDR{}, func(t *tables) sink { return t.ranges }, "", "",
			func(c kubernetes.Interface) api[*networkingv1.ServiceCIDRList] {
				return c.NetworkingV1().ServiceCIDRs()
			}))
	}
	return list
}

// listWatch is a source as client-go's Reflector wants it: it adds deadlines,
// tells errors, and lets its owner wait for lists that outlive the Reflector.
type listWatch struct {
	source
	client  kubernetes.Interface
	fresh   bool // lists come past the API server's caches
	health  *health
	suspect func() // called when there is an answer after an outage, before it counts
	jitter  func(n uint64, d time.Duration) time.Duration
	lists   sync.WaitGroup
	watches uint64 // of the Reflector's goroutine alone
}

func (l *listWatch) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l *listWatch) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

func (l *listWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	l.lists.Add(1)
	defer l.lists.Done()
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if l.fresh && o.ResourceVersion == "0" { // any that it has
		o.ResourceVersion = "" // the latest
	}
	list, err := l.list(ctx, l.client, o)
	l.tell(ctx, "list", err)
	return list, err
}

func (l *listWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	l.watches++
	timeout := (watchTimeout + l.jitter(l.watches, watchTimeout)).Truncate(time.Second)
	o.TimeoutSeconds = ptr.To(int64(timeout / time.Second))
	ctx, cancel := context.WithTimeout(ctx, timeout+watchGrace)
	w, err := l.watch(ctx, l.client, o)
	if err != nil {
		cancel()
		if o.SendInitialEvents != nil {
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
				return nil, err // an older API server: it is asked for a list next
			}
			// Of some errors the Reflector would wait here and not hear that ctx ends;
			// others it does not recognise, and waits elsewhere.
			if !apierrors.IsResourceExpired(err) && !apierrors.IsTimeout(err) {
				l.tell(ctx, "watch", err)
				return nil, errors.New(err.Error())
			}
		}
		l.tell(ctx, "watch", err)
		return nil, err
	}
	l.tell(ctx, "watch", nil)
	return &cancelled{w, cancel}, nil
}

func (l *listWatch) tell(ctx context.Context, verb string, err error) {
	switch {
	case err == nil:
		if l.health.worked(l.resource) {
			l.suspect()
		}
	case errors.Is(ctx.Err(), context.Canceled): // we end
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err): // a list follows
	default:
		l.health.failed(l.resource, verb+" "+l.resource, err)
	}
}

// cancelled ends its context when it is stopped.
type cancelled struct {
	watch.Interface
	cancel context.CancelFunc
}

func (c *cancelled) Stop() {
	c.cancel()
	c.Interface.Stop()
}
