package kinds

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func deploymentRow() Kind {
	return Kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Resource:         "deployments",
		Singular:         "deployment",
		ShortNames:       []string{"deploy"},
		Categories:       []string{"all"},
		Namespaced:       true,
		New:              newOf[appsv1.Deployment],
		NewList:          newOf[appsv1.DeploymentList],

		Default: on(func(d *appsv1.Deployment) {
			defaultPtr(&d.Spec.Replicas, 1)
			defaultTo(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
			if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
				defaultPtr(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
				defaultPtr(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
				defaultPtr(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
			}
			defaultPtr(&d.Spec.RevisionHistoryLimit, 10)
			defaultPtr(&d.Spec.ProgressDeadlineSeconds, 600)
			defaultPodSpec(&d.Spec.Template.Spec)
		}),
		PrepareForCreate: on(func(d *appsv1.Deployment) {
			d.Status = appsv1.DeploymentStatus{}
			d.Generation = 1
		}),
		PrepareForUpdate: onBoth(func(new, old *appsv1.Deployment) {
			new.Status = *old.Status.DeepCopy()
			// Annotations are handed on to ReplicaSets, so they count as spec.
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, !same(new.Spec, old.Spec) || !same(new.Annotations, old.Annotations))
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *appsv1.Deployment) {
			new.Spec = *old.Spec.DeepCopy()
			new.Labels = old.DeepCopy().Labels
		}),

		Validate: check(validateDeployment),
		ValidateUpdate: checkBoth(func(new, old *appsv1.Deployment) field.ErrorList {
			return apivalidation.ValidateImmutableField(new.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		}),
		ValidateStatusUpdate: checkBoth(func(new, _ *appsv1.Deployment) field.ErrorList {
			s := new.Status
			return validateReplicaCounts(field.NewPath("status"), s.Replicas, map[string]int32{
				"updatedReplicas": s.UpdatedReplicas, "readyReplicas": s.ReadyReplicas,
				"availableReplicas": s.AvailableReplicas})
		}),

		Scale: &Scale{
			Get: func(obj runtime.Object) *autoscalingv1.Scale {
				d := obj.(*appsv1.Deployment)
				return scaleOf(&d.ObjectMeta, deref(d.Spec.Replicas), d.Status.Replicas, d.Spec.Selector)
			},
			Set: func(obj runtime.Object, replicas int32) { obj.(*appsv1.Deployment).Spec.Replicas = &replicas },
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Ready", "Number of the pod with ready state"),
			column("Up-to-date", appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"]),
			column("Available", appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"]),
			ageColumn(),
			wideColumn("Containers", "Names of each container in the template."),
			wideColumn("Images", "Images referenced by each container in the template."),
			wideColumn("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"]),
		},
		Row: cells(func(d *appsv1.Deployment, now time.Time) []any {
			names, images := containerCells(&d.Spec.Template.Spec)
			return []any{d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas)),
				int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), age(d.CreationTimestamp.Time, now),
				names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
		}),
		SelectableFields: selectable[*appsv1.Deployment](true, nil),
	}
}

func replicaSetRow() Kind {
	return Kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Resource:         "replicasets",
		Singular:         "replicaset",
		ShortNames:       []string{"rs"},
		Categories:       []string{"all"},
		Namespaced:       true,
		New:              newOf[appsv1.ReplicaSet],
		NewList:          newOf[appsv1.ReplicaSetList],

		Default: on(func(rs *appsv1.ReplicaSet) {
			defaultPtr(&rs.Spec.Replicas, 1)
			defaultPodSpec(&rs.Spec.Template.Spec)
		}),
		PrepareForCreate: on(func(rs *appsv1.ReplicaSet) {
			rs.Status = appsv1.ReplicaSetStatus{}
			rs.Generation = 1
		}),
		PrepareForUpdate: onBoth(func(new, old *appsv1.ReplicaSet) {
			new.Status = *old.Status.DeepCopy()
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, !same(new.Spec, old.Spec))
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *appsv1.ReplicaSet) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate: check(func(rs *appsv1.ReplicaSet) field.ErrorList {
			errs := validateNamespaced(&rs.ObjectMeta, apivalidation.NameIsDNSSubdomain)
			spec := field.NewPath("spec")
			errs = append(errs, nonNegative(spec.Child("replicas"), int64(deref(rs.Spec.Replicas)))...)
			errs = append(errs, nonNegative(spec.Child("minReadySeconds"), int64(rs.Spec.MinReadySeconds))...)
			return append(errs, validateReplicatedTemplate(&rs.Spec.Template, rs.Spec.Selector, spec)...)
		}),
		ValidateUpdate: checkBoth(func(new, old *appsv1.ReplicaSet) field.ErrorList {
			return apivalidation.ValidateImmutableField(new.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
		}),
		ValidateStatusUpdate: checkBoth(func(new, _ *appsv1.ReplicaSet) field.ErrorList {
			s := new.Status
			return validateReplicaCounts(field.NewPath("status"), s.Replicas, map[string]int32{
				"fullyLabeledReplicas": s.FullyLabeledReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas})
		}),

		Scale: &Scale{
			Get: func(obj runtime.Object) *autoscalingv1.Scale {
				rs := obj.(*appsv1.ReplicaSet)
				return scaleOf(&rs.ObjectMeta, deref(rs.Spec.Replicas), rs.Status.Replicas, rs.Spec.Selector)
			},
			Set: func(obj runtime.Object, replicas int32) { obj.(*appsv1.ReplicaSet).Spec.Replicas = &replicas },
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			integer(column("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"])),
			integer(column("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"])),
			integer(column("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"])),
			ageColumn(),
			wideColumn("Containers", "Names of each container in the template."),
			wideColumn("Images", "Images referenced by each container in the template."),
			wideColumn("Selector", appsv1.ReplicaSetSpec{}.SwaggerDoc()["selector"]),
		},
		Row: cells(func(rs *appsv1.ReplicaSet, now time.Time) []any {
			names, images := containerCells(&rs.Spec.Template.Spec)
			return []any{rs.Name, int64(deref(rs.Spec.Replicas)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas),
				age(rs.CreationTimestamp.Time, now), names, images, metav1.FormatLabelSelector(rs.Spec.Selector)}
		}),
		SelectableFields: selectable(true, func(rs *appsv1.ReplicaSet, set fields.Set) {
			set["status.replicas"] = fmt.Sprint(rs.Status.Replicas)
		}),
	}
}

