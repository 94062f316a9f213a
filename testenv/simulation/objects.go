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

// shopServices are those of the shop, each with a Deployment of its name.
const shopServices = 4

// classes are the IngressClasses of the controllers that users leave alone.
var classes = []string{"vtm", "vtm-few"}

// sharedAddresses are those that Ingresses share.
var sharedAddresses = []string{"10.2.0.1", "10.2.0.2", "10.2.0.3"}

// sealed is the Service, in both namespaces, whose Pods speak TLS.
const sealed = "sealed"

// allowedAddresses is a value of the setting of that name which keeps the shop from one
// of the addresses that it asks for.
const (
	allowedAddresses = "*=10.2.0.0/30,steady=10.2.0.2/32,shop=10.1.1.0/24,steady=10.1.0.0/24"
	notForShop       = "10.2.0.2"
)

// secondClass is an IngressClass of the controller's that users delete and make again.
const secondClass = "vtm-two"

func classManifest(name string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: " + name + "}\nspec: {controller: pulsesecure.net/vtm-ingress-controller}\n"
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

// pathOf is that of a kind in a namespace; "": it has none.
func pathOf(kind, namespace string) string {
	if namespace == "" {
		return paths[kind]
	}
	return fmt.Sprintf(paths[kind], namespace)
}

// apply makes an object so. An API server that is away is no error: users fail.
func (r *run) apply(ctx context.Context, kind, namespace, name, manifest string) error {
	body, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second+31*time.Nanosecond)
	defer cancel()
	return r.system.users.Discovery().RESTClient().Patch(types.ApplyPatchType).AbsPath(pathOf(kind, namespace), name).
		Param("fieldManager", "users").Param("force", "true").Body(body).Do(ctx).Error()
}

// remove deletes an object.
func (r *run) remove(ctx context.Context, kind, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second+31*time.Nanosecond)
	defer cancel()
	return r.system.users.Discovery().RESTClient().Delete().AbsPath(pathOf(kind, namespace), name).Do(ctx).Error()
}

// neverReady is the annotation of Pods that can't become ready.
const neverReady = "never-ready"

