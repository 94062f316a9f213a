package dataplane

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// passing is what a request needs on its way to a node, and nobody after it.
type passing struct {
	url   url.URL // of the first try
	trace httptrace.ClientTrace

	mu      sync.Mutex // guards settled, and the client's headers until it is set
	settled bool       // the response or its failure is there: the node's interim ones come too late
}

var errUnasked = errors.New("the node switched to another protocol unasked")

// forward sends the request to a node and the response to the client. The two
// connections have their own ends, so that what is of a connection does not pass
// (RFC 9110 7.6.1). Only what asks for another protocol goes through the standard
// library's proxy: that one copies and looks up more than a request needs.
func (t *transaction) forward() {
	if asksUpgrade(t.r.Header) && t.upgrades(t.r.Header) {
		t.forwardUpgrade()
		return
	}
	t.passing.url = *t.r.URL
	t.passing.trace.Got1xxResponse = t.interim
	out := t.r.WithContext(httptrace.WithClientTrace(t.ctx, &t.passing.trace))
	out.URL, out.Close = &t.passing.url, false
	out.Header = make(http.Header, len(t.r.Header)+4)
	for name, values := range t.r.Header {
		if !hopByHop(name) {
			out.Header[name] = values
		}
	}
	dropNamed(out.Header, t.r.Header["Connection"])
	if httpguts.HeaderValuesContainsToken(t.r.Header["Te"], "trailers") {
		out.Header["Te"] = []string{"trailers"}
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // not the standard library's
	}
	t.rewrite(t.r, out)
	res, err := t.RoundTrip(out)
	t.passing.mu.Lock()
	t.passing.settled = true
	t.passing.mu.Unlock()
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close()
		err = errUnasked
	}
	if err != nil {
		t.proxyError(err)
		return
	}
	t.respond(res)
}

// respond sends a node's response to the client.
func (t *transaction) respond(res *http.Response) {
	dropNamed(res.Header, res.Header["Connection"])
	_ = t.modify(res)
	h := t.w.Header()
	for name, values := range res.Header {
		if hopByHop(name) {
			continue
		}
		if before := h[name]; len(before) > 0 {
			values = append(before[:len(before):len(before)], values...)
		}
		h[name] = values
	}
	announced := len(res.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(sorted(res.Trailer), ", ")}
	}
	t.w.WriteHeader(res.StatusCode)
	if !t.copyBody(res) {
		res.Body.Close()
		panic(http.ErrAbortHandler) // the client must see that it is cut off
	}
	res.Body.Close() // the trailer is complete after it
	if len(res.Trailer) == 0 {
		return
	}
	// Without a length: net/http would count that of a short body itself.
	_ = http.NewResponseController(t.w).Flush()
	for name, values := range res.Trailer {
		if len(res.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], values...)
	}
}

// copyBody tells whether the response's body reached the client's connection.
func (t *transaction) copyBody(res *http.Response) bool {
	if res.Body == http.NoBody {
		return true
	}
	piece := t.v.d.buffers.Get()
	defer t.v.d.buffers.Put(piece)
	for {
		n, err := res.Body.Read(piece)
		if n > 0 {
			if _, err := t.w.Write(piece[:n]); err != nil {
				// Its own end is not worth a line.
				if why := context.Cause(t.ctx); errors.Is(why, errIdle) || errors.Is(why, errTooLong) {
					t.tell(why)
				}
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// interim passes on a response that goes before the last one, such as 103. Called by
// the transport's goroutine, maybe when the request is over.
func (t *transaction) interim(code int, header textproto.MIMEHeader) error {
	t.passing.mu.Lock()
	defer t.passing.mu.Unlock()
	if t.passing.settled {
		return nil
	}
	h := t.w.Header()
	for name, values := range header {
		h[name] = append(h[name], values...)
	}
	t.w.WriteHeader(code)
	clear(h)
	return nil
}

// forwardUpgrade is forward for requests that ask for another protocol.
func (t *transaction) forwardUpgrade() {
	proxy := httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { t.rewrite(p.In, p.Out) },
		Transport:      t,
		ModifyResponse: t.modify,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { t.proxyError(err) },
		BufferPool:     &t.v.d.buffers,
		ErrorLog:       t.v.d.proxyLog,
	}
	proxy.ServeHTTP(t.w, t.r)
}

func asksUpgrade(h http.Header) bool {
	return len(h["Upgrade"]) > 0 && httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade")
}

// hopByHop tells whether a field, in canonical form, is of one connection.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// dropNamed removes the fields that Connection names.
func dropNamed(h http.Header, connection []string) {
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
}
