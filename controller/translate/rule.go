package translate

import (
	"fmt"
	"slices"
	"strings"

	"vtm-ingress/controller/translate/model"
	"vtm-ingress/internal/mutation"
)

// badPath matches request targets whose path means something else decoded than
// as sent: an encoded slash makes one element of two, an encoded dot a dot
// segment. The node may read it either way, so none is let through.
const badPath = `^[^?]*(%2f|/(%2e|\.%2e|%2e\.|%2e%2e)(/|\?|\z))`

// needsRule reports whether routing at a listener takes a rule: not when one
// default backend answers everything.
func needsRule(l *listener) bool {
	return !l.exclusive || len(l.shares[0].granted.Routes) > 0
}

// emitRule writes the rule that routes what comes in at a listener with a handful
// of Ingresses. mark is its first line. Texts of users get in through Quote alone.
//
// Order is that of the shares, and in each that of its routes: the first that
// matches wins. An exclusive listener's default backend is its virtual server's
// default pool, to which a rule that decides nothing leaves a request.
func emitRule(l *listener, names namer, mark string) []byte {
	var b strings.Builder
	b.WriteString(mark)
	b.WriteString("# Routes requests by host and path. Written by vtm-ingress-controller, which undoes changes.\n\n")
	emitPreamble(&b, l)
	for _, e := range l.shares {
		emitShare(&b, e.granted, names)
	}
	switch share := l.restShare(); {
	case share == nil:
		b.WriteString("\n" + notFound)
	case l.exclusive:
		b.WriteString("\n# All else goes to the virtual server's default pool.\n")
	default:
		fmt.Fprintf(&b, "\n# All else: the default backend of Ingress %s.\npool.use(%s);\n", share.Owner, Quote(names.pool(share.Owner, share.Default)))
	}
	return []byte(b.String())
}

// notFound answers what nobody serves.
const notFound = `http.sendResponse("404 Not Found", "text/plain", "No Ingress serves this host and path.\n", "");
`

// emitChecks sets $path to the decoded path in normal form and refuses the
// ambiguous ones.
func emitChecks(b *strings.Builder) {
	b.WriteString(`$path = http.normalizePath(http.getPath());
if ($path == "" || string.regexmatch(http.getRawURL(), '` + badPath + `', "i")) {
    http.sendResponse("400 Bad Request", "text/plain", "The path is ambiguous or leaves the root.\n", "");
}
`)
}

// emitPreamble sets, after the checks, $host to the host
// in lower case without port, and, where a route needs it, $domain to the host
// without its first label: what a wildcard of one label covers.
func emitPreamble(b *strings.Builder, l *listener) {
	if mutation.On(mutation.PathAsSent) {
		b.WriteString("$path = http.getPath();\n")
	} else if mutation.On(mutation.SlashEncoded) {
		b.WriteString("$path = http.normalizePath(http.getPath());\n")
	} else {
		emitChecks(b)
	}
	hosts, wildcards := false, false
	for _, e := range l.shares {
		share := e.granted
		for i := range share.Routes {
			_, wildcard := share.Routes[i].Host.Wildcard()
			wildcards = wildcards || wildcard
			hosts = hosts || share.Routes[i].Host != ""
		}
	}
	if hosts {
		b.WriteString("$host = http.getHostHeader();\n")
	}
	if wildcards {
		b.WriteString(`$domain = "";
$dot = string.find($host, ".");
if ($dot > 0) $domain = string.skip($host, $dot);
`)
	}
}

func emitShare(b *strings.Builder, share *model.Share, names namer) {
	if len(share.Routes) == 0 {
		return
	}
	// The owner's names are lawful (readWish), so they can't end the comment.
	fmt.Fprintf(b, "\n# Ingress %s\n", share.Owner)
	routes := share.Routes
	for len(routes) > 0 {
		host := routes[0].Host
		n := slices.IndexFunc(routes, func(r model.Route) bool { return r.Host != host })
		if n < 0 {
			n = len(routes)
		}
		indent := ""
		if host != "" {
			subject, value := "$host", string(host)
			if domain, ok := host.Wildcard(); ok {
				subject, value = "$domain", domain
			}
			if _, ok := host.Wildcard(); ok && mutation.On(mutation.WildcardTakesMore) {
				fmt.Fprintf(b, "if (string.endsWith($host, %s)) {\n", Quote(value))
			} else {
				fmt.Fprintf(b, "if (%s == %s) {\n", subject, Quote(value))
			}
			indent = "    "
		}
		for _, route := range routes[:n] {
			b.WriteString(indent)
			if !route.Path.All() {
				fmt.Fprintf(b, "if (%s) ", condition(route.Path))
			}
			fmt.Fprintf(b, "pool.use(%s);\n", Quote(names.pool(share.Owner, route.Backend)))
		}
		if host != "" {
			b.WriteString("}\n")
		}
		routes = routes[n:]
	}
}

// condition is an expression that says whether $path matches. Comparisons are of
// strings on both sides, hence never numeric (vtm/trafficscript.md, Types).
func condition(p model.Path) string {
	switch {
	case p.Kind == model.Prefix && mutation.On(mutation.PrefixByText):
		return "string.startsWith($path, " + Quote(p.Text) + ")"
	case mutation.On(mutation.PathIgnoresCase):
		return "string.startsWith(string.lowercase($path), " + Quote(p.Text) + ")"
	}
	switch p.Kind {
	case model.Exact:
		return "$path == " + Quote(p.Text)
	case model.Prefix:
		return "$path == " + Quote(p.Text) + " || string.startsWith($path, " + Quote(p.Text+"/") + ")"
	default:
		return "string.wildmatch($path, " + Quote(p.Text) + ")"
	}
}

// emitRedirect writes the rule that sends clients to the same URL over TLS, on port
// unless it is the usual one.
func emitRedirect(port uint16, challenges []Challenge, mark string) []byte {
	at, answers := "", emitChallenges(challenges)
	if port == 0 {
		return []byte(mark + "# Answers certificate authorities. Written by vtm-ingress-controller, which undoes changes.\n\n" + answers + notFound)
	}
	if port != tlsPort {
		at = fmt.Sprintf(" . \":%d\"", port)
	}
	if mutation.On(mutation.RedirectElsewhere) {
		at += " . \".elsewhere\""
	}
	return []byte(mark + `# Redirects to HTTPS. Written by vtm-ingress-controller, which undoes changes.

` + answers + `$host = http.getHostHeader();
if ($host == "") {
    http.sendResponse("400 Bad Request", "text/plain", "The request names no host.\n", "");
}
http.redirect("https://" . $host` + at + ` . http.getRawURL());
`)
}
