package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/sim/trafficscript"
)

// literals of a rule as they are emitted, and comments to the end of their line.
var literals = regexp.MustCompile(`"(\\.|[^"\\])*"|'[^'\n]*'|#[^\n]*`)

// vocabulary is all that an emitted rule holds besides literals, comments and digits.
var vocabulary = func() map[string]bool {
	words := map[string]bool{}
	for _, word := range strings.Fields(`if else return sub import as use find rest routes name key path go rank other wildcard
		host domain dot begin http string pool normalizePath getPath getRawURL getHostHeader sendResponse redirect
		regexmatch startsWith wildmatch find skip lowercase hexencode hashMD`) {
		words[word] = true
	}
	return words
}()

// onlyOurs checks that a rule compiles, and that what users wrote stands in its literals
// and comments alone: the rest are words of ours.
func onlyOurs(t *testing.T, r *translate.Result, rule *vtm.Resource) {
	t.Helper()
	_, diagnostics := trafficscript.Compile(rule.Name, string(rule.Content), func(library string) (string, bool) {
		imported := r.Desired[vtm.ID{Type: vtm.Rules, Name: library}]
		if imported == nil {
			return "", false
		}
		return string(imported.Content), true
	})
	if len(diagnostics) > 0 {
		t.Errorf("%s: %v in\n%s", rule.Name, diagnostics, rule.Content)
	}
	rest := literals.ReplaceAllString(string(rule.Content), " ")
	for _, word := range regexp.MustCompile(`[A-Za-z0-9_]+|[^\sA-Za-z0-9_$.(){};,=<>!&|]`).FindAllString(rest, -1) {
		if word = strings.TrimRight(word, "0123456789"); word != "" && !vocabulary[word] {
			t.Errorf("%s: %q is not ours in\n%s", rule.Name, word, rule.Content)
		}
	}
	for _, c := range rule.Content {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Errorf("%s holds byte %#x", rule.Name, c)
		}
	}
}

// hostile are texts that try to become code.
var hostile = []string{
	"/\"; pool.use(\"theirs\"); \"", "/\\\"; http.redirect(\"https://evil\"); #", "/\n}\npool.use('theirs');", "/# no comment", "/a\x00b",
	"/\xff\xfe", "/$path", "/${path}", "/'", "/\\", "/\\012", "/*\"); evil(); (\"", "/" + strings.Repeat("long/", 13000), "/\r\n", "/é\u2028",
}

func hostileIngress(n int, address, host, path string) *networkingv1.Ingress {
	kind := []networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific}[n%3]
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: fmt.Sprint("i", n), UID: types.UID(fmt.Sprint("u", n)), CreationTimestamp: metav1.NewTime(time.Unix(int64(n), 0)),
			Annotations: map[string]string{"kubernetes.io/ingress.class": "vtm", address: "10.0.0.1"},
		},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: backendOf("s1")}}},
		}}}},
	}
}

func backendOf(service string) networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

// aCluster has a Service ns/s1 that works.
func aCluster(settings config.Settings) translate.Input {
	service := types.NamespacedName{Namespace: "ns", Name: "s1"}
	return translate.Input{
		Settings:   &settings,
		Appliance:  translate.Appliance{Members: []string{"vtm-1"}},
		SelfSigned: &translate.KeyPair{Certificate: []byte("self-signed"), PrivateKey: []byte("its key")},
		Snapshot: &kube.Snapshot{
			ClusterUID: "cluster-uid",
			Services: kube.NewTable(map[types.NamespacedName]*kube.Service{service: {
				Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}},
			}}),
			Nodes: kube.NewTable(map[string]*corev1.Node{"n1": {Status: corev1.NodeStatus{
				Addresses:  []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}},
				Conditions: []corev1.NodeCondition{{Type: "Ready", Status: "True"}},
			}}}),
		},
	}
}

func add(in *translate.Input, o *networkingv1.Ingress) {
	in.Snapshot.Ingresses = in.Snapshot.Ingresses.With(types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, o)
}

