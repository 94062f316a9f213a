package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

const (
	// maxBodyBytes bounds a request's body, as on a real server.
	maxBodyBytes = 3 << 20
	// watchTimeout ends watches for which the client gives no time-out, where a
	// real server draws between half an hour and an hour.
	watchTimeout = 45 * time.Minute
)

var patchTypes = []string{
	string(types.JSONPatchType),
	string(types.MergePatchType),
	string(types.StrategicMergePatchType),
	string(types.ApplyYAMLPatchType),
}

// endpointKey names what a path leads to.
type endpointKey struct {
	group, version, resource, subresource string
}

// endpoint holds the handlers of one resource or subresource, by HTTP method.
type endpoint struct {
	collection map[string]http.Handler // paths without a name; nil for a subresource
	item       map[string]http.Handler // paths with a name
	watch      http.Handler            // the deprecated paths /watch/...; nil: none
	resource   metav1.APIResource      // what discovery tells; Name is "pods" or "pods/status"
	gv         schema.GroupVersion
}

// endpoints makes all endpoints of the API.
func (a *api) endpoints() (map[endpointKey]*endpoint, error) {
	all := map[endpointKey]*endpoint{}
	add := func(e *endpoint, err error) error {
		if err != nil {
			return err
		}
		resource, subresource, _ := cutSubresource(e.resource.Name)
		all[endpointKey{e.gv.Group, e.gv.Version, resource, subresource}] = e
		return nil
	}
	for _, kind := range a.kinds {
		r := a.resources[kind.GroupVersionResource()]
		if err := add(a.mainEndpoint(r)); err != nil {
			return nil, err
		}
		if kind.PrepareForStatusUpdate != nil {
			if err := add(a.updatableEndpoint(r, "status", kind.GroupVersionKind, &statusResource{r}, "spec")); err != nil {
				return nil, err
			}
		}
		if kind.Scale != nil {
			if err := add(a.updatableEndpoint(r, "scale", scaleKind, &scaleResource{r}, "")); err != nil {
				return nil, err
			}
		}
		for _, s := range a.specialEndpoints(r) {
			if err := add(s()); err != nil {
				return nil, err
			}
		}
	}
	for _, review := range a.reviews() {
		if err := add(a.reviewEndpoint(review)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// scopeOf says what differs between the request scopes of endpoints.
type scopeOf struct {
	resource    schema.GroupVersionResource
	subresource string
	kind        schema.GroupVersionKind
	namespaced  bool
	table       rest.TableConvertor       // nil: the general one
	reset       string                    // field whose changes this endpoint ignores, "" for none
	accepts     rest.GroupVersionAcceptor // nil: kind's own version alone
}

func (a *api) scope(o scopeOf) (*handlers.RequestScope, error) {
	hub := o.kind.GroupVersion()
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if o.reset != "" {
		reset = fieldpath.NewExcludeFilterSetMap(map[fieldpath.APIVersion]*fieldpath.Set{
			fieldpath.APIVersion(hub.String()): fieldpath.NewSet(fieldpath.MakePathOrDie(o.reset)),
		})
	}
	converter := a.converter
	if r := a.resources[o.resource]; o.kind != scaleKind && (r == nil || r.kind.GroupVersionKind != o.kind) {
		// What is posted to a subresource is nowhere in the schema; its fields
		// are told from the objects.
		converter = managedfields.NewDeducedTypeConverter()
	}
	unsafe := runtime.UnsafeObjectConvertor(a.scheme)
	fields, err := managedfields.NewDefaultFieldManager(converter, unsafe, a.scheme, a.scheme, o.kind, hub, o.subresource, reset)
	if err != nil {
		return nil, fmt.Errorf("emulated API server: managed fields of %s: %w", o.kind, err)
	}
	if o.table == nil {
		o.table = rest.NewDefaultTableConvertor(o.resource.GroupResource())
	}
	return &handlers.RequestScope{
		Namer:                    handlers.ContextBasedNaming{Namer: runtime.Namer(meta.NewAccessor()), ClusterScoped: !o.namespaced},
		Serializer:               a.codecs,
		ParameterCodec:           runtime.NewParameterCodec(a.scheme),
		Creater:                  a.scheme,
		Convertor:                a.scheme,
		Defaulter:                a.scheme,
		Typer:                    a.scheme,
		UnsafeConvertor:          unsafe,
		Authorizer:               everythingAllowed{},
		EquivalentResourceMapper: runtime.NewEquivalentResourceRegistry(),
		TableConvertor:           o.table,
		FieldManager:             fields,
		Resource:                 o.resource,
		Kind:                     o.kind,
		Subresource:              o.subresource,
		MetaGroupVersion:         metav1.SchemeGroupVersion,
		// Objects are kept in the version in which they are served: there are no
		// internal types.
		HubGroupVersion:             hub,
		AcceptsGroupVersionDelegate: o.accepts,
		MaxRequestBodyBytes:         maxBodyBytes,
	}, nil
}

// mainEndpoint is that of the objects themselves.
func (a *api) mainEndpoint(r *resource) (*endpoint, error) {
	kind := r.kind
	o := scopeOf{resource: kind.GroupVersionResource(), kind: kind.GroupVersionKind, namespaced: kind.Namespaced, table: r}
	if kind.PrepareForStatusUpdate != nil {
		o.reset = "status"
	}
	scope, err := a.scope(o)
	if err != nil {
		return nil, err
	}
	e := &endpoint{
		gv: kind.GroupVersionKind.GroupVersion(),
		collection: map[string]http.Handler{
			http.MethodGet:    handlers.ListResource(r, r, scope, false, watchTimeout),
			http.MethodPost:   perRequest(func() http.HandlerFunc { return handlers.CreateResource(r, scope, nil) }),
			http.MethodDelete: perRequest(func() http.HandlerFunc { return handlers.DeleteCollection(r, true, scope, nil) }),
		},
		item: map[string]http.Handler{
			http.MethodGet:    handlers.GetResource(r, scope),
			http.MethodPut:    perRequest(func() http.HandlerFunc { return handlers.UpdateResource(r, scope, nil) }),
			http.MethodPatch:  perRequest(func() http.HandlerFunc { return handlers.PatchResource(r, scope, nil, patchTypes) }),
			http.MethodDelete: perRequest(func() http.HandlerFunc { return handlers.DeleteResource(r, true, scope, nil) }),
		},
		watch: handlers.ListResource(r, r, scope, true, watchTimeout),
		resource: metav1.APIResource{
			Name:         kind.Resource,
			SingularName: kind.Singular,
			Namespaced:   kind.Namespaced,
			Kind:         kind.GroupVersionKind.Kind,
			Verbs:        metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
			ShortNames:   kind.ShortNames,
			Categories:   kind.Categories,
		},
	}
	if r == a.namespaces {
		delete(e.collection, http.MethodDelete)
		e.resource.Verbs = slices.DeleteFunc(e.resource.Verbs, func(v string) bool { return v == "deletecollection" })
	}
	return e, nil
}

// updatableEndpoint is that of a subresource which is read, replaced and
// patched.
func (a *api) updatableEndpoint(r *resource, name string, kind schema.GroupVersionKind, storage rest.Patcher, reset string) (*endpoint, error) {
	o := scopeOf{
		resource: r.kind.GroupVersionResource(), subresource: name,
		kind: kind, namespaced: r.kind.Namespaced, reset: reset,
	}
	if kind == r.kind.GroupVersionKind {
		o.table = r
	}
	scope, err := a.scope(o)
	if err != nil {
		return nil, err
	}
	e := a.subresourceEndpoint(r, name, kind, "get", "patch", "update")
	e.item = map[string]http.Handler{
		http.MethodGet:   handlers.GetResource(storage, scope),
		http.MethodPut:   perRequest(func() http.HandlerFunc { return handlers.UpdateResource(storage, scope, nil) }),
		http.MethodPatch: perRequest(func() http.HandlerFunc { return handlers.PatchResource(storage, scope, nil, patchTypes) }),
	}
	return e, nil
}

// creatableEndpoint is that of a subresource to which things are posted.
func (a *api) creatableEndpoint(r *resource, name string, kind schema.GroupVersionKind, storage rest.NamedCreater) (*endpoint, error) {
	accepts, _ := storage.(rest.GroupVersionAcceptor)
	scope, err := a.scope(scopeOf{
		resource: r.kind.GroupVersionResource(), subresource: name,
		kind: kind, namespaced: r.kind.Namespaced, accepts: accepts,
	})
	if err != nil {
		return nil, err
	}
	e := a.subresourceEndpoint(r, name, kind, "create")
	e.item = map[string]http.Handler{http.MethodPost: perRequest(func() http.HandlerFunc { return handlers.CreateNamedResource(storage, scope, nil) })}
	return e, nil
}

// perRequest makes a handler anew for each request, as a real API server does:
// those that write keep what belongs to one request in variables of the handler.
func perRequest(make func() http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { make()(w, r) })
}

// subresourceEndpoint is the part of an endpoint that discovery shows.
func (a *api) subresourceEndpoint(r *resource, name string, kind schema.GroupVersionKind, verbs ...string) *endpoint {
	e := &endpoint{
		gv: r.kind.GroupVersionKind.GroupVersion(),
		resource: metav1.APIResource{
			Name:       r.kind.Resource + "/" + name,
			Namespaced: r.kind.Namespaced,
			Kind:       kind.Kind,
			Verbs:      verbs,
		},
	}
	if kind.GroupVersion() != e.gv {
		e.resource.Group, e.resource.Version = kind.Group, kind.Version
	}
	return e
}

// specialEndpoints are the subresources that only one kind has.
func (a *api) specialEndpoints(r *resource) []func() (*endpoint, error) {
	gvk := r.kind.GroupVersionKind
	if gvk.Group != corev1.GroupName {
		return nil
	}
	switch gvk.Kind {
	case "Namespace":
		return []func() (*endpoint, error){func() (*endpoint, error) {
			e, err := a.updatableEndpoint(r, "finalize", gvk, &finalizeResource{r}, "")
			if err != nil {
				return nil, err
			}
			delete(e.item, http.MethodGet)
			delete(e.item, http.MethodPatch)
			e.resource.Verbs = metav1.Verbs{"update"}
			return e, nil
		}}
	case "Pod":
		return []func() (*endpoint, error){
			func() (*endpoint, error) {
				return a.creatableEndpoint(r, "binding", corev1.SchemeGroupVersion.WithKind("Binding"), &bindingResource{r})
			},
			func() (*endpoint, error) {
				e, err := a.creatableEndpoint(r, "eviction", policyv1.SchemeGroupVersion.WithKind("Eviction"), &evictionResource{r})
				if err != nil {
					return nil, err
				}
				e.resource.Version = a.evictionVersion().Version
				return e, nil
			},
			func() (*endpoint, error) {
				e := a.subresourceEndpoint(r, "log", gvk, "get")
				e.item = map[string]http.Handler{http.MethodGet: &podLogs{r}}
				return e, nil
			},
		}
	case "ServiceAccount":
		return []func() (*endpoint, error){func() (*endpoint, error) {
			return a.creatableEndpoint(r, "token", tokenRequestKind, &tokenResource{r})
		}}
	}
	return nil
}

// everythingAllowed is asked by the handlers before an update may create.
type everythingAllowed struct{}

func (everythingAllowed) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}
