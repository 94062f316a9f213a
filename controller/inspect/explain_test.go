package inspect_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// view of Ingresses of namespace a, in YAML, the oldest first; Service app is there.
func view(t *testing.T, ingresses ...string) *inspect.View {
	t.Helper()
	key := types.NamespacedName{Namespace: "a", Name: "app"}
	s := &kube.Snapshot{
		ClusterUID: "cluster",
		Classes: kube.NewTable(map[string]*networkingv1.IngressClass{"vtm": {
			ObjectMeta: metav1.ObjectMeta{Name: "vtm"}, Spec: networkingv1.IngressClassSpec{Controller: translate.ControllerName},
		}}),
		Services: kube.NewTable(map[types.NamespacedName]*kube.Service{key: {
			Namespace: "a", Name: "app", Type: corev1.ServiceTypeNodePort, Selects: true,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(80), NodePort: 30080}},
		}}),
		Endpoints: kube.NewTable(map[types.NamespacedName]*kube.Endpoints{key: {ReadyNodes: map[string][]string{"http": {"node-1"}}}}),
		Nodes: kube.NewTable(map[string]*corev1.Node{"node-1": {ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		}}}),
	}
	for i, text := range ingresses {
		ingress := new(networkingv1.Ingress)
		if err := yaml.UnmarshalStrict([]byte(text), ingress); err != nil {
			t.Fatal(err)
		}
		class := "vtm"
		ingress.Namespace, ingress.UID, ingress.Spec.IngressClassName = "a", types.UID(ingress.Name), &class
		ingress.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000+i), 0))
		s.Ingresses = s.Ingresses.With(types.NamespacedName{Namespace: "a", Name: ingress.Name}, ingress)
	}
	result := translate.New().Translate(translate.Input{Snapshot: s, Settings: config.Default(), Appliance: translate.Appliance{Members: []string{"vtm-1"}}})
	return &inspect.View{Snapshot: s, Result: result, Plan: &reconcile.Plan{}}
}

func TestRoutesAreExplainedInTheOrderInWhichTheyAreTried(t *testing.T) {
	v := view(t, `
metadata: {name: old, annotations: {vtm.pulsesecure.net/shared-ip-address: 10.0.5.223}}
spec:
  defaultBackend: {service: {name: app, port: {name: http}}}
  rules:
  - host: "*.example"
    http: {paths: [{path: /taken, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}
`, `
metadata: {name: new, annotations: {vtm.pulsesecure.net/shared-ip-address: 10.0.5.223}}
spec:
  rules:
  - http: {paths: [{path: "/*.php", pathType: ImplementationSpecific, backend: {service: {name: app, port: {number: 80}}}}]}
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}
      - {path: /taken/by, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}
      - {path: /cart, pathType: Exact, backend: {service: {name: app, port: {number: 80}}}}
`)
	text, err := v.Explain(types.NamespacedName{Namespace: "a", Name: "new"})
	if err != nil {
		t.Fatal(err)
	}
	want := `Ingress a/new: degraded
  ServiceNotFound: Service a/gone is missing: create it
  UnreachableRule: path "/taken/by" of host "shop.example" is never used: Ingress a/old, which is older, takes all its requests
Addresses:
  10.0.5.223, ports 80
On the traffic manager:
  pools/k8s_a_new_app_80: as it should be
  pools/k8s_a_new_gone_80: as it should be
  rules/k8s_10.0.5.223_80_routes: as it should be
  traffic_ip_groups/k8s_10.0.5.223_group: as it should be
  virtual_servers/k8s_10.0.5.223_80_http: as it should be
Routes on port 80, in the order in which they are tried, after those of the older Ingresses on it (1):
     Ingress a/old
  1. host "shop.example", Exact "/cart" to Service a/app, port 80 (nodes 192.0.2.1:30080)
  2. host "shop.example", Prefix "/taken/by" to Service a/gone, port 80 (no nodes: 503); never used: Ingress a/old takes all its requests
  3. host "shop.example", Prefix "/" to Service a/app, port 80 (nodes 192.0.2.1:30080)
  4. every host, Pattern "/*.php" to Service a/app, port 80 (nodes 192.0.2.1:30080)
  What no route on this port takes, of any Ingress, goes to the default backend of Ingress a/old
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}

func TestTheTrafficManagersOwnWordsAreExplained(t *testing.T) {
	v := view(t, `
metadata: {name: web, annotations: {vtm.pulsesecure.net/ip-address: 10.0.5.223}}
spec: {defaultBackend: {service: {name: app, port: {number: 80}}}}
`)
	const says = "Pool k8s_a_web_app_80 has no working nodes"
	v.Says, _ = reconcile.Diagnose(vtm.State{Errors: []string{says, "License expires"}}, &reconcile.Observed{Owned: v.Result.Desired}, "k8s")
	text, err := v.Explain(types.NamespacedName{Namespace: "a", Name: "web"})
	want := `Ingress a/web: degraded
  TrafficManagerError: the traffic manager says of pools/k8s_a_web_app_80: ` + says + `
Addresses:
  10.0.5.223, ports 80
On the traffic manager:
  pools/k8s_a_web_app_80: as it should be
  traffic_ip_groups/k8s_10.0.5.223_group: as it should be
  virtual_servers/k8s_10.0.5.223_80_http: as it should be
Routes on port 80, in the order in which they are tried:
  What no route on this port takes, of any Ingress, goes to Service a/app, port 80 (nodes 192.0.2.1:30080)
`
	if diff := cmp.Diff(want, text); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestWhyAnIngressIsNotOursIsExplained(t *testing.T) {
	v := view(t, "metadata: {name: web}")
	in := translate.Input{Snapshot: v.Snapshot, Settings: config.Default()}
	in.Settings.IngressClassNames = []string{"ours"}
	in.Snapshot.Classes = kube.NewTable(map[string]*networkingv1.IngressClass{
		"unlisted": {Spec: networkingv1.IngressClassSpec{Controller: translate.ControllerName}},
		"theirs":   {Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}},
	})
	name := types.NamespacedName{Namespace: "a", Name: "web"}
	for class, want := range map[string]string{
		"unlisted":    `its IngressClass "unlisted" is none of the setting ingress_class_names`,
		"theirs":      `its IngressClass "theirs" is for the controller "k8s.io/ingress-nginx": name an IngressClass whose spec.controller is pulsesecure.net/vtm-ingress-controller`,
		"missing":     `there is no IngressClass "missing": create it, or name another`,
		"":            "it names no class, and no IngressClass of this controller is the cluster's default: set spec.ingressClassName",
		"(annotated)": `its annotation kubernetes.io/ingress.class is "nginx", not "vtm"`,
	} {
		ingress := v.Snapshot.Ingresses.Get(name).DeepCopy()
		ingress.Spec.IngressClassName, ingress.Annotations = &class, nil
		switch class {
		case "(annotated)":
			ingress.Spec.IngressClassName, ingress.Annotations = nil, map[string]string{"kubernetes.io/ingress.class": "nginx"}
		case "":
			ingress.Spec.IngressClassName = nil
		}
		in.Snapshot.Ingresses = kube.NewTable(map[types.NamespacedName]*networkingv1.Ingress{name: ingress})
		v.Result = translate.New().Translate(in)
		text, err := v.Explain(name)
		if want = "Ingress a/web: not ours, and nothing is done about it: " + want + "\n"; text != want || err != nil {
			t.Errorf("%v\n%s\nwant\n%s", err, text, want)
		}
	}
}
