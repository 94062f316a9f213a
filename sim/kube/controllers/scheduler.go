package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// scheduler binds pods to nodes: ready, schedulable, tolerated, selected by
// nodeSelector, not excluded by podAntiAffinity; of these the one that
// preferred podAntiAffinity speaks least against and that has the fewest pods. Left
// out: resources, nodeAffinity, podAffinity, namespaceSelector, topology spread,
// PreferNoSchedule, priorities.
type scheduler struct {
	*manager
	client kubernetes.Interface
	pods   corelisters.PodLister
	nodes  corelisters.NodeLister
	events *events
	queue  *loop

	// Where pods were bound whose binding the cache does not show yet; of the one
	// worker alone.
	assumed map[types.UID]string
	waiting map[string]bool // keys of pods that fit nowhere
}

func (m *manager) addScheduler() error {
	client, err := m.client("scheduler")
	if err != nil {
		return err
	}
	core := m.factory.Core().V1()
	s := &scheduler{
		manager: m, client: client, pods: core.Pods().Lister(), nodes: core.Nodes().Lister(),
		events: m.eventsOf(client, "default-scheduler"), assumed: map[types.UID]string{}, waiting: map[string]bool{},
	}
	s.queue = m.loop("scheduler", s.sync)
	on(core.Pods().Informer(), func(p, old *corev1.Pod) {
		if p.Spec.NodeName == "" && p.DeletionTimestamp == nil {
			s.queue.add(keyOf(p.Namespace, p.Name))
		} else if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			s.queue.add(everyone) // room may have been made
		}
	})
	on(core.Nodes().Informer(), func(n, old *corev1.Node) {
		if old == nil || fits(n) != fits(old) || !maps.Equal(n.Labels, old.Labels) || len(n.Spec.Taints) != len(old.Spec.Taints) {
			s.queue.add(everyone)
		}
	})
	return nil
}

// everyone is the key for «try all pods that wait».
const everyone = "*"

func (s *scheduler) sync(ctx context.Context, key string) error {
	if key == everyone {
		for _, k := range slices.Sorted(maps.Keys(s.waiting)) {
			s.queue.add(k)
		}
		return nil
	}
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	pod, err := s.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		delete(s.waiting, key)
		return nil
	}
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || s.assumed[pod.UID] != "" {
		delete(s.waiting, key)
		return nil
	}
	if pod.Spec.SchedulerName != "" && pod.Spec.SchedulerName != corev1.DefaultSchedulerName {
		return nil
	}
	node, why, err := s.choose(pod)
	if err != nil {
		return err
	}
	if node == "" {
		return s.refuse(ctx, key, pod, why)
	}
	delete(s.waiting, key)
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	if err := s.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	s.assumed[pod.UID] = node
	s.events.normal(ctx, pod, "Pod", "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node))
	return nil
}

// refuse tells a pod's owner why it fits nowhere, once for each reason.
func (s *scheduler) refuse(ctx context.Context, key string, pod *corev1.Pod, why string) error {
	s.waiting[key] = true
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message == why {
			return nil
		}
	}
	s.events.warning(ctx, pod, "Pod", "FailedScheduling", why)
	changed := pod.DeepCopy()
	changed.Status.Conditions = slices.DeleteFunc(changed.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	changed.Status.Conditions = append(changed.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why,
		LastTransitionTime: metav1.NewTime(s.now()),
	})
	_, err := s.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// fits says whether a node takes new pods at all.
func fits(n *corev1.Node) bool {
	return !n.Spec.Unschedulable && n.DeletionTimestamp == nil && nodeReady(n) == corev1.ConditionTrue
}

