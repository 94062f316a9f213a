package kube

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"vtm-ingress/sim/kube/store"
)

// Delete removes an object, or, where it has finalizers, a grace period, or is
// a namespace, marks it as being deleted (then the bool is false).
func (r *resource) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (result runtime.Object, deleted bool, err error) {
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	err = r.store.Write(func(tx *store.Tx) (err error) {
		result, deleted, err = r.delete(tx, ctx, name, validate, options)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return result, deleted, nil
}

func (r *resource) delete(tx *store.Tx, ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key := r.key(ctx, name)
	current := r.table.Get(key)
	if current == nil {
		return nil, false, r.notFound(name)
	}
	obj := r.present(current)
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, false, err
		}
	}
	namespace, isNamespace := obj.(*corev1.Namespace)
	if isNamespace && slices.Contains(permanentNamespaces[:], name) {
		return nil, false, apierrors.NewForbidden(r.groupResource(), name, errors.New("this namespace may not be deleted"))
	}
	graceful, pending, err := rest.BeforeDelete(r.deletionRules(), ctx, obj, options)
	if err != nil {
		return nil, false, err
	}
	if pending { // being deleted already, and no sooner than it is
		return obj, false, nil
	}
	changed := collectedBy(m, options) || graceful
	held := len(m.GetFinalizers()) > 0
	if isNamespace && len(namespace.Spec.Finalizers) > 0 {
		held = true
		namespace.Status.Phase = corev1.NamespaceTerminating
	}
	if held && !graceful {
		changed = r.markDeleted(m) || changed
	}
	dry := dryrun.IsDryRun(options.DryRun)
	if changed && !dry {
		if err := r.put(tx, key, obj); err != nil {
			return nil, false, err
		}
		obj = r.present(r.table.Get(key))
	}
	if held || graceful && *options.GracePeriodSeconds > 0 {
		return obj, false, nil
	}
	if !dry {
		if obj, err = r.remove(tx, key); err != nil {
			return nil, false, err
		}
	}
	return r.deletionResult(obj, m), true, nil
}

func (r *resource) deletionRules() rest.RESTDeleteStrategy {
	if r.kind.GracefulDelete {
		return gracefulStrategy{r.rules}
	}
	return r.rules
}

// deletionResult is what the client of a completed deletion is told: of some
// kinds the last state, else a Status.
func (r *resource) deletionResult(obj runtime.Object, m metav1.Object) runtime.Object {
	switch obj.(type) {
	case *corev1.Pod, *corev1.Service, *corev1.ServiceAccount:
		return obj
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name:  m.GetName(),
		Group: r.kind.GroupVersionKind.Group,
		Kind:  r.kind.Resource,
		UID:   m.GetUID(),
	}}
}

// markDeleted marks an object that something still holds; false if it is marked
// already.
func (r *resource) markDeleted(m metav1.Object) bool {
	if namespace, ok := m.(*corev1.Namespace); ok && namespace.DeletionTimestamp != nil {
		return false
	}
	if m.GetDeletionTimestamp() != nil && m.GetDeletionGracePeriodSeconds() != nil && *m.GetDeletionGracePeriodSeconds() == 0 {
		return false
	}
	if m.GetDeletionTimestamp() == nil && m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	now, zero := r.now(), int64(0)
	if at := m.GetDeletionTimestamp(); at == nil || at.After(now.Time) {
		m.SetDeletionTimestamp(&now)
	}
	if _, isNamespace := m.(*corev1.Namespace); !isNamespace {
		m.SetDeletionGracePeriodSeconds(&zero)
	}
	return true
}

// collectedBy sets the finalizers by which the garbage collector (a client)
// orphans or first deletes the dependents, and tells whether that changed
// anything. Without a policy, those that the object has stay.
func collectedBy(m metav1.Object, options *metav1.DeleteOptions) bool {
	var want string
	switch {
	//lint:ignore SA1019 older clients send it
	case options.OrphanDependents != nil:
		//lint:ignore SA1019 as above
		if *options.OrphanDependents {
			want = metav1.FinalizerOrphanDependents
		}
	case options.PropagationPolicy == nil:
		return false
	case *options.PropagationPolicy == metav1.DeletePropagationOrphan:
		want = metav1.FinalizerOrphanDependents
	case *options.PropagationPolicy == metav1.DeletePropagationForeground:
		want = metav1.FinalizerDeleteDependents
	}
	before := m.GetFinalizers()
	var after []string
	for _, f := range before {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			after = append(after, f)
		}
	}
	if want != "" {
		after = append(after, want)
	}
	if slices.Equal(before, after) {
		return false
	}
	m.SetFinalizers(after)
	return true
}

// DeleteCollection deletes all objects that the options select, one after the
// other, and returns them as a list. One that cannot be deleted ends it with
// its error.
func (r *resource) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, listOptions *internalversion.ListOptions) (runtime.Object, error) {
	list, err := r.List(ctx, listOptions)
	if err != nil {
		return nil, err
	}
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		m, err := meta.Accessor(obj)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		_, _, err = r.Delete(ctx, m.GetName(), validate, options.DeepCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return list, err
}
