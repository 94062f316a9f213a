package translate

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// entry is what a Translator remembers of one Ingress of ours. Each part says
// what it was made from; it is made again when that is no longer the same.
type entry struct {
	key     types.NamespacedName
	ingress *networkingv1.Ingress

	// Made from ingress and the environment, and, where it is covered, from Programmed.
	wish     *wish
	site     model.Site
	findings findings // about the site
	redirect bool     // wants port 80 redirected, and nobody else's virtual server hinders it
	covered  bool     // somebody else's virtual server listens there
	sited    bool     // these are up to date
	backends []backend
	own      []*vtm.Resource // those that belong to it alone, besides pools

	// Made from the Secrets that spec.tls names, and, where one is lost, from
	// Programmed. Nil if it asks for no TLS, or can have none.
	certificates *certificates
	certFindings findings
	lost         bool // a Secret is missing or bad
	// named are the hosts that acmeState.hosts has of it.
	named []string
	// disputed are hosts that another namespace's Ingress named first: no certificate
	// is issued for them here. By host, that Ingress.
	disputed map[string]model.Owner

	// Made from wish and certificates. Another pointer means that its part of the
	// listener is made anew.
	share *model.Share

	// Made from the above and, if no backend can work, from Programmed.
	stands bool // it claims its site; else it is rejected for its own reasons

	// The claim that it has at its site; zero: none. Changed by Translator.enter.
	claim model.Claim

	// Made from the claims of all.
	grant    model.Grant
	listener *listener    // nil unless it stands and is not refused
	granted  *model.Share // what it brought to the listener

	// Made from all of the above, like its verdict. stale: to be made again.
	shown []*vtm.Resource // what Desired holds of it
	stale bool
}

// entriesBy finds entries by what they name. Mostly one entry names a thing, so that a list
// is enough: it has each entry once, in no order.
type entriesBy[K comparable] map[K][]*entry

func (x entriesBy[K]) add(key K, e *entry) {
	if !slices.Contains(x[key], e) {
		x[key] = append(x[key], e)
	}
}

func (x entriesBy[K]) remove(key K, e *entry) {
	of := x[key]
	at := slices.Index(of, e)
	if at < 0 {
		return
	}
	last := len(of) - 1
	of[at], of[last] = of[last], nil
	if last == 0 {
		delete(x, key)
	} else {
		x[key] = of[:last]
	}
}

// backend is a backend's resolution, with what it was made from.
type backend struct {
	ref       backendRef
	service   *kube.Service
	endpoints *kube.Endpoints
	there     []string // the nodes of its pool, where that matters
	resolution
	pool *vtm.Resource
}

