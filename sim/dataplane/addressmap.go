package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// MapMode tells how an AddressMap treats addresses that are not this machine's.
type MapMode string

const (
	// MapLoopback gives every address outside 127.0.0.0/8 one of 127.64.0.0/10.
	MapLoopback MapMode = "loopback"
	// MapNone leaves every address as it is.
	MapNone MapMode = "none"
)

// AddressMap says which address of this machine stands for an address of the
// configuration, for listeners and for connections to nodes alike. It may be
// shared by several traffic managers and used from several goroutines. A nil
// AddressMap maps nothing.
//
// Loopback and unspecified addresses (127.x, ::1, 0.0.0.0, ::) always stay. In
// loopback mode any other gets a free address of 127.64.0.0/10 that keeps its
// last two octets, if one is free; which one it gets depends only on the order
// in which addresses are first used.
type AddressMap struct {
	mode  MapMode
	block netip.Prefix // where mapped addresses are, in loopback mode

	mu    sync.Mutex
	to    map[netip.Addr]netip.Addr
	taken map[netip.Addr]struct{}
	// ports holds, by mapped address and port, where a listener really is when
	// its own port could not be bound.
	ports map[netip.AddrPort]uint16
}

// MapEntry is one line of an AddressMap's listing.
type MapEntry struct {
	From netip.Addr
	To   netip.Addr
	// Ports that moved, sorted: asked for and bound.
	Ports []PortEntry
}

// PortEntry is a port below 1024 that could not be bound and the one in use
// instead.
type PortEntry struct{ From, To uint16 }

// NewAddressMap returns an empty map of this mode.
func NewAddressMap(mode MapMode) *AddressMap {
	return &AddressMap{
		mode:  mode,
		block: loopbackBlock,
		to:    make(map[netip.Addr]netip.Addr),
		taken: make(map[netip.Addr]struct{}),
		ports: make(map[netip.AddrPort]uint16),
	}
}

// loopbackBlock is where addresses are mapped to unless said otherwise.
var loopbackBlock = netip.MustParsePrefix("127.64.0.0/10")

// NewAddressMapIn returns an empty map in loopback mode that uses block only, so
// that several sandboxes on one machine stay apart. block is a /8 to /16 of
// 127.0.0.0/8.
func NewAddressMapIn(block netip.Prefix) (*AddressMap, error) {
	if !block.Addr().Is4() || !block.Addr().IsLoopback() || block.Bits() < 8 || block.Bits() > 16 {
		return nil, fmt.Errorf("address map: %s is no part of 127.0.0.0/8 with at least 65,536 addresses", block)
	}
	m := NewAddressMap(MapLoopback)
	m.block = block.Masked()
	return m, nil
}

// ReadAddressMap reads a map from text: two addresses a line, the one of the
// configuration and the one of this machine; '#' begins a comment. Addresses
// that it does not name stay as they are. Errors name the line.
func ReadAddressMap(r io.Reader) (*AddressMap, error) {
	m := NewAddressMap(MapNone)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("address map, line %d: want two addresses, have %d words", n, len(fields))
		}
		var pair [2]netip.Addr
		for i, f := range fields {
			a, err := netip.ParseAddr(f)
			if err != nil {
				return nil, fmt.Errorf("address map, line %d: %q is not an IP address", n, f)
			}
			pair[i] = a.Unmap()
		}
		if old, dup := m.to[pair[0]]; dup {
			return nil, fmt.Errorf("address map, line %d: %s already stands for %s", n, old, pair[0])
		}
		m.to[pair[0]] = pair[1]
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("address map: %w", err)
	}
	return m, nil
}

// Map returns the address of this machine that stands for a.
func (m *AddressMap) Map(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if m == nil || a.IsLoopback() || a.IsUnspecified() {
		return a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if to, ok := m.to[a]; ok {
		return to
	}
	if m.mode != MapLoopback {
		return a
	}
	to, ok := m.free(a)
	if !ok {
		return a
	}
	m.to[a] = to
	m.taken[to] = struct{}{}
	return to
}

// free returns the first free address of the block for a: its own last two octets
// below each second octet in turn, then any.
func (m *AddressMap) free(a netip.Addr) (netip.Addr, bool) {
	raw := a.AsSlice()
	c, d := raw[len(raw)-2], raw[len(raw)-1]
	first := m.block.Addr().As4()[1]
	for b := range 1 << (16 - m.block.Bits()) {
		to := netip.AddrFrom4([4]byte{127, first + byte(b), c, d})
		if _, used := m.taken[to]; !used {
			return to, true
		}
	}
	for to := m.block.Addr().Next(); m.block.Contains(to); to = to.Next() {
		if _, used := m.taken[to]; !used {
			return to, true
		}
	}
	return netip.Addr{}, false
}

// MovedPort is where a port below 1024 goes when it cannot be bound.
func MovedPort(port uint16) uint16 { return port + 8000 }

// movePort records that to, not its own port, is bound to the mapped address.
func (m *AddressMap) movePort(at netip.AddrPort, to uint16) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports[at] = to
}

// MapPort returns address and port of this machine that stand for those given.
func (m *AddressMap) MapPort(at netip.AddrPort) netip.AddrPort {
	at = netip.AddrPortFrom(m.Map(at.Addr()), at.Port())
	if m == nil || at.Port() >= 1024 {
		return at
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if port, ok := m.ports[at]; ok {
		return netip.AddrPortFrom(at.Addr(), port)
	}
	return at
}

// HostPort returns "host:port" of this machine for one of the configuration. A
// host that is a name, not an address, stays for the resolver.
func (m *AddressMap) HostPort(hostport string) (string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", hostport)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return "", fmt.Errorf("%q has no port between 1 and 65535", hostport)
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return hostport, nil
	}
	return m.MapPort(netip.AddrPortFrom(a, uint16(p))).String(), nil
}

// Entries lists the map, sorted by From, with those ports that moved. An address
// that stays is listed only if one of its ports moved.
func (m *AddressMap) Entries() []MapEntry {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	byTo := make(map[netip.Addr]*MapEntry)
	list := make([]*MapEntry, 0, len(m.to))
	add := func(from, to netip.Addr) *MapEntry {
		e := &MapEntry{From: from, To: to}
		byTo[to] = e
		list = append(list, e)
		return e
	}
	for from, to := range m.to {
		add(from, to)
	}
	for at, to := range m.ports {
		e := byTo[at.Addr()]
		if e == nil {
			e = add(at.Addr(), at.Addr())
		}
		e.Ports = append(e.Ports, PortEntry{at.Port(), to})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].From.Less(list[j].From) })
	entries := make([]MapEntry, len(list))
	for i, e := range list {
		sort.Slice(e.Ports, func(i, j int) bool { return e.Ports[i].From < e.Ports[j].From })
		entries[i] = *e
	}
	return entries
}

// CompareAddresses orders IP addresses, with or without a port, by number and then
// by port; other text, such as host names, comes after them.
func CompareAddresses(a, b string) int {
	x, isX := parseAddress(a)
	y, isY := parseAddress(b)
	switch {
	case isX && isY:
		return x.Compare(y)
	case isX:
		return -1
	case isY:
		return 1
	}
	return strings.Compare(a, b)
}

// parseAddress reads an IP address; its port is 0 if it has none.
func parseAddress(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), true
	}
	at, err := netip.ParseAddrPort(s)
	return at, err == nil
}
