package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// clientKey is the context key of a request's client.
type clientKey struct{}

// client is a connection from a client. What is read and written through it is on
// the wire: TLS and HTTP lie above.
type client struct {
	net.Conn
	server *vserver
	gen    *generation
	at     netip.AddrPort // the configured address it connected to
	begun  time.Time      // when it was accepted
	http   *httpConn      // of HTTP/1; nil otherwise
	// cancel ends the request under way, and with it the connection; of HTTP/1, set
	// before its first request.
	cancel context.CancelCauseFunc

	// By the PROXY header; read after it.

	remote net.Addr       // the client's address; nil: the connection's
	dest   netip.AddrPort // what the client connected to; invalid: at
	early  []byte         // what came behind the header and was not read yet

	// By the TLS handshake; read after it.

	site  siteChoice
	cert  *tls.Certificate
	asked clientAuth // for certificates of clients

	closeAlert atomic.Bool // TLS ends with one

	hijacked atomic.Bool // a handler has it: it ends with that handler
	// idle, in ns, ends an upgraded connection that carries nothing for so long.
	idle atomic.Int64

	clientState
	clientStats
	clientGuard
	watchdog watchdog
}

// clientOf finds the client below a connection of an http.Server.
func clientOf(c net.Conn) *client {
	switch c := c.(type) {
	case *tls.Conn:
		return c.NetConn().(*client)
	case *httpConn:
		return c.client
	case *secureConn:
		return c.client
	}
	return c.(*client)
}

// serve takes a connection that came to one of the server's addresses.
func (v *vserver) serve(at netip.AddrPort, conn net.Conn) {
	c := &client{Conn: conn, server: v, at: at, begun: v.d.now()}
	if at.Addr().IsUnspecified() {
		c.at = addrPort(conn.LocalAddr())
	}
	for {
		g := v.gen.Load()
		if g == nil {
			conn.Close()
			return
		}
		conf := v.conf.Load()
		if most := conf.MaxConcurrentConnections; most > 0 && v.stats.conns.current.Load() >= int64(most) {
			c.failed("connfail", conf.LogClientFailures, errTooMany)
			conn.Close()
			return
		}
		if !g.timings.proxy && !c.admit(conf) {
			conn.Close()
			return
		}
		if !g.clients.enter() {
			c.admitted.leave()
			continue // another generation has just begun
		}
		c.gen = g
		c.opened()
		if tcp, ok := conn.(interface{ SetNoDelay(bool) error }); ok && conf.Nagle {
			_ = tcp.SetNoDelay(false)
		}
		if g.http1 != nil && !g.timings.tls && !g.timings.proxy {
			c.http = &httpConn{Conn: c, client: c}
			c.give(g.http1, c.http)
			return
		}
		v.d.tasks.spawn(c.begin)
		return
	}
}

var errTooMany = errors.New("max_concurrent_connections is reached")

// begin does what comes before the protocol, and hands the connection on.
func (c *client) begin() {
	g := c.gen
	stop := context.AfterFunc(g.ctx, func() { c.Conn.Close() })
	secure, err := c.prepare()
	if g.http1 == nil && err == nil {
		// Streams are ended by their generation, too.
		defer stop()
		c.stream(secure)
		return
	}
	stop()
	switch {
	case err != nil:
		c.Conn.Close()
		c.end()
	case secure == nil:
		c.http = &httpConn{Conn: c, client: c}
		c.give(g.http1, c.http)
	case secure.ConnectionState().NegotiatedProtocol == "h2" && g.http2 != nil:
		t := g.timings.http2
		if t.IdleNoStreams > 0 && t.IdleOpenStreams > 0 {
			c.idle.Store(int64(max(t.IdleNoStreams, t.IdleOpenStreams)))
		}
		c.give(g.http2, secure)
	default:
		s := &secureConn{httpConn{Conn: c.ending(secure), client: c}, secure}
		c.http = &s.httpConn
		c.give(g.http1, s)
	}
}

