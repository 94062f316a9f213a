package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

var web = types.NamespacedName{Namespace: "shop", Name: "web"}

func ingress(name, uid, host string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid), ResourceVersion: "1"},
		Spec:       networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host}}},
	}
}

func fill(t *tables) {
	for _, s := range []sink{t.ingresses, t.classes, t.services, t.nodes, t.endpoints, t.secrets} {
		s.replace(nil)
	}
}

func TestASnapshotKeepsWhatDidNotChange(t *testing.T) {
	all := newTables(time.Now)
	if all.full() {
		t.Error("full before anything was listed")
	}
	fill(all)
	if !all.full() {
		t.Error("not full, though all is listed")
	}
	all.ingresses.put(ingress("web", "1", "a"))
	all.ingresses.put(ingress("blog", "2", "b"))
	all.nodes.put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	first := all.snapshot("cluster", nil)
	if again := all.snapshot("cluster", first); again != first {
		t.Error("another Snapshot, though nothing changed")
	}
	if all.ingresses.put(ingress("web", "1", "c")) != loud {
		t.Error("a new host is no change")
	}
	second := all.snapshot("cluster", first)
	if first.Ingresses.Get(web).Spec.Rules[0].Host != "a" || second.Ingresses.Get(web).Spec.Rules[0].Host != "c" {
		t.Error("an older Snapshot shows a newer object")
	}
	blog := types.NamespacedName{Namespace: "shop", Name: "blog"}
	if first.Ingresses.Get(blog) != second.Ingresses.Get(blog) {
		t.Error("an unchanged object lost its identity")
	}
	if first.Nodes != second.Nodes {
		t.Error("an unchanged kind's Table is another")
	}
	if other := all.snapshot("another", second); other == second || other.ClusterUID != "another" {
		t.Error("the cluster's identity changed unseen")
	}
}

func TestAListReplacesAndKeepsWhatIsTheSame(t *testing.T) {
	all := newTables(time.Now)
	kept := ingress("web", "1", "a")
	all.ingresses.put(kept)
	all.ingresses.put(ingress("blog", "2", "b"))
	same := ingress("web", "1", "a")
	same.ResourceVersion = "7"
	if got := all.ingresses.replace([]any{same}); got != loud {
		t.Errorf("an Ingress is gone: %v, want loud", got)
	}
	if all.ingresses.publish().Len() != 1 || all.ingresses.publish().Get(web) != kept {
		t.Error("want the old object kept, and it alone")
	}
	if got := all.ingresses.replace([]any{same}); got != none {
		t.Errorf("the same list again: %v, want none", got)
	}
	if got := all.ingresses.replace([]any{ingress("web", "other", "a")}); got != loud {
		t.Errorf("re-created between two lists: %v, want loud", got)
	}
}

