package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// cluster is an API server with its controllers and two nodes.
type cluster struct {
	*kubeclient.Client
	t      *testing.T
	ctx    context.Context
	world  outside.World
	server *kube.Server
	fabric *node.Fabric
	images *node.Images
	http   *http.Client // a connection for each request
	parts  sync.WaitGroup
}

// inBubble runs a cluster in memory, with fake time.
func inBubble(t *testing.T, version string, run func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: 3})
		c := &cluster{t: t, world: net.World(), images: node.DefaultImages()}
		c.run("127.21.0.1:6443", version, true, run)
		net.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}

// overSockets runs a cluster on loopback addresses.
func overSockets(t *testing.T, images *node.Images, run func(c *cluster)) {
	t.Helper()
	c := &cluster{t: t, world: outside.Real(), images: images}
	c.run("127.21.0.1:0", "", false, run)
}

func (c *cluster) run(address, version string, plain bool, run func(c *cluster)) {
	ctx, cancel := context.WithCancel(c.t.Context())
	c.ctx, c.fabric = ctx, node.NewFabric()
	quiet := slog.New(slog.DiscardHandler)
	var err error
	c.server, err = kube.Start(kube.Options{World: c.world, Log: quiet, Address: address, Version: version, PlainHTTP: plain, Logs: c.fabric.Logs})
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() {
		cancel()
		c.parts.Wait()
		c.server.Close()
	}()
	if c.Client, err = kubeclient.New(c.world, "test", c.server.Config("test")); err != nil {
		c.t.Fatal(err)
	}
	defer c.Close()
	c.http = c.world.HTTPClient("test/requests", nil)
	defer c.http.CloseIdleConnections()
	c.parts.Go(func() {
		err := controllers.Run(ctx, controllers.Options{
			World: c.world, Log: quiet, Config: c.server.Config("controllers"), Actor: "controllers", KubernetesVersion: version,
		})
		if err != nil {
			c.t.Error(err)
		}
	})
	for n := 1; n <= 2; n++ {
		name := fmt.Sprint("node-", n)
		c.parts.Go(func() {
			err := node.Run(ctx, node.Options{
				World: c.world, Log: quiet, Config: c.server.Config("system:node:" + name), Actor: name, Name: name,
				Address: address4(n), PodCIDR: fmt.Sprintf("10.244.%d.0/24", n), Images: c.images, Fabric: c.fabric,
			})
			if err != nil {
				c.t.Error(err)
			}
		})
	}
	c.eventually("both nodes", func() (bool, any) {
		list := must[*corev1.NodeList](c)(c.CoreV1().Nodes().List(ctx, metav1.ListOptions{}))
		ready := 0
		for _, n := range list.Items {
			for _, x := range n.Status.Conditions {
				if x.Type == corev1.NodeReady && x.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == 2, list
	})
	run(c)
}

// address4 is the n-th node's address.
func address4(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 21, 1, byte(n)}) }

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

func must[T any](c *cluster) func(T, error) T {
	return func(v T, err error) T {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		return v
	}
}

// pod creates a pod of one container from the container's YAML; change may do more.
func (c *cluster) pod(name, container string, change func(p *corev1.Pod)) {
	c.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}}
	p.Spec.Containers = make([]corev1.Container, 1)
	if err := yaml.UnmarshalStrict([]byte(container), &p.Spec.Containers[0]); err != nil {
		c.t.Fatal(err)
	}
	p.Spec.Containers[0].Name = "web"
	if change != nil {
		change(p)
	}
	must[*corev1.Pod](c)(c.CoreV1().Pods(here).Create(c.ctx, p, metav1.CreateOptions{}))
}

// onNode puts a pod on a node without asking the scheduler.
func onNode(n int) func(p *corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeName = fmt.Sprint("node-", n) }
}

func (c *cluster) get(name string) corev1.Pod {
	c.t.Helper()
	return *must[*corev1.Pod](c)(c.CoreV1().Pods(here).Get(c.ctx, name, metav1.GetOptions{}))
}

// state is that of a pod's one container.
func state(p corev1.Pod) corev1.ContainerStatus {
	if len(p.Status.ContainerStatuses) == 0 {
		return corev1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[0]
}

func (c *cluster) ready(name string) func() (bool, any) {
	return func() (bool, any) {
		p := c.get(name)
		for _, x := range p.Status.Conditions {
			if x.Type == corev1.PodReady {
				return x.Status == corev1.ConditionTrue, p.Status
			}
		}
		return false, p.Status
	}
}

func (c *cluster) delete(name string, options metav1.DeleteOptions) {
	c.t.Helper()
	if err := c.CoreV1().Pods(here).Delete(c.ctx, name, options); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) gone(name string) func() (bool, any) {
	return func() (bool, any) {
		p, err := c.CoreV1().Pods(here).Get(c.ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), p
	}
}

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

// service makes a Service with a node port for the pods of app and returns the port.
func (c *cluster) service(app string, policy corev1.ServiceExternalTrafficPolicy) int32 {
	c.t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app + "-" + strings.ToLower(string(policy))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: policy, Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Port: 8080}},
		},
	}
	return must[*corev1.Service](c)(c.CoreV1().Services(here).Create(c.ctx, s, metav1.CreateOptions{})).Spec.Ports[0].NodePort
}

// answer of the echo server.
type answer struct {
	Pod, Namespace, Node, PodIP, Method, Host, Path, Query, RemoteAddress string
	Headers                                                               http.Header
	TLS                                                                   bool
}

// request goes to a node's port on a connection of its own.
func (c *cluster) request(method string, n int, port int32, path string) (int, answer, error) {
	r, err := http.NewRequestWithContext(c.ctx, method, fmt.Sprintf("http://%s:%d%s", address4(n), port, path), nil)
	if err != nil {
		return 0, answer{}, err
	}
	r.Close = true
	response, err := c.http.Do(r)
	if err != nil {
		return 0, answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var a answer
	json.Unmarshal(body, &a) // what is no JSON leaves it empty
	return response.StatusCode, a, err
}

// deployment creates one from YAML.
func (c *cluster) deployment(text string) *appsv1.Deployment {
	c.t.Helper()
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(text), &d); err != nil {
		c.t.Fatal(err)
	}
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(here).Create(c.ctx, &d, metav1.CreateOptions{}))
}
