package kinds

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
)

func TestEveryRowIsComplete(t *testing.T) {
	scheme := Scheme()
	seen := map[string]bool{}
	for _, k := range All() {
		name := k.GroupVersionKind.String()
		if k.Resource == "" || k.Singular == "" || k.Validate == nil || k.SelectableFields == nil || k.Row == nil {
			t.Errorf("%s lacks something that is never nil", name)
			continue
		}
		if r := k.GroupVersionResource().String(); seen[r] {
			t.Errorf("%s is there twice", r)
		} else {
			seen[r] = true
		}
		for _, obj := range []runtime.Object{k.New(), k.NewList()} {
			if _, _, err := scheme.ObjectKinds(obj); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if cells := k.Row(k.New(), now); len(cells) != len(k.Columns) {
			t.Errorf("%s: %d cells for %d columns", name, len(cells), len(k.Columns))
		}
		for i, c := range k.Row(k.New(), now) {
			if _, isInt := c.(int64); k.Columns[i].Type == "integer" && !isInt {
				t.Errorf("%s: column %s has a cell of type %T", name, k.Columns[i].Name, c)
			}
		}
		set := k.SelectableFields(k.New())
		if !set.Has("metadata.name") || set.Has("metadata.namespace") != k.Namespaced {
			t.Errorf("%s: selectable fields %v", name, set)
		}
		if k.Presents != nil && !slices.ContainsFunc(All(), func(o Kind) bool { return o.GroupVersionKind == k.Presents.Of && o.Presents == nil }) {
			t.Errorf("%s shows %s, which no row stores", name, k.Presents.Of)
		}
	}
}

// Defaulting what is defaulted changes nothing: otherwise each write of an
// unchanged object would look like a change.
func TestDefaultingTwiceIsDefaultingOnce(t *testing.T) {
	for _, k := range All() {
		once := k.New()
		k.defaultObject(once)
		twice := once.DeepCopyObject()
		k.defaultObject(twice)
		if !equality.Semantic.DeepEqual(once, twice) {
			t.Errorf("%s: %s", k.GroupVersionKind, cmp.Diff(once, twice))
		}
	}
}

func TestSchemeDefaultsAndConvertsFieldLabels(t *testing.T) {
	scheme := Scheme()
	svc := &corev1.Service{}
	scheme.Default(svc)
	if svc.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("type %q", svc.Spec.Type)
	}
	pod := corev1.SchemeGroupVersion.WithKind("Pod")
	if label, value, err := scheme.ConvertFieldLabel(pod, "spec.nodeName", "n1"); label != "spec.nodeName" || value != "n1" || err != nil {
		t.Errorf("%s=%s, %v", label, value, err)
	}
	if _, _, err := scheme.ConvertFieldLabel(pod, "spec.colour", "red"); err == nil || err.Error() != "field label not supported: spec.colour" {
		t.Errorf("error %v", err)
	}
}

func TestFieldSelectorsFindWhatKubectlAsksFor(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	pod.Status.Phase = corev1.PodRunning
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "shop"},
		InvolvedObject: corev1.ObjectReference{Kind: "Ingress", Namespace: "shop", Name: "web", UID: "u"}, Type: "Warning", Reason: "Rejected"}
	for _, c := range []struct {
		obj      runtime.Object
		selector string
		want     bool
	}{
		{pod, "spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed", true},
		{pod, "spec.nodeName=n2", false},
		{pod, "metadata.name=web,metadata.namespace=shop", true},
		{event, "involvedObject.name=web,involvedObject.kind=Ingress,involvedObject.uid=u,involvedObject.namespace=shop", true},
		{event, "type!=Normal,reason=Rejected", true},
		{&corev1.Namespace{}, "status.phase=Active", false},
		{&corev1.Secret{Type: corev1.SecretTypeTLS}, "type=kubernetes.io/tls", true},
		{&corev1.Node{}, "spec.unschedulable=false", true},
	} {
		kinds, _, err := Scheme().ObjectKinds(c.obj)
		if err != nil {
			t.Fatal(err)
		}
		set := byKind(t, All(), kinds[0]).SelectableFields(c.obj)
		if got := fields.ParseSelectorOrDie(c.selector).Matches(set); got != c.want {
			t.Errorf("%s on %v: %v", c.selector, set, got)
		}
	}
}

