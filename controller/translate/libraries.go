package translate

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"vtm-ingress/controller/translate/model"
)

// A listener with more than a handful of Ingresses has no single rule: each change
// would send all of it, and each request would walk through all of it. Instead,
// the routes stand in a fixed number of rule libraries, chosen by a hash of the
// route's host as it is written: a name, a wildcard, or nothing. The listener's rule
// asks for the three names that a request's host can stand under; each answers with
// the rank of the oldest Ingress that has a match, the lowest rank wins, and its
// library uses the pool, whose name must be a literal.

// handful is what one rule holds at most: beyond, it would be tedious to read, and
// slow. Back to one rule it goes at half of that: each way takes a write for each
// library, which is not to happen whenever an Ingress comes and goes.
type handful struct{ shares, routes int }

// exceeded reports whether so much is more than a handful, for a listener whose routes
// stand in libraries already or not.
func (h handful) exceeded(shares, routes int, already bool) bool {
	if already {
		h.shares, h.routes = h.shares/2, h.routes/2
	}
	return shares > h.shares || routes > h.routes
}

var usualHandful = handful{shares: 32, routes: 200}

const (
	// buckets is the number of rule libraries of a listener, a power of two of at
	// most 256. With 5,000 Ingresses of four paths, one holds some 20 KB.
	buckets = 128

	// leaf is how many hosts, or routes, are tried one after another: beyond, they
	// are told apart by their hash before.
	leaf = 24

	// maxDescent bounds how deep paths are told apart, and so how deep the code of a
	// library nests.
	maxDescent = 8
)

// hash of a host or of the beginning of a path, as the rules compute it. MD5 is
// what TrafficScript and Go both have; nothing depends on its strength, since no
// number of equal beginnings makes a decision long (leaf).
func hash(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// bucketOf says which library holds a host's routes.
func bucketOf(host model.Host) int {
	sum := md5.Sum([]byte(host))
	return int(sum[0]) * buckets / 256
}

// hashIn gives a rule's expression for the hash of another expression. The case of
// hexadecimal digits is not documented.
func hashIn(expression string) string {
	return "string.lowercase(string.hexencode(string.hashMD5(" + expression + ")))"
}

// rank as a text: those of two owners compare as the owners do, byte by byte. No
// byte of a name is below "!".
func rank(o model.Owner) string {
	return fmt.Sprintf("%016x!%s!%s", uint64(o.Created)^1<<63, o.Namespace, o.Name)
}

// code writes indented lines.
type code struct {
	strings.Builder
	depth int
}

func (c *code) line(format string, args ...any) {
	for range c.depth {
		c.WriteString("    ")
	}
	fmt.Fprintf(c, format, args...)
	c.WriteByte('\n')
}

// hosted is what a library holds of one host.
type hosted struct {
	host   model.Host
	hash   string
	shares []*model.Share // those with routes of it, by rank
}

// emitLibrary writes the library of some hosts.
func emitLibrary(hosts []hosted, names namer, mark string) []byte {
	slices.SortFunc(hosts, func(a, b hosted) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.host, b.host)) })
	c := &code{}
	c.WriteString(mark)
	c.WriteString(`# Routes of some hosts. Written by vtm-ingress-controller, which undoes changes.

# The rank of the oldest Ingress that takes a request for a host as it is written
# and a path, "" if none does. With $go, its pool is used. $key is the host's hash.
sub find($name, $key, $path, $go) {
`)
	c.depth++
	byHash(c, "$key", hosts, func(h hosted) string { return h.hash }, func(hosts []hosted) bool { return len(hosts) <= leaf }, func(hosts []hosted) {
		for _, h := range hosts {
			c.line("if ($name == %s) {", Quote(string(h.host)))
			c.depth++
			var routes []ranked
			for _, share := range h.shares {
				for _, route := range share.Of(h.host) {
					routes = append(routes, ranked{route, share, len(routes)})
				}
			}
			emitPaths(c, routes, nil, 0, names)
			c.depth--
			c.line("}")
		}
	})
	c.line(`return "";`)
	c.WriteString("}\n")
	return []byte(c.String())
}

