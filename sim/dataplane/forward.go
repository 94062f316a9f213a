package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// clientState is what a client connection keeps between its requests.
type clientState struct {
	requests atomic.Int64

	mu         sync.Mutex
	transports map[*node]*nodeTransports // with PerClientTransports
	data       *trafficscript.Store      // connection.data.*

	sockets trafficscript.Sockets // tcp.*
}

// connectionDataSize bounds connection.data.* of one connection, in bytes.
const connectionDataSize = 1 << 20

func (c *clientState) store() *trafficscript.Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		c.data = trafficscript.NewStore(connectionDataSize)
	}
	return c.data
}

// nodeTransports returns the connections to a node that this client uses.
func (c *client) nodeTransports(n *node) *nodeTransports {
	shared := n.transports.Load()
	d := c.server.d
	if !d.options.PerClientTransports {
		return shared
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.transports[n]
	if own == nil || own.spec != shared.spec {
		if own != nil {
			own.closeIdle()
		}
		if c.transports == nil {
			c.transports = make(map[*node]*nodeTransports)
		}
		own = newNodeTransports(n, shared.spec, d.actor(c.server.name+"/"+c.RemoteAddr().String()))
		c.transports[n] = own
	}
	return own
}

func (c *clientState) closeTransports() {
	c.sockets.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.transports {
		t.closeIdle()
	}
}

// idempotentMethods are those whose failed tries may go to another node.
func idempotentMethod(m string) bool {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

func (t *transaction) idempotent() bool {
	if t.script != nil && t.script.Idempotent != nil {
		return *t.script.Idempotent
	}
	return idempotentMethod(t.r.Method)
}

// RoundTrip sends the request to a node and returns the response as the client
// gets it, after the response rules.
func (t *transaction) RoundTrip(out *http.Request) (*http.Response, error) {
	// The body's trailer appears in the client's request when its end was read.
	out.Trailer = t.r.Trailer
	if res := t.fromCache(); res != nil {
		t.responding.Store(true)
		t.v.stats.response(res.StatusCode, t.by)
		return res, nil
	}
	for {
		res, err := t.balance(out)
		if err != nil {
			var moved *movedError
			switch {
			case errors.As(err, &moved):
				res = redirection(out, moved.url)
				t.by = generated
				t.v.stats.response(res.StatusCode, t.by)
				return res, nil
			case errors.Is(err, errSessionClosed):
				return nil, errDropped
			}
			return nil, err
		}
		location := res.Header.Get("Location")
		t.rewriteLocation(res)
		t.rewriteCookies(res)
		t.detectType(res)
		if res.Header.Get("Location") != location {
			t.v.stats.inc(vsRewriteLocation)
		}
		t.countServiceLevel()
		again, err := t.responseRules(res)
		if err != nil {
			res.Body.Close()
			return nil, err
		}
		if !again {
			t.keep(res)
			t.responding.Store(true)
			t.v.stats.response(res.StatusCode, t.by)
			if res.StatusCode == http.StatusSwitchingProtocols {
				t.client.idle.Store(int64(t.conf.Timeout))
			} else if res.Body != http.NoBody {
				t.response = responseBody{ReadCloser: res.Body, t: t, left: res.ContentLength}
				res.Body = &t.response
			}
			return res, nil
		}
		res.Body.Close()
		t.retries++
		t.route.again()
	}
}

// redirection sends a client elsewhere.
func redirection(req *http.Request, url string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusFound, ProtoMajor: 1, ProtoMinor: 1, Request: req, Body: http.NoBody,
		Header: http.Header{"Location": {url}, "Content-Length": {"0"}, "Cache-Control": {"no-cache"}},
	}
}

// responseBody is a node's response body on its way to the client. What was read
// is flushed before the next piece is waited for. (The standard library's proxy
// flushes by a timer, whose order with the first piece is a race: that would keep
// simulations from repeating.)
type responseBody struct {
	io.ReadCloser
	t     *transaction
	left  int64 // bytes still to come; below 0: not known
	begun bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	if b.left != 0 {
		// Every piece may be long in coming, the first one too.
		b.t.watch()
		if b.begun || b.left < 0 {
			b.flush()
		}
	}
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil && err != io.EOF {
		b.t.bodyFailed(err)
	}
	return n, err
}

func (b *responseBody) flush() { _ = http.NewResponseController(b.t.w).Flush() }

// balance tries nodes until one answers.
func (t *transaction) balance(out *http.Request) (*http.Response, error) {
	p := t.v.d.pool(t.poolName())
	if p == nil {
		return nil, errNoNode
	}
	r := t.routed()
	var last error = errNoNode
	// failed ends the tries: a session may say how.
	failed := func() error {
		if r.pinned != nil {
			if err := r.sessionLost(p); err != nil {
				return err
			}
		}
		return last
	}
	timedOut := 0
	for {
		n, of, err := r.next(t.ctx, p)
		if err != nil {
			return nil, queueError(err)
		}
		if n == nil {
			return nil, last
		}
		p = of
		conf := p.conf.Load()
		attempts, timeouts := r.attempts(conf)
		if t.node != nil {
			t.node.end()
		}
		t.node = n
		p.stats.add(poolTries, 1)
		began := t.v.d.now()
		res, err := t.try(out, n, conf)
		if t.ctx.Err() != nil && err != nil {
			return nil, context.Cause(t.ctx)
		}
		mayRepeat := (attempts == 0 || len(r.tries) < attempts) && t.body.replayable()
		if err == nil {
			t.answeredBy(n, p, res.StatusCode, began)
			p.tried(n, true, "")
			// The node of a session has the say, even if it is too busy.
			if res.StatusCode == http.StatusServiceUnavailable && mayRepeat && t.idempotent() && r.pinned == nil && p.has(r.skip) {
				p.stats.add(pool503Retries, 1)
				res.Body.Close()
				t.retries++
				continue
			}
			if r.session != nil {
				r.session.answered(t.v.d, n, res.Header)
			}
			return res, nil
		}
		if t.body != nil && t.body.broken.Load() {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
		p.tried(n, false, err.Error())
		n.stats.add(nodeErrors, 1)
		var connect *connectError
		var timeout net.Error
		unsent := errors.As(err, &connect)
		last = fmt.Errorf("%w: %w", errNoNode, err)
		late := !unsent && errors.As(err, &timeout) && timeout.Timeout()
		if late {
			timedOut++
			last = fmt.Errorf("%w: %w", errNoReply, err)
		}
		// What never reached a node can always go to another one.
		if !mayRepeat || !unsent && !t.idempotent() || late && timeouts > 0 && timedOut >= timeouts {
			return nil, failed()
		}
		t.retries++
	}
}

// routed returns the transaction's route.
func (t *transaction) routed() *route {
	if t.route == nil {
		t.own = route{d: t.v.d, client: addrPort(t.client.RemoteAddr()), script: t.script, request: t.r, random: t.Random}
		t.route = &t.own
		t.route.tries = t.route.few[:0]
	}
	return t.route
}

func or(override, setting int) int {
	if override > 0 {
		return override
	}
	return setting
}

func (t *transaction) poolName() string {
	if t.script != nil && t.script.Pool != "" {
		return t.script.Pool
	}
	return t.conf.Pool
}

// machine returns the pool's node of this address or, if it has none, one that
// lives as long as its request: a rule chose the machine, the pool's settings
// hold.
func (p *pool) machine(address string) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if n.address == address {
			return n
		}
	}
	n := p.newNode(address, p.spec(p.conf.Load()))
	n.guest = true
	n.removed.Store(true)
	return n
}

