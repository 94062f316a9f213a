package dataplane

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// httpConn is an HTTP/1 connection as http.Server gets it. It lets through only
// requests whose framing is beyond doubt, gives responses the reason phrase they
// came with, and answers with the virtual server's own page where http.Server
// would answer by itself. After an upgrade it is a plain connection.
type httpConn struct {
	net.Conn // the client, or TLS above it
	client   *client

	// Of whoever reads.

	framing framing
	held    []byte // what came after a request to upgrade, to be followed if it is declined
	spoiled []byte // what is given to http.Server instead of a refused request
	some    bool   // part of a request was read
	stalled bool   // the client did not end its headers in time

	// Of whoever answers.

	serving atomic.Bool // a handler has a request
	reason  string      // for the response that begins next; "": the usual one
	refused atomic.Pointer[fault]
}

// secureConn is an httpConn over TLS. http.Server asks it for ConnectionState.
type secureConn struct {
	httpConn
	tls *tls.Conn
}

func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// spoil is what http.Server gets in place of the rest of a refused request: it is
// no request and no chunk wherever it was cut off, so that it ends the connection
// once the requests before have been answered. An error would end those, too. The
// carriage return is for a chunk's extension, where net/http takes all else.
const spoil = "\r\x00\r\n\r\n"

func (c *httpConn) Read(b []byte) (int, error) {
	if c.client.hijacked.Load() {
		return c.Conn.Read(b)
	}
	if len(c.held) > 0 && !c.serving.Load() {
		// The upgrade did not come about: it was the next request.
		c.framing.declined()
		held := c.held
		c.held = nil
		c.follow(held)
	}
	if len(c.spoiled) > 0 {
		n := copy(b, c.spoiled)
		c.spoiled = c.spoiled[n:]
		return n, nil
	}
	if c.refused.Load() != nil {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.some = true
		n = c.follow(b[:n])
		if n == 0 {
			return c.Read(b) // the refusal
		}
	}
	if err != nil {
		c.readFailed(err)
	}
	return n, err
}

// follow lets framing see what came, and returns how much of it may pass.
func (c *httpConn) follow(b []byte) int {
	if c.client.hijacked.Load() {
		return len(b)
	}
	if !c.serving.Load() {
		c.framing.declined()
	}
	n := c.framing.feed(b)
	if f := c.framing.fault; f != nil {
		c.refused.Store(f)
		c.client.failed("connfail", c.client.server.conf.Load().LogClientFailures, f)
		c.spoiled = []byte(spoil)
		return n
	}
	if n < len(b) { // behind a request to upgrade
		if len(c.held)+len(b)-n > maxLine {
			c.framing.refuse(400, "too much data before an upgrade was granted")
			return c.follow(b[:n])
		}
		c.held = append(c.held, b[n:]...)
	}
	return len(b)
}

// readFailed tells of a client that stalled in the middle of a request, or at the
// beginning of its first one.
func (c *httpConn) readFailed(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.serving.Load() {
		return
	}
	if c.framing.state == inHeader || len(c.framing.line) > 0 || !c.some {
		c.stalled = true
		c.client.failed("connfail", c.client.server.conf.Load().LogClientFailures, errNoHeaders)
	}
}

var errNoHeaders = errors.New("no complete request headers came in time")

// serverErrors is what every answer holds that http.Server makes by itself.
var serverErrors = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

func (c *httpConn) Write(b []byte) (int, error) {
	if c.client.hijacked.Load() {
		return c.Conn.Write(b)
	}
	if !bytes.HasPrefix(b, []byte("HTTP/1.")) || len(b) < len("HTTP/1.1 200 ") {
		return c.Conn.Write(b)
	}
	if !c.serving.Load() && bytes.Contains(b, serverErrors) {
		return c.refuse(b)
	}
	if c.reason == "" || b[9] == '1' {
		return c.Conn.Write(b)
	}
	end := bytes.IndexByte(b, '\r')
	if end < 0 {
		return c.Conn.Write(b)
	}
	line := append(append(b[:13:13], c.reason...), b[end:]...)
	c.reason = ""
	if _, err := c.Conn.Write(line); err != nil {
		return 0, err
	}
	return len(b), nil
}

// refuse answers a request that no handler saw, in place of http.Server's answer.
func (c *httpConn) refuse(theirs []byte) (int, error) {
	if c.stalled {
		return len(theirs), nil // closed without a word, wherever it stalled
	}
	f := c.refused.Load()
	conf := c.client.server.conf.Load()
	if f == nil {
		code, _ := strconv.Atoi(string(theirs[9:12]))
		f = &fault{code, "the request is refused: " + http.StatusText(code)}
		c.refused.Store(f)
		c.client.failed("connfail", conf.LogClientFailures, f)
	}
	c.client.server.stats.response(f.code, generated)
	c.client.server.stats.inc(vsConnectionErrors)
	p := c.client.server.page(conf, f.code)
	h := http.Header{"Content-Type": {p.kind}, "Content-Length": {itoa(len(p.body))}, "Connection": {"close"}, "Cache-Control": {"no-cache"}}
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + itoa(f.code) + " " + http.StatusText(f.code) + "\r\n")
	_ = h.Write(&out)
	out.WriteString("\r\n" + p.body)
	if _, err := c.Conn.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(theirs), nil
}

// lingerTime is how long a refused client may take to read the answer. Closing at
// once would reset the connection if more of the request is on its way, and the
// answer could be lost.
const lingerTime = 500 * time.Millisecond

func (c *httpConn) Close() error {
	if c.refused.Load() != nil && !c.client.hijacked.Load() && c.CloseWrite() == nil {
		_ = c.SetReadDeadline(c.client.server.d.now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, 256<<10)
	}
	return c.Conn.Close()
}

// CloseWrite passes on the end of one direction.
func (c *httpConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// setReason gives the response that begins next a reason phrase; HTTP/2 has none.
// One that would break the status line is left out.
func (t *transaction) setReason(code int, reason string) {
	h := t.client.http
	if h == nil || reason == "" || reason == http.StatusText(code) {
		return
	}
	for i := range len(reason) {
		if c := reason[i]; c < ' ' && c != '\t' || c == 0x7f {
			return
		}
	}
	h.reason = reason
}

// passReason gives the client the reason phrase of a node or rule.
func (t *transaction) passReason(res *http.Response) {
	_, reason, _ := strings.Cut(res.Status, " ")
	t.setReason(res.StatusCode, reason)
}
