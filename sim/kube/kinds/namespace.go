package kinds

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func namespaceRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"),
		Resource:         "namespaces",
		Singular:         "namespace",
		ShortNames:       []string{"ns"},
		New:              newOf[corev1.Namespace],
		NewList:          newOf[corev1.NamespaceList],

		Default: on(func(ns *corev1.Namespace) {
			defaultTo(&ns.Status.Phase, corev1.NamespaceActive)
			labelNamespace(ns)
		}),
		PrepareForCreate: on(func(ns *corev1.Namespace) {
			ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			// The namespace controller takes this finalizer away once the
			// namespace is empty, by the finalize subresource.
			if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
				ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
			labelNamespace(ns)
		}),
		PrepareForUpdate: onBoth(func(new, old *corev1.Namespace) {
			new.Spec.Finalizers = slices.Clone(old.Spec.Finalizers)
			new.Status = *old.Status.DeepCopy()
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *corev1.Namespace) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate: check(func(ns *corev1.Namespace) field.ErrorList {
			errs := validateClusterScoped(&ns.ObjectMeta, apivalidation.ValidateNamespaceName)
			for i, f := range ns.Spec.Finalizers {
				errs = append(errs, apivalidation.ValidateFinalizerName(string(f), field.NewPath("spec", "finalizers").Index(i))...)
			}
			return errs
		}),
		ValidateStatusUpdate: checkBoth(func(new, _ *corev1.Namespace) field.ErrorList {
			path := field.NewPath("status", "Phase")
			if new.DeletionTimestamp.IsZero() {
				if new.Status.Phase != corev1.NamespaceActive {
					return field.ErrorList{field.Invalid(path, new.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
				}
			} else if new.Status.Phase != corev1.NamespaceTerminating {
				return field.ErrorList{field.Invalid(path, new.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
			}
			return nil
		}),

		Columns: []metav1.TableColumnDefinition{nameColumn(), column("Status", "The status of the namespace"), ageColumn()},
		Row: cells(func(ns *corev1.Namespace, now time.Time) []any {
			return []any{ns.Name, string(ns.Status.Phase), age(ns.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable(false, func(ns *corev1.Namespace, set fields.Set) {
			set["status.phase"] = string(ns.Status.Phase)
			set["name"] = ns.Name // a name of old, still accepted
		}),
	}
}

// labelNamespace sets the label by which selectors find a namespace by name.
func labelNamespace(ns *corev1.Namespace) {
	if ns.Name == "" {
		return // the name is still to be generated
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}
