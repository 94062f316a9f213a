package controllers_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"vtm-ingress/sim/network"
	"vtm-ingress/testenv/kubetest"
)

// cluster is one whose pods are those of app.
type cluster struct{ *kubetest.Cluster }

// setup of a cluster.
type setup struct {
	nodes     int
	version   string
	dualStack bool
	seed      uint64
	trace     *network.Trace
}

func (o setup) options() kubetest.Options {
	return kubetest.Options{Subnet: 20, Nodes: o.nodes, Version: o.version, DualStack: o.dualStack, Seed: o.seed, Trace: o.trace}
}

func inBubble(t *testing.T, o setup, run func(c *cluster)) {
	t.Helper()
	kubetest.InBubble(t, o.options(), func(c *kubetest.Cluster) { run(&cluster{c}) })
}

func overSockets(t *testing.T, o setup, run func(c *cluster)) {
	t.Helper()
	kubetest.OverSockets(t, o.options(), func(c *kubetest.Cluster) { run(&cluster{c}) })
}

// during calls look again and again until done.
func (c *cluster) during(what string, done func() (bool, any), look func()) {
	c.T.Helper()
	c.Eventually(what, func() (bool, any) {
		look()
		return done()
	})
}

func must[T any](c *cluster) func(T, error) T { return kubetest.Must[T](c.Cluster) }

// app is a Deployment of three echo servers, ready a moment after they start, that
// go on for two seconds after the stop signal.
func (c *cluster) app(change func(d *appsv1.Deployment)) *appsv1.Deployment {
	c.T.Helper()
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
		c.T.Fatal(err)
	}
	if change != nil {
		change(&d)
	}
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(kubetest.Namespace).Create(c.Ctx, &d, metav1.CreateOptions{}))
}

// service selects the pods of app.
func (c *cluster) service(change func(s *corev1.Service)) *corev1.Service {
	c.T.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	s.Spec.Ports[0].TargetPort.Type, s.Spec.Ports[0].TargetPort.StrVal = 1, "http"
	if change != nil {
		change(s)
	}
	return must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Create(c.Ctx, s, metav1.CreateOptions{}))
}

func (c *cluster) deployment() *appsv1.Deployment {
	c.T.Helper()
	return must[*appsv1.Deployment](c)(c.AppsV1().Deployments(kubetest.Namespace).Get(c.Ctx, "app", metav1.GetOptions{}))
}

// patch changes the Deployment by a strategic merge patch.
func (c *cluster) patch(patch string) {
	c.T.Helper()
	must[*appsv1.Deployment](c)(c.AppsV1().Deployments(kubetest.Namespace).Patch(c.Ctx, "app", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}))
}

// template changes the template, so that a rollout begins.
func (c *cluster) template(version string) {
	c.T.Helper()
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
	c.T.Helper()
	list := must[*corev1.PodList](c)(c.CoreV1().Pods(kubetest.Namespace).List(c.Ctx, metav1.ListOptions{LabelSelector: "app=app"}))
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items
}

func ready(p corev1.Pod) bool { return kubetest.PodReady(&p) }

func (c *cluster) replicaSets() []appsv1.ReplicaSet {
	c.T.Helper()
	list := must[*appsv1.ReplicaSetList](c)(c.AppsV1().ReplicaSets(kubetest.Namespace).List(c.Ctx, metav1.ListOptions{}))
	slices.SortFunc(list.Items, func(a, b appsv1.ReplicaSet) int {
		return cmp.Compare(a.Annotations[revision], b.Annotations[revision])
	})
	return list.Items
}

const revision = "deployment.kubernetes.io/revision"

func (c *cluster) deletePod(name string) {
	c.T.Helper()
	if err := c.CoreV1().Pods(kubetest.Namespace).Delete(c.Ctx, name, metav1.DeleteOptions{}); err != nil {
		c.T.Fatal(err)
	}
}

func gone(err error) bool { return apierrors.IsNotFound(err) }

// unready makes an echo server answer its readiness probe with 503, and waits until
// the pod is not ready.
func (c *cluster) unready(p corev1.Pod) {
	c.T.Helper()
	c.service(func(s *corev1.Service) {
		s.Name, s.Spec.Type = "only-"+p.Name, corev1.ServiceTypeNodePort
		s.Spec.Selector = map[string]string{"only": p.Name}
	})
	label := fmt.Sprintf(`{"metadata":{"labels":{"only":%q}}}`, p.Name)
	must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Patch(c.Ctx, p.Name, types.MergePatchType, []byte(label), metav1.PatchOptions{}))
	s := must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Get(c.Ctx, "only-"+p.Name, metav1.GetOptions{}))
	client := c.World.HTTPClient("test/unready", nil)
	defer client.CloseIdleConnections()
	c.Eventually(p.Name+" to be unready", func() (bool, any) {
		url := fmt.Sprintf("http://127.20.1.1:%d/ready?value=false", s.Spec.Ports[0].NodePort)
		r, err := http.NewRequestWithContext(c.Ctx, http.MethodPut, url, nil)
		if err != nil {
			return false, err
		}
		if response, err := client.Do(r); err == nil {
			response.Body.Close()
		}
		got := must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Get(c.Ctx, p.Name, metav1.GetOptions{}))
		return !ready(*got), got.Status
	})
}
