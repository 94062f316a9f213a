package translate

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate/model"
)

// Routing says how requests that arrive where an Ingress is served find its
// backends.
type Routing struct {
	Port int32
	// Older are the Ingresses on the same listener whose routes are tried first, in
	// their order.
	Older []types.NamespacedName
	// Routes in the order in which they are tried.
	Routes []Route
	// Default gets what no route of any Ingress takes; nil: this Ingress has none.
	Default *Target
	// DefaultOf is the other Ingress whose default backend goes before this one's;
	// zero: there is none.
	DefaultOf types.NamespacedName
	// Passthrough: connections are passed on as they come, all to Default.
	Passthrough bool
}

// Route is one host and path of an Ingress.
type Route struct {
	Host   string // "": every host
	Path   string
	Kind   string // Exact, Prefix, or Pattern: with * for any text
	Target Target
	// Covered is the Ingress, this one or an older one, that takes all its requests;
	// zero: it is reached.
	Covered types.NamespacedName
}

// Target is a backend as its Ingress names it.
type Target struct {
	Service types.NamespacedName
	Port    string   // name or number
	Nodes   []string // host:port, sorted; empty: requests get 503
}

// Routing of an Ingress; nil if it is not served. Like all of a Result it holds
// until its Translator's next one.
func (r *Result) Routing(name types.NamespacedName) *Routing {
	e := r.of.entries[name]
	if e == nil || e.listener == nil {
		return nil
	}
	out := &Routing{Port: int32(e.wish.port), Passthrough: e.wish.transport.passthrough}
	for _, other := range e.listener.shares {
		if other == e {
			break
		}
		out.Older = append(out.Older, other.key)
	}
	covered := map[*model.Route]types.NamespacedName{}
	for _, s := range e.listener.shadowsOf(e) {
		if s.Route != nil {
			covered[s.Route] = types.NamespacedName{Namespace: s.Covered.Namespace, Name: s.Covered.Name}
		}
	}
	for i := range e.granted.Routes {
		route := &e.granted.Routes[i]
		kind := map[model.PathKind]string{model.Exact: "Exact", model.Prefix: "Prefix", model.Pattern: "Pattern"}[route.Path.Kind]
		out.Routes = append(out.Routes, Route{
			Host: string(route.Host), Path: pathText(route.Path), Kind: kind, Target: e.target(route.Backend), Covered: covered[route],
		})
	}
	if e.granted.Default != "" {
		target := e.target(e.granted.Default)
		out.Default = &target
	}
	if first := e.listener.restShare(); first != nil && first != e.granted {
		out.DefaultOf = types.NamespacedName{Namespace: first.Owner.Namespace, Name: first.Owner.Name}
	}
	return out
}

// target gives a backend by its name.
func (e *entry) target(name string) Target {
	i := slices.IndexFunc(e.backends, func(b backend) bool { return b.ref.name == name })
	return Target{Service: e.service(i), Port: portText(e.backends[i].ref), Nodes: e.backends[i].nodes}
}
