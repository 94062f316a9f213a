package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// revisionAnnotation numbers the templates that a Deployment had.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// deployments keeps for each Deployment a ReplicaSet of its current template, and
// moves pods to it from those of earlier ones within maxSurge and maxUnavailable.
// Left out: proportional scaling while a rollout is under way.
type deployments struct {
	*manager
	client      kubernetes.Interface
	deployments appslisters.DeploymentLister
	replicaSets appslisters.ReplicaSetLister
	pods        corelisters.PodLister
	events      *events
	queue       *loop
}

func (m *manager) addDeployments() error {
	client, err := m.client("deployment")
	if err != nil {
		return err
	}
	apps := m.factory.Apps().V1()
	c := &deployments{
		manager: m, client: client,
		deployments: apps.Deployments().Lister(), replicaSets: apps.ReplicaSets().Lister(),
		pods:   m.factory.Core().V1().Pods().Lister(),
		events: m.eventsOf(client, "deployment-controller"),
	}
	c.queue = m.loop("deployment", c.sync)
	on(apps.Deployments().Informer(), func(d, _ *appsv1.Deployment) { c.queue.add(keyOf(d.Namespace, d.Name)) })
	on(apps.ReplicaSets().Informer(), func(rs, _ *appsv1.ReplicaSet) {
		if owner := metav1.GetControllerOf(rs); owner != nil && owner.Kind == "Deployment" {
			c.queue.add(keyOf(rs.Namespace, owner.Name))
		}
	})
	on(m.factory.Core().V1().Pods().Informer(), func(p, _ *corev1.Pod) { c.podChanged(p) })
	return nil
}

// podChanged queues a Deployment that waits for the end of old pods.
func (c *deployments) podChanged(p *corev1.Pod) {
	owner := metav1.GetControllerOf(p)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return
	}
	rs, err := c.replicaSets.ReplicaSets(p.Namespace).Get(owner.Name)
	if err != nil {
		return
	}
	if owner = metav1.GetControllerOf(rs); owner == nil || owner.Kind != "Deployment" {
		return
	}
	if d, err := c.deployments.Deployments(p.Namespace).Get(owner.Name); err == nil && recreates(d) {
		c.queue.add(keyOf(d.Namespace, d.Name))
	}
}

func recreates(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
}

func (c *deployments) sync(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	d, err := c.deployments.Deployments(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || d.DeletionTimestamp != nil {
		return err
	}
	sets, err := c.owned(d)
	if err != nil {
		return err
	}
	current, old := split(d, sets)
	switch {
	case d.Spec.Paused:
		err = c.scaleActive(ctx, d, current, old)
	case recreates(d) && c.oldPodsLeft(d, old):
		err = c.scaleAll(ctx, d, old)
	default:
		if current, err = c.ensureCurrent(ctx, d, current, old); err == nil && current != nil {
			err = c.move(ctx, d, current, old)
		}
	}
	if err != nil {
		return err
	}
	if err := c.status(ctx, d, current, old); err != nil {
		return err
	}
	return c.cleanUp(ctx, d, current, old)
}

// owned lists the Deployment's ReplicaSets, oldest first.
func (c *deployments) owned(d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	all, err := c.replicaSets.ReplicaSets(d.Namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	sets := slices.DeleteFunc(slices.Clone(all), func(rs *appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(rs, d) })
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return sets, nil
}

// split finds the ReplicaSet that has the Deployment's template; nil if none has.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, rs := range sets {
		template := rs.Spec.Template.DeepCopy()
		delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		if current == nil && apiequality.Semantic.DeepEqual(*template, d.Spec.Template) {
			current = rs
		} else {
			old = append(old, rs)
		}
	}
	return current, old
}

func revision(o metav1.Object) int {
	n, _ := strconv.Atoi(o.GetAnnotations()[revisionAnnotation])
	return n
}

