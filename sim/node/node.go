package node

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/netip"
	"slices"
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
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
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
	// Stacks are what it has of one IP family, or of both: then the first is the primary.
	Stacks []Stack
	Images *Images
	Fabric *Fabric
}

// Stack is what a node has of one IP family.
type Stack struct {
	// Address is the node's InternalIP.
	Address netip.Addr
	// Listens is the address of this machine that stands for it: node ports listen
	// there, and on the primary's pods.
	Listens netip.Addr
	// PodCIDR is where the node's pods get addresses, at most 2^16, e.g. "10.244.1.0/24".
	PodCIDR string
}

// family of the stack.
func (s Stack) family() corev1.IPFamily {
	if s.Address.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

const (
	requestTimeout = 10 * time.Second
	leaseEvery     = 10 * time.Second // as a kubelet
	leaseDuration  = 40 * time.Second
	statusEvery    = 5 * time.Minute // where nothing has changed
)

// agent is one running node.
type agent struct {
	Options
	client  *kubeclient.Client
	version string

	lease *coordinationv1.Lease // as last written; of keepLease alone

	mu      sync.Mutex
	workers map[types.UID]*podWorker
	pods    []*podRange    // by stack
	running sync.WaitGroup // pod workers
}

// Run is the node until ctx ends; then its pods are killed, its node ports closed,
// and the Node object stays, as that of a machine whose power is cut.
func Run(ctx context.Context, o Options) error {
	var ranges []*podRange
	for _, stack := range o.Stacks {
		r, err := newPodRange(stack.PodCIDR)
		if err != nil {
			return fmt.Errorf("node %s: %w", o.Name, err)
		}
		ranges = append(ranges, r)
	}
	client, err := kubeclient.New(o.World, o.Actor, o.Config)
	if err != nil {
		return err
	}
	defer client.Close()
	a := &agent{
		Options: o, client: client, workers: map[types.UID]*podWorker{}, pods: ranges,
	}
	if !a.register(ctx) {
		return nil
	}
	withSlices, err := hasSlices(a.version)
	if err != nil {
		return fmt.Errorf("node %s: the API server's version: %w", o.Name, err)
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
	proxy.watch(factory, withSlices)
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

// hasSlices says whether an API server of a version has discovery.k8s.io/v1.
func hasSlices(serverVersion string) (bool, error) {
	v, err := version.ParseGeneric(serverVersion)
	if err != nil {
		return false, err
	}
	return v.AtLeast(version.MajorMinor(1, 21)), nil
}

// register creates the Node, or takes over what a former run left; false if ctx ended
// first.
func (a *agent) register(ctx context.Context) bool {
	for attempt := uint64(0); ; attempt++ {
		err := a.tryRegister(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.Log.Warn("node: not registered yet", "node", a.Name, "error", err)
		a.sleep(ctx, time.Second+a.World.Jitter(a.Actor+"/register", attempt, time.Second))
	}
}

func (a *agent) tryRegister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := discovery.ToDiscoveryInterfaceWithContext(a.client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return err
	}
	a.version = info.GitVersion
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: map[string]string{
			corev1.LabelHostname: a.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Spec: corev1.NodeSpec{PodCIDR: a.Stacks[0].PodCIDR},
	}
	for _, stack := range a.Stacks {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, stack.PodCIDR)
	}
	_, err = a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.writeStatus(ctx)
}

// writeStatus says that the node is ready, if the API server does not know that, or
// has not heard it for long. A Node that somebody deleted stays so, as with a kubelet
// that is not started anew.
func (a *agent) writeStatus(ctx context.Context) error {
	node, err := a.client.CoreV1().Nodes().Get(ctx, a.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	changed := node.DeepCopy()
	now := metav1.NewTime(a.now())
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	changed.Status.Capacity, changed.Status.Allocatable = capacity, capacity
	changed.Status.Addresses = nil
	for _, stack := range a.Stacks {
		changed.Status.Addresses = append(changed.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: stack.Address.String()})
	}
	changed.Status.Addresses = append(changed.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.Name})
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
		if old := changed.Status.Conditions[i]; old.Status == ready.Status {
			ready.LastTransitionTime = old.LastTransitionTime
			if a.now().Before(old.LastHeartbeatTime.Add(statusEvery)) {
				ready.LastHeartbeatTime = old.LastHeartbeatTime
			}
		}
		changed.Status.Conditions[i] = ready
	}
	if apiequality.Semantic.DeepEqual(node.Status, changed.Status) {
		return nil
	}
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// keepLease renews the Lease by which the node is known to live, and looks after its
// status.
func (a *agent) keepLease(ctx context.Context) {
	away := false
	for n := uint64(0); ctx.Err() == nil; n++ {
		requestContext, cancel := context.WithTimeout(ctx, requestTimeout)
		err := a.renew(requestContext)
		if err == nil {
			err = a.writeStatus(requestContext)
		}
		cancel()
		if err != nil && ctx.Err() == nil && !away {
			a.Log.Warn("node: the Lease was not renewed", "node", a.Name, "error", err)
		}
		away = err != nil
		a.sleep(ctx, leaseEvery+a.World.Jitter(a.Actor+"/lease", n, 100*time.Millisecond))
	}
}

// renew writes the Lease as it was last written, and reads it only where that fails.
func (a *agent) renew(ctx context.Context) (err error) {
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(a.now())
	if a.lease != nil {
		a.lease.Spec.RenewTime = &now
		if a.lease, err = leases.Update(ctx, a.lease, metav1.UpdateOptions{}); err == nil {
			return nil
		}
		a.lease = nil
	}
	lease, err := leases.Get(ctx, a.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: a.Name, Namespace: corev1.NamespaceNodeLease},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: ptr.To(a.Name), LeaseDurationSeconds: ptr.To(int32(leaseDuration / time.Second)), RenewTime: &now,
			},
		}, metav1.CreateOptions{})
		if err == nil {
			a.lease = lease
		}
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	if lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{}); err == nil {
		a.lease = lease
	}
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
	w := newPodWorker(a, pod)
	a.workers[pod.UID] = w
	a.running.Go(func() { w.run(ctx) })
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
func (a *agent) sleep(ctx context.Context, d time.Duration) bool {
	timer := a.World.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// tell writes an Event about a pod, as an object of its own, whose name is a function
// of what happened and when. It gives up silently: an Event that can't be written is
// no reason to stop.
func (a *agent) tell(ctx context.Context, pod *corev1.Pod, level, reason, message string) {
	now := metav1.NewTime(a.now())
	what := fnv.New32a()
	io.WriteString(what, string(pod.UID)+"/"+reason+"/"+message)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := a.client.CoreV1().Events(pod.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s.%x%08x", pod.Name, now.UnixNano(), what.Sum32()), Namespace: pod.Namespace,
		},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           level, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: "kubelet", Host: a.Name}, ReportingController: "kubelet",
	}, metav1.CreateOptions{})
	if err != nil {
		a.Log.Debug("node: an Event was not written", "node", a.Name, "reason", reason, "error", err)
	}
}
