package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"vtm-ingress/sim/kube/kinds"
)

// strategy gives a row of package kinds the form in which k8s.io/apiserver's
// rules for metadata (rest.BeforeCreate, BeforeUpdate, BeforeDelete) ask for it.
// The names are made before they are asked for, so its NameGenerator is none.
type strategy struct {
	runtime.ObjectTyper
	kind *kinds.Kind
	// prepareUpdate, where set, runs after the kind's own PrepareForUpdate.
	prepareUpdate func(new, old runtime.Object)
}

var (
	_ rest.RESTCreateStrategy         = strategy{}
	_ rest.RESTUpdateStrategy         = strategy{}
	_ rest.RESTGracefulDeleteStrategy = gracefulStrategy{}
)

func (s strategy) GenerateName(base string) string { return base }
func (s strategy) NamespaceScoped() bool           { return s.kind.Namespaced }
func (s strategy) Canonicalize(runtime.Object)     {}

func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.kind.PrepareForCreate != nil {
		s.kind.PrepareForCreate(obj)
	}
}

func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	errs := s.kind.Validate(obj)
	if s.kind.ValidateCreate != nil {
		errs = append(errs, s.kind.ValidateCreate(obj)...)
	}
	return errs
}

func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	if s.kind.Warnings == nil {
		return nil
	}
	return s.kind.Warnings(obj)
}

func (s strategy) AllowCreateOnUpdate(context.Context) bool { return s.kind.CreateOnUpdate }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool {
	return !s.kind.ConditionalUpdateOnly
}

func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if s.kind.PrepareForUpdate != nil {
		s.kind.PrepareForUpdate(obj, old)
	}
	if s.prepareUpdate != nil {
		s.prepareUpdate(obj, old)
	}
}

func (s strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	errs := s.kind.Validate(obj)
	if s.kind.ValidateUpdate != nil {
		errs = append(errs, s.kind.ValidateUpdate(obj, old)...)
	}
	return withoutMetadataErrors(errs, obj, old, s.kind.Namespaced)
}

func (s strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// withoutMetadataErrors leaves out what rest.BeforeUpdate finds by itself, so
// that no mistake is told twice.
func withoutMetadataErrors(errs field.ErrorList, obj, old runtime.Object, namespaced bool) field.ErrorList {
	if len(errs) == 0 {
		return nil
	}
	told := map[string]bool{}
	new, err := meta.Accessor(obj)
	if err != nil {
		return errs
	}
	before, err := meta.Accessor(old)
	if err != nil {
		return errs
	}
	at := field.NewPath("metadata")
	common := validation.ValidateObjectMetaAccessor(new, namespaced, pathSegment, at)
	common = append(common, validation.ValidateObjectMetaAccessorUpdate(new, before, at)...)
	for _, e := range common {
		told[e.Error()] = true
	}
	var rest field.ErrorList
	for _, e := range errs {
		if !told[e.Error()] {
			told[e.Error()] = true
			rest = append(rest, e)
		}
	}
	return rest
}

// pathSegment is the rule for names that rest.BeforeUpdate applies.
func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// statusStrategy is that of the status subresource.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	s.kind.PrepareForStatusUpdate(obj, old)
}

func (s statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.kind.ValidateStatusUpdate == nil {
		return nil
	}
	return s.kind.ValidateStatusUpdate(obj, old)
}

// gracefulStrategy is that of kinds whose objects a node winds down (pods).
type gracefulStrategy struct{ strategy }

// CheckGracefulDelete gives the grace period: the one asked for, else the
// Pod's own; none for a Pod that no node runs (any more).
func (s gracefulStrategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	pod, ok := obj.(*corev1.Pod)
	if !ok || options == nil {
		return false
	}
	period := int64(0)
	switch {
	case options.GracePeriodSeconds != nil:
		period = *options.GracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		period = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	options.GracePeriodSeconds = &period
	return true
}