// byHash writes a search for the few among all, which are sorted by hash, that may
// have the hash in variable.
func byHash[T any](c *code, variable string, all []T, hash func(T) string, few func([]T) bool, emit func([]T)) {
	middle := len(all) / 2
	// What has the same hash can't be told apart by it.
	for middle > 0 && hash(all[middle]) == hash(all[middle-1]) {
		middle--
	}
	if few(all) || middle == 0 {
		emit(all)
		return
	}
	c.line("if (%s < %s) {", variable, Quote(hash(all[middle])))
	c.depth++
	byHash(c, variable, all[:middle], hash, few, emit)
	c.depth--
	c.line("} else {")
	c.depth++
	byHash(c, variable, all[middle:], hash, few, emit)
	c.depth--
	c.line("}")
}

// ranked is a route with its place in the order in which a host's are tried.
type ranked struct {
	model.Route
	share *model.Share
	order int
}

func compareOrder(a, b ranked) int { return cmp.Compare(a.order, b.order) }

// emitPaths writes the search for the first of routes that takes $path, and what
// returns its rank. deep share the first elements of their paths, to the depth
// descent levels have looked at; short are others that may take the same requests.
func emitPaths(c *code, deep, short []ranked, descent int, names namer) {
	if len(deep) <= max(leaf, len(short)) || descent == maxDescent {
		all := slices.Concat(deep, short)
		slices.SortFunc(all, compareOrder)
		emitInOrder(c, all, names)
		return
	}
	// Told apart by one element more than they have in common: at least one route
	// has fewer, or two differ.
	n := commonElements(deep) + 1
	var deeper []*pathGroup
	groups := map[string]*pathGroup{}
	also := slices.Clone(short)
	for _, r := range deep {
		elements := certainElements(r.Path)
		if len(elements) < n {
			also = append(also, r)
			continue
		}
		begin := "/" + strings.Join(elements[:n], "/")
		g := groups[begin]
		if g == nil {
			g = &pathGroup{hash: hash(begin)}
			groups[begin] = g
			deeper = append(deeper, g)
		}
		g.routes = append(g.routes, r)
	}
	if len(deeper) == 0 || n > maxElements {
		emitPaths(c, deep, short, maxDescent, names)
		return
	}
	slices.SortFunc(deeper, func(a, b *pathGroup) int { return cmp.Compare(a.hash, b.hash) })
	c.line("$begin%d = \"\";", n)
	c.line("if (string.regexmatch($path, '^((/[^/]*){%d})')) $begin%d = %s;", n, n, hashIn("$1"))
	few := func(groups []*pathGroup) bool { return countOf(groups) <= max(leaf, len(also)) }
	byHash(c, fmt.Sprint("$begin", n), deeper, func(g *pathGroup) string { return g.hash }, few, func(groups []*pathGroup) {
		var routes []ranked
		for _, g := range groups {
			routes = append(routes, g.routes...)
		}
		slices.SortFunc(routes, compareOrder)
		emitPaths(c, routes, also, descent+1, names)
	})
}

// pathGroup are routes whose paths begin alike.
type pathGroup struct {
	hash   string
	routes []ranked
}

func countOf(groups []*pathGroup) (routes int) {
	for _, g := range groups {
		routes += len(g.routes)
	}
	return routes
}

// maxElements bounds how many elements of a path are looked at to tell routes
// apart.
const maxElements = 200

// certainElements are the elements that each path has that p matches, at its
// beginning.
func certainElements(p model.Path) []string {
	text := p.Text
	if p.Kind == model.Pattern {
		text, _, _ = strings.Cut(text, "*")
		text = text[:max(strings.LastIndexByte(text, '/'), 0)] // the last one may go on
	}
	if text == "" {
		return nil
	}
	return strings.Split(text[1:], "/")
}

