package trafficscript

import (
	"net/http"
	"sort"
	"strings"
)

// headers is one message's header lines, as the functions see them: with Host,
// without what the traffic manager keeps to itself.
type headers struct {
	h    http.Header
	host *string // the Host line; nil in responses
}

func (r *run) requestHeaders() headers {
	req := r.tx.Request
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	return headers{req.Header, &req.Host}
}

func (r *run) responseHeaders() headers {
	resp := r.tx.Response
	if resp == nil { // a completed transaction without response
		return headers{h: make(http.Header)}
	}
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	return headers{h: resp.Header}
}

// managed lines are the traffic manager's own: they frame the message, and a
// rule that could change them could make two requests of one.
func managed(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Upgrade", "Keep-Alive", "Te":
		return true
	}
	return false
}

func (h headers) isHost(name string) bool { return h.host != nil && name == "Host" }

// values returns the lines of a canonical name.
func (h headers) values(name string) []string {
	if h.isHost(name) {
		if *h.host == "" {
			return nil
		}
		return []string{*h.host}
	}
	return h.h[name]
}

// get joins repeated lines as RFC 9110, section 5.3, allows.
func (h headers) get(name string) string {
	values := h.values(http.CanonicalHeaderKey(name))
	switch len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	}
	sep := ", "
	if strings.EqualFold(name, "Cookie") {
		sep = "; "
	}
	return strings.Join(values, sep)
}

// names returns the canonical names: Host first, the others sorted.
func (h headers) names() []string {
	names := make([]string, 0, len(h.h)+1)
	for name := range h.h {
		if !h.isHost(name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	if h.host != nil && *h.host != "" {
		names = append([]string{"Host"}, names...)
	}
	return names
}

// text returns all lines, each with its \r\n.
func (h headers) text() string {
	var b strings.Builder
	for _, name := range h.names() {
		for _, v := range h.values(name) {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	return b.String()
}

// set replaces a line, or with add makes one more.
func (h headers) set(name, value string, add bool) {
	if h.isHost(name) {
		*h.host = value
		return
	}
	if add {
		h.h[name] = append(h.h[name], value)
	} else {
		h.h[name] = []string{value}
	}
}

func (h headers) remove(name string) {
	if h.isHost(name) {
		*h.host = ""
		return
	}
	delete(h.h, name)
}

// keep removes all lines but those named, and but the managed ones.
func (h headers) keep(names []string) {
	kept := make(map[string]bool)
	for _, n := range names {
		kept[http.CanonicalHeaderKey(n)] = true
	}
	for _, n := range h.names() {
		if !kept[n] && !managed(n) && !h.isHost(n) {
			h.remove(n)
		}
	}
}

// isToken is RFC 9110, section 5.6.2: what a header name or method may be.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && (c == 0 || strings.IndexByte("!#$%&'*+-.^`|~", c) < 0) {
			return false
		}
	}
	return s != ""
}

// oneLine returns s without what would begin a new header line.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(s)
}

// writable returns the canonical name of a header that a rule may change. It
// warns about names that no message can hold.
func (r *run) writable(name string) (string, bool) {
	if !isToken(name) {
		r.misuse("'%s' is no header name", oneLine(name))
		return "", false
	}
	name = http.CanonicalHeaderKey(name)
	return name, !managed(name)
}

// headerFunctions are the functions on header lines that requests and responses
// have alike; the format has %s where responses say Response.
func headerFunctions(infix string, readable, changeable phases, of func(*run) headers) []function {
	name := func(before, after string) string { return "http." + before + infix + after }
	lines := func(r *run, a []value) (headers, string) { return of(r), r.toString(a[0]) }
	exists := "http.headerExists"
	if infix != "" {
		exists = "http.responseHeaderExists"
	}
	return []function{
		fn(name("get", "Header"), 1, 1, func(r *run, a []value) value {
			h, n := lines(r, a)
			return r.text(h.get(n))
		}).in(readable),
		fn(exists, 1, 1, func(r *run, a []value) value {
			h, n := lines(r, a)
			return boolValue(len(h.values(http.CanonicalHeaderKey(n))) > 0)
		}).in(readable),
		fact(name("get", "Headers"), func(r *run) value {
			h, names := of(r), of(r).names()
			if !r.alloc(len(names) * valueSize) {
				return value{}
			}
			a := &aggregate{}
			for _, n := range names {
				a.put(n, stringValue(h.get(n)))
			}
			return aggregateValue(a)
		}).in(readable),
		fact(name("list", "HeaderNames"), func(r *run) value { return r.list(of(r).names()) }).in(readable),
		fact(name("get", "HeaderNames"), func(r *run) value { return r.text(strings.Join(of(r).names(), " ")) }).
			in(readable).replacedBy(name("list", "HeaderNames")),
		fn(name("set", "Header"), 2, 2, func(r *run, a []value) value {
			h, n := lines(r, a)
			if n, ok := r.writable(n); ok {
				h.set(n, oneLine(r.toString(a[1])), false)
			}
			return value{}
		}).in(changeable),
		fn(name("add", "Header"), 2, 2, func(r *run, a []value) value {
			h, n := lines(r, a)
			if n, ok := r.writable(n); ok {
				h.set(n, oneLine(r.toString(a[1])), true)
			}
			return value{}
		}).in(changeable),
		fn(name("remove", "Header"), 1, 1, func(r *run, a []value) value {
			h, n := lines(r, a)
			if n, ok := r.writable(n); ok {
				h.remove(n)
			}
			return value{}
		}).in(changeable),
		fn(map[bool]string{true: "http.scrubRequestHeaders", false: "http.scrubResponseHeaders"}[infix == ""], 1, -1,
			func(r *run, a []value) value {
				var names []string
				for i := range a { // one string may hold several names
					names = append(names, strings.Fields(r.toString(a[i]))...)
				}
				of(r).keep(names)
				return value{}
			}).in(changeable),
	}
}