func nodeReady(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// choose returns the best node for a pod, or why there is none.
func (s *scheduler) choose(pod *corev1.Pod) (node, why string, err error) {
	nodes, err := s.nodes.List(labels.Everything())
	if err != nil {
		return "", "", err
	}
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	placed, err := s.placed()
	if err != nil {
		return "", "", err
	}
	reasons := map[string]int{}
	best, bestCost := "", 0
	for _, n := range nodes {
		if reason := s.excludes(n, pod, placed, nodes); reason != "" {
			reasons[reason]++
			continue
		}
		if cost := cost(n, pod, placed, nodes); best == "" || cost < bestCost {
			best, bestCost = n.Name, cost
		}
	}
	if best != "" {
		return best, "", nil
	}
	if len(nodes) == 0 {
		return "", "no nodes available to schedule pods", nil
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		parts = append(parts, fmt.Sprintf("%d %s", reasons[reason], reason))
	}
	return "", fmt.Sprintf("0/%d nodes are available: %s.", len(nodes), strings.Join(parts, ", ")), nil
}

// placedPod is a pod that has a node.
type placedPod struct {
	*corev1.Pod
	node string
}

// placed lists the pods that have a node and have not ended.
func (s *scheduler) placed() ([]placedPod, error) {
	all, err := s.pods.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var list []placedPod
	exists := map[types.UID]bool{}
	for _, p := range all {
		exists[p.UID] = true
		node := p.Spec.NodeName
		if node == "" {
			node = s.assumed[p.UID]
		} else {
			delete(s.assumed, p.UID)
		}
		if node != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			list = append(list, placedPod{p, node})
		}
	}
	for uid := range s.assumed {
		if !exists[uid] {
			delete(s.assumed, uid)
		}
	}
	return list, nil
}

// excludes says why a node can't take the pod; "" if it can.
func (s *scheduler) excludes(n *corev1.Node, pod *corev1.Pod, placed []placedPod, nodes []*corev1.Node) string {
	switch {
	case n.Spec.Unschedulable:
		return "node(s) were unschedulable"
	case !fits(n):
		return "node(s) were not ready"
	}
	for _, taint := range n.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, taint) {
			return fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)
		}
	}
	if !labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(n.Labels)) {
		return "node(s) didn't match Pod's node affinity/selector"
	}
	for _, term := range requiredAntiAffinity(pod) {
		for _, other := range placed {
			if matches(term, pod.Namespace, other.Pod) && sameTopology(term.TopologyKey, n, other.node, nodes) {
				return "node(s) didn't match pod anti-affinity rules"
			}
		}
	}
	// The rule binds both ways: who is there already may refuse the newcomer.
	for _, other := range placed {
		for _, term := range requiredAntiAffinity(other.Pod) {
			if matches(term, other.Namespace, pod) && sameTopology(term.TopologyKey, n, other.node, nodes) {
				return "node(s) didn't satisfy existing pods anti-affinity rules"
			}
		}
	}
	return ""
}

func tolerates(pod *corev1.Pod, taint corev1.Taint) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == "" && t.Operator == corev1.TolerationOpExists ||
			t.Key == taint.Key && (t.Operator == corev1.TolerationOpExists || t.Value == taint.Value)) {
			return true
		}
	}
	return false
}

func requiredAntiAffinity(pod *corev1.Pod) []corev1.PodAffinityTerm {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// matches says whether a term of a pod of namespace speaks of other. A pod that is
// ending counts until it is gone, as for the real scheduler.
func matches(term corev1.PodAffinityTerm, namespace string, other *corev1.Pod) bool {
	namespaces := term.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{namespace}
	}
	if !slices.Contains(namespaces, other.Namespace) {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	return err == nil && selector.Matches(labels.Set(other.Labels))
}

func sameTopology(key string, n *corev1.Node, other string, nodes []*corev1.Node) bool {
	value, ok := n.Labels[key]
	if !ok {
		return false
	}
	for _, o := range nodes {
		if o.Name == other {
			return o.Labels[key] == value
		}
	}
	return false
}

// cost of a node for a pod: what preferred anti-affinity speaks against it, then
// how many pods of the same owner and how many pods at all it has.
func cost(n *corev1.Node, pod *corev1.Pod, placed []placedPod, nodes []*corev1.Node) int {
	total := 0
	owner := metav1.GetControllerOf(pod)
	for _, other := range placed {
		if other.DeletionTimestamp != nil {
			continue
		}
		if pod.Spec.Affinity != nil && pod.Spec.Affinity.PodAntiAffinity != nil {
			for _, term := range pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
				if matches(term.PodAffinityTerm, pod.Namespace, other.Pod) && sameTopology(term.PodAffinityTerm.TopologyKey, n, other.node, nodes) {
					total += 1_000_000 * int(term.Weight)
				}
			}
		}
		if other.node != n.Name {
			continue
		}
		total++
		if owner != nil && metav1.GetControllerOf(other.Pod) != nil && metav1.GetControllerOf(other.Pod).UID == owner.UID {
			total += 1000
		}
	}
	return total
}
