package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// Options of a node.
type Options struct {
	World  outside.World
	Log    *slog.Logger
	Config *rest.Config
	// Actor is the name under which all connections are made.
	Actor string
	// Name of the Node object.
	Name string
	// Address is the node's InternalIP: node ports and pods listen on it.
	Address netip.Addr
	// PodCIDR is where the node's pods get addresses, IPv4, e.g. "10.244.1.0/24".
	PodCIDR string
	Images  *Images
	Fabric  *Fabric
}

const (
	requestTimeout = 10 * time.Second
	leaseEvery     = 10 * time.Second // as a kubelet
	leaseDuration  = 40 * time.Second
	statusEvery    = 5 * time.Minute
)

// agent is one running node.
type agent struct {
	Options
	client   *kubeclient.Client
	version  string
	events   *events
	podRange netip.Prefix

	mu      sync.Mutex
	workers map[types.UID]*podWorker
	nextIP  netip.Addr
	usedIPs map[netip.Addr]bool
	running sync.WaitGroup // pod workers
}

// Run is the node until ctx ends; then its pods are killed, its node ports closed,
// and the Node object stays, as that of a machine whose power is cut.
func Run(ctx context.Context, o Options) error {
	podRange, err := netip.ParsePrefix(o.PodCIDR)
	if err != nil || !podRange.Addr().Is4() {
		return fmt.Errorf("node %s: pod CIDR %q is not an IPv4 range: %v", o.Name, o.PodCIDR, err)
	}
	client, err := kubeclient.New(o.World, o.Actor, o.Config)
	if err != nil {
		return err
	}
	defer client.Close()
	a := &agent{
		Options: o, client: client, podRange: podRange.Masked(), nextIP: podRange.Masked().Addr().Next(),
		workers: map[types.UID]*podWorker{}, usedIPs: map[netip.Addr]bool{},
	}
	a.events = &events{agent: a}
	if err := a.register(ctx); err != nil {
		return err
	}

	proxy := newProxy(a)
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(l *metav1.ListOptions) {
		l.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", o.Name).String()
	}))
	podInformer := pods.Core().V1().Pods().Informer()
	podInformer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.podSeen(ctx, object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { a.podSeen(ctx, object.(*corev1.Pod)) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if pod, ok := object.(*corev1.Pod); ok {
				a.podGone(pod)
			}
		},
	})
	proxy.watch(factory)
	factory.Start(ctx.Done())
	pods.Start(ctx.Done())

	var parts sync.WaitGroup
	parts.Go(func() { a.keepLease(ctx) })
	parts.Go(func() { proxy.run(ctx, factory) })
	<-ctx.Done()
	parts.Wait()
	factory.Shutdown()
	pods.Shutdown() // no handler starts a pod any more
	a.running.Wait()
	return nil
}

func (a *agent) now() time.Time { return a.World.Clock().Now() }

// register creates the Node, or takes over what a former run left.
func (a *agent) register(ctx context.Context) error {
	for attempt := uint64(0); ; attempt++ {
		err := a.tryRegister(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		a.Log.Warn("node: not registered yet", "node", a.Name, "error", err)
		sleep(ctx, a.World, time.Second+a.World.Jitter(a.Actor+"/register", attempt, time.Second))
	}
}

func (a *agent) tryRegister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	version, err := a.client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	a.version = version.GitVersion
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: map[string]string{
			corev1.LabelHostname: a.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Spec: corev1.NodeSpec{PodCIDR: a.PodCIDR, PodCIDRs: []string{a.PodCIDR}},
	}
	_, err = a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.writeStatus(ctx)
}

