package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"vtm-ingress/sim/trafficscript"
)

// discard is the pool that drops connections.
const discard = "discard"

// transaction is one request with its response. It belongs to the goroutine of
// its handler, except where a field says otherwise.
type transaction struct {
	v      *vserver
	conf   *serverConf // of the moment when the request came
	client *client
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	cancel context.CancelCauseFunc // of ctx alone; nil: the connection's is enough

	host   string // the Host header as the client sent it, for Location
	body   *bodySource
	script *trafficscript.Transaction // nil when there are no rules
	number int                        // of the request on its connection, from 1
	random io.Reader
	// answered is the response that the response rules see.
	answered *http.Response
	decoded  io.Reader // its body, once a rule streams it
	passing  passing

	route   *route
	own     route  // what route points to, of HTTP
	node    *node  // that has the request now
	by      origin // of the response that the client gets
	retries int    // after request.retry and failed tries
	again   int    // by request.retry alone
	started time.Time
	why     error // why it was not completed; nil: it was
	dropped bool

	response responseBody
	watched  bool // by the client's watchdog, or by who runs completion rules
	// Read by the watchdog.
	activity   atomic.Int64 // Unix time in ns of the last data, either way
	responding atomic.Bool  // the response has begun
	over       bool         // answered in full, not cut off
}

var (
	errNoNode    = errors.New("no node is available")
	errNoReply   = errors.New("the node did not reply in time")
	errIdle      = errors.New("no data was received in time")
	errTooLong   = errors.New("the transaction took too long")
	errDropped   = errors.New("the connection is discarded")
	errCloseWith = errors.New("the connection is closed by a rule")
	errBody      = errors.New("the request's body could not be read")
)

// ServeHTTP answers one request of a client.
func (v *vserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(clientKey{}).(*client)
	if r.ProtoMajor >= 2 {
		// Streams are served by goroutines that may outlive their connection.
		c.gen.clients.join()
		defer c.gen.clients.leave()
	}
	defer func() {
		if c.hijacked.Load() {
			c.end()
		}
	}()
	v.countRequest(c, r.ProtoMajor)
	if c.http != nil {
		c.http.serving.Store(true)
		defer c.http.serving.Store(false)
	}
	defer v.d.stats.add(gTransactions, 1)
	c.busy.Add(1)
	defer func() {
		c.fresh.Store(false)
		c.busy.Add(-1)
	}()
	t := &transaction{v: v, conf: v.conf.Load(), client: c, w: w, r: r, ctx: r.Context(), host: r.Host, number: int(c.requests.Add(1)), started: v.d.now()}
	if c.http == nil {
		t.cancelAlone()
	}
	defer t.end()
	if r.ContentLength != 0 {
		t.body = newBodySource(r.Body, t.conf.clientBuffer())
		t.body.came = func() { t.moved() }
		// A node may answer before it has the whole body. HTTP/2 always can.
		_ = http.NewResponseController(w).EnableFullDuplex()
		t.watch()
	}
	if r.Method == http.MethodConnect {
		// A proxy for clients' own connections is not what a virtual server is.
		t.errorPage(http.StatusMethodNotAllowed)
	} else {
		t.serve()
	}
	t.over = true
}

// cancelAlone gives the transaction a context of its own: others on the connection
// go on, or come later. HTTP/1 mostly saves it: whatever ends the one request under
// way ends the connection, too.
func (t *transaction) cancelAlone() {
	t.ctx, t.cancel = context.WithCancelCause(t.ctx)
	t.r = t.r.WithContext(t.ctx)
}

// serve runs the rules and, unless they answer, asks a node.
func (t *transaction) serve() {
	if t.protect() {
		return
	}
	if len(t.conf.requestRules)+len(t.conf.responseRules)+len(t.conf.completionRules) > 0 || t.guardRule() != "" {
		t.prepareScript()
	}
	if t.requestRules() {
		return
	}
	t.limitDuration()
	t.forward()
}

// end releases all that the transaction holds.
func (t *transaction) end() {
	t.completionRules()
	t.client.heed(t.script)
	if t.node != nil {
		t.node.end()
	}
	if t.body != nil {
		t.body.finish(func() {
			control := http.NewResponseController(t.w)
			if t.over && t.r.ProtoMajor < 2 {
				// The rest of the body is on its way: the connection can serve on. If
				// it never comes, the watcher ends the wait.
				_ = control.Flush()
			} else {
				_ = control.SetReadDeadline(t.v.d.now())
			}
		})
	}
	if t.watched {
		t.unwatch()
	}
	if t.cancel != nil {
		t.cancel(nil)
	}
}

