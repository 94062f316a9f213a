package contract_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
	simvtm "vtm-ingress/sim/vtm"
)

// shop is what Kubernetes holds in these tests: Ingresses, each with a Service of
// its own whose Pods run on the nodes given.
type shop map[string][]string // Ingress -> nodes with ready endpoints

// snapshot shares with last what did not change.
func (s shop) snapshot(last *kube.Snapshot) *kube.Snapshot {
	next := &kube.Snapshot{
		ClusterUID: "cluster-1",
	}
	if last != nil {
		next.Nodes = last.Nodes
	} else {
		for n := range 3 {
			name := fmt.Sprintf("node-%d", n+1)
			next.Nodes = next.Nodes.With(name, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Status: corev1.NodeStatus{
					Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.0.%d", n+1)}},
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				},
			})
		}
	}
	for name, nodes := range s {
		key := types.NamespacedName{Namespace: "shop", Name: name}
		endpoints := &kube.Endpoints{ReadyNodes: map[string][]string{"": nodes}}
		if last != nil && last.Ingresses.Get(key) != nil {
			next.Ingresses, next.Services = next.Ingresses.With(key, last.Ingresses.Get(key)), next.Services.With(key, last.Services.Get(key))
			if cmp.Equal(last.Endpoints.Get(key), endpoints) {
				endpoints = last.Endpoints.Get(key)
			}
		} else {
			next.Ingresses, next.Services = next.Ingresses.With(key, webIngress(key)), next.Services.With(key, webService(key))
		}
		next.Endpoints = next.Endpoints.With(key, endpoints)
	}
	return next
}

// number of an Ingress, from its name "web-NNN".
func number(name types.NamespacedName) (n int) {
	fmt.Sscanf(name.Name, "web-%d", &n)
	return n
}

func webIngress(key types.NamespacedName) *networkingv1.Ingress {
	n := number(key)
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, UID: types.UID("uid-" + key.Name), CreationTimestamp: metav1.NewTime(time.Unix(int64(n), 0)),
			Annotations: map[string]string{
				"kubernetes.io/ingress.class":    "vtm",
				"vtm.pulsesecure.net/ip-address": fmt.Sprintf("10.1.%d.%d", n/200, n%200+1),
			},
		},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: key.Name + ".example", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: backend(key.Name)}},
			}},
		}}},
	}
}

func webService(key types.NamespacedName) *kube.Service {
	return &kube.Service{
		Namespace: key.Namespace, Name: key.Name, Type: corev1.ServiceTypeNodePort, Local: true,
		Ports: []corev1.ServicePort{{Port: 80, NodePort: int32(30000 + number(key))}},
	}
}

// lease is what a test says it is.
type lease struct {
	mu      sync.Mutex
	term    int // 0: not the writer
	permits int // permits left; -1: no end
	changed chan struct{}
}

func (l *lease) Permit() (reconcile.Permit, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || l.permits == 0 {
		return reconcile.Permit{}, false
	}
	if l.permits > 0 {
		l.permits--
	}
	return reconcile.Permit{Term: l.term, Until: time.Now().Add(15 * time.Second)}, true
}

func (l *lease) Changed() <-chan struct{} { return l.changed }

func (l *lease) Announce(context.Context, int, string) error { return nil }

func (l *lease) Begin(int, string) (p reconcile.Permit, end func(), ok bool) {
	p, ok = l.Permit()
	return p, func() {}, ok
}

func (l *lease) set(term, permits int) {
	l.mu.Lock()
	l.term, l.permits = term, permits
	l.mu.Unlock()
	l.changed <- struct{}{}
}

// bench is a Loop between a Snapshot that the test makes and an emulated traffic
// manager.
type bench struct {
	t *testing.T
	m *manager
	*lease
	log     *logged
	changed chan struct{}
	// configure, if set, changes the settings.
	configure func(*config.Settings)

	mu       sync.Mutex
	confirm  func() (*kube.Snapshot, error) // called with mu held
	snapshot *kube.Snapshot
	told     []report.Entry
	rounds   int
	counted  map[string]*translate.Verdict // by Ingress, as metrics count them
}

func newBench(t *testing.T, m *manager) *bench {
	return &bench{
		t: t, m: m, lease: &lease{term: 1, permits: -1, changed: make(chan struct{}, 1)},
		log: &logged{}, changed: make(chan struct{}, 1), counted: map[string]*translate.Verdict{},
		confirm: func() (*kube.Snapshot, error) { return nil, errors.New("not asked for") },
	}
}

