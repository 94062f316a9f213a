package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"vtm-ingress/sim/kube/store"
)

const optimisticLockMessage = "the object has been modified; please apply your changes to the latest version and try again"

// Create stores obj as a new object.
func (r *resource) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	var created runtime.Object
	err := r.store.Write(func(tx *store.Tx) (err error) {
		created, err = r.create(tx, ctx, obj, validate, dryrun.IsDryRun(options.DryRun))
		return err
	})
	return created, err
}

func (r *resource) create(tx *store.Tx, ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, dryRun bool) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := r.admitToNamespace(ctx, m); err != nil {
		return nil, err
	}
	if ingress, ok := obj.(*networkingv1.Ingress); ok {
		if err := r.admitIngress(ingress); err != nil {
			return nil, err
		}
	}
	applied := func(e metav1.ManagedFieldsEntry) bool { return e.Operation == metav1.ManagedFieldsOperationApply }
	if _, is := obj.(*coordinationv1.Lease); is && !slices.ContainsFunc(m.GetManagedFields(), applied) {
		// Telling who owns its fields takes longer than all else of a renewal, of which
		// there is one every other second. Without entries it begins with the first apply.
		m.SetManagedFields(nil)
	}
	m.SetCreationTimestamp(r.now())
	m.SetUID(r.uid(tx.Next()))
	if m.GetName() == "" && m.GetGenerateName() != "" {
		for attempt := uint64(0); ; attempt++ {
			m.SetName(r.generateName(m.GetGenerateName(), tx.Next(), attempt))
			if r.table.Get(r.key(ctx, m.GetName())) == nil {
				break
			}
		}
	}
	if err := rest.BeforeCreate(r.rules, ctx, obj); err != nil {
		return nil, err
	}
	if m.GetResourceVersion() != "" {
		return nil, storage.ErrResourceVersionSetOnCreate
	}
	key := r.key(ctx, m.GetName())
	if r.table.Get(key) != nil {
		return nil, apierrors.NewAlreadyExists(r.groupResource(), m.GetName())
	}
	if service, ok := obj.(*corev1.Service); ok {
		if err := r.services.assign(service, nil); err != nil {
			return nil, err
		}
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if dryRun {
		return obj, nil
	}
	if err := r.put(tx, key, obj); err != nil {
		return nil, err
	}
	if namespace, ok := obj.(*corev1.Namespace); ok {
		if err := r.furnish(tx, ctx, namespace.Name); err != nil {
			return nil, err
		}
	}
	return r.present(r.table.Get(key)), nil
}

// furnish gives a new namespace what every namespace has. On a real cluster a
// controller does so a moment later.
func (r *resource) furnish(tx *store.Tx, ctx context.Context, namespace string) error {
	accounts := r.resources[corev1.SchemeGroupVersion.WithResource("serviceaccounts")]
	if accounts == nil {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace}}
	_, err := accounts.create(tx, request.WithNamespace(ctx, namespace), account, nil, false)
	return err
}

// put commits a copy of obj and keeps the books of Services' addresses and of
// Events' ends.
func (r *resource) put(tx *store.Tx, key string, obj runtime.Object) error {
	before := r.table.Get(key)
	stored := r.stored(obj)
	if err := wholeSeconds(stored); err != nil {
		return err
	}
	if err := tx.Put(r.table, key, stored); err != nil {
		return apierrors.NewInternalError(err)
	}
	r.services.committed(key, before, stored)
	return r.events.written(tx, r, key, stored, tx.Next()-1)
}

// wholeSeconds cuts the times of metadata as encoding and decoding would, so
// that what is stored equals what a client sends back unchanged.
func wholeSeconds(obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	m.SetCreationTimestamp(m.GetCreationTimestamp().Rfc3339Copy())
	if at := m.GetDeletionTimestamp(); at != nil {
		m.SetDeletionTimestamp(ptr.To(at.Rfc3339Copy()))
	}
	entries := m.GetManagedFields()
	for i := range entries {
		if at := entries[i].Time; at != nil {
			entries[i].Time = ptr.To(at.Rfc3339Copy())
		}
	}
	return nil
}

// remove commits the deletion of what is under key.
func (r *resource) remove(tx *store.Tx, key string) (runtime.Object, error) {
	before := r.table.Get(key)
	last, err := tx.Delete(r.table, key)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	r.services.committed(key, before, nil)
	return r.present(last), nil
}

// admitToNamespace refuses a new object whose namespace does not exist, or is
// being deleted.
func (r *resource) admitToNamespace(ctx context.Context, m metav1.Object) error {
	name := request.NamespaceValue(ctx)
	if !r.kind.Namespaced || name == "" {
		return nil
	}
	namespace, ok := r.namespaces.table.Get(name).(*corev1.Namespace)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	if namespace.DeletionTimestamp == nil && namespace.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	err := apierrors.NewForbidden(r.groupResource(), m.GetName(), fmt.Errorf("unable to create new content in namespace %s because it is being terminated", name))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", name),
		Field:   "metadata.namespace",
	})
	return err
}

