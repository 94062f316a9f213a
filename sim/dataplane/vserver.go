package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// vserver is one virtual server at run time. It lives from its creation to its
// deletion, whatever is changed in between.
type vserver struct {
	d     *DataPlane
	name  string
	stats serverStats

	// For connections and requests, without a lock.

	conf atomic.Pointer[serverConf]
	gen  atomic.Pointer[generation] // nil: takes no connections

	// Under DataPlane.mu.

	deleted   bool // connections may still drain
	claims    []netip.AddrPort
	up        int  // endpoints it owns that are bound
	announced bool // told by a vsstart event
	usedRules []string
	usedPool  string
}

// serverConf is a virtual server's configuration, made ready once.
type serverConf struct {
	*VirtualServer
	requestRules  []string // those enabled
	responseRules []string
	location      *regexp.Regexp // nil: none, or not a regular expression
	problem       string         // why the server cannot run at all
	sites         *sites
}

func (c *serverConf) runs() bool { return c.Enabled && c.problem == "" }

func newServerConf(v *VirtualServer) (*serverConf, error) {
	c := &serverConf{
		VirtualServer: v,
		requestRules:  enabledRules(v.RequestRules),
		responseRules: enabledRules(v.ResponseRules),
	}
	var err error
	if v.LocationRegex != "" {
		c.location, err = regexp.Compile(v.LocationRegex)
	}
	if v.Protocol != "http" {
		c.problem = fmt.Sprintf("protocol '%s' is not emulated", v.Protocol)
	}
	if v.SSLDecrypt {
		c.sites = newSites(v)
	}
	return c, err
}

// enabledRules leaves out the uses that are switched off by a leading '/'.
func enabledRules(names []string) []string {
	var list []string
	for _, n := range names {
		if !strings.HasPrefix(n, "/") {
			list = append(list, n)
		}
	}
	return list
}

// listensOn keeps the index of the virtual servers whose addresses a Traffic IP
// Group's change concerns; conf nil leaves it as it is. The caller holds d.mu.
func (d *DataPlane) listensOn(name string, conf *serverConf, on bool) {
	switch {
	case conf == nil:
	case conf.ListenOnAny && on:
		d.anywhere[name] = true
	case conf.ListenOnAny:
		delete(d.anywhere, name)
	default:
		for _, g := range conf.ListenOnTrafficIPs {
			switch servers := d.listeners[g]; {
			case on && servers == nil:
				d.listeners[g] = map[string]bool{name: true}
			case on:
				servers[name] = true
			default:
				delete(servers, name)
				if len(servers) == 0 {
					delete(d.listeners, g)
				}
			}
		}
	}
}

// applyServer stores a virtual server's configuration; nil deletes it. Its
// listeners follow by claim and resolve. The caller holds d.mu.
func (d *DataPlane) applyServer(name string, vs *VirtualServer) {
	v := d.servers[name]
	if v == nil {
		v = &vserver{d: d, name: name}
		d.servers[name] = v
	}
	section := "vservers/" + name
	for _, r := range v.usedRules {
		d.uses.rule(r, -1)
	}
	if v.usedPool != "" {
		d.uses.pool(v.usedPool, -1)
	}
	v.usedRules, v.usedPool = nil, ""
	d.listensOn(name, v.conf.Load(), false)
	if v.deleted = vs == nil; v.deleted {
		return
	}
	conf, err := newServerConf(vs)
	if err != nil {
		d.event(Event{Level: "SERIOUS", Section: section, Tag: "confmod", Text: fmt.Sprintf("http!location_regex is ignored: %v", err)})
	}
	if conf.Enabled {
		v.usedRules = append(append(v.usedRules, conf.requestRules...), conf.responseRules...)
		for _, r := range v.usedRules {
			d.uses.rule(r, 1)
			if d.rule(r) == nil {
				d.missing(section, "rule", r)
			}
		}
		if conf.Pool != discard {
			v.usedPool = conf.Pool
			d.uses.pool(conf.Pool, 1)
			if d.pool(conf.Pool) == nil {
				d.missing(section, "pool", conf.Pool)
			}
		}
		for _, g := range conf.ListenOnTrafficIPs {
			if d.groups[g] == nil && !conf.ListenOnAny {
				d.missing(section, "Traffic IP Group", g)
			}
		}
		if conf.problem != "" {
			d.event(Event{Level: "SERIOUS", Section: section, Tag: "confmod", Text: "Virtual server cannot start: " + conf.problem})
		}
		for _, key := range conf.sites.keys() {
			if d.key(key) == nil {
				d.missing(section, "server key", key)
			}
		}
	}
	v.conf.Store(conf)
	d.listensOn(name, conf, true)
	if conf.runs() {
		v.start(conf)
	} else {
		v.stop()
	}
}

// announce tells when the server has begun or ceased to listen. The caller holds
// d.mu.
func (v *vserver) announce() {
	if up := v.up > 0; up != v.announced {
		v.announced = up
		e := Event{Level: "INFO", Section: "vservers/" + v.name, Tag: "vsstop", Text: "Virtual server stopped"}
		if up {
			e.Tag, e.Text = "vsstart", "Virtual server started"
		}
		v.d.event(e)
	}
}

// generation is an http.Server: that part of a virtual server which cannot change
// while connections use it. Connections stay with the one they began with, and
// read all other configuration from the virtual server at each request.
type generation struct {
	server  *http.Server
	timings timings
	tls     *tls.Config        // nil: plain
	cancel  context.CancelFunc // ends requests, upgraded ones too
	clients group              // connections
	queue   chan net.Conn      // unbuffered: accepted connections on their way to the server
	closed  chan struct{}      // the server takes no more connections
}

