package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxDatagram is what one datagram can hold over IPv4.
const maxDatagram = 65507

// receiveBuffer bounds the datagrams that a socket keeps for its reader; what
// comes on top is lost, as with a real one.
const receiveBuffer = 1024

// packetConn is a socket for datagrams. Each datagram travels alone: it takes its
// own time, may overtake others, and is lost where a Cut or Options.Loss says so.
type packetConn struct {
	network *Network
	actor   string
	at      netip.AddrPort
	peer    netip.AddrPort // of a connected socket; the zero value: none

	mu       sync.Mutex
	cond     sync.Cond // readers wait for a datagram, an error, a deadline or the end
	queue    []datagram
	refused  bool // a connected socket's last datagram found nobody
	closed   bool
	deadline time.Time
	dlTimer  *time.Timer
}

type datagram struct {
	from    netip.AddrPort
	payload []byte
}

func (n *Network) listenPacket(actor, network, address string) (net.PacketConn, error) {
	fail := func(err error) (net.PacketConn, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: stringAddr(address), Err: err}
	}
	at, err := parse(network, "udp", address)
	if err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		at = freePort(n, n.packets, at.Addr())
	}
	c, err := n.addPacketConn(actor, at, netip.AddrPort{})
	if err != nil {
		return fail(err)
	}
	return c, nil
}

// connectPacket makes a socket that talks to one address alone. Nothing is sent,
// so it takes no time and cannot be refused.
func (n *Network) connectPacket(actor, network, address string) (net.Conn, error) {
	peer, err := parse(network, "udp", address)
	if err != nil {
		return nil, err
	}
	number := n.count(actor + ">udp/" + address)
	from, _ := netip.AddrFromSlice(clientAddr(actor, 0).IP.To4())
	// Actors may share an address: the port depends on the actor, too.
	start := Hash(1, actor, 0) + number
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range uint64(50000) {
		at := netip.AddrPortFrom(from, uint16(10000+(start+i)%50000))
		if n.packets[at] == nil {
			return n.addPacketConn(actor, at, peer)
		}
	}
	return nil, syscall.EADDRNOTAVAIL
}

// addPacketConn makes a socket at a free address. n.mu is held.
func (n *Network) addPacketConn(actor string, at, peer netip.AddrPort) (*packetConn, error) {
	switch {
	case n.closed:
		return nil, net.ErrClosed
	case n.packets[at] != nil:
		return nil, syscall.EADDRINUSE
	}
	c := &packetConn{network: n, actor: actor, at: at, peer: peer}
	c.cond.L = &c.mu
	n.packets[at] = c
	return c, nil
}

func (c *packetConn) fail(op string, to net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: to, Err: err}
}

// Write sends a datagram to the peer of a connected socket.
func (c *packetConn) Write(b []byte) (int, error) { return c.send(b, c.peer) }

// WriteTo sends a datagram to an address of type *net.UDPAddr.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.fail("write", to, fmt.Errorf("%T is no address of UDP", to))
	}
	p := udp.AddrPort()
	return c.send(b, netip.AddrPortFrom(p.Addr().Unmap(), p.Port()))
}

func (c *packetConn) send(b []byte, to netip.AddrPort) (int, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return 0, c.fail("write", net.UDPAddrFromAddrPort(to), net.ErrClosed)
	case !to.IsValid():
		return 0, c.fail("write", nil, syscall.EDESTADDRREQ)
	case len(b) > maxDatagram:
		return 0, c.fail("write", net.UDPAddrFromAddrPort(to), syscall.EMSGSIZE)
	}
	n := c.network
	// The port is part of the name: an actor may have several sockets to one address.
	name := c.actor + ":" + strconv.Itoa(int(c.at.Port())) + ">udp/" + to.String()
	number := n.count(name)
	if Hash(n.options.Seed, name+"/loss", number)%1000 < n.options.Loss {
		return len(b), nil
	}
	d := datagram{from: c.at, payload: append([]byte(nil), b...)}
	time.AfterFunc(n.latency(n.named(name), number), func() { c.arrive(d, to) })
	return len(b), nil
}

// arrive hands a datagram of c to who is at the address, if anybody is.
func (c *packetConn) arrive(d datagram, to netip.AddrPort) {
	n := c.network
	n.mu.Lock()
	target := find(n.packets, to)
	n.mu.Unlock()
	broken, _ := n.isCut(c.actor, to.Addr().String())
	if !broken && target != nil {
		// An answer to a client crosses the same link in the other direction.
		host := c.at.Addr()
		if target.peer.IsValid() {
			host = target.peer.Addr()
		}
		broken, _ = n.isCut(target.actor, host.String())
	}
	switch {
	case broken:
	case target == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refused = c.peer.IsValid()
		c.cond.Broadcast()
	default:
		target.take(d)
	}
}

func (c *packetConn) take(d datagram) {
	if c.peer.IsValid() && d.from != c.peer {
		// From all addresses of a machine at once comes what each of them may send.
		if !d.from.Addr().IsUnspecified() || d.from.Port() != c.peer.Port() {
			return
		}
		d.from = c.peer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) == receiveBuffer {
		return
	}
	c.queue = append(c.queue, d)
	c.cond.Signal()
}

// Read returns the next datagram of a connected socket's peer.
func (c *packetConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

// ReadFrom returns the next datagram; what of it b has no room for is lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, nil, c.fail("read", nil, net.ErrClosed)
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, nil, c.fail("read", nil, os.ErrDeadlineExceeded)
		case c.refused:
			c.refused = false
			return 0, nil, c.fail("read", nil, syscall.ECONNREFUSED)
		case len(c.queue) > 0:
			d := c.queue[0]
			c.queue = c.queue[1:]
			return copy(b, d.payload), net.UDPAddrFromAddrPort(d.from), nil
		}
		c.cond.Wait()
	}
}

// Close ends the socket and the reads that wait on it. What is on its way to it is
// lost; what it has sent arrives.
func (c *packetConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return c.fail("close", nil, net.ErrClosed)
	}
	c.closed, c.queue = true, nil
	c.stopTimer()
	c.cond.Broadcast()
	c.mu.Unlock()
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	if c.network.packets[c.at] == c {
		delete(c.network.packets, c.at)
	}
	return nil
}

// stopTimer ends the deadline's timer. c.mu is held.
func (c *packetConn) stopTimer() {
	if c.dlTimer != nil {
		c.dlTimer.Stop()
		c.dlTimer = nil
	}
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.at) }

// RemoteAddr is the peer of a connected socket; nil for another.
func (c *packetConn) RemoteAddr() net.Addr {
	if !c.peer.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.peer)
}

func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopTimer()
	c.deadline = t
	// As in direction.setDeadline: no timer that is due when it is made.
	if left := time.Until(t); !t.IsZero() && left > 0 {
		c.dlTimer = time.AfterFunc(left, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
	}
	c.cond.Broadcast()
	return nil
}

// SetWriteDeadline has nothing to bound: writes never wait.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }
