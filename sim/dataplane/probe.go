package dataplane

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vtm-ingress/sim/trafficscript/pcre"
)

// monitorTest is how a monitor of one type tests. It belongs to one goroutine.
type monitorTest interface {
	// run tests once; an error says what is wrong with what was asked.
	run(context.Context, target) error
	// end releases what it holds.
	end()
}

// target is what a monitor asks.
type target struct {
	configured   string // "host:port"
	at           string // the same on this machine
	failuresLeft int    // until it counts as failed
}

// newMonitorTest makes the test of a monitor's type. Errors name what cannot be
// understood.
func (d *DataPlane) newMonitorTest(m *Monitor, actor string) (monitorTest, error) {
	switch m.Type {
	case "http":
		t := &httpTest{d: d, conf: m, client: d.options.World.HTTPClient(actor, monitorTLS())}
		t.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		var err error
		if t.status, err = compilePattern("http!status_regex", m.StatusRegex); err != nil {
			return nil, err
		}
		t.body, err = compilePattern("http!body_regex", m.BodyRegex)
		return t, err
	case "tcp_transaction":
		t := &tcpTest{d: d, conf: m, actor: actor, write: unescape(m.WriteString), close: unescape(m.CloseString)}
		var err error
		t.response, err = compilePattern("tcp!response_regex", m.ResponseRegex)
		return t, err
	case "program":
		if _, ok := file(&d.scripts, m.Program); !ok {
			return nil, fmt.Errorf("there is no program '%s' among monitor_scripts: upload it", m.Program)
		}
		return &programTest{d: d, conf: m}, nil
	}
	return &connectTest{d: d, actor: actor, ping: m.Type == "ping", tls: m.UseSSL}, nil
}

// monitorTLS is for monitors that use SSL: they ask whether the node answers, not
// who it is.
func monitorTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// connectTest opens a connection. For ping, a machine that refuses it is there:
// raw sockets need privileges that an emulator should not have.
type connectTest struct {
	d     *DataPlane
	actor string
	ping  bool
	tls   bool
}

func (t *connectTest) end() {}

func (t *connectTest) run(ctx context.Context, to target) error {
	conn, err := dialTarget(ctx, t.d, t.actor, to.at, t.tls)
	if t.ping && errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

func dialTarget(ctx context.Context, d *DataPlane, actor, to string, encrypt bool) (net.Conn, error) {
	conn, err := d.options.World.Dial(ctx, actor, "tcp", to)
	if err != nil || !encrypt {
		return conn, err
	}
	secure := tls.Client(conn, monitorTLS())
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("SSL handshake: %w", err)
	}
	return secure, nil
}

// maxMonitorBody is how much of an answer is compared with body_regex.
const maxMonitorBody = 64 << 10

// httpTest asks for a path and looks at status and body.
type httpTest struct {
	d            *DataPlane
	conf         *Monitor
	client       *http.Client
	status, body *pattern
}

func (t *httpTest) end() { t.client.CloseIdleConnections() }

func (t *httpTest) run(ctx context.Context, to target) error {
	scheme := "http"
	if t.conf.UseSSL {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+to.at+t.conf.Path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	req.Host = to.configured
	if t.conf.HostHeader != "" {
		req.Host = t.conf.HostHeader
	}
	if t.conf.Authorization != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(t.conf.Authorization)))
	}
	res, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if code := strconv.Itoa(res.StatusCode); !t.status.match([]byte(code)) {
		return fmt.Errorf("status %s does not match %s", code, t.conf.StatusRegex)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxMonitorBody))
	if err != nil {
		return err
	}
	if !t.body.match(body) {
		return fmt.Errorf("the body does not match %s", t.conf.BodyRegex)
	}
	return nil
}

// tcpTest writes a string, waits for a response that matches, and writes another
// one before it closes.
type tcpTest struct {
	d            *DataPlane
	conf         *Monitor
	actor        string
	write, close string
	response     *pattern
}

func (t *tcpTest) end() {}

func (t *tcpTest) run(ctx context.Context, to target) error {
	conn, err := dialTarget(ctx, t.d, t.actor, to.at, t.conf.UseSSL)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	// The monitor may be stopped in between.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, t.write); err != nil {
		return err
	}
	if t.conf.ResponseRegex != "" {
		if err := t.await(conn); err != nil {
			return err
		}
	}
	if t.close == "" {
		return nil
	}
	_, err = io.WriteString(conn, t.close)
	return err
}

// await reads until the response matches.
func (t *tcpTest) await(conn net.Conn) error {
	limit := t.conf.MaxResponseLen
	if limit <= 0 {
		limit = maxMonitorBody
	}
	var got []byte
	for len(got) < limit {
		piece := make([]byte, min(limit-len(got), 4<<10))
		n, err := conn.Read(piece)
		got = append(got, piece[:n]...)
		if n > 0 && t.response.match(got) {
			return nil
		}
		if err == io.EOF {
			return fmt.Errorf("the response does not match %s", t.conf.ResponseRegex)
		}
		if err != nil {
			return fmt.Errorf("no response that matches %s: %w", t.conf.ResponseRegex, err)
		}
	}
	return fmt.Errorf("the first %d bytes of the response do not match %s", limit, t.conf.ResponseRegex)
}

// unescape puts bytes in the place of \r, \n, \t, \0, \\ and \xHH.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case 'x':
			if i+2 < len(s) {
				if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
					b.WriteByte(byte(v))
					i += 2
					continue
				}
			}
			b.WriteString(`\x`)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// pattern is a regular expression as monitors have them: RE2 where that has words
// for it, else one that backtracks within bounds.
type pattern struct {
	simple *regexp.Regexp
	full   *pcre.Regexp
}

// maxPatternSteps bounds a match that backtracks.
const maxPatternSteps = 1_000_000

func compilePattern(key, text string) (*pattern, error) {
	simple, err := regexp.Compile(text)
	if err == nil {
		return &pattern{simple: simple}, nil
	}
	full, fullErr := pcre.Compile(text, false)
	if fullErr != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &pattern{full: full}, nil
}

func (p *pattern) match(b []byte) bool {
	if p.simple != nil {
		return p.simple.Match(b)
	}
	steps := maxPatternSteps
	found, err := p.full.Match(string(b), 0, &steps)
	return err == nil && found != nil
}
