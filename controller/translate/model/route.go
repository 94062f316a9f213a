package model

import (
	"cmp"
	"slices"
	"strings"
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

func compareRoutes(a, b Route) int {
	exactFirst := func(p Path) int {
		if p.Kind == Exact {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.Host.tier(), b.Host.tier()),
		// Hosts of one tier never match the same request: their order only has to be
		// always the same.
		cmp.Compare(a.Host, b.Host),
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

// Shadows finds what on the listener is covered whole by one other route that is
// tried before, in order of shares and routes. Several routes that cover another
// one only together are not searched for.
func (l *Listener) Shadows() []Shadow {
	type key struct {
		host Host
		path Path
	}
	seen := map[key]Owner{}
	var shadows []Shadow
	covering := func(r Route) (Owner, bool) {
		hosts := []Host{r.Host}
		if r.Host.tier() == 0 {
			if _, domain, ok := strings.Cut(string(r.Host), "."); ok {
				hosts = append(hosts, Host("*."+domain))
			}
		}
		if r.Host != "" {
			hosts = append(hosts, "")
		}
		for _, host := range hosts {
			if owner, ok := seen[key{host, Path{Prefix, ""}}]; ok {
				return owner, true
			}
			if owner, ok := seen[key{host, r.Path}]; ok {
				return owner, true
			}
			if r.Path.Kind == Pattern {
				continue
			}
			text, n := r.Path.Text, 0
			for i := 1; i <= len(text) && n < maxPrefixes; i++ {
				if i < len(text) && text[i] != '/' {
					continue
				}
				if owner, ok := seen[key{host, Path{Prefix, text[:i]}}]; ok {
					return owner, true
				}
				n++
			}
		}
		return Owner{}, false
	}
	for _, share := range l.Shares {
		for i := range share.Routes {
			route := &share.Routes[i]
			if owner, ok := covering(*route); ok {
				shadows = append(shadows, Shadow{share, route, owner})
				continue
			}
			path := route.Path
			if path.All() {
				path = Path{Prefix, ""}
			}
			seen[key{route.Host, path}] = share.Owner
		}
	}
	everything, covered := seen[key{"", Path{Prefix, ""}}]
	for _, share := range l.Shares {
		if share.Default == "" {
			continue
		}
		if covered {
			shadows = append(shadows, Shadow{share, nil, everything})
		} else {
			everything, covered = share.Owner, true
		}
	}
	return shadows
}