func scaleOf(meta *metav1.ObjectMeta, wanted, actual int32, selector *metav1.LabelSelector) *autoscalingv1.Scale {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              meta.Name,
			Namespace:         meta.Namespace,
			UID:               meta.UID,
			ResourceVersion:   meta.ResourceVersion,
			CreationTimestamp: meta.CreationTimestamp,
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: wanted},
		Status: autoscalingv1.ScaleStatus{Replicas: actual},
	}
	// A stored selector was validated, so that it always converts.
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		scale.Status.Selector = s.String()
	}
	return scale
}

func containerCells(spec *corev1.PodSpec) (names, images string) {
	var n, i []string
	for _, c := range spec.Containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	errs := validateNamespaced(&d.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	spec := field.NewPath("spec")
	errs = append(errs, nonNegative(spec.Child("replicas"), int64(deref(d.Spec.Replicas)))...)
	errs = append(errs, validateReplicatedTemplate(&d.Spec.Template, d.Spec.Selector, spec)...)
	errs = append(errs, validateStrategy(&d.Spec.Strategy, spec.Child("strategy"))...)
	errs = append(errs, nonNegative(spec.Child("minReadySeconds"), int64(d.Spec.MinReadySeconds))...)
	errs = append(errs, nonNegative(spec.Child("revisionHistoryLimit"), int64(deref(d.Spec.RevisionHistoryLimit)))...)
	if p := d.Spec.ProgressDeadlineSeconds; p != nil {
		at := spec.Child("progressDeadlineSeconds")
		errs = append(errs, nonNegative(at, int64(*p))...)
		if *p <= d.Spec.MinReadySeconds {
			errs = append(errs, field.Invalid(at, *p, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

// validateReplicatedTemplate checks a selector and the template of the pods it
// must select. The real server speaks of a deployment for ReplicaSets too.
func validateReplicatedTemplate(t *corev1.PodTemplateSpec, selector *metav1.LabelSelector, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := spec.Child("selector")
	if selector == nil {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, at)...)
		if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(at, selector, "empty selector is invalid for deployment"))
		}
	}
	template := spec.Child("template")
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil && !s.Empty() && !s.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(template.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, metav1validation.ValidateLabels(t.Labels, template.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, template.Child("annotations"))...)
	errs = append(errs, validatePodSpec(&t.Spec, template.Child("spec"))...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(template.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(template.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
	default:
		return field.ErrorList{field.NotSupported(path, *s, []appsv1.DeploymentStrategyType{
			appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
	}
	if s.RollingUpdate == nil || s.RollingUpdate.MaxUnavailable == nil || s.RollingUpdate.MaxSurge == nil {
		return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
	}
	unavailable, surge := *s.RollingUpdate.MaxUnavailable, *s.RollingUpdate.MaxSurge
	errs := countOrPercent(rolling.Child("maxUnavailable"), unavailable)
	errs = append(errs, countOrPercent(rolling.Child("maxSurge"), surge)...)
	if len(errs) > 0 {
		return errs
	}
	if isZero(unavailable) && isZero(surge) {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if unavailable.Type == intstr.String {
		if n, err := intstr.GetScaledValueFromIntOrPercent(&unavailable, 100, false); err == nil && n > 100 {
			errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "must not be greater than 100%"))
		}
	}
	return errs
}

func countOrPercent(path *field.Path, v intstr.IntOrString) field.ErrorList {
	if v.Type == intstr.String {
		return invalid(path, v, validation.IsValidPercent(v.StrVal))
	}
	return nonNegative(path, int64(v.IntValue()))
}

func isZero(v intstr.IntOrString) bool {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, 100, true)
	return err == nil && n == 0
}

// validateReplicaCounts holds the counts of a status below the number of
// replicas it reports.
func validateReplicaCounts(status *field.Path, replicas int32, counts map[string]int32) field.ErrorList {
	errs := nonNegative(status.Child("replicas"), int64(replicas))
	for _, name := range keys(counts) {
		errs = append(errs, nonNegative(status.Child(name), int64(counts[name]))...)
		if counts[name] > replicas {
			errs = append(errs, field.Invalid(status.Child(name), counts[name], "cannot be greater than status.replicas"))
		}
	}
	if counts["availableReplicas"] > counts["readyReplicas"] {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), counts["availableReplicas"], "cannot be greater than readyReplicas"))
	}
	return errs
}
