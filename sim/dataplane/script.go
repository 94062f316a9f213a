package dataplane

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// A transaction is the trafficscript.Host of its rules.

// prepareScript makes what rules see of the transaction.
func (t *transaction) prepareScript() {
	s := t.v.newScript(t.client, t.conf, t.r.TLS)
	s.Started = t.started
	s.Request = &trafficscript.Request{
		Method: t.r.Method, Target: t.r.RequestURI, Proto: t.r.Proto, Host: t.r.Host, Header: t.r.Header,
	}
	s.Resendable = true // so far
	s.Streamer, s.Cache = (*streamer)(t), t
	t.script = s
}

// newScript makes what rules see of any client's connection.
func (v *vserver) newScript(c *client, conf *serverConf, secure *tls.ConnectionState) *trafficscript.Transaction {
	s := &trafficscript.Transaction{
		VirtualServer:     v.name,
		Remote:            addrPort(c.RemoteAddr()),
		Local:             c.at,
		Dest:              c.dest,
		DefaultPool:       conf.Pool,
		MaxDuration:       conf.MaxTransactionDuration,
		ServiceLevelClass: conf.ServiceLevelClass,
		RequestLog:        trafficscript.Marking{Enabled: conf.RequestLog, Marked: conf.RequestLogAll},
		RecentConnections: trafficscript.Marking{Enabled: conf.RecentConnections, Marked: conf.RecentConnectionsAll},
		Machine:           v.d.objects.machine.Load(),
		Data:              v.d.data,
		LocalData:         v.d.localData,
		ConnectionData:    c.store(),
		Sockets:           &c.sockets,
	}
	if secure != nil && !secure.HandshakeComplete {
		s.TLS = &trafficscript.TLS{ServerName: secure.ServerName, PassedThrough: true}
	} else if secure != nil {
		s.TLS = &trafficscript.TLS{
			ServerName: secure.ServerName, SiteName: c.site.host, CertName: c.site.key,
			SessionID: tlsSessionID(secure), Cipher: describeCipher(secure),
			CloseAlert: conf.TLS.SendCloseAlerts, ClientChain: secure.PeerCertificates,
		}
		if c.cert != nil {
			s.TLS.ServerCert = c.cert.Leaf
		}
	}
	return s
}

// runRules runs rules in their order until one decides. Rules that do not exist
// or have errors are skipped; one that is aborted ends alone.
func (t *transaction) runRules(ctx context.Context, names []string) {
	limits := t.v.d.global.Load().scriptLimits()
	for _, name := range names {
		r := t.v.d.rule(name)
		if r == nil {
			continue
		}
		compiled := r.compiled.Load()
		if compiled == nil {
			continue
		}
		before := t.script.Pool
		end := compiled.Run(ctx, t, limits).End
		r.stats.ran(end, t.script, before)
		if end == trafficscript.Decided || ctx.Err() != nil {
			return
		}
	}
}

// responseRules runs the response rules and puts what they made of the response
// into effect. again: the request is to be balanced and sent again.
func (t *transaction) responseRules(res *http.Response) (again bool, err error) {
	if t.script == nil {
		return false, nil
	}
	s := t.script
	s.Phase = trafficscript.ResponsePhase
	s.Node = t.node.address
	s.Retries = t.again
	s.Retry, s.Answer, s.Close, s.Discard = false, nil, nil, false
	s.Resendable = t.body.replayable()
	s.ResponseTime = t.v.d.now().Sub(t.started)
	if t.route != nil {
		s.QueueTime = t.route.waited
	}
	if conf := t.node.pool.conf.Load(); conf.TLS.Enabled {
		s.NodeTLS, s.NodeCloseAlert = true, conf.TLS.SendCloseAlerts
	}
	_, reason, _ := strings.Cut(res.Status, " ")
	s.Response = &trafficscript.Response{Proto: res.Proto, Code: res.StatusCode, Reason: reason, Header: res.Header}
	defer t.setCookies(res.Header)
	if len(t.conf.responseRules) == 0 {
		return false, nil
	}
	t.answered = res
	defer func() { t.answered = nil }()
	t.runRules(t.ctx, t.conf.responseRules)
	if s.Streaming() {
		return false, t.endStreamed(res)
	}
	switch {
	case s.Discard:
		return false, errDropped
	case s.Close != nil:
		return false, errCloseWith
	case s.Retry:
		if t.body.replayable() && t.ctx.Err() == nil {
			t.again++
			return true, nil
		}
	case s.Answer != nil:
		a := s.Answer
		if a.Code < 200 || a.Code > 999 {
			return false, errors.New("a rule answers with a status that is none")
		}
		res.Body.Close()
		t.by = generated
		res.StatusCode, res.Header, res.Trailer = a.Code, a.Header.Clone(), nil
		res.Status = statusLine(a.Code, a.Reason)
		setBody(res, a.Body)
		res.Header.Del("Content-Encoding")
		return false, nil
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return false, nil
	}
	if code := s.Response.Code; code >= 200 && code <= 999 {
		res.StatusCode = code
	}
	res.Status = statusLine(res.StatusCode, s.Response.Reason)
	if b := s.Response.Body; b != nil {
		res.Body.Close()
		res.Trailer = nil
		setBody(res, *b)
	}
	return false, nil
}