// hold makes Kubernetes hold s.
func (b *bench) hold(s shop) {
	b.mu.Lock()
	b.snapshot = s.snapshot(b.snapshot)
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// start runs a Loop; stop ends it and waits.
func (b *bench) start(world outside.World) (stop func()) {
	b.t.Helper()
	settings := *config.Default()
	settings.ResyncPeriod = time.Minute
	if b.configure != nil {
		b.configure(&settings)
	}
	client := b.m.clientFor(b.t, world, "controller", "secret")
	loop := reconcile.New(reconcile.Options{
		World: world, Log: b.log.logger(), Actor: "controller/loop", Settings: &settings,
		Client: client, Lease: b.lease, Changed: b.changed,
		Snapshot: func() *kube.Snapshot {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.snapshot
		},
		Confirm: func(context.Context) (*kube.Snapshot, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.confirm()
		},
		Report: func(_ context.Context, entries []report.Entry) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, entries...)
		},
		Done: func(r reconcile.Round) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.rounds++
			for _, name := range r.Judged {
				b.counted[name.Name] = r.Says.Of(r.Result.Verdicts[name])
			}
		},
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() { loop.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
		client.Close()
	}
}

// settle lets time pass until what was begun has ended.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// last returns what was told last of an Ingress.
func (b *bench) last(name string) (live bool, problems string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Backward(b.told) {
		if e.Ingress.Name == name {
			for _, p := range e.Problems {
				problems += p.Code + ": " + p.Message + "\n"
			}
			return e.Live, problems
		}
	}
	b.t.Errorf("nothing was told of %s", name)
	return false, ""
}

// configuration reads all that has our names.
func (m *manager) configuration(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, kind := range vtm.Types {
		names, err := m.client.List(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasPrefix(name, "k8s_") {
				continue
			}
			r, err := m.client.Get(t.Context(), vtm.ID{Type: kind, Name: name})
			if err != nil {
				t.Fatal(err)
			}
			out[r.ID.String()] = fmt.Sprint(r.Settings()) + string(r.Content)
		}
	}
	return out
}

func (m *manager) writes() int {
	_, total := m.Writes()
	return int(total)
}

func shopOf(n int) shop {
	s := shop{}
	for i := range n {
		s[fmt.Sprintf("web-%03d", i)] = []string{"node-1", "node-2"}
	}
	return s
}

func TestAnEndpointChangeIsOneWriteAndNoChangeIsNone(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		s := shopOf(3)
		b.hold(s)
		stop := b.start(m.world)
		settle(10 * time.Second)
		if live, problems := b.last("web-001"); !live {
			t.Fatalf("not live: %s", problems)
		}
		before := m.writes()
		settle(10*time.Minute + time.Second) // ten resyncs
		if n := m.writes() - before; n != 0 {
			t.Errorf("%d writes in ten resyncs", n)
		}
		s["web-001"] = []string{"node-3"}
		b.hold(s)
		settle(time.Second)
		writes, total := m.Writes()
		if n := int(total) - before; n != 1 || writes[len(writes)-1].Path != "pools/k8s_shop_web-001_web-001_80" {
			t.Errorf("%d writes for one endpoint change, the last %+v", n, writes[len(writes)-1])
		}
		stop()
		before = m.writes()
		stop = b.start(m.world)
		settle(2 * time.Minute)
		stop()
		if n := m.writes() - before; n != 0 {
			t.Errorf("%d writes after a restart with nothing changed", n)
		}
		if n := b.log.count("level=WARN") + b.log.count("level=ERROR"); n != 0 {
			t.Errorf("%d warnings:\n%s", n, b.log.text.String())
		}
	})
}

