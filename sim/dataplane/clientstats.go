package dataplane

import (
	"crypto/tls"
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// clientStats is what counting needs to know of a client's connection.
type clientStats struct {
	ip       *ipStats
	busy     atomic.Int32 // requests under way
	deadline atomic.Int64 // for reading, in ns of Unix time
	timedOut atomic.Bool  // counted as timed out
	// fresh tells that bytes came since the last request ended; while none is under
	// way they are the beginning of another.
	fresh atomic.Bool
}

// opened counts a connection that begins.
func (c *client) opened() {
	d := c.server.d
	c.ip = d.stats.ip(c.at.Addr())
	c.ip.conns.up()
	c.server.stats.conns.up()
	d.stats.conns.up()
	d.stats.add(gConns, 1)
}

// closed counts its end.
func (c *client) closed() {
	c.ip.conns.down()
	c.server.stats.conns.down()
	c.server.d.stats.conns.down()
}

// received counts what came from the client, and why nothing did.
func (c *client) received(n int, err error) {
	v, d := c.server, c.server.d
	if n > 0 {
		now := d.now()
		v.stats.add(vsBytesIn, int64(n))
		v.stats.throughput.add(now, int64(n))
		c.ip.bytesIn.Add(int64(n))
		d.stats.add(gBytesIn, int64(n))
		d.stats.bytesIn.add(now, int64(n))
		c.fresh.Store(true)
	}
	if err != nil && c.hijacked.Load() && errors.Is(err, os.ErrDeadlineExceeded) && !c.timedOut.Swap(true) {
		v.stats.inc(vsDataTimedOut)
		return
	}
	// net/http ends its own reads by a deadline in the distant past: no time-out.
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.busy.Load() > 0 || c.deadline.Load() < int64(time.Hour) || c.timedOut.Swap(true) {
		return
	}
	if c.fresh.Load() || c.requests.Load() == 0 {
		v.stats.inc(vsConnectTimedOut)
	} else {
		v.stats.inc(vsKeepaliveTimedOut)
	}
}

// sent counts what went to the client.
func (c *client) sent(n int) {
	v, d := c.server, c.server.d
	now := d.now()
	v.stats.add(vsBytesOut, int64(n))
	v.stats.throughput.add(now, int64(n))
	c.ip.bytesOut.Add(int64(n))
	d.stats.add(gBytesOut, int64(n))
	d.stats.bytesOut.add(now, int64(n))
}

// SetReadDeadline notes until when a read may wait.
func (c *client) SetReadDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline notes until when a read may wait.
func (c *client) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

func (c *client) note(t time.Time) {
	if t.IsZero() {
		c.deadline.Store(0)
	} else {
		c.deadline.Store(t.UnixNano())
	}
}

// countRequest counts a request of HTTP that begins.
func (v *vserver) countRequest(c *client, major int) {
	v.countTransaction(c)
	v.stats.inc(vsHTTPRequests)
	if major >= 2 {
		v.stats.inc(vsHTTP2Requests)
	} else {
		v.stats.inc(vsHTTP1Requests)
	}
}

// countTransaction counts what one client asks of a virtual server: a request of
// HTTP, or a connection of another protocol.
func (v *vserver) countTransaction(c *client) {
	v.stats.inc(vsRequests)
	c.ip.requests.Add(1)
	v.d.stats.add(gRequests, 1)
	v.d.stats.reqs.add(v.d.now(), 1)
}

// countHandshake counts a TLS handshake that succeeded.
func (v *vserver) countHandshake(state tls.ConnectionState) error {
	s := &v.d.stats
	s.add(gSSL, 1)
	s.ssl.add(v.d.now(), 1)
	switch state.Version {
	case tls.VersionTLS10:
		s.add(gTLS10, 1)
	case tls.VersionTLS11:
		s.add(gTLS11, 1)
	case tls.VersionTLS12:
		s.add(gTLS12, 1)
	case tls.VersionTLS13:
		s.add(gTLS13, 1)
	}
	if state.DidResume {
		v.stats.inc(vsTicketResumed)
	} else {
		v.stats.inc(vsSSLNew)
	}
	return nil
}