// statusLine is a response's status with its reason phrase; "" is the usual one.
func statusLine(code int, reason string) string {
	if reason == "" {
		reason = http.StatusText(code)
	}
	return itoa(code) + " " + reason
}

// setCookies adds the cookies that request rules set, whichever response it is.
func (t *transaction) setCookies(h http.Header) {
	if t.script == nil {
		return
	}
	for _, c := range t.script.SetCookies {
		h.Add("Set-Cookie", c)
	}
}

func setBody(res *http.Response, body string) {
	if res.Header == nil {
		res.Header = make(http.Header)
	}
	res.Body = io.NopCloser(strings.NewReader(body))
	res.ContentLength = int64(len(body))
	res.TransferEncoding = nil
	if res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified {
		res.Header["Content-Length"] = []string{itoa(len(body))}
	}
}

func (t *transaction) Transaction() *trafficscript.Transaction { return t.script }

func (t *transaction) RequestBody(ctx context.Context, max int) (string, error) {
	return t.body.peek(ctx, max)
}

// ResponseBody reads the response's body, decoded. The bytes as they came are put
// back before the rest, for the client.
func (t *transaction) ResponseBody(_ context.Context, max int) (string, error) {
	res := t.answered
	if res == nil || res.StatusCode == http.StatusSwitchingProtocols {
		return "", nil
	}
	var raw bytes.Buffer
	came := res.Body
	t.watch()
	defer func() { res.Body = rest{io.MultiReader(&raw, came), came} }()
	decoded, err := decode(io.TeeReader(came, &raw), res.Header.Get("Content-Encoding"))
	if err != nil {
		return "", err
	}
	limit := max
	if limit <= 0 || limit > maxRuleBody {
		limit = maxRuleBody
	}
	body, err := io.ReadAll(io.LimitReader(decoded, int64(limit)))
	if err != nil {
		return "", err
	}
	if len(body) == maxRuleBody && max != maxRuleBody {
		return "", errBodyLarge
	}
	return string(body), nil
}

// decode undoes a body's content encoding; one that is not known stays.
func decode(body io.Reader, encoding string) (io.Reader, error) {
	var decoded io.Reader
	var err error
	switch strings.ToLower(encoding) {
	case "gzip", "x-gzip":
		decoded, err = gzip.NewReader(body)
	case "deflate":
		decoded, err = zlib.NewReader(body)
	default:
		return body, nil
	}
	if err == io.EOF {
		return strings.NewReader(""), nil // nothing to decode, as after HEAD
	}
	return decoded, err
}

// rest is a body whose beginning was read and put back.
type rest struct {
	io.Reader
	io.Closer
}

func (t *transaction) PoolNodes(name string) ([]trafficscript.PoolNode, bool) {
	return t.v.d.poolNodes(name)
}

func (d *DataPlane) poolNodes(name string) ([]trafficscript.PoolNode, bool) {
	p := d.pool(name)
	if p == nil {
		return nil, false
	}
	return p.nodeStates(), true
}

func (t *transaction) Log(e trafficscript.Event) { t.v.logRule(e) }

func (v *vserver) logRule(e trafficscript.Event) {
	if e.Tag == "ruleoverrun" {
		if r := v.d.rule(e.Rule); r != nil {
			r.stats.inc(ruleTimeWarnings)
		}
	}
	v.d.event(Event{
		Level: e.Level.String(), Section: "rules/" + e.Rule, Tag: e.Tag,
		More: []string{"vservers/" + v.name}, Text: e.Message,
	})
}

// Waiting lets the wait end when the virtual server's time-out has passed.
func (t *transaction) Waiting() {
	if !t.watched { // a rule's waits are no data
		t.watch()
	}
}

func (t *transaction) Now() time.Time { return t.v.d.now() }

// Random draws from a source named after the client and the number of its
// request, so that under simulation it does not depend on what others draw.
func (t *transaction) Random() uint64 {
	if t.random == nil {
		t.random = t.v.d.options.World.Rand(t.v.d.actor(t.v.name + "/" + t.client.RemoteAddr().String() + "/" + itoa(t.number)))
	}
	var b [8]byte
	_, _ = io.ReadFull(t.random, b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (t *transaction) Sleep(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, t.v.d.options.World.Clock(), d) {
		return context.Cause(ctx)
	}
	return nil
}