func TestDeletedIngressesLeaveNothingAndForeignResourcesStay(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		put(t, m.client, vtm.New(vtm.Pools, "theirs", vtm.Properties{"basic": {"note": "by hand"}}))
		put(t, m.client, vtm.New(vtm.Pools, "k8s-not_ours", vtm.Properties{"basic": {"note": "by hand"}}))
		put(t, m.client, vtm.New(vtm.VirtualServers, "theirs", vtm.Properties{"basic": {"port": 8080, "pool": "theirs"}}))
		before := m.configuration(t)
		b := newBench(t, m)
		b.hold(shopOf(3))
		stop := b.start(m.world)
		defer stop()
		settle(5 * time.Second)
		if len(m.configuration(t)) < 9 {
			t.Fatalf("served by %v", m.configuration(t))
		}
		b.hold(shop{})
		settle(5 * time.Second)
		if diff := cmp.Diff(before, m.configuration(t)); diff != "" {
			t.Errorf("left behind: %s", diff)
		}
		for _, name := range []string{"pools/theirs", "pools/k8s-not_ours", "virtual_servers/theirs"} {
			i := strings.LastIndex(name, "/")
			if _, err := m.client.Get(t.Context(), vtm.ID{Type: vtm.Type(name[:i]), Name: name[i+1:]}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestDriftIsPutRightAndTold(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.hold(shopOf(2))
		stop := b.start(m.world)
		defer stop()
		settle(5 * time.Second)
		want := m.configuration(t)
		put(t, m.client, vtm.New(vtm.Pools, "k8s_shop_web-000_web-000_80", vtm.Properties{
			"basic": {"passive_monitoring": false}, "load_balancing": {"algorithm": "random"}}))
		var server string
		for name := range want {
			if found, ok := strings.CutPrefix(name, "virtual_servers/"); ok {
				server = found
			}
		}
		if err := m.client.Delete(t.Context(), vtm.ID{Type: vtm.VirtualServers, Name: server}); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Minute)
		if diff := cmp.Diff(want, m.configuration(t)); diff != "" {
			t.Errorf("not put right: %s", diff)
		}
		if b.log.count("put right what somebody else changed") != 1 || b.log.count("put back what somebody else deleted") != 1 {
			t.Errorf("told:\n%s", b.log.text.String())
		}
	})
}

func TestWhatIsNotOursIsNotTouchedThoughItHasOurName(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		const name = "k8s_shop_web-000_web-000_80"
		put(t, m.client, vtm.New(vtm.Pools, name, vtm.Properties{"basic": {"note": "by hand"}}))
		b := newBench(t, m)
		b.hold(shopOf(2))
		stop := b.start(m.world)
		defer stop()
		settle(2 * time.Minute)
		if r, err := m.client.Get(t.Context(), vtm.ID{Type: vtm.Pools, Name: name}); err != nil || r.Get("basic", "note") != "by hand" {
			t.Errorf("changed: %v, %v", r, err)
		}
		if live, problems := b.last("web-000"); live || !strings.Contains(problems, name) || !strings.Contains(problems, "rename or remove") {
			t.Errorf("live %v, told %q", live, problems)
		}
		if live, problems := b.last("web-001"); !live {
			t.Errorf("the other one isn't served: %s", problems)
		}
	})
}

func TestWhatGotOurNameSinceTheLastReadingIsNotOverwritten(t *testing.T) {
	for _, count := range []int{3, 30} { // few are asked for one by one, many by their list
		withManager(t, func(t *testing.T, m *manager) {
			b := newBench(t, m)
			b.hold(shopOf(1))
			stop := b.start(m.world)
			defer stop()
			settle(5 * time.Second)
			const name = "k8s_shop_web-001_web-001_80"
			put(t, m.client, vtm.New(vtm.Pools, name, vtm.Properties{"basic": {"note": "by hand"}}))
			b.hold(shopOf(count))
			settle(5 * time.Second)
			if r, err := m.client.Get(t.Context(), vtm.ID{Type: vtm.Pools, Name: name}); err != nil || r.Get("basic", "note") != "by hand" {
				t.Errorf("changed: %v, %v", r, err)
			}
			if live, problems := b.last("web-001"); live || !strings.Contains(problems, name) {
				t.Errorf("live %v, told %q", live, problems)
			}
			if live, problems := b.last("web-002"); !live {
				t.Errorf("the other one isn't served: %s", problems)
			}
		})
	}
}

func TestAnotherClustersResourcesStopAllWrites(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		mark := vtm.Mark{ID: "k8s", Cluster: "cluster-2", Kind: "Ingress", Namespace: "a", Name: "b", UID: "u"}
		put(t, m.client, vtm.New(vtm.Pools, "k8s_a_b_c", vtm.Properties{"basic": {"note": mark.Format()}}))
		before := m.writes()
		b := newBench(t, m)
		b.hold(shopOf(2))
		stop := b.start(m.world)
		defer stop()
		settle(5 * time.Minute)
		if n := m.writes() - before; n != 0 {
			t.Errorf("%d writes", n)
		}
		if live, problems := b.last("web-000"); live || !strings.Contains(problems, "cluster-2") {
			t.Errorf("live %v, told %q", live, problems)
		}
		if n := b.log.count("level=ERROR"); n != 1 {
			t.Errorf("told %d times:\n%s", n, b.log.text.String())
		}
	})
}

