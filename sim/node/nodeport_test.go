package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"vtm-ingress/sim/node"
	"vtm-ingress/testenv/kubetest"
)

// answers waits until a node's port answers, and returns the pod that does.
func (c *cluster) answers(n int, port int32) string {
	c.T.Helper()
	var pod string
	c.Eventually(fmt.Sprintf("an answer of node %d", n), func() (bool, any) {
		status, a, err := c.request("GET", n, port, "/")
		pod = a.Pod
		return status == 200, err
	})
	return pod
}

// refuses waits until a node's port refuses connections.
func (c *cluster) refuses(n int, port int32) {
	c.T.Helper()
	c.Eventually(fmt.Sprintf("node %d to refuse", n), func() (bool, any) {
		status, _, err := c.request("GET", n, port, "/")
		return errors.Is(err, syscall.ECONNREFUSED), fmt.Sprint(status, err)
	})
}

func TestANodePortReachesPodsOfAllNodesInTurn(t *testing.T) {
	for _, version := range []string{"", "1.20"} { // by EndpointSlices, by Endpoints
		t.Run("Kubernetes "+version, func(t *testing.T) {
			inBubble(t, version, func(c *cluster) {
				port := c.service("web", "Cluster")
				c.refuses(1, port)
				for n, name := range []string{"a", "b"} {
					c.pod(name, echo, func(p *corev1.Pod) { onNode(n + 1)(p); p.Labels["app"] = "web" })
					c.Eventually("it to be ready", c.ready(name))
				}
				for n := 1; n <= 2; n++ {
					c.Eventually("both pods behind each node", func() (bool, any) {
						count := map[string]int{}
						for range 10 {
							_, a, err := c.request("GET", n, port, "/x%20y?q=1")
							if err != nil || a.Path != "/x%20y" || a.Query != "q=1" || a.Method != "GET" || a.Namespace != kubetest.Namespace || a.TLS {
								t.Fatalf("%+v %v", a, err)
							}
							count[a.Pod+" on "+a.Node]++
						}
						return count["a on node-1"] == 5 && count["b on node-2"] == 5, count
					})
				}
				// Another number of the port opens that and closes this.
				s := must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Get(c.Ctx, "web-cluster", metav1.GetOptions{}))
				s.Spec.Ports[0].NodePort = 32100
				must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Update(c.Ctx, s, metav1.UpdateOptions{}))
				c.answers(1, 32100)
				c.refuses(1, port)
				if err := c.CoreV1().Services(kubetest.Namespace).Delete(c.Ctx, s.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				c.refuses(1, 32100)
			})
		})
	}
}

func TestPolicyLocalRefusesWhereNoPodIs(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		port := c.service("web", "Local")
		c.pod("a", echo, func(p *corev1.Pod) { onNode(1)(p); p.Labels["app"] = "web" })
		if got := c.answers(1, port); got != "a" {
			t.Errorf("pod %s", got)
		}
		c.refuses(2, port)
		c.pod("b", echo, func(p *corev1.Pod) { onNode(2)(p); p.Labels["app"] = "web" })
		for range 5 {
			if one, two := c.answers(1, port), c.answers(2, port); one != "a" || two != "b" {
				t.Errorf("node 1 answers by %s, node 2 by %s", one, two)
			}
		}
	})
}

func TestThoseThatLeaveServeWhereNobodyElseDoes(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		local, everywhere := c.service("web", "Local"), c.service("web", "Cluster")
		draining := `{image: "hello:1", args: ["--drain=8s"], ports: [{containerPort: 8080}]}`
		for n, name := range []string{"a", "b"} {
			c.pod(name, draining, func(p *corev1.Pod) { onNode(n + 1)(p); p.Labels["app"] = "web" })
			c.Eventually("it to be ready", c.ready(name))
		}
		c.answers(1, local)
		c.delete("a", metav1.DeleteOptions{})
		time.Sleep(time.Second)
		for range 10 {
			if status, a, err := c.request("GET", 1, local, "/"); status != 200 || a.Pod != "a" || a.Headers.Get("Connection") == "keep-alive" {
				t.Fatalf("the only one of this node, though it leaves: %d %+v %v", status, a, err)
			}
			if status, a, err := c.request("GET", 1, everywhere, "/"); status != 200 || a.Pod != "b" {
				t.Fatalf("one leaves, the other is ready: %d %+v %v", status, a, err)
			}
		}
		c.Eventually("it to be gone", c.gone("a"))
		c.refuses(1, local)
		c.delete("b", metav1.DeleteOptions{})
		time.Sleep(time.Second)
		if got := c.answers(1, everywhere); got != "b" {
			t.Errorf("pod %s", got)
		}
		c.Eventually("it to be gone", c.gone("b"))
		c.refuses(1, everywhere)
	})
}

