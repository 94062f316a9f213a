package translate

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// entry is what a Translator remembers of one Ingress of ours. Each part says
// what it was made from; it is made again when that is no longer the same.
type entry struct {
	key     types.NamespacedName
	ingress *networkingv1.Ingress

	// Made from ingress and the environment.
	wish     *wish
	site     model.Site
	findings findings // about the site
	backends []backend
	own      []*vtm.Resource // those that belong to it alone, besides pools

	// Made from the Secrets that spec.tls names, and, where one is lost, from
	// Programmed. Nil if it asks for no TLS, or can have none.
	certificates *certificates
	certFindings findings
	lost         bool // a Secret is missing or bad

	// Made from the above and, if no backend can work, from Programmed.
	stands bool // it claims its site; else it is rejected for its own reasons

	// The claim that it has at its site; zero: none. Changed by Translator.enter.
	claim model.Claim

	// Made from the claims of all.
	refused  *model.Owner // who holds its site, nil if it got it
	listener *listener    // nil unless it stands and is not refused

	// Made from all of the above, like its verdict. stale: to be made again.
	shown []*vtm.Resource // what Desired holds of it
	stale bool
}

// backend is a backend's resolution, with what it was made from.
type backend struct {
	ref       backendRef
	service   *corev1.Service
	endpoints *kube.Endpoints
	resolution
	pool *vtm.Resource
}

// listener is a model.Listener with what it takes on the traffic manager.
type listener struct {
	model   *model.Listener
	own     []*vtm.Resource
	group   *vtm.Resource // its site's; nil on an existing group
	shadows map[*model.Share][]model.Shadow
}

// read takes over a new or changed object.
func (e *entry) read(ingress *networkingv1.Ingress, env *environment, fresh bool, intern func(*vtm.Resource) *vtm.Resource) {
	last := e.ingress
	e.ingress = ingress
	w := readWish(ingress, env.settings)
	if last != nil && !fresh && reflect.DeepEqual(w, e.wish) {
		// Only something else changed, such as its status.
		e.stale = e.stale || last.Generation != ingress.Generation
		return
	}
	if last != nil && reflect.DeepEqual(w.share, e.wish.share) && reflect.DeepEqual(w.extras.server, e.wish.extras.server) &&
		reflect.DeepEqual(w.transport, e.wish.transport) {
		w.share = e.wish.share // keeps its identity, so that the listener is kept, too
	}
	e.wish, e.findings, e.site, e.stale = w, nil, model.Site{}, true
	if w.findings.worst() != fatal {
		e.site = env.site(w, &e.findings)
	}
	e.own = nil
	if w.findings.worst() != fatal {
		e.own = env.own(w.share.Owner, &w.extras)
		for i := range e.own {
			e.own[i] = intern(e.own[i])
		}
	}
	e.backends = make([]backend, len(w.backends))
	for i, ref := range w.backends {
		e.backends[i] = backend{ref: ref}
	}
}

// refresh resolves the backends whose objects changed, and finds out whether the
// Ingress stands.
func (e *entry) refresh(in Input, env *environment, keys map[types.NamespacedName]*serverKey, intern func(*vtm.Resource) *vtm.Resource) {
	e.refreshKeys(in, env, keys)
	working := false
	for i := range e.backends {
		b := &e.backends[i]
		key := e.service(i)
		service, eps := in.Snapshot.Services[key], in.Snapshot.Endpoints[key]
		if b.pool == nil || b.service != service || b.endpoints != eps {
			b.service, b.endpoints = service, eps
			b.resolution = resolve(b.ref, "Service "+key.String(), service, eps, env.nodes, &e.wish.extras)
			b.pool = intern(env.pool(model.Backend{Owner: e.wish.share.Owner, Name: b.ref.name, Nodes: b.nodes}, &e.wish.extras))
			e.stale = true
		}
		working = working || !b.broken
	}
	stands := e.wish.findings.worst() != fatal && e.findings.worst() != fatal && e.certFindings.worst() != fatal &&
		// What serves stays, so that its address is not given away while a Service is
		// replaced.
		(working || in.Programmed.Owners[e.ingress.UID])
	e.stale = e.stale || stands != e.stands
	e.stands = stands
}

