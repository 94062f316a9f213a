package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// shopIngress leads to the Service of its name. The annotation says where it
// listens.
func shopIngress(name, annotation, address string, uid, generation int) *networkingv1.Ingress {
	kind := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(fmt.Sprint(name, "-", uid)), Generation: int64(generation),
			CreationTimestamp: metav1.NewTime(time.Unix(int64(uid), 0)),
			Annotations:       map[string]string{"kubernetes.io/ingress.class": "vtm", annotation: address},
		},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: name + ".example.com",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}},
		}}},
	}
}

const (
	dedicated = "vtm.pulsesecure.net/ip-address"
	shared    = "vtm.pulsesecure.net/shared-ip-address"
)

// shopSnapshot holds nodes, and no Ingress yet.
func shopSnapshot() *kube.Snapshot {
	s := &kube.Snapshot{
		ClusterUID: "c",
	}
	for i := range 3 {
		name := fmt.Sprint("node-", i)
		s.Nodes = s.Nodes.With(name, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: "InternalIP", Address: fmt.Sprintf("192.0.2.%d", i+1)}},
			Conditions: []corev1.NodeCondition{{Type: "Ready", Status: "True"}},
		}})
	}
	return s
}

func shopService() *kube.Service {
	return &kube.Service{Type: corev1.ServiceTypeNodePort, Local: true, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30000}}}
}

func shopEndpoints(node int) *kube.Endpoints {
	return &kube.Endpoints{ReadyNodes: map[string][]string{"": {fmt.Sprint("node-", node)}}}
}

// pureLoop is a Loop without a traffic manager: what becomes of its plans is said
// by finish.
func pureLoop(said *[]report.Entry) *Loop {
	l := New(Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Actor: "loop", Settings: config.Default(),
		Report: func(_ context.Context, entries []report.Entry) { *said = append(*said, entries...) },
	})
	l.observed = NewObserved(translate.Appliance{Members: []string{"vtm-1"}})
	return l
}

// finish notes what became of a plan's steps: "" for success.
func (l *Loop) finish(p *Plan, became func(*Step) string) {
	a := l.apply(context.Background(), &Plan{Same: p.Same, Held: p.Held})
	for i := range p.Steps {
		s := &p.Steps[i]
		switch why := became(s); {
		case why == "waits":
			l.waits[s.ID] = why
		case why != "":
			l.fail(s.ID, s.After, errors.New(why))
		default:
			delete(l.failures, s.ID)
			var stored *vtm.Resource
			if s.After != nil {
				stored = merged(s.Before, s.Send)
			}
			a.succeeded(s, stored)
		}
	}
}

// Whatever happened before, looking only at what was touched gives the plan and
// the reports that looking at everything gives.
func TestLookingAtWhatWasTouchedIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var said []report.Entry
		l := pureLoop(&said)
		snapshot := shopSnapshot()
		names := []string{"a", "b", "c", "d"}
		for range rapid.IntRange(1, 30).Draw(t, "rounds") {
			next := *snapshot
			snapshot = &next
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				key := types.NamespacedName{Namespace: "shop", Name: rapid.SampledFrom(names).Draw(t, "name")}
				switch rapid.IntRange(0, 5).Draw(t, "change") {
				case 0, 1:
					ingress := shopIngress(key.Name, rapid.SampledFrom([]string{dedicated, shared}).Draw(t, "kind"),
						rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "none"}).Draw(t, "address"),
						rapid.IntRange(1, 2).Draw(t, "uid"), rapid.IntRange(1, 2).Draw(t, "generation"))
					if rapid.IntRange(0, 5).Draw(t, "class") == 0 {
						ingress.Annotations["kubernetes.io/ingress.class"] = "other"
					}
					snapshot.Ingresses = snapshot.Ingresses.With(key, ingress)
				case 2:
					snapshot.Ingresses = snapshot.Ingresses.Without(key)
				case 3:
					snapshot.Services = snapshot.Services.With(key, shopService())
				case 4:
					snapshot.Services = snapshot.Services.Without(key)
				case 5:
					snapshot.Endpoints = snapshot.Endpoints.With(key, shopEndpoints(rapid.IntRange(0, 2).Draw(t, "node")))
				}
			}
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0: // somebody changed something, found when all is read
				var owned []*vtm.Resource
				for _, id := range sortedIDs(l.observed.Owned) {
					r := l.observed.Owned[id]
					switch rapid.IntRange(0, 4).Draw(t, "drift") {
					case 0:
						continue
					case 1:
						if !id.Type.IsFile() {
							r = merged(r, vtm.New(id.Type, id.Name, vtm.Properties{"basic": {"enabled": false}}))
						}
					}
					owned = append(owned, r)
				}
				l.use(NewObserved(l.observed.Appliance, owned...), snapshot)
			case 1: // the traffic manager can't be used for a while
				result := l.translate(snapshot)
				l.compareTell(t, snapshot, result, &said, &translate.Reason{Code: "Away", Message: "away"})
				continue
			}

			result := l.translate(snapshot)
			want := Diff(result.Desired, l.observed, l.settled)
			plan := l.diff(result)
			if plan.String() != want.String() {
				t.Fatalf("what was touched:\n%severything:\n%s", plan, want)
			}
			if fresh := translate.New().Translate(translate.Input{
				Snapshot: snapshot, Settings: l.o.Settings, Appliance: l.observed.Appliance, Programmed: l.observed.Programmed(),
			}); Diff(fresh.Desired, l.observed, nil).String() != plan.String() {
				t.Fatalf("the plan:\n%sfrom nothing:\n%s", plan, Diff(fresh.Desired, l.observed, nil))
			}
			l.finish(plan, func(s *Step) string {
				return rapid.SampledFrom([]string{"", "", "", "refused", "waits"}).Draw(t, "became of "+s.ID.String())
			})
			l.compareTell(t, snapshot, result, &said, nil)
		}
	})
}