func TestConnectionsGoOnWhenEndpointsChange(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		port := c.service("web", "Cluster")
		c.pod("a", `{image: "hello:1", args: ["--drain=30s"], ports: [{containerPort: 8080}]}`,
			func(p *corev1.Pod) {
				onNode(1)(p)
				p.Labels["app"] = "web"
				p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
			})
		c.answers(2, port)
		conn, err := c.World.Dial(c.Ctx, "test/conn", "tcp", fmt.Sprintf("%s:%d", c.NodeAddress(2), port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		ask := func(path string) *http.Response {
			t.Helper()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || !strings.Contains(string(body), `"pod": "a"`) {
				t.Fatalf("%s %v", body, err)
			}
			return response
		}
		if r := ask("/"); r.Close {
			t.Error("closed at once")
		}
		c.pod("b", echo, func(p *corev1.Pod) { onNode(2)(p); p.Labels["app"] = "web" })
		c.Eventually("the other to be ready", c.ready("b"))
		c.delete("a", metav1.DeleteOptions{})
		time.Sleep(5 * time.Second)
		// In flight when the listener closes: it is finished.
		if r := ask("/?delay=40s"); !r.Close {
			t.Error("a server that leaves does not say so")
		}
	})
}

func TestARequestInFlightIsFinished(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		port := c.service("web", "Cluster")
		c.pod("a", echo, func(p *corev1.Pod) { onNode(1)(p); p.Labels["app"] = "web" })
		c.answers(1, port)
		var asked sync.WaitGroup
		asked.Go(func() {
			status, a, err := c.request("GET", 1, port, "/status/202?delay=10s")
			if status != 202 || a.Pod != "a" {
				t.Errorf("%d %+v %v", status, a, err)
			}
		})
		time.Sleep(time.Second)
		began := time.Now()
		c.delete("a", metav1.DeleteOptions{}) // it does not drain: but for the request, it would be gone
		c.Eventually("it to be gone", c.gone("a"))
		if took := time.Since(began); took < 8*time.Second || took > 11*time.Second {
			t.Errorf("gone after %s", took)
		}
		asked.Wait()
	})
}