func deploymentManifest(name string, pods, generation int, ready bool) string {
	annotations, path := fmt.Sprintf(`generation: "%d"`, generation), "/ready"
	if !ready {
		annotations += `, ` + neverReady + `: "true"`
		path = "/status/503"
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {%[3]s}}
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
        readinessProbe: {httpGet: {path: %[4]s, port: web}, initialDelaySeconds: 1, periodSeconds: 5}
      terminationGracePeriodSeconds: 60
`, name, pods, annotations, path)
}

// sealedManifest is that of Pods that speak TLS on the port of their Service.
func sealedManifest() string {
	return strings.NewReplacer(
		`"--drain=45s"`, `"--drain=45s", "--tls-port=8443"`,
		"{name: web, containerPort: 8080}", "{name: web, containerPort: 8443}, {name: plain, containerPort: 8080}",
		"path: /ready, port: web", "path: /ready, port: plain",
	).Replace(deploymentManifest(sealed, 2, 0, true))
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

// ingressSpec is an Ingress as its owner wants it.
type ingressSpec struct {
	name        string
	class       string // of spec.ingressClassName; empty: of the older annotation
	annotations map[string]string
	rules       []ruleSpec
	backend     string // the default one's Service; empty: none
	secret      string // of a tls entry; empty: none
	tlsHosts    []string
}

type ruleSpec struct {
	host  string
	paths []pathSpec
}

type pathSpec struct{ path, kind, service string }

func (i ingressSpec) manifest() string {
	type object = map[string]any
	backend := func(name string) object {
		return object{"service": object{"name": name, "port": object{"number": 80}}}
	}
	spec := object{}
	annotations := maps.Clone(i.annotations)
	if i.class != "" {
		spec["ingressClassName"] = i.class
	} else {
		annotations["kubernetes.io/ingress.class"] = "vtm"
	}
	if i.secret != "" {
		spec["tls"] = []object{{"secretName": i.secret, "hosts": i.tlsHosts}}
	}
	if i.backend != "" {
		spec["defaultBackend"] = backend(i.backend)
	}
	var rules []object
	for _, rule := range i.rules {
		var paths []object
		for _, p := range rule.paths {
			paths = append(paths, object{"path": p.path, "pathType": p.kind, "backend": backend(p.service)})
		}
		r := object{"http": object{"paths": paths}}
		if rule.host != "" {
			r["host"] = rule.host
		}
		rules = append(rules, r)
	}
	if len(rules) > 0 {
		spec["rules"] = rules
	}
	manifest, _ := json.Marshal(object{ // of strings and numbers
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
		"metadata": object{"name": i.name, "annotations": annotations}, "spec": spec,
	})
	return string(manifest)
}

// String is the Ingress in few words.
func (i ingressSpec) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", i.name, i.annotations)
	if i.class != "vtm" {
		fmt.Fprintf(&b, " of class %q", i.class)
	}
	for _, rule := range i.rules {
		fmt.Fprintf(&b, " %q:%v", rule.host, rule.paths)
	}
	if i.backend != "" {
		fmt.Fprintf(&b, " all else %s", i.backend)
	}
	if i.secret != "" {
		fmt.Fprintf(&b, " TLS %s for %v", i.secret, i.tlsHosts)
	}
	return b.String()
}

// all are the requests of a host, to one Service.
func all(host, service string) []ruleSpec {
	return []ruleSpec{{host, []pathSpec{{"/", "Prefix", service}}}}
}

// steadyIngresses are those that nobody touches.
func steadyIngresses() []ingressSpec {
	at := func(address string) map[string]string {
		name := "ip-address"
		if slices.Contains(sharedAddresses, address) {
			name = "shared-ip-address"
		}
		return map[string]string{annotationDomain + name: address}
	}
	redirecting := at("10.2.0.3")
	redirecting["ingress.kubernetes.io/ssl-redirect"] = "true"
	list := []ingressSpec{
		{name: "site-1", annotations: at("10.1.0.1"), rules: all("one.steady.example", "one")},
		{name: "site-2", annotations: at("10.1.0.2"), rules: all("two.steady.example", "two")},
		{name: "site-3", annotations: at("10.2.0.1"), rules: all("three.steady.example", "one")},
		// Its Secret has a name that one of the shop's has, too.
		{name: "site-4", annotations: at("10.2.0.1"), rules: all("four.steady.example", "two"), secret: "secret-0", tlsHosts: []string{"four.steady.example"}},
		{name: "site-5", annotations: redirecting, rules: all("five.steady.example", "one"), secret: "five", tlsHosts: []string{"five.steady.example"}},
		{name: "site-6", annotations: at("10.1.0.3"), backend: "two", rules: []ruleSpec{{"*.six.steady.example", []pathSpec{{"/app", "Prefix", "one"}}}}},
	}
	// Nobody else shows another certificate for these hosts there, and no other default
	// backend counts.
	list = append(list, ingressSpec{name: "site-7", annotations: at("10.2.0.2"), backend: "two", rules: all("c.wild.example", "one"), secret: "wild", tlsHosts: []string{"*.wild.example"}})
	through := at("10.1.0.4")
	through[passthroughAnnotation], through[annotationDomain+"port"] = "true", "443"
	issued := at("10.1.0.5")
	issued[issuedAnnotation] = "true"
	list = append(list,
		ingressSpec{name: "site-8", annotations: through, backend: sealed},
		ingressSpec{name: "site-9", annotations: issued, rules: all("nine.steady.example", "one"), secret: "issued", tlsHosts: []string{"nine.steady.example"}})
	for n := range 5 { // enough of them that many can be lost at once
		list = append(list, ingressSpec{
			name: fmt.Sprintf("many-%d", n), annotations: at("10.2.0.1"), rules: all(fmt.Sprintf("many-%d.steady.example", n), "one"),
		})
	}
	for n := range list {
		list[n].class = classes[0]
	}
	list[1].class = classes[1] // so few that nothing but the class's own time of grace keeps them
	return list
}

// prepare makes what is there before anything fails, and what is not ours on the
// traffic managers.
func (r *run) prepare(ctx context.Context) error {
	type object struct{ kind, namespace, name, manifest string }
	var objects []object
	for _, name := range append(slices.Clone(classes), secondClass) {
		objects = append(objects, object{"IngressClass", "", name, classManifest(name)})
	}
	for _, namespace := range []string{steady, shop} {
		objects = append(objects, object{"Namespace", "", namespace, "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n"},
			object{"Deployment", namespace, sealed, sealedManifest()}, object{"Service", namespace, sealed, serviceManifest(sealed, "Local")})
	}
	for _, name := range []string{"one", "two"} {
		objects = append(objects, object{"Deployment", steady, name, deploymentManifest(name, 2, 0, true)},
			object{"Service", steady, name, serviceManifest(name, "Local")})
	}
	for n := range shopServices {
		name := fmt.Sprintf("web-%d", n)
		policy := []string{"Local", "Cluster"}[n%2]
		objects = append(objects, object{"Deployment", shop, name, deploymentManifest(name, 1, 0, true)},
			object{"Service", shop, name, serviceManifest(name, policy)})
	}
	for name, host := range map[string]string{"secret-0": "four.steady.example", "five": "five.steady.example", "wild": "*.wild.example"} {
		manifest, err := secretManifest(name, host, true)
		if err != nil {
			return err
		}
		r.secretKnown(manifest)
		objects = append(objects, object{"Secret", steady, name, manifest})
	}
	slices.SortFunc(objects[len(objects)-3:], func(a, b object) int { return strings.Compare(a.name, b.name) })
	for _, i := range steadyIngresses() {
		objects = append(objects, object{"Ingress", steady, i.name, i.manifest()})
	}
	for _, o := range objects {
		r.manifests[o.kind+" "+o.name] = o.manifest
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
