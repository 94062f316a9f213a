package contract_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
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
	"vtm-ingress/sim/trafficscript"
)

// What decides about a request, as the documentation of routing says it: written
// down a second time, by another method than the translation's.

type route struct {
	host, kind, path string // kind: Exact, Prefix, ImplementationSpecific
	service          string
}

type ingress struct {
	name    string
	created int64
	routes  []route
	backend string // default backend, "" for none
}

// answer of the traffic manager: a pool's name, "400" or "404".
func reference(ingresses []ingress, dedicated bool, host, target string) string {
	raw, _, _ := strings.Cut(target, "?")
	path, ok := normal(raw)
	if !ok {
		return "400"
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if h, port, ok := strings.Cut(host, ":"); ok && port != "" {
		host = strings.TrimSuffix(h, ".")
	}
	byRank := slices.Clone(ingresses)
	slices.SortFunc(byRank, func(a, b ingress) int { return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.name, b.name)) })
	for _, i := range byRank {
		best, bestScore := "", []int(nil)
		for _, r := range i.routes {
			if s := score(r, host, path); s != nil && (best == "" || slices.Compare(s, bestScore) > 0) {
				best, bestScore = poolName(i, r.service), s
			}
		}
		if best != "" {
			return best
		}
	}
	for _, i := range byRank {
		if i.backend != "" {
			return poolName(i, i.backend)
		}
	}
	return "404"
}

func poolName(i ingress, service string) string { return "k8s_ns_" + i.name + "_" + service + "_80" }

// normal decodes a path and folds it; false if it must be answered 400.
func normal(raw string) (string, bool) {
	path, err := url.PathUnescape(raw)
	if err != nil || strings.Contains(path, "\x00") {
		return "", false
	}
	var out []string
	segments := strings.Split(raw, "/")[1:]
	for n, segment := range segments {
		decoded, _ := url.PathUnescape(segment)
		if strings.Contains(decoded, "/") {
			return "", false // an encoded slash
		}
		if decoded == "." || decoded == ".." {
			if segment != decoded {
				return "", false // an encoded dot segment
			}
		}
		last := n == len(segments)-1
		switch {
		case decoded == "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
		case decoded == "." || decoded == "":
		default:
			out = append(out, decoded)
			last = false
		}
		if last && len(out) > 0 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), true
}

// score is higher the more specific a matching route is; nil if it doesn't match.
func score(r route, host, path string) []int {
	var s []int
	switch domain, wildcard := strings.CutPrefix(r.host, "*."); {
	case r.host == "":
		s = append(s, 0)
	case wildcard:
		label, rest, ok := strings.Cut(host, ".")
		if !ok || label == "" || rest != domain {
			return nil
		}
		s = append(s, 1)
	case r.host == host:
		s = append(s, 2)
	default:
		return nil
	}
	if r.kind == "Exact" {
		if path != r.path {
			return nil
		}
		return append(s, 1, len(r.path))
	}
	if literal, _, pattern := strings.Cut(r.path, "*"); pattern && r.kind == "ImplementationSpecific" {
		if !wildcards(r.path, path) {
			return nil
		}
		return append(s, 0, len(literal), 1, len(r.path))
	}
	var want []string
	if trimmed := strings.Trim(r.path, "/"); trimmed != "" {
		want = strings.Split(trimmed, "/")
	}
	have := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(want) > len(have) || !slices.Equal(want, have[:len(want)]) {
		return nil
	}
	return append(s, 0, len(strings.TrimRight(r.path, "/")), 0)
}

func wildcards(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] != '*' {
		return s != "" && s[0] == pattern[0] && wildcards(pattern[1:], s[1:])
	}
	for i := range len(s) + 1 {
		if wildcards(pattern[1:], s[i:]) {
			return true
		}
	}
	return false
}

