package config

import (
	"net/netip"
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