// oldPodsLeft says whether pods of earlier templates may still run: Recreate waits
// until the last of them is gone.
func (c *deployments) oldPodsLeft(d *appsv1.Deployment, old []*appsv1.ReplicaSet) bool {
	all, err := c.pods.Pods(d.Namespace).List(labels.Everything())
	if err != nil {
		return true // a cache's lister does not fail
	}
	for _, rs := range old {
		if *rs.Spec.Replicas > 0 || rs.Status.Replicas > 0 {
			return true
		}
		for _, p := range all {
			if metav1.IsControlledBy(p, rs) && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				return true
			}
		}
	}
	return false
}

// scaleActive scales a paused Deployment, if one ReplicaSet alone has its pods;
// between several the sizes stay until it goes on.
func (c *deployments) scaleActive(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	all := slices.Clone(old)
	if current != nil {
		all = append(all, current)
	}
	active := slices.DeleteFunc(slices.Clone(all), func(rs *appsv1.ReplicaSet) bool { return *rs.Spec.Replicas == 0 })
	switch {
	case len(active) == 1:
		return c.scale(ctx, d, active[0], *d.Spec.Replicas)
	case len(active) == 0 && len(all) > 0: // was scaled to zero
		return c.scale(ctx, d, slices.MaxFunc(all, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) }), *d.Spec.Replicas)
	}
	return nil
}

// ensureCurrent makes the ReplicaSet of the current template, with the newest
// revision number. It returns nil if it has to be looked for again.
func (c *deployments) ensureCurrent(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	newest := 0
	for _, rs := range old {
		newest = max(newest, revision(rs))
	}
	if current != nil {
		if revision(current) > newest && current.Spec.MinReadySeconds == d.Spec.MinReadySeconds {
			return current, nil
		}
		changed := current.DeepCopy()
		changed.Spec.MinReadySeconds = d.Spec.MinReadySeconds
		if revision(current) <= newest { // a rollback: an old template is the current one again
			changed.Annotations = with(changed.Annotations, revisionAnnotation, strconv.Itoa(newest+1))
		}
		return c.client.AppsV1().ReplicaSets(d.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	}
	hash := templateHash(d)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Namespace: d.Namespace,
			Labels:          with(d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash),
			Annotations:     with(d.Annotations, revisionAnnotation, strconv.Itoa(newest+1)),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To(roomForNew(d, nil, old)),
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        d.Spec.Selector.DeepCopy(),
			Template:        *d.Spec.Template.DeepCopy(),
		},
	}
	delete(rs.Annotations, corev1.LastAppliedConfigAnnotation)
	rs.Spec.Selector.MatchLabels = with(rs.Spec.Selector.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	rs.Spec.Template.Labels = with(rs.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	created, err := c.client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, rs, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil, c.collision(ctx, d, rs)
	}
	if err != nil {
		return nil, err
	}
	c.events.normal(ctx, d, "Deployment", "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to %d", created.Name, *created.Spec.Replicas))
	return created, nil
}

// collision handles a ReplicaSet of the name that exists already: our own, which
// the cache doesn't show yet, or another template's with the same hash.
func (c *deployments) collision(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	existing, err := c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if metav1.IsControlledBy(existing, d) && apiequality.Semantic.DeepEqual(existing.Spec.Template, rs.Spec.Template) {
		return nil // its event comes
	}
	changed := d.DeepCopy()
	changed.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
	_, err = c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// templateHash names a template within its Deployment.
func templateHash(d *appsv1.Deployment) string {
	h := fnv.New32a()
	text, _ := json.Marshal(d.Spec.Template) // a decoded object can be encoded
	h.Write(text)
	if n := ptr.Deref(d.Status.CollisionCount, 0); n > 0 {
		fmt.Fprint(h, n)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// limits of a rolling update, in pods.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	if recreates(d) || d.Spec.Strategy.RollingUpdate == nil {
		return 0, 0
	}
	replicas := int(*d.Spec.Replicas)
	r := d.Spec.Strategy.RollingUpdate
	s, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxSurge, intstr.FromString("25%")), replicas, true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxUnavailable, intstr.FromString("25%")), replicas, false)
	if s == 0 && u == 0 {
		u = 1 // else nothing could ever move
	}
	return int32(s), int32(min(u, replicas))
}

