package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"vtm-ingress/sim/node"
	"vtm-ingress/testenv/kubetest"
)

// cluster is one of two nodes, and a client of their ports.
type cluster struct {
	*kubetest.Cluster
	http *http.Client // a connection for each request
}

func inBubble(t *testing.T, version string, run func(c *cluster)) {
	t.Helper()
	kubetest.InBubble(t, kubetest.Options{Subnet: 21, Nodes: 2, Version: version, Seed: 3}, asking(run))
}

// dualInBubble is inBubble with both IP families.
func dualInBubble(t *testing.T, run func(c *cluster)) {
	t.Helper()
	kubetest.InBubble(t, kubetest.Options{Subnet: 21, Nodes: 2, DualStack: true, Seed: 3}, asking(run))
}

func overSockets(t *testing.T, images *node.Images, run func(c *cluster)) {
	t.Helper()
	kubetest.OverSockets(t, kubetest.Options{Subnet: 21, Nodes: 2, Images: images}, asking(run))
}

func asking(run func(c *cluster)) func(*kubetest.Cluster) {
	return func(c *kubetest.Cluster) {
		client := c.World.HTTPClient("test/requests", nil)
		defer client.CloseIdleConnections()
		run(&cluster{c, client})
	}
}

func must[T any](c *cluster) func(T, error) T { return kubetest.Must[T](c.Cluster) }

// pod creates a pod of one container from the container's YAML; change may do more.
func (c *cluster) pod(name, container string, change func(p *corev1.Pod)) {
	c.T.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}}
	p.Spec.Containers = make([]corev1.Container, 1)
	if err := yaml.UnmarshalStrict([]byte(container), &p.Spec.Containers[0]); err != nil {
		c.T.Fatal(err)
	}
	p.Spec.Containers[0].Name = "web"
	if change != nil {
		change(p)
	}
	must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Create(c.Ctx, p, metav1.CreateOptions{}))
}

// onNode puts a pod on a node without asking the scheduler.
func onNode(n int) func(p *corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeName = fmt.Sprint("node-", n) }
}

func (c *cluster) get(name string) corev1.Pod {
	c.T.Helper()
	return *must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Get(c.Ctx, name, metav1.GetOptions{}))
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
		return kubetest.PodReady(&p), p.Status
	}
}

func (c *cluster) delete(name string, options metav1.DeleteOptions) {
	c.T.Helper()
	if err := c.CoreV1().Pods(kubetest.Namespace).Delete(c.Ctx, name, options); err != nil {
		c.T.Fatal(err)
	}
}

func (c *cluster) gone(name string) func() (bool, any) {
	return func() (bool, any) {
		p, err := c.CoreV1().Pods(kubetest.Namespace).Get(c.Ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), p
	}
}

// service makes a Service with a node port for the pods of app and returns the port.
func (c *cluster) service(app string, policy corev1.ServiceExternalTrafficPolicy) int32 {
	c.T.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app + "-" + strings.ToLower(string(policy))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: policy, Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Port: 8080}},
		},
	}
	return must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Create(c.Ctx, s, metav1.CreateOptions{})).Spec.Ports[0].NodePort
}

// answer of the echo server.
type answer struct {
	Pod, Namespace, Node, PodIP, Method, Host, Path, Query, RemoteAddress string
	Headers                                                               http.Header
	TLS                                                                   bool
}

// request goes to a node's port on a connection of its own.
func (c *cluster) request(method string, n int, port int32, path string) (int, answer, error) {
	return c.requestAt(c.NodeAddress(n), method, port, path)
}

func (c *cluster) requestAt(address netip.Addr, method string, port int32, path string) (int, answer, error) {
	r, err := http.NewRequestWithContext(c.Ctx, method, fmt.Sprintf("http://%s:%d%s", address, port, path), nil)
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
	c.T.Helper()
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(text), &d); err != nil {
		c.T.Fatal(err)
	}
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(kubetest.Namespace).Create(c.Ctx, &d, metav1.CreateOptions{}))
}
