package trafficscript

import "strings"

// cookieFunctions work on the lines Cookie and Set-Cookie. Names of cookies
// regard case.
var cookieFunctions = []function{
	fn("http.getCookie", 1, 1, getCookie),
	fn("http.cookie", 1, 1, getCookie).replacedBy("http.getCookie"),
	fact("http.getCookies", func(r *run) value {
		a := &aggregate{}
		for _, c := range r.cookies() {
			if _, twice := a.fields[c.name]; !twice && r.alloc(valueSize) {
				a.put(c.name, stringValue(c.value))
			}
		}
		return aggregateValue(a)
	}),
	fn("http.setCookie", 2, 2, func(r *run, a []value) value {
		name, val := r.toString(a[0]), cookieText(r.toString(a[1]))
		if !isToken(name) {
			r.misuse("'%s' is no cookie name", oneLine(name))
			return value{}
		}
		cookies := r.cookies()
		found := false
		for i := range cookies {
			if cookies[i].name == name {
				cookies[i].value = val
				found = true
			}
		}
		if !found {
			cookies = append(cookies, cookie{name, val})
		}
		r.writeCookies(cookies)
		return value{}
	}).in(inRequest),
	fn("http.removeCookie", 1, 1, func(r *run, a []value) value {
		name := r.toString(a[0])
		var kept []cookie
		for _, c := range r.cookies() {
			if c.name != name {
				kept = append(kept, c)
			}
		}
		r.writeCookies(kept)
		return value{}
	}).in(inRequest),

	fn("http.getResponseCookie", 1, 1, func(r *run, a []value) value {
		name := r.toString(a[0])
		for _, line := range r.setCookieLines() {
			if c, _ := parseSetCookie(line); c.name == name {
				return r.text(c.value)
			}
		}
		return value{}
	}).in(afterNode),
	fact("http.getResponseCookies", func(r *run) value {
		a := &aggregate{}
		for _, line := range r.setCookieLines() {
			if c, _ := parseSetCookie(line); c.name != "" && r.alloc(valueSize) {
				a.put(c.name, stringValue(c.value))
			}
		}
		return aggregateValue(a)
	}).in(afterNode),
	fn("http.setResponseCookie", 2, 3, setResponseCookie).in(inRequest | inResponse),
	fn("http.removeResponseCookie", 1, 1, func(r *run, a []value) value {
		name := r.toString(a[0])
		var kept []string
		for _, line := range r.setCookieLines() {
			if c, _ := parseSetCookie(line); c.name != name {
				kept = append(kept, line)
			}
		}
		r.writeSetCookies(kept)
		return value{}
	}).in(inResponse),
}

type cookie struct{ name, value string }

// cookieText returns s without what would end a cookie's value.
func cookieText(s string) string { return strings.ReplaceAll(oneLine(s), ";", "%3B") }

func parseCookies(header string) []cookie {
	var cookies []cookie
	for part := range strings.SplitSeq(header, ";") {
		name, val, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); ok && name != "" {
			cookies = append(cookies, cookie{name, strings.Trim(val, " \t")})
		}
	}
	return cookies
}

// parseSetCookie returns the cookie and its options: "path=/; secure".
func parseSetCookie(line string) (c cookie, options string) {
	pair, options, _ := strings.Cut(line, ";")
	name, val, _ := strings.Cut(pair, "=")
	return cookie{strings.TrimSpace(name), strings.TrimSpace(val)}, strings.TrimSpace(options)
}

// cookies returns the request's.
func (r *run) cookies() []cookie {
	line := r.requestHeaders().get("Cookie")
	if !r.work(len(line)) {
		return nil
	}
	return parseCookies(line)
}

// setCookieLines returns the response's lines Set-Cookie.
func (r *run) setCookieLines() []string {
	lines := r.responseHeaders().values("Set-Cookie")
	size := 0
	for _, line := range lines {
		size += len(line) + 16
	}
	if !r.work(size) {
		return nil
	}
	return lines
}

func getCookie(r *run, a []value) value {
	name := r.toString(a[0])
	for _, c := range r.cookies() {
		if c.name == name {
			return r.text(c.value)
		}
	}
	return value{}
}

func (r *run) writeCookies(cookies []cookie) {
	h := r.requestHeaders()
	if len(cookies) == 0 {
		h.remove("Cookie")
		return
	}
	parts := make([]string, len(cookies))
	for i, c := range cookies {
		parts[i] = c.name + "=" + c.value
	}
	line := strings.Join(parts, "; ")
	if r.alloc(len(line)) {
		h.set("Cookie", line, false)
	}
}

func (r *run) writeSetCookies(lines []string) {
	h := r.responseHeaders()
	h.remove("Set-Cookie")
	for _, line := range lines {
		h.set("Set-Cookie", line, true)
	}
}

// setResponseCookie replaces the cookie of this name, and keeps its options when
// none are given. In request rules it waits for the response.
func setResponseCookie(r *run, a []value) value {
	name, val, options := r.toString(a[0]), cookieText(r.toString(a[1])), oneLine(r.stringArg(a, 2))
	if !isToken(name) {
		r.misuse("'%s' is no cookie name", oneLine(name))
		return value{}
	}
	waiting := r.tx.Phase == RequestPhase
	lines := r.tx.SetCookies
	if !waiting {
		lines = r.setCookieLines()
	}
	var kept []string
	for _, line := range lines {
		c, old := parseSetCookie(line)
		if c.name != name {
			kept = append(kept, line)
		} else if options == "" {
			options = old
		}
	}
	line := name + "=" + val
	if options != "" {
		line += "; " + options
	}
	if !r.alloc(len(line)) {
		return value{}
	}
	kept = append(kept, line)
	if waiting {
		r.tx.SetCookies = kept
	} else {
		r.writeSetCookies(kept)
	}
	return value{}
}