// translated turns the description into objects and translates them.
func translated(ingresses []ingress, dedicated bool) *translate.Result {
	settings := config.Default()
	settings.DefaultTrafficIPGroup = "front"
	in := translate.Input{
		Settings: settings,
		Snapshot: &kube.Snapshot{
			ClusterUID: "cluster",
		},
		Appliance: translate.Appliance{
			Members: []string{"vtm-1"},
			Groups:  map[string]translate.Group{"front": {Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		},
	}
	for _, service := range services {
		in.Snapshot.Services = in.Snapshot.Services.With(types.NamespacedName{Namespace: "ns", Name: service}, &kube.Service{
			Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}},
		})
	}
	for _, i := range ingresses {
		o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: i.name, UID: types.UID("uid-" + i.name), CreationTimestamp: metav1.NewTime(time.Unix(i.created, 0)),
			Annotations: map[string]string{"kubernetes.io/ingress.class": "vtm"},
		}}
		if dedicated {
			o.Annotations["vtm.pulsesecure.net/ip-address"] = "10.0.0.2"
		}
		if i.backend != "" {
			b := backend(i.backend)
			o.Spec.DefaultBackend = &b
		}
		for _, r := range i.routes {
			kind := networkingv1.PathType(r.kind)
			o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{Host: r.host, IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: r.path, PathType: &kind, Backend: backend(r.service)}}},
			}})
		}
		in.Snapshot.Ingresses = in.Snapshot.Ingresses.With(types.NamespacedName{Namespace: "ns", Name: i.name}, o)
	}
	return translate.New().Translate(in)
}

func backend(service string) networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

var services = []string{"s1", "s2", "s3", "s4", "s5", "s6"}

// server is a virtual server with its compiled rules, and the pools that exist.
type server struct {
	rules []*trafficscript.Rule
	pool  string
	pools map[string]bool

	instructions int // of the longest decision
}

// serverOf finds the only virtual server and checks that each rule compiles and
// refers only to pools that exist.
func serverOf(r *translate.Result) (*server, error) {
	s := &server{pools: map[string]bool{"discard": true}}
	var virtual *vtm.Resource
	for id, resource := range r.Desired {
		switch id.Type {
		case vtm.Pools:
			s.pools[id.Name] = true
		case vtm.VirtualServers:
			if virtual != nil {
				return nil, errors.New("several virtual servers")
			}
			virtual = resource
		}
	}
	if virtual == nil {
		return nil, errors.New("no virtual server")
	}
	s.pool = virtual.Get("basic", "pool").(string)
	if !s.pools[s.pool] {
		return nil, fmt.Errorf("default pool %q does not exist", s.pool)
	}
	for _, name := range virtual.Get("basic", "request_rules").([]any) {
		source := r.Desired[vtm.ID{Type: vtm.Rules, Name: name.(string)}]
		if source == nil {
			return nil, fmt.Errorf("rule %q does not exist", name)
		}
		rule, diagnostics := trafficscript.Compile(source.Name, string(source.Content), func(library string) (string, bool) {
			imported := r.Desired[vtm.ID{Type: vtm.Rules, Name: library}]
			if imported == nil {
				return "", false
			}
			return string(imported.Content), true
		})
		if len(diagnostics) > 0 {
			return nil, fmt.Errorf("%v in:\n%s", diagnostics, source.Content)
		}
		for _, pool := range rule.Pools() {
			if !s.pools[pool] {
				return nil, fmt.Errorf("rule names pool %q, which does not exist", pool)
			}
		}
		s.rules = append(s.rules, rule)
	}
	return s, nil
}

// decide runs the rules on a request.
func (s *server) decide(host, target string) (string, error) {
	h := &ruleHost{server: s, tx: trafficscript.Transaction{
		VirtualServer: "vs", DefaultPool: s.pool,
		Request: &trafficscript.Request{Method: "GET", Target: target, Proto: "HTTP/1.1", Host: host, Header: http.Header{}},
	}}
	for _, rule := range s.rules {
		result := rule.Run(context.Background(), h, trafficscript.Limits{})
		s.instructions = max(s.instructions, result.Instructions)
		if result.End == trafficscript.Aborted || len(h.events) > 0 {
			return "", fmt.Errorf("rule %s: %v, events %v", rule.Name(), result.Err, h.events)
		}
		if result.End == trafficscript.Decided {
			break
		}
	}
	if a := h.tx.Answer; a != nil {
		return strconv.Itoa(a.Code), nil
	}
	if h.tx.Pool != "" {
		return h.tx.Pool, nil
	}
	return s.pool, nil
}

