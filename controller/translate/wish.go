package translate

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/internal/mutation"
)

// wish is what an Ingress asks for by its own fields alone.
type wish struct {
	findings findings
	// Where to listen: a dedicated address, a shared one, or neither: then the
	// default Traffic IP Group.
	dedicated, shared netip.Addr
	port              uint16
	alone             bool // it needs the virtual server to itself, if not the address
	share             *model.Share
	backends          []backendRef // sorted by name, each once
	extras            extras
	transport         transport
	letsEncrypt       bool // its certificates are issued for it
}

// sharing reports whether it has to put up with others on its virtual server.
func (w *wish) sharing() bool { return !w.dedicated.IsValid() && !w.alone }

// backendRef is a backend as an Ingress names it.
type backendRef struct {
	name    string // model.Backend.Name
	service string
	port    networkingv1.ServiceBackendPort
}

// readWish reads an Ingress. Everything that is wrong is told at once. It never
// fails: what is fatal is among the findings.
func readWish(ingress *networkingv1.Ingress, settings *config.Settings) *wish {
	w := &wish{port: plainPort}
	w.share = &model.Share{Owner: ownerOf(ingress)}
	if !lawful(w.share.Owner) {
		w.findings.add(fatal, "InvalidName", "its namespace, name or UID is not one that Kubernetes gives")
		return w
	}
	values := readAnnotations(ingress.Annotations, &w.findings)
	w.readAddress(values)
	w.readTransport(&ingress.Spec, values, settings)
	w.readExtras(values, settings)
	w.readRoutes(&ingress.Spec)
	if isTrue(values, annLetsEncrypt, &w.findings) {
		w.readLetsEncrypt(settings)
	}
	w.checkAllowed(settings)
	if !w.dedicated.IsValid() && !w.shared.IsValid() {
		// On the default group the restrictions of shared addresses begin with the
		// second Ingress on the port.
		w.alone = w.transport.passthrough || !w.extras.server.none() ||
			w.transport.redirect && !w.transport.optional && w.port != tlsPort
	}
	if len(w.backends) == 0 && w.findings.worst() != fatal {
		w.findings.add(fatal, "NoBackends", "neither spec.defaultBackend nor a path of spec.rules names a Service: add one")
	}
	return w
}

// ownerOf gives an Ingress as an owner in the model.
func ownerOf(ingress *networkingv1.Ingress) model.Owner {
	owner := model.Owner{Namespace: ingress.Namespace, Name: ingress.Name, UID: string(ingress.UID)}
	if t := ingress.CreationTimestamp; !t.IsZero() {
		owner.Created = t.Unix()
		if mutation.On(mutation.RankReversed) {
			owner.Created = -owner.Created
		}
	}
	return owner
}

var word = regexp.MustCompile(`^[A-Za-z0-9.-]+\z`)

// lawful reports whether an owner's names can stand in names and marks of
// resources. Kubernetes gives no others; this is the second lock on that door.
func lawful(o model.Owner) bool {
	return word.MatchString(o.Namespace) && word.MatchString(o.Name) && word.MatchString(o.UID)
}

func (w *wish) readAddress(values map[string]string) {
	read := func(name string) netip.Addr {
		value, ok := values[name]
		if !ok {
			return netip.Addr{}
		}
		addr, err := netip.ParseAddr(value)
		if err != nil {
			w.findings.add(fatal, "InvalidAddress", "annotation %s is %s: write an IPv4 or IPv6 address", name, show(value))
			return netip.Addr{}
		}
		addr = addr.Unmap()
		if why := unusable(addr); why != "" {
			w.findings.add(fatal, "InvalidAddress", "annotation %s: %s %s: use another address", name, addr, why)
		}
		return addr
	}
	w.dedicated, w.shared = read(annAddress), read(annShared)
	if _, both := values[annShared]; both {
		if _, ok := values[annAddress]; ok {
			w.findings.add(fatal, "ConflictingAnnotations", "annotations %s and %s exclude each other: remove one", annAddress, annShared)
		}
	}
}

// unusable says why clients can't reach an address at all, "" if they can.
func unusable(addr netip.Addr) string {
	switch {
	case addr.Zone() != "":
		return "has a zone"
	case addr.IsUnspecified():
		return "is the unspecified address"
	case addr.IsLoopback():
		return "is a loopback address"
	case addr.IsMulticast():
		return "is a multicast address"
	case addr.IsLinkLocalUnicast():
		return "is a link-local address"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is the broadcast address"
	case addr.Is4() && addr.As4()[0] == 0:
		return "is of the network 0.0.0.0/8"
	}
	return ""
}

func (w *wish) readRoutes(spec *networkingv1.IngressSpec) {
	if spec.DefaultBackend != nil {
		w.share.Default = w.readBackend("spec.defaultBackend", spec.DefaultBackend)
	}
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		host := model.Host(strings.ToLower(rule.Host))
		if why := badHost(string(host)); why != "" {
			w.findings.add(fatal, "InvalidHost", "host %s %s", show(rule.Host), why)
			continue
		}
		if rule.HTTP == nil || len(rule.HTTP.Paths) == 0 {
			// All of that host goes to the default backend (Kubernetes, Ingress API).
			if w.share.Default != "" {
				w.addRoute(model.Route{Host: host, Path: model.PrefixPath(""), Backend: w.share.Default})
			} else {
				w.findings.add(warning, "RuleWithoutPaths", "host %s has no paths and there is no spec.defaultBackend: its requests get 404", show(rule.Host))
			}
			continue
		}
		for j := range rule.HTTP.Paths {
			w.readPath(host, &rule.HTTP.Paths[j])
		}
	}
	model.SortRoutes(w.share.Routes)
	w.share.CountPatterns()
	slices.SortFunc(w.backends, func(a, b backendRef) int { return cmp.Compare(a.name, b.name) })
	w.backends = slices.CompactFunc(w.backends, func(a, b backendRef) bool { return a.name == b.name })
}

