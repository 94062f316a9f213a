package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// resources are the paths of the kinds that scenarios apply.
var resources = map[string]string{
	"Namespace":    "/api/v1/namespaces",
	"Service":      "/api/v1/namespaces/%s/services",
	"Secret":       "/api/v1/namespaces/%s/secrets",
	"Deployment":   "/apis/apps/v1/namespaces/%s/deployments",
	"Ingress":      "/apis/networking.k8s.io/v1/namespaces/%s/ingresses",
	"IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
	"ServiceCIDR":  "/apis/networking.k8s.io/v1/servicecidrs",
}

// apply makes the objects of a YAML stream so, by server-side apply.
func (s *scenario) apply(ctx context.Context, manifests string) error {
	for _, part := range strings.Split(manifests, "\n---\n") {
		body, err := yaml.YAMLToJSON([]byte(part))
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		var object unstructured.Unstructured
		if err := json.Unmarshal(body, &object.Object); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		path, known := resources[object.GetKind()]
		if !known {
			return fmt.Errorf("scenarios don't apply objects of kind %q", object.GetKind())
		}
		if strings.Contains(path, "%s") {
			namespace := object.GetNamespace()
			if namespace == "" {
				namespace = "default"
			}
			path = fmt.Sprintf(path, namespace)
		}
		err = s.kubernetes.Discovery().RESTClient().Patch(types.ApplyPatchType).
			AbsPath(path, object.GetName()).
			Param("fieldManager", "scenario").Param("force", "true").
			Body(body).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

func deployment(name string, pods int) string {
	return deploymentOf(name, pods, `
        args: ["--drain=3s"]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 1}`)
}

// deploymentOf has pods whose container is the echo server, with these fields.
func deploymentOf(name string, pods int, container string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector: {matchLabels: {app: %[1]s}}
      containers:
      - name: echo
        image: echo:1%[3]s
`, name, pods, container)
}

func service(name, kind, policy string) string {
	traffic := ""
	if policy != "" {
		traffic = "  externalTrafficPolicy: " + policy + "\n"
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  type: %[2]s
%[3]s  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: web}]
`, name, kind, traffic)
}

// path of an Ingress and the Service behind it.
type path struct {
	path, service string
	port          int
}

func ingress(name, class, host, address string, paths ...path) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s\n", name)
	if address != "" {
		fmt.Fprintf(&b, "  annotations:\n    vtm.pulsesecure.net/ip-address: %q\n", address)
	}
	fmt.Fprintf(&b, "spec:\n  ingressClassName: %s\n  rules:\n  - host: %s\n    http:\n      paths:\n", class, host)
	for _, p := range paths {
		fmt.Fprintf(&b, "      - path: %s\n        pathType: Prefix\n        backend: {service: {name: %s, port: {number: %d}}}\n", p.path, p.service, p.port)
	}
	return b.String()
}
