package controllers

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	// graceOfNode is how long a node may be silent before it counts as lost.
	graceOfNode = 40 * time.Second
	// graceOfPods is how long pods stay on a lost node, as the tolerations that a
	// real API server adds to pods have it.
	graceOfPods = 300 * time.Second
)

// nodeLifecycle notices nodes that no longer renew their Lease, says so in their
// conditions, taints and pods, and clears away pods of nodes that are gone.
type nodeLifecycle struct {
	*manager
	client kubernetes.Interface
	nodes  corelisters.NodeLister
	pods   corelisters.PodLister
	leases coordinationlisters.LeaseLister
	queue  *loop

	// unheard is when the API server was last found away, in Unix nanoseconds; 0: never.
	unheard atomic.Int64
}

func (m *manager) addNodeLifecycle() error {
	client, err := m.client("nodelifecycle")
	if err != nil {
		return err
	}
	core := m.factory.Core().V1()
	c := &nodeLifecycle{
		manager: m, client: client, nodes: core.Nodes().Lister(), pods: core.Pods().Lister(),
		leases: m.factory.Coordination().V1().Leases().Lister(),
	}
	c.queue = m.loop("nodelifecycle", c.sync)
	on(core.Nodes().Informer(), func(n, _ *corev1.Node) { c.queue.add(n.Name) })
	on(core.Pods().Informer(), func(p, old *corev1.Pod) {
		if p.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "") {
			c.queue.add(p.Spec.NodeName) // bound to a node that may be lost or gone
		}
	})
	leases := m.factory.Coordination().V1().Leases().Informer()
	if err := leases.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !errors.Is(err, io.EOF) {
			c.unheard.Store(c.now().UnixNano())
		}
	}); err != nil {
		return err
	}
	on(leases, func(l, old *coordinationv1.Lease) {
		if l.Namespace == corev1.NamespaceNodeLease && old == nil {
			c.queue.add(l.Name)
		}
	})
	return nil
}

func (c *nodeLifecycle) sync(ctx context.Context, name string) error {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return c.clear(ctx, name)
	}
	if err != nil {
		return err
	}
	heard := node.CreationTimestamp.Time
	if lease, err := c.leases.Leases(corev1.NamespaceNodeLease).Get(name); err == nil && lease.Spec.RenewTime != nil {
		heard = lease.Spec.RenewTime.Time
	}
	now := c.now()
	lost := !now.Before(heard.Add(graceOfNode))
	if lost && nodeReady(node) == corev1.ConditionTrue {
		// It may have come back just now: its Node can be seen before its Lease.
		lease, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			c.unheard.Store(now.UnixNano())
			return err
		}
		if err == nil && lease.Spec.RenewTime != nil {
			heard = lease.Spec.RenewTime.Time
		}
		// Who could not be reached can't have been heard of: all nodes get their time. The
		// real one ends without the API server, and begins anew.
		if unheard := time.Unix(0, c.unheard.Load()); heard.Before(unheard) {
			heard = unheard
		}
		lost = !now.Before(heard.Add(graceOfNode))
	}
	if lost {
		if node, err = c.lose(ctx, node); err != nil {
			return err
		}
		// From when it was found lost, as a toleration counts from its taint: nobody was
		// heard of while the API server was away.
		if due := lostSince(node).Add(graceOfPods - graceOfNode); now.Before(due) {
			c.queue.queue.AddAfter(name, due.Sub(now))
		} else if err := c.evict(ctx, name); err != nil {
			return err
		}
	}
	// The lease is renewed every ten seconds without an event for us: look again
	// when it would have ended.
	c.queue.queue.AddAfter(name, max(heard.Add(graceOfNode).Sub(now), 5*time.Second))
	return c.taint(ctx, node, lost)
}

// lostSince is when a node that lose has written was found lost.
func lostSince(node *corev1.Node) time.Time {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// lose writes that a node is not heard of, and that its pods are not ready. It
// returns the node as it is then.
func (c *nodeLifecycle) lose(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	if nodeReady(node) != corev1.ConditionUnknown || len(node.Status.Conditions) == 0 {
		changed := node.DeepCopy()
		now := metav1.NewTime(c.now())
		unknown := corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown",
			Message: "Kubelet stopped posting node status.", LastHeartbeatTime: now, LastTransitionTime: now,
		}
		changed.Status.Conditions = slices.DeleteFunc(changed.Status.Conditions, func(x corev1.NodeCondition) bool { return x.Type == corev1.NodeReady })
		changed.Status.Conditions = append(changed.Status.Conditions, unknown)
		updated, err := c.client.CoreV1().Nodes().UpdateStatus(ctx, changed, metav1.UpdateOptions{})
		if err != nil {
			return nil, err
		}
		node = updated
	}
	for _, p := range c.on(node.Name) {
		if !podReady(p) {
			continue
		}
		changed := p.DeepCopy()
		for i := range changed.Status.Conditions {
			if changed.Status.Conditions[i].Type == corev1.PodReady {
				changed.Status.Conditions[i].Status = corev1.ConditionFalse
				changed.Status.Conditions[i].LastTransitionTime = metav1.NewTime(c.now())
			}
		}
		if _, err := c.client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return node, nil
}

// on lists a node's pods, sorted.
func (c *nodeLifecycle) on(node string) []*corev1.Pod {
	all, err := c.pods.List(labels.Everything())
	if err != nil {
		return nil // a cache's lister does not fail
	}
	pods := slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return p.Spec.NodeName != node })
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

// evict deletes a lost node's pods; they stay Terminating until the node is back.
func (c *nodeLifecycle) evict(ctx context.Context, node string) error {
	for _, p := range c.on(node) {
		if p.DeletionTimestamp == nil {
			if err := c.delete(ctx, p, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// clear removes the pods of a node that is gone: nobody would end them.
func (c *nodeLifecycle) clear(ctx context.Context, node string) error {
	pods := c.on(node)
	if len(pods) == 0 {
		return nil
	}
	_, err := c.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err // there after all: its event comes
	}
	for _, p := range pods {
		if err := c.delete(ctx, p, ptr.To[int64](0)); err != nil {
			return err
		}
	}
	return nil
}

func (c *nodeLifecycle) delete(ctx context.Context, p *corev1.Pod, grace *int64) error {
	err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: grace, Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// taint keeps the node's taints in step with its condition.
func (c *nodeLifecycle) taint(ctx context.Context, node *corev1.Node, lost bool) error {
	ready := nodeReady(node)
	var wanted []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Key != corev1.TaintNodeUnreachable && t.Key != corev1.TaintNodeNotReady {
			wanted = append(wanted, t)
		}
	}
	if len(node.Status.Conditions) > 0 {
		switch {
		case lost || ready == corev1.ConditionUnknown:
			wanted = append(wanted, corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule})
		case ready == corev1.ConditionFalse:
			wanted = append(wanted, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	text := func(taints []corev1.Taint) string {
		var parts []string
		for _, t := range taints {
			parts = append(parts, t.ToString())
		}
		slices.Sort(parts)
		return strings.Join(parts, ",")
	}
	if text(wanted) == text(node.Spec.Taints) {
		return nil
	}
	changed := node.DeepCopy()
	changed.Spec.Taints = wanted
	_, err := c.client.CoreV1().Nodes().Update(ctx, changed, metav1.UpdateOptions{})
	return err
}