// refreshKeys chooses the server keys anew.
func (e *entry) refreshKeys(in Input, env *environment, keys map[types.NamespacedName]*serverKey) {
	var found findings
	chosen, lost := env.chooseKeys(e.wish, keys, in.Programmed, &found)
	if !chosen.equal(e.certificates) {
		// Another share, so that the listener is made anew.
		share := *e.wish.share
		e.wish.share = &share
		e.stale = true
	}
	e.stale = e.stale || !slices.Equal(found, e.certFindings)
	e.certificates, e.certFindings, e.lost = chosen, found, lost
}

// judge makes the verdict.
func (e *entry) judge(env *environment) *Verdict {
	v := &Verdict{Ingress: e.key, UID: e.ingress.UID, Generation: e.ingress.Generation, Outcome: Rejected}
	found := slices.Concat(e.wish.findings, e.findings, e.certFindings)
	if e.refused != nil {
		found.add(fatal, "AddressConflict", "address %s is held by Ingress %s, which is older: use another address, or the annotation %s on both",
			e.site.Address, e.refused, annShared)
	}
	for i := range e.backends {
		found = append(found, e.backends[i].findings...)
	}
	if e.listener != nil {
		v.Outcome = Complete
		if found.worst() == degrading {
			v.Outcome = Degraded
		}
		for _, shadow := range e.listener.shadows[e.wish.share] {
			tellShadow(&found, shadow)
		}
		for _, addr := range env.addresses(e.site) {
			at := Address{IP: addr}
			for _, port := range e.wish.ports() {
				at.Ports = append(at.Ports, int32(port))
			}
			v.Addresses = append(v.Addresses, at)
		}
		v.Resources = e.resources()
	}
	v.Reasons = found.reasons()
	return v
}

func tellShadow(found *findings, s model.Shadow) {
	by := "Ingress " + s.Covered.String() + ", which is older, takes all its requests"
	if s.Covered == s.Share.Owner {
		if s.Route == nil {
			return // all paths and a default backend: odd, but it does what it says
		}
		by = "another path of this Ingress takes all its requests"
	}
	switch {
	case s.Route == nil:
		found.add(warning, "UnreachableRule", "spec.defaultBackend is never used: %s", by)
	case s.Route.Host == "":
		found.add(warning, "UnreachableRule", "path %s is never used: %s", show(pathText(s.Route.Path)), by)
	default:
		found.add(warning, "UnreachableRule", "path %s of host %s is never used: %s", show(pathText(s.Route.Path)), show(string(s.Route.Host)), by)
	}
}

func pathText(p model.Path) string { return cmp.Or(p.Text, "/") }

// resources that must exist for the Ingress to be served.
func (e *entry) resources() []vtm.ID {
	var ids []vtm.ID
	for i := range e.backends {
		ids = append(ids, e.backends[i].pool.ID)
	}
	for _, r := range slices.Concat(e.own, e.listener.own) {
		ids = append(ids, r.ID)
	}
	if e.certificates != nil {
		for _, name := range e.certificates.names {
			ids = append(ids, vtm.ID{Type: vtm.ServerKeys, Name: name})
		}
	}
	if e.listener.group != nil {
		ids = append(ids, e.listener.group.ID)
	}
	slices.SortFunc(ids, func(a, b vtm.ID) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.Name, b.Name))
	})
	return ids
}

// shows lists what it brings into Desired by itself.
func (e *entry) shows() []*vtm.Resource {
	if e.listener == nil {
		return nil
	}
	all := slices.Clone(e.own)
	for i := range e.backends {
		all = append(all, e.backends[i].pool)
	}
	return all
}

// service names the Service of a backend.
func (e *entry) service(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: e.key.Namespace, Name: e.backends[i].ref.service}
}

// secret names the Secret of an entry of spec.tls.
func (e *entry) secret(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: e.key.Namespace, Name: e.wish.transport.tls[i].secret}
}

// working reports whether a backend can work and no Secret is lost, so that
// Programmed has no part.
func (e *entry) working() bool {
	return !e.lost && slices.ContainsFunc(e.backends, func(b backend) bool { return !b.broken })
}