// ruleHost is a data plane without a network: pools exist or not.
type ruleHost struct {
	server *server
	tx     trafficscript.Transaction
	events []trafficscript.Event
}

func (h *ruleHost) Transaction() *trafficscript.Transaction           { return &h.tx }
func (h *ruleHost) RequestBody(context.Context, int) (string, error)  { return "", nil }
func (h *ruleHost) ResponseBody(context.Context, int) (string, error) { return "", nil }
func (h *ruleHost) PoolNodes(pool string) ([]trafficscript.PoolNode, bool) {
	return nil, h.server.pools[pool]
}
func (h *ruleHost) Log(e trafficscript.Event)                  { h.events = append(h.events, e) }
func (h *ruleHost) Now() time.Time                             { return time.Unix(0, 0) }
func (h *ruleHost) Random() uint64                             { return 0 }
func (h *ruleHost) Sleep(context.Context, time.Duration) error { return nil }
func (h *ruleHost) Waiting()                                   {}

var _ trafficscript.Host = (*ruleHost)(nil)

func TestAnEmittedRuleRoutesAsDocumented(t *testing.T) { routesAsDocumented(t, nil, nil) }

// More than a handful of Ingresses, or of routes, stand in rule libraries.
func TestEmittedLibrariesRouteAsDocumented(t *testing.T) {
	var more []ingress
	for i := range 33 {
		more = append(more, ingress{name: fmt.Sprintf("more%d", i), created: int64(i % 3), routes: []route{{host: fmt.Sprintf("more%d.example", i), kind: "Prefix", path: "/", service: "s1"}}})
	}
	var long []route
	for i := range 101 {
		for _, host := range []string{"a.example.com", "*.example.com"} {
			long = append(long, route{host: host, kind: "Prefix", path: fmt.Sprintf("/%c/%d", 'a'+i%4, i), service: "s1"})
		}
	}
	routesAsDocumented(t, more, long)
}