// Update replaces the object name by what info makes of it.
func (r *resource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.update(ctx, name, info, createValidation, updateValidation, forceAllowCreate, options, r.updateRules())
}

// updateRules are those of an update of the object itself.
func (r *resource) updateRules() strategy {
	rules := r.rules
	if r.kind.GroupVersionKind == corev1.SchemeGroupVersion.WithKind("Service") {
		rules.prepareUpdate = func(new, old runtime.Object) {
			keepAssigned(new.(*corev1.Service), old.(*corev1.Service))
		}
	}
	return rules
}

// update is Update under the rules of the object itself or of a subresource.
//
// The write right is held from reading the old object to the commit, so that no
// other change can come between and nothing is ever tried twice.
func (r *resource) update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, allowCreate bool, options *metav1.UpdateOptions, rules rest.RESTUpdateStrategy) (result runtime.Object, created bool, err error) {
	dryRun := options != nil && dryrun.IsDryRun(options.DryRun)
	err = r.store.Write(func(tx *store.Tx) error {
		key := r.key(ctx, name)
		current := r.table.Get(key)
		if current == nil {
			if !allowCreate && !rules.AllowCreateOnUpdate(ctx) {
				return r.notFound(name)
			}
			obj, err := info.UpdatedObject(ctx, r.New())
			if err != nil {
				return err
			}
			if m, err := meta.Accessor(obj); err == nil && m.GetUID() != "" {
				return r.uidConflict(name, string(m.GetUID()), "")
			}
			created = true
			result, err = r.create(tx, ctx, obj, createValidation, dryRun)
			return err
		}
		obj, err := r.updated(ctx, name, current, info, rules)
		if err != nil {
			return err
		}
		old := r.present(current)
		if updateValidation != nil {
			if err := updateValidation(ctx, obj.DeepCopyObject(), old); err != nil {
				return err
			}
		}
		if service, ok := obj.(*corev1.Service); ok {
			if err := r.services.assign(service, old.(*corev1.Service)); err != nil {
				return err
			}
		}
		result = obj
		switch gone, err := lastFinalizerGone(obj, old); {
		case err != nil:
			return err
		case apiequality.Semantic.DeepEqual(obj, old) && !gone:
			return nil // nothing to change: no new revision
		case dryRun:
			return nil
		case gone:
			// The last state is committed with the deletion alone, as there is
			// only one event on a real server.
			result, err = r.remove(tx, key)
			return err
		}
		if err := r.put(tx, key, obj); err != nil {
			return err
		}
		result = r.present(r.table.Get(key))
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return result, created, nil
}

// updated makes the new object from the current one and checks it by all rules
// but those of Services' addresses.
func (r *resource) updated(ctx context.Context, name string, current runtime.Object, info rest.UpdatedObjectInfo, rules rest.RESTUpdateStrategy) (runtime.Object, error) {
	old := r.present(current)
	was, err := meta.Accessor(old)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if p := info.Preconditions(); p != nil && p.UID != nil && *p.UID != was.GetUID() {
		return nil, r.uidConflict(name, string(*p.UID), string(was.GetUID()))
	}
	obj, err := info.UpdatedObject(ctx, r.present(current))
	if err != nil {
		return nil, err
	}
	if err := wholeSeconds(obj); err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	switch version := m.GetResourceVersion(); {
	case version == "" && !rules.AllowUnconditionalUpdate(ctx):
		gvk := r.kind.GroupVersionKind
		return nil, apierrors.NewInvalid(gvk.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("resourceVersion"), "", "must be specified for an update"),
		})
	case version == "" || version == "0":
		m.SetResourceVersion(was.GetResourceVersion())
	case version != was.GetResourceVersion():
		return nil, apierrors.NewConflict(r.groupResource(), name, errors.New(optimisticLockMessage))
	}
	return obj, rest.BeforeUpdate(rules, ctx, obj, old)
}

// uidConflict tells that the object is not the one that was meant.
func (r *resource) uidConflict(name, wanted, found string) error {
	//lint:ignore ST1005 the real server's words
	why := fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", wanted, found)
	return apierrors.NewConflict(r.groupResource(), name, why)
}

// lastFinalizerGone tells whether the update from old to obj takes away the
// last reason why a deleted object still exists.
func lastFinalizerGone(obj, old runtime.Object) (bool, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if namespace, ok := obj.(*corev1.Namespace); ok && len(namespace.Spec.Finalizers) > 0 {
		return false, nil
	}
	if was.GetDeletionTimestamp() == nil || len(m.GetFinalizers()) > 0 {
		return false, nil
	}
	grace := was.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0, nil
}
