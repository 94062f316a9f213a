package simulation

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// The namespaces: nobody touches what is in steady, and everything happens in
// shop.
const (
	steady = "steady"
	shop   = "shop"
)

// services of the shop, each with a Deployment of its name.
const services = 4

// steadySites are those of the namespace that nobody touches.
var steadySites = []site{
	{"one.steady.example", "10.1.0.1", 80, "one"},
	{"two.steady.example", "10.1.0.2", 80, "two"},
	{"three.steady.example", "10.2.0.1", 80, "one"}, // an address that the shop shares
}

// site is where a client asks, and which Deployment must answer.
type site struct {
	host, address string
	port          int
	deployment    string
}

// paths of the API, by kind.
var paths = map[string]string{
	"Namespace":    "/api/v1/namespaces",
	"Service":      "/api/v1/namespaces/%s/services",
	"Secret":       "/api/v1/namespaces/%s/secrets",
	"Deployment":   "/apis/apps/v1/namespaces/%s/deployments",
	"Ingress":      "/apis/networking.k8s.io/v1/namespaces/%s/ingresses",
	"IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
}

// apply makes an object so. An API server that is away is no error: users fail.
func (r *run) apply(ctx context.Context, kind, namespace, name, manifest string) error {
	body, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	path := paths[kind]
	if strings.Contains(path, "%s") {
		path = fmt.Sprintf(path, namespace)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second+31*time.Nanosecond)
	defer cancel()
	return r.system.users.Discovery().RESTClient().Patch(types.ApplyPatchType).AbsPath(path, name).
		Param("fieldManager", "users").Param("force", "true").Body(body).Do(ctx).Error()
}

// remove deletes an object.
func (r *run) remove(ctx context.Context, kind, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second+31*time.Nanosecond)
	defer cancel()
	return r.system.users.Discovery().RESTClient().Delete().AbsPath(fmt.Sprintf(paths[kind], namespace), name).Do(ctx).Error()
}

func deploymentManifest(name string, pods, generation int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {generation: "%[3]d"}}
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
        image: echo:1
        args: ["--drain=45s"]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 1}
      terminationGracePeriodSeconds: 60
`, name, pods, generation)
}

func serviceManifest(name, policy string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  type: NodePort
  externalTrafficPolicy: %[2]s
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: web}]
`, name, policy)
}

// ingressSpec is an Ingress of the shop as its owner wants it.
type ingressSpec struct {
	name, host, service string
	annotations         map[string]string
	secret              string // of a tls entry; empty: none
}

func (i ingressSpec) manifest() string {
	annotations, _ := json.Marshal(i.annotations) // a map of strings
	tls := ""
	if i.secret != "" {
		tls = fmt.Sprintf("  tls: [{secretName: %s, hosts: [%s]}]\n", i.secret, i.host)
	}
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, annotations: %s}
spec:
  ingressClassName: vtm
%s  rules:
  - host: %s
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: %s, port: {number: 80}}}
`, i.name, annotations, tls, i.host, i.service)
}

// prepare makes what is there before anything fails, and what is not ours on the
// traffic managers.
func (r *run) prepare(ctx context.Context) error {
	type object struct{ kind, namespace, name, manifest string }
	objects := []object{{"IngressClass", "", "vtm", "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: vtm}\nspec: {controller: pulsesecure.net/vtm-ingress-controller}\n"}}
	for _, namespace := range []string{steady, shop} {
		objects = append(objects, object{"Namespace", "", namespace, "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n"})
	}
	for _, name := range []string{"one", "two"} {
		objects = append(objects, object{"Deployment", steady, name, deploymentManifest(name, 2, 0)},
			object{"Service", steady, name, serviceManifest(name, "Local")})
	}
	for n := range services {
		name := fmt.Sprintf("web-%d", n)
		policy := []string{"Local", "Cluster"}[n%2]
		objects = append(objects, object{"Deployment", shop, name, deploymentManifest(name, 1, 0)},
			object{"Service", shop, name, serviceManifest(name, policy)})
	}
	for n, s := range steadySites {
		annotation := "vtm.pulsesecure.net/ip-address"
		if strings.HasPrefix(s.address, "10.2.") {
			annotation = "vtm.pulsesecure.net/shared-ip-address"
		}
		name := fmt.Sprintf("site-%d", n)
		objects = append(objects, object{"Ingress", steady, name, ingressSpec{
			name: name, host: s.host, service: s.deployment, annotations: map[string]string{annotation: s.address},
		}.manifest()})
	}
	for _, o := range objects {
		if err := r.apply(ctx, o.kind, o.namespace, o.name, o.manifest); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.kind, o.name, err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(foreign)) {
		if err := r.put(ctx, 0, path, foreign[path]); err != nil {
			return fmt.Errorf("foreign %s: %w", path, err)
		}
	}
	return nil
}

// foreign is what somebody else has on the traffic managers: it must stay as it
// is.
var foreign = map[string]string{
	"pools/k8s_of-somebody-else": `{"properties":{"basic":{"nodes_table":[{"node":"192.0.2.1:80"}],"note":"mine"}}}`,
	"monitors/somebody-else":     `{"properties":{"basic":{"type":"http","note":"vtm-ingress/1 id=other cluster=of-somebody-else owner=Ingress/a/b uid=1"}}}`,
}

// secretManifest is a Secret of type kubernetes.io/tls for a host.
func secretManifest(name, host string, good bool) (string, error) {
	certificate, key, err := certificateFor(host)
	if err != nil {
		return "", err
	}
	if !good {
		key = []byte("-----BEGIN PRIVATE KEY-----\nrubbish\n-----END PRIVATE KEY-----\n")
	}
	secret := corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": certificate, "tls.key": key},
	}
	manifest, err := json.Marshal(secret)
	return string(manifest), err
}

func certificateFor(host string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
