package translate

import (
	"strings"
	"testing"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate/model"
)

func TestHostsThatNoAuthorityTakesAreRefusedWithTheReason(t *testing.T) {
	byDNS := *config.Default()
	byDNS.ACMEDNSProvider = "rfc2136"
	label := strings.Repeat("a", 63)
	for _, c := range []struct {
		host, want string // want "": it is taken
		settings   *config.Settings
	}{
		{"shop.example", "", config.Default()},
		{"*.shop.example", "acme_dns_provider is empty", config.Default()},
		{"*.shop.example", "", &byDNS},
		{"*.example", "no dot", &byDNS},
		{"localhost", "no dot", config.Default()},
		{"10.0.0.1", "IP address", config.Default()},
		{"2001:db8::1", "IP address", config.Default()},
		{label + ".example", "", config.Default()},
		{"a" + label + ".example", "longer than 63", config.Default()},
		{strings.Repeat(label+".", 4) + "example", "longer than 253", config.Default()},
		{"shop..example", "empty", config.Default()},
		{"bücher.example", "xn--bcher-kva.example", config.Default()},
		{"xn--bcher-kva.example", "", config.Default()},
		{"*.bücher.example", "xn--bcher-kva.example", &byDNS},
		{"*.xn--bcher-kva.example", "", &byDNS},
		{"xn--zz--.example", "stands for no international name", config.Default()},
		{"shop\u2028.example", "no name in DNS", config.Default()},
	} {
		why := unissuable(c.host, c.settings)
		if c.want == "" && why != "" || !strings.Contains(why, c.want) {
			t.Errorf("%q: %q, want %q", c.host, why, c.want)
		}
	}
}

func TestWhoMayHaveACertificate(t *testing.T) {
	a := newACMEState()
	named := func(namespace string, created int64, hosts ...model.Host) model.Owner {
		e := &entry{wish: &wish{share: &model.Share{}}}
		e.wish.share.Owner = model.Owner{Namespace: namespace, Name: "web", UID: namespace, Created: created}
		for _, host := range hosts {
			e.wish.share.Routes = append(e.wish.share.Routes, model.Route{Host: host})
		}
		a.note(e)
		return e.wish.share.Owner
	}
	old := named("old", 1, "a.shop.example", "*.wild.example")
	young := named("young", 2, "a.shop.example", "*.shop.example", "a.wild.example", "*.wild.example", "b.shop.example", "a.b.shop.example")
	for _, c := range []struct {
		host     string
		disputed bool // for the younger one
	}{
		{"a.shop.example", true}, {"*.shop.example", true}, {"a.wild.example", true}, {"*.wild.example", true},
		{"b.shop.example", false}, {"a.b.shop.example", false}, {"*.b.shop.example", false},
	} {
		if first, is := a.first(c.host, young); is != c.disputed || is && first != old {
			t.Errorf("%s: disputed %t by %v", c.host, is, first)
		}
		if first, is := a.first(c.host, old); is {
			t.Errorf("%s is disputed to the older one by %v", c.host, first)
		}
	}
}