func badHost(host string) string {
	switch {
	case host == "":
	case strings.Contains(host, "*"):
		if len(validation.IsWildcardDNS1123Subdomain(host)) > 0 {
			return `is no host: "*" may only be its first label, as in "*.example.com"`
		}
	case len(validation.IsDNS1123Subdomain(host)) > 0:
		return "is no host name: write a DNS name"
	}
	return ""
}

func (w *wish) addRoute(r model.Route) { w.share.Routes = append(w.share.Routes, r) }

func (w *wish) readPath(host model.Host, path *networkingv1.HTTPIngressPath) {
	what := "path " + show(path.Path) + " of host " + show(string(host))
	if host == "" {
		what = "path " + show(path.Path)
	}
	backend := w.readBackend(what, &path.Backend)
	if path.Path != "" && path.Path[0] != '/' {
		w.findings.add(fatal, "InvalidPath", "%s does not begin with a slash: add it", what)
		return
	}
	kind := networkingv1.PathTypeImplementationSpecific
	if path.PathType != nil {
		kind = *path.PathType
	}
	var matched model.Path
	switch kind {
	case networkingv1.PathTypeExact:
		matched = model.Path{Kind: model.Exact, Text: cmp.Or(path.Path, "/")}
	case networkingv1.PathTypePrefix:
		matched = model.PrefixPath(path.Path)
	case networkingv1.PathTypeImplementationSpecific:
		matched = model.PrefixPath(path.Path)
		if strings.Contains(path.Path, "*") {
			matched = model.Path{Kind: model.Pattern, Text: path.Path}
		}
	default:
		w.findings.add(fatal, "InvalidPath", "%s has pathType %s: write Exact, Prefix or ImplementationSpecific", what, show(string(kind)))
		return
	}
	if matched.Kind == model.Pattern && strings.Contains(path.Path, "?") {
		w.findings.add(fatal, "InvalidPath", `%s holds "?": a path is matched without its query: remove what follows`, what)
		return
	}
	if matched.Kind != model.Pattern && strings.Contains(path.Path, "*") {
		w.findings.add(warning, "WildcardTakenLiterally", "%s: * stands for itself in pathType %s: use ImplementationSpecific to match any text", what, kind)
	}
	if why := neverMatches(path.Path); why != "" {
		w.findings.add(warning, "PathNeverMatches", "%s: %s", what, why)
	}
	if backend != "" {
		w.addRoute(model.Route{Host: host, Path: matched, Backend: backend})
	}
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// neverMatches says why a path can't equal one that is decoded and in normal
// form, or can only by being encoded twice; "" if it can.
func neverMatches(path string) string {
	switch slashed := path + "/"; {
	case strings.Contains(path, "//"), strings.Contains(slashed, "/./"), strings.Contains(slashed, "/../"):
		return "requests are matched after // and dot segments are folded: write it without them"
	case strings.Contains(path, "\x00"):
		return "a path with a NUL byte is refused"
	case escape.MatchString(path):
		return "requests are matched after decoding: write it decoded"
	case strings.ContainsAny(path, "?#"):
		return "requests are matched without query and fragment: write it without them"
	}
	return ""
}

// readBackend notes a backend and returns its name, "" if it names no Service.
func (w *wish) readBackend(what string, b *networkingv1.IngressBackend) string {
	if b.Service == nil {
		if b.Resource != nil {
			w.findings.add(fatal, "NotSupported", "%s: resource backends are not supported: name a Service", what)
		} else {
			w.findings.add(fatal, "InvalidBackend", "%s names no Service: add one", what)
		}
		return ""
	}
	ref := backendRef{service: b.Service.Name, port: b.Service.Port}
	if len(validation.IsDNS1123Label(ref.service)) > 0 {
		w.findings.add(fatal, "InvalidBackend", "%s: %s can't be a Service's name", what, show(ref.service))
		return ""
	}
	switch {
	case ref.port.Name != "" && ref.port.Number != 0:
		w.findings.add(fatal, "InvalidBackend", "%s: Service %s: give the port by name or by number, not both", what, ref.service)
		return ""
	case ref.port.Name != "":
		if len(validation.IsDNS1123Label(ref.port.Name)) > 0 {
			w.findings.add(fatal, "InvalidBackend", "%s: %s can't be a port's name", what, show(ref.port.Name))
			return ""
		}
		ref.name = ref.service + "_" + ref.port.Name
	default:
		if ref.port.Number < 1 || ref.port.Number > 65535 {
			w.findings.add(fatal, "InvalidBackend", "%s: Service %s: give the port by name, or by a number from 1 to 65535", what, ref.service)
			return ""
		}
		ref.name = ref.service + "_" + strconv.Itoa(int(ref.port.Number))
	}
	w.backends = append(w.backends, ref)
	return ref.name
}
