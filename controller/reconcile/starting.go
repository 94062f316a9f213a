package reconcile

import (
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
)

// startGrace is how long after an Ingress or one of its Services was made it is not
// told that no Pod is ready: whoever applies all at once has to wait for the Pods,
// and nothing is wrong.
const startGrace = 30 * time.Second

// starting is a verdict without what is not to be told before again; the verdict
// itself, and the zero time, if all is to be told now. The age of objects is by
// Kubernetes' clock, and the wait no longer than startGrace by ours.
func (l *Loop) starting(v *translate.Verdict, snapshot *kube.Snapshot, t *told) (told *translate.Verdict, again time.Time) {
	isWaiting := func(r translate.Reason) bool { return r.Code == translate.NoReadyEndpoints }
	ingress := snapshot.Ingresses.Get(v.Ingress)
	if t.grown || ingress == nil || v.Outcome != translate.Degraded || !slices.ContainsFunc(v.Reasons, isWaiting) {
		return v, time.Time{}
	}
	youngest := ingress.CreationTimestamp.Time
	for _, name := range servicesOf(ingress) {
		if service := snapshot.Services.Get(types.NamespacedName{Namespace: ingress.Namespace, Name: name}); service != nil && service.Created.After(youngest) {
			youngest = service.Created.Time
		}
	}
	if t.since.Before(youngest) {
		youngest = t.since
	}
	if again = youngest.Add(startGrace); !l.now().Before(again) {
		return v, time.Time{}
	}
	less := *v
	less.Reasons = slices.DeleteFunc(slices.Clone(v.Reasons), isWaiting)
	return &less, again
}

// servicesOf names the Services of an Ingress, some of them more than once.
func servicesOf(ingress *networkingv1.Ingress) (names []string) {
	add := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			names = append(names, b.Service.Name)
		}
	}
	add(ingress.Spec.DefaultBackend)
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			add(&rule.HTTP.Paths[i].Backend)
		}
	}
	return names
}
