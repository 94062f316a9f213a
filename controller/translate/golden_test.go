package translate_test

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// Each case of testdata is a txtar archive:
//
//	(comment)      what the case shows
//	manifests      Kubernetes objects, separated by ---
//	endpoints      optional, YAML: namespace/service -> kube.Endpoints
//	settings       optional, YAML of config.Settings' fields
//	appliance      optional, YAML of caseAppliance
//	issuing        optional, YAML of how far certificates are
//	desired        expected resources
//	verdicts       expected verdicts
func TestGoldenCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := readCase(t, archive)
			result := translate.New().Translate(in)
			got := map[string]string{"desired": printDesired(result), "verdicts": printVerdicts(result)}
			for name, text := range got {
				i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
				if i < 0 {
					archive.Files = append(archive.Files, txtar.File{Name: name})
					i = len(archive.Files) - 1
				}
				if *update {
					archive.Files[i].Data = []byte(text)
				} else if diff := cmp.Diff(string(archive.Files[i].Data), text); diff != "" {
					t.Errorf("%s (-want +got; -update rewrites):\n%s", name, diff)
				}
			}
			if *update {
				slices.SortStableFunc(archive.Files, func(a, b txtar.File) int { return order[a.Name] - order[b.Name] })
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			t.Run("is in normal form", func(t *testing.T) {
				for id, r := range result.Desired {
					if normal := vtm.New(id.Type, id.Name, r.Properties()); !id.Type.IsFile() && !vtm.Equal(r, normal) {
						t.Errorf("%s is\n%v, in normal form\n%v", id, r.Properties(), normal.Properties())
					}
				}
			})
			t.Run("is the same in any order", func(t *testing.T) {
				for seed := range uint64(5) {
					again := translate.New().Translate(shuffled(in, seed))
					sameResult(t, result, again)
				}
			})
			t.Run("a broken Ingress more changes nothing else", func(t *testing.T) {
				for _, broken := range brokenIngresses() {
					more := in
					more.Snapshot = withIngress(in.Snapshot, broken)
					key := types.NamespacedName{Namespace: broken.Namespace, Name: broken.Name}
					again := translate.New().Translate(more)
					if v := again.Verdicts[key]; v == nil || v.Outcome != translate.Rejected || len(v.Reasons) == 0 {
						t.Errorf("%s: verdict %+v, want Rejected with reasons", broken.Name, v)
					}
					delete(again.Verdicts, key)
					sameResult(t, result, again)
				}
			})
			t.Run("a warm memory changes nothing", func(t *testing.T) {
				warm := translate.New()
				for i, step := range histories(in) {
					if want, got := translate.New().Translate(step), warm.Translate(step); !equal(want, got) {
						t.Errorf("step %d:", i)
						sameResult(t, want, got)
					}
				}
				sameResult(t, result, warm.Translate(in))
				if again := warm.Translate(in); again != warm.Translate(in) {
					t.Error("the same input twice gives another Result")
				}
			})
		})
	}
}

var order = map[string]int{"manifests": 0, "endpoints": 1, "settings": 2, "appliance": 3, "desired": 4, "verdicts": 5}

type caseAppliance struct {
	Members    []string
	Groups     map[string][]string // name -> addresses
	Makers     map[string]string   // name of a group -> controller_id
	Servers    map[string]translate.Server
	Owned      []string // "traffic_ip_groups/name" or "virtual_servers/name"
	Programmed []types.UID
	Keys       []string            // names of server keys
	Pools      map[string][]string // name -> nodes
}

