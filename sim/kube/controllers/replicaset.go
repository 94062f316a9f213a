package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// replicaSets keeps as many pods of each ReplicaSet as it asks for. Left out:
// adoption of pods that nobody controls.
type replicaSets struct {
	*manager
	client      kubernetes.Interface
	replicaSets appslisters.ReplicaSetLister
	pods        corelisters.PodLister
	events      *events
	queue       *loop

	// What was done and does not show in the cache yet, by the ReplicaSet's key; of
	// the one worker alone.
	pending map[string]*pending
}

type pending struct {
	of      types.UID // the ReplicaSet
	created map[types.UID]time.Time
	deleted map[types.UID]time.Time
}

// pendingFor bounds how long the cache may lag before it is believed again.
const pendingFor = 30 * time.Second

func (m *manager) addReplicaSets() error {
	client, err := m.client("replicaset")
	if err != nil {
		return err
	}
	c := &replicaSets{
		manager: m, client: client, pending: map[string]*pending{},
		replicaSets: m.factory.Apps().V1().ReplicaSets().Lister(), pods: m.factory.Core().V1().Pods().Lister(),
		events: m.eventsOf(client, "replicaset-controller"),
	}
	c.queue = m.loop("replicaset", c.sync)
	on(m.factory.Apps().V1().ReplicaSets().Informer(), func(rs, _ *appsv1.ReplicaSet) { c.queue.add(keyOf(rs.Namespace, rs.Name)) })
	on(m.factory.Core().V1().Pods().Informer(), func(p, _ *corev1.Pod) {
		if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == "ReplicaSet" {
			c.queue.add(keyOf(p.Namespace, owner.Name))
		}
	})
	return nil
}

func (c *replicaSets) sync(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	rs, err := c.replicaSets.ReplicaSets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		delete(c.pending, key)
		return nil
	}
	if err != nil {
		return err
	}
	all, err := c.pods.Pods(namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	waiting := c.pending[key]
	if waiting == nil || waiting.of != rs.UID {
		waiting = &pending{of: rs.UID, created: map[types.UID]time.Time{}, deleted: map[types.UID]time.Time{}}
		c.pending[key] = waiting
	}
	var pods []*corev1.Pod // those that count
	seen := map[types.UID]bool{}
	for _, p := range all {
		if !metav1.IsControlledBy(p, rs) {
			continue
		}
		seen[p.UID] = true
		_, deleted := waiting.deleted[p.UID]
		if p.DeletionTimestamp == nil && !deleted && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			pods = append(pods, p)
		}
	}
	waiting.forget(seen, c.now())
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })

	if rs.DeletionTimestamp == nil {
		if err := c.manage(ctx, rs, pods, waiting); err != nil {
			return err
		}
	}
	return c.status(ctx, rs, pods)
}

// forget what the cache has caught up with, or should have.
func (p *pending) forget(seen map[types.UID]bool, now time.Time) {
	for uid, at := range p.created {
		if seen[uid] || now.Sub(at) > pendingFor {
			delete(p.created, uid)
		}
	}
	for uid, at := range p.deleted {
		if !seen[uid] || now.Sub(at) > pendingFor {
			delete(p.deleted, uid)
		}
	}
}

func (c *replicaSets) manage(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod, waiting *pending) error {
	missing := int(*rs.Spec.Replicas) - len(pods) - len(waiting.created)
	for range missing {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: rs.Name + "-", Namespace: rs.Namespace,
				Labels: rs.Spec.Template.Labels, Annotations: rs.Spec.Template.Annotations, Finalizers: rs.Spec.Template.Finalizers,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
			},
			Spec: *rs.Spec.Template.Spec.DeepCopy(),
		}
		created, err := c.client.CoreV1().Pods(rs.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			c.events.warning(ctx, rs, "ReplicaSet", "FailedCreate", "Error creating: "+err.Error())
			return err
		}
		waiting.created[created.UID] = c.now()
		c.queue.queue.AddAfter(keyOf(rs.Namespace, rs.Name), pendingFor+time.Second) // should it be gone before it shows
		c.events.normal(ctx, rs, "ReplicaSet", "SuccessfulCreate", "Created pod: "+created.Name)
	}
	if missing >= 0 {
		return nil
	}
	// Pods that don't show yet can't be chosen: they are asked for again later.
	for _, p := range c.leastUseful(pods, min(-missing, len(pods))) {
		err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		waiting.deleted[p.UID] = c.now()
		c.events.normal(ctx, rs, "ReplicaSet", "SuccessfulDelete", "Deleted pod: "+p.Name)
	}
	return nil
}

// leastUseful chooses n pods to delete, as the real controller ranks them: without a
// node, not running, not ready, on a node with more of their kind, younger.
func (c *replicaSets) leastUseful(pods []*corev1.Pod, n int) []*corev1.Pod {
	perNode := map[string]int{}
	for _, p := range pods {
		perNode[p.Spec.NodeName]++
	}
	rank := func(p *corev1.Pod) int {
		switch {
		case p.Spec.NodeName == "":
			return 0
		case p.Status.Phase != corev1.PodRunning:
			return 1
		case !podReady(p):
			return 2
		}
		return 3
	}
	ranked := slices.Clone(pods)
	slices.SortStableFunc(ranked, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(perNode[b.Spec.NodeName], perNode[a.Spec.NodeName]),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time))
	})
	return ranked[:n]
}

func (c *replicaSets) status(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	status := appsv1.ReplicaSetStatus{
		ObservedGeneration: rs.Generation, Replicas: int32(len(pods)), Conditions: rs.Status.Conditions,
		TerminatingReplicas: rs.Status.TerminatingReplicas,
	}
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	for _, p := range pods {
		if template.Matches(labels.Set(p.Labels)) {
			status.FullyLabeledReplicas++
		}
		if !podReady(p) {
			continue
		}
		status.ReadyReplicas++
		since := readySince(p)
		due := since.Add(time.Duration(rs.Spec.MinReadySeconds) * time.Second)
		if now := c.now(); now.Before(due) {
			c.queue.queue.AddAfter(keyOf(rs.Namespace, rs.Name), due.Sub(now))
		} else {
			status.AvailableReplicas++
		}
	}
	if apiequality.Semantic.DeepEqual(status, rs.Status) {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Status = status
	_, err := c.client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// podReady says whether the pod's Ready condition is true.
func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func readySince(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}
