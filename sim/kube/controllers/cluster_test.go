package controllers_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/yaml"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/kube/controllers"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/node"
)

func init() {
	// One of them sleeps by the real clock, which lies decades after a bubble's; the
	// others print what a reflector survives.
	utilruntime.ErrorHandlers = nil
}

const here = "default"

// cluster is an API server with these controllers and some hollow nodes.
type cluster struct {
	*kubeclient.Client
	t      *testing.T
	ctx    context.Context
	world  outside.World
	server *kube.Server
	fabric *node.Fabric
	net    *network.Network // nil over sockets
	parts  sync.WaitGroup
}

// setup of a cluster.
type setup struct {
	nodes   int
	version string
	seed    uint64
	trace   *network.Trace
}

// inBubble runs a cluster in memory, with fake time.
func inBubble(t *testing.T, o setup, run func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: o.seed, Trace: o.trace})
		c := &cluster{t: t, world: net.World(), net: net}
		c.run(o, "127.20.0.1:6443", true, run)
		net.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}

// overSockets runs a cluster on loopback addresses.
func overSockets(t *testing.T, o setup, run func(c *cluster)) {
	t.Helper()
	c := &cluster{t: t, world: outside.Real()}
	c.run(o, "127.20.0.1:0", false, run)
}

func (c *cluster) run(o setup, address string, plain bool, run func(c *cluster)) {
	ctx, cancel := context.WithCancel(c.t.Context())
	c.ctx, c.fabric = ctx, node.NewFabric()
	log := slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	c.server, err = kube.Start(kube.Options{World: c.world, Log: log, Address: address, Version: o.version, PlainHTTP: plain, Logs: c.fabric.Logs})
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() {
		cancel()
		c.parts.Wait()
		c.server.Close()
	}()
	c.Client, err = kubeclient.New(c.world, "test", c.server.Config("test"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer c.Close()
	c.parts.Go(func() {
		err := controllers.Run(ctx, controllers.Options{
			World: c.world, Log: log, Config: c.server.Config("controllers"), Actor: "controllers", KubernetesVersion: o.version,
		})
		if err != nil {
			c.t.Error(err)
		}
	})
	for n := 1; n <= o.nodes; n++ {
		c.startNode(ctx, n)
	}
	run(c)
}

// startNode starts node-<n> and waits until it is ready. It runs until ctx ends.
func (c *cluster) startNode(ctx context.Context, n int) {
	c.t.Helper()
	name := fmt.Sprint("node-", n)
	c.parts.Go(func() {
		err := node.Run(ctx, node.Options{
			World: c.world, Log: slog.New(slog.DiscardHandler), Config: c.server.Config("system:node:" + name), Actor: name, Name: name,
			Address: netip.AddrFrom4([4]byte{127, 20, 1, byte(n)}), PodCIDR: fmt.Sprintf("10.244.%d.0/24", n),
			Images: node.DefaultImages(), Fabric: c.fabric,
		})
		if err != nil {
			c.t.Error(err)
		}
	})
	c.eventually(name+" is ready", func() (bool, any) {
		got, err := c.CoreV1().Nodes().Get(c.ctx, name, metav1.GetOptions{})
		return err == nil && nodeReady(got) == corev1.ConditionTrue, err
	})
}

func nodeReady(n *corev1.Node) corev1.ConditionStatus {
	for _, x := range n.Status.Conditions {
		if x.Type == corev1.NodeReady {
			return x.Status
		}
	}
	return ""
}

// within asks again and again until good, for d at most, of fake time in a bubble.
func (c *cluster) within(d time.Duration, what string, good func() (bool, any)) {
	c.t.Helper()
	end := c.world.Clock().Now().Add(d)
	for {
		ok, last := good()
		if ok {
			return
		}
		if c.world.Clock().Now().After(end) {
			c.t.Fatalf("not within %s: %s; last: %+v", d, what, last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *cluster) eventually(what string, good func() (bool, any)) {
	c.t.Helper()
	c.within(time.Minute, what, good)
}

// during calls look again and again until done.
func (c *cluster) during(what string, done func() (bool, any), look func()) {
	c.t.Helper()
	c.eventually(what, func() (bool, any) {
		look()
		return done()
	})
}

func must[T any](c *cluster) func(T, error) T {
	return func(v T, err error) T {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		return v
	}
}

// app is a Deployment of three echo servers, ready a moment after they start, that
// go on for two seconds after the stop signal.
func (c *cluster) app(change func(d *appsv1.Deployment)) *appsv1.Deployment {
	c.t.Helper()
	var d appsv1.Deployment
	err := yaml.UnmarshalStrict([]byte(`
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: hello:1
        args: [--drain=2s]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
`), &d)
	if err != nil {
		c.t.Fatal(err)
	}
	if change != nil {
		change(&d)
	}
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(here).Create(c.ctx, &d, metav1.CreateOptions{}))
}

// service selects the pods of app.
func (c *cluster) service(change func(s *corev1.Service)) *corev1.Service {
	c.t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	s.Spec.Ports[0].TargetPort.Type, s.Spec.Ports[0].TargetPort.StrVal = 1, "http"
	if change != nil {
		change(s)
	}
	return must[*corev1.Service](c)(c.CoreV1().Services(here).Create(c.ctx, s, metav1.CreateOptions{}))
}

func (c *cluster) deployment() *appsv1.Deployment {
	c.t.Helper()
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(here).Get(c.ctx, "app", metav1.GetOptions{}))
}

// patch changes the Deployment by a strategic merge patch.
func (c *cluster) patch(patch string) {
	c.t.Helper()
	must[*appsv1.Deployment](c)(c.AppsV1().Deployments(here).Patch(c.ctx, "app", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}))
}

// template changes the template, so that a rollout begins.
func (c *cluster) template(version string) {
	c.t.Helper()
	c.patch(fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"version":%q}}}}}`, version))
}

// rolledOut is what kubectl rollout status waits for.
func (c *cluster) rolledOut() (bool, any) {
	d := c.deployment()
	s, n := d.Status, *d.Spec.Replicas
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n, s
}

// pods lists the pods of app, by name.
func (c *cluster) pods() []corev1.Pod {
	c.t.Helper()
	list := must[*corev1.PodList](c)(c.CoreV1().Pods(here).List(c.ctx, metav1.ListOptions{LabelSelector: "app=app"}))
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items
}

func ready(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(x corev1.PodCondition) bool {
		return x.Type == corev1.PodReady && x.Status == corev1.ConditionTrue
	})
}

func (c *cluster) replicaSets() []appsv1.ReplicaSet {
	c.t.Helper()
	list := must[*appsv1.ReplicaSetList](c)(c.AppsV1().ReplicaSets(here).List(c.ctx, metav1.ListOptions{}))
	slices.SortFunc(list.Items, func(a, b appsv1.ReplicaSet) int {
		return cmp.Compare(a.Annotations[revision], b.Annotations[revision])
	})
	return list.Items
}

const revision = "deployment.kubernetes.io/revision"

func (c *cluster) deletePod(name string) {
	c.t.Helper()
	if err := c.CoreV1().Pods(here).Delete(c.ctx, name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// event waits for an Event with this reason whose message contains text.
func (c *cluster) event(reason, text string) {
	c.t.Helper()
	c.eventually("an Event "+reason, func() (bool, any) {
		list := must[*corev1.EventList](c)(c.CoreV1().Events(here).List(c.ctx, metav1.ListOptions{}))
		var seen []string
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return true, nil
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return false, seen
	})
}

func gone(err error) bool { return apierrors.IsNotFound(err) }

// unready makes an echo server answer its readiness probe with 503, and waits until
// the pod is not ready.
func (c *cluster) unready(p corev1.Pod) {
	c.t.Helper()
	c.service(func(s *corev1.Service) {
		s.Name, s.Spec.Type = "only-"+p.Name, corev1.ServiceTypeNodePort
		s.Spec.Selector = map[string]string{"only": p.Name}
	})
	label := fmt.Sprintf(`{"metadata":{"labels":{"only":%q}}}`, p.Name)
	must[*corev1.Pod](c)(c.CoreV1().Pods(here).Patch(c.ctx, p.Name, types.MergePatchType, []byte(label), metav1.PatchOptions{}))
	s := must[*corev1.Service](c)(c.CoreV1().Services(here).Get(c.ctx, "only-"+p.Name, metav1.GetOptions{}))
	client := c.world.HTTPClient("test/unready", nil)
	defer client.CloseIdleConnections()
	c.eventually(p.Name+" to be unready", func() (bool, any) {
		url := fmt.Sprintf("http://127.20.1.1:%d/ready?value=false", s.Spec.Ports[0].NodePort)
		r, err := http.NewRequestWithContext(c.ctx, http.MethodPut, url, nil)
		if err != nil {
			return false, err
		}
		if response, err := client.Do(r); err == nil {
			response.Body.Close()
		}
		got := must[*corev1.Pod](c)(c.CoreV1().Pods(here).Get(c.ctx, p.Name, metav1.GetOptions{}))
		return !ready(*got), got.Status
	})
}
