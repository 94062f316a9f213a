package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// garbage deletes what lost its last owner, and carries out foreground and orphan
// deletion. It watches the kinds that own or are owned here; an owner of another
// kind counts as there.
type garbage struct {
	*manager
	client kubernetes.Interface
	kinds  []ownedKind
	queue  *loop
}

// ownedKind is a kind whose objects own others or are owned.
type ownedKind struct {
	apiVersion, kind, resource string
	informer                   cache.SharedIndexInformer
}

// byOwner is the index of objects by their owners' UIDs.
const byOwner = "owner"

func (m *manager) addGarbageCollector() error {
	client, err := m.client("garbage")
	if err != nil {
		return err
	}
	core, apps := m.factory.Core().V1(), m.factory.Apps().V1()
	g := &garbage{manager: m, client: client, kinds: []ownedKind{
		{"apps/v1", "Deployment", "deployments", apps.Deployments().Informer()},
		{"apps/v1", "ReplicaSet", "replicasets", apps.ReplicaSets().Informer()},
		{"v1", "Pod", "pods", core.Pods().Informer()},
		{"v1", "Service", "services", core.Services().Informer()},
		{"v1", "ConfigMap", "configmaps", core.ConfigMaps().Informer()},
		{"v1", "Secret", "secrets", core.Secrets().Informer()},
	}}
	if m.slices {
		g.kinds = append(g.kinds, ownedKind{"discovery.k8s.io/v1", "EndpointSlice", "endpointslices", m.factory.Discovery().V1().EndpointSlices().Informer()})
	}
	g.queue = m.loop("garbage", g.sync)
	for _, k := range g.kinds {
		err := k.informer.AddIndexers(cache.Indexers{byOwner: func(object any) ([]string, error) {
			var uids []string
			if o, err := meta.Accessor(object); err == nil {
				for _, owner := range o.GetOwnerReferences() {
					uids = append(uids, string(owner.UID))
				}
			}
			return uids, nil
		}})
		if err != nil {
			return err
		}
		k.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { g.changed(k, object) },
			UpdateFunc: func(_, object any) { g.changed(k, object) },
			DeleteFunc: func(object any) {
				if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = unknown.Obj
				}
				if o, err := meta.Accessor(object); err == nil {
					g.queueDependents(o.GetUID())
					g.queueOwners(o)
				}
			},
		})
	}
	return nil
}

func (g *garbage) key(k ownedKind, o metav1.Object) string {
	return k.resource + "/" + o.GetNamespace() + "/" + o.GetName()
}

func (g *garbage) changed(k ownedKind, object any) {
	o, err := meta.Accessor(object)
	if err != nil {
		return
	}
	if len(o.GetOwnerReferences()) > 0 || o.GetDeletionTimestamp() != nil {
		g.queue.add(g.key(k, o))
	}
}

// dependents lists who names uid as owner, sorted by key.
func (g *garbage) dependents(uid types.UID) (keys []string, objects []metav1.Object) {
	type found struct {
		key    string
		object metav1.Object
	}
	var all []found
	for _, k := range g.kinds {
		list, err := k.informer.GetIndexer().ByIndex(byOwner, string(uid))
		if err != nil {
			continue // the index exists
		}
		for _, item := range list {
			if o, err := meta.Accessor(item); err == nil {
				all = append(all, found{g.key(k, o), o})
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.key, b.key) })
	for _, f := range all {
		keys, objects = append(keys, f.key), append(objects, f.object)
	}
	return keys, objects
}

func (g *garbage) queueDependents(uid types.UID) {
	keys, _ := g.dependents(uid)
	for _, key := range keys {
		g.queue.add(key)
	}
}

// queueOwners looks again at owners that wait for this object to be gone.
func (g *garbage) queueOwners(o metav1.Object) {
	for _, owner := range o.GetOwnerReferences() {
		for _, k := range g.kinds {
			if k.kind == owner.Kind {
				g.queue.add(k.resource + "/" + o.GetNamespace() + "/" + owner.Name)
			}
		}
	}
}

func (g *garbage) sync(ctx context.Context, key string) error {
	parts := strings.SplitN(key, "/", 3)
	i := slices.IndexFunc(g.kinds, func(k ownedKind) bool { return k.resource == parts[0] })
	k := g.kinds[i]
	item, exists, err := k.informer.GetIndexer().GetByKey(keyOf(parts[1], parts[2]))
	if err != nil || !exists {
		return err
	}
	o, err := meta.Accessor(item)
	if err != nil {
		return err
	}
	if o.GetDeletionTimestamp() != nil {
		return g.finish(ctx, k, o)
	}
	if len(o.GetOwnerReferences()) == 0 {
		return nil
	}
	for _, owner := range o.GetOwnerReferences() {
		there, err := g.exists(ctx, o.GetNamespace(), owner)
		if err != nil || there {
			return err
		}
	}
	return g.delete(ctx, k, o, metav1.DeletePropagationBackground)
}

