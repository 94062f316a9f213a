package kube

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Snapshot is what Kubernetes held at one moment, as far as the controller needs
// it. It and everything it refers to is immutable: a change gives a new Snapshot.
// What did not change keeps its identity (the same Table, the same pointer), so
// that a reader can reuse what it derived from it.
type Snapshot struct {
	// ClusterUID is the UID of the namespace kube-system: the cluster's identity.
	ClusterUID types.UID
	// APIServer is the address by which the API server is reached, in a Pod that of
	// its Service; invalid if it is a name.
	APIServer netip.Addr
	// Ingresses of the watched namespaces, of every class. kube-system's are left
	// out when all namespaces are watched (specification, Supported Features).
	Ingresses *Table[types.NamespacedName, *networkingv1.Ingress]
	Classes   *Table[string, *networkingv1.IngressClass]
	Services  *Table[types.NamespacedName, *Service]
	// Endpoints by Service. A Service without an entry has none.
	Endpoints *Table[types.NamespacedName, *Endpoints]
	Nodes     *Table[string, *corev1.Node]
	// Ranges are the ServiceCIDRs, where the API server has them (from 1.33).
	Ranges *Table[string, *networkingv1.ServiceCIDR]
	// Secrets of type kubernetes.io/tls in the watched namespaces that match the
	// setting secret_label_selector, with tls.crt and tls.key, and the
	// annotations IssuedFor and UnusedSince, alone.
	Secrets *Table[types.NamespacedName, *corev1.Secret]
}

// Service is what the controller needs of one: there are thousands, of which a
// corev1.Service has mostly fields that nobody asks for.
type Service struct {
	Namespace, Name string
	Created         metav1.Time
	Type            corev1.ServiceType
	ExternalName    string // of type ExternalName
	// Local is spec.externalTrafficPolicy: Local.
	Local bool
	// Selects says that it has a selector, so that Kubernetes makes its endpoints.
	Selects  bool
	Families []corev1.IPFamily
	Ports    []corev1.ServicePort
}

// ServiceOf reads a Service.
func ServiceOf(o *corev1.Service) *Service {
	return &Service{
		Namespace: o.Namespace, Name: o.Name, Created: o.CreationTimestamp,
		Type: o.Spec.Type, ExternalName: o.Spec.ExternalName,
		Local:    o.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Selects:  len(o.Spec.Selector) > 0,
		Families: o.Spec.IPFamilies, Ports: o.Spec.Ports,
	}
}

// Key is where it is in a Snapshot.
func (s *Service) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Endpoints tells on which nodes a Service has ready endpoints.
type Endpoints struct {
	// ReadyNodes maps a Service port's name ("" for the only, unnamed port) to the
	// names of the nodes with at least one ready endpoint for it, sorted, each
	// once. Endpoints without a node name are left out.
	ReadyNodes map[string][]string
	// UnreadyNodes maps likewise to the nodes that have endpoints, but no ready
	// one; endpoints that terminate do not count. When a node is lost, so is the
	// readiness of its Pods, though they may still serve: while no node is ready,
	// these keep a pool from being emptied.
	UnreadyNodes map[string][]string
	// LostNodes maps likewise to those of UnreadyNodes that became unready with their
	// node: it is not ready, or was not until lately (it is ready again before the
	// endpoints on it are), or nobody watched.
	LostNodes map[string][]string
	// UnseenNodes maps likewise to those of UnreadyNodes that were so when watching
	// began, since when they may have been lost likewise, or never been ready.
	UnseenNodes map[string][]string
	// CrowdedNodes maps likewise to those of ReadyNodes that have more than one
	// ready endpoint: there a node does not stand for one Pod.
	CrowdedNodes map[string][]string
}