// routesAsDocumented draws Ingresses and requests. On a shared address others come
// beside the Ingresses drawn; on a dedicated one the Ingress gets long as well.
func routesAsDocumented(t *testing.T, others []ingress, long []route) {
	hosts := []string{"", "a.example.com", "b.example.com", "*.example.com", "*.b.example.com", "example.com"}
	segments := []string{"a", "b", "ab", "A", "a.b", `q"\`, "é", "$1", "?x", "#", "\n"}
	path := rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(segments), 0, 3).Draw(t, "segments"), "/") + rapid.SampledFrom([]string{"", "/"}).Draw(t, "end")
	})
	routes := rapid.Custom(func(t *rapid.T) route {
		r := route{
			host: rapid.SampledFrom(hosts).Draw(t, "host"), service: rapid.SampledFrom(services).Draw(t, "service"),
			kind: rapid.SampledFrom([]string{"Exact", "Prefix", "ImplementationSpecific"}).Draw(t, "kind"),
			path: strings.ReplaceAll(path.Draw(t, "path"), "//", "/"),
		}
		if r.kind == "ImplementationSpecific" && rapid.Bool().Draw(t, "pattern") {
			r.path = strings.ReplaceAll(r.path, "?", "") + rapid.SampledFrom([]string{"*", "*/b", "*.b", "**"}).Draw(t, "star")
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		dedicated := rapid.Bool().Draw(t, "dedicated")
		n := 1
		if !dedicated {
			n = rapid.IntRange(1, 4).Draw(t, "ingresses")
		}
		var ingresses []ingress
		for i := range n {
			one := ingress{
				name: fmt.Sprintf("i%d", i), created: rapid.Int64Range(1, 2).Draw(t, "created"),
				// Two routes alike in one Ingress: the first wins, which is not the subject here.
				routes: rapid.SliceOfNDistinct(routes, 0, 6, func(r route) string {
					text := r.path
					if r.kind != "Exact" {
						text = strings.TrimRight(text, "/")
					}
					return r.host + " " + text
				}).Draw(t, "routes"),
			}
			if len(one.routes) == 0 || rapid.Bool().Draw(t, "has default") {
				one.backend = rapid.SampledFrom(services).Draw(t, "default")
			}
			if dedicated {
				one.routes = append(one.routes, long...)
			}
			ingresses = append(ingresses, one)
		}
		if !dedicated {
			ingresses = append(ingresses, others...)
		}
		s, err := serverOf(translated(ingresses, dedicated))
		if err != nil {
			t.Fatal(err)
		}
		target := rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			for range rapid.IntRange(0, 4).Draw(t, "n") {
				b.WriteString("/" + rapid.SampledFrom([]string{
					"", ".", "..", "%2e", ".%2E", "a%2Fb", "a%2eb", "%00", url.PathEscape(rapid.SampledFrom(segments).Draw(t, "segment")), "a", "b",
				}).Draw(t, "element"))
			}
			return cmp.Or(b.String(), "/") + rapid.SampledFrom([]string{"", "?q=%2f/../%2e", "?"}).Draw(t, "query")
		})
		for range 8 {
			host := rapid.SampledFrom([]string{"a.example.com", "B.example.com:80", "c.b.example.com", ".example.com", "example.com.", "x.org", "", "*.example.com", "more7.example"}).Draw(t, "request host")
			asked := target.Draw(t, "target")
			got, err := s.decide(host, asked)
			if err != nil {
				t.Fatal(err)
			}
			want := reference(ingresses, dedicated, host, asked)
			if len(s.rules) == 0 {
				want = poolName(ingresses[0], ingresses[0].backend) // no rule, nothing refused
			}
			if got != want {
				t.Fatalf("host %q, target %q: %s, want %s\n%+v", host, asked, got, want, ingresses)
			}
		}
	})
}

// Whatever texts an Ingress holds, the rule compiles and the text is no code: a
// pool that no backend of the Ingress gave never comes up, and a request with
// exactly that host and path is routed.
func FuzzHostileTextNeverBecomesCode(f *testing.F) {
	for _, seed := range []string{`/"); pool.use("evil`, "/a\n# b", "/\x00", "/\xff\xfe", `/\`, "/$1", "/*/", "/%2f", "/a'b", "/" + strings.Repeat("x/", 2000), "/;}", "/\u2028"} {
		f.Add("a.example.com", seed, "Exact")
		f.Add("*.example.com", seed, "Prefix")
		f.Add("", seed+"*", "ImplementationSpecific")
	}
	f.Add("a\"b", "/", "Prefix")
	f.Add("a\nb.example.com", "/", "Other")
	f.Fuzz(func(t *testing.T, host, path, kind string) {
		one := ingress{name: "i", routes: []route{{host: host, path: path, kind: kind, service: "s1"}}}
		result := translated([]ingress{one}, true)
		verdict := result.Verdicts[types.NamespacedName{Namespace: "ns", Name: "i"}]
		if verdict == nil {
			t.Fatal("no verdict")
		}
		if verdict.Outcome == translate.Rejected {
			if len(verdict.Reasons) == 0 || len(result.Desired) != 0 {
				t.Fatalf("rejected with reasons %v and %d resources", verdict.Reasons, len(result.Desired))
			}
			return
		}
		s, err := serverOf(result)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"discard", poolName(one, "s1")}; !slices.Equal(slices.Sorted(maps.Keys(s.pools)), want) {
			t.Fatalf("pools %v", s.pools)
		}
		if kind != "Exact" || strings.HasPrefix(host, "*") {
			return
		}
		target := (&url.URL{Path: path}).EscapedPath()
		if norm, ok := normal(target); !ok || norm != path {
			return
		}
		if got, err := s.decide(host, target); err != nil || got != poolName(one, "s1") {
			t.Fatalf("host %q, target %q: %s, %v", host, target, got, err)
		}
	})
}
