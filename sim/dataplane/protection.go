package dataplane

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// guard is a service protection class at run time. Connections are counted for
// the class, whichever virtual server they come to, and go on counting when its
// settings change.
type guard struct {
	d    *DataPlane
	name string

	mu          sync.Mutex // guards all below; a leaf but for events
	conf        *Protection
	allowed     []netip.Prefix
	banned      []netip.Prefix
	connections map[netip.Addr]int
	total       int // of connections
	rates       map[netip.Addr]*rateWindow
	refused     map[string]*refusals // by reason
	counts      map[string]int64     // of refusals, by key of the statistics
	last        time.Time            // when one was refused
}

// rateWindow counts what an address did since its window began.
type rateWindow struct {
	began time.Time
	count int
}

// refusals are those of one reason since the last line about them.
type refusals struct {
	count int
	told  time.Time
}

// Why a connection or request is refused, and with which status: nothing public
// says, so it is decided here.
type refusal struct {
	reason string
	status int
	key    string // of the statistics
}

var (
	refusedBanned      = &refusal{"banned", http.StatusForbidden, "refusal_ip"}
	refusedConnections = &refusal{"too many concurrent connections", http.StatusServiceUnavailable, "refusal_conc1_ip"}
	refusedTop         = &refusal{"too many concurrent connections of the ten busiest", http.StatusServiceUnavailable, "refusal_conc10_ip"}
	refusedRate        = &refusal{"too many connections in a time", http.StatusServiceUnavailable, "refusal_conn_rate"}
	refusedURL         = &refusal{"URL too long", http.StatusRequestURITooLong, "refusal_size"}
	refusedHeader      = &refusal{"header too long", http.StatusRequestHeaderFieldsTooLarge, "refusal_size"}
	refusedHeaders     = &refusal{"headers too long", http.StatusRequestHeaderFieldsTooLarge, "refusal_size"}
	refusedBody        = &refusal{"body too long", http.StatusRequestEntityTooLarge, "refusal_size"}
	refusedSyntax      = &refusal{"URL against RFC 2396", http.StatusBadRequest, "refusal_rfc2396"}
	refusedBinary      = &refusal{"binary data", http.StatusBadRequest, "refusal_binary"}
)

// maxRateWindows is how many addresses are kept before those whose window is over
// are forgotten.
const maxRateWindows = 1 << 16

// applyProtection puts classes into effect. What they count goes on. The caller
// holds d.mu.
func (d *DataPlane) applyProtection(classes map[string]*Protection) {
	for _, name := range sorted(classes) {
		conf := classes[name]
		if conf == nil {
			d.protection.Delete(name)
			continue
		}
		g := d.guard(name)
		if g == nil {
			g = &guard{d: d, name: name, connections: make(map[netip.Addr]int), rates: make(map[netip.Addr]*rateWindow), refused: make(map[string]*refusals), counts: make(map[string]int64)}
		}
		g.configure(conf)
		d.protection.Store(name, g)
	}
}

func (d *DataPlane) guard(name string) *guard {
	found, _ := d.protection.Load(name)
	g, _ := found.(*guard)
	return g
}

func (g *guard) configure(conf *Protection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conf = conf
	g.allowed = g.prefixes("allowed", conf.Allowed)
	g.banned = g.prefixes("banned", conf.Banned)
}

// prefixes understands addresses, subnets in CIDR form or with a mask, and "all".
func (g *guard) prefixes(key string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range list {
		p, err := parsePrefix(strings.TrimSpace(text))
		if err != nil {
			g.d.event(Event{Level: "WARN", Section: "protection/" + g.name, Tag: "confmod",
				Text: fmt.Sprintf("access_restriction!%s: '%s' is no address and no subnet, and is ignored", key, text)})
			continue
		}
		out = append(out, p...)
	}
	return out
}