func TestOlderVersionsLackNewerKinds(t *testing.T) {
	for version, lacks := range map[string][]string{
		"1.18":    {"Event", "Ingress", "IngressClass", "EndpointSlice", "ServiceCIDR"},
		"v1.20.7": {"EndpointSlice", "ServiceCIDR"},
		"1.21":    {"ServiceCIDR"},
		"1.33":    nil,
		"1.37":    nil,
		"":        nil,
	} {
		var got []string
		for _, k := range All() {
			if !k.ServedBy(version) {
				got = append(got, k.GroupVersionKind.Kind)
			}
		}
		slices.Sort(got)
		slices.Sort(lacks)
		if d := cmp.Diff(lacks, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", version, d)
		}
	}
}

// An Event is the same through both of its groups, whatever it holds.
func TestEventsOfBothGroupsAreOne(t *testing.T) {
	row := byKind(t, All(), eventsv1.SchemeGroupVersion.WithKind("Event"))
	text := rapid.StringMatching(`[a-z]{0,5}`)
	stamp := rapid.Custom(func(t *rapid.T) metav1.Time {
		return metav1.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "seconds"), 0)
	})
	rapid.Check(t, func(t *rapid.T) {
		e := &corev1.Event{
			TypeMeta:            metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
			ObjectMeta:          metav1.ObjectMeta{Name: text.Draw(t, "name"), Labels: map[string]string{"a": text.Draw(t, "label")}},
			InvolvedObject:      corev1.ObjectReference{Kind: text.Draw(t, "kind"), FieldPath: text.Draw(t, "path")},
			Reason:              text.Draw(t, "reason"),
			Message:             text.Draw(t, "message"),
			Source:              corev1.EventSource{Component: text.Draw(t, "component"), Host: text.Draw(t, "host")},
			FirstTimestamp:      stamp.Draw(t, "first"),
			LastTimestamp:       stamp.Draw(t, "last"),
			Count:               rapid.Int32().Draw(t, "count"),
			Type:                text.Draw(t, "type"),
			EventTime:           metav1.MicroTime(stamp.Draw(t, "time")),
			Action:              text.Draw(t, "action"),
			ReportingController: text.Draw(t, "controller"),
			ReportingInstance:   text.Draw(t, "instance"),
		}
		if rapid.Bool().Draw(t, "series") {
			e.Series = &corev1.EventSeries{Count: rapid.Int32().Draw(t, "n"), LastObservedTime: metav1.MicroTime(stamp.Draw(t, "observed"))}
			e.Related = &corev1.ObjectReference{Name: text.Draw(t, "related")}
		}
		shown := row.Presents.FromStored(e)
		if gvk := shown.GetObjectKind().GroupVersionKind(); gvk != row.GroupVersionKind {
			t.Fatalf("shown as %s", gvk)
		}
		if d := cmp.Diff(e, row.Presents.ToStored(shown)); d != "" {
			t.Fatal(d)
		}
		shown.(*eventsv1.Event).Labels["a"] = "changed"
		if e.Labels["a"] == "changed" {
			t.Fatal("what is shown shares memory with what is stored")
		}
	})
}

func TestScaleShowsAndSetsReplicas(t *testing.T) {
	for _, kind := range []string{"Deployment", "ReplicaSet"} {
		row := byKind(t, All(), appsv1.SchemeGroupVersion.WithKind(kind))
		obj := row.New()
		row.Default(obj)
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		m.SetName("web")
		m.SetResourceVersion("7")
		setSelector(obj, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}})
		row.Scale.Set(obj, 3)
		scale := row.Scale.Get(obj)
		if scale.Spec.Replicas != 3 || scale.Name != "web" || scale.ResourceVersion != "7" || scale.Status.Selector != "app=web" {
			t.Errorf("%s: %+v", kind, scale)
		}
	}
}

func setSelector(obj runtime.Object, s *metav1.LabelSelector) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		o.Spec.Selector = s
	case *appsv1.ReplicaSet:
		o.Spec.Selector = s
	}
}

