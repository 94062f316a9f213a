package contract_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	simkube "vtm-ingress/sim/kube"
	"vtm-ingress/sim/network"
)

func init() {
	// The others sleep by the real clock, which lies decades after a bubble's.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}

const apiAddress = "127.3.0.1:6443"

// cluster is an emulated Kubernetes in a bubble, and an administrator of it.
type cluster struct {
	t      *testing.T
	net    *network.Network
	world  outside.World
	server *simkube.Server
	admin  *kubeclient.Client
	log    *logged
	trace  *network.Trace
}

// generation is a World in which servers that start one after the other know the
// same tokens, and give other UIDs.
type generation struct {
	outside.World
	n byte
}

func (g generation) Rand(name string) io.Reader {
	seed := sha256.Sum256([]byte(name))
	if !strings.HasSuffix(name, "/keys") {
		seed[0] ^= g.n
	}
	return rand.NewChaCha8(seed)
}

// inBubble runs f beside an emulated Kubernetes of a version ("" the newest), on
// a network in memory and with fake time. That nothing is left running when it
// returns is checked by the bubble.
func inBubble(t *testing.T, version string, f func(*testing.T, *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		trace := &network.Trace{}
		c := &cluster{t: t, net: network.New(network.Options{Seed: 11, Trace: trace}), log: &logged{}, trace: trace}
		c.world = generation{c.net.World(), 1}
		defer time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
		defer c.net.Close()
		c.start(version)
		defer func() {
			c.admin.Close()
			c.server.Close()
		}()
		f(t, c)
	})
}

func (c *cluster) start(version string) {
	c.t.Helper()
	var err error
	c.server, err = simkube.Start(simkube.Options{World: c.world, Address: apiAddress, Version: version, PlainHTTP: true})
	if err != nil {
		c.t.Fatal(err)
	}
	c.server.Config("controller") // from now on its token is known
	c.admin, err = kubeclient.New(c.world, "admin", c.server.Config("admin"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "blog"}})
}

// create makes an object.
func (c *cluster) create(object any) {
	c.t.Helper()
	ctx, o := c.t.Context(), metav1.CreateOptions{}
	var err error
	switch x := object.(type) {
	case *corev1.Namespace:
		_, err = c.admin.CoreV1().Namespaces().Create(ctx, x, o)
	case *corev1.Node:
		_, err = c.admin.CoreV1().Nodes().Create(ctx, x, o)
	case *corev1.Service:
		_, err = c.admin.CoreV1().Services(x.Namespace).Create(ctx, x, o)
	case *networkingv1.IngressClass:
		_, err = c.admin.NetworkingV1().IngressClasses().Create(ctx, x, o)
	case *networkingv1.Ingress:
		_, err = c.admin.NetworkingV1().Ingresses(x.Namespace).Create(ctx, x, o)
	case *discoveryv1.EndpointSlice:
		_, err = c.admin.DiscoveryV1().EndpointSlices(x.Namespace).Create(ctx, x, o)
	default:
		c.t.Fatalf("create %T", object)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// createFrom makes an object of JSON.
func (c *cluster) createFrom(path, text string) {
	c.t.Helper()
	if err := c.admin.CoreV1().RESTClient().Post().AbsPath(path).Body([]byte(text)).Do(c.t.Context()).Error(); err != nil {
		c.t.Fatal(err)
	}
}

func someIngress(namespace, name, host string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"vtm.pulsesecure.net/ip-address": "10.0.0.80"}},
		Spec: networkingv1.IngressSpec{
			IngressClassName: ptr.To("vtm"),
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: ptr.To(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
				}}},
			}}}},
		},
	}
}

