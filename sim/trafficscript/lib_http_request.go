package trafficscript

import (
	"strconv"
	"strings"
)

// httpRequestFunctions see the request in every phase and change it in request
// rules, before it is sent.
var httpRequestFunctions = append(headerFunctions("", anyPhase, inRequest, (*run).requestHeaders),
	fact("http.getHostHeader", func(r *run) value { return r.text(hostName(r.tx.Request.Host)) }),
	fact("http.getMethod", func(r *run) value { return stringValue(r.tx.Request.Method) }),
	fn("http.setMethod", 1, 1, func(r *run, a []value) value {
		if m := r.toString(a[0]); isToken(m) {
			r.tx.Request.Method = m
		} else {
			r.misuse("'%s' is no request method", oneLine(m))
		}
		return value{}
	}).in(inRequest),
	fact("http.getVersion", func(r *run) value { return stringValue(r.tx.Request.Proto) }),
	fact("http.getRawURL", func(r *run) value { return stringValue(r.tx.Request.Target) }),
	fact("http.getPath", func(r *run) value {
		path, _ := percentDecode(splitTarget(r.tx.Request.Target).path, false)
		return r.text(path)
	}),
	fact("http.getQueryString", func(r *run) value {
		query, _ := percentDecode(splitTarget(r.tx.Request.Target).query, false)
		return r.text(query)
	}),
	fact("http.getRawQueryString", func(r *run) value { return stringValue(splitTarget(r.tx.Request.Target).query) }),
	fn("http.setPath", 1, 1, setPath(func(s string) string {
		return percentEncode(s, func(c byte) bool { return isUnreserved(c) || isReserved(c) || c == '%' })
	})).in(inRequest),
	fn("http.setEscapedPath", 1, 1, setPath(func(s string) string {
		return percentEncode(s, func(c byte) bool { return c > ' ' && c != '%' })
	})).in(inRequest),
	fn("http.setRawPath", 1, 1, setPath(func(s string) string { return s })).in(inRequest),
	fn("http.setQueryString", 1, 1, setQuery(func(s string) string {
		return percentEncode(s, func(c byte) bool { return c > ' ' && c != 0x7f })
	})).in(inRequest),
	fn("http.setRawQueryString", 1, 1, setQuery(func(s string) string { return s })).in(inRequest),
	textFn("http.normalizePath", normalizePath),
	fact("http.getRequest", func(r *run) value {
		return r.text(r.requestText())
	}),
	fn("http.getBody", 0, 1, func(r *run, a []value) value { return stringValue(r.requestBody(r.intArg(a, 0, 0))) }).in(inRequest),
	fn("http.getBodyLines", 0, 1, func(r *run, a []value) value {
		return r.lines(r.requestBody(r.intArg(a, 0, 0)))
	}).in(inRequest),
	fn("http.setBody", 1, 1, func(r *run, a []value) value {
		body := r.toString(a[0])
		r.tx.Request.Body = &body
		fixLength(r.requestHeaders(), len(body))
		return value{}
	}).in(inRequest),
	fn("http.setIdempotent", 1, 1, setIdempotent).in(inRequest),
)

// requestText is the request's head with the empty line at its end.
func (r *run) requestText() string {
	req := r.tx.Request
	return req.Method + " " + req.Target + " " + req.Proto + "\r\n" + r.requestHeaders().text() + "\r\n"
}

// hostName returns a Host header's name, in lower case, without port and
// trailing dot.
func hostName(header string) string {
	host, _ := splitHostPort(header)
	return lower(strings.TrimSuffix(host, "."))
}

// target is a request target in its parts: before + path + "?" + query.
type target struct {
	before   string // scheme and authority of an absolute target
	path     string
	query    string
	hasQuery bool
}

func splitTarget(s string) target {
	var t target
	if i := strings.Index(s, "://"); i > 0 && !strings.ContainsAny(s[:i], "/?#") {
		end := len(s)
		if j := strings.IndexAny(s[i+3:], "/?"); j >= 0 {
			end = i + 3 + j
		}
		t.before, s = s[:end], s[end:]
	}
	t.path, t.query, t.hasQuery = strings.Cut(s, "?")
	if t.path == "" {
		t.path = "/"
	}
	return t
}

