package translate_test

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

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

// newHistory begins where Ingresses can be served.
func newHistory() *history {
	h := &history{translate.Input{
		Snapshot: emptySnapshot(), Settings: issuing(*config.Default()),
		Appliance:  translate.Appliance{Members: []string{"vtm-1"}},
		Programmed: translate.Programmed{Owned: map[vtm.ID]*vtm.Resource{}, Owners: map[types.UID]bool{}, Keys: map[string]*vtm.Resource{}, Libraries: map[string]bool{}},
		SelfSigned: &translate.KeyPair{Certificate: []byte("self-signed"), PrivateKey: []byte("its key")},
	}}
	s := h.in.Snapshot
	for _, namespace := range []string{"a", "b"} {
		for _, name := range []string{"s1", "s2", "s3"} {
			s.Services = s.Services.With(types.NamespacedName{Namespace: namespace, Name: name}, &kube.Service{
				Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30000}},
			})
		}
		cert := types.NamespacedName{Namespace: namespace, Name: "cert"}
		s.Secrets = s.Secrets.With(cert, secretOf(cert, "good"))
	}
	h.in.Appliance.Groups = map[string]translate.Group{"front": {Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.1")}}}
	return h
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

var drawnKeys = []types.NamespacedName{{Namespace: "a", Name: "x"}, {Namespace: "a", Name: "y"}, {Namespace: "b", Name: "x"}, {Namespace: "b", Name: "z"}, {Namespace: "b", Name: "w"}}

// seldom is true once in a while.
func seldom(t *rapid.T, what string) bool {
	return rapid.SampledFrom([]bool{false, false, false, false, false, false, false, true, false, false}).Draw(t, what)
}

func drawIngress(t *rapid.T, key types.NamespacedName) *networkingv1.Ingress {
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name,
		UID:               types.UID(fmt.Sprintf("uid-%s-%s-%d", key.Namespace, key.Name, rapid.IntRange(1, 2).Draw(t, "incarnation"))),
		CreationTimestamp: metav1.NewTime(time.Unix(rapid.Int64Range(1, 3).Draw(t, "created"), 0)),
		Generation:        rapid.Int64Range(1, 2).Draw(t, "generation"),
		Annotations:       map[string]string{},
	}}
	o.Annotations["kubernetes.io/ingress.class"] = "vtm"
	if seldom(t, "of another class") {
		o.Annotations["kubernetes.io/ingress.class"] = rapid.SampledFrom([]string{"", "other"}).Draw(t, "class")
	}
	switch rapid.IntRange(0, 4).Draw(t, "address kind") {
	case 1:
		o.Annotations["vtm.pulsesecure.net/ip-address"] = "10.0.0.1"
		if seldom(t, "odd address") {
			o.Annotations["vtm.pulsesecure.net/ip-address"] = rapid.SampledFrom([]string{"10.0.0.2", "192.0.2.1", "nonsense"}).Draw(t, "address")
		}
	case 2, 3:
		o.Annotations["vtm.pulsesecure.net/shared-ip-address"] = rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(t, "address")
	}
	if rapid.Bool().Draw(t, "has port") {
		o.Annotations["vtm.pulsesecure.net/port"] = rapid.SampledFrom([]string{"80", "81", "443"}).Draw(t, "port")
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "tls") {
		o.Spec.TLS = append(o.Spec.TLS, networkingv1.IngressTLS{
			SecretName: rapid.SampledFrom([]string{"cert", "cert", "other"}).Draw(t, "secret"),
			Hosts:      rapid.SampledFrom([][]string{nil, {"a.example.com"}, {"*.example.com"}}).Draw(t, "tls hosts"),
		})
	}
	if value := rapid.SampledFrom([]string{"", "true", "false"}).Draw(t, "redirect"); len(o.Spec.TLS) > 0 && value != "" {
		o.Annotations["ingress.kubernetes.io/ssl-redirect"] = value
	}
	if len(o.Spec.TLS) > 0 && rapid.IntRange(0, 3).Draw(t, "certificates issued") == 0 {
		o.Annotations["vtm.pulsesecure.net/use-lets-encrypt"] = "true"
	}
	if seldom(t, "pass-through") {
		o.Annotations["ingress.kubernetes.io/ssl-passthrough"] = "true"
	}
	if seldom(t, "script") {
		o.Annotations["vtm.pulsesecure.net/request-trafficscript"] = "break;"
	}
	service := func() networkingv1.IngressBackend {
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "service"), Port: networkingv1.ServiceBackendPort{Number: 80}}}
	}
	if rapid.Bool().Draw(t, "has default") || o.Annotations["ingress.kubernetes.io/ssl-passthrough"] == "true" {
		b := service()
		o.Spec.DefaultBackend = &b
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		kind := networkingv1.PathTypePrefix
		o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{
			Host: rapid.SampledFrom([]string{"", "a.example.com", "*.example.com", "b.example.com"}).Draw(t, "host"),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: rapid.SampledFrom([]string{"/", "/a", "/a/b"}).Draw(t, "path"), PathType: &kind, Backend: service()}}}}})
	}
	return o
}