// commonElements is with how many equal elements all routes begin.
func commonElements(routes []ranked) int {
	common := certainElements(routes[0].Path)
	for _, r := range routes[1:] {
		elements := certainElements(r.Path)
		n := 0
		for n < min(len(common), len(elements)) && common[n] == elements[n] {
			n++
		}
		common = common[:n]
	}
	return len(common)
}

// emitInOrder tries routes one after another.
func emitInOrder(c *code, routes []ranked, names namer) {
	var share *model.Share
	for _, r := range routes {
		if r.share != share {
			share = r.share
			// The owner's names are lawful (readWish), so they can't end the comment.
			c.line("# Ingress %s", share.Owner)
			c.line("$rank = %s;", Quote(rank(share.Owner)))
		}
		use := fmt.Sprintf("if ($go) pool.use(%s);", Quote(names.pool(share.Owner, r.Backend)))
		if r.Path.All() {
			c.line("%s", use)
			c.line("return $rank;")
			return // it takes whatever is left
		}
		c.line("if (%s) { %s return $rank; }", condition(r.Path), use)
	}
	c.line(`return "";`)
}

// emitMain writes the rule of a listener whose routes stand in libraries. It only
// changes with what the listener is, not with Ingresses.
func emitMain(l *listener, names namer, mark string) []byte {
	c := &code{}
	c.WriteString(mark)
	fmt.Fprintf(c, `# Routes requests by host and path. Written by vtm-ingress-controller, which undoes changes.
# The routes stand in %d rule libraries, by the MD5 of the host as an Ingress has it.

`, buckets)
	all := make([]int, buckets)
	for i := range all {
		all[i] = i
		c.line("import %s as routes%d;", Quote(names.library(l.place, i)), i)
	}
	if !l.exclusive {
		c.line("import %s as rest;", Quote(names.rest(l.place)))
	}
	c.WriteString("\nsub find($name, $path, $go) {\n")
	c.depth++
	c.line("$key = %s;", hashIn("$name"))
	first := func(bucket int) string { return fmt.Sprintf("%02x", bucket*256/buckets) }
	byHash(c, "$key", all, first, func(some []int) bool { return len(some) == 1 }, func(some []int) {
		c.line("return routes%d.find($name, $key, $path, $go);", some[0])
	})
	c.depth--
	c.WriteString("}\n\n")
	emitChecks(&c.Builder)
	c.WriteString(`$host = http.getHostHeader();
$name = $host;
$rank = find($host, $path, 0);
$dot = string.find($host, ".");
if ($dot > 0) {
    $wildcard = "*" . string.skip($host, $dot);
    $other = find($wildcard, $path, 0);
    if ($other != "" && ($rank == "" || $other < $rank)) {
        $rank = $other;
        $name = $wildcard;
    }
}
if ($host != "") {
    $other = find("", $path, 0);
    if ($other != "" && ($rank == "" || $other < $rank)) {
        $rank = $other;
        $name = "";
    }
}
if ($rank != "") find($name, $path, 1);
`)
	switch {
	case !l.exclusive:
		c.WriteString("rest.use();\n" + notFound)
	case l.shares[0].granted.Default == "":
		c.WriteString(notFound)
	default:
		c.WriteString("# All else goes to the virtual server's default pool.\n")
	}
	return []byte(c.String())
}

// emitRest writes the library that uses the oldest default backend of a shared
// listener; share is nil if there is none.
func emitRest(share *model.Share, names namer, mark string) []byte {
	c := &code{}
	c.WriteString(mark)
	c.WriteString("# What no route takes. Written by vtm-ingress-controller, which undoes changes.\n\nsub use() {\n")
	c.depth++
	if share != nil {
		c.line("# The default backend of Ingress %s.", share.Owner)
		c.line("pool.use(%s);", Quote(names.pool(share.Owner, share.Default)))
	}
	c.line("return 0;")
	c.WriteString("}\n")
	return []byte(c.String())
}