// ending is the connection as its virtual server and its rules want it to end: with
// a close alert or without. (HTTP/2 always sends one: http.Server wants the
// tls.Conn.)
func (c *client) ending(secure *tls.Conn) net.Conn {
	c.closeAlert.Store(c.server.conf.Load().TLS.SendCloseAlerts)
	return &alertingTLS{secure, c}
}

type alertingTLS struct {
	*tls.Conn
	client *client
}

func (c *alertingTLS) Close() error {
	if c.client.closeAlert.Load() {
		return c.Conn.Close()
	}
	return c.NetConn().Close()
}

// heed takes over what rules said of the connection's end.
func (c *client) heed(s *trafficscript.Transaction) {
	if s != nil && s.TLS != nil {
		c.closeAlert.Store(s.TLS.CloseAlert)
	}
}

// give hands the connection to the server of its protocol.
func (c *client) give(s *httpServer, conn net.Conn) {
	if !s.give(conn) {
		c.Conn.Close()
		c.end()
	}
}

// prepare reads the PROXY header and makes the TLS handshake, where the virtual
// server has them, within its connect_timeout. What fails is told by an event.
func (c *client) prepare() (*tls.Conn, error) {
	t := c.gen.timings
	if t.header > 0 {
		_ = c.SetDeadline(c.server.d.now().Add(t.header))
		defer func() { _ = c.SetDeadline(time.Time{}) }()
	}
	conf := c.server.conf.Load()
	if t.proxy {
		if err := c.readProxyHeader(conf.ProxyProtocolOptional); err != nil {
			c.failed("connfail", conf.LogClientFailures, err)
			return nil, err
		}
	}
	if t.proxy && !c.admit(conf) {
		return nil, errRefused
	}
	if !t.tls {
		return nil, nil
	}
	secure := tls.Server(c, c.server.tlsFor(conf).base)
	if err := secure.HandshakeContext(c.gen.ctx); err != nil {
		if c.gen.ctx.Err() == nil {
			c.failed("sslfail", conf.LogSSLFailures, fmt.Errorf("SSL handshake failed: %w", err))
		}
		return nil, err
	}
	return secure, nil
}

// failed writes to the event log what went wrong with a client's connection. A
// traffic manager does that only if the virtual server's section log wants it;
// here the line is written always, as a warning if it is wanted.
func (c *client) failed(tag string, wanted bool, why error) {
	e := Event{Level: "INFO", Section: "vservers/" + c.server.name, Tag: tag,
		Text: fmt.Sprintf("Connection from %s: %s", c.RemoteAddr(), printable(why.Error()))}
	if wanted {
		e.Level = "WARN"
	}
	c.server.d.event(e)
}

// printable makes one line of text that may hold what a client sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
}

// end is called once, when nobody uses the connection any more.
func (c *client) end() {
	c.watchdog.end()
	if c.cancel != nil {
		c.cancel(nil)
	}
	c.closeTransports()
	c.closed()
	c.admitted.leave()
	c.gen.clients.leave()
}

func (c *client) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func (c *client) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.read(b)
}

func (c *client) read(b []byte) (int, error) {
	c.touch()
	n, err := c.Conn.Read(b)
	c.received(n, err)
	return n, err
}

func (c *client) Write(b []byte) (int, error) {
	c.touch()
	n, err := c.server.d.bandwidth.write(c.server.d, c.Conn, b)
	c.sent(n)
	return n, err
}

// Close ends the connection, by a reset where the virtual server wants that.
func (c *client) Close() error {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok && c.server.conf.Load().CloseWithRST {
		_ = tcp.SetLinger(0)
	}
	return c.Conn.Close()
}

// touch puts off the end of an upgraded connection: data either way counts.
func (c *client) touch() {
	if idle := c.idle.Load(); idle > 0 {
		_ = c.Conn.SetReadDeadline(c.server.d.now().Add(time.Duration(idle)))
	}
}

// CloseWrite passes on the end of one direction of an upgraded connection.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// addrPort returns the address of a connection's end.
func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	default:
		at, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