func TestOnlyWhatMattersAsksForWork(t *testing.T) {
	was := func() *networkingv1.Ingress { return ingress("web", "1", "a") }
	node := func() *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"zone": "a"}},
			Status: corev1.NodeStatus{
				Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
				Conditions: []corev1.NodeCondition{
					{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
					{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"},
				},
			},
		}
	}
	service := func() *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}},
		}
	}
	for _, c := range []struct {
		name string
		old  metav1.Object
		edit func(metav1.Object)
		want change
	}{
		{"resourceVersion", was(), func(o metav1.Object) { o.SetResourceVersion("9") }, none},
		{"labels", was(), func(o metav1.Object) { o.SetLabels(map[string]string{"a": "b"}) }, none},
		{"managed fields", was(), func(o metav1.Object) { o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m"}}) }, none},
		{"what kubectl apply remembers", was(), func(o metav1.Object) {
			o.SetAnnotations(map[string]string{corev1.LastAppliedConfigAnnotation: "{}"})
		}, none},
		{"status", was(), func(o metav1.Object) {
			o.(*networkingv1.Ingress).Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "10.0.0.1"}}
		}, quiet},
		{"annotations", was(), func(o metav1.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, loud},
		{"spec", was(), func(o metav1.Object) { o.(*networkingv1.Ingress).Spec.IngressClassName = ptr.To("vtm") }, loud},
		{"deletion", was(), func(o metav1.Object) { o.SetDeletionTimestamp(&metav1.Time{Time: metav1.Now().Time}) }, loud},
		{"a node's heartbeat", node(), func(o metav1.Object) {
			o.(*corev1.Node).Status.Conditions[1].LastHeartbeatTime = metav1.Now()
			o.(*corev1.Node).Status.Conditions[0].Status = corev1.ConditionTrue
			o.(*corev1.Node).Status.NodeInfo.KubeletVersion = "v1.35.1"
			o.SetResourceVersion("9")
		}, none},
		{"a node not ready", node(), func(o metav1.Object) { o.(*corev1.Node).Status.Conditions[1].Status = corev1.ConditionUnknown }, loud},
		{"a node cordoned", node(), func(o metav1.Object) { o.(*corev1.Node).Spec.Unschedulable = true }, loud},
		{"a node's label", node(), func(o metav1.Object) { o.SetLabels(map[string]string{"zone": "b"}) }, loud},
		{"a node's address", node(), func(o metav1.Object) { o.(*corev1.Node).Status.Addresses[0].Address = "10.0.0.2" }, loud},
		{"a Service's selector", service(), func(o metav1.Object) { o.(*corev1.Service).Spec.Selector = map[string]string{"a": "b"} }, none},
		{"a Service without a selector any more", service(), func(o metav1.Object) { o.(*corev1.Service).Spec.Selector = nil }, loud},
		{"a Service's node port", service(), func(o metav1.Object) { o.(*corev1.Service).Spec.Ports[0].NodePort = 30081 }, loud},
		{"a Service's policy", service(), func(o metav1.Object) { o.(*corev1.Service).Spec.ExternalTrafficPolicy = "Local" }, loud},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTables(time.Now)
			var into sink
			var changed metav1.Object
			switch o := c.old.(type) {
			case *networkingv1.Ingress:
				into, changed = all.ingresses, o.DeepCopy()
			case *corev1.Node:
				into, changed = all.nodes, o.DeepCopy()
			case *corev1.Service:
				into, changed = all.services, o.DeepCopy()
			}
			c.edit(changed)
			put := func(o any) change {
				trimmed, err := trim(o)
				if err != nil {
					t.Fatal(err)
				}
				return into.put(trimmed)
			}
			if got := put(c.old); got != loud {
				t.Errorf("a new object: %v, want loud", got)
			}
			if got := put(changed); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// endpoint at a node; state is a letter: ready, Unknown readiness, not ready,
// terminating, serving while it terminates.
func endpoint(node string, state byte) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{NodeName: &node, Addresses: []string{"10.244.0.1"}}
	if node == "" {
		e.NodeName = nil
	}
	switch state {
	case 'r':
		e.Conditions.Ready = ptr.To(true)
	case 'n':
		e.Conditions.Ready = ptr.To(false)
	case 't':
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}
	case 's':
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(true), Terminating: ptr.To(true)}
	}
	return e
}

func slice(name, service string, ports []string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  endpoints,
	}
	for _, port := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &port})
	}
	return s
}

func TestEndpointsTellNodesByReadiness(t *testing.T) {
	table := newEndpointsTable(time.Now)
	table.put(slice("web-1", "web", []string{"http", "admin"},
		endpoint("n2", 'r'), endpoint("n1", 'U'), endpoint("n1", 'n'), endpoint("n3", 'n'), endpoint("n4", 't'), endpoint("n5", 's'), endpoint("", 'r')))
	table.put(slice("web-2", "web", []string{"http"}, endpoint("n3", 'r'), endpoint("n6", 'n')))
	unnamed := slice("x", "", nil)
	unnamed.Labels = nil
	table.put(unnamed)
	want := map[types.NamespacedName]*Endpoints{web: {
		ReadyNodes:   map[string][]string{"http": {"n1", "n2", "n3", "n5"}, "admin": {"n1", "n2", "n5"}},
		UnreadyNodes: map[string][]string{"http": {"n6"}, "admin": {"n3"}},
	}}
	if d := cmp.Diff(want, maps.Collect(table.publish().All())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestPodsThatComeAndGoOnANodeChangeNothing(t *testing.T) {
	table := newEndpointsTable(time.Now)
	table.put(slice("web-1", "web", []string{""}, endpoint("n1", 'r')))
	was := table.publish()
	if got := table.put(slice("web-1", "web", []string{""}, endpoint("n1", 'r'), endpoint("n1", 't'))); got != none {
		t.Errorf("a Pod that ends on the same node: %v, want none", got)
	}
	six := slice("web-2", "web", []string{""}, endpoint("n1", 'r'))
	six.AddressType = discoveryv1.AddressTypeIPv6
	if got := table.put(six); got != none {
		t.Errorf("the same Pod's other address: %v, want none", got)
	}
	if now := table.publish(); now.Get(web) != was.Get(web) {
		t.Error("unchanged Endpoints lost their identity")
	}
	if got := table.remove(slice("web-1", "web", nil)); got != none {
		t.Errorf("one of two slices with the node gone: %v, want none", got)
	}
	if got := table.remove(slice("web-2", "web", nil)); got != loud {
		t.Errorf("the last slice gone: %v, want loud", got)
	}
	if table.publish().Len() != 0 || len(table.parts) != 0 || len(table.byService) != 0 {
		t.Error("something is left of a Service without slices")
	}
}

// Whatever way slices came, moved between Services and went, what is kept is what
// the slices that are left say.
func TestEndpointsDependOnTheSlicesThatAreLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, left := newEndpointsTable(time.Now), map[string]*discoveryv1.EndpointSlice{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := fmt.Sprint("s", rapid.IntRange(0, 4).Draw(t, "slice"))
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				delete(left, name)
				table.remove(slice(name, "", nil))
				continue
			}
			var endpoints []discoveryv1.Endpoint
			for range rapid.IntRange(0, 3).Draw(t, "endpoints") {
				endpoints = append(endpoints, endpoint(rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"), rapid.SampledFrom([]byte("rnt")).Draw(t, "state")))
			}
			left[name] = slice(name, rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "service"), []string{"p"}, endpoints...)
			before := maps.Collect(table.publish().All())
			what := table.put(left[name])
			if changed := !reflect.DeepEqual(before, maps.Collect(table.publish().All())); changed != (what != none) {
				t.Fatalf("told %v, changed %v", what, changed)
			}
		}
		afresh := newEndpointsTable(time.Now)
		var list []any
		for _, s := range left {
			list = append(list, s)
		}
		afresh.replace(list)
		// What was seen is the one thing that depends on it.
		forgetful := cmpopts.IgnoreFields(Endpoints{}, "LostNodes", "UnseenNodes")
		if d := cmp.Diff(maps.Collect(afresh.publish().All()), maps.Collect(table.publish().All()), forgetful); d != "" {
			t.Fatalf("-listed +watched:\n%s", d)
		}
		if got := table.replace(list); got != none {
			t.Fatalf("a list of the same: %v", got)
		}
	})
}