// read takes over a new or changed object and what it asks for.
func (e *entry) read(ingress *networkingv1.Ingress, w *wish, env *environment, fresh bool, intern func(*vtm.Resource) *vtm.Resource) {
	last := e.ingress
	e.ingress = ingress
	if last != nil && !fresh && reflect.DeepEqual(w, e.wish) {
		// Only something else changed, such as its status.
		e.stale = e.stale || last.Generation != ingress.Generation
		return
	}
	if last != nil && !(reflect.DeepEqual(w.share, e.wish.share) && reflect.DeepEqual(w.extras.server, e.wish.extras.server) &&
		reflect.DeepEqual(w.transport, e.wish.transport)) {
		e.share = nil // another one, so that the listener is made anew
	}
	e.wish, e.sited, e.stale = w, false, true
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
	e.refreshSite(in, env)
	e.refreshKeys(in, env, keys, intern)
	working := false
	for i := range e.backends {
		b := &e.backends[i]
		key := e.service(i)
		service, eps := in.Snapshot.Services.Get(key), in.Snapshot.Endpoints.Get(key)
		var there []string
		if eps != nil && len(eps.UnseenNodes) > 0 {
			there = in.Programmed.nodes(env.names.pool(e.wish.share.Owner, b.ref.name))
		}
		if b.pool == nil || b.service != service || b.endpoints != eps && !mutation.On(mutation.StaleEndpoints) || !slices.Equal(b.there, there) {
			b.service, b.endpoints, b.there = service, eps, there
			b.resolution = resolve(b.ref, "Service "+key.String(), service, eps, env.nodes, &e.wish.extras, there)
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

// refreshSite finds anew where it listens.
func (e *entry) refreshSite(in Input, env *environment) {
	if e.sited && !e.covered {
		return
	}
	before, was := e.findings, e.sited
	e.site, e.redirect, e.covered, e.findings, e.sited = model.Site{}, false, false, nil, true
	if e.wish.findings.worst() != fatal {
		e.site, e.redirect, e.covered = env.site(e.wish, in.Programmed, &e.findings)
	}
	e.stale = e.stale || was && !slices.Equal(before, e.findings)
}

// refreshKeys chooses the server keys anew.
func (e *entry) refreshKeys(in Input, env *environment, keys map[types.NamespacedName]*serverKey, intern func(*vtm.Resource) *vtm.Resource) {
	var found findings
	chosen, lost := env.chooseKeys(e.wish, keys, in.Programmed, in.ACME, e.disputed, &found)
	if chosen != nil {
		for name, kept := range chosen.kept {
			chosen.kept[name] = intern(kept)
		}
	}
	if e.share == nil || !chosen.equal(e.certificates) {
		share := *e.wish.share
		if chosen != nil {
			share.Certificates = chosen.byHost
		}
		e.share, e.stale = &share, true
	}
	e.stale = e.stale || !slices.Equal(found, e.certFindings)
	e.certificates, e.certFindings, e.lost = chosen, found, lost
}

// judge makes the verdict.
func (e *entry) judge(env *environment, standard *standard) *Verdict {
	v := &Verdict{Ingress: e.key, UID: e.ingress.UID, Generation: e.ingress.Generation, Outcome: Rejected}
	found := slices.Concat(e.wish.findings, e.findings, e.certFindings)
	if e.grant.Refused != nil {
		why, remedy := e.refusal(e.grant.Refused)
		found.add(fatal, e.refusalCode(), "%s: %s", why, remedy)
		v.By = types.NamespacedName{Namespace: e.grant.Refused.By.Namespace, Name: e.grant.Refused.By.Name}
	}
	if e.grant.Lost != nil {
		why, _ := e.refusal(e.grant.Lost)
		found.add(warning, "NotRedirected", "port 80 does not redirect, which the setting default_ssl_redirect asks for: %s", why)
	}
	for i := range e.backends {
		found = append(found, e.backends[i].findings...)
	}
	if e.listener != nil {
		v.Outcome = Complete
		if found.worst() == degrading {
			v.Outcome = Degraded
		}
		for _, shadow := range e.listener.shadowsOf(e) {
			tellShadow(&found, shadow)
		}
		if standard.why != "" && standard.users[e.listener] {
			found.add(warning, "DefaultCertificateMissing", "%s: clients that name another host get the certificate %s", standard.why, standard.name)
		}
		for _, addr := range env.addresses(e.site) {
			at := Address{IP: addr}
			for _, port := range e.ports() {
				at.Ports = append(at.Ports, int32(port))
			}
			v.Addresses = append(v.Addresses, at)
		}
		if e.certificates != nil {
			v.Ends = e.certificates.ends
		}
		v.Resources = e.resources()
		if standard.users[e.listener] && standard.name != "" {
			v.Resources = append(v.Resources, vtm.ID{Type: vtm.ServerKeys, Name: standard.name})
		}
		v.Resources = sortedIDs(v.Resources)
	} else {
		// Nothing is ordered for it.
		found = slices.DeleteFunc(found, func(f finding) bool { return f.Code == certificatePending })
	}
	v.Reasons = found.reasons()
	if v.Outcome == Degraded {
		v.Problem = v.Reasons[0].Code
	}
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
	ids := e.listener.needs(e)
	for i := range e.backends {
		ids = append(ids, e.backends[i].pool.ID)
	}
	for _, r := range e.own {
		ids = append(ids, r.ID)
	}
	if e.certificates != nil {
		for _, name := range e.certificates.names {
			ids = append(ids, vtm.ID{Type: vtm.ServerKeys, Name: name})
		}
	}
	return ids
}

// sortedIDs sorts, and leaves out what is there twice.
func sortedIDs(ids []vtm.ID) []vtm.ID {
	slices.SortFunc(ids, func(a, b vtm.ID) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(ids)
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

// working reports whether a backend can work, no Secret is lost, nobody else listens
// there and of all endpoints it is known whether they were, so that Programmed has no
// part.
func (e *entry) working() bool {
	return !e.lost && !e.covered && slices.ContainsFunc(e.backends, func(b backend) bool { return !b.broken }) &&
		!slices.ContainsFunc(e.backends, func(b backend) bool { return b.unseen })
}

// wants is its claim.
func (e *entry) wants() model.Claim {
	w := e.wish
	return model.Claim{
		Site: e.site, Port: w.port,
		Exclusive: w.dedicated.IsValid(), Alone: w.alone,
		TLS:      e.certificates != nil,
		Redirect: e.redirect, Optional: w.transport.optional,
		Challenge: w.letsEncrypt,
		Share:     e.share,
	}
}

// ports on which it is served, sorted.
func (e *entry) ports() []uint16 {
	ports := []uint16{e.wish.port}
	if e.grant.Redirect {
		ports = append(ports, plainPort)
		slices.Sort(ports)
	}
	return ports
}

func (e *entry) refusalCode() string {
	switch e.grant.Refused.Why {
	case model.AddressTaken:
		return "AddressConflict"
	case model.CertificateDiffers:
		return "CertificateConflict"
	case model.TooManyPatterns:
		return "TooManyPatterns"
	default:
		return "PortConflict"
	}
}

// refusal says why its claim, or its redirect, can't be granted, and what helps.
func (e *entry) refusal(r *model.Refusal) (why, remedy string) {
	at := "address " + e.site.Address.String()
	if e.site.Group != "" {
		at = "Traffic IP Group " + show(e.site.Group)
	}
	other := "Ingress " + r.By.String() + ", which is older"
	port := fmt.Sprintf("port %d of %s", e.wish.port, at)
	switch r.Why {
	case model.AddressTaken:
		return at + " is held by " + other, "use another address, or the annotation " + annShared + " on both"
	case model.PortTaken:
		return port + " is held by " + other + ", and one of the two needs a virtual server to itself", "use another port, or an address of its own by " + annAddress
	case model.TransportDiffers:
		if e.certificates != nil {
			return port + " is served without TLS by " + other, "use another port or address"
		}
		return port + " is served with TLS by " + other, "add spec.tls, or use another port or address"
	case model.PortRedirected:
		return fmt.Sprintf("port %d of %s redirects to HTTPS for %s", plainPort, at, other), "use another port or address, or set the annotation " + annRedirect + ` to "false" there`
	case model.PortServed:
		return fmt.Sprintf("port %d of %s is served by %s", plainPort, at, other), "remove the annotation " + annRedirect + ", or use another address"
	case model.RedirectDiffers:
		return fmt.Sprintf("port %d of %s redirects to another port for %s", plainPort, at, other), "use the same port, or another address"
	case model.PortAnswers:
		return fmt.Sprintf("port %d of %s answers the certificate authority for %s", plainPort, at, other), "use another port or address"
	case model.PortNeeded:
		return fmt.Sprintf("port %d of %s, where the certificate authority asks, is served by %s", plainPort, at, other), "remove the annotation " + annLetsEncrypt + ", or use another address"
	case model.CertificateDiffers:
		return fmt.Sprintf("on %s, host %s has another certificate by %s", port, show(r.Host), other), "use the same Secret, another host or another address"
	default:
		return fmt.Sprintf("on %s, host %s has too many paths with wildcards, those of %s among them", port, show(r.Host), other), "use Prefix or Exact paths, or another address"
	}
}