func readCase(t *testing.T, archive *txtar.Archive) translate.Input {
	t.Helper()
	settings := *config.Default()
	in := translate.Input{
		Snapshot: emptySnapshot(), Settings: &settings,
		Appliance: translate.Appliance{
			Members: []string{"vtm-1.example.com", "vtm-2.example.com"},
			Groups:  map[string]translate.Group{}, Servers: map[string]translate.Server{},
		},
		Programmed: translate.Programmed{Owners: map[types.UID]bool{}},
		SelfSigned: &translate.KeyPair{Certificate: []byte("self-signed"), PrivateKey: []byte("its key")},
	}
	for _, file := range archive.Files {
		switch file.Name {
		case "manifests":
			for i, text := range strings.Split(string(file.Data), "\n---\n") {
				addObject(t, in.Snapshot, text, i)
			}
		case "endpoints":
			var byName map[string]*kube.Endpoints
			mustYAML(t, file.Data, &byName)
			for name, endpoints := range byName {
				namespace, service, _ := strings.Cut(name, "/")
				in.Snapshot.Endpoints = in.Snapshot.Endpoints.With(types.NamespacedName{Namespace: namespace, Name: service}, endpoints)
			}
		case "settings":
			mustYAML(t, file.Data, &settings)
		case "appliance":
			var a caseAppliance
			mustYAML(t, file.Data, &a)
			if a.Members != nil {
				in.Appliance.Members = a.Members
			}
			for name, addresses := range a.Groups {
				group := translate.Group{Controller: a.Makers[name]}
				for _, address := range addresses {
					group.Addresses = append(group.Addresses, netip.MustParseAddr(address))
				}
				in.Appliance.Groups[name] = group
			}
			maps.Copy(in.Appliance.Servers, a.Servers)
			for _, uid := range a.Programmed {
				in.Programmed.Owners[uid] = true
			}
			in.Programmed.Owned = map[vtm.ID]*vtm.Resource{}
			for _, text := range a.Owned {
				kind, name, _ := strings.Cut(text, "/")
				r := vtm.New(vtm.Type(kind), name, nil)
				in.Programmed.Owned[r.ID] = r
			}
			in.Programmed.Keys = map[string]*vtm.Resource{}
			for _, name := range a.Keys {
				in.Programmed.Keys[name] = vtm.New(vtm.ServerKeys, name, vtm.Properties{"basic": {"public": "as it is", "private": "its hash"}})
			}
			for name, nodes := range a.Pools {
				r := poolOf(name, nodes)
				in.Programmed.Owned[r.ID] = r
			}
		case "issuing":
			in.ACME = howFar(t, file.Data)
		case "desired", "verdicts":
		default:
			t.Fatalf("unknown part %q", file.Name)
		}
	}
	return in
}

// poolOf is a pool with these nodes.
func poolOf(name string, nodes []string) *vtm.Resource {
	rows := []any{}
	for _, node := range nodes {
		rows = append(rows, map[string]any{"node": node, "weight": int64(1)})
	}
	return vtm.New(vtm.Pools, name, vtm.Properties{"basic": {"nodes_table": rows}})
}

// howFar reads how far certificates are; Secrets are named namespace/name.
func howFar(t *testing.T, data []byte) *translate.ACME {
	t.Helper()
	var is struct {
		Challenges []translate.Challenge
		States     map[string]translate.CertificateState
		Ending     map[string]time.Time
	}
	mustYAML(t, data, &is)
	acme := &translate.ACME{
		Challenges: is.Challenges,
		States:     map[types.NamespacedName]translate.CertificateState{}, Ending: map[types.NamespacedName]time.Time{},
	}
	secret := func(text string) types.NamespacedName {
		namespace, name, _ := strings.Cut(text, "/")
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	for name, state := range is.States {
		acme.States[secret(name)] = state
	}
	for name, end := range is.Ending {
		acme.Ending[secret(name)] = end
	}
	return acme
}

func mustYAML(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatal(err)
	}
}

func emptySnapshot() *kube.Snapshot {
	return &kube.Snapshot{
		ClusterUID: "cluster-uid",
	}
}

// addObject adds the i-th manifest. What a case leaves out is given: UIDs from
// the name, creation times from the order, and one second apart.
func addObject(t *testing.T, s *kube.Snapshot, text string, i int) {
	t.Helper()
	var meta struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: meta.Namespace, Name: meta.Name}
	switch meta.Kind {
	case "Ingress":
		o := new(networkingv1.Ingress)
		mustYAML(t, []byte(text), o)
		if o.UID == "" {
			o.UID = types.UID("uid-" + o.Name)
		}
		if o.CreationTimestamp.IsZero() {
			o.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000+i), 0))
		}
		s.Ingresses = s.Ingresses.With(key, o)
	case "IngressClass":
		o := new(networkingv1.IngressClass)
		mustYAML(t, []byte(text), o)
		s.Classes = s.Classes.With(meta.Name, o)
	case "Service":
		o := new(corev1.Service)
		mustYAML(t, []byte(text), o)
		s.Services = s.Services.With(key, kube.ServiceOf(o))
	case "Secret":
		o := new(corev1.Secret)
		mustYAML(t, []byte(text), o)
		if o.UID == "" {
			o.UID = types.UID("uid-" + o.Name)
		}
		s.Secrets = s.Secrets.With(key, o)
	case "Node":
		o := new(corev1.Node)
		mustYAML(t, []byte(text), o)
		s.Nodes = s.Nodes.With(meta.Name, o)
	default:
		t.Fatalf("manifest %d: unknown kind %q", i, meta.Kind)
	}
}