func wanted(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

// roomForNew is how many replicas the current ReplicaSet may have now.
func roomForNew(d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) int32 {
	want, has := *d.Spec.Replicas, int32(0)
	if current != nil {
		has = *current.Spec.Replicas
	}
	if has >= want || recreates(d) {
		return want
	}
	surge, _ := limits(d)
	room := want + surge - has - wanted(old)
	return has + min(max(room, 0), want-has)
}

// move scales the current ReplicaSet up and the old ones down, as far as is safe
// now.
func (c *deployments) move(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if room := roomForNew(d, current, old); room != *current.Spec.Replicas {
		return c.scale(ctx, d, current, room) // the change brings us here again
	}
	if wanted(old) == 0 {
		return nil
	}
	_, unavailable := limits(d)
	atLeast := *d.Spec.Replicas - unavailable
	// New pods that aren't available yet count as if they never would be.
	spare := wanted(old) + *current.Spec.Replicas - atLeast - (*current.Spec.Replicas - current.Status.AvailableReplicas)
	if spare <= 0 {
		return nil
	}
	// Pods of old ReplicaSets that serve nobody go first.
	scaled := false
	for _, rs := range old {
		broken := *rs.Spec.Replicas - rs.Status.AvailableReplicas
		if n := min(broken, spare); n > 0 && rs.Status.ObservedGeneration >= rs.Generation {
			spare -= n
			if err := c.scale(ctx, d, rs, *rs.Spec.Replicas-n); err != nil {
				return err
			}
			scaled = true
		}
	}
	if scaled {
		return nil // the change brings us here again
	}
	available := current.Status.AvailableReplicas
	for _, rs := range old {
		available += rs.Status.AvailableReplicas
	}
	spare = min(spare, available-atLeast)
	for _, rs := range old {
		if n := min(*rs.Spec.Replicas, spare); n > 0 {
			spare -= n
			if err := c.scale(ctx, d, rs, *rs.Spec.Replicas-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *deployments) scaleAll(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) error {
	for _, rs := range sets {
		if err := c.scale(ctx, d, rs, 0); err != nil {
			return err
		}
	}
	return nil
}

// scale conflicts if the ReplicaSet has changed since the cache saw it.
func (c *deployments) scale(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet, to int32) error {
	from := *rs.Spec.Replicas
	if from == to {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Spec.Replicas = &to
	if _, err := c.client.AppsV1().ReplicaSets(rs.Namespace).Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return err
	}
	direction := "up"
	if to < from {
		direction = "down"
	}
	c.events.normal(ctx, d, "Deployment", "ScalingReplicaSet", fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, rs.Name, from, to))
	return nil
}

// cleanUp removes old ReplicaSets beyond the history limit, once all is moved.
func (c *deployments) cleanUp(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if current == nil || *current.Spec.Replicas != *d.Spec.Replicas || current.Status.AvailableReplicas != *d.Spec.Replicas || wanted(old) > 0 {
		return nil
	}
	limit := int(ptr.Deref(d.Spec.RevisionHistoryLimit, 10))
	var idle []*appsv1.ReplicaSet
	for _, rs := range old {
		if rs.Status.Replicas == 0 && *rs.Spec.Replicas == 0 && rs.DeletionTimestamp == nil && rs.Status.ObservedGeneration >= rs.Generation {
			idle = append(idle, rs)
		}
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, rs := range idle[:max(0, len(idle)-limit)] {
		err := c.client.AppsV1().ReplicaSets(rs.Namespace).Delete(ctx, rs.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(rs.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// status writes what kubectl rollout status reads, and the revision.
func (c *deployments) status(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if current != nil && d.Annotations[revisionAnnotation] != current.Annotations[revisionAnnotation] {
		changed := d.DeepCopy()
		changed.Annotations = with(changed.Annotations, revisionAnnotation, current.Annotations[revisionAnnotation])
		updated, err := c.client.AppsV1().Deployments(d.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		d = updated
	}
	status := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, CollisionCount: d.Status.CollisionCount,
		Conditions: slices.Clone(d.Status.Conditions),
	}
	for _, rs := range append(slices.Clone(old), current) {
		if rs != nil {
			status.Replicas += rs.Status.Replicas
			status.ReadyReplicas += rs.Status.ReadyReplicas
			status.AvailableReplicas += rs.Status.AvailableReplicas
		}
	}
	if current != nil {
		status.UpdatedReplicas = current.Status.Replicas
	}
	status.UnavailableReplicas = max(0, *d.Spec.Replicas-status.AvailableReplicas)

	_, unavailable := limits(d)
	if status.AvailableReplicas >= *d.Spec.Replicas-unavailable {
		c.condition(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		c.condition(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
	c.progress(d, &status, current)

	if apiequality.Semantic.DeepEqual(status, d.Status) {
		return nil
	}
	changed := d.DeepCopy()
	changed.Status = status
	_, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// progress judges the rollout against its deadline.
func (c *deployments) progress(d *appsv1.Deployment, status *appsv1.DeploymentStatus, current *appsv1.ReplicaSet) {
	if d.Spec.Paused {
		c.condition(status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused")
		return
	}
	if current == nil {
		return
	}
	want := *d.Spec.Replicas
	if status.UpdatedReplicas == want && status.Replicas == want && status.AvailableReplicas == want {
		c.condition(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetAvailable",
			fmt.Sprintf("ReplicaSet %q has successfully progressed.", current.Name))
		return
	}
	i := slices.IndexFunc(status.Conditions, func(x appsv1.DeploymentCondition) bool { return x.Type == appsv1.DeploymentProgressing })
	if i >= 0 && status.Conditions[i].Reason == "NewReplicaSetAvailable" && status.Replicas == status.UpdatedReplicas {
		return // no rollout is under way: a pod lost later misses no deadline
	}
	last := d.Status
	moved := status.UpdatedReplicas != last.UpdatedReplicas || status.ReadyReplicas > last.ReadyReplicas ||
		status.AvailableReplicas > last.AvailableReplicas || status.Replicas < last.Replicas || d.Generation != last.ObservedGeneration
	deadline := time.Duration(ptr.Deref(d.Spec.ProgressDeadlineSeconds, 600)) * time.Second
	now := c.now()
	if i >= 0 && !moved {
		due := status.Conditions[i].LastUpdateTime.Add(deadline)
		if !now.Before(due) {
			c.condition(status, appsv1.DeploymentProgressing, corev1.ConditionFalse, "ProgressDeadlineExceeded",
				fmt.Sprintf("ReplicaSet %q has timed out progressing.", current.Name))
			return
		}
		c.queue.queue.AddAfter(keyOf(d.Namespace, d.Name), due.Sub(now)+time.Second)
		return
	}
	c.condition(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated",
		fmt.Sprintf("ReplicaSet %q is progressing.", current.Name))
	if i := slices.IndexFunc(status.Conditions, func(x appsv1.DeploymentCondition) bool { return x.Type == appsv1.DeploymentProgressing }); moved {
		status.Conditions[i].LastUpdateTime = metav1.NewTime(now)
	}
	c.queue.queue.AddAfter(keyOf(d.Namespace, d.Name), deadline+time.Second)
}

func (c *deployments) condition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, is corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(c.now())
	fresh := appsv1.DeploymentCondition{Type: kind, Status: is, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	for i, old := range status.Conditions {
		if old.Type != kind {
			continue
		}
		if old.Status == is && old.Reason == reason && old.Message == message {
			return
		}
		if old.Status == is {
			fresh.LastTransitionTime = old.LastTransitionTime
		}
		status.Conditions[i] = fresh
		return
	}
	status.Conditions = append(status.Conditions, fresh)
}

// with returns a copy of m in which key has value.
func with(m map[string]string, key, value string) map[string]string {
	c := maps.Clone(m)
	if c == nil {
		c = map[string]string{}
	}
	c[key] = value
	return c
}
