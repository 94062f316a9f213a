package trafficscript

import (
	"net/http"
	"strconv"
	"strings"
)

// httpResponseFunctions see and change the response, once there is one, or make
// one of their own.
var httpResponseFunctions = append(headerFunctions("Response", afterNode, inResponse, (*run).responseHeaders),
	fact("http.getResponseCode", func(r *run) value {
		if r.tx.Response == nil {
			return value{}
		}
		return intValue(int64(r.tx.Response.Code))
	}).in(afterNode),
	fn("http.setResponseCode", 1, 2, func(r *run, a []value) value {
		code, reason := r.statusCode(a[0])
		if len(a) > 1 {
			reason = oneLine(r.toString(a[1]))
		}
		if resp := r.tx.Response; resp != nil {
			resp.Code, resp.Reason = code, reason
		}
		return value{}
	}).in(inResponse),
	fact("http.getResponseVersion", func(r *run) value {
		if r.tx.Response == nil {
			return value{}
		}
		return stringValue(r.tx.Response.Proto)
	}).in(afterNode),
	fact("http.getResponse", func(r *run) value {
		return r.text(r.responseText())
	}).in(afterNode),
	fn("http.getResponseBody", 0, 1, func(r *run, a []value) value {
		return stringValue(r.responseBody(r.intArg(a, 0, 0)))
	}).in(inResponse),
	fn("http.getResponseBodyLines", 0, 1, func(r *run, a []value) value {
		return r.lines(r.responseBody(r.intArg(a, 0, 0)))
	}).in(inResponse),
	fn("http.setResponseBody", 1, 2, setResponseBody).in(inResponse),
	fn("http.sendResponse", 4, 4, sendResponse).in(inRequest|inResponse),
	fn("http.redirect", 1, 1, func(r *run, a []value) value {
		return r.answer(Answer{
			Code: 302, Reason: "Moved Temporarily",
			Header: http.Header{"Content-Type": {"text/html"}, "Location": {oneLine(r.toString(a[0]))}},
		})
	}).in(inRequest|inResponse),
	fn("http.changeSite", 1, 1, changeSite).in(inRequest),
)

// responseText is the response's head without the empty line at its end; "" when
// there is no response.
func (r *run) responseText() string {
	resp := r.tx.Response
	if resp == nil {
		return ""
	}
	reason := resp.Reason
	if reason == "" {
		reason = http.StatusText(resp.Code)
	}
	return resp.Proto + " " + strconv.Itoa(resp.Code) + " " + reason + "\r\n" + r.responseHeaders().text()
}

func (r *run) responseBody(n int64) string {
	if r.tx.Response == nil {
		return ""
	}
	if b := r.tx.Response.Body; b != nil {
		return firstBytes(*b, n)
	}
	done := r.waits()
	body, err := r.host.ResponseBody(r.ctx, clamp(n, r.limits.Memory))
	done()
	return r.received("response", body, err)
}

// setResponseBody replaces the body; a second argument is the encoding that the
// new one already has.
func setResponseBody(r *run, a []value) value {
	if r.tx.Response == nil {
		return value{}
	}
	body := r.toString(a[0])
	r.tx.Response.Body = &body
	h := r.responseHeaders()
	fixLength(h, len(body))
	h.remove("Content-Encoding")
	if encoding := oneLine(r.stringArg(a, 1)); encoding != "" {
		h.set("Content-Encoding", encoding, false)
	}
	return value{}
}

// statusCode takes 403, "403" and "403 Forbidden". What is no status of a final
// response is told and becomes 500.
func (r *run) statusCode(v value) (code int, reason string) {
	s := r.toString(v)
	number, reason, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(number)
	if err != nil || code < 200 || code > 999 {
		r.misuse("'%s' is no response code", oneLine(s))
		return 500, ""
	}
	return code, oneLine(reason)
}

// answer decides the response, and ends this rule and all later ones.
func (r *run) answer(a Answer) value {
	if r.tx.streaming.begun {
		r.streamError("a response was begun by http.stream.startResponse: no other one can be sent")
		return value{}
	}
	if r.ended == Finished {
		r.tx.Answer = &a
		r.stop(Decided)
	}
	return value{}
}

// sendResponse: code, type, body, and further header lines joined by \r\n.
func sendResponse(r *run, a []value) value {
	code, reason := r.statusCode(a[0])
	answer := Answer{Code: code, Reason: reason, Header: r.headerLines(r.toString(a[3])), Body: r.toString(a[2])}
	if contentType := oneLine(r.toString(a[1])); contentType != "" {
		answer.Header.Set("Content-Type", contentType)
	}
	return r.answer(answer)
}

// headerLines reads lines joined by \r\n, but for those that rules cannot write.
func (r *run) headerLines(text string) http.Header {
	h := make(http.Header)
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		name, text, ok := strings.Cut(line, ":")
		if !ok {
			r.misuse("'%s' is no header line", oneLine(line))
			continue
		}
		if name, ok := r.writable(strings.TrimSpace(name)); ok {
			h.Add(name, strings.TrimSpace(oneLine(text)))
		}
	}
	return h
}

// changeSite redirects to the same place of another site: [scheme://]host[:port]
// [/prefix]. What the site does not say stays: protocol, port, path and query. A
// request that is already there goes on.
func changeSite(r *run, a []value) value {
	scheme := "http"
	if r.tx.TLS != nil {
		scheme = "https"
	}
	site := oneLine(r.toString(a[0]))
	newScheme, rest, ok := strings.Cut(site, "://")
	if !ok {
		newScheme, rest = scheme, site
	}
	newScheme = lower(newScheme)
	authority, prefix, _ := strings.Cut(rest, "/")
	if authority == "" {
		r.misuse("http.changeSite: '%s' names no host", site)
		return value{}
	}
	host, port := splitHostPort(r.tx.Request.Host)
	newHost, newPort := splitHostPort(authority)
	if newPort == "" && newScheme == scheme {
		newPort = port
	}
	t := splitTarget(r.tx.Request.Target)
	t.before = ""
	path := t.path
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
		if path != prefix && !strings.HasPrefix(path, prefix+"/") {
			t.path = prefix + path
		}
	}
	same := lower(newHost) == lower(host) && newScheme == scheme &&
		usualPort(newScheme, newPort) == usualPort(scheme, port) && t.path == path
	if same {
		return value{}
	}
	if strings.Contains(newHost, ":") {
		newHost = "[" + newHost + "]"
	}
	if newPort != "" {
		newHost += ":" + newPort
	}
	return r.answer(Answer{
		Code: 301, Reason: "Moved Permanently",
		Header: http.Header{"Content-Type": {"text/html"}, "Location": {newScheme + "://" + newHost + t.String()}},
	})
}

func usualPort(scheme, port string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	}
	return "80"
}