// printDesired prints what would be sent: JSON bodies and rules as they are.
func printDesired(r *translate.Result) string {
	var b strings.Builder
	ids := slices.SortedFunc(maps.Keys(r.Desired), func(x, y vtm.ID) int { return strings.Compare(x.String(), y.String()) })
	for _, id := range ids {
		fmt.Fprintf(&b, "=== %s\n", id)
		resource := r.Desired[id]
		if id.Type.IsFile() {
			b.Write(resource.Content)
			continue
		}
		properties := resource.Properties()
		if id.Type == vtm.ServerKeys {
			// Their texts are long, and the same as the Secret's.
			for _, key := range []string{"public", "private"} {
				sum := sha256.Sum256([]byte(properties["basic"][key].(string)))
				properties["basic"][key] = fmt.Sprintf("SHA-256 %x…", sum[:8])
			}
		}
		body, err := json.MarshalIndent(properties, "", "  ")
		if err != nil {
			panic(err)
		}
		b.Write(append(body, '\n'))
	}
	return b.String()
}

func printVerdicts(r *translate.Result) string {
	var b strings.Builder
	keys := slices.SortedFunc(maps.Keys(r.Verdicts), func(x, y types.NamespacedName) int { return strings.Compare(x.String(), y.String()) })
	for _, key := range keys {
		v := r.Verdicts[key]
		outcome := map[translate.Outcome]string{translate.Rejected: "rejected", translate.Degraded: "degraded", translate.Complete: "complete"}[v.Outcome]
		fmt.Fprintf(&b, "%s %s\n", key, outcome)
		for _, address := range v.Addresses {
			fmt.Fprintf(&b, "  on %s %v\n", address.IP, address.Ports)
		}
		for _, reason := range v.Reasons {
			fmt.Fprintf(&b, "  %s: %s\n", reason.Code, reason.Message)
		}
		for _, id := range v.Resources {
			fmt.Fprintf(&b, "  needs %s\n", id)
		}
	}
	return b.String()
}

// equal reports whether two results say the same.
func equal(a, b *translate.Result) bool {
	return reflect.DeepEqual(a.Desired, b.Desired) && reflect.DeepEqual(a.Verdicts, b.Verdicts) && reflect.DeepEqual(a.Certificates, b.Certificates)
}

// sameResult tells how two results differ.
func sameResult(t *testing.T, want, got *translate.Result) {
	t.Helper()
	if diff := cmp.Diff(printDesired(want), printDesired(got)); diff != "" {
		t.Errorf("desired differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(printVerdicts(want), printVerdicts(got)); diff != "" {
		t.Errorf("verdicts differ (-want +got):\n%s", diff)
	}
}

// shuffled is the same input with maps filled in another order, since the order
// of a map's keys depends on how it was filled.
func shuffled(in translate.Input, seed uint64) translate.Input {
	r := rand.New(rand.NewPCG(seed, 1))
	s := *in.Snapshot
	s.Ingresses, s.Services = shuffleTable(r, s.Ingresses), shuffleTable(r, s.Services)
	s.Secrets = shuffleTable(r, s.Secrets)
	s.Nodes, s.Classes, s.Endpoints = shuffleTable(r, s.Nodes), shuffleTable(r, s.Classes), shuffleTable(r, s.Endpoints)
	in.Snapshot = &s
	in.Appliance.Groups, in.Appliance.Servers = shuffle(r, in.Appliance.Groups), shuffle(r, in.Appliance.Servers)
	return in
}

func shuffle[K comparable, V any](r *rand.Rand, m map[K]V) map[K]V {
	keys := slices.Collect(maps.Keys(m))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	out := map[K]V{}
	for _, k := range keys {
		out[k] = m[k]
	}
	return out
}

func shuffleTable[K, V comparable](r *rand.Rand, t *kube.Table[K, V]) *kube.Table[K, V] {
	return kube.NewTable(shuffle(r, maps.Collect(t.All())))
}

func withIngress(s *kube.Snapshot, ingress *networkingv1.Ingress) *kube.Snapshot {
	next := *s
	next.Ingresses = s.Ingresses.With(types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}, ingress)
	return &next
}

// brokenIngresses are ours and can't be programmed, each for another reason.
func brokenIngresses() []*networkingv1.Ingress {
	base := func(name string, change func(*networkingv1.Ingress)) *networkingv1.Ingress {
		i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
			Namespace: "aaa-broken", Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{
				"kubernetes.io/ingress.class":      "vtm",
				"vtm.pulsesecure.net/ip-address":   "10.99.99.99",
				"vtm.pulsesecure.net/port":         "80",
				"vtm.pulsesecure.net/ssl-redirekt": "true",
			},
		}}
		i.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: "missing", Port: networkingv1.ServiceBackendPort{Number: 80}}}
		change(i)
		return i
	}
	return []*networkingv1.Ingress{
		base("no-service", func(*networkingv1.Ingress) {}),
		base("bad-port", func(i *networkingv1.Ingress) { i.Annotations["vtm.pulsesecure.net/port"] = "99999" }),
		base("bad-address", func(i *networkingv1.Ingress) { i.Annotations["vtm.pulsesecure.net/ip-address"] = "\"\n" }),
		base("tls", func(i *networkingv1.Ingress) { i.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "x"}} }),
		base("empty", func(i *networkingv1.Ingress) { i.Spec = networkingv1.IngressSpec{} }),
		base("bad-host", func(i *networkingv1.Ingress) {
			i.Spec.Rules = []networkingv1.IngressRule{{Host: "a\"b\n*/"}}
		}),
		base("hostile_name\n", func(*networkingv1.Ingress) {}),
	}
}

// histories are other inputs through which a Translator may have gone before it
// gets to in, all sharing in's objects where they don't differ.
func histories(in translate.Input) []translate.Input {
	var out []translate.Input
	step := func(change func(*translate.Input, *kube.Snapshot)) {
		next, s := in, *in.Snapshot
		next.Snapshot = &s
		change(&next, &s)
		out = append(out, next)
	}
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Ingresses = nil })
	step(func(*translate.Input, *kube.Snapshot) {})
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Services = nil })
	step(func(*translate.Input, *kube.Snapshot) {})
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Endpoints = nil })
	step(func(*translate.Input, *kube.Snapshot) {})
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Nodes = nil })
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Classes = nil })
	step(func(_ *translate.Input, s *kube.Snapshot) { s.Secrets = nil })
	step(func(n *translate.Input, s *kube.Snapshot) { s.Secrets, n.Programmed.Keys = nil, nil })
	step(func(n *translate.Input, s *kube.Snapshot) {
		n.Programmed.Owners = map[types.UID]bool{}
		for _, i := range s.Ingresses.All() {
			n.Programmed.Owners[i.UID] = true
		}
		n.Programmed.Keys = map[string]*vtm.Resource{}
		for name := range s.Secrets.All() {
			key := "k8s_" + name.Namespace + "_" + name.Name + "_key"
			n.Programmed.Keys[key] = vtm.New(vtm.ServerKeys, key, vtm.Properties{"basic": {"public": "as it is", "private": "its hash"}})
		}
		s.Secrets = nil
	})
	step(func(*translate.Input, *kube.Snapshot) {})
	step(func(_ *translate.Input, s *kube.Snapshot) { s.ClusterUID = "another" })
	step(func(n *translate.Input, _ *kube.Snapshot) { n.Appliance = translate.Appliance{} })
	step(func(n *translate.Input, _ *kube.Snapshot) { n.Programmed = translate.Programmed{} })
	step(func(n *translate.Input, _ *kube.Snapshot) {
		settings := *n.Settings
		settings.ControllerID = "another"
		n.Settings = &settings
	})
	for _, key := range slices.SortedFunc(in.Snapshot.Ingresses.Keys(), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) }) {
		step(func(_ *translate.Input, s *kube.Snapshot) {
			s.Ingresses = s.Ingresses.Without(key)
		})
		step(func(_ *translate.Input, s *kube.Snapshot) {
			other := s.Ingresses.Get(key).DeepCopy()
			other.UID, other.CreationTimestamp = "uid-other", metav1.NewTime(time.Unix(1, 0))
			s.Ingresses = s.Ingresses.With(key, other)
		})
		step(func(_ *translate.Input, s *kube.Snapshot) {
			other := s.Ingresses.Get(key).DeepCopy()
			other.Annotations = map[string]string{"kubernetes.io/ingress.class": "vtm", "vtm.pulsesecure.net/ip-address": "10.1.1.1"}
			s.Ingresses = s.Ingresses.With(key, other)
		})
	}
	step(func(n *translate.Input, _ *kube.Snapshot) { n.Programmed = translate.Programmed{} }) // the one difference to in
	return out
}