func named(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// watch starts a Watcher of the cluster; stop ends it and waits.
func (c *cluster) watch(settings *config.Settings) (w *kube.Watcher, stop func()) {
	c.t.Helper()
	if settings == nil {
		settings = config.Default()
	}
	return startWatcher(c.t, c.world, c.log, c.server.Config("controller"), settings)
}

func startWatcher(t *testing.T, world outside.World, log *logged, config *rest.Config, settings *config.Settings) (*kube.Watcher, func()) {
	t.Helper()
	w, err := kube.New(kube.Options{World: world, Log: log.logger(), Config: config, Settings: settings, Actor: "controller/a/kube"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	return w, func() { cancel(); running.Wait() }
}

// until waits for Changed until the Snapshot is as ok wants it. It reads nothing
// but what was signalled.
func until(t *testing.T, w *kube.Watcher, within time.Duration, what string, ok func(*kube.Snapshot) bool) *kube.Snapshot {
	t.Helper()
	timeout := time.After(within)
	for {
		if s := w.Snapshot(); s != nil && ok(s) {
			return s
		}
		select {
		case <-w.Changed():
		case <-timeout:
			t.Fatalf("within %v no Snapshot with %s; now %+v, %v", within, what, w.Snapshot(), w.Err())
		}
	}
}

func holds(name types.NamespacedName) func(*kube.Snapshot) bool {
	return func(s *kube.Snapshot) bool { return s.Ingresses.Get(name) != nil }
}

// quiet fails if something is signalled within d.
func (c *cluster) quiet(w *kube.Watcher, d time.Duration, what string) {
	c.t.Helper()
	select {
	case <-w.Changed():
		c.t.Errorf("%s asks for work", what)
	case <-time.After(d):
	}
}

// logged keeps a log's lines.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logged) whole() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count of lines that hold text.
func (l *logged) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func TestASnapshotIsWhatKubernetesHolds(t *testing.T) {
	for _, version := range []string{"", "1.19", "1.20"} {
		t.Run("version "+version, func(t *testing.T) {
			inBubble(t, version, func(t *testing.T, c *cluster) {
				c.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
				c.create(&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "vtm"}, Spec: networkingv1.IngressClassSpec{Controller: "pulsesecure.net/vtm-ingress-controller"}})
				c.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []corev1.ServicePort{{Port: 80}},
				}})
				c.create(someIngress("shop", "web", "shop.example"))
				c.create(someIngress("kube-system", "hidden", "system.example"))
				w, stop := c.watch(nil)
				defer stop()
				if w.Snapshot() != nil {
					t.Error("a Snapshot before anything was listed")
				}
				s := until(t, w, time.Minute, "the Ingress", holds(named("shop", "web")))
				if s.Ingresses.Get(named("kube-system", "hidden")) != nil {
					t.Error("an Ingress of kube-system is shown")
				}
				if s.Classes.Get("vtm") == nil || s.Nodes.Get("n1") == nil {
					t.Errorf("classes %v, nodes %v", slices.Collect(s.Classes.Keys()), slices.Collect(s.Nodes.Keys()))
				}
				if has := s.Ranges.Get("kubernetes") != nil; has != (version == "") {
					t.Errorf("ranges of Services: %v", slices.Collect(s.Ranges.Keys()))
				}
				service := s.Services.Get(named("shop", "web"))
				if service == nil || service.Ports[0].NodePort == 0 || !service.Local {
					t.Errorf("Service %+v", service)
				}
				ingress := s.Ingresses.Get(named("shop", "web"))
				if ingress.UID == "" || ingress.CreationTimestamp.IsZero() || len(ingress.Annotations) != 1 || ingress.ManagedFields != nil {
					t.Errorf("Ingress %+v", ingress)
				}
				system, err := c.admin.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{})
				if err != nil || s.ClusterUID != system.UID {
					t.Errorf("cluster %q, want that of kube-system, %q (%v)", s.ClusterUID, system.UID, err)
				}
				if want := "v" + version; !strings.HasPrefix(w.Version(), want) {
					t.Errorf("version %q, want %s…", w.Version(), want)
				}

				// Endpoints, in whichever form this version has them.
				if version == "" {
					c.create(&discoveryv1.EndpointSlice{
						ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
						AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(8080))}},
						Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.1"}, NodeName: ptr.To("n1")}},
					})
				} else {
					c.createFrom("/api/v1/namespaces/shop/endpoints",
						`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"web"},"subsets":[{"addresses":[{"ip":"10.244.0.1","nodeName":"n1"}],"ports":[{"port":8080}]}]}`)
				}
				until(t, w, 10*time.Second, "the endpoint's node", func(s *kube.Snapshot) bool {
					e := s.Endpoints.Get(named("shop", "web"))
					return e != nil && len(e.ReadyNodes[""]) == 1 && e.ReadyNodes[""][0] == "n1"
				})
			})
		})
	}
}

func TestOneNamespaceAloneIsWatchedIfSet(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		c.create(someIngress("blog", "web", "b"))
		settings := config.Default()
		settings.WatchNamespace = "blog"
		w, stop := c.watch(settings)
		defer stop()
		s := until(t, w, time.Minute, "the Ingress", holds(named("blog", "web")))
		if s.Ingresses.Len() != 1 {
			t.Errorf("Ingresses %v", slices.Collect(s.Ingresses.Keys()))
		}
	})
}