// allOurs checks every rule that is no user's own.
func allOurs(t *testing.T, r *translate.Result) (checked int) {
	t.Helper()
	for id, resource := range r.Desired {
		if id.Type == vtm.Rules && !strings.HasSuffix(id.Name, "_request") && !strings.HasSuffix(id.Name, "_response") {
			onlyOurs(t, r, resource)
			checked++
		}
	}
	return checked
}

// TestHostsAndPathsNeverBecomeCode tries them in the one rule of a handful, and in the
// rule libraries of more.
func TestHostsAndPathsNeverBecomeCode(t *testing.T) {
	for _, many := range []int{0, 40} {
		in := aCluster(*config.Default())
		served := 0
		for n, text := range hostile {
			add(&in, hostileIngress(n, "vtm.pulsesecure.net/shared-ip-address", "", text))
			// As a host, too: none of them is one, and the API server would not let it in.
			add(&in, hostileIngress(100+n, "vtm.pulsesecure.net/shared-ip-address", strings.TrimPrefix(text, "/"), "/"))
		}
		for n := range many {
			add(&in, hostileIngress(1000+n, "vtm.pulsesecure.net/shared-ip-address", fmt.Sprintf("h%d.example", n), "/"))
		}
		r := translate.New().Translate(in)
		if allOurs(t, r) == 0 {
			t.Error("no rule was made")
		}
		for name, o := range in.Snapshot.Ingresses.All() {
			v := r.Verdicts[name]
			if v == nil {
				t.Errorf("%s has no verdict", name)
				continue
			}
			if v.Outcome != translate.Rejected {
				served++
			}
			if host := o.Spec.Rules[0].Host; host != "" && !strings.HasSuffix(host, ".example") && (v.Outcome != translate.Rejected || v.Reasons[0].Code != "InvalidHost") {
				t.Errorf("host %.50q: %+v", host, v)
			}
		}
		if served < len(hostile)/2+many {
			t.Errorf("%d are served: the paths were not tried", served)
		}
	}
}

