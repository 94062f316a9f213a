package model_test

import (
	"net/netip"
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

// Allot is told in words: in order of rank, each claim is granted exactly when no
// granted one before excludes it.
func TestEachClaimIsGrantedUnlessAnOlderOneExcludesIt(t *testing.T) {
	sites := []model.Site{{Address: netip.MustParseAddr("10.0.0.1")}, {Address: netip.MustParseAddr("10.0.0.2")}, {Group: "g"}}
	rapid.Check(t, func(t *rapid.T) {
		var claims []model.Claim
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			claims = append(claims, model.Claim{
				Site: rapid.SampledFrom(sites).Draw(t, "site"), Port: uint16(rapid.IntRange(80, 81).Draw(t, "port")),
				Exclusive: rapid.Bool().Draw(t, "exclusive"), Share: &model.Share{Owner: model.Owner{Name: string(rune('a' + i)), Created: int64(i)}},
			})
		}
		got := model.Allot(claims)
		granted := func(i int) bool { _, refused := got.Refused[i]; return !refused }
		for i, claim := range claims {
			excluded := ""
			for j, older := range claims[:i] {
				if granted(j) && older.Site == claim.Site && (older.Exclusive || claim.Exclusive) && excluded == "" {
					excluded = older.Share.Owner.Name
				}
			}
			if granted(i) != (excluded == "") || got.Refused[i].Name != excluded {
				t.Fatalf("claim %d of %+v: granted %v by %v, excluded by %q", i, claims, granted(i), got.Refused[i], excluded)
			}
			l := got.Listeners[model.Place{Site: claim.Site, Port: claim.Port}]
			if granted(i) != (l != nil && slices.Contains(l.Shares, claim.Share)) {
				t.Fatalf("claim %d: listener %+v", i, l)
			}
		}
		for _, l := range got.Listeners {
			if !slices.IsSortedFunc(l.Shares, func(a, b *model.Share) int { return a.Owner.Compare(b.Owner) }) || l.Exclusive && len(l.Shares) != 1 {
				t.Fatalf("listener %+v", l)
			}
		}
	})
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
		l := &model.Listener{}
		for i := range rapid.IntRange(1, 3).Draw(t, "shares") {
			s := &model.Share{Owner: model.Owner{Name: string(rune('a' + i))}, Routes: rapid.SliceOfN(route, 0, 5).Draw(t, "routes")}
			model.SortRoutes(s.Routes)
			if rapid.Bool().Draw(t, "default") {
				s.Default = "d"
			}
			l.Shares = append(l.Shares, s)
		}
		shadowed := map[*model.Route]bool{}
		defaults := map[*model.Share]bool{}
		for _, s := range l.Shadows() {
			if s.Route != nil {
				shadowed[s.Route] = true
			} else {
				defaults[s.Share] = true
			}
		}
		for _, host := range hosts {
			for _, path := range paths[1:] {
				if strings.HasPrefix(host, "*") {
					continue
				}
				winner, byDefault := first(l, host, path)
				if shadowed[winner] || byDefault != nil && defaults[byDefault] {
					t.Fatalf("host %q, path %q is taken by what Shadows calls shadowed: %+v", host, path, winner)
				}
			}
		}
	})
	covered := &model.Listener{Shares: []*model.Share{
		{Owner: model.Owner{Name: "old"}, Routes: []model.Route{{Host: "*.x", Path: model.PrefixPath("/a")}}, Default: "d"},
		{Owner: model.Owner{Name: "new"}, Routes: []model.Route{{Host: "b.x", Path: model.Path{Kind: model.Exact, Text: "/a/b"}}, {Host: "b.x", Path: model.PrefixPath("/b")}}, Default: "d"},
	}}
	got := covered.Shadows()
	if len(got) != 2 || got[0].Route != &covered.Shares[1].Routes[0] || got[1].Route != nil || got[1].Share != covered.Shares[1] || got[0].Covered.Name != "old" {
		t.Errorf("shadows %+v", got)
	}
}

func first(l *model.Listener, host, path string) (*model.Route, *model.Share) {
	for _, s := range l.Shares {
		for i := range s.Routes {
			if matches(s.Routes[i], host, path) {
				return &s.Routes[i], nil
			}
		}
	}
	for _, s := range l.Shares {
		if s.Default != "" {
			return nil, s
		}
	}
	return nil, nil
}

func TestAPathOfManySlashesIsSearchedQuickly(t *testing.T) {
	long := model.PrefixPath(strings.Repeat("/a", 30_000))
	l := &model.Listener{Shares: []*model.Share{{Routes: slices.Repeat([]model.Route{{Host: "a.b", Path: long}}, 50)}}}
	if got := len(l.Shadows()); got != 49 {
		t.Errorf("%d shadows of 50 equal routes, want 49", got)
	}
}
