package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/internal/spell"
)

// manifestLimit bounds a manifest file in bytes.
const manifestLimit = 64 << 20

// ReadManifests reads a file of YAML or JSON documents. Of what it holds it
// returns what the controller looks at; other kinds are passed over. Objects
// without a namespace get the one given. Errors begin with name and the number of
// the document.
func ReadManifests(name string, from io.Reader, namespace string) ([]runtime.Object, error) {
	content, err := io.ReadAll(io.LimitReader(from, manifestLimit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(content) > manifestLimit {
		return nil, fmt.Errorf("%s: is longer than %d bytes", name, manifestLimit)
	}
	var all []runtime.Object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 1; ; n++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
		objects, err := readDocument(document, namespace)
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
		all = append(all, objects...)
	}
}

func readDocument(document []byte, namespace string) ([]runtime.Object, error) {
	asJSON, err := yaml.ToJSON(document)
	if err != nil {
		return nil, err
	}
	if s := strings.TrimSpace(string(asJSON)); s == "" || s == "null" {
		return nil, nil // comments alone
	}
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(asJSON, nil, nil)
	switch {
	case kind != nil && !looksAt(kind.Kind) && (err == nil || runtime.IsNotRegisteredError(err)):
		if meant, near := spell.Nearest(kind.Kind, kinds); near && err != nil && groups[kind.Group] {
			return nil, fmt.Errorf("%s of %s is unknown: did you mean %s?", kind.Kind, kind.GroupVersion(), meant)
		}
		return nil, nil // of a kind that concerns others
	case runtime.IsNotRegisteredError(err), err == nil && strings.Contains(kind.Version, "beta"):
		return nil, fmt.Errorf("%s of %s is not looked at: write it as networking.k8s.io/v1, discovery.k8s.io/v1 or v1", kind.Kind, kind.GroupVersion())
	case err != nil:
		return nil, err
	}
	if meta.IsListType(object) {
		items, err := meta.ExtractList(object)
		if err != nil {
			return nil, err
		}
		var all []runtime.Object
		for _, item := range items {
			if unknown, ok := item.(*runtime.Unknown); ok { // of a plain v1 List
				found, err := readDocument(unknown.Raw, namespace)
				if err != nil {
					return nil, err
				}
				all = append(all, found...)
				continue
			}
			all = append(all, place(item, namespace)...)
		}
		return all, nil
	}
	return place(object, namespace), nil
}

// kinds are those that the controller looks at, of groups.
var (
	kinds  = []string{"Ingress", "IngressClass", "Service", "EndpointSlice", "Secret", "Node"}
	groups = map[string]bool{networkingv1.GroupName: true, discoveryv1.GroupName: true, corev1.GroupName: true}
)

// looksAt reports whether the controller looks at objects of a kind.
func looksAt(kind string) bool {
	return slices.Contains(kinds, strings.TrimSuffix(kind, "List")) || kind == "List"
}

// place gives an object its namespace; nothing if the controller does not look at
// its kind.
func place(object runtime.Object, namespace string) []runtime.Object {
	switch o := object.(type) {
	case *networkingv1.IngressClass, *corev1.Node:
	case *networkingv1.Ingress, *corev1.Service, *corev1.Secret, *discoveryv1.EndpointSlice:
		if m := o.(metav1.Object); m.GetNamespace() == "" {
			m.SetNamespace(namespace)
		}
	default:
		return nil
	}
	return []runtime.Object{object}
}

// lay gives the Snapshot that would be after the manifests were applied. An
// object that exists keeps UID and age; an Ingress that is new is the youngest.
func lay(o Options, s *kube.Snapshot, observed *reconcile.Observed) *kube.Snapshot {
	known := map[types.NamespacedName]types.UID{}
	for _, r := range observed.Owned {
		if mark, ok := r.Mark(); ok && mark.Kind == "Ingress" {
			known[types.NamespacedName{Namespace: mark.Namespace, Name: mark.Name}] = types.UID(mark.UID)
		}
	}
	allocate(o.Manifests, s)
	for _, object := range o.Manifests {
		ingress, ok := object.(*networkingv1.Ingress)
		if !ok {
			continue
		}
		name := types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}
		if was := s.Ingresses.Get(name); was != nil {
			ingress.UID, ingress.CreationTimestamp, ingress.Status = was.UID, was.CreationTimestamp, was.Status
			continue
		}
		if ingress.CreationTimestamp.IsZero() {
			ingress.CreationTimestamp = metav1.NewTime(o.World.Clock().Now())
		}
		if ingress.UID == "" {
			ingress.UID = known[name]
		}
		if ingress.UID == "" {
			ingress.UID = types.UID("not-applied-yet-" + name.Namespace + "-" + name.Name)
		}
	}
	return kube.With(s, o.Manifests, o.Settings.SecretLabelSelector)
}

// lastNodePort is the highest of the default range of an API server
// (--service-node-port-range).
const lastNodePort = 32767

// allocate gives the Services of manifests the node ports that they leave to
// Kubernetes: those that they have already, or else free ones from the end of the
// range, as stand-ins: nobody knows yet which Kubernetes will choose.
func allocate(manifests []runtime.Object, s *kube.Snapshot) {
	used := map[int32]bool{}
	note := func(ports []corev1.ServicePort) {
		for _, port := range ports {
			used[port.NodePort] = true
		}
	}
	for _, service := range s.Services.All() {
		note(service.Ports)
	}
	var services []*corev1.Service
	for _, object := range manifests {
		service, ok := object.(*corev1.Service)
		if ok && (service.Spec.Type == corev1.ServiceTypeNodePort || service.Spec.Type == corev1.ServiceTypeLoadBalancer) {
			services = append(services, service)
			note(service.Spec.Ports)
		}
	}
	next := int32(lastNodePort)
	for _, service := range services {
		was := s.Services.Get(types.NamespacedName{Namespace: service.Namespace, Name: service.Name})
		for i := range service.Spec.Ports {
			port := &service.Spec.Ports[i]
			if port.NodePort == 0 && was != nil {
				for _, old := range was.Ports {
					if old.Port == port.Port {
						port.NodePort = old.NodePort
					}
				}
			}
			for ; port.NodePort == 0 && next > 0; next-- {
				if !used[next] {
					port.NodePort = next
				}
			}
		}
	}
}