// requestRules runs the request rules and carries out what they decided; true
// when that was the answer.
func (t *transaction) requestRules() bool {
	rules := t.conf.requestRules
	if first := t.guardRule(); first != "" {
		rules = append([]string{first}, rules...)
	}
	if len(rules) == 0 {
		return t.conf.Pool == discard && t.drop()
	}
	t.runRules(t.ctx, rules)
	s := t.script
	switch {
	case s.Streaming():
		t.endStream()
		return true
	case s.Discard || s.Pool == discard:
		return t.drop()
	case s.Close != nil:
		t.closeWith(*s.Close)
		return true
	case len(s.Interim) > 0 && s.Answer == nil:
		// Raw bytes in place of a response: nobody can tell where they end.
		t.closeWith(strings.Join(s.Interim, ""))
		return true
	case s.Answer != nil:
		t.v.stats.inc(vsDirectReplies)
		t.answer(s.Answer)
		return true
	case s.Pool == "" && t.conf.Pool == discard:
		return t.drop()
	}
	return !t.takeRequest()
}

// takeRequest puts what the rules made of the request into effect; false when it
// cannot be sent any more, and the client was told so.
func (t *transaction) takeRequest() bool {
	q := t.script.Request
	t.r = t.r.WithContext(t.ctx) // the server goes by its own
	t.r.Method, t.r.Host = q.Method, q.Host
	if q.Target != t.r.RequestURI {
		u, err := parseTarget(q.Target)
		if err != nil {
			t.v.d.options.Log.Debug("a rule made a request target that cannot be sent", "virtual server", t.v.name, "error", err)
			t.errorPage(http.StatusInternalServerError)
			return false
		}
		t.r.URL = u
	}
	if q.Body != nil {
		t.body = newBodySource(strings.NewReader(*q.Body), len(*q.Body))
		t.r.ContentLength = int64(len(*q.Body))
		t.r.TransferEncoding = nil
		t.r.Trailer = nil
	}
	ok := httpguts.ValidHeaderFieldName(q.Method)
	for name, values := range t.r.Header {
		ok = ok && httpguts.ValidHeaderFieldName(name)
		for _, v := range values {
			ok = ok && httpguts.ValidHeaderFieldValue(v)
		}
	}
	if !ok {
		t.errorPage(http.StatusInternalServerError)
	}
	return ok
}

// parseTarget parses a request target that a rule may have made of anything. What
// would end the request line is escaped.
func parseTarget(target string) (*url.URL, error) {
	if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		var b strings.Builder
		for i := range len(target) {
			if c := target[i]; c <= ' ' || c == 0x7f {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		target = b.String()
	}
	u, err := url.ParseRequestURI(target)
	if err == nil {
		if !strings.HasPrefix(target, "/") && target != "*" && u.Host == "" {
			return nil, errors.New("a request target is a path, an absolute URL or *")
		}
		return u, nil
	}
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return nil, err
	}
	// An escape that is none: the node gets it as it is.
	path, query, asked := strings.Cut(target, "?")
	return &url.URL{Opaque: path, RawQuery: query, ForceQuery: asked && query == ""}, nil
}

// limitDuration ends the transaction after max_transaction_duration.
func (t *transaction) limitDuration() {
	limit := t.conf.MaxTransactionDuration
	if t.script != nil && t.script.Overrides.MaxTransactionDuration > 0 {
		limit = t.script.Overrides.MaxTransactionDuration
	}
	if t.script != nil && t.script.Overrides.Timeout > 0 {
		limit = shorter(limit, t.script.Overrides.Timeout)
	}
	if limit <= 0 {
		return
	}
	limit = max(limit-t.v.d.now().Sub(t.started), 1)
	if t.cancel == nil {
		t.cancelAlone() // the limit may be reached when the transaction has just ended
	}
	t.v.d.tasks.spawn(func() {
		if sleep(t.ctx, t.v.d.options.World.Clock(), limit) {
			t.abort(errTooLong)
		}
	})
}