// writeStatus says that the node is ready.
func (a *agent) writeStatus(ctx context.Context) error {
	node, err := a.client.CoreV1().Nodes().Get(ctx, a.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	changed := node.DeepCopy()
	now := metav1.NewTime(a.now())
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	changed.Status.Capacity, changed.Status.Allocatable = capacity, capacity
	changed.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: a.Address.String()}, {Type: corev1.NodeHostName, Address: a.Name},
	}
	changed.Status.NodeInfo.KubeletVersion = a.version
	changed.Status.NodeInfo.OperatingSystem, changed.Status.NodeInfo.Architecture = "linux", "amd64"
	changed.Status.NodeInfo.ContainerRuntimeVersion = "hollow://1"
	changed.Status.NodeInfo.OSImage = "vtm-ingress hollow node"
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the hollow node is running",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
	i := slices.IndexFunc(changed.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if i < 0 {
		changed.Status.Conditions = append(changed.Status.Conditions, ready)
	} else {
		if changed.Status.Conditions[i].Status == ready.Status {
			ready.LastTransitionTime = changed.Status.Conditions[i].LastTransitionTime
		}
		changed.Status.Conditions[i] = ready
	}
	if apiequality.Semantic.DeepEqual(node.Status, changed.Status) {
		return nil
	}
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// keepLease renews the Lease by which the node is known to live, and now and then
// its status; at once when it comes back after it was away.
func (a *agent) keepLease(ctx context.Context) {
	away := false
	var statusAt time.Time
	for n := uint64(0); ctx.Err() == nil; n++ {
		requestContext, cancel := context.WithTimeout(ctx, requestTimeout)
		err := a.renew(requestContext)
		if err == nil && (away || !a.now().Before(statusAt.Add(statusEvery))) {
			if err = a.writeStatus(requestContext); err == nil {
				statusAt = a.now()
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil && !away {
			a.Log.Warn("node: the Lease was not renewed", "node", a.Name, "error", err)
		}
		away = err != nil
		sleep(ctx, a.World, leaseEvery+a.World.Jitter(a.Actor+"/lease", n, 100*time.Millisecond))
	}
}

func (a *agent) renew(ctx context.Context) error {
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(a.now())
	lease, err := leases.Get(ctx, a.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: a.Name, Namespace: corev1.NamespaceNodeLease},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: ptr.To(a.Name), LeaseDurationSeconds: ptr.To(int32(leaseDuration / time.Second)), RenewTime: &now,
			},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// podSeen starts a pod or tells its worker what changed.
func (a *agent) podSeen(ctx context.Context, pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.workers[pod.UID]; w != nil {
		w.see(pod)
		return
	}
	if ctx.Err() != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	ip, err := a.addressFor()
	if err != nil {
		a.Log.Warn("node: pod not started", "node", a.Name, "namespace", pod.Namespace, "pod", pod.Name, "error", err)
		return
	}
	w := &podWorker{agent: a, ip: ip, started: a.now(), wake: make(chan struct{}, 1), pod: pod, ending: pod.DeletionTimestamp != nil}
	a.workers[pod.UID] = w
	a.running.Go(func() {
		w.run(ctx)
		a.mu.Lock()
		delete(a.usedIPs, ip)
		a.mu.Unlock()
	})
}

func (a *agent) podGone(pod *corev1.Pod) {
	a.mu.Lock()
	w := a.workers[pod.UID]
	delete(a.workers, pod.UID)
	a.mu.Unlock()
	if w != nil {
		w.see(nil)
	}
}

// sleep waits for d; false if ctx ended first.
func sleep(ctx context.Context, world outside.World, d time.Duration) bool {
	timer := world.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// events writes Events about pods, each an object of its own.
type events struct {
	agent *agent
	mu    sync.Mutex
	count int
}

// write gives up silently: an Event that can't be written is no reason to stop.
func (e *events) write(ctx context.Context, pod *corev1.Pod, level, reason, message string) {
	e.mu.Lock()
	e.count++
	n := e.count
	e.mu.Unlock()
	now := metav1.NewTime(e.agent.now())
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := e.agent.client.CoreV1().Events(pod.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s.%s%s%d", pod.Name, strconv.FormatInt(now.UnixNano(), 16), e.agent.Name, n), Namespace: pod.Namespace,
		},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           level, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: "kubelet", Host: e.agent.Name}, ReportingController: "kubelet",
	}, metav1.CreateOptions{})
	if err != nil {
		e.agent.Log.Debug("node: an Event was not written", "node", e.agent.Name, "reason", reason, "error", err)
	}
}