func TestATrafficManagerInTroubleIsToldOnceAndCaughtUpWith(t *testing.T) {
	for name, fault := range map[string]simvtm.Fault{
		"down": {Down: true}, "wrong password": {WrongPassword: true}, "garbage": {Garbage: true}, "503": {Status: 503},
	} {
		for _, when := range []string{"from the start", "later"} {
			t.Run(name+" "+when, func(t *testing.T) {
				withManager(t, func(t *testing.T, m *manager) {
					b := newBench(t, m)
					b.hold(shopOf(1))
					if when == "from the start" {
						m.SetFault(fault)
					}
					stop := b.start(m.world)
					defer stop()
					settle(10 * time.Second)
					m.SetFault(fault)
					b.hold(shopOf(2))
					settle(10 * time.Minute)
					if live, problems := b.last("web-001"); live || problems == "" {
						t.Errorf("live %v, told %q", live, problems)
					}
					if when == "later" {
						if live, _ := b.last("web-000"); !live {
							t.Error("what serves is told not to be live")
						}
					}
					if n := b.log.count("can't be used"); n != 1 {
						t.Errorf("told %d times:\n%s", n, b.log.text.String())
					}
					if told, n := len(b.told), 3; told > n {
						t.Errorf("%d reports, at most %d are news", told, n)
					}
					m.SetFault(simvtm.Fault{})
					settle(time.Minute)
					for _, ingress := range []string{"web-000", "web-001"} {
						if live, problems := b.last(ingress); !live {
							t.Errorf("%s not live after it was healed: %s", ingress, problems)
						}
					}
					if b.log.count("can be used again") != 1 {
						t.Errorf("told:\n%s", b.log.text.String())
					}
				})
			})
		}
	}
}

func TestOnlyTheWriterWrites(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.lease.term = 0
		b.hold(shopOf(20))
		stop := b.start(m.world)
		defer stop()
		settle(5 * time.Minute)
		if m.writes() != 0 || len(b.told) != 0 {
			t.Errorf("standing by: %d writes, %d reports", m.writes(), len(b.told))
		}
		if b.rounds == 0 {
			t.Error("no round: never ready to take over")
		}
		b.set(1, -1)
		settle(30 * time.Second)
		if live, problems := b.last("web-019"); !live {
			t.Errorf("not live: %s", problems)
		}
		b.set(0, 0)
		settle(time.Second)
		before := m.writes()
		b.hold(shopOf(22))
		settle(time.Minute)
		if n := m.writes() - before; n != 0 {
			t.Errorf("%d writes after the lease was lost", n)
		}
	})
}

func TestALeaseThatEndsInTheMiddleEndsThePlanThere(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.lease.permits = 8 // one to begin with, seven writes
		b.hold(shopOf(20))
		stop := b.start(m.world)
		defer stop()
		settle(time.Minute)
		if n := m.writes(); n != 7 {
			t.Errorf("%d writes with seven permits", n)
		}
		if len(b.told) != 0 {
			t.Errorf("%d reports by one who may not write any more", len(b.told))
		}
		b.set(2, -1)
		settle(time.Minute)
		if live, problems := b.last("web-019"); !live {
			t.Errorf("not live in the next term: %s", problems)
		}
	})
}

// meddling is a World whose HTTP clients pass each request to meddle first.
type meddling struct {
	outside.World
	meddle func(*http.Request, http.RoundTripper) (*http.Response, error)
}

func (w meddling) HTTPClient(actor string, config *tls.Config) *http.Client {
	client := w.World.HTTPClient(actor, config)
	client.Transport = meddler{w, client.Transport}
	return client
}

type meddler struct {
	w    meddling
	next http.RoundTripper
}

func (m meddler) RoundTrip(r *http.Request) (*http.Response, error) { return m.w.meddle(r, m.next) }

func (m meddler) CloseIdleConnections() {
	(&http.Client{Transport: m.next}).CloseIdleConnections()
}

// failing fails the nth write, in one of some ways, and notes refusals.
type failing struct {
	mu       sync.Mutex
	n        int
	how      string
	writes   int
	refusals []string
}