// compareTell tells, and compares with what a Loop tells that looks at everything.
func (l *Loop) compareTell(t *rapid.T, snapshot *kube.Snapshot, result *translate.Result, said *[]report.Entry, problem *translate.Reason) {
	var wanted []report.Entry
	full := New(l.o)
	full.o.Report = func(_ context.Context, entries []report.Entry) { wanted = append(wanted, entries...) }
	full.observed, full.settled, full.failures, full.waits = l.observed, l.settled, l.failures, l.waits
	full.told = maps.Clone(l.told)
	full.retell = l.retell
	full.tell(context.Background(), snapshot, result, time.Time{}, problem)
	*said = nil
	l.tell(context.Background(), snapshot, result, time.Time{}, problem)
	if !reflect.DeepEqual(*said, wanted) {
		t.Fatalf("told:\n%+v\nlooking at everything:\n%+v", *said, wanted)
	}
	if !reflect.DeepEqual(tellings(l.told), tellings(full.told)) {
		t.Fatalf("keeps as told:\n%+v\nlooking at everything:\n%+v", tellings(l.told), tellings(full.told))
	}
}

func tellings(m map[types.NamespacedName]*told) map[types.NamespacedName]told {
	out := map[types.NamespacedName]told{}
	for name, t := range m {
		out[name] = *t
	}
	return out
}

// What the controller computes for one more Ingress, among few and among many.
func BenchmarkRoundOfOneMoreIngress(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("ingresses=%d", n), func(b *testing.B) {
			var said []report.Entry
			l := pureLoop(&said)
			less := shopSnapshot()
			for i := range n {
				key := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("web-", i)}
				less.Ingresses = less.Ingresses.With(key, shopIngress(key.Name, dedicated, fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), i, 1))
				less.Services = less.Services.With(key, shopService())
				less.Endpoints = less.Endpoints.With(key, shopEndpoints(i%3))
			}
			key := types.NamespacedName{Namespace: "shop", Name: "web-0"}
			more := *less
			less.Ingresses = less.Ingresses.Without(key)
			round := func(s *kube.Snapshot) {
				result := l.translate(s)
				plan, held := Brake(l.diff(result), l.observed, nil)
				if len(held) > 0 {
					b.Fatal("the brake holds")
				}
				l.finish(plan, func(*Step) string { return "" })
				l.tell(b.Context(), s, result, time.Time{}, nil)
			}
			round(less)
			said = nil
			for b.Loop() {
				round(&more)
				round(less)
			}
			for _, e := range said {
				if e.Ingress.Name != key.Name || !e.Live {
					b.Fatalf("told %+v", e)
				}
			}
		})
	}
}
