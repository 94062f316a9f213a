package translate

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"vtm-ingress/controller/translate/model"
)

func TestLongNamesAreCutAndStayDifferent(t *testing.T) {
	n := namer{"k8s"}
	owner := model.Owner{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("x", 253)}
	a, b := n.pool(owner, "s_80"), n.pool(owner, "s_81")
	if a == b || len(a) != maxName || len(b) != maxName {
		t.Errorf("names %q and %q", a, b)
	}
	if a[:maxName-10] != b[:maxName-10] || a[maxName-11] != '_' {
		t.Errorf("%q is not cut as %q", a, b)
	}
	if short := n.pool(model.Owner{Namespace: "shop", Name: "web"}, "app_80"); short != "k8s_shop_web_app_80" {
		t.Errorf("short name %q", short)
	}
	if cut := n.server(model.Place{Site: model.Site{Group: strings.Repeat("é", 200)}, Port: 80}); !utf8.ValidString(cut) || len(cut) > maxName {
		t.Errorf("cut inside a character: %q", cut)
	}
}

func TestDifferentPlacesHaveDifferentNames(t *testing.T) {
	n := namer{"k8s"}
	draw := rapid.Custom(func(t *rapid.T) model.Place {
		p := model.Place{Port: uint16(rapid.IntRange(1, 3).Draw(t, "port"))}
		if rapid.Bool().Draw(t, "group") {
			p.Site.Group = rapid.StringMatching(`(a|_|1|http|group-|::1|--1|10\.0\.0\.1){1,4}`).Draw(t, "name")
		} else {
			p.Site.Address = netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.1", "::1", "1::", "10.0.0.11"}).Draw(t, "address"))
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		if (a == b) != (n.server(a) == n.server(b)) || (a == b) != (n.rule(a) == n.rule(b)) {
			t.Fatalf("%+v and %+v: %q and %q", a, b, n.server(a), n.server(b))
		}
	})
}

func TestRuleLibrariesAreKnownByTheirNames(t *testing.T) {
	n := namer{"k8s"}
	for _, site := range []model.Site{{Address: netip.MustParseAddr("10.0.0.1")}, {Address: netip.MustParseAddr("2001:db8::1")}, {Group: "Web IPs"}, {Group: strings.Repeat("g", 200)}, {Group: "a_routes-7"}} {
		p := model.Place{Site: site, Port: 443}
		first, ok := LibrariesOf(n.library(p, 0))
		last, ok2 := LibrariesOf(n.library(p, buckets-1))
		if !ok || !ok2 || first != last || first != n.libraries(p) {
			t.Errorf("%v: %q, %q, %q", site, first, last, n.libraries(p))
		}
		for _, other := range []string{n.rest(p), n.rule(p), n.server(p), n.libraries(p) + "-1", n.libraries(p) + "999"} {
			if common, ok := LibrariesOf(other); ok && common == first {
				t.Errorf("%s counts as a library of %s", other, first)
			}
		}
	}
}