// issuing are settings with which certificates are issued.
func issuing(settings config.Settings) *config.Settings {
	settings.ACMETermsAgreed = true
	return &settings
}

// drawACME is how far certificates are.
func drawACME(t *rapid.T) *translate.ACME {
	acme := &translate.ACME{States: map[types.NamespacedName]translate.CertificateState{}}
	for _, namespace := range []string{"a", "b"} {
		if rapid.Bool().Draw(t, "challenge") {
			acme.Challenges = append(acme.Challenges, translate.Challenge{
				Namespace: namespace, Host: "a.example.com", KeyAuthorization: "answer", Token: rapid.SampledFrom([]string{"one", "two"}).Draw(t, "token"),
			})
		}
		if rapid.Bool().Draw(t, "state") {
			secret := types.NamespacedName{Namespace: namespace, Name: rapid.SampledFrom([]string{"cert", "other"}).Draw(t, "issued")}
			acme.States[secret] = translate.CertificateState{Failed: rapid.Bool().Draw(t, "failed"), Message: "so far"}
		}
	}
	return acme
}

// step draws one change.
func (h *history) step(t *rapid.T) {
	key := rapid.SampledFrom(drawnKeys).Draw(t, "key")
	service := types.NamespacedName{Namespace: key.Namespace, Name: rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "of service")}
	node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 3, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 14, 15, 15, 16, 16, 17, 17}).Draw(t, "step") {
	case 0:
		ingress := drawIngress(t, key)
		h.change(func(s *kube.Snapshot) { s.Ingresses = s.Ingresses.With(key, ingress) })
	case 3:
		h.change(func(s *kube.Snapshot) { s.Ingresses = s.Ingresses.Without(key) })
	case 4:
		o := &kube.Service{
			Type:  rapid.SampledFrom([]corev1.ServiceType{"NodePort", "NodePort", "NodePort", "ClusterIP"}).Draw(t, "type"),
			Local: rapid.Bool().Draw(t, "of policy Local"),
			Ports: []corev1.ServicePort{{Port: 80, NodePort: rapid.Int32Range(30000, 30001).Draw(t, "node port")}},
		}
		h.change(func(s *kube.Snapshot) { s.Services = s.Services.With(service, o) })
	case 5:
		if !seldom(t, "Service deleted") {
			return
		}
		h.change(func(s *kube.Snapshot) { s.Services = s.Services.Without(service) })
	case 6:
		nodes := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"n1", "n2"}), rapid.ID).Draw(t, "ready nodes")
		field := &kube.Endpoints{ReadyNodes: map[string][]string{"": nodes}}
		if rapid.Bool().Draw(t, "unready") {
			field = &kube.Endpoints{UnreadyNodes: map[string][]string{"": nodes}}
			switch rapid.IntRange(0, 2).Draw(t, "since when") {
			case 0:
				field.LostNodes = field.UnreadyNodes
			case 1:
				field.UnseenNodes = field.UnreadyNodes
			}
		}
		h.change(func(s *kube.Snapshot) { s.Endpoints = s.Endpoints.With(service, field) })
	case 7:
		o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: "InternalIP", Address: rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "node address")}},
			Conditions: []corev1.NodeCondition{{Type: "Ready", Status: rapid.SampledFrom([]corev1.ConditionStatus{"True", "Unknown"}).Draw(t, "ready")}},
		}}
		h.change(func(s *kube.Snapshot) { s.Nodes = s.Nodes.With(node, o) })
	case 8:
		h.change(func(s *kube.Snapshot) { s.Nodes = s.Nodes.Without(node) })
	case 9:
		uid := types.UID(fmt.Sprintf("uid-%s-%s-1", key.Namespace, key.Name))
		h.in.Programmed.Owners = with(h.in.Programmed.Owners, uid, rapid.Bool().Draw(t, "programmed"))
	case 11:
		secret := types.NamespacedName{Namespace: key.Namespace, Name: rapid.SampledFrom([]string{"cert", "other"}).Draw(t, "of secret")}
		o := secretOf(secret, rapid.SampledFrom([]string{"good", "good", "bad"}).Draw(t, "quality"))
		h.change(func(s *kube.Snapshot) { s.Secrets = s.Secrets.With(secret, o) })
	case 12:
		secret := types.NamespacedName{Namespace: key.Namespace, Name: rapid.SampledFrom([]string{"cert", "other"}).Draw(t, "of secret")}
		h.change(func(s *kube.Snapshot) { s.Secrets = s.Secrets.Without(secret) })
	case 16:
		pool := "k8s_" + service.Namespace + "_" + key.Name + "_" + service.Name + "_80"
		there := rapid.SampledFrom([][]string{{}, {"192.0.2.1:30000"}, {"192.0.2.1:30000", "192.0.2.2:30000"}}).Draw(t, "nodes there")
		h.in.Programmed.Owned = with(h.in.Programmed.Owned, vtm.ID{Type: vtm.Pools, Name: pool}, poolOf(pool, there))
	case 15:
		place := rapid.SampledFrom([]string{"k8s_10.0.0.1_80_routes-", "k8s_10.0.0.1_443_routes-", "k8s_group-front_80_routes-", "k8s_10.0.0.2_81_routes-"}).Draw(t, "libraries of")
		h.in.Programmed.Libraries = with(h.in.Programmed.Libraries, place, rapid.Bool().Draw(t, "libraries there"))
	case 17:
		id := rapid.SampledFrom([]vtm.ID{
			{Type: vtm.TrafficIPGroups, Name: "k8s_10.0.0.1_group"}, {Type: vtm.TrafficIPGroups, Name: "k8s_10.0.0.2_group"},
			{Type: vtm.VirtualServers, Name: "k8s_10.0.0.1_80_http"}, {Type: vtm.VirtualServers, Name: "k8s_10.0.0.1_81_http"}, {Type: vtm.VirtualServers, Name: "k8s_group-front_81_http"},
		}).Draw(t, "of ours there")
		if rapid.Bool().Draw(t, "it is there") {
			h.in.Programmed.Owned = with(h.in.Programmed.Owned, id, vtm.New(id.Type, id.Name, nil))
		} else {
			h.in.Programmed.Owned = with(h.in.Programmed.Owned, id, nil)
		}
	case 14:
		h.in.ACME = drawACME(t)
	case 13:
		name := rapid.SampledFrom([]string{"k8s_self-signed", "k8s_a_cert_key", "k8s_b_other_key"}).Draw(t, "key there")
		there := vtm.New(vtm.ServerKeys, name, vtm.Properties{"basic": {"public": "as it is", "private": "its hash", "note": "vtm-ingress/1 id=k8s cluster=cluster-uid owner=Secret/a/cert uid=s"}})
		h.in.Programmed.Keys = with(h.in.Programmed.Keys, name, there)
	case 10:
		switch rapid.IntRange(0, 3).Draw(t, "world") {
		case 0:
			settings := *config.Default()
			settings.DefaultTrafficIPGroup = rapid.SampledFrom([]string{"", "front"}).Draw(t, "default group")
			settings.DefaultCertificate = rapid.SampledFrom([]string{"", "a/cert"}).Draw(t, "default certificate")
			settings.DefaultSSLRedirect = rapid.Bool().Draw(t, "default redirect")
			settings.VTMEnableTrafficScript = rapid.Bool().Draw(t, "TrafficScript")
			if seldom(t, "hosts allowed") {
				settings.AllowedHosts = []config.AllowedHosts{{Namespace: "a", Domain: "example.com"}}
			}
			if seldom(t, "addresses allowed") {
				settings.AllowedAddresses = []config.AllowedAddresses{{Namespace: "b", Network: netip.MustParsePrefix("10.0.0.1/32")}}
			}
			if seldom(t, "TrafficScript for some") {
				settings.TrafficScriptNamespaces = []string{"b"}
			}
			h.in.Settings = issuing(settings)
		case 1:
			h.in.Appliance.Groups = map[string]translate.Group{"front": {Addresses: []netip.Addr{netip.MustParseAddr(
				rapid.SampledFrom([]string{"10.0.0.1", "10.0.9.1"}).Draw(t, "group address"))}}}
			if other := rapid.SampledFrom([]string{"", "a", "z"}).Draw(t, "another controller"); other != "" {
				h.in.Appliance.Groups[other+"_10.0.0.2_group"] = translate.Group{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Controller: other}
			}
		case 2:
			h.in.Appliance.Servers = nil
			if rapid.Bool().Draw(t, "none of theirs") {
				return
			}
			h.in.Appliance.Servers = map[string]translate.Server{"theirs": {Any: true, Port: rapid.SampledFrom([]int{80, 81, 82}).Draw(t, "their port")}}
		case 3:
			h.in.Appliance.Members = rapid.SampledFrom([][]string{{"vtm-1"}, {"vtm-1", "vtm-2"}}).Draw(t, "members")
		}
	}
}