func node(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
}

func TestEndpointsThatWereLostWithTheirNodeAreTold(t *testing.T) {
	clock := testingclock.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	all := newTables(clock.Now)
	lost := func(when string, want ...string) {
		t.Helper()
		if got := all.endpoints.publish().Get(web).LostNodes[""]; !slices.Equal(got, want) {
			t.Errorf("%s: lost %v, want %v", when, got, want)
		}
	}
	of := func(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return slice("web-1", "web", []string{""}, endpoints...)
	}
	put := func(endpoints ...discoveryv1.Endpoint) { all.endpoints.put(of(endpoints...)) }
	all.nodes.replace([]any{node("n1", "True"), node("n2", "True"), node("n3", "True")})
	put(endpoint("n1", 'r'), endpoint("n2", 'r'), endpoint("n3", 'n'))
	lost("one Pod is not ready")
	all.nodes.put(node("n1", "Unknown"))
	lost("a node is not ready, the Pod on it is ready still")
	put(endpoint("n1", 'n'), endpoint("n2", 'n'), endpoint("n3", 'n'))
	lost("the Pod is not ready either", "n1")
	if got := all.nodes.put(node("n2", "Unknown")); got != loud {
		t.Errorf("a node is not ready later than its Pod: %v, want loud", got)
	}
	lost("both are lost", "n1", "n2")
	was := all.endpoints.publish().Get(web)
	all.nodes.replace([]any{node("n1", "True"), node("n2", "True"), node("n3", "True")})
	lost("the nodes are back", "n1", "n2")
	if all.endpoints.publish().Get(web) != was {
		t.Error("unchanged Endpoints lost their identity")
	}
	put(endpoint("n1", 'r'), endpoint("n2", 'n'), endpoint("n3", 'n'))
	lost("one Pod is ready again", "n2")
	clock.SetTime(clock.Now().Add(justBack))
	put(endpoint("n1", 'n'), endpoint("n2", 't'), endpoint("n3", 'n'))
	lost("one fails by itself, one ends")

	put(endpoint("n1", 'r'), endpoint("n2", 'r'), endpoint("n3", 'n'))
	all.nodes.put(node("n1", "Unknown"))
	all.nodes.put(node("n1", "True"))
	put(endpoint("n1", 'n'), endpoint("n2", 'n'), endpoint("n3", 'n'))
	lost("the watch of endpoints was behind that of nodes", "n1")

	put(endpoint("n1", 'r'), endpoint("n2", 'r'), endpoint("n3", 'n'))
	all.endpoints.replace([]any{of(endpoint("n1", 'n'), endpoint("n2", 'n'), endpoint("n3", 'n'))})
	lost("nobody watched when it happened", "n1", "n2")
}

