package kinds

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxControllerLength is the longest spec.controller of an IngressClass.
const maxControllerLength = 250

func ingressClassRow() Kind {
	return Kind{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		Resource:         "ingressclasses",
		Singular:         "ingressclass",
		MinVersion:       "1.19",
		New:              newOf[networkingv1.IngressClass],
		NewList:          newOf[networkingv1.IngressClassList],

		Default: on(func(c *networkingv1.IngressClass) {
			if c.Spec.Parameters != nil {
				defaultPtr(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		}),
		PrepareForCreate: on(func(c *networkingv1.IngressClass) { c.Generation = 1 }),
		PrepareForUpdate: onBoth(func(new, old *networkingv1.IngressClass) {
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, !same(new.Spec, old.Spec))
		}),

		Validate: check(validateIngressClass),
		ValidateUpdate: checkBoth(func(new, old *networkingv1.IngressClass) field.ErrorList {
			return apivalidation.ValidateImmutableField(new.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Controller", "Controller that is responsible for handling this class"),
			column("Parameters", "A reference to a resource with additional parameters"),
			ageColumn(),
		},
		Row: cells(func(c *networkingv1.IngressClass, now time.Time) []any {
			parameters := "<none>"
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind
				if p.APIGroup != nil {
					parameters += "." + *p.APIGroup
				}
				parameters += "/" + p.Name
			}
			return []any{c.Name, c.Spec.Controller, parameters, age(c.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*networkingv1.IngressClass](false, nil),
	}
}

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	errs := validateClusterScoped(&c.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	spec := field.NewPath("spec")
	if len(c.Spec.Controller) > maxControllerLength {
		errs = append(errs, field.TooLong(spec.Child("controller"), "", maxControllerLength))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(spec.Child("controller"), c.Spec.Controller)...)

	p := c.Spec.Parameters
	if p == nil {
		return errs
	}
	at := spec.Child("parameters")
	errs = append(errs, validateTypedReference(deref(p.APIGroup), p.Kind, p.Name, at)...)
	const cluster, namespace = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	errs = append(errs, oneOf(at.Child("scope"), deref(p.Scope), cluster, namespace)...)
	switch deref(p.Scope) {
	case namespace:
		if deref(p.Namespace) == "" {
			errs = append(errs, field.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
		} else {
			errs = append(errs, dnsLabel(at.Child("namespace"), *p.Namespace)...)
		}
	case cluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
		}
	}
	return errs
}