// What is too large is refused whole.
func TestSizesAreLimited(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "shop"}, AddressType: discoveryv1.AddressTypeIPv4}
	for i := range 1001 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d", i/256, i%256)}})
	}
	full := slice.DeepCopy()
	full.Endpoints = full.Endpoints[:1000]
	big := strings.Repeat("x", 1<<20)
	named := metav1.ObjectMeta{Name: "s", Namespace: "shop"}
	annotated := *named.DeepCopy()
	annotated.Annotations = map[string]string{"a": strings.Repeat("x", 256<<10)}
	for name, c := range map[string]struct {
		obj  runtime.Object
		want string // of the only error; empty: none
	}{
		"1001 endpoints":         {slice, "endpoints: Too many: 1001: must have at most 1000 items"},
		"1000 endpoints":         {full, ""},
		"a Secret of 1 MiB":      {&corev1.Secret{ObjectMeta: named, Data: map[string][]byte{"a": []byte(big)}}, ""},
		"a larger Secret":        {&corev1.Secret{ObjectMeta: named, Data: map[string][]byte{"a": []byte(big), "b": []byte("x")}}, "data: Too long: may not be more than 1048576 bytes"},
		"a larger ConfigMap":     {&corev1.ConfigMap{ObjectMeta: named, Data: map[string]string{"a": big, "b": "x"}}, `[]: Too long: may not be more than 1048576 bytes`},
		"annotations of 256 KiB": {&corev1.ConfigMap{ObjectMeta: annotated}, "metadata.annotations: Too long: may not be more than 262144 bytes"},
	} {
		gvks, _, err := Scheme().ObjectKinds(c.obj)
		if err != nil {
			t.Fatal(err)
		}
		row := byKind(t, All(), gvks[0])
		row.defaultObject(c.obj)
		errs := row.Validate(c.obj)
		if c.want == "" && len(errs) > 0 || c.want != "" && (len(errs) != 1 || errs[0].Error() != c.want) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

// Whatever a client sends, of whatever kind, is accepted or refused, and never
// breaks the server; what is told does not depend on the order of a map.
func FuzzRowsWithstandAnyObject(f *testing.F) {
	f.Add(uint8(0), `{"metadata":{"name":"a"},"data":{"a":"b"}}`, `{}`)
	f.Add(uint8(5), `{"spec":{"containers":[{"name":"a","image":"x","ports":[{}],"env":[{"valueFrom":{}}],"livenessProbe":{}}],"initContainers":[{}]}}`, `{"spec":{"containers":[{}]}}`)
	f.Add(uint8(8), `{"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":1},{"port":-1}],"sessionAffinity":"ClientIP"}}`, `{"spec":{"type":"ExternalName"}}`)
	f.Add(uint8(9), `{"spec":{"strategy":{"type":"RollingUpdate"},"selector":{"matchExpressions":[{"operator":"In"}]}}}`, `{}`)
	f.Add(uint8(11), `{"metadata":{"name":"e"},"series":{}}`, `{"eventTime":null}`)
	f.Add(uint8(13), `{"spec":{"defaultBackend":{},"rules":[{"http":{"paths":[{"pathType":"Exact"}]}}],"tls":[{"hosts":["*"]}]}}`, `{"spec":null}`)
	f.Add(uint8(19), `{"endpoints":[{"addresses":["::"]}],"ports":[{}]}`, `{"addressType":"IPv6"}`)
	f.Fuzz(func(t *testing.T, n uint8, first, second string) {
		all := All()
		kind := &all[int(n)%len(all)]
		old, new := kind.New(), kind.New()
		if json.Unmarshal([]byte(first), old) != nil || json.Unmarshal([]byte(second), new) != nil {
			return
		}
		refused := tell(kind, old, nil)
		if again := tell(kind, old.DeepCopyObject(), nil); again != refused {
			t.Errorf("told once\n%s\nand then\n%s", refused, again)
		}
		_ = kind.Row(old, now)
		_ = kind.SelectableFields(old)
		before := old.DeepCopyObject()
		tell(kind, new.DeepCopyObject(), old)
		if kind.PrepareForStatusUpdate != nil {
			kind.defaultObject(new)
			kind.PrepareForStatusUpdate(new, old)
			if kind.ValidateStatusUpdate != nil {
				kind.ValidateStatusUpdate(new, old)
			}
		}
		if d := cmp.Diff(before, old); d != "" {
			t.Errorf("an update changed what is stored:\n%s", d)
		}
	})
}

// tell creates obj, or updates old with it, and gives what the client is told.
func tell(kind *Kind, obj, old runtime.Object) string {
	if old != nil {
		return fmt.Sprint(change(kind, obj, old))
	}
	var out strings.Builder
	return fmt.Sprint(create(kind, obj, &out), out.String())
}