func (f *failing) meddle(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return next.RoundTrip(r)
	}
	f.mu.Lock()
	f.writes++
	fail := f.writes == f.n
	f.mu.Unlock()
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
	}
	if fail && f.how == "503 before it took effect" {
		r.Body.Close()
		return answer(503, ""), nil
	}
	if fail && f.how == "refused" {
		r.Body.Close()
		return answer(400, `{"error_id":"a.b","error_text":"not today"}`), nil
	}
	response, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == 400 {
		f.mu.Lock()
		f.refusals = append(f.refusals, r.Method+" "+r.URL.Path)
		f.mu.Unlock()
	}
	if fail && f.how == "answer lost" {
		response.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return response, nil
}

// Each write of a plan fails in turn. The traffic manager is strict: it refuses
// what would dangle, so nothing was sent too early or removed too soon.
func TestEachWriteMayFailAndAllIsRightInTheEnd(t *testing.T) {
	first, second := shopOf(3), shopOf(4)
	delete(second, "web-000")
	second["web-001"] = []string{"node-3"}
	history := func(t *testing.T, n int, how string) (writes int, end map[string]string) {
		withManager(t, func(t *testing.T, m *manager) {
			f := &failing{n: n, how: how}
			b := newBench(t, m)
			b.hold(first)
			stop := b.start(meddling{m.world, f.meddle})
			defer stop()
			settle(2 * time.Minute)
			b.hold(second)
			settle(2 * time.Minute)
			writes, end = f.writes, m.configuration(t)
			if len(f.refusals) > 0 {
				t.Errorf("refused: %q", f.refusals)
			}
			for name := range second {
				if live, problems := b.last(name); !live {
					t.Errorf("%s is not live: %s", name, problems)
				}
			}
			if b.log.count("can't be used") > 0 {
				t.Error("one failed write counts as the traffic manager being away")
			}
		})
		return writes, end
	}
	writes, want := history(t, 0, "")
	if writes < 15 {
		t.Fatalf("%d writes only", writes)
	}
	for _, how := range []string{"503 before it took effect", "answer lost", "refused"} {
		for n := 1; n <= writes; n++ {
			t.Run(fmt.Sprintf("%s %d", how, n), func(t *testing.T) {
				if _, end := history(t, n, how); !maps.Equal(want, end) {
					t.Errorf("the end differs: %s", cmp.Diff(want, end))
				}
			})
		}
	}
}

func TestALostAnswerIsNotTakenForNoEffect(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		f := &failing{how: "answer lost"}
		b := newBench(t, m)
		s := shopOf(1)
		b.hold(s)
		stop := b.start(meddling{m.world, f.meddle})
		defer stop()
		settle(5 * time.Second)
		want := m.configuration(t)
		f.mu.Lock()
		f.n = f.writes + 1
		f.mu.Unlock()
		s["web-000"] = []string{"node-3"}
		b.hold(s)
		settle(100 * time.Millisecond)
		if maps.Equal(want, m.configuration(t)) {
			t.Fatal("the write with the lost answer had no effect")
		}
		s["web-000"] = []string{"node-1", "node-2"} // as it was before
		b.hold(s)
		settle(30 * time.Second) // no full reading until then
		if diff := cmp.Diff(want, m.configuration(t)); diff != "" {
			t.Errorf("what the lost write did stays: %s", diff)
		}
		if live, problems := b.last("web-000"); !live {
			t.Errorf("not live: %s", problems)
		}
		b.mu.Lock()
		before := b.rounds
		b.mu.Unlock()
		settle(20 * time.Second)
		// A look at the traffic manager's state is a round too, each 10 s at most.
		if n := b.rounds - before; n > 3 {
			t.Errorf("%d rounds with nothing to do", n)
		}
	})
}