// TestBadInputIsToldAndNeverFatal has a good Ingress beside each kind of bad ones.
func TestBadInputIsToldAndNeverFatal(t *testing.T) {
	settings := *config.Default()
	settings.VTMEnableCustomizations = true
	good := func() (translate.Input, types.NamespacedName) {
		in := aCluster(settings)
		o := hostileIngress(0, "vtm.pulsesecure.net/ip-address", "good.example", "/")
		o.Annotations["vtm.pulsesecure.net/ip-address"] = "10.0.0.9"
		add(&in, o)
		return in, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	}
	for _, c := range []struct {
		name    string
		change  func(in *translate.Input)
		refused int    // at least so many are
		code    string // for this reason
		served  int    // so many are
	}{
		{"an annotation of 256 KB that is no JSON", func(in *translate.Input) {
			o := hostileIngress(1, "vtm.pulsesecure.net/ip-address", "a.example", "/")
			o.Annotations["vtm.pulsesecure.net/monitor"] = strings.Repeat("[", 256<<10)
			add(in, o)
		}, 1, "InvalidAnnotation", 1},
		{"an annotation of 256 KB that is JSON", func(in *translate.Input) {
			o := hostileIngress(1, "vtm.pulsesecure.net/ip-address", "a.example", "/")
			var b bytes.Buffer
			for i := range 10_000 {
				fmt.Fprintf(&b, `,"key%d":"%d"`, i, i)
			}
			o.Annotations["vtm.pulsesecure.net/pool-customization"] = `{"properties":{"basic":{` + b.String()[1:] + `}}}`
			add(in, o)
		}, 1, "InvalidAnnotation", 1},
		{"10,000 rules in one Ingress", func(in *translate.Input) {
			o := hostileIngress(1, "vtm.pulsesecure.net/ip-address", "a.example", "/")
			for i := range 10_000 {
				rule := o.Spec.Rules[0].DeepCopy()
				rule.Host = fmt.Sprintf("h%d.example", i)
				o.Spec.Rules = append(o.Spec.Rules, *rule)
			}
			add(in, o)
		}, 0, "", 2},
		{"10,000 rules without anything", func(in *translate.Input) {
			o := hostileIngress(1, "vtm.pulsesecure.net/ip-address", "a.example", "/")
			o.Spec.Rules = make([]networkingv1.IngressRule, 10_000)
			add(in, o)
		}, 1, "NoBackends", 1},
		{"a thousand Ingresses for one address", func(in *translate.Input) {
			for i := range 1000 {
				add(in, hostileIngress(1+i, "vtm.pulsesecure.net/ip-address", "a.example", "/"))
			}
		}, 999, "AddressConflict", 2},
		{"keys that can't be used", func(in *translate.Input) {
			for i, key := range []string{"", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
				"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFLTBXBgkq\n-----END ENCRYPTED PRIVATE KEY-----\n",
				"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", strings.Repeat("x", 1<<20)} {
				name := types.NamespacedName{Namespace: "ns", Name: fmt.Sprint("cert", i)}
				in.Snapshot.Secrets = in.Snapshot.Secrets.With(name, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name.Name, UID: types.UID(name.Name)}, Type: corev1.SecretTypeTLS,
					Data: map[string][]byte{"tls.crt": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "tls.key": []byte(key)},
				})
				o := hostileIngress(1+i, "vtm.pulsesecure.net/ip-address", "a.example", "/")
				o.Spec.TLS = []networkingv1.IngressTLS{{SecretName: name.Name}}
				add(in, o)
			}
		}, 6, "InvalidSecret", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, first := good()
			c.change(&in)
			r := translate.New().Translate(in)
			allOurs(t, r)
			refused, served := 0, 0
			for name := range in.Snapshot.Ingresses.All() {
				v := r.Verdicts[name]
				switch {
				case v == nil:
					t.Errorf("%s has no verdict", name)
				case v.Outcome != translate.Rejected:
					served++
				case v.Reasons[0].Code == c.code:
					refused++
				default:
					t.Errorf("%s: %+v", name, v.Reasons)
				}
				for _, reason := range v.Reasons {
					if len(reason.Message) > 1000 {
						t.Errorf("%s is told %d bytes", name, len(reason.Message))
					}
				}
			}
			if refused < c.refused || served != c.served || r.Verdicts[first].Outcome != translate.Complete {
				t.Errorf("%d refused, %d served; the good one: %+v", refused, served, r.Verdicts[first])
			}
		})
	}
}

// FuzzEmittedRules puts any Ingress beside a good one: every rule compiles, nothing of
// the Ingress stands outside of literals and comments.
func FuzzEmittedRules(f *testing.F) {
	for n, text := range hostile {
		if len(text) > 1000 {
			continue
		}
		body, err := json.Marshal(hostileIngress(n, "vtm.pulsesecure.net/shared-ip-address", "a.example", text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, n%2 == 0)
	}
	f.Fuzz(func(t *testing.T, body []byte, crowded bool) {
		var o networkingv1.Ingress
		if json.Unmarshal(body, &o) != nil {
			return
		}
		in := aCluster(*config.Default())
		add(&in, hostileIngress(1, "vtm.pulsesecure.net/shared-ip-address", "good.example", "/"))
		if crowded {
			for n := range 40 {
				add(&in, hostileIngress(10+n, "vtm.pulsesecure.net/shared-ip-address", fmt.Sprintf("h%d.example", n), "/"))
			}
		}
		add(&in, &o)
		r := translate.New().Translate(in)
		allOurs(t, r)
		if v := r.Verdicts[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}]; v == nil && o.Annotations["kubernetes.io/ingress.class"] == "vtm" && o.Spec.IngressClassName == nil {
			t.Error("no verdict")
		}
	})
}