func TestEndpointsThatWereNotReadyWhenWatchingBeganAreTold(t *testing.T) {
	table := newEndpointsTable(time.Now)
	unseen := func(when string, want ...string) {
		t.Helper()
		if got := table.publish().Get(web).UnseenNodes[""]; !slices.Equal(got, want) {
			t.Errorf("%s: unseen %v, want %v", when, got, want)
		}
	}
	table.replace([]any{slice("web-1", "web", []string{""}, endpoint("n1", 'n'), endpoint("n2", 'n'), endpoint("n3", 't')), slice("web-2", "web", []string{""}, endpoint("n4", 'r'))})
	unseen("the first list", "n1", "n2")
	table.put(slice("web-1", "web", []string{""}, endpoint("n1", 'n'), endpoint("n2", 'r'), endpoint("n3", 'n')))
	unseen("one is ready, a new one is not", "n1")
	table.put(slice("web-1", "web", []string{""}, endpoint("n1", 'n'), endpoint("n2", 'n')))
	unseen("one is not ready any more", "n1")
	table.put(slice("web-1", "web", []string{""}, endpoint("n2", 'n')))
	unseen("one is gone")
}

func TestNodesWithSeveralReadyPodsAreTold(t *testing.T) {
	table := newEndpointsTable(time.Now)
	table.put(slice("web-1", "web", []string{"", "admin"}, endpoint("n1", 'r'), endpoint("n2", 'r')))
	two := slice("web-1", "web", []string{"", "admin"}, endpoint("n1", 'r'), endpoint("n1", 'r'), endpoint("n2", 'r'), endpoint("n2", 'n'))
	if got := table.put(two); got != quiet {
		t.Errorf("another Pod on the same node: %v, want quiet", got)
	}
	if got := table.put(slice("web-2", "web", []string{""}, endpoint("n2", 'r'))); got != quiet {
		t.Errorf("another Pod in another slice: %v, want quiet", got)
	}
	want := map[string][]string{"": {"n1", "n2"}, "admin": {"n1"}}
	if d := cmp.Diff(want, table.publish().Get(web).CrowdedNodes); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	three := two.DeepCopy()
	three.Endpoints = append(three.Endpoints, endpoint("n1", 'r'))
	if got := table.put(three); got != none {
		t.Errorf("a third Pod on a crowded node: %v, want none", got)
	}
	if got := table.put(slice("web-1", "web", []string{"", "admin"}, endpoint("n1", 'r'), endpoint("n2", 'r'))); got != quiet || len(table.publish().Get(web).CrowdedNodes["admin"]) != 0 {
		t.Errorf("one Pod a node again: %v, want quiet; %v", got, table.publish().Get(web).CrowdedNodes)
	}
}

func BenchmarkBurst(b *testing.B) {
	all := newTables(time.Now)
	fill(all)
	for i := range 5000 {
		all.ingresses.put(ingress(fmt.Sprint("i", i), fmt.Sprint(i), "a"))
	}
	var last *Snapshot
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range 100 {
			all.ingresses.put(ingress(fmt.Sprint("i", i), fmt.Sprint(i), fmt.Sprint("h", n)))
		}
		last = all.snapshot("cluster", last)
	}
}

func TestTheAPIServersAddressIsReadFromItsURL(t *testing.T) {
	for host, want := range map[string]string{
		"https://10.96.0.1:443": "10.96.0.1", "10.96.0.1": "10.96.0.1", "https://[2001:db8::1]:6443/base": "2001:db8::1",
		"https://[::ffff:10.96.0.1]:443": "10.96.0.1", "https://api.example:6443": "invalid IP", "": "invalid IP", "https://%zz": "invalid IP",
	} {
		if got := addressOf(host).String(); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func TestWhoWroteAnIngresssAddressesIsKept(t *testing.T) {
	fields := func(text string) *metav1.FieldsV1 { return metav1.NewFieldsV1(text) }
	for name, c := range map[string]struct {
		managers []metav1.ManagedFieldsEntry
		want     bool
	}{
		"nobody":           {nil, false},
		"we did":           {[]metav1.ManagedFieldsEntry{{Manager: "kubectl"}, {Manager: "vtm-ingress-k8s", Subresource: "status", FieldsV1: fields(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)}}, true},
		"another of ours":  {[]metav1.ManagedFieldsEntry{{Manager: "vtm-ingress-edge", FieldsV1: fields(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)}}, false},
		"somebody since":   {[]metav1.ManagedFieldsEntry{{Manager: "nginx", FieldsV1: fields(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)}, {Manager: "vtm-ingress-k8s", FieldsV1: fields(`{}`)}}, false},
		"somebody like us": {[]metav1.ManagedFieldsEntry{{Manager: "vtm-ingress", FieldsV1: fields(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)}}, false},
	} {
		o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{ManagedFields: c.managers}}
		for range 2 { // trimming twice does no harm
			if _, err := trim(o); err != nil {
				t.Fatal(err)
			}
			if got := WroteStatus(o, "k8s"); got != c.want {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}