func TestTheEchoServerDoesAsItIsTold(t *testing.T) {
	overSockets(t, node.DefaultImages(), func(c *cluster) {
		c.pod("a", `{image: "hello:1", args: ["--tls-port=8443"], ports: [{containerPort: 8080}, {containerPort: 8443, name: tls}],
			readinessProbe: {httpGet: {path: /ready, port: tls, scheme: HTTPS}, periodSeconds: 1}}`, nil)
		c.Eventually("it to be ready, by TLS", c.ready("a"))
		port := c.service("a", "Cluster")
		c.answers(1, port)
		for path, want := range map[string]int{
			"/?status=503": 503, "/status/418": 418, "/status/999999": 400, "/?status=x": 400, "/?delay=x": 400, "/?delay=1ms": 200,
			"/?body=-1": 400, "/?body=99999999999999": 400, "/ready": 200, "/ready?value=false": 200,
		} {
			if status, _, err := c.request("GET", 1, port, path); status != want {
				t.Errorf("%s: %d %v", path, status, err)
			}
		}
		response, err := c.http.Get(fmt.Sprintf("http://%s:%d/?body=100000", c.NodeAddress(2), port))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if n, err := io.Copy(io.Discard, response.Body); n != 100000 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

const rolling = `
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: hello:1
        args: [--drain=1s]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
`

// restart begins a rollout as kubectl rollout restart does, and waits for its end and
// for that of the old pods.
func (c *cluster) restart(name, at string) {
	c.T.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, at)
	if _, err := c.AppsV1().Deployments(kubetest.Namespace).Patch(c.Ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		c.T.Fatal(err)
	}
	c.rolledOut(name)
	c.Eventually("the old pods to be gone", func() (bool, any) {
		list := must[*corev1.PodList](c)(c.CoreV1().Pods(kubetest.Namespace).List(c.Ctx, metav1.ListOptions{LabelSelector: "app=" + name}))
		for _, p := range list.Items {
			if p.Annotations["kubectl.kubernetes.io/restartedAt"] != at {
				return false, p.Name
			}
		}
		return true, nil
	})
}

func (c *cluster) rolledOut(name string) {
	c.T.Helper()
	c.Eventually("the rollout", func() (bool, any) {
		d, err := c.AppsV1().Deployments(kubetest.Namespace).Get(c.Ctx, name, metav1.GetOptions{})
		if err != nil {
			c.T.Fatal(err)
		}
		s, n := d.Status, *d.Spec.Replicas
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n, s
	})
}

func TestARolloutLosesNoRequest(t *testing.T) {
	overSockets(t, node.DefaultImages(), func(c *cluster) {
		c.deployment(rolling)
		port := c.service("web", "Cluster")
		c.rolledOut("web")
		c.answers(1, port)
		c.answers(2, port)

		load, enough := context.WithCancel(c.Ctx)
		var clients sync.WaitGroup
		var good atomic.Int64
		pods := sync.Map{}
		for n := 1; n <= 2; n++ {
			for _, keepAlive := range []bool{true, false} {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keepAlive}, Timeout: 10 * time.Second}
				defer client.CloseIdleConnections()
				clients.Go(func() {
					for load.Err() == nil {
						// POST: a transport does not repeat it by itself.
						response, err := client.Post(fmt.Sprintf("http://%s:%d/?delay=2ms", c.NodeAddress(n), port), "text/plain", strings.NewReader("x"))
						if err != nil {
							t.Errorf("kept alive %v, after %d good ones: %v", keepAlive, good.Load(), err)
							return
						}
						body, err := io.ReadAll(response.Body)
						response.Body.Close()
						if err != nil || response.StatusCode != 200 {
							t.Errorf("%d %v", response.StatusCode, err)
							return
						}
						_, rest, _ := strings.Cut(string(body), `"pod": "`)
						pod, _, _ := strings.Cut(rest, `"`)
						pods.Store(pod, true)
						good.Add(1)
					}
				})
			}
		}
		for _, at := range []string{"1", "2"} {
			c.restart("web", at)
		}
		enough()
		clients.Wait()
		served := 0
		pods.Range(func(any, any) bool { served++; return true })
		if served != 6 {
			t.Errorf("%d pods served; two rollouts of two pods make six", served)
		}
		t.Logf("%d requests", good.Load())
	})
}