// try sends the request to one node.
func (t *transaction) try(out *http.Request, n *node, conf *Pool) (*http.Response, error) {
	// The first try has the request for itself; what a failed one leaves behind may
	// still read it, so that others get a copy.
	req, target := out, out.URL
	if len(t.route.tries) > 1 || t.retries > 0 {
		copied := *out.URL
		target = &copied
		req = out.WithContext(out.Context())
	}
	target.Host = n.address
	if conf.TLS.Enabled && conf.TLS.ServerName && t.r.Host != "" {
		// SNI says which host is asked for; connections of different names are kept
		// apart.
		target.Host = t.r.Host
	}
	if conf.TLS.Enabled && conf.TLS.ServerName && t.script != nil && t.script.NodeServerName != "" {
		target.Host = t.script.NodeServerName
	}
	req.URL = target
	req.Body, req.GetBody, req.ContentLength = nil, nil, t.r.ContentLength
	idempotent := t.idempotent()
	if t.body != nil {
		req.Body = &bodyView{source: t.body}
		if idempotent {
			// So that the transport can repeat it where a kept connection was just
			// closed by the node.
			req.GetBody = func() (io.ReadCloser, error) {
				if !t.body.replayable() {
					return nil, errBodySpent
				}
				return &bodyView{source: t.body}, nil
			}
		}
	}
	transports := t.client.nodeTransports(n)
	transport := transports.reused()
	if !idempotent && !conf.KeepaliveNonIdempotent {
		// A kept connection may be closed by the node while the request is on its
		// way, and then nobody knows whether it was carried out.
		transport = transports.once()
	}
	if idempotent && req.Header["X-Idempotency-Key"] == nil {
		// With a value of no length the transport treats the request as idempotent
		// and sends no such header.
		req.Header["X-Idempotency-Key"] = []string{}
	}
	if t.script == nil || t.script.Overrides.MaxReplyTime <= 0 {
		return transport.RoundTrip(req)
	}
	return t.replyWithin(transport, req, t.script.Overrides.MaxReplyTime)
}

