//lint:file-ignore SA1019 Endpoints are deprecated, and all that servers before 1.21 have.

package node

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

// proxy opens the node ports of Services where the node listens and forwards TCP
// connections to ready pods, as kube-proxy does: on addresses of the Service's families
// alone, to pods' addresses of the same family; with externalTrafficPolicy Local
// to pods of this node only; to pods that are ending but still serve where no other
// is left; without any, connections are refused. Established connections go on
// when endpoints change.
type proxy struct {
	agent    *agent
	services corelisters.ServiceLister
	slices   cache.Indexer               // nil where the API server has none
	objects  corelisters.EndpointsLister // then these
	queue    workqueue.TypedRateLimitingInterface[string]

	// Of run's goroutine alone.
	ports map[string]map[netip.AddrPort]*nodePort // by Service key, by where they listen

	conns sync.WaitGroup
	ctx   context.Context // ends connections
}

// nodePort is one open port.
type nodePort struct {
	listener net.Listener
	targets  atomic.Pointer[[]netip.AddrPort]
	next     atomic.Uint64
}

func newProxy(a *agent) *proxy {
	return &proxy{
		agent: a, ports: map[string]map[netip.AddrPort]*nodePort{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 10*time.Second),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "proxy", Clock: a.World.Clock()},
		),
	}
}

// watch registers the informers; hasSlices says which kind of endpoints there is.
func (p *proxy) watch(factory informers.SharedInformerFactory, hasSlices bool) {
	p.services = factory.Core().V1().Services().Lister()
	p.each(factory.Core().V1().Services().Informer(), func(object any) string {
		if s, ok := object.(*corev1.Service); ok {
			return s.Namespace + "/" + s.Name
		}
		return ""
	})
	if !hasSlices {
		p.objects = factory.Core().V1().Endpoints().Lister()
		p.each(factory.Core().V1().Endpoints().Informer(), func(object any) string {
			if e, ok := object.(*corev1.Endpoints); ok {
				return e.Namespace + "/" + e.Name
			}
			return ""
		})
		return
	}
	informer := factory.Discovery().V1().EndpointSlices().Informer()
	p.slices = informer.GetIndexer()
	err := informer.AddIndexers(cache.Indexers{byService: func(object any) ([]string, error) { return []string{serviceOf(object)}, nil }})
	if err != nil {
		panic(err) // the informer runs already: it must not
	}
	p.each(informer, serviceOf)
}

// byService is the index of slices by their Service.
const byService = "service"

// serviceOf is the key of a slice's Service; "" if it has none.
func serviceOf(object any) string {
	if s, ok := object.(*discoveryv1.EndpointSlice); ok && s.Labels[discoveryv1.LabelServiceName] != "" {
		return s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
	}
	return ""
}

func (p *proxy) each(informer cache.SharedIndexInformer, key func(any) string) {
	add := func(object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		if k := key(object); k != "" {
			p.queue.Add(k)
		}
	}
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, object any) { add(object) }, DeleteFunc: add,
	})
}

// run keeps the ports until ctx ends and all connections are closed.
func (p *proxy) run(ctx context.Context, factory informers.SharedInformerFactory) {
	p.ctx = ctx
	stop := context.AfterFunc(ctx, p.queue.ShutDown)
	defer stop()
	factory.WaitForCacheSync(ctx.Done())
	for {
		key, down := p.queue.Get()
		if down {
			break
		}
		if p.sync(key) {
			p.queue.Forget(key)
		} else {
			p.queue.AddRateLimited(key)
		}
		p.queue.Done(key)
	}
	for _, ports := range p.ports {
		for _, open := range ports {
			open.listener.Close()
		}
	}
	p.conns.Wait()
}

// sync brings one Service's ports in line; false if a port could not be opened.
func (p *proxy) sync(key string) bool {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	service, err := p.services.Services(namespace).Get(name)
	wanted := map[netip.AddrPort][]netip.AddrPort{}
	if err == nil && (service.Spec.Type == corev1.ServiceTypeNodePort || service.Spec.Type == corev1.ServiceTypeLoadBalancer) {
		for _, port := range service.Spec.Ports {
			if port.NodePort == 0 || port.Protocol != corev1.ProtocolTCP && port.Protocol != "" {
				continue
			}
			for _, stack := range p.agent.Stacks {
				if !hasFamily(service, stack.family()) {
					continue
				}
				if targets := p.targets(service, port.Name, stack.family()); len(targets) > 0 {
					wanted[netip.AddrPortFrom(stack.Listens, uint16(port.NodePort))] = targets
				}
			}
		}
	}
	if p.ports[key] == nil {
		p.ports[key] = map[netip.AddrPort]*nodePort{}
	}
	ports := p.ports[key]
	for _, at := range slices.SortedFunc(maps.Keys(ports), netip.AddrPort.Compare) {
		if wanted[at] == nil {
			ports[at].listener.Close()
			delete(ports, at)
		}
	}
	good := true
	for _, at := range slices.SortedFunc(maps.Keys(wanted), netip.AddrPort.Compare) {
		targets := wanted[at]
		if ports[at] == nil {
			l, err := p.agent.World.Listen(p.agent.Actor, "tcp", at.String())
			if err != nil {
				p.agent.Log.Warn("node: a node port can't be opened", "node", p.agent.Name, "service", key, "address", at, "error", err)
				good = false
				continue
			}
			open := &nodePort{listener: l}
			open.targets.Store(&targets)
			ports[at] = open
			p.conns.Go(func() { p.accept(open) })
		}
		ports[at].targets.Store(&targets)
	}
	if len(ports) == 0 {
		delete(p.ports, key)
	}
	return good
}