func TestANodePortPassesHalfClosedConnections(t *testing.T) {
	overSockets(t, node.DefaultImages(), func(c *cluster) {
		port := c.service("web", "Cluster")
		c.pod("a", echo, func(p *corev1.Pod) { onNode(1)(p); p.Labels["app"] = "web" })
		c.answers(1, port)
		conn, err := (&net.Dialer{}).DialContext(c.Ctx, "tcp", fmt.Sprintf("%s:%d", c.NodeAddress(2), port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// All that is asked is sent, then this end closes its half: the answer comes still.
		fmt.Fprintf(conn, "GET /?body=300000 HTTP/1.0\r\n\r\n")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(conn)
		if err != nil || len(body) < 300000 {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
}

func TestANodeOfBothFamiliesHasAnAddressOfEach(t *testing.T) {
	dualInBubble(t, func(c *cluster) {
		n := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-2", metav1.GetOptions{}))
		var addresses []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				addresses = append(addresses, a.Address)
			}
		}
		if !slices.Equal(addresses, []string{"127.21.1.2", "fd00:2::2"}) || !slices.Equal(n.Spec.PodCIDRs, []string{"10.244.2.0/24", "fd00:244:0:2::/120"}) {
			t.Errorf("addresses %v, pods in %v", addresses, n.Spec.PodCIDRs)
		}
		c.pod("a", echo, onNode(2))
		c.Eventually("it to be ready", c.ready("a"))
		s := c.get("a").Status
		if len(s.PodIPs) != 2 || s.PodIP != s.PodIPs[0].IP || len(s.HostIPs) != 2 || s.HostIP != "127.21.1.2" || s.HostIPs[1].IP != "fd00:2::2" {
			t.Fatalf("%+v", s)
		}
		for i, ip := range s.PodIPs {
			if !netip.MustParsePrefix(n.Spec.PodCIDRs[i]).Contains(netip.MustParseAddr(ip.IP)) {
				t.Errorf("address %d of the pod is %s", i, ip.IP)
			}
		}
	})
}

func TestANodePortIsOpenOnAddressesOfTheServicesFamilies(t *testing.T) {
	dualInBubble(t, func(c *cluster) {
		c.pod("a", echo, func(p *corev1.Pod) { onNode(1)(p); p.Labels["app"] = "web" })
		c.Eventually("it to be ready", c.ready("a"))
		v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
		addresses := map[corev1.IPFamily]netip.Addr{v4: c.NodeAddress(2), v6: c.NodeListensV6(2)}
		create := func(name string, selector map[string]string, families ...corev1.IPFamily) int32 {
			t.Helper()
			s := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeNodePort, Selector: selector, Ports: []corev1.ServicePort{{Port: 8080}},
					IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyPreferDualStack), IPFamilies: families,
				},
			}
			if len(families) == 1 {
				s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
			}
			return must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Create(c.Ctx, s, metav1.CreateOptions{})).Spec.Ports[0].NodePort
		}
		open := func(port int32, families ...corev1.IPFamily) {
			t.Helper()
			for _, family := range families {
				c.Eventually(fmt.Sprintf("port %d to be open on %s", port, family), func() (bool, any) {
					status, a, err := c.requestAt(addresses[family], "GET", port, "/")
					return status == 200 && a.Pod == "a", err
				})
			}
			for family, address := range addresses {
				if slices.Contains(families, family) {
					continue
				}
				c.Eventually(fmt.Sprintf("port %d to be closed on %s", port, family), func() (bool, any) {
					status, _, err := c.requestAt(address, "GET", port, "/")
					return errors.Is(err, syscall.ECONNREFUSED), fmt.Sprint(status, err)
				})
			}
		}
		web := map[string]string{"app": "web"}
		both := create("both", web, v4, v6)
		open(both, v4, v6)
		open(create("four", web, v4), v4)
		open(create("six", web, v6), v6)
		single := func(service string) {
			t.Helper()
			must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Patch(c.Ctx, service, types.MergePatchType,
				[]byte(`{"spec":{"ipFamilyPolicy":"SingleStack"}}`), metav1.PatchOptions{}))
		}
		single("both")
		open(both, v4)

		// Pods are reached by addresses of the same family: one of the other is no help.
		own := create("own", nil, v4, v6)
		c.slice("own", discoveryv1.AddressTypeIPv6, c.get("a").Status.PodIPs[1].IP)
		open(own, v6)
		c.slice("own", discoveryv1.AddressTypeIPv4, c.get("a").Status.PodIPs[0].IP)
		open(own, v4, v6)
		single("own")
		open(own, v4)
	})
}

// slice makes one by hand for the port 8080 of one pod.
func (c *cluster) slice(service string, kind discoveryv1.AddressType, address string) {
	c.T.Helper()
	must[*discoveryv1.EndpointSlice](c)(c.DiscoveryV1().EndpointSlices(kubetest.Namespace).Create(c.Ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{GenerateName: service + "-", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: kind, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To[int32](8080)}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}, metav1.CreateOptions{}))
}
