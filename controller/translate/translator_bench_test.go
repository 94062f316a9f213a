package translate_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
)

// crowd is n Ingresses, each with a Service of its own, on dedicated addresses.
func crowd(n int) translate.Input {
	s := emptySnapshot()
	for i := range 3 {
		name := fmt.Sprintf("node-%d", i)
		s.Nodes = s.Nodes.With(name, &corev1.Node{Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: "InternalIP", Address: fmt.Sprintf("192.0.2.%d", i+1)}},
			Conditions: []corev1.NodeCondition{{Type: "Ready", Status: "True"}},
		}})
	}
	for i := range n {
		key := types.NamespacedName{Namespace: fmt.Sprintf("team-%d", i%50), Name: fmt.Sprintf("app-%d", i)}
		kind := networkingv1.PathTypePrefix
		s.Ingresses = s.Ingresses.With(key, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: key.Namespace, Name: key.Name, UID: types.UID(fmt.Sprintf("uid-%d", i)), CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0)),
				Annotations: map[string]string{"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/ip-address": fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)},
			},
			Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
				Host: fmt.Sprintf("app-%d.example.com", i),
				IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
					Path: "/", PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: key.Name, Port: networkingv1.ServiceBackendPort{Number: 80}}},
				}}}},
			}}},
		})
		s.Services = s.Services.With(key, &kube.Service{Type: corev1.ServiceTypeNodePort, Local: true, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30000}}})
		s.Endpoints = s.Endpoints.With(key, &kube.Endpoints{ReadyNodes: map[string][]string{"": {"node-0"}}})
	}
	return translate.Input{Snapshot: s, Settings: config.Default(), Appliance: translate.Appliance{Members: []string{"vtm-1"}}}
}

// sharing puts all but every other Ingress of a crowd on one shared address, with
// four paths each.
func sharing(in translate.Input) translate.Input {
	for _, o := range in.Snapshot.Ingresses.All() {
		var n int
		fmt.Sscanf(o.Name, "app-%d", &n)
		if n%2 == 1 {
			continue
		}
		o.Annotations = map[string]string{"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/shared-ip-address": "10.0.0.1"}
		http := o.Spec.Rules[0].HTTP
		for _, path := range []string{"/a", "/b", "/c/d"} {
			more := http.Paths[0]
			more.Path = path
			http.Paths = append(http.Paths, more)
		}
	}
	return in
}

func BenchmarkOneMoreIngressOnASharedAddress(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("ingresses=%d", n), func(b *testing.B) {
			more := sharing(crowd(n + 1))
			less := more
			s := *more.Snapshot
			s.Ingresses = s.Ingresses.Without(types.NamespacedName{Namespace: fmt.Sprintf("team-%d", n%50), Name: fmt.Sprintf("app-%d", n)})
			less.Snapshot = &s
			t := translate.New()
			t.Translate(less)
			i := 0
			for b.Loop() {
				t.Translate([]translate.Input{more, less}[i%2])
				i++
			}
		})
	}
}

func BenchmarkOneEndpointChange(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("ingresses=%d", n), func(b *testing.B) {
			in := crowd(n)
			t := translate.New()
			t.Translate(in)
			key := types.NamespacedName{Namespace: "team-7", Name: "app-7"}
			var inputs [2]translate.Input
			for i := range inputs {
				s := *in.Snapshot
				s.Endpoints = s.Endpoints.With(key, &kube.Endpoints{ReadyNodes: map[string][]string{"": {fmt.Sprintf("node-%d", i+1)}}})
				inputs[i] = in
				inputs[i].Snapshot = &s
			}
			i := 0
			for b.Loop() {
				t.Translate(inputs[i%2])
				i++
			}
		})
	}
}

func BenchmarkOneMoreIngress(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("ingresses=%d", n), func(b *testing.B) {
			more := crowd(n + 1)
			less := more
			s := *more.Snapshot
			s.Ingresses = s.Ingresses.Without(types.NamespacedName{Namespace: fmt.Sprintf("team-%d", n%50), Name: fmt.Sprintf("app-%d", n)})
			less.Snapshot = &s
			t := translate.New()
			t.Translate(less)
			i := 0
			for b.Loop() {
				t.Translate([]translate.Input{more, less}[i%2])
				i++
			}
		})
	}
}

// What a controller computes when it starts.
func BenchmarkEverything(b *testing.B) {
	in := sharing(crowd(5000))
	b.ReportAllocs()
	for b.Loop() {
		translate.New().Translate(in)
	}
}
