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
