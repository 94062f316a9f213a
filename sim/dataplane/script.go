package dataplane

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
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
	t.script = &trafficscript.Transaction{
		VirtualServer: t.v.name,
		Remote:        addrPort(t.client.RemoteAddr()),
		Local:         t.client.at,
		DefaultPool:   t.conf.Pool,
		Request: &trafficscript.Request{
			Method: t.r.Method, Target: t.r.RequestURI, Proto: t.r.Proto, Host: t.r.Host, Header: t.r.Header,
		},
		Data:           t.v.d.data,
		LocalData:      t.v.d.localData,
		ConnectionData: t.client.store(),
		Dest:           t.client.dest,
		Cache:          t,
	}
	if s := t.r.TLS; s != nil {
		t.script.TLS = &trafficscript.TLS{ServerName: s.ServerName, SiteName: t.client.site.host, CertName: t.client.site.key}
	}
}

// runRules runs rules in their order until one decides. Rules that do not exist
// or have errors are skipped; one that is aborted ends alone.
func (t *transaction) runRules(names []string) {
	limits := trafficscript.Limits{Instructions: t.v.d.global.Load().MaxInstructions}
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
		end := compiled.Run(t.ctx, t, limits).End
		r.stats.ran(end, t.script, before)
		if end == trafficscript.Decided {
			return
		}
	}
}

// responseRules runs the response rules and puts what they made of the response
// into effect. again: the request is to be balanced and sent again.
func (t *transaction) responseRules(res *http.Response) (again bool, err error) {
	if len(t.conf.responseRules) == 0 {
		return false, nil
	}
	s := t.script
	s.Phase = trafficscript.ResponsePhase
	s.Node = t.node.address
	s.Retries = t.retries
	s.Retry, s.Answer, s.Close, s.Discard = false, nil, nil, false
	_, reason, _ := strings.Cut(res.Status, " ")
	s.Response = &trafficscript.Response{Proto: res.Proto, Code: res.StatusCode, Reason: reason, Header: res.Header}
	t.answered = res
	defer func() { t.answered = nil }()
	t.runRules(t.conf.responseRules)
	switch {
	case s.Discard:
		return false, errDropped
	case s.Close != nil:
		return false, errCloseWith
	case s.Retry:
		if t.body.replayable() && t.idempotent() && t.ctx.Err() == nil {
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
	if b := s.Response.Body; b != nil {
		res.Body.Close()
		res.Trailer = nil
		setBody(res, *b)
	}
	return false, nil
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
	var decoded io.Reader = io.TeeReader(came, &raw)
	var err error
	switch strings.ToLower(res.Header.Get("Content-Encoding")) {
	case "gzip", "x-gzip":
		decoded, err = gzip.NewReader(decoded)
	case "deflate":
		decoded, err = zlib.NewReader(decoded)
	}
	if err == io.EOF {
		return "", nil // nothing to decode, as after HEAD
	}
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

// rest is a body whose beginning was read and put back.
type rest struct {
	io.Reader
	io.Closer
}

func (t *transaction) PoolNodes(name string) ([]trafficscript.PoolNode, bool) {
	p := t.v.d.pool(name)
	if p == nil {
		return nil, false
	}
	return p.nodeStates(), true
}

func (t *transaction) Log(e trafficscript.Event) {
	if e.Tag == "ruleoverrun" {
		if r := t.v.d.rule(e.Rule); r != nil {
			r.stats.inc(ruleTimeWarnings)
		}
	}
	t.v.d.event(Event{
		Level: e.Level.String(), Section: "rules/" + e.Rule, Tag: e.Tag,
		More: []string{"vservers/" + t.v.name}, Text: e.Message,
	})
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
