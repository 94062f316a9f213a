package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func serviceAccountRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Resource:         "serviceaccounts",
		Singular:         "serviceaccount",
		ShortNames:       []string{"sa"},
		Namespaced:       true,
		New:              newOf[corev1.ServiceAccount],
		NewList:          newOf[corev1.ServiceAccountList],

		Validate: check(func(sa *corev1.ServiceAccount) field.ErrorList {
			return validateNamespaced(&sa.ObjectMeta, apivalidation.ValidateServiceAccountName)
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Secrets", corev1.ServiceAccount{}.SwaggerDoc()["secrets"]),
			ageColumn(),
		},
		Row: cells(func(sa *corev1.ServiceAccount, now time.Time) []any {
			return []any{sa.Name, int64(len(sa.Secrets)), age(sa.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*corev1.ServiceAccount](true, nil),
	}
}