func TestATrafficManagerThatIsAwayIsNotFlooded(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		var mu sync.Mutex
		requests := 0
		b := newBench(t, m)
		b.hold(shopOf(1))
		stop := b.start(meddling{m.world, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			mu.Lock()
			requests++
			mu.Unlock()
			return next.RoundTrip(r)
		}})
		defer stop()
		settle(5 * time.Second)
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return requests
		}
		m.SetFault(simvtm.Fault{Status: 503})
		before := count()
		b.hold(shopOf(200))
		settle(900 * time.Millisecond)
		// Those under way when the third failed, and no more.
		if n := count() - before; n == 0 || n > 3+vtm.DefaultParallel {
			t.Errorf("%d requests at once to a traffic manager that answers 503", n)
		}
		before = count()
		settle(time.Hour)
		if n := count() - before; n > 3*3600/30 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestTheBrakeAsksKubernetesAgain(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		all := shopOf(12)
		b.hold(all)
		stop := b.start(m.world)
		defer stop()
		settle(20 * time.Second)
		want := m.configuration(t)

		asked := 0
		begin := time.Now()
		b.mu.Lock()
		b.confirm = func() (*kube.Snapshot, error) {
			asked++
			switch asked {
			case 1:
				if waited := time.Since(begin); waited < 5*time.Second {
					t.Errorf("asked again after %v already", waited)
				}
				return nil, errors.New("away")
			case 2:
				return all.snapshot(nil), nil // it does not agree
			default:
				return shop{}.snapshot(nil), nil
			}
		}
		b.mu.Unlock()
		b.hold(shop{})
		settle(14 * time.Second)
		if diff := cmp.Diff(want, m.configuration(t)); diff != "" {
			t.Errorf("taken away without Kubernetes' second word: %s", diff)
		}
		b.mu.Lock()
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
		b.mu.Unlock()
		settle(10 * time.Second)
		if left := m.configuration(t); len(left) != 0 {
			t.Errorf("left though Kubernetes agreed: %v", left)
		}
		if b.log.count("would cease to be served") != 1 {
			t.Errorf("told:\n%s", b.log.text.String())
		}
	})
}

func TestEndpointsOvertakeALongPlan(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.hold(shopOf(1))
		stop := b.start(m.world)
		defer stop()
		settle(5 * time.Second)
		before := m.writes()

		many := shopOf(300)
		b.hold(many)
		settle(30 * time.Millisecond) // the plan has begun
		many["web-000"] = []string{"node-3"}
		b.hold(many)
		settle(30 * time.Second)
		writes, _ := m.Writes()
		writes = writes[before:]
		at := slices.IndexFunc(writes, func(w simvtm.Write) bool { return w.Path == "pools/k8s_shop_web-000_web-000_80" })
		if at < 0 || at > len(writes)/2 {
			t.Errorf("the endpoint change is write %d of %d", at, len(writes))
		}
		if live, problems := b.last("web-299"); !live {
			t.Errorf("the plan did not go on: %s", problems)
		}
		if len(writes) > 300*5 {
			t.Errorf("%d writes for 299 Ingresses", len(writes))
		}
	})
}

// An older version named its virtual server otherwise: the new one takes the
// place over, and if that fails the old one serves on.
func TestAVirtualServerMakesWayRightBeforeItsPlaceIsTaken(t *testing.T) {
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused %v", refused), func(t *testing.T) {
			withManager(t, func(t *testing.T, m *manager) {
				b := newBench(t, m)
				b.hold(shopOf(1))
				stop := b.start(m.world)
				settle(5 * time.Second)
				stop()
				names, err := m.client.List(t.Context(), vtm.VirtualServers)
				if err != nil || len(names) != 1 {
					t.Fatalf("virtual servers %q, %v", names, err)
				}
				id := vtm.ID{Type: vtm.VirtualServers, Name: names[0]}
				server, err := m.client.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.client.Delete(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				old := vtm.New(vtm.VirtualServers, "k8s_named_otherwise", server.Properties())
				put(t, m.client, old)
				before := m.writes()

				f := &failing{how: "refused"}
				if refused {
					f.n = 2 // after the old one was disabled
				}
				stop = b.start(meddling{m.world, f.meddle})
				defer stop()
				settle(100 * time.Millisecond)
				if refused {
					now, err := m.client.Get(t.Context(), old.ID)
					if err != nil || now.Get("basic", "enabled") != true {
						t.Errorf("the old one does not serve: %v, %v", now, err)
					}
				}
				settle(30 * time.Second)
				var got []string
				writes, _ := m.Writes()
				for _, w := range writes[before:] {
					got = append(got, w.Method+" "+w.Path)
				}
				want := []string{"PUT " + old.ID.String(), "PUT " + id.String(), "DELETE " + old.ID.String()}
				if refused {
					want = append([]string{want[0], want[0]}, want...) // disabled, enabled, and again
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("writes (-want +got): %s", diff)
				}
				if live, problems := b.last("web-000"); !live {
					t.Errorf("not live: %s", problems)
				}
			})
		})
	}
}
