package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTheLoopbackMapKeepsTheLastTwoOctetsWhereFree(t *testing.T) {
	m := NewAddressMap(MapLoopback)
	for _, c := range [][2]string{
		{"10.1.2.3", "127.64.2.3"}, {"10.9.2.3", "127.65.2.3"}, {"10.1.2.3", "127.64.2.3"},
		{"2001:db8::203", "127.66.2.3"}, {"::ffff:10.9.2.3", "127.65.2.3"},
		{"127.1.0.1", "127.1.0.1"}, {"::1", "::1"}, {"0.0.0.0", "0.0.0.0"},
	} {
		if got := m.Map(netip.MustParseAddr(c[0])); got.String() != c[1] {
			t.Errorf("%s became %s, want %s", c[0], got, c[1])
		}
	}
	if got := fmt.Sprint(m.Entries()); got != "[{10.1.2.3 127.64.2.3 []} {10.9.2.3 127.65.2.3 []} {2001:db8::203 127.66.2.3 []}]" {
		t.Errorf("entries: %s", got)
	}
	if got, err := m.HostPort("10.1.2.3:80"); got != "127.64.2.3:80" {
		t.Errorf("got %s, %v", got, err)
	}
	for _, bad := range []string{"10.1.2.3", "10.1.2.3:0", "10.1.2.3:65536", ""} {
		if got, err := m.HostPort(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	var none *AddressMap
	if got := none.MapPort(netip.MustParseAddrPort("10.1.2.3:80")); got.String() != "10.1.2.3:80" || none.Entries() != nil {
		t.Errorf("a nil map maps to %s", got)
	}
}

func TestTheLoopbackMapNeverGivesOneAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewAddressMap(MapLoopback)
		back := map[netip.Addr]netip.Addr{}
		// Few last octets, so that they collide.
		for i := range rapid.IntRange(1, 300).Draw(t, "n") {
			a := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 255).Draw(t, "b")), 0, byte(rapid.IntRange(0, 1).Draw(t, "d"))})
			to := m.Map(a)
			if !netip.MustParsePrefix("127.64.0.0/10").Contains(to) {
				t.Fatalf("%d: %s became %s", i, a, to)
			}
			if old, ok := back[to]; ok && old != a {
				t.Fatalf("%s and %s both became %s", a, old, to)
			}
			back[to] = a
		}
	})
}

func TestAnAddressMapIsReadFromAFile(t *testing.T) {
	m, err := ReadAddressMap(strings.NewReader("# ours\n10.0.0.1 127.5.5.5\n\n2001:db8::1 ::1 # six\n"))
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{"10.0.0.1": "127.5.5.5", "2001:db8::1": "::1", "10.0.0.2": "10.0.0.2"} {
		if got := m.Map(netip.MustParseAddr(from)); got.String() != want {
			t.Errorf("%s became %s, want %s", from, got, want)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.1":                       "address map, line 1: want two addresses, have 1 words",
		"\n10.0.0.1 x":                   `address map, line 2: "x" is not an IP address`,
		"10.0.0.1 ::1\n10.0.0.1 1.1.1.1": "address map, line 2: ::1 already stands for 10.0.0.1",
	} {
		if _, err := ReadAddressMap(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