// A Translator remembers only to be quick: after any history a fresh one gives
// the same, what did not change has kept its identity, and Changes is the rest.
func TestMemoryChangesNothing(t *testing.T) { memoryChangesNothing(t, translate.New) }

// The same where two Ingresses, or three routes, are more than a handful.
func TestMemoryOfLibrariesChangesNothing(t *testing.T) {
	memoryChangesNothing(t, func() *translate.Translator { return translate.NewOfHandful(2, 3) })
}

func memoryChangesNothing(t *testing.T, translator func() *translate.Translator) {
	rapid.Check(t, func(t *rapid.T) {
		h, warm := newHistory(), translator()
		last := held(warm.Translate(h.in))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			h.step(t)
			got := warm.Translate(h.in)
			want := translator().Translate(h.in)
			if !equal(want, got) {
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
			nothingForbidden(t, h.in, got)
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

// Who names no host any more is disputed none: found by TestMemoryChangesNothing.
func TestAHostThatIsNamedNoMoreIsDisputedNoMore(t *testing.T) {
	h, warm := newHistory(), translate.New()
	apply := func(namespace string, created int64, tls networkingv1.IngressTLS) {
		key := types.NamespacedName{Namespace: namespace, Name: "web"}
		o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "web", UID: types.UID("uid-" + namespace), CreationTimestamp: metav1.NewTime(time.Unix(created, 0)),
			Annotations: map[string]string{
				"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/shared-ip-address": "10.0.0.1", "vtm.pulsesecure.net/use-lets-encrypt": "true",
			},
		}}
		o.Spec.TLS = []networkingv1.IngressTLS{tls}
		o.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s1", Port: networkingv1.ServiceBackendPort{Number: 80}}}
		h.change(func(s *kube.Snapshot) { s.Ingresses = s.Ingresses.With(key, o) })
	}
	refused := func() bool {
		verdict := warm.Translate(h.in).Verdicts[types.NamespacedName{Namespace: "b", Name: "web"}]
		return slices.ContainsFunc(verdict.Reasons, func(r translate.Reason) bool { return r.Code == "CertificateRefused" })
	}
	apply("a", 1, networkingv1.IngressTLS{SecretName: "cert", Hosts: []string{"a.example.com"}})
	apply("b", 2, networkingv1.IngressTLS{SecretName: "cert", Hosts: []string{"a.example.com"}})
	if !refused() {
		t.Error("a host that an older Ingress of another namespace names is not disputed")
	}
	apply("b", 2, networkingv1.IngressTLS{SecretName: "cert"})
	if refused() {
		t.Error("a host that it names no more is disputed")
	}
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
		if to.Type == vtm.Rules {
			for _, line := range strings.Split(string(r.Desired[to].Content), "\n") {
				if rest, ok := strings.CutPrefix(line, `import "`); ok {
					name, _, _ := strings.Cut(rest, `"`)
					if r.Desired[vtm.ID{Type: vtm.Rules, Name: name}] == nil {
						t.Fatalf("%s imports %s, which is not desired", to, name)
					}
				}
			}
		}
		theirs := to.Name == "discard" || to.Type == vtm.TrafficIPGroups && !strings.HasPrefix(to.Name, "k8s_")
		if !theirs && r.Desired[to] == nil {
			t.Fatalf("%s refers to %s, which is not desired", from, to)
		}
	}
	for id, resource := range r.Desired {
		// Of a listener's libraries, some hold no routes; a Secret's key needs no user.
		if resource.ID != id || !needed[id] && id.Type != vtm.ServerKeys && !strings.Contains(id.Name, "_routes-") {
			t.Fatalf("%s (under %s) is needed by no Ingress", resource.ID, id)
		}
		if mark, ok := resource.Mark(); !ok || mark.Kind == "Ingress" && !owners[mark.UID] {
			t.Fatalf("%s has mark %+v", id, mark)
		}
		if id.Type == vtm.VirtualServers {
			basic, ssl := resource.Properties()["basic"], resource.Properties()["ssl"]
			exists(id, vtm.ID{Type: vtm.Pools, Name: basic["pool"].(string)})
			for _, rule := range basic["request_rules"].([]any) {
				exists(id, vtm.ID{Type: vtm.Rules, Name: rule.(string)})
			}
			if name, ok := ssl["server_cert_default"]; ok {
				exists(id, vtm.ID{Type: vtm.ServerKeys, Name: name.(string)})
			}
			if rows, ok := ssl["server_cert_host_mapping"].([]any); ok {
				for _, row := range rows {
					exists(id, vtm.ID{Type: vtm.ServerKeys, Name: row.(map[string]any)["certificate"].(string)})
				}
			}
			for _, group := range basic["listen_on_traffic_ips"].([]any) {
				exists(id, vtm.ID{Type: vtm.TrafficIPGroups, Name: group.(string)})
			}
		}
	}
}

// An Ingress that can't be programmed changes nothing for the others, whatever
// they are. Certificates that are issued are apart: to name a host is enough to keep
// other namespaces from getting one for it.
func TestARejectedIngressChangesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			h.step(t)
		}
		for _, ingress := range h.in.Snapshot.Ingresses.All() {
			delete(ingress.Annotations, "vtm.pulsesecure.net/use-lets-encrypt")
		}
		result := translate.New().Translate(h.in)
		for key, v := range result.Verdicts {
			if v.Outcome != translate.Rejected {
				continue
			}
			less := h.in
			s := *h.in.Snapshot
			s.Ingresses = s.Ingresses.Without(key)
			less.Snapshot = &s
			again := translate.New().Translate(less)
			again.Verdicts[key] = v
			if !equal(result, again) {
				t.Fatalf("with %s:\n%s%s\nwithout:\n%s%s", key, printDesired(result), printVerdicts(result), printDesired(again), printVerdicts(again))
			}
		}
	})
}