func parsePrefix(text string) ([]netip.Prefix, error) {
	if strings.EqualFold(text, "all") {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, nil
	}
	address, length, ok := strings.Cut(text, "/")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if mask, err := netip.ParseAddr(length); err == nil && mask.Is4() && a.Is4() {
		bits := 0
		for _, b := range mask.AsSlice() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
		p, err := a.Prefix(bits)
		return []netip.Prefix{p}, err
	}
	p, err := netip.ParsePrefix(text)
	return []netip.Prefix{p.Masked()}, err
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// admitted is a connection that a guard counts.
type admitted struct {
	g    *guard
	from netip.Addr
	once sync.Once
}

// leave ends the count; nil is nobody's.
func (a *admitted) leave() {
	if a == nil {
		return
	}
	a.once.Do(func() {
		a.g.mu.Lock()
		defer a.g.mu.Unlock()
		a.g.total--
		if a.g.connections[a.from]--; a.g.connections[a.from] == 0 {
			delete(a.g.connections, a.from)
		}
	})
}

// admit judges a new connection and counts it until leave. requests tells that
// each of its requests will be judged by rate, so that the connection is not. A
// refusal is told in the event log; nil lets the connection in.
func (g *guard) admit(from netip.Addr, requests bool) (*admitted, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from = from.Unmap().WithZone("")
	var why *refusal
	if g.conf.Enabled {
		why = g.judge(from, requests)
	}
	if why != nil && g.refuse(why, from) {
		return nil, why
	}
	g.connections[from]++
	g.total++
	return &admitted{g: g, from: from}, nil
}

// judge finds out why a connection is refused. g.mu is held.
func (g *guard) judge(from netip.Addr, requests bool) *refusal {
	c := g.conf
	switch {
	case within(g.allowed, from):
		return nil
	case within(g.banned, from):
		return refusedBanned
	}
	// max_1 and max_10 are both off without min_connections, if they count by
	// process.
	if own := g.connections[from] + 1; c.Max1 > 0 && (!c.PerProcess || c.MinConnections > 0) {
		if own > c.Max1 {
			return refusedConnections
		}
		if c.Max10 > 0 && c.PerProcess && own > c.MinConnections && g.total >= c.Max10 && g.busiest(from)+1 > c.Max10 {
			return refusedTop
		}
	}
	if !requests && g.tooFast(from) {
		return refusedRate
	}
	return nil
}

// busiest is how many connections the ten busiest addresses have, if one more of
// this address counts among them. g.mu is held.
func (g *guard) busiest(from netip.Addr) int {
	counts := make([]int, 0, len(g.connections)+1)
	for a, n := range g.connections {
		if a != from {
			counts = append(counts, n)
		}
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	own := g.connections[from]
	if len(counts) >= 10 && counts[9] > own {
		return 0 // it is not one of them
	}
	sum := own
	for _, n := range counts[:min(len(counts), 9)] {
		sum += n
	}
	return sum
}

// tooFast counts a connection or request against the rate. g.mu is held.
func (g *guard) tooFast(from netip.Addr) bool {
	c := g.conf
	if c.MaxRate <= 0 {
		return false
	}
	now := g.d.now()
	w := g.rates[from]
	if w == nil || now.Sub(w.began) >= c.RateTimer {
		if w == nil && len(g.rates) >= maxRateWindows {
			for a, w := range g.rates {
				if now.Sub(w.began) >= c.RateTimer {
					delete(g.rates, a)
				}
			}
		}
		w = &rateWindow{began: now}
		g.rates[from] = w
	}
	w.count++
	return w.count > c.MaxRate
}

// refuse tells of a refusal, at most once in log_time for each reason, and
// whether it takes effect. g.mu is held.
func (g *guard) refuse(why *refusal, from netip.Addr) bool {
	r := g.refused[why.reason]
	if r == nil {
		r = &refusals{}
		g.refused[why.reason] = r
	}
	r.count++
	now := g.d.now()
	if !g.conf.Testing {
		g.counts[why.key]++
		g.last = now
	}
	if g.conf.LogTime > 0 && (r.told.IsZero() || now.Sub(r.told) >= g.conf.LogTime) {
		did := "refused"
		if g.conf.Testing {
			did = "would have refused"
		}
		g.d.event(Event{Level: "WARN", Section: "protection/" + g.name, Tag: "triggersummary",
			Text: fmt.Sprintf("Service protection %s %d connections or requests: %s (the last from %s)", did, r.count, why.reason, from)})
		r.count, r.told = 0, now
	}
	return !g.conf.Testing
}

// check judges a request by rate and by what HTTP allows; nil lets it pass.
func (g *guard) check(from netip.Addr, r *http.Request) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.conf.Enabled {
		return nil
	}
	from = from.Unmap().WithZone("")
	var why *refusal
	if !within(g.allowed, from) && g.tooFast(from) {
		why = refusedRate
	} else {
		why = g.conf.judgeHTTP(r)
	}
	if why != nil && g.refuse(why, from) {
		return why
	}
	return nil
}

func (c *Protection) judgeHTTP(r *http.Request) *refusal {
	if c.MaxURLLength > 0 && len(r.RequestURI) > c.MaxURLLength {
		return refusedURL
	}
	if c.CheckRFC2396 && !validURI(r.RequestURI) {
		return refusedSyntax
	}
	if c.RejectBinary {
		decoded, err := url.PathUnescape(r.RequestURI)
		if err != nil {
			decoded = r.RequestURI
		}
		if hasBinary(decoded) || hasBinary(r.Host) {
			return refusedBinary
		}
	}
	total := len("Host: ") + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			length := len(name) + len(": ") + len(v)
			total += length + len("\r\n")
			switch {
			case c.MaxHeaderLength > 0 && length > c.MaxHeaderLength:
				return refusedHeader
			case c.RejectBinary && hasBinary(v):
				return refusedBinary
			}
		}
	}
	switch {
	case c.MaxRequestLength > 0 && total > c.MaxRequestLength:
		return refusedHeaders
	case c.MaxBodyLength > 0 && r.ContentLength > int64(c.MaxBodyLength):
		return refusedBody
	}
	return nil
}

