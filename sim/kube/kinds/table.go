package kinds

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// All gives the table, made anew: the caller may change the rows it gets. The
// order is that of groups in discovery; within a group, that of names.
func All() []Kind { return AllOf(corev1.IPv4Protocol) }

// AllOf is All of a cluster whose Services have addresses of that family, or of two
// families: then the first is that of Services which say nothing.
func AllOf(families ...corev1.IPFamily) []Kind {
	return []Kind{
		configMapRow(),
		endpointsRow(),
		eventRow(),
		namespaceRow(),
		nodeRow(),
		podRow(),
		secretRow(),
		serviceAccountRow(),
		serviceRow(families),
		deploymentRow(),
		replicaSetRow(),
		eventsEventRow(),
		ingressClassRow(),
		ingressRow(),
		serviceCIDRRow(),
		clusterRoleBindingRow(),
		clusterRoleRow(),
		roleBindingRow(),
		roleRow(),
		leaseRow(),
		endpointSliceRow(),
	}
}

// Scheme gives a scheme of its own with the types of All and of their
// subresources and reviews (Scale, Eviction, TokenRequest, the access reviews),
// with each row's Default and selectable fields.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, autoscalingv1.AddToScheme, eventsv1.AddToScheme,
		networkingv1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme, discoveryv1.AddToScheme,
		policyv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme)) // fails only on two types of one name
	}
	for _, k := range All() {
		if k.Default != nil {
			scheme.AddTypeDefaultingFunc(k.New(), func(obj any) { k.Default(obj.(runtime.Object)) })
		}
		known := k.SelectableFields(k.New())
		utilruntime.Must(scheme.AddFieldLabelConversionFunc(k.GroupVersionKind, func(label, value string) (string, string, error) {
			if _, is := known[label]; !is {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return label, value, nil
		}))
	}
	return scheme
}
