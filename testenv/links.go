package testenv

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"

	"vtm-ingress/internal/outside"
)

// links are the connections of one controller over real sockets, which can be broken.
// Whoever is cut off hears nothing and is not heard, as if packets were lost: what is
// under way waits.
type links struct {
	outside.World

	mu     sync.Mutex
	cuts   map[string]bool // hosts; "" is all
	dead   bool
	conns  map[*link]struct{}
	change chan struct{} // closed and replaced with each change
}

func newLinks(world outside.World) *links {
	return &links{World: world, cuts: map[string]bool{}, conns: map[*link]struct{}{}, change: make(chan struct{})}
}

// set cuts the links to a host, or heals them.
func (l *links) set(host string, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[host] = cut
	close(l.change)
	l.change = make(chan struct{})
}

// kill ends all connections, and lets none be made any more: the process is gone.
func (l *links) kill() {
	l.mu.Lock()
	l.dead = true
	conns := l.conns
	l.conns = map[*link]struct{}{}
	close(l.change)
	l.change = make(chan struct{})
	l.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

var errDead = errors.New("this process was killed")

// await returns when host can be reached, or with an error when ctx or done ends.
func (l *links) await(ctx context.Context, host string, done <-chan struct{}) error {
	for {
		l.mu.Lock()
		cut, dead, change := l.cuts[host] || l.cuts[""], l.dead, l.change
		l.mu.Unlock()
		switch {
		case dead:
			return errDead
		case !cut:
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-done:
			return net.ErrClosed
		}
	}
}

func (l *links) dial(ctx context.Context, network, address string, dial func(context.Context, string, string) (net.Conn, error)) (net.Conn, error) {
	host := address[:strings.LastIndexByte(address, ':')]
	if err := l.await(ctx, host, nil); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &link{Conn: conn, links: l, host: host, done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errDead}
	}
	l.conns[c] = struct{}{}
	if _, is := conn.(net.PacketConn); is {
		return datagrams{c}, nil
	}
	return c, nil
}

// Dial is World's.
func (l *links) Dial(ctx context.Context, actor, network, address string) (net.Conn, error) {
	return l.dial(ctx, network, address, func(ctx context.Context, network, address string) (net.Conn, error) {
		return l.World.Dial(ctx, actor, network, address)
	})
}

// HTTPClient is World's.
func (l *links) HTTPClient(actor string, tlsConfig *tls.Config) *http.Client {
	c := l.World.HTTPClient(actor, tlsConfig)
	transport := c.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return l.dial(ctx, network, address, dial)
	}
	return c
}

// link is one connection.
type link struct {
	net.Conn
	links *links
	host  string
	once  sync.Once
	done  chan struct{} // closed with it
}

func (c *link) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if cut := c.links.await(context.Background(), c.host, c.done); cut != nil {
		return 0, cut
	}
	return n, err
}

func (c *link) Write(p []byte) (int, error) {
	if cut := c.links.await(context.Background(), c.host, c.done); cut != nil {
		return 0, cut
	}
	return c.Conn.Write(p)
}

func (c *link) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.links.mu.Lock()
		delete(c.links.conns, c)
		c.links.mu.Unlock()
	})
	return c.Conn.Close()
}

// datagrams is a link over UDP: who asks a name server frames messages otherwise, unless
// it sees a net.PacketConn.
type datagrams struct{ *link }

func (d datagrams) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := d.Read(p)
	return n, d.RemoteAddr(), err
}

func (d datagrams) WriteTo(p []byte, _ net.Addr) (int, error) { return d.Write(p) }