func (t target) String() string {
	if !t.hasQuery {
		return t.before + t.path
	}
	return t.before + t.path + "?" + t.query
}

// maxTarget bounds the request targets that rules make.
const maxTarget = 64 << 10

// setTarget changes the request line, unless a byte is in it that would end it.
func (r *run) setTarget(t target) {
	s := t.String()
	if len(s) > maxTarget {
		r.misuse("a request target of more than %d bytes", maxTarget)
		return
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			r.misuse("a request target cannot hold the byte 0x%02x: escape it", s[i])
			return
		}
	}
	r.tx.Request.Target = s
	r.form = nil
}

// setPath keeps the query unless the new path brings one.
func setPath(encode func(string) string) func(*run, []value) value {
	return func(r *run, a []value) value {
		t := splitTarget(r.tx.Request.Target)
		path, query, hasQuery := strings.Cut(encode(r.toString(a[0])), "?")
		if !strings.HasPrefix(path, "/") && path != "*" {
			path = "/" + path
		}
		t.path = path
		if hasQuery {
			t.query, t.hasQuery = query, true
		}
		if r.alloc(len(path) + len(t.query)) {
			r.setTarget(t)
		}
		return value{}
	}
}

func setQuery(encode func(string) string) func(*run, []value) value {
	return func(r *run, a []value) value {
		t := splitTarget(r.tx.Request.Target)
		t.query = encode(r.toString(a[0]))
		t.hasQuery = t.query != ""
		if r.alloc(len(t.query)) {
			r.setTarget(t)
		}
		return value{}
	}
}

// normalizePath folds "//", "/./" and "/a/../". It gives "" for a path that
// leaves the root or holds NUL.
func normalizePath(p string) string {
	if p == "" || strings.IndexByte(p, 0) >= 0 {
		return ""
	}
	rooted := p[0] == '/'
	out := make([]string, 0, 8)
	directory := false // the result ends in "/"
	for segment := range strings.SplitSeq(p, "/") {
		directory = true
		switch segment {
		case "", ".":
		case "..":
			if len(out) == 0 {
				return ""
			}
			out = out[:len(out)-1]
		default:
			directory = false
			out = append(out, segment)
		}
	}
	path := strings.Join(out, "/")
	if directory && path != "" {
		path += "/"
	}
	if rooted {
		path = "/" + path
	}
	return path
}

// requestBody returns the body's first n bytes, all for 0.
func (r *run) requestBody(n int64) string {
	if b := r.tx.Request.Body; b != nil {
		return firstBytes(*b, n)
	}
	done := r.waits()
	body, err := r.host.RequestBody(r.ctx, clamp(n, r.limits.Memory))
	done()
	return r.received("request", body, err)
}

// received checks what the Host read for the rule.
func (r *run) received(what, body string, err error) string {
	if err != nil {
		r.abort("the %s's body cannot be read: %s", what, waitError(err))
		return ""
	}
	if !r.alloc(len(body)) {
		return ""
	}
	r.buffered(len(body))
	return body
}

func firstBytes(s string, n int64) string {
	if n <= 0 {
		return s
	}
	return s[:clamp(n, len(s))]
}

// lines cuts into lines without their ends.
func (r *run) lines(s string) value {
	if s == "" {
		return arrayValue(nil)
	}
	if !r.alloc((strings.Count(s, "\n")+1)*valueSize) || !r.work(len(s)) {
		return value{}
	}
	items := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i := range items {
		items[i] = strings.TrimSuffix(items[i], "\r")
	}
	return stringsValue(items)
}

// fixLength makes the framing lines fit a body that a rule made.
func fixLength(h headers, length int) {
	h.remove("Transfer-Encoding")
	h.set("Content-Length", strconv.Itoa(length), false)
}

func setIdempotent(r *run, a []value) value {
	yes := a[0].truth()
	r.tx.Idempotent = &yes
	return value{}
}
