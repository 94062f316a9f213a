package model

import (
	"cmp"
	"slices"
	"strings"

	"vtm-ingress/internal/mutation"
)

// Host says which hosts a route is for: a name in lower case; "*." and a domain,
// for all names with exactly one label before that domain; or empty, for every
// host and for requests without one.
type Host string

// Wildcard returns the domain with its leading dot, ".example.com" of
// "*.example.com", and whether the host is such a wildcard.
func (h Host) Wildcard() (domain string, ok bool) {
	rest, ok := strings.CutPrefix(string(h), "*")
	return rest, ok
}

// tier is 0 for a name, 1 for a wildcard, 2 for every host.
func (h Host) tier() int {
	if h == "" {
		return 2
	}
	if _, ok := h.Wildcard(); ok {
		return 1
	}
	return 0
}

// PathKind is a way to match paths. Paths are compared byte by byte, after
// decoding and in normal form.
type PathKind int

const (
	// Exact: the path is the text.
	Exact PathKind = iota
	// Prefix: the path's first elements are the text's. The text has no slash at
	// its end; it is empty when every path matches.
	Prefix
	// Pattern: the whole path matches the text, in which each * stands for any
	// bytes, none and slashes included.
	Pattern
)

// Path says which paths a route is for.
type Path struct {
	Kind PathKind
	Text string
}

// PrefixPath makes a Prefix of text as users write it, with or without a slash
// at its end.
func PrefixPath(text string) Path { return Path{Prefix, strings.TrimRight(text, "/")} }

// All reports whether every path matches.
func (p Path) All() bool {
	return p.Kind == Prefix && p.Text == "" ||
		p.Kind == Pattern && (strings.Trim(p.Text, "*") == "" || strings.Trim(p.Text, "*") == "/" && p.Text[0] == '/')
}

// literal is the length of the text that a path must begin with.
func (p Path) literal() int {
	if i := strings.IndexByte(p.Text, '*'); p.Kind == Pattern && i >= 0 {
		return i
	}
	return len(p.Text)
}

// compareHosts orders routes by host alone.
func compareHosts(a, b Route) int {
	// Hosts of one tier never match the same request: their order only has to be
	// always the same.
	return cmp.Or(cmp.Compare(a.Host.tier(), b.Host.tier()), cmp.Compare(a.Host, b.Host))
}

func compareRoutes(a, b Route) int {
	exactFirst := func(p Path) int {
		if p.Kind == Exact && !mutation.On(mutation.ExactLast) {
			return 0
		}
		return 1
	}
	if mutation.On(mutation.ShorterFirst) {
		return cmp.Or(compareHosts(a, b), cmp.Compare(a.Path.literal(), b.Path.literal()), cmp.Compare(a.Path.Kind, b.Path.Kind), cmp.Compare(a.Path.Text, b.Path.Text))
	}
	return cmp.Or(
		compareHosts(a, b),
		cmp.Compare(exactFirst(a.Path), exactFirst(b.Path)),
		-cmp.Compare(a.Path.literal(), b.Path.literal()),
		-cmp.Compare(a.Path.Kind, b.Path.Kind), // /a* before the prefix /a
		-cmp.Compare(len(a.Path.Text), len(b.Path.Text)),
		cmp.Compare(a.Path.Text, b.Path.Text),
	)
}

// SortRoutes puts routes in the order in which they are tried: names before
// wildcards before every host; per host exact paths first, then the longer text
// before the shorter, where of a pattern the text before its first * counts.
// Routes for the same host and path keep their order.
func SortRoutes(routes []Route) { slices.SortStableFunc(routes, compareRoutes) }

// maxPrefixes bounds the prefixes of one path that are looked up when searching
// what covers it, since a path of nothing but slashes has very many.
const maxPrefixes = 64

// Shadow is a route, or a default backend, that never gets a request.
type Shadow struct {
	Share   *Share // whose it is
	Route   *Route // nil: its default backend
	Covered Owner  // whose route or default backend takes all its requests
}

// Above returns the hosts whose routes also take requests for a host, besides
// itself: the wildcard that covers it, and every host.
func (h Host) Above() []Host {
	var above []Host
	if h.tier() == 0 {
		if _, domain, ok := strings.Cut(string(h), "."); ok {
			above = append(above, Host("*."+domain))
		}
	}
	if h != "" {
		above = append(above, "")
	}
	return above
}

// Shadows finds the routes of host that are covered whole by one other route that
// is tried before. shares, by rank, hold all that have routes of host or of one
// of host.Above. Several routes that cover another one only together are not
// searched for.
func Shadows(host Host, shares []*Share) []Shadow {
	type key struct {
		host Host
		path Path
	}
	seen := map[key]Owner{}
	hosts := append([]Host{host}, host.Above()...)
	covering := func(path Path) (Owner, bool) {
		for _, h := range hosts {
			if owner, ok := seen[key{h, Path{Prefix, ""}}]; ok {
				return owner, true
			}
			if owner, ok := seen[key{h, path}]; ok {
				return owner, true
			}
			if path.Kind == Pattern {
				continue
			}
			text, n := path.Text, 0
			for i := 1; i <= len(text) && n < maxPrefixes; i++ {
				if i < len(text) && text[i] != '/' {
					continue
				}
				if owner, ok := seen[key{h, Path{Prefix, text[:i]}}]; ok {
					return owner, true
				}
				n++
			}
		}
		return Owner{}, false
	}
	var shadows []Shadow
	for _, share := range shares {
		for _, h := range hosts { // also the order in which a share's routes are tried
			routes := share.Of(h)
			for i := range routes {
				route := &routes[i]
				if h == host {
					if owner, ok := covering(route.Path); ok {
						shadows = append(shadows, Shadow{share, route, owner})
						continue
					}
				}
				path := route.Path
				if path.All() {
					path = Path{Prefix, ""}
				}
				if _, known := seen[key{h, path}]; !known {
					seen[key{h, path}] = share.Owner
				}
			}
		}
	}
	return shadows
}

// TakesAll reports whether a share has a route for every host and path, so that
// no default backend is ever used.
func (s *Share) TakesAll() bool {
	for _, route := range s.Of("") {
		if route.Path.All() {
			return true
		}
	}
	return false
}
