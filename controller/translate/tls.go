package translate

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// plainPort and tlsPort are where virtual servers listen unless an annotation says
// otherwise (specification, annotation port).
const (
	plainPort = 80
	tlsPort   = 443
)

// tlsRef is an entry of spec.tls.
type tlsRef struct {
	secret string
	hosts  []string // lower case; empty: those of the rules that the certificate covers
}

// transport is how clients are met: in the clear, decrypted, or passed through.
type transport struct {
	tls         []tlsRef
	redirect    bool // from port 80, to the virtual server that decrypts
	optional    bool // the redirect is by a setting: where it can't be had, it is done without
	passthrough bool
}

func (w *wish) readTransport(spec *networkingv1.IngressSpec, values map[string]string, settings *config.Settings) {
	w.readTLS(spec.TLS)
	redirect, passthrough := isTrue(values, annRedirect, &w.findings), isTrue(values, annPassthrough, &w.findings)
	if len(spec.TLS) > 0 {
		w.port = tlsPort
	}
	w.readPort(values)
	if passthrough {
		w.readPassthrough(spec, values)
	}
	switch {
	case redirect && len(spec.TLS) == 0:
		w.findings.add(warning, "AnnotationIgnored", "annotation %s has no effect without spec.tls: add it, or remove the annotation", annRedirect)
	case redirect:
		w.transport.redirect = true
		switch {
		case w.port == plainPort:
			w.findings.add(fatal, "InvalidPort", "annotations %s and %s: port %d both redirects and is redirected to: use another port", annPort, annRedirect, plainPort)
		case w.shared.IsValid() && w.port != tlsPort:
			w.findings.add(fatal, "NotOnSharedAddress", "annotation %s on a shared address needs port %d, not %d: remove %s, or give the Ingress an address of its own by %s",
				annRedirect, tlsPort, w.port, annPort, annAddress)
		}
	case len(spec.TLS) > 0 && values[annRedirect] == "" && settings.DefaultSSLRedirect:
		w.transport.optional = true
		w.transport.redirect = w.port == tlsPort || w.dedicated.IsValid() && w.port != plainPort
	}
}

func (w *wish) readPort(values map[string]string) {
	value, ok := values[annPort]
	if !ok {
		return
	}
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil || port == 0 {
		w.findings.add(fatal, "InvalidPort", "annotation %s is %s: write a number from 1 to 65535", annPort, show(value))
	}
	w.port = uint16(port)
}

func (w *wish) readTLS(entries []networkingv1.IngressTLS) {
	for i, entry := range entries {
		ref := tlsRef{secret: entry.SecretName}
		if len(validation.IsDNS1123Subdomain(ref.secret)) > 0 {
			w.findings.add(fatal, "InvalidTLS", "spec.tls, entry %d: %s can't be a Secret's name: name one in secretName", i+1, show(ref.secret))
			continue
		}
		for _, host := range entry.Hosts {
			host = strings.ToLower(host)
			if why := badHost(host); host == "" || why != "" {
				w.findings.add(fatal, "InvalidTLS", "spec.tls, entry %d: host %s %s", i+1, show(host), cmp.Or(why, "is empty: remove it"))
				continue
			}
			ref.hosts = append(ref.hosts, host)
		}
		w.transport.tls = append(w.transport.tls, ref)
	}
}

// readPassthrough is for connections that are passed on unread: no rule of HTTP can
// choose their backend (specification, annotation sslpassthrough).
func (w *wish) readPassthrough(spec *networkingv1.IngressSpec, values map[string]string) {
	w.transport.passthrough = true
	refuse := func(what string) {
		w.findings.add(fatal, "PassthroughConflict", "annotation %s excludes %s: remove one of them", annPassthrough, what)
	}
	if len(spec.TLS) > 0 {
		refuse("spec.tls")
	}
	if len(spec.Rules) > 0 {
		refuse("spec.rules")
	}
	if values[annReEncrypt] == "true" {
		refuse(annReEncrypt)
	}
	if w.shared.IsValid() {
		w.findings.add(fatal, "NotOnSharedAddress", "annotation %s concerns a whole virtual server: give the Ingress an address of its own by %s, or remove it",
			annPassthrough, annAddress)
	}
	if _, ok := values[annPort]; !ok {
		w.findings.add(warning, "PassthroughOnPort80", `annotation %s listens on port 80, the default without spec.tls: add %s: "443"`, annPassthrough, annPort)
	}
}

// certificates say which server key a client gets.
type certificates struct {
	standard string // server key for clients that name no other host
	byHost   map[string]string
	// names of the server keys, sorted, each once.
	names []string
	// kept are server keys that stay on the traffic manager as they are, since their
	// Secrets are missing or bad.
	kept map[types.NamespacedName]*vtm.Resource
	// pending: a certificate is still to be issued.
	pending bool
	ends    Ends // of those that end first
}