func hasBinary(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f })
}

// validURI tells whether all characters of a request target are those of RFC
// 2396, section 2, and its escapes are.
func validURI(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.!~*'();/?:@&=+$,", c) >= 0:
		case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) && hexDigit(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// bodyLimit is how long a body without a length may be; 0: any length.
func (g *guard) bodyLimit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.conf.Enabled || g.conf.Testing {
		return 0
	}
	return g.conf.MaxBodyLength
}

// clientGuard is what a guard says of a client's connection.
type clientGuard struct {
	admitted *admitted
	refused  *refusal // its requests are answered so
}

var errRefused = errors.New("the connection is refused by a service protection class")

// guardOf is the class of a virtual server, nil if it has none.
func (v *vserver) guardOf(conf *serverConf) *guard {
	if conf.ProtectionClass == "" {
		return nil
	}
	return v.d.guard(conf.ProtectionClass)
}

// admit judges a new connection of the virtual server; false: it is to be closed.
// A refused client of HTTP is let in to be told, if its class says so.
func (c *client) admit(conf *serverConf) bool {
	g := c.server.guardOf(conf)
	if g == nil {
		return true
	}
	isHTTP := conf.mode == modeHTTP
	c.admitted, c.refused = g.admit(addrPort(c.RemoteAddr()).Addr(), isHTTP)
	return c.refused == nil || isHTTP && g.answers()
}

func (g *guard) answers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conf.SendErrorPage
}

// protect judges a request; true when it was answered or its connection dropped.
func (t *transaction) protect() bool {
	g := t.v.guardOf(t.conf)
	if g == nil {
		return false
	}
	if limit := g.bodyLimit(); limit > 0 && t.body != nil && t.r.ContentLength < 0 {
		from := addrPort(t.client.RemoteAddr()).Addr()
		t.body.src = &boundedBody{src: t.body.src, left: int64(limit), told: func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.refuse(refusedBody, from)
		}}
	}
	why := t.client.refused
	if why == nil {
		why = g.check(addrPort(t.client.RemoteAddr()).Addr(), t.r)
	}
	if why == nil {
		return false
	}
	if !g.answers() {
		return t.drop()
	}
	t.errorPage(why.status)
	return true
}

// guardRule is the rule that runs before those of the virtual server; "" for none.
func (t *transaction) guardRule() string {
	g := t.v.guardOf(t.conf)
	if g == nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.conf.Enabled {
		return ""
	}
	return g.conf.Rule
}

// boundedBody fails when a request's body turns out longer than its class allows.
type boundedBody struct {
	src  io.Reader
	left int64
	told func()
}

var errBodyRefused = errors.New("the request's body is longer than its service protection class allows")

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One more byte is one too many.
		n, err := b.src.Read(p[:min(len(p), 1)])
		if n == 0 {
			return 0, err
		}
		b.told()
		return 0, errBodyRefused
	}
	n, err := b.src.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