func TestChangesAreHeardAndQuietOnesAskForNoWork(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		c.create(someIngress("shop", "web", "a"))
		w, stop := c.watch(nil)
		defer stop()
		first := until(t, w, time.Minute, "the Ingress", holds(named("shop", "web")))
		c.quiet(w, time.Hour, "an hour in which nothing happens") // watches end and begin again
		if w.Snapshot() != first {
			t.Error("another Snapshot, though nothing changed")
		}

		node, err := c.admin.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastHeartbeatTime: metav1.Now()}}
		if _, err := c.admin.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.quiet(w, time.Minute, "a node's heartbeat")

		ingress := c.ingress("shop", "web")
		ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "10.0.0.80"}}
		if _, err := c.admin.NetworkingV1().Ingresses("shop").UpdateStatus(t.Context(), ingress, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.quiet(w, time.Minute, "a status")
		if got := w.Snapshot().Ingresses.Get(named("shop", "web")).Status.LoadBalancer.Ingress; len(got) != 1 {
			t.Errorf("status %v: want it shown all the same", got)
		}
		if got := w.Ingress(named("shop", "web")); got != w.Snapshot().Ingresses.Get(named("shop", "web")) {
			t.Error("Ingress gives another one than Snapshot")
		}

		began := time.Now()
		c.create(someIngress("shop", "second", "b"))
		second := until(t, w, time.Second, "the second Ingress", holds(named("shop", "second")))
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("heard after %v of simulated time", took)
		}
		if second.Ingresses.Get(named("shop", "web")) == nil || second.Nodes.Get("n1") != first.Nodes.Get("n1") {
			t.Error("an unchanged object lost its identity")
		}
		if err := c.admin.NetworkingV1().Ingresses("shop").Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		until(t, w, time.Second, "one Ingress", func(s *kube.Snapshot) bool { return s.Ingresses.Len() == 1 })
	})
}

func (c *cluster) ingress(namespace, name string) *networkingv1.Ingress {
	c.t.Helper()
	i, err := c.admin.NetworkingV1().Ingresses(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return i
}

func TestAnOutageEmptiesNothingAndIsToldOnce(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		c.create(someIngress("shop", "gone", "b"))
		w, stop := c.watch(nil)
		defer stop()
		before := until(t, w, time.Minute, "both", func(s *kube.Snapshot) bool { return s.Ingresses.Len() == 2 })
		c.server.Unavailable(true)
		time.Sleep(9 * time.Minute)
		if w.Snapshot() != before {
			t.Error("what is known changed while the API server was away")
		}
		var unavailable *kube.UnavailableError
		if !errors.As(w.Err(), &unavailable) {
			t.Errorf("error %v, want an UnavailableError", w.Err())
		}
		// One line for each kind of objects that can't be had.
		if n := c.log.count("it is tried again"); n < 1 || n > 7 {
			t.Errorf("told %d times:\n%s", n, c.log.text.String())
		}
		c.server.Unavailable(false)
		c.server.ForgetHistory() // the watches can't be resumed
		if err := c.admin.NetworkingV1().Ingresses("shop").Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		until(t, w, time.Minute, "one Ingress", func(s *kube.Snapshot) bool { return s.Ingresses.Len() == 1 })
		time.Sleep(time.Minute)
		if w.Err() != nil || c.log.count("can be used again") != 1 {
			t.Errorf("after the outage: %v\n%s", w.Err(), c.log.text.String())
		}
	})
}

// Behind the address of a cluster there may be another one after an outage: it
// holds none of our Ingresses, and that must not look as if they were deleted.
func TestAnotherClusterIsNeverTakenForTheFirst(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		w, stop := c.watch(nil)
		defer stop()
		first := until(t, w, time.Minute, "the Ingress", holds(named("shop", "web")))
		c.admin.Close()
		c.server.Close()
		c.world = generation{c.net.World(), 2}
		c.start("")
		c.server.ForgetHistory() // or watches would go on in the other's history
		// The question who it is gets no answer for a while, all others do.
		c.net.Cut("controller/a/kube/cluster", "")
		time.Sleep(time.Minute)
		if w.Snapshot() != first {
			t.Error("something is concluded before it is known which cluster this is")
		}
		c.net.Heal("controller/a/kube/cluster", "")
		second := until(t, w, 5*time.Minute, "another cluster", func(s *kube.Snapshot) bool {
			if s.ClusterUID == first.ClusterUID && s.Ingresses.Len() == 0 {
				t.Fatal("the first cluster seems to have lost its Ingress")
			}
			return s.ClusterUID != first.ClusterUID
		})
		if c.log.count("is another cluster") != 1 || second == nil {
			t.Errorf("not told:\n%s", c.log.text.String())
		}
	})
}

