package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Zone says what names are. Names are without the dot at the end, in any case.
// Its methods may be called from several goroutines.
type Zone struct {
	lookup func(host string) []netip.Addr

	mu  sync.Mutex
	set map[string][]netip.Addr // what was said by hand wins; empty: no such name
	txt map[string][]string
}

// NewZone makes a zone whose names are what lookup says; nil: there are none.
func NewZone(lookup func(host string) []netip.Addr) *Zone {
	if lookup == nil {
		lookup = func(string) []netip.Addr { return nil }
	}
	return &Zone{lookup: lookup, set: map[string][]netip.Addr{}, txt: map[string][]string{}}
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Set says where a host is, whatever else is known of it. Without addresses there
// is no such name.
func (z *Zone) Set(host string, addresses ...netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.set[key(host)] = slices.Clone(addresses)
}

// Forget undoes Set.
func (z *Zone) Forget(host string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.set, key(host))
}

// Addresses are where a host is; none: there is no such name.
func (z *Zone) Addresses(host string) []netip.Addr {
	host = key(host)
	z.mu.Lock()
	addresses, said := z.set[host]
	z.mu.Unlock()
	if said {
		return addresses
	}
	return z.lookup(host)
}

// Text are the TXT records of a name.
func (z *Zone) Text(name string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.txt[key(name)])
}

// AddText adds a TXT record; one that is there already stays the only one.
func (z *Zone) AddText(name, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = key(name)
	if !slices.Contains(z.txt[name], value) {
		z.txt[name] = append(z.txt[name], value)
	}
}

// RemoveText removes a TXT record, or all of a name if value is empty.
func (z *Zone) RemoveText(name, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = key(name)
	z.txt[name] = slices.DeleteFunc(z.txt[name], func(s string) bool { return value == "" || s == value })
	if len(z.txt[name]) == 0 {
		delete(z.txt, name)
	}
}
