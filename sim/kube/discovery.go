package kube

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	discoveryconversion "k8s.io/apiserver/pkg/apis/apidiscovery/v2"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// documents answers what is not about objects. All of it is made at start.
type documents struct {
	api    *api
	codecs serializer.CodecFactory
	plain  map[string]runtime.Object // by path: legacy discovery
	all    map[string]*apidiscoveryv2.APIGroupDiscoveryList
	paths  []string // the answer to "/"
}

func newDocuments(a *api, endpoints map[endpointKey]*endpoint) http.Handler {
	scheme := runtime.NewScheme()
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, unversioned)
	for _, add := range []func(*runtime.Scheme) error{
		apidiscoveryv2.AddToScheme, apidiscoveryv2beta1.AddToScheme, discoveryconversion.RegisterConversions,
	} {
		if err := add(scheme); err != nil {
			panic(err) // the libraries do not fit each other: found by any test
		}
	}
	d := &documents{
		api:    a,
		codecs: serializer.NewCodecFactory(scheme),
		plain:  map[string]runtime.Object{},
		all: map[string]*apidiscoveryv2.APIGroupDiscoveryList{
			"/api": {}, "/apis": {},
		},
	}
	d.describe(a, endpoints)
	mux := http.NewServeMux()
	for path := range d.plain {
		mux.HandleFunc("GET "+path, d.discover)
		mux.HandleFunc("GET "+path+"/{$}", d.discover)
		d.paths = append(d.paths, path)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		mux.HandleFunc("GET "+path, healthy)
		mux.HandleFunc("GET "+path+"/{check...}", healthy)
		d.paths = append(d.paths, path)
	}
	mux.HandleFunc("GET /version", d.version)
	mux.HandleFunc("GET /version/{$}", d.version)
	mux.HandleFunc("GET /{$}", d.index)
	d.paths = append(d.paths, "/version")
	for _, path := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/{document...}"} {
		mux.Handle(path, a.openapi)
	}
	d.paths = append(d.paths, "/openapi/v2")
	if a.version.atLeast(24) {
		d.paths = append(d.paths, "/openapi/v3")
	}
	slices.Sort(d.paths)
	return mux
}

// describe makes the discovery documents of all endpoints: groups in the order
// of the table of kinds, resources by name. A list without resources is [], not
// null.
func (d *documents) describe(a *api, endpoints map[endpointKey]*endpoint) {
	versions := map[schema.GroupVersion][]metav1.APIResource{}
	for _, e := range endpoints {
		versions[e.gv] = append(versions[e.gv], e.resource)
	}
	var order []schema.GroupVersion
	see := func(gv schema.GroupVersion) {
		if !slices.Contains(order, gv) {
			order = append(order, gv)
		}
	}
	for _, kind := range a.kinds {
		see(kind.GroupVersionKind.GroupVersion())
	}
	for _, r := range a.reviews() {
		see(r.resource.GroupVersion())
	}
	// A client knows by this group that pods can be evicted (kubectl drain). It
	// has no resources of its own here: there are no disruption budgets.
	see(a.evictionVersion())
	groups := &metav1.APIGroupList{}
	for _, gv := range order {
		resources := append([]metav1.APIResource{}, versions[gv]...)
		slices.SortFunc(resources, func(x, y metav1.APIResource) int { return cmp.Compare(x.Name, y.Name) })
		list := &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: resources}
		if gv.Group == "" {
			d.plain["/api/"+gv.Version] = list
			addAggregated(d.all["/api"], gv, resources)
			continue
		}
		d.plain["/apis/"+gv.String()] = list
		addAggregated(d.all["/apis"], gv, resources)
		addGroup(groups, gv)
	}
	for _, group := range groups.Groups {
		d.plain["/apis/"+group.Name] = group.DeepCopy()
	}
	d.plain["/apis"] = groups
	d.plain["/api"] = &metav1.APIVersions{
		Versions:                   []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{},
	}
}

func addGroup(groups *metav1.APIGroupList, gv schema.GroupVersion) {
	version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	for i := range groups.Groups {
		if groups.Groups[i].Name == gv.Group {
			groups.Groups[i].Versions = append(groups.Groups[i].Versions, version)
			return
		}
	}
	groups.Groups = append(groups.Groups, metav1.APIGroup{
		Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	})
}

// addAggregated adds the resources of one version to an aggregated document.
func addAggregated(list *apidiscoveryv2.APIGroupDiscoveryList, gv schema.GroupVersion, resources []metav1.APIResource) {
	version := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	for _, r := range resources { // sorted: "pods" is before "pods/status"
		kind := &metav1.GroupVersionKind{Group: cmp.Or(r.Group, gv.Group), Version: cmp.Or(r.Version, gv.Version), Kind: r.Kind}
		name, subresource, isSub := cutSubresource(r.Name)
		if isSub {
			parent := slices.IndexFunc(version.Resources, func(p apidiscoveryv2.APIResourceDiscovery) bool { return p.Resource == name })
			version.Resources[parent].Subresources = append(version.Resources[parent].Subresources,
				apidiscoveryv2.APISubresourceDiscovery{Subresource: subresource, ResponseKind: kind, Verbs: r.Verbs})
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		version.Resources = append(version.Resources, apidiscoveryv2.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: kind, Scope: scope, SingularResource: r.SingularName,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	for i := range list.Items {
		if list.Items[i].Name == gv.Group {
			list.Items[i].Versions = append(list.Items[i].Versions, version)
			return
		}
	}
	list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Group},
		Versions:   []apidiscoveryv2.APIVersionDiscovery{version},
	})
}

// discover answers a discovery path; /api and /apis in the aggregated form if
// the client asks for it and this version has it.
func (d *documents) discover(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimSuffix(req.URL.Path, "/")
	if all := d.all[path]; all != nil {
		forms := aggregatedForms{d.api.version}
		media, ok := negotiation.NegotiateMediaTypeOptions(req.Header.Get("Accept"), d.codecs.SupportedMediaTypes(), forms)
		if ok && media.Convert != nil {
			responsewriters.WriteObjectNegotiated(d.codecs, forms, media.Convert.GroupVersion(), w, req, http.StatusOK, all.DeepCopy(), true)
			return
		}
	}
	responsewriters.WriteObjectNegotiated(d.codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, req, http.StatusOK, d.plain[path].DeepCopyObject(), false)
}

// aggregatedForms tells which forms of aggregated discovery a version has: v2
// from 1.30 on, v2beta1 from 1.27 to 1.34.
type aggregatedForms struct{ version kubernetesVersion }

func (f aggregatedForms) AllowsMediaTypeTransform(_, _ string, target *schema.GroupVersionKind) bool {
	if target == nil {
		return true
	}
	if target.Kind != "APIGroupDiscoveryList" {
		return false
	}
	switch target.GroupVersion() {
	case apidiscoveryv2.SchemeGroupVersion:
		return f.version.atLeast(30)
	case apidiscoveryv2beta1.SchemeGroupVersion:
		return f.version.atLeast(27) && !f.version.atLeast(35)
	}
	return false
}

func (aggregatedForms) AllowsServerVersion(string) bool { return false }
func (aggregatedForms) AllowsStreamSchema(string) bool  { return false }

func (d *documents) version(w http.ResponseWriter, req *http.Request) {
	responsewriters.WriteRawJSON(http.StatusOK, d.api.version.info(), w)
}

func (d *documents) index(w http.ResponseWriter, req *http.Request) {
	responsewriters.WriteRawJSON(http.StatusOK, metav1.RootPaths{Paths: d.paths}, w)
}

func healthy(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte("ok"))
}