// replyWithin gives up when the response has not begun within limit.
func (t *transaction) replyWithin(transport *http.Transport, req *http.Request, limit time.Duration) (*http.Response, error) {
	// It ends with the transaction: the body of the response is read under it.
	ctx, cancel := context.WithCancelCause(req.Context())
	timer, stop := context.WithTimeout(ctx, limit)
	defer stop()
	release := context.AfterFunc(timer, func() {
		if errors.Is(timer.Err(), context.DeadlineExceeded) {
			cancel(context.DeadlineExceeded)
		}
	})
	res, err := transport.RoundTrip(req.WithContext(ctx))
	if !release() && err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return nil, context.DeadlineExceeded
	}
	return res, err
}

// answeredBy counts a node's response.
func (t *transaction) answeredBy(n *node, p *pool, code int, began time.Time) {
	now := t.v.d.now()
	n.stats.response.measured(now, now.Sub(began))
	n.times.add(now, now.Sub(began))
	p.stats.response(code)
	if code >= http.StatusInternalServerError {
		t.v.d.stats.add(gBackendErrors, 1)
	}
	t.by = byServer
}

// rewrite makes the request that nodes get of the client's.
func (t *transaction) rewrite(in, sent *http.Request) {
	out := sent.Header
	sent.URL.Scheme = "http"
	sent.URL.RawQuery = in.URL.RawQuery
	// The standard library's proxy takes these away; whether a client may set them is
	// decided here.
	for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host"} {
		if values, ok := in.Header[name]; ok {
			out[name] = values
		}
	}
	if values, ok := in.Header["X-Forwarded-Proto"]; ok && !t.conf.StripXForwardedProto {
		out["X-Forwarded-Proto"] = values
	} else {
		delete(out, "X-Forwarded-Proto")
	}
	ip := addrPort(t.client.RemoteAddr()).Addr().String()
	if t.script != nil && t.script.SourceIP.IsValid() {
		ip = t.script.SourceIP.String()
	}
	if t.conf.AddClusterIP {
		// Replaced, not appended: nodes trust it.
		out["X-Cluster-Client-Ip"] = []string{ip}
	}
	if t.conf.AddXForwardedFor {
		out["X-Forwarded-For"] = []string{appendForwarded(in.Header["X-Forwarded-For"], ip)}
	}
	if t.conf.AddXForwardedProto {
		out["X-Forwarded-Proto"] = []string{t.scheme()}
	}
	t.addSSLHeaders(out)
	t.unwrapETags(out)
}

func appendForwarded(before []string, ip string) string {
	list := ""
	for _, v := range before {
		list += v + ", "
	}
	return list + ip
}

func (t *transaction) scheme() string {
	if t.r.TLS != nil {
		return "https"
	}
	return "http"
}

// modify prepares the client's side of the response.
func (t *transaction) modify(res *http.Response) error {
	t.rewrapETag(res)
	t.compress(res)
	// Never guessed. It is moved, and the length hidden, so that the proxy leaves
	// flushing to responseBody.
	t.w.Header()["Content-Type"] = res.Header["Content-Type"]
	delete(res.Header, "Content-Type")
	res.ContentLength = 0
	t.keepalive()
	t.passReason(res)
	return nil
}