// hasFamily says whether a Service is reached by addresses of a family; API servers
// before 1.20 don't say.
func hasFamily(service *corev1.Service, family corev1.IPFamily) bool {
	return len(service.Spec.IPFamilies) == 0 || slices.Contains(service.Spec.IPFamilies, family)
}

// target is one pod's port behind a Service, as far as this node cares.
type target struct {
	at                          netip.AddrPort
	local                       bool
	ready, serving, terminating bool
}

// targets are the pods, by their addresses of a family, that get this Service port's
// connections now, sorted.
func (p *proxy) targets(service *corev1.Service, port string, family corev1.IPFamily) []netip.AddrPort {
	all := p.endpoints(service, port)
	local := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	choose := func(good func(target) bool) (chosen []netip.AddrPort) {
		for _, t := range all {
			if good(t) && (t.local || !local) && t.at.Addr().Is6() == (family == corev1.IPv6Protocol) {
				chosen = append(chosen, t.at)
			}
		}
		slices.SortFunc(chosen, netip.AddrPort.Compare)
		return slices.Compact(chosen)
	}
	if ready := choose(func(t target) bool { return t.ready }); len(ready) > 0 {
		return ready
	}
	return choose(func(t target) bool { return t.serving && t.terminating })
}

func (p *proxy) endpoints(service *corev1.Service, port string) (all []target) {
	if p.slices == nil {
		object, err := p.objects.Endpoints(service.Namespace).Get(service.Name)
		if err != nil {
			return nil
		}
		for _, subset := range object.Subsets {
			for _, sp := range subset.Ports {
				if sp.Name != port {
					continue
				}
				for _, a := range subset.Addresses {
					if ip, err := netip.ParseAddr(a.IP); err == nil {
						all = append(all, target{netip.AddrPortFrom(ip, uint16(sp.Port)), ptr.Deref(a.NodeName, "") == p.agent.Name, true, true, false})
					}
				}
			}
		}
		return all
	}
	list, err := p.slices.ByIndex(byService, service.Namespace+"/"+service.Name)
	if err != nil {
		return nil // there is that index
	}
	for _, object := range list {
		slice := object.(*discoveryv1.EndpointSlice)
		for _, sp := range slice.Ports {
			if ptr.Deref(sp.Name, "") != port || sp.Port == nil {
				continue
			}
			for _, e := range slice.Endpoints {
				for _, address := range e.Addresses[:min(1, len(e.Addresses))] {
					ip, err := netip.ParseAddr(address)
					if err != nil {
						continue
					}
					ready := ptr.Deref(e.Conditions.Ready, true)
					all = append(all, target{
						netip.AddrPortFrom(ip, uint16(*sp.Port)), ptr.Deref(e.NodeName, "") == p.agent.Name,
						ready, ptr.Deref(e.Conditions.Serving, ready), ptr.Deref(e.Conditions.Terminating, false),
					})
				}
			}
		}
	}
	return all
}

func (p *proxy) accept(port *nodePort) {
	for {
		conn, err := port.listener.Accept()
		if errors.Is(err, net.ErrClosed) || p.ctx.Err() != nil {
			return
		}
		if err != nil { // out of file descriptors, for one: it passes
			p.agent.sleep(p.ctx, 10*time.Millisecond)
			continue
		}
		targets := *port.targets.Load()
		chosen := targets[port.next.Add(1)%uint64(len(targets))]
		p.conns.Go(func() { p.forward(conn, chosen) })
	}
}

// dialTimeout bounds how long a connection waits for its pod.
const dialTimeout = 5 * time.Second

// forward copies both ways until both ends are done.
func (p *proxy) forward(client net.Conn, to netip.AddrPort) {
	defer client.Close()
	at, ok := p.agent.Fabric.find(to)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
	pod, err := p.agent.World.Dial(ctx, p.agent.Actor+"/proxy/"+client.RemoteAddr().String(), "tcp", at)
	cancel()
	if err != nil {
		return
	}
	defer pod.Close()
	stop := context.AfterFunc(p.ctx, func() { client.Close(); pod.Close() })
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); pipe(pod, client) }()
	pipe(client, pod)
	<-done
}

// buffers of pipes, which live as long as a connection: in memory most of them carry
// a request or two. Sockets need none of it.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// pipe copies until the source ends, and passes that end on.
func pipe(to, from net.Conn) {
	buffer := buffers.Get().(*[32 << 10]byte)
	_, err := io.CopyBuffer(to, from, buffer[:])
	buffers.Put(buffer)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		half.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}