// nothingForbidden checks, Ingress by Ingress and pair by pair, that no two are
// served that exclude each other (specification, IP Address Support), in words of
// their own.
func nothingForbidden(t *rapid.T, in translate.Input, r *translate.Result) {
	type served struct {
		name                           string
		o                              *networkingv1.Ingress
		dedicated, annotated           bool // has an address of its own; by an annotation
		at, port                       string
		tls, redirect, script, through bool
		issued                         bool
	}
	var all []served
	for key, v := range r.Verdicts {
		if v.Outcome == translate.Rejected {
			continue
		}
		o := in.Snapshot.Ingresses.Get(key)
		s := served{name: key.String(), o: o, tls: len(o.Spec.TLS) > 0, at: fmt.Sprint(v.Addresses[0].IP), port: o.Annotations["vtm.pulsesecure.net/port"]}
		_, s.dedicated = o.Annotations["vtm.pulsesecure.net/ip-address"]
		_, shared := o.Annotations["vtm.pulsesecure.net/shared-ip-address"]
		s.annotated = s.dedicated || shared
		if s.port == "" {
			s.port = map[bool]string{false: "80", true: "443"}[s.tls]
		}
		s.redirect = s.tls && o.Annotations["ingress.kubernetes.io/ssl-redirect"] == "true"
		s.issued = o.Annotations["vtm.pulsesecure.net/use-lets-encrypt"] == "true"
		_, s.script = o.Annotations["vtm.pulsesecure.net/request-trafficscript"]
		may, _ := in.Settings.MayScript(key.Namespace)
		s.script = s.script && may
		s.through = o.Annotations["ingress.kubernetes.io/ssl-passthrough"] == "true"
		if shared && (s.script || s.through || s.redirect && s.port != "443") {
			t.Fatalf("%s is served on a shared address with what it can't have there", key)
		}
		if !may && r.Desired[vtm.ID{Type: vtm.Rules, Name: "k8s_" + key.Namespace + "_" + key.Name + "_request"}] != nil {
			t.Fatalf("%s runs TrafficScript, which the settings forbid", key)
		}
		for name, group := range in.Appliance.Groups {
			ours := in.Programmed.Owned[vtm.ID{Type: vtm.TrafficIPGroups, Name: "k8s_" + s.at + "_group"}] != nil
			if s.dedicated && v.Addresses[0].IP == group.Addresses[0] && (!ours || group.Controller == "a") {
				t.Fatalf("%s has an address of its own that group %s of others has", key, name)
			}
		}
		if theirs, ok := in.Appliance.Servers["theirs"]; ok {
			for _, id := range v.Resources {
				if id.Type == vtm.VirtualServers && strings.HasSuffix(id.Name, fmt.Sprintf("_%d_http", theirs.Port)) && in.Programmed.Owned[id] == nil {
					t.Fatalf("%s comes to port %d, on which a virtual server of others listens at all addresses", key, theirs.Port)
				}
			}
		}
		for _, e := range in.Settings.AllowedHosts {
			for _, rule := range o.Spec.Rules {
				if key.Namespace != e.Namespace && strings.HasSuffix(rule.Host, "."+e.Domain) {
					t.Fatalf("%s is served for %s, which is for namespace %s alone", key, rule.Host, e.Namespace)
				}
			}
		}
		for _, e := range in.Settings.AllowedAddresses {
			if key.Namespace != e.Namespace && (s.dedicated || shared) && e.Network.Contains(v.Addresses[0].IP) {
				t.Fatalf("%s is served at %s, which is for namespace %s alone", key, v.Addresses[0].IP, e.Namespace)
			}
		}
		for _, node := range in.Snapshot.Nodes.All() {
			if (s.dedicated || shared) && node.Status.Addresses[0].Address == s.at {
				t.Fatalf("%s is served at a node's address", key)
			}
		}
		if s.redirect && !slices.Contains(v.Addresses[0].Ports, 80) {
			t.Fatalf("%s is served without the redirect that it asks for", key)
		}
		all = append(all, s)
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.at != b.at || a.annotated != b.annotated && in.Programmed.Owned[vtm.ID{Type: vtm.TrafficIPGroups, Name: "k8s_" + a.at + "_group"}] != nil {
				continue // the second: an address that ours had was put into the default group
			}
			clash := a.dedicated || b.dedicated ||
				a.redirect && b.port == "80" || b.redirect && a.port == "80" ||
				a.issued && b.port == "80" || b.issued && a.port == "80"
			if a.port == b.port {
				clash = clash || a.tls != b.tls || a.script || b.script || a.through || b.through ||
					a.o.Namespace != b.o.Namespace && shownFor(in, a.o, "a.example.com") && shownFor(in, b.o, "a.example.com")
			}
			if clash {
				t.Fatalf("%s and %s are both served at %s: %+v, %+v", a.name, b.name, a.at, a.o, b.o)
			}
		}
	}
}

