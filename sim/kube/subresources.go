package kube

import (
	"context"
	"fmt"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// cutSubresource splits "pods/status".
func cutSubresource(path string) (resource, subresource string, found bool) {
	return strings.Cut(path, "/")
}

// statusResource is the status subresource: the object itself, of which only
// the status changes.
type statusResource struct{ *resource }

var _ rest.Patcher = (*statusResource)(nil)

func (s *statusResource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// Creation through a subresource is never allowed.
	return s.update(ctx, name, info, createValidation, updateValidation, false, options, updateOnly{statusStrategy{s.rules}})
}

// updateOnly forbids to create by an update.
type updateOnly struct{ rest.RESTUpdateStrategy }

func (updateOnly) AllowCreateOnUpdate(context.Context) bool { return false }

// scaleResource is the scale subresource.
type scaleResource struct{ resource *resource }

var _ rest.Patcher = (*scaleResource)(nil)

func (s *scaleResource) New() runtime.Object { return &autoscalingv1.Scale{} }
func (s *scaleResource) Destroy()            {}

func (s *scaleResource) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.resource.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return s.resource.kind.Scale.Get(obj), nil
}

func (s *scaleResource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, _ rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	scaled := &scaledObject{resource: s.resource, info: info}
	obj, _, err := s.resource.update(ctx, name, scaled, nil, nil, false, options, updateOnly{s.resource.updateRules()})
	if err != nil {
		return nil, false, err
	}
	return s.resource.kind.Scale.Get(obj), false, nil
}

// scaledObject makes of an update of a Scale one of the object.
type scaledObject struct {
	resource *resource
	info     rest.UpdatedObjectInfo
}

func (s *scaledObject) Preconditions() *metav1.Preconditions { return s.info.Preconditions() }

func (s *scaledObject) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	kind := s.resource.kind
	obj := old.DeepCopyObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	// Who owns spec.replicas of the object owns it in the Scale, and the other
	// way round.
	owners := managedfields.NewScaleHandler(m.GetManagedFields(), kind.GroupVersionKind.GroupVersion(), managedfields.ResourcePathMappings{
		kind.GroupVersionKind.GroupVersion().String(): fieldpath.MakePathOrDie("spec", "replicas"),
	})
	before := kind.Scale.Get(old)
	if before.ManagedFields, err = owners.ToSubresource(); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	updated, err := s.info.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", updated))
	}
	if scale.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(scaleKind.GroupKind(), m.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0"),
		})
	}
	kind.Scale.Set(obj, scale.Spec.Replicas)
	if scale.ResourceVersion != "" {
		m.SetResourceVersion(scale.ResourceVersion)
	}
	entries, err := owners.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	m.SetManagedFields(entries)
	return obj, nil
}

// finalizeResource is the finalize subresource of namespaces: of the object only
// spec.finalizers changes. The last one gone, a deleted namespace is gone.
type finalizeResource struct{ *resource }

func (f *finalizeResource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return f.update(ctx, name, info, createValidation, updateValidation, false, options, finalizeStrategy{f.rules})
}

type finalizeStrategy struct{ strategy }

func (finalizeStrategy) AllowCreateOnUpdate(context.Context) bool { return false }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	obj.(*corev1.Namespace).Status = *old.(*corev1.Namespace).Status.DeepCopy()
}