// timings are the settings that are fixed within a generation.
type timings struct {
	header, idle time.Duration
	maxHeader    int
	tls, http2   bool
}

// defaultClientBuffer is connection!max_client_buffer where it is not set.
const defaultClientBuffer = 64 << 10

func (c *serverConf) clientBuffer() int {
	if c.MaxClientBuffer <= 0 {
		return defaultClientBuffer
	}
	return c.MaxClientBuffer
}

// start makes the generation that conf needs, if it is not the present one. The
// one before goes on with its connections until they end. The caller holds d.mu.
func (v *vserver) start(conf *serverConf) {
	t := timings{conf.ConnectTimeout, conf.KeepaliveTimeout, conf.clientBuffer(), conf.SSLDecrypt, conf.HTTP2.Enabled}
	old := v.gen.Load()
	if old != nil && old.timings == t {
		return
	}
	g := &generation{timings: t, queue: make(chan net.Conn), closed: make(chan struct{})}
	d := v.d
	ctx, cancel := context.WithCancel(d.ctx)
	g.cancel = cancel
	if t.tls {
		g.tls = v.tlsConfig(t.http2)
	}
	g.server = &http.Server{
		Handler:           v,
		ReadHeaderTimeout: t.header,
		IdleTimeout:       t.idle,
		MaxHeaderBytes:    t.maxHeader,
		// "OPTIONS *" is the node's to answer.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, clientOf(c))
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			switch s {
			case http.StateHijacked:
				clientOf(c).hijacked.Store(true)
			case http.StateClosed:
				clientOf(c).end()
			}
		},
		// What clients do wrong is not worth more.
		ErrorLog: d.proxyLog,
	}
	d.generations[g] = struct{}{}
	d.tasks.spawn(func() {
		// It ends when the generation is closed.
		_ = g.server.Serve(g)
	})
	v.gen.Store(g)
	if old != nil {
		v.retire(old, 0)
	}
}

// drainLimit is how long requests of a stopped virtual server may go on.
const drainLimit = 30 * time.Second

// stop takes no more connections, ends the idle ones, and lets requests end
// within drainLimit. The caller holds d.mu.
func (v *vserver) stop() {
	g := v.gen.Swap(nil)
	if g == nil {
		return
	}
	v.retire(g, drainLimit)
	g.server.SetKeepAlivesEnabled(false)
}

// retire closes a generation when its connections have ended, or limit has
// passed (0: none). The caller holds d.mu.
func (v *vserver) retire(g *generation, limit time.Duration) {
	ended := g.clients.close()
	v.d.tasks.spawn(func() {
		var late <-chan time.Time
		if limit > 0 {
			timer := v.d.options.World.Clock().NewTimer(limit)
			defer timer.Stop()
			late = timer.C()
		}
		select {
		case <-ended:
		case <-late:
		case <-v.d.ctx.Done():
		}
		g.cancel()
		g.server.Close()
		<-ended
		v.d.mu.Lock()
		defer v.d.mu.Unlock()
		delete(v.d.generations, g)
	})
}

// A generation is the net.Listener of its server: virtual servers hand it
// connections that come from sockets of any number.

func (g *generation) Accept() (net.Conn, error) {
	select {
	case c := <-g.queue:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *generation) Close() error {
	close(g.closed) // http.Server calls it once
	return nil
}

func (g *generation) Addr() net.Addr { return &net.TCPAddr{} }

// serve takes a connection that came to one of the server's addresses.
func (v *vserver) serve(at netip.AddrPort, conn net.Conn) {
	c := &client{Conn: conn, server: v, at: at}
	if at.Addr().IsUnspecified() {
		c.at = addrPort(conn.LocalAddr())
	}
	for {
		g := v.gen.Load()
		if g == nil {
			conn.Close()
			return
		}
		if !g.clients.enter() {
			continue // another generation has just begun
		}
		c.gen = g
		c.opened()
		var top net.Conn = c
		if g.timings.tls {
			top = tls.Server(c, g.tls)
		}
		select {
		case g.queue <- top:
		case <-g.closed:
			conn.Close()
			c.end()
		}
		return
	}
}

// clientKey is the context key of a request's client.
type clientKey struct{}

// client is a connection from a client.
type client struct {
	net.Conn
	server *vserver
	gen    *generation
	at     netip.AddrPort // the configured address it connected to

	// By the TLS handshake; read after it.

	site siteChoice
	cert *tls.Certificate

	hijacked atomic.Bool // a handler has it: it ends with that handler
	// idle, in ns, ends an upgraded connection that carries nothing for so long.
	idle atomic.Int64

	clientState
	clientStats
}

// clientOf finds the client below a connection of an http.Server.
func clientOf(c net.Conn) *client {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*client)
}

// end is called once, when nobody uses the connection any more.
func (c *client) end() {
	c.closeTransports()
	c.closed()
	c.gen.clients.leave()
}

func (c *client) Read(b []byte) (int, error) {
	c.touch()
	n, err := c.Conn.Read(b)
	c.received(n, err)
	return n, err
}

func (c *client) Write(b []byte) (int, error) {
	c.touch()
	n, err := c.Conn.Write(b)
	c.sent(n)
	return n, err
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

// addrPort returns the address of a TCP connection's end.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	at, _ := netip.ParseAddrPort(a.String())
	return at
}