// shownFor reports whether an Ingress names a Secret for a host, and there is a good
// one: a certificate that is still to come, or is gone, is shown to nobody.
func shownFor(in translate.Input, o *networkingv1.Ingress, host string) bool {
	return slices.ContainsFunc(o.Spec.TLS, func(entry networkingv1.IngressTLS) bool {
		secret := in.Snapshot.Secrets.Get(types.NamespacedName{Namespace: o.Namespace, Name: entry.SecretName})
		if secret == nil || !slices.Contains(entry.Hosts, host) {
			return false
		}
		_, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		return err == nil
	})
}

// goodPair is read from the golden case of TLS.
var goodPair = sync.OnceValue(func() *corev1.Secret {
	archive, err := txtar.ParseFile("testdata/tls.txtar")
	if err != nil {
		panic(err)
	}
	for _, file := range archive.Files {
		for _, text := range strings.Split(string(file.Data), "\n---\n") {
			var o corev1.Secret
			if yaml.Unmarshal([]byte(text), &o) == nil && o.Kind == "Secret" && o.Name == "one" {
				return &o
			}
		}
	}
	panic("no Secret one in testdata/tls.txtar")
})

func secretOf(name types.NamespacedName, quality string) *corev1.Secret {
	o := goodPair().DeepCopy()
	o.Namespace, o.Name, o.UID = name.Namespace, name.Name, types.UID("uid-"+name.Name)
	if quality == "bad" {
		o.Data["tls.key"] = []byte("none")
	}
	return o
}

