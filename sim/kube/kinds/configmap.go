package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func configMapRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Resource:         "configmaps",
		Singular:         "configmap",
		ShortNames:       []string{"cm"},
		Namespaced:       true,
		New:              newOf[corev1.ConfigMap],
		NewList:          newOf[corev1.ConfigMapList],

		Validate: check(validateConfigMap),
		ValidateUpdate: checkBoth(func(new, old *corev1.ConfigMap) field.ErrorList {
			if !deref(old.Immutable) {
				return nil
			}
			errs := keepImmutable(field.NewPath("immutable"), deref(new.Immutable))
			errs = append(errs, keepImmutable(field.NewPath("data"), same(new.Data, old.Data))...)
			return append(errs, keepImmutable(field.NewPath("binaryData"), same(new.BinaryData, old.BinaryData))...)
		}),

		Columns: []metav1.TableColumnDefinition{nameColumn(), column("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]), ageColumn()},
		Row: cells(func(cm *corev1.ConfigMap, now time.Time) []any {
			return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), age(cm.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*corev1.ConfigMap](true, nil),
	}
}

// keepImmutable refuses a change of an object marked immutable.
func keepImmutable(path *field.Path, kept bool) field.ErrorList {
	if kept {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, "field is immutable when `immutable` is set")}
}

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	errs := validateNamespaced(&cm.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	size := 0
	for _, k := range keys(cm.Data) {
		path := field.NewPath("data").Key(k)
		errs = append(errs, invalid(path, k, validation.IsConfigMapKey(k))...)
		if _, twice := cm.BinaryData[k]; twice {
			errs = append(errs, field.Invalid(path, k, "duplicate of key present in binaryData"))
		}
		size += len(cm.Data[k])
	}
	for _, k := range keys(cm.BinaryData) {
		path := field.NewPath("binaryData").Key(k)
		errs = append(errs, invalid(path, k, validation.IsConfigMapKey(k))...)
		if _, twice := cm.Data[k]; twice {
			errs = append(errs, field.Invalid(path, k, "duplicate of key present in data"))
		}
		size += len(cm.BinaryData[k])
	}
	if size > corev1.MaxSecretSize {
		// An empty path: the error is about the object as a whole.
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}