// exists asks the API server itself, since caches of two kinds lag differently.
func (g *garbage) exists(ctx context.Context, namespace string, owner metav1.OwnerReference) (bool, error) {
	for _, k := range g.kinds {
		if k.kind != owner.Kind || k.apiVersion != owner.APIVersion {
			continue
		}
		if item, ok, _ := k.informer.GetIndexer().GetByKey(keyOf(namespace, owner.Name)); ok {
			if o, err := meta.Accessor(item); err == nil && o.GetUID() == owner.UID {
				return true, nil
			}
		}
		raw, err := g.request("GET", k, namespace, owner.Name).SetHeader("Accept", "application/json").Do(ctx).Raw()
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var o metav1.PartialObjectMetadata
		if err := json.Unmarshal(raw, &o); err != nil {
			return false, err
		}
		return o.UID == owner.UID, nil
	}
	return true, nil
}

// finish carries out what a deleted object's finalizers ask of us.
func (g *garbage) finish(ctx context.Context, k ownedKind, o metav1.Object) error {
	_, dependents := g.dependents(o.GetUID())
	if slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents) {
		for _, d := range dependents {
			if err := g.disown(ctx, d, o.GetUID()); err != nil {
				return err
			}
		}
		return g.dropFinalizer(ctx, k, o, metav1.FinalizerOrphanDependents)
	}
	if !slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		return nil
	}
	blocked := false
	for _, d := range dependents {
		kept, blocks := false, false // by another owner; for this one
		for _, owner := range d.GetOwnerReferences() {
			if owner.UID == o.GetUID() {
				blocks = owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion
				continue
			}
			there, err := g.exists(ctx, d.GetNamespace(), owner)
			if err != nil {
				return err
			}
			kept = kept || there
		}
		if kept {
			if err := g.disown(ctx, d, o.GetUID()); err != nil {
				return err
			}
			continue
		}
		blocked = blocked || blocks
		if d.GetDeletionTimestamp() != nil {
			continue
		}
		policy := metav1.DeletePropagationBackground
		if below, _ := g.dependents(d.GetUID()); len(below) > 0 {
			policy = metav1.DeletePropagationForeground
		}
		if err := g.delete(ctx, g.kindOf(d), d, policy); err != nil {
			return err
		}
	}
	if blocked {
		return nil // the dependents' deletion brings us here again
	}
	return g.dropFinalizer(ctx, k, o, metav1.FinalizerDeleteDependents)
}

// kindOf finds a cached object's kind: typed objects don't say it.
func (g *garbage) kindOf(o metav1.Object) ownedKind {
	for _, k := range g.kinds {
		if item, ok, _ := k.informer.GetIndexer().GetByKey(keyOf(o.GetNamespace(), o.GetName())); ok {
			if other, err := meta.Accessor(item); err == nil && other.GetUID() == o.GetUID() {
				return k
			}
		}
	}
	return ownedKind{}
}

// disown removes an owner from a dependent.
func (g *garbage) disown(ctx context.Context, d metav1.Object, owner types.UID) error {
	err := g.patch(ctx, g.kindOf(d), d, fmt.Sprintf(
		`{"metadata":{"ownerReferences":[{"$patch":"delete","uid":%q}],"uid":%q}}`, owner, d.GetUID()))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (g *garbage) delete(ctx context.Context, k ownedKind, o metav1.Object, policy metav1.DeletionPropagation) error {
	options, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:      metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions: metav1.NewUIDPreconditions(string(o.GetUID())), PropagationPolicy: &policy,
	})
	if err != nil {
		return err
	}
	err = g.request("DELETE", k, o.GetNamespace(), o.GetName()).SetHeader("Content-Type", "application/json").Body(options).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another object of that name
	}
	return err
}

func (g *garbage) dropFinalizer(ctx context.Context, k ownedKind, o metav1.Object, finalizer string) error {
	err := g.patch(ctx, k, o, fmt.Sprintf(`{"metadata":{"$deleteFromPrimitiveList/finalizers":[%q],"uid":%q}}`, finalizer, o.GetUID()))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (g *garbage) patch(ctx context.Context, k ownedKind, o metav1.Object, body string) error {
	if k.resource == "" {
		return nil // gone meanwhile
	}
	return g.request("PATCH", k, o.GetNamespace(), o.GetName()).SetHeader("Content-Type", string(types.StrategicMergePatchType)).
		Body([]byte(body)).Do(ctx).Error()
}
