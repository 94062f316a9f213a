package kinds

import (
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func roleRow() Kind {
	return Kind{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("Role"),
		Resource:         "roles",
		Singular:         "role",
		Namespaced:       true,
		CreateOnUpdate:   true,
		New:              newOf[rbacv1.Role],
		NewList:          newOf[rbacv1.RoleList],
		Validate: check(func(r *rbacv1.Role) field.ErrorList {
			errs := validateNamespaced(&r.ObjectMeta, segmentName)
			return append(errs, validatePolicyRules(r.Rules, true)...)
		}),
		Columns: roleColumns(),
		Row: cells(func(r *rbacv1.Role, _ time.Time) []any {
			return []any{r.Name, r.CreationTimestamp.UTC().Format(time.RFC3339)}
		}),
		SelectableFields: selectable[*rbacv1.Role](true, nil),
	}
}

func clusterRoleRow() Kind {
	return Kind{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Resource:         "clusterroles",
		Singular:         "clusterrole",
		CreateOnUpdate:   true,
		New:              newOf[rbacv1.ClusterRole],
		NewList:          newOf[rbacv1.ClusterRoleList],
		Validate: check(func(r *rbacv1.ClusterRole) field.ErrorList {
			errs := validateClusterScoped(&r.ObjectMeta, segmentName)
			return append(errs, validatePolicyRules(r.Rules, false)...)
		}),
		Columns: roleColumns(),
		Row: cells(func(r *rbacv1.ClusterRole, _ time.Time) []any {
			return []any{r.Name, r.CreationTimestamp.UTC().Format(time.RFC3339)}
		}),
		SelectableFields: selectable[*rbacv1.ClusterRole](false, nil),
	}
}

func roleBindingRow() Kind {
	return Kind{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		Resource:         "rolebindings",
		Singular:         "rolebinding",
		Namespaced:       true,
		CreateOnUpdate:   true,
		New:              newOf[rbacv1.RoleBinding],
		NewList:          newOf[rbacv1.RoleBindingList],
		Default: on(func(b *rbacv1.RoleBinding) {
			defaultBinding(&b.RoleRef, b.Subjects)
		}),
		Validate: check(func(b *rbacv1.RoleBinding) field.ErrorList {
			errs := validateNamespaced(&b.ObjectMeta, segmentName)
			return append(errs, validateBinding(&b.RoleRef, b.Subjects, "Role", "ClusterRole")...)
		}),
		ValidateUpdate: checkBoth(func(new, old *rbacv1.RoleBinding) field.ErrorList {
			return keepRole(new.RoleRef, old.RoleRef)
		}),
		Columns: bindingColumns(),
		Row: cells(func(b *rbacv1.RoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects, now)
		}),
		SelectableFields: selectable[*rbacv1.RoleBinding](true, nil),
	}
}

func clusterRoleBindingRow() Kind {
	return Kind{
		GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Resource:         "clusterrolebindings",
		Singular:         "clusterrolebinding",
		CreateOnUpdate:   true,
		New:              newOf[rbacv1.ClusterRoleBinding],
		NewList:          newOf[rbacv1.ClusterRoleBindingList],
		Default: func(obj runtime.Object) {
			b := obj.(*rbacv1.ClusterRoleBinding)
			defaultBinding(&b.RoleRef, b.Subjects)
		},
		Validate: check(func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
			errs := validateClusterScoped(&b.ObjectMeta, segmentName)
			return append(errs, validateBinding(&b.RoleRef, b.Subjects, "ClusterRole")...)
		}),
		ValidateUpdate: checkBoth(func(new, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return keepRole(new.RoleRef, old.RoleRef)
		}),
		Columns: bindingColumns(),
		Row: cells(func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects, now)
		}),
		SelectableFields: selectable[*rbacv1.ClusterRoleBinding](false, nil),
	}
}

// segmentName: RBAC objects have any name that a path can hold.
func segmentName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

func validatePolicyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, r := range rules {
		at := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	return errs
}

func defaultBinding(role *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	defaultTo(&role.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if k := subjects[i].Kind; k == rbacv1.UserKind || k == rbacv1.GroupKind {
			defaultTo(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}

func validateBinding(role *rbacv1.RoleRef, subjects []rbacv1.Subject, roleKinds ...string) field.ErrorList {
	var errs field.ErrorList
	ref := field.NewPath("roleRef")
	errs = append(errs, emptyOrOneOf(ref.Child("apiGroup"), role.APIGroup, rbacv1.GroupName)...)
	if !slices.Contains(roleKinds, role.Kind) {
		errs = append(errs, field.NotSupported(ref.Child("kind"), role.Kind, roleKinds))
	}
	if role.Name == "" {
		errs = append(errs, field.Required(ref.Child("name"), ""))
	} else {
		errs = append(errs, invalid(ref.Child("name"), role.Name, content.IsPathSegmentName(role.Name))...)
	}
	for i, s := range subjects {
		at := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		group := rbacv1.GroupName
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			group = ""
			if s.Name != "" {
				errs = append(errs, invalid(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))...)
			}
			if s.Namespace == "" {
				errs = append(errs, field.Required(at.Child("namespace"), ""))
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
		default:
			errs = append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
			continue
		}
		if s.APIGroup != group {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
		}
	}
	return errs
}

func keepRole(new, old rbacv1.RoleRef) field.ErrorList {
	if new != old {
		return field.ErrorList{field.Invalid(field.NewPath("roleRef"), new, "cannot change roleRef")}
	}
	return nil
}

func roleColumns() []metav1.TableColumnDefinition {
	created := column("Created At", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
	created.Format = "date"
	return []metav1.TableColumnDefinition{nameColumn(), created}
}

func bindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		column("Role", rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"]),
		ageColumn(),
		wideColumn("Users", "Users in the roleBinding"),
		wideColumn("Groups", "Groups in the roleBinding"),
		wideColumn("ServiceAccounts", "ServiceAccounts in the roleBinding"),
	}
}

func bindingCells(meta *metav1.ObjectMeta, role rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	by := map[string][]string{}
	for _, s := range subjects {
		name := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			name = s.Namespace + "/" + name
		}
		by[s.Kind] = append(by[s.Kind], name)
	}
	join := func(kind string) string { return strings.Join(by[kind], ", ") }
	return []any{meta.Name, role.Kind + "/" + role.Name, age(meta.CreationTimestamp.Time, now),
		join(rbacv1.UserKind), join(rbacv1.GroupKind), join(rbacv1.ServiceAccountKind)}
}