// What an older Ingress covers is told to the younger ones whose objects did not
// change, and told no more when it goes.
func TestWhatAnotherIngressCoversIsToldWhenItComesAndGoes(t *testing.T) {
	for _, host := range []string{"*.example.com", "", "app-1.example.com"} {
		in := crowd(40)
		for _, o := range in.Snapshot.Ingresses.All() {
			o.Annotations = map[string]string{"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/shared-ip-address": "10.0.0.1"}
			o.CreationTimestamp = metav1.NewTime(o.CreationTimestamp.Add(time.Hour))
		}
		old := in.Snapshot.Ingresses.Get(types.NamespacedName{Namespace: "team-0", Name: "app-0"}).DeepCopy()
		old.Name, old.UID, old.CreationTimestamp = "old", "uid-old", metav1.NewTime(time.Unix(1, 0))
		old.Spec.Rules[0].Host = host
		key := types.NamespacedName{Namespace: "team-0", Name: "old"}
		with, without := in, in
		s := *in.Snapshot
		s.Ingresses = s.Ingresses.With(key, old)
		with.Snapshot = &s
		warm := translate.New()
		warned := func(in translate.Input) (n int) {
			for _, v := range warm.Translate(in).Verdicts {
				if slices.ContainsFunc(v.Reasons, func(r translate.Reason) bool {
					return r.Code == "UnreachableRule" && strings.Contains(r.Message, "team-0/old")
				}) {
					n++
				}
			}
			return n
		}
		want := map[string]int{"*.example.com": 40, "": 40, "app-1.example.com": 1}[host]
		for _, step := range []struct {
			in   translate.Input
			want int
		}{{without, 0}, {with, want}, {without, 0}} {
			if got := warned(step.in); got != step.want {
				t.Errorf("host %q: %d Ingresses are warned of it, want %d", host, got, step.want)
			}
		}
	}
}

// Routes that stand in libraries on the traffic manager stay there until they are half
// of a handful; without, one rule holds them until they are more than a handful.
func TestAListenerAtTheEdgeOfAHandfulStaysAsItIs(t *testing.T) {
	const place = "k8s_10.0.0.1_80_routes-"
	for _, c := range []struct {
		shares        int
		already, want bool
	}{{16, true, false}, {17, true, true}, {32, true, true}, {17, false, false}, {32, false, false}, {33, false, true}} {
		in := crowd(c.shares)
		for _, o := range in.Snapshot.Ingresses.All() {
			o.Annotations = map[string]string{"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/shared-ip-address": "10.0.0.1"}
		}
		in.Programmed.Libraries = map[string]bool{place: c.already}
		_, got := translate.New().Translate(in).Desired[vtm.ID{Type: vtm.Rules, Name: place + "0"}]
		if got != c.want {
			t.Errorf("%d Ingresses, in libraries before: %v: in libraries now: %v, want %v", c.shares, c.already, got, c.want)
		}
	}
}