func TestATooOldKubernetesIsToldAndWaitedFor(t *testing.T) {
	inBubble(t, "1.18", func(t *testing.T, c *cluster) {
		w, stop := c.watch(nil)
		defer stop()
		time.Sleep(5 * time.Minute)
		var old *kube.TooOldError
		if !errors.As(w.Err(), &old) || w.Snapshot() != nil {
			t.Fatalf("error %v, Snapshot %v", w.Err(), w.Snapshot())
		}
		if n := c.log.count("Kubernetes v1.18"); n != 1 || c.log.count("version 1.19 is the minimum") != 1 {
			t.Errorf("told %d times:\n%s", n, c.log.text.String())
		}
		c.admin.Close()
		c.server.Close()
		c.start("1.19") // upgraded
		c.create(someIngress("shop", "web", "a"))
		until(t, w, time.Minute, "the Ingress", holds(named("shop", "web")))
		if w.Err() != nil {
			t.Error(w.Err())
		}
	})
}

func TestTheWatcherStopsAtOnceWhateverItWaitsFor(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		for _, wait := range []func(){
			func() {},
			func() { time.Sleep(time.Minute) },
			func() { time.Sleep(time.Minute); c.net.Cut("controller", ""); time.Sleep(3 * time.Minute) },
			func() { c.server.Close(); time.Sleep(time.Minute) },
		} {
			_, stop := c.watch(nil)
			wait()
			began := time.Now()
			stop()
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
			c.net.Heal("controller", "")
		}
	})
}

func TestAFreshListSharesNothingWithTheCaches(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		for i := range 700 { // more than a page
			c.create(someIngress("shop", fmt.Sprint("web-", i), "a"))
		}
		w, stop := c.watch(nil)
		defer stop()
		cached := until(t, w, time.Minute, "all", func(s *kube.Snapshot) bool { return s.Ingresses.Len() == 700 })
		listed, err := w.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if listed.Ingresses.Len() != 700 || listed.ClusterUID != cached.ClusterUID {
			t.Errorf("%d Ingresses of %s", listed.Ingresses.Len(), listed.ClusterUID)
		}
		for name, ingress := range listed.Ingresses.All() {
			if ingress == cached.Ingresses.Get(name) {
				t.Fatalf("%s is the cache's", name)
			}
		}
		c.server.Unavailable(true)
		if listed, err = w.List(t.Context()); err == nil || listed != nil {
			t.Errorf("from an API server that is away: %v, %v", listed, err)
		}
	})
}

func TestWatchingWorksOverTLSAndRealSockets(t *testing.T) {
	world := outside.Real()
	server, err := simkube.Start(simkube.Options{World: world, Address: "127.3.7.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	admin, err := kubeclient.New(world, "admin", server.Config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	log := &logged{}
	w, stop := startWatcher(t, world, log, server.Config("controller"), config.Default())
	defer stop()
	until(t, w, 30*time.Second, "nothing in it", func(s *kube.Snapshot) bool { return true })
	if _, err := admin.NetworkingV1().Ingresses("default").Create(t.Context(), someIngress("default", "web", "a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, w, 30*time.Second, "the Ingress", holds(named("default", "web")))
	if w.Err() != nil || log.count("level=ERROR") != 0 {
		t.Errorf("%v\n%s", w.Err(), log.text.String())
	}
}

// What a Watcher asks, and when, is the same in each run: nothing of it is drawn
// from a generator that others draw from too.
func TestAWatchersRequestsRepeat(t *testing.T) {
	var first string
	for range 3 {
		inBubble(t, "", func(t *testing.T, c *cluster) {
			c.create(someIngress("shop", "web", "a"))
			w, stop := c.watch(nil)
			defer stop()
			until(t, w, time.Minute, "the Ingress", holds(named("shop", "web")))
			time.Sleep(20 * time.Minute)
			c.server.Unavailable(true)
			time.Sleep(3 * time.Minute)
			c.server.ForgetHistory()
			c.server.Unavailable(false)
			time.Sleep(10 * time.Minute)
			now := c.trace.Canonical()
			if first == "" {
				first = now
			}
			if d := cmp.Diff(first, now); d != "" {
				t.Errorf("-first +now:\n%s", d)
			}
		})
	}
	if n := strings.Count(first, "\n"); n < 50 {
		t.Errorf("%d requests: too few to say anything", n)
	}
}
