package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/cucumber/godog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// serve makes a Deployment whose pods have such a container, and a NodePort Service.
func (s *scenario) serve(ctx context.Context, name string, pods int, policy, container string) error {
	if err := s.apply(ctx, deploymentOf(name, pods, container)+"\n---\n"+service(name, "NodePort", policy)); err != nil {
		return err
	}
	return s.rolloutDone(ctx, name)
}

// tlsDeployment has pods that speak TLS on the port of their Service, with a
// certificate of their own.
func (s *scenario) tlsDeployment(ctx context.Context, name string, pods int) error {
	return s.serve(ctx, name, pods, "Local", `
        args: ["--tls-port=8443"]
        ports: [{name: web, containerPort: 8443}, {name: plain, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: plain}, periodSeconds: 1}`)
}

// uncheckedDeployment has pods that Kubernetes thinks ready as long as they run.
func (s *scenario) uncheckedDeployment(ctx context.Context, name string, pods int) error {
	return s.serve(ctx, name, pods, "Local", `
        ports: [{name: web, containerPort: 8080}]`)
}

// podFailsChecks lets whichever pod answers say no from now on when it is asked for
// /ready.
func (s *scenario) podFailsChecks(ctx context.Context, target, address string) error {
	s.requests++
	a, err := s.request(ctx, fmt.Sprint("client/", s.requests), address, http.MethodPut, target+"ready?value=false", nil)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("status %d: %.200s", a.status, a.body)
	}
	return err
}

// annotated adds annotations, a table of names and values, to a manifest that has an
// address annotation.
func annotated(manifest string, table *godog.Table) string {
	var b strings.Builder
	for line := range strings.Lines(manifest) {
		b.WriteString(line)
		if strings.Contains(line, "ip-address:") {
			for _, row := range table.Rows {
				value, _ := json.Marshal(row.Cells[1].Value) // a string is no error
				fmt.Fprintf(&b, "    %s: %s\n", row.Cells[0].Value, value)
			}
		}
	}
	return b.String()
}

func (s *scenario) applyAnnotated(ctx context.Context, name, host, service, shared, address string, table *godog.Table) error {
	return s.apply(ctx, annotated(ownOrShared(name, host, service, shared, address), table))
}

// ownOrShared is an Ingress at an address of its own if shared is empty.
func ownOrShared(name, host, service, shared, address string) string {
	if shared != "" {
		return sharedIngress(name, host, address, service)
	}
	return ingress(name, "vtm", host, address, path{"/", service, 80})
}

func (s *scenario) applyAnnotatedTLS(ctx context.Context, name, host, secret, service, shared, address string, table *godog.Table) error {
	return s.apply(ctx, annotated(ownOrShared(name, host, service, shared, address), table)+
		fmt.Sprintf("  tls:\n  - {secretName: %s, hosts: [%s]}\n", secret, host))
}

// applyAnnotatedDefault makes an Ingress with a default backend alone.
func (s *scenario) applyAnnotatedDefault(ctx context.Context, name, service, address string, table *godog.Table) error {
	return s.apply(ctx, annotated(fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: %s
  annotations:
    vtm.pulsesecure.net/ip-address: %q
spec:
  ingressClassName: vtm
  defaultBackend: {service: {name: %s, port: {number: 80}}}
`, name, address, service), table))
}

func (s *scenario) deleteClass(ctx context.Context, name string) error {
	return s.kubernetes.NetworkingV1().IngressClasses().Delete(ctx, name, metav1.DeleteOptions{})
}

func (s *scenario) deleteNamespace(ctx context.Context, name string) error {
	return s.kubernetes.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
}

// nodeWithPod finds the Node on which a Deployment's only pod runs.
func (s *scenario) nodeWithPod(ctx context.Context, deployment string) (string, error) {
	pods, err := s.kubernetes.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + deployment})
	if err != nil {
		return "", err
	}
	var running []corev1.Pod
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" {
			running = append(running, pod)
		}
	}
	if len(running) != 1 {
		return "", fmt.Errorf("Deployment %s has %d pods on nodes, not one", deployment, len(running))
	}
	return running[0].Spec.NodeName, nil
}

func (s *scenario) patchNodeOf(ctx context.Context, deployment, patch string) error {
	node, err := s.nodeWithPod(ctx, deployment)
	if err != nil {
		return err
	}
	_, err = s.kubernetes.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// cordon does what kubectl cordon does.
func (s *scenario) cordon(ctx context.Context, deployment string) error {
	return s.patchNodeOf(ctx, deployment, `{"spec":{"unschedulable":true}}`)
}

// excludeNode labels it as Kubernetes' own load balancers know it.
func (s *scenario) excludeNode(ctx context.Context, deployment string) error {
	return s.patchNodeOf(ctx, deployment, fmt.Sprintf(`{"metadata":{"labels":{%q:""}}}`, corev1.LabelNodeExcludeBalancers))
}

func (s *scenario) deleteNode(ctx context.Context, deployment string) error {
	node, err := s.nodeWithPod(ctx, deployment)
	if err != nil {
		return err
	}
	return s.kubernetes.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
}

// nodeReaches cuts the node of the Deployment's pod off, or mends that for all nodes:
// pods may have moved since.
func (s *scenario) nodeReaches(ctx context.Context, deployment, how string) error {
	if how == "reaches" {
		return s.env.CutNode("node-", false)
	}
	node, err := s.nodeWithPod(ctx, deployment)
	if err != nil {
		return err
	}
	return s.env.CutNode(node, true)
}

// deleteAllIngresses ends them in one request, as kubectl delete ingress --all nearly
// does.
func (s *scenario) deleteAllIngresses(ctx context.Context) error {
	return s.kubernetes.NetworkingV1().Ingresses(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

func (s *scenario) ingressLosesAddress(ctx context.Context, name string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error { return s.ingressHasNoAddress(ctx, name) })
}

func (s *scenario) annotateWithText(ctx context.Context, name, annotation string, text *godog.DocString) error {
	return s.annotate(ctx, name, annotation, text.Content)
}

func (s *scenario) controllerHasNotLogged(words string) error {
	for line := range strings.Lines(s.env.ControllerLog()) {
		if strings.Contains(line, words) {
			return fmt.Errorf("it has logged %s", line)
		}
	}
	return nil
}
