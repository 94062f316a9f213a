package config

import (
	"net/netip"
	"slices"
	"strings"
)

// AllowedAddresses lets a namespace use the addresses of a network.
type AllowedAddresses struct {
	Namespace string // "*": every namespace
	Network   netip.Prefix
}

// AllowedHosts lets a namespace use a domain and all hosts below it.
type AllowedHosts struct {
	Namespace string // "*": every namespace
	Domain    string // lower case, no dot at either end; "": every host
}

// MayCustomize reports whether customizations of a namespace are read; else setting
// names the setting that says no.
func (s *Settings) MayCustomize(namespace string) (may bool, setting string) {
	return mayUse(s.VTMEnableCustomizations, "vtm_enable_customizations", s.CustomizationNamespaces, "customization_namespaces", namespace)
}

// MayScript reports the same of TrafficScript.
func (s *Settings) MayScript(namespace string) (may bool, setting string) {
	return mayUse(s.VTMEnableTrafficScript, "vtm_enable_trafficscript", s.TrafficScriptNamespaces, "trafficscript_namespaces", namespace)
}

func mayUse(enabled bool, switched string, listed []string, list, namespace string) (may bool, setting string) {
	switch {
	case !enabled:
		return false, switched
	case len(listed) > 0 && !lists(listed, namespace):
		return false, list
	}
	return true, ""
}

// MayMonitorAnything reports whether monitors of a namespace may run programs and
// ask any machine (setting privileged_monitor_namespaces).
func (s *Settings) MayMonitorAnything(namespace string) bool {
	return lists(s.PrivilegedMonitorNamespaces, namespace)
}

func lists(namespaces []string, namespace string) bool {
	return slices.Contains(namespaces, namespace) || slices.Contains(namespaces, "*")
}

// addresses reads "namespace=network"; a single address is a network of one.
func (b *builder) addresses(key string) []AllowedAddresses {
	var out []AllowedAddresses
	for _, text := range b.list(key) {
		namespace, network, _ := strings.Cut(text, "=")
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(network); err == nil {
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			}
		}
		if err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
			b.mistake(key, "%s: want %s", printable(text), b.settings[key].Expects)
			continue
		}
		out = append(out, AllowedAddresses{namespace, prefix.Masked()})
	}
	return out
}

// hosts reads "namespace=domain".
func (b *builder) hosts(key string) []AllowedHosts {
	var out []AllowedHosts
	for _, text := range b.list(key) {
		namespace, domain, _ := strings.Cut(text, "=")
		if domain == "*" {
			domain = ""
		}
		out = append(out, AllowedHosts{namespace, domain})
	}
	return out
}
