package kinds

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func leaseRow() Kind {
	return Kind{
		GroupVersionKind:      coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Resource:              "leases",
		Singular:              "lease",
		Namespaced:            true,
		CreateOnUpdate:        true,
		ConditionalUpdateOnly: true,
		New:                   newOf[coordinationv1.Lease],
		NewList:               newOf[coordinationv1.LeaseList],

		Validate: check(func(l *coordinationv1.Lease) field.ErrorList {
			errs := validateNamespaced(&l.ObjectMeta, apivalidation.NameIsDNSSubdomain)
			spec := field.NewPath("spec")
			if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
				errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
			}
			if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
				errs = append(errs, field.Invalid(spec.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
			}
			return errs
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
			ageColumn(),
		},
		Row: cells(func(l *coordinationv1.Lease, now time.Time) []any {
			return []any{l.Name, deref(l.Spec.HolderIdentity), age(l.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*coordinationv1.Lease](true, nil),
	}
}
