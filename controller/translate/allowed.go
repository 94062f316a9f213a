package translate

import (
	"net/netip"
	"slices"
	"strings"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate/model"
)

// claimedBy says what settings of the form namespace=part allow. length is how
// much of what is asked for an entry's part takes up: the longest ones decide, and
// what they name belongs to their namespaces alone; -1: it doesn't hold it. What no
// entry holds is for the namespaces that have none, unless there is one for all.
func claimedBy[E any](entries []E, namespace string, read func(E) (namespace string, length int)) bool {
	longest, allowed, named := -1, false, false
	for _, entry := range entries {
		of, length := read(entry)
		here := of == namespace || of == "*"
		named = named || here
		switch {
		case length < 0 || length < longest:
		case length > longest:
			longest, allowed = length, here
		default:
			allowed = allowed || here
		}
	}
	if longest < 0 {
		return !named
	}
	return allowed
}

// addressAllowed reports whether a namespace may use an address (setting
// allowed_addresses).
func addressAllowed(settings *config.Settings, namespace string, addr netip.Addr) bool {
	return claimedBy(settings.AllowedAddresses, namespace, func(e config.AllowedAddresses) (string, int) {
		if !e.Network.Contains(addr) {
			return e.Namespace, -1
		}
		return e.Namespace, e.Network.Bits()
	})
}

// hostAllowed reports whether a namespace may use a host (setting allowed_hosts);
// "" stands for every host.
func hostAllowed(settings *config.Settings, namespace string, host model.Host) bool {
	if host == "" {
		return slices.ContainsFunc(settings.AllowedHosts, func(e config.AllowedHosts) bool {
			return e.Domain == "" && (e.Namespace == namespace || e.Namespace == "*")
		})
	}
	under := func(name, domain string) bool {
		return domain == "" || name == domain || strings.HasSuffix(name, "."+domain)
	}
	name := string(host)
	domain, wildcard := host.Wildcard()
	if wildcard {
		name = domain[1:] // it holds what is below that, which is under the same entries
	}
	allowed := claimedBy(settings.AllowedHosts, namespace, func(e config.AllowedHosts) (string, int) {
		if !under(name, e.Domain) {
			return e.Namespace, -1
		}
		return e.Namespace, len(e.Domain)
	})
	if !wildcard || !allowed {
		return allowed
	}
	// The wildcard also takes the domains one label below, which may be others'.
	for _, e := range settings.AllowedHosts {
		if label, rest, ok := strings.Cut(e.Domain, "."); ok && label != "" && rest == name && !hostAllowed(settings, namespace, model.Host(e.Domain)) {
			return false
		}
	}
	return true
}

// checkAllowed refuses addresses and hosts that are not for the Ingress's
// namespace.
func (w *wish) checkAllowed(settings *config.Settings) {
	namespace := w.share.Owner.Namespace
	for _, addr := range []netip.Addr{w.dedicated, w.shared} {
		if addr.IsValid() && !addressAllowed(settings, namespace, addr) {
			w.findings.add(fatal, "AddressNotAllowed", "address %s is not for namespace %s, by the setting allowed_addresses: use another address", addr, namespace)
		}
	}
	if len(settings.AllowedHosts) == 0 {
		return
	}
	hosts := w.share.Hosts()
	for _, ref := range w.transport.tls {
		for _, host := range ref.hosts {
			hosts = append(hosts, model.Host(host))
		}
	}
	if w.share.Default != "" {
		hosts = append(hosts, "")
	}
	told := map[model.Host]bool{}
	for _, host := range hosts {
		if told[host] || hostAllowed(settings, namespace, host) {
			continue
		}
		told[host] = true
		switch {
		case host != "":
			w.findings.add(fatal, "HostNotAllowed", "host %s is not for namespace %s, by the setting allowed_hosts: use another host", show(string(host)), namespace)
		case !w.dedicated.IsValid():
			w.findings.add(fatal, "HostNotAllowed", "a path without a host, or a default backend, takes requests for every host of a shared address, which is not for namespace %s by the setting allowed_hosts: name hosts, or use an address of its own by %s",
				namespace, annAddress)
		}
	}
}
