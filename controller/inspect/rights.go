package inspect

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"vtm-ingress/controller/config"
)

// Right is what the controller must be allowed to in Kubernetes.
type Right struct {
	Group, Resource, Subresource, Verb string
	// Namespace of the right; "" is all, or a resource that has none.
	Namespace string
	// Name, if the right is for one object alone.
	Name string
	// Why, for those who grant it.
	Why string
}

// Rights are all that the controller needs with these settings: no more is asked
// of anyone. deploy/rbac.yaml grants them, and a test holds both to each other and
// to the requests that the controller makes.
func Rights(s *config.Settings) []Right {
	ns := s.WatchNamespace
	var all []Right
	add := func(group, resource, subresource, namespace, name, why string, verbs ...string) {
		for _, verb := range verbs {
			all = append(all, Right{group, resource, subresource, verb, namespace, name, why})
		}
	}
	add("networking.k8s.io", "ingresses", "", ns, "", "what is to be served", "list", "watch")
	add("networking.k8s.io", "ingresses", "status", ns, "", "addresses are told there", "patch")
	add("networking.k8s.io", "ingressclasses", "", "", "", "which Ingresses are ours", "list", "watch")
	add("", "services", "", ns, "", "backends", "list", "watch")
	add("discovery.k8s.io", "endpointslices", "", ns, "", "which nodes have ready Pods", "list", "watch")
	add("", "endpoints", "", ns, "", "the same, from API servers of 1.19 and 1.20", "list", "watch")
	add("", "nodes", "", "", "", "nodes' addresses", "list", "watch")
	add("networking.k8s.io", "servicecidrs", "", "", "", "Services' addresses, which are nobody's else", "list", "watch")
	add("", "secrets", "", ns, "", "certificates of type kubernetes.io/tls", "list", "watch")
	add("", "namespaces", "", "", "kube-system", "its UID is the cluster's identity", "get")
	add("", "events", "", ns, "", "owners of Ingresses are told there", "create")
	if ns != "" && ns != s.LeaseNamespace {
		add("", "events", "", s.LeaseNamespace, "", "operators are told there, of the Lease", "create")
	}
	add("coordination.k8s.io", "leases", "", s.LeaseNamespace, "", "which instance writes", "create")
	add("coordination.k8s.io", "leases", "", s.LeaseNamespace, s.LeaseName, "which instance writes", "get", "update", "watch")
	if s.ACMETermsAgreed {
		verbs := []string{"get", "create", "update"}
		add("", "secrets", "", ns, "", "certificates that are issued, and the ACME account", verbs...)
		add("", "secrets", "", ns, "", "certificates that were issued and are not used any more", "delete")
		if ns != "" && ns != s.LeaseNamespace {
			add("", "secrets", "", s.LeaseNamespace, "", "the ACME account", verbs...)
		}
	}
	return all
}

// review asks whether a right is granted.
func (r Right) review() *authorizationv1.SelfSubjectAccessReview {
	return &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Verb: r.Verb, Namespace: r.Namespace, Name: r.Name,
		},
	}}
}

func (r Right) String() string {
	what := r.Resource
	if r.Group != "" {
		what += "." + r.Group
	}
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	if r.Name != "" {
		what += " " + r.Name
	}
	if r.Namespace != "" {
		what += " in namespace " + r.Namespace
	}
	return r.Verb + " " + what
}
