package kube

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"vtm-ingress/sim/kube/kinds"
	"vtm-ingress/sim/kube/store"
)

// resource is the storage of one kind as k8s.io/apiserver's handlers use it.
// Its methods are in read.go, watch.go, write.go and delete.go.
//
// All of them take and give objects of the kind's own type. Where the kind only
// presents another one's objects, that one's form is in the table, and present
// and stored convert.
type resource struct {
	*api
	kind  *kinds.Kind
	table *store.Table
	rules strategy
}

var _ rest.StandardStorage = (*resource)(nil)

func newResource(a *api, kind *kinds.Kind) *resource {
	r := &resource{api: a, kind: kind}
	r.rules = strategy{ObjectTyper: a.scheme, kind: kind}
	stored := kind.GroupVersionKind.Group
	if kind.Presents != nil {
		stored = kind.Presents.Of.Group
	}
	r.table = a.store.Table(schema.GroupResource{Group: stored, Resource: kind.Resource})
	return r
}

func (r *resource) New() runtime.Object     { return r.kind.New() }
func (r *resource) NewList() runtime.Object { return r.kind.NewList() }
func (r *resource) Destroy()                {}

func (r *resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.kind.GroupVersionKind.Group, Resource: r.kind.Resource}
}

// key is where the object name of the request's namespace is stored. The
// context's namespace is ignored for what has none: for a request of
// /namespaces/x it is x.
func (r *resource) key(ctx context.Context, name string) string {
	return r.prefix(ctx) + name
}

// prefix begins the keys of all objects of the request's namespace; "" where
// the request is for all namespaces.
func (r *resource) prefix(ctx context.Context) string {
	if namespace := request.NamespaceValue(ctx); r.kind.Namespaced && namespace != "" {
		return namespace + "/"
	}
	return ""
}

// present makes a copy of a stored object, in the kind's own form, that the
// caller may change.
func (r *resource) present(stored runtime.Object) runtime.Object {
	if r.kind.Presents != nil {
		return r.kind.Presents.FromStored(stored)
	}
	return stored.DeepCopyObject()
}

// show is present for a caller that changes no more than the object's own fields, nothing
// that they point to: lists and watches, which would copy thousands of objects whole to
// have them written as they are.
func (r *resource) show(stored runtime.Object) runtime.Object {
	if r.kind.Presents != nil {
		return r.present(stored)
	}
	from := reflect.ValueOf(stored).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	return to.Interface().(runtime.Object)
}

// stored makes a copy of obj in the form in which it is stored.
func (r *resource) stored(obj runtime.Object) runtime.Object {
	if r.kind.Presents != nil {
		return r.kind.Presents.ToStored(obj)
	}
	return obj.DeepCopyObject()
}

func (r *resource) notFound(name string) error {
	return apierrors.NewNotFound(r.groupResource(), name)
}

// selection is what a list or watch asks for.
type selection struct {
	labels labels.Selector
	fields fields.Selector
	kind   *kinds.Kind
}

func (r *resource) selection(label labels.Selector, field fields.Selector) selection {
	s := selection{labels: labels.Everything(), fields: fields.Everything(), kind: r.kind}
	if label != nil {
		s.labels = label
	}
	if field != nil {
		s.fields = field
	}
	return s
}

func (s selection) all() bool { return s.labels.Empty() && s.fields.Empty() }

// matches tells whether obj, in the kind's own form, is asked for.
func (s selection) matches(obj runtime.Object) bool {
	if !s.labels.Empty() {
		accessor, err := meta.Accessor(obj)
		if err != nil || !s.labels.Matches(labels.Set(accessor.GetLabels())) {
			return false
		}
	}
	return s.fields.Empty() || s.fields.Matches(s.kind.SelectableFields(obj))
}

// ConvertToTable makes the Table that kubectl get prints, of one object or a
// list.
func (r *resource) ConvertToTable(_ context.Context, obj runtime.Object, tableOptions runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if options, ok := tableOptions.(*metav1.TableOptions); !ok || !options.NoHeaders {
		table.ColumnDefinitions = r.kind.Columns
	}
	now := r.clock.Now()
	add := func(obj runtime.Object) error {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: r.kind.Row(obj, now), Object: runtime.RawExtension{Object: obj}})
		return nil
	}
	if meta.IsListType(obj) {
		list, err := meta.ListAccessor(obj)
		if err != nil {
			return nil, err
		}
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
		return table, meta.EachListItem(obj, add)
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("table of %T: %w", obj, err)
	}
	table.ResourceVersion = accessor.GetResourceVersion()
	return table, add(obj)
}