// chooseKeys finds the server keys of an Ingress. It returns nil and a fatal
// finding if it can't be served. lost reports whether a Secret is missing or bad,
// so that the result depends on what is programmed.
func (env *environment) chooseKeys(w *wish, keys map[types.NamespacedName]*serverKey, programmed Programmed, acme *ACME, disputed map[string]model.Owner, found *findings) (c *certificates, lost bool) {
	if len(w.transport.tls) == 0 {
		return nil, false
	}
	c = &certificates{byHost: map[string]string{}, kept: map[types.NamespacedName]*vtm.Resource{}}
	owner := w.share.Owner
	serves := !mutation.On(mutation.SecretLossEnds) && programmed.Owners[types.UID(owner.UID)]
	var gone findings
	for _, ref := range w.transport.tls {
		name := types.NamespacedName{Namespace: owner.Namespace, Name: ref.secret}
		key := keys[name]
		if mutation.On(mutation.OtherNamespace) {
			for other, same := range keys {
				if other.Name == name.Name && other.Namespace != name.Namespace {
					key = same
				}
			}
		}
		hosts := ref.hosts
		resource := (*vtm.Resource)(nil)
		switch state := acme.state(name); {
		case w.letsEncrypt && (key == nil || key.resource == nil):
			found.add(degrading, state.code(), "the certificate of Secret %s for %s is still to be issued, and until then clients get the last one, or one that they can't verify: %s",
				name, strings.Join(hosts, ", "), state.text())
			c.pending = true
		case key == nil:
			gone.add(fatal, "SecretNotFound", "Secret %s of type kubernetes.io/tls is missing, or not selected by the setting secret_label_selector: create it", name)
		case key.resource == nil:
			gone.add(fatal, "InvalidSecret", "Secret %s can't be used: %s", name, key.why)
		default:
			resource = key.resource
			if c.ends.At.IsZero() || key.leaf.NotAfter.Before(c.ends.At) {
				c.ends = Ends{key.leaf.NotAfter, name}
			}
			if w.letsEncrypt && (state.Failed || !state.Next.IsZero()) {
				found.add(warning, state.code(), "Secret %s goes on being served: %s", name, state.text())
			}
			if end, is := acme.ends(name); is {
				found.add(warning, "CertificateEnds", "the certificate of Secret %s ends at %s, and was not issued by this controller, so it is not renewed by it: renew it", name, end.Format(time.RFC3339))
			}
			if len(hosts) == 0 {
				hosts = covered(w.share.Routes, key)
			}
			if other := slices.IndexFunc(hosts, func(host string) bool { return !key.covers(host) }); other >= 0 && !w.letsEncrypt {
				found.add(warning, "CertificateForOtherHosts", "the certificate of Secret %s is not for host %s of spec.tls, where clients refuse it: use one that is for all hosts of its entry", name, show(hosts[other]))
			}
		}
		if resource == nil {
			lost = true
			if resource = programmed.Keys[env.names.serverKey(name)]; !serves || resource == nil {
				continue
			}
			c.kept[name] = resource
		}
		if w.sharing() && len(hosts) == 0 {
			found.add(warning, "CertificateNotShown", "spec.tls: Secret %s has no hosts, and its certificate is for no host of spec.rules: on a shared address no client gets it: add hosts", name)
		}
		c.names = append(c.names, resource.Name)
		c.standard = cmp.Or(c.standard, resource.Name)
		for _, host := range hosts {
			if c.byHost[host] == "" {
				c.byHost[host] = resource.Name
			}
		}
	}
	if w.letsEncrypt {
		for _, host := range slices.Sorted(maps.Keys(disputed)) {
			found.add(degrading, "CertificateRefused", "host %s: no certificate is issued for this namespace, since Ingress %s, which is older, names the host too: remove it from one of the two", show(host), disputed[host])
		}
	}
	if serves && c.standard != "" {
		for i := range gone {
			gone[i].grade = degrading
			gone[i].Message += "; until then the traffic manager goes on with what it has"
		}
	}
	*found = append(*found, gone...)
	if gone.worst() == fatal {
		return nil, lost
	}
	slices.Sort(c.names)
	c.names = slices.Compact(c.names)
	return c, lost
}

// covered are the hosts of routes that a certificate is for, each once.
func covered(routes []model.Route, key *serverKey) []string {
	var hosts []string
	for _, route := range routes {
		host := string(route.Host)
		if host != "" && !slices.Contains(hosts, host) && key.covers(host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *certificates) equal(d *certificates) bool {
	if c == nil || d == nil {
		return c == d
	}
	return c.pending == d.pending && c.ends == d.ends && c.standard == d.standard && maps.Equal(c.byHost, d.byHost) && slices.Equal(c.names, d.names) && maps.Equal(c.kept, d.kept)
}
