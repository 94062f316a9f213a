package translate_test

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// A history changes one input after another, as watches do: copy-on-write, the
// rest keeping its identity.
type history struct {
	in translate.Input
}

func newHistory() *history {
	return &history{translate.Input{
		Snapshot: emptySnapshot(), Settings: config.Default(),
		Appliance:  translate.Appliance{Members: []string{"vtm-1"}},
		Programmed: translate.Programmed{Owners: map[types.UID]bool{}},
	}}
}

func (h *history) change(change func(*kube.Snapshot)) {
	next := *h.in.Snapshot
	change(&next)
	h.in.Snapshot = &next
}

func with[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	m = maps.Clone(m)
	m[k] = v
	return m
}

func without[K comparable, V any](m map[K]V, k K) map[K]V {
	m = maps.Clone(m)
	delete(m, k)
	return m
}

var drawnKeys = []types.NamespacedName{{Namespace: "a", Name: "x"}, {Namespace: "a", Name: "y"}, {Namespace: "b", Name: "x"}, {Namespace: "b", Name: "z"}}

func drawIngress(t *rapid.T, key types.NamespacedName) *networkingv1.Ingress {
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name,
		UID:               types.UID(fmt.Sprintf("uid-%s-%s-%d", key.Namespace, key.Name, rapid.IntRange(1, 2).Draw(t, "incarnation"))),
		CreationTimestamp: metav1.NewTime(time.Unix(rapid.Int64Range(1, 3).Draw(t, "created"), 0)),
		Generation:        rapid.Int64Range(1, 2).Draw(t, "generation"),
		Annotations:       map[string]string{},
	}}
	if class := rapid.SampledFrom([]string{"vtm", "", "other"}).Draw(t, "class"); class != "" {
		o.Annotations["kubernetes.io/ingress.class"] = class
	}
	switch rapid.IntRange(0, 3).Draw(t, "address kind") {
	case 1:
		o.Annotations["vtm.pulsesecure.net/ip-address"] = rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "192.0.2.1", "nonsense"}).Draw(t, "address")
	case 2:
		o.Annotations["vtm.pulsesecure.net/shared-ip-address"] = rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(t, "address")
	}
	if rapid.Bool().Draw(t, "has port") {
		o.Annotations["vtm.pulsesecure.net/port"] = rapid.SampledFrom([]string{"80", "81", "0"}).Draw(t, "port")
	}
	service := func() networkingv1.IngressBackend {
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "service"), Port: networkingv1.ServiceBackendPort{Number: 80}}}
	}
	if rapid.Bool().Draw(t, "has default") {
		b := service()
		o.Spec.DefaultBackend = &b
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		kind := networkingv1.PathTypePrefix
		o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{
			Host: rapid.SampledFrom([]string{"", "a.example.com", "*.example.com", "BAD_"}).Draw(t, "host"),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: rapid.SampledFrom([]string{"/", "/a", "/a/b"}).Draw(t, "path"), PathType: &kind, Backend: service()}}}}})
	}
	return o
}

// step draws one change.
func (h *history) step(t *rapid.T) {
	key := rapid.SampledFrom(drawnKeys).Draw(t, "key")
	service := types.NamespacedName{Namespace: key.Namespace, Name: rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "of service")}
	node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")
	switch rapid.IntRange(0, 10).Draw(t, "step") {
	case 0, 1, 2:
		ingress := drawIngress(t, key)
		h.change(func(s *kube.Snapshot) { s.Ingresses = with(s.Ingresses, key, ingress) })
	case 3:
		h.change(func(s *kube.Snapshot) { s.Ingresses = without(s.Ingresses, key) })
	case 4:
		o := &corev1.Service{Spec: corev1.ServiceSpec{
			Type:                  rapid.SampledFrom([]corev1.ServiceType{"NodePort", "ClusterIP"}).Draw(t, "type"),
			ExternalTrafficPolicy: rapid.SampledFrom([]corev1.ServiceExternalTrafficPolicy{"Local", "Cluster"}).Draw(t, "policy"),
			Ports:                 []corev1.ServicePort{{Port: 80, NodePort: rapid.Int32Range(30000, 30001).Draw(t, "node port")}},
		}}
		h.change(func(s *kube.Snapshot) { s.Services = with(s.Services, service, o) })
	case 5:
		h.change(func(s *kube.Snapshot) { s.Services = without(s.Services, service) })
	case 6:
		nodes := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"n1", "n2"}), rapid.ID).Draw(t, "ready nodes")
		field := &kube.Endpoints{ReadyNodes: map[string][]string{"": nodes}}
		if rapid.Bool().Draw(t, "unready") {
			field = &kube.Endpoints{UnreadyNodes: map[string][]string{"": nodes}}
		}
		h.change(func(s *kube.Snapshot) { s.Endpoints = with(s.Endpoints, service, field) })
	case 7:
		o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: "InternalIP", Address: rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "node address")}},
			Conditions: []corev1.NodeCondition{{Type: "Ready", Status: rapid.SampledFrom([]corev1.ConditionStatus{"True", "Unknown"}).Draw(t, "ready")}},
		}}
		h.change(func(s *kube.Snapshot) { s.Nodes = with(s.Nodes, node, o) })
	case 8:
		h.change(func(s *kube.Snapshot) { s.Nodes = without(s.Nodes, node) })
	case 9:
		uid := types.UID(fmt.Sprintf("uid-%s-%s-1", key.Namespace, key.Name))
		h.in.Programmed.Owners = with(h.in.Programmed.Owners, uid, rapid.Bool().Draw(t, "programmed"))
	case 10:
		switch rapid.IntRange(0, 3).Draw(t, "world") {
		case 0:
			settings := *config.Default()
			settings.DefaultTrafficIPGroup = rapid.SampledFrom([]string{"", "front"}).Draw(t, "default group")
			h.in.Settings = &settings
		case 1:
			h.in.Appliance.Groups = map[string]translate.Group{"front": {Addresses: []netip.Addr{netip.MustParseAddr(
				rapid.SampledFrom([]string{"10.0.0.1", "10.0.9.1"}).Draw(t, "group address"))}}}
		case 2:
			h.in.Appliance.Servers = map[string]translate.Server{"theirs": {Any: true, Port: rapid.SampledFrom([]int{81, 82}).Draw(t, "their port")}}
		case 3:
			h.in.Appliance.Members = rapid.SampledFrom([][]string{{"vtm-1"}, {"vtm-1", "vtm-2"}}).Draw(t, "members")
		}
	}
}

