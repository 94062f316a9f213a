package model_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/controller/translate/model"
)

func TestRankIsAgeThenName(t *testing.T) {
	want := []model.Owner{
		{Namespace: "z", Name: "z", Created: 1},
		{Namespace: "a", Name: "b", Created: 2},
		{Namespace: "a", Name: "c", Created: 2, UID: "0"},
		{Namespace: "b", Name: "a", Created: 2},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, model.Owner.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
}

func TestRoutesAreTriedFromTheMostSpecific(t *testing.T) {
	want := []model.Route{
		{Host: "a.example.com", Path: model.Path{Kind: model.Exact, Text: "/a"}},
		{Host: "a.example.com", Path: model.Path{Kind: model.Prefix, Text: "/a/b/c"}},
		{Host: "a.example.com", Path: model.Path{Kind: model.Pattern, Text: "/a/*/cc"}},
		{Host: "a.example.com", Path: model.Path{Kind: model.Pattern, Text: "/a*"}},
		{Host: "a.example.com", Path: model.PrefixPath("/a/")},
		{Host: "a.example.com", Path: model.PrefixPath("/")},
		{Host: "b.example.com", Path: model.PrefixPath("/")},
		{Host: "*.example.com", Path: model.Path{Kind: model.Exact, Text: "/a/b/c/d"}},
		{Host: "", Path: model.Path{Kind: model.Exact, Text: "/x"}},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	model.SortRoutes(got)
	if !slices.Equal(got, want) {
		t.Errorf("order:\n%v\nwant:\n%v", got, want)
	}
}

// Allot is told in words, pair by pair: in order of rank, each claim is granted
// exactly when no granted one before excludes it.
// allot grants claims one after the other.
func allot(claims []model.Claim) (a model.Allotment, grants []model.Grant) {
	for i := range claims {
		grants = append(grants, a.Grant(&claims[i]))
	}
	return a, grants
}

func TestEachClaimIsGrantedUnlessAnOlderOneExcludesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var claims []model.Claim
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			c := model.Claim{
				Port:      rapid.SampledFrom([]uint16{80, 443, 8443}).Draw(t, "port"),
				Exclusive: rapid.IntRange(0, 9).Draw(t, "exclusive") == 0,
				Alone:     rapid.IntRange(0, 9).Draw(t, "alone") == 0,
				TLS:       rapid.Bool().Draw(t, "tls"),
				Share:     &model.Share{Owner: model.Owner{Name: string(rune('a' + i)), Created: int64(i)}},
			}
			if c.TLS {
				c.Share.Certificates = rapid.MapOfN(rapid.SampledFrom([]string{"h", "i"}), rapid.SampledFrom([]string{"c", "d"}), 0, 2).Draw(t, "certificates")
				c.Redirect = c.Port != 80 && rapid.Bool().Draw(t, "redirect")
				c.Optional = c.Redirect && rapid.Bool().Draw(t, "optional")
			}
			claims = append(claims, c)
		}
		got, grants := allot(claims)
		granted := func(i int) bool { return grants[i].Refused == nil }
		redirects := func(i int) bool { return granted(i) && grants[i].Redirect }
		// hinders says whether a granted claim leaves no room for another one.
		hinders := func(i int, c *model.Claim) bool {
			o := &claims[i]
			if o.Exclusive || c.Exclusive || redirects(i) && c.Port == 80 {
				return true
			}
			if o.Port != c.Port {
				return false
			}
			for host, name := range o.Share.Certificates {
				if other, ok := c.Share.Certificates[host]; ok && other != name {
					return true
				}
			}
			return o.Alone || c.Alone || o.TLS != c.TLS
		}
		hindersRedirect := func(i int, c *model.Claim) bool {
			return claims[i].Port == 80 || redirects(i) && claims[i].Port != c.Port
		}
		for i := range claims {
			c := &claims[i]
			refused, lost := false, false
			for j := range i {
				if granted(j) {
					refused = refused || hinders(j, c)
					lost = lost || c.Redirect && hindersRedirect(j, c)
				}
			}
			refused = refused || lost && !c.Optional
			g := grants[i]
			if (g.Refused != nil) != refused || (g.Lost != nil) != (!refused && lost) || g.Redirect != (c.Redirect && !refused && !lost) {
				t.Fatalf("claim %d of %+v: %+v; refused %v, redirect lost %v", i, claims, g, refused, lost)
			}
			if g.Refused != nil {
				by := slices.IndexFunc(claims, func(o model.Claim) bool { return o.Share.Owner == g.Refused.By })
				if by < 0 || by >= i || !granted(by) {
					t.Fatalf("claim %d is refused because of %+v, which holds nothing", i, g.Refused)
				}
			}
		}
		for i := range claims {
			if granted(i) {
				if got.Holder != claims[i].Share.Owner {
					t.Fatalf("holder %v, want %v", got.Holder, claims[i].Share.Owner)
				}
				break
			}
		}
	})
}

func TestTooManyPatternsOfOneHostAreRefused(t *testing.T) {
	share := func(name string, n int) *model.Share {
		s := &model.Share{Owner: model.Owner{Name: name}}
		for i := range n {
			s.Routes = append(s.Routes, model.Route{Host: "h", Path: model.Path{Kind: model.Pattern, Text: strings.Repeat("/a", i) + "*"}})
		}
		s.CountPatterns()
		return s
	}
	_, grants := allot([]model.Claim{{Share: share("a", 300)}, {Share: share("b", 101)}, {Share: share("c", 100)}})
	if r := grants[1].Refused; grants[0].Refused != nil || r == nil || r.Why != model.TooManyPatterns || r.Host != "h" || grants[2].Refused != nil {
		t.Errorf("grants %+v", grants)
	}
}

// matches says, by brute force, whether a route takes a request.
func matches(r model.Route, host, path string) bool {
	if domain, ok := r.Host.Wildcard(); ok {
		_, rest, _ := strings.Cut(host, ".")
		if "."+rest != domain {
			return false
		}
	} else if r.Host != "" && string(r.Host) != host {
		return false
	}
	switch r.Path.Kind {
	case model.Exact:
		return path == r.Path.Text
	case model.Prefix:
		return path == r.Path.Text || strings.HasPrefix(path, r.Path.Text+"/")
	default:
		before, after, _ := strings.Cut(r.Path.Text, "*")
		return len(path) >= len(before)+len(after) && strings.HasPrefix(path, before) && strings.HasSuffix(path, after)
	}
}

func TestAShadowedRouteNeverGetsARequest(t *testing.T) {
	hosts := []string{"", "a.x", "b.x", "*.x", "c.a.x"}
	paths := []string{"", "/", "/a", "/a/", "/a/b", "/ab"}
	route := rapid.Custom(func(t *rapid.T) model.Route {
		r := model.Route{Host: model.Host(rapid.SampledFrom(hosts).Draw(t, "host"))}
		text := rapid.SampledFrom(paths[1:]).Draw(t, "path")
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			r.Path = model.Path{Kind: model.Exact, Text: text}
		case 1:
			r.Path = model.PrefixPath(text)
		case 2:
			r.Path = model.Path{Kind: model.Pattern, Text: text + "*"}
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		var shares []*model.Share
		for i := range rapid.IntRange(1, 3).Draw(t, "shares") {
			s := &model.Share{Owner: model.Owner{Name: string(rune('a' + i))}, Routes: rapid.SliceOfN(route, 0, 5).Draw(t, "routes")}
			model.SortRoutes(s.Routes)
			shares = append(shares, s)
		}
		shadowed := map[*model.Route]bool{}
		for _, host := range hosts {
			for _, s := range model.Shadows(model.Host(host), shares) {
				shadowed[s.Route] = true
			}
		}
		takesAll := slices.ContainsFunc(shares, (*model.Share).TakesAll)
		for _, host := range hosts {
			for _, path := range paths[1:] {
				if strings.HasPrefix(host, "*") {
					continue
				}
				winner := first(shares, host, path)
				if shadowed[winner] {
					t.Fatalf("host %q, path %q is taken by what Shadows calls shadowed: %+v", host, path, winner)
				}
				if winner == nil && takesAll {
					t.Fatalf("host %q, path %q is taken by nobody, and TakesAll says it is", host, path)
				}
			}
		}
	})
	covered := []*model.Share{
		{Owner: model.Owner{Name: "old"}, Routes: []model.Route{{Host: "*.x", Path: model.PrefixPath("/a")}}},
		{Owner: model.Owner{Name: "new"}, Routes: []model.Route{{Host: "b.x", Path: model.Path{Kind: model.Exact, Text: "/a/b"}}, {Host: "b.x", Path: model.PrefixPath("/b")}}},
	}
	got := model.Shadows("b.x", covered)
	if len(got) != 1 || got[0].Route != &covered[1].Routes[0] || got[0].Covered.Name != "old" {
		t.Errorf("shadows %+v", got)
	}
}

func first(shares []*model.Share, host, path string) *model.Route {
	for _, s := range shares {
		for i := range s.Routes {
			if matches(s.Routes[i], host, path) {
				return &s.Routes[i]
			}
		}
	}
	return nil
}

func TestAPathOfManySlashesIsSearchedQuickly(t *testing.T) {
	long := model.PrefixPath(strings.Repeat("/a", 30_000))
	share := &model.Share{Routes: slices.Repeat([]model.Route{{Host: "a.b", Path: long}}, 50)}
	if got := len(model.Shadows("a.b", []*model.Share{share})); got != 49 {
		t.Errorf("%d shadows of 50 equal routes, want 49", got)
	}
}