// abort ends the transaction from another goroutine: what waits for the node,
// and what waits for the client.
func (t *transaction) abort(why error) {
	switch why {
	case errIdle:
		t.v.stats.inc(vsDataTimedOut)
	case errTooLong:
		t.v.stats.inc(vsMaxDurationTimedOut)
	}
	if t.cancel != nil {
		t.cancel(why)
	} else {
		t.client.cancel(why)
	}
	control := http.NewResponseController(t.w)
	now := t.v.d.now()
	_ = control.SetReadDeadline(now)
	if t.responding.Load() {
		_ = control.SetWriteDeadline(now)
	}
}

// drop ends the connection without a word.
func (t *transaction) drop() bool {
	t.dropped = true
	t.v.stats.inc(vsDiscard)
	panic(http.ErrAbortHandler)
}

// closeWith sends raw bytes and closes, for connection.close.
func (t *transaction) closeWith(data string) {
	conn, _, err := http.NewResponseController(t.w).Hijack()
	if err != nil { // HTTP/2 has no raw bytes
		t.drop()
	}
	defer conn.Close()
	_ = conn.SetDeadline(t.v.d.now().Add(max(t.conf.Timeout, time.Second)))
	_, _ = io.WriteString(conn, data)
}

// answer sends a response that a rule made.
func (t *transaction) answer(a *trafficscript.Answer) {
	if a.Code < 200 || a.Code > 999 {
		t.errorPage(http.StatusInternalServerError)
		return
	}
	h := t.w.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	t.setCookies(h)
	t.sees(a.Code, a.Reason, h)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // not guessed
	}
	if a.Code != http.StatusNoContent && a.Code != http.StatusNotModified {
		h.Set("Content-Length", itoa(len(a.Body)))
	}
	t.keepalive()
	t.setReason(a.Code, a.Reason)
	t.v.stats.response(a.Code, generated)
	t.w.WriteHeader(a.Code)
	_, _ = io.WriteString(t.w, a.Body)
}

// keepalive says that the connection ends where the virtual server wants that.
func (t *transaction) keepalive() {
	if !t.conf.Keepalive && t.r.ProtoMajor < 2 {
		t.w.Header().Set("Connection", "close")
	}
}

// errorPage answers with the traffic manager's own page.
func (t *transaction) errorPage(code int) {
	h := t.w.Header()
	clear(h)
	if code == http.StatusBadRequest || code == http.StatusRequestTimeout || t.ctx.Err() != nil {
		// The rest of the request may still come, or it was cut off.
		h.Set("Connection", "close")
	}
	page := t.v.page(t.conf, code)
	h.Set("Content-Type", page.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", itoa(len(page.body)))
	t.keepalive()
	t.setCookies(h)
	t.sees(code, "", h)
	t.v.stats.response(code, generated)
	t.w.WriteHeader(code)
	if t.r.Method != http.MethodHead {
		_, _ = io.WriteString(t.w, page.body)
	}
}

// proxyError answers a request that no node answered.
func (t *transaction) proxyError(err error) {
	if t.client.hijacked.Load() {
		return // an upgraded connection that ended
	}
	t.v.d.options.Log.Debug("request failed", "virtual server", t.v.name, "error", err)
	if cause := context.Cause(t.ctx); cause != nil && t.ctx.Err() != nil {
		err = cause
	}
	t.why = err
	if !errors.Is(err, errStreamed) && !errors.Is(err, errDropped) && !errors.Is(err, errCloseWith) && !errors.Is(err, context.Canceled) {
		t.tell(err)
	}
	switch {
	case errors.Is(err, errStreamed):
		t.why = nil
	case errors.Is(err, errDropped):
		t.drop()
	case errors.Is(err, errCloseWith):
		t.closeWith(*t.script.Close)
	case errors.Is(err, errNoNode):
		t.v.stats.inc(vsConnectionFailures)
		t.errorPage(http.StatusServiceUnavailable)
	case errors.Is(err, errNoReply), errors.Is(err, errTooLong):
		t.v.stats.inc(vsConnectionFailures)
		t.errorPage(http.StatusGatewayTimeout)
	case errors.Is(err, errIdle):
		t.errorPage(http.StatusRequestTimeout)
	case errors.Is(err, errBody):
		t.v.stats.inc(vsConnectionErrors)
		t.errorPage(http.StatusBadRequest)
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the client has gone
	default:
		t.errorPage(http.StatusInternalServerError)
	}
}

// buffers are those through which response bodies pass, of 32 KiB unless size says
// another number of bytes.
type buffers struct {
	pool sync.Pool
	size int
}

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, or(b.size, 32<<10))
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