// A Translator remembers only to be quick: after any history a fresh one gives
// the same, what did not change has kept its identity, and Changes is the rest.
func TestMemoryChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, warm := newHistory(), translate.New()
		last := held(warm.Translate(h.in))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			h.step(t)
			got := warm.Translate(h.in)
			want := translate.New().Translate(h.in)
			if !reflect.DeepEqual(want, got) {
				t.Fatalf("warm:\n%s%s\nfresh:\n%s%s", printDesired(got), printVerdicts(got), printDesired(want), printVerdicts(want))
			}
			for id, r := range got.Desired {
				if before := last.Desired[id]; before != r && vtm.Equal(before, r) {
					t.Fatalf("%s did not change and is another pointer", id)
				}
			}
			for key, v := range got.Verdicts {
				if before := last.Verdicts[key]; before != v && reflect.DeepEqual(before, v) {
					t.Fatalf("the verdict of %s did not change and is another pointer", key)
				}
			}
			whole(t, got)
			var changed translate.Changes
			for id := range bothOf(last.Desired, got.Desired) {
				if last.Desired[id] != got.Desired[id] {
					changed.Resources = append(changed.Resources, id)
				}
			}
			for key := range bothOf(last.Verdicts, got.Verdicts) {
				if last.Verdicts[key] != got.Verdicts[key] {
					changed.Ingresses = append(changed.Ingresses, key)
				}
			}
			slices.SortFunc(changed.Resources, func(a, b vtm.ID) int { return strings.Compare(a.String(), b.String()) })
			slices.SortFunc(changed.Ingresses, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
			if told := warm.Changes(); !reflect.DeepEqual(told, changed) {
				t.Fatalf("changed %v\ntold %v", changed, told)
			}
			last = held(got)
		}
	})
}

// held is a copy of a result that the next translation leaves alone.
func held(r *translate.Result) *translate.Result {
	return &translate.Result{Desired: maps.Clone(r.Desired), Verdicts: maps.Clone(r.Verdicts)}
}

func bothOf[K comparable, V any](a, b map[K]V) map[K]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// whole checks what holds of every result: what a resource refers to is there or
// not ours, every verdict has what it needs, and everything is someone's.
func whole(t *rapid.T, r *translate.Result) {
	needed := map[vtm.ID]bool{}
	owners := map[string]bool{}
	for key, v := range r.Verdicts {
		if (v.Outcome == translate.Rejected) != (len(v.Resources) == 0 && v.Addresses == nil) {
			t.Fatalf("%s: outcome %v with %v on %v", key, v.Outcome, v.Resources, v.Addresses)
		}
		if v.Outcome != translate.Complete && len(v.Reasons) == 0 {
			t.Fatalf("%s: no reason for its outcome", key)
		}
		for _, id := range v.Resources {
			needed[id] = true
			if r.Desired[id] == nil {
				t.Fatalf("%s needs %s, which is not desired", key, id)
			}
		}
		owners[string(v.UID)] = v.Outcome != translate.Rejected
	}
	exists := func(from vtm.ID, to vtm.ID) {
		if to.Name != "front" && to.Name != "discard" && r.Desired[to] == nil {
			t.Fatalf("%s refers to %s, which is not desired", from, to)
		}
	}
	for id, resource := range r.Desired {
		if resource.ID != id || !needed[id] {
			t.Fatalf("%s (under %s) is needed by no Ingress", resource.ID, id)
		}
		if mark, ok := resource.Mark(); !ok || !owners[mark.UID] {
			t.Fatalf("%s has mark %+v", id, mark)
		}
		if id.Type == vtm.VirtualServers {
			basic := resource.Properties["basic"]
			exists(id, vtm.ID{Type: vtm.Pools, Name: basic["pool"].(string)})
			for _, rule := range basic["request_rules"].([]any) {
				exists(id, vtm.ID{Type: vtm.Rules, Name: rule.(string)})
			}
			for _, group := range basic["listen_on_traffic_ips"].([]any) {
				exists(id, vtm.ID{Type: vtm.TrafficIPGroups, Name: group.(string)})
			}
		}
	}
}

// An Ingress that can't be programmed changes nothing for the others, whatever
// they are.
func TestARejectedIngressChangesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			h.step(t)
		}
		result := translate.New().Translate(h.in)
		for key, v := range result.Verdicts {
			if v.Outcome != translate.Rejected {
				continue
			}
			less := h.in
			s := *h.in.Snapshot
			s.Ingresses = without(s.Ingresses, key)
			less.Snapshot = &s
			again := translate.New().Translate(less)
			again.Verdicts[key] = v
			if !reflect.DeepEqual(result, again) {
				t.Fatalf("with %s:\n%s%s\nwithout:\n%s%s", key, printDesired(result), printVerdicts(result), printDesired(again), printVerdicts(again))
			}
		}
	})
}
