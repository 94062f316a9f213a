package network

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"vtm-ingress/internal/outside"
)

// Options of a Network. The zero value works.
type Options struct {
	// Seed decides every delay.
	Seed uint64
	// Latency is the least time a message takes (0: 200 µs), and Spread what the
	// hash may add (0: 1 ms).
	Latency, Spread time.Duration
	// Loss is how many of 1,000 datagrams never arrive.
	Loss uint64
	// Trace, if set, records every connection and every HTTP request made through
	// the World.
	Trace *Trace
}

// Network is an in-memory network. Make it inside the bubble that uses it.
type Network struct {
	options Options

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	packets   map[netip.AddrPort]*packetConn
	conns     map[*pair]struct{}
	counts    map[string]uint64 // connections by actor>address; streams by name
	cuts      map[cut]struct{}
	healed    chan struct{} // closed and replaced whenever a cut heals
	nextPort  uint16
	closed    bool
}

// New returns a network without listeners.
func New(o Options) *Network {
	if o.Latency == 0 {
		o.Latency = 200 * time.Microsecond
	}
	if o.Spread == 0 {
		o.Spread = time.Millisecond
	}
	return &Network{
		options:   o,
		listeners: map[netip.AddrPort]*listener{},
		packets:   map[netip.AddrPort]*packetConn{},
		conns:     map[*pair]struct{}{},
		counts:    map[string]uint64{},
		cuts:      map[cut]struct{}{},
		healed:    make(chan struct{}),
		nextPort:  40000,
	}
}

// World is the outside of everything that lives on this network. Its clock is
// the bubble's.
func (n *Network) World() outside.World { return world{n} }

// Close ends every listener and connection. A dial after it is refused.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	var listeners []*listener
	for _, l := range n.listeners {
		listeners = append(listeners, l)
	}
	sockets := slices.Collect(maps.Values(n.packets))
	pairs := make([]*pair, 0, len(n.conns))
	for p := range n.conns {
		pairs = append(pairs, p)
	}
	n.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range sockets {
		c.Close()
	}
	for _, p := range pairs {
		p.reset()
	}
}

// cut is a broken link between actors and hosts.
type cut struct{ actor, host string }

func (c cut) holds(actor, host string) bool {
	return strings.HasPrefix(actor, c.actor) && (c.host == "" || host == c.host)
}

// Cut breaks the link between the actors whose name begins with actor and host
// (an IP address; "" is every host), in both directions. What is sent meanwhile
// is held back, as by a network that retransmits, and new connections wait.
func (n *Network) Cut(actor, host string) {
	n.mu.Lock()
	n.cuts[cut{actor, host}] = struct{}{}
	n.mu.Unlock()
}

// Heal undoes a Cut with the same arguments. What was held back arrives after
// another latency each.
func (n *Network) Heal(actor, host string) {
	n.mu.Lock()
	delete(n.cuts, cut{actor, host})
	close(n.healed)
	n.healed = make(chan struct{})
	pairs := make([]*pair, 0, len(n.conns))
	for p := range n.conns {
		pairs = append(pairs, p)
	}
	n.mu.Unlock()
	for _, p := range pairs {
		p.toServer.wake()
		p.toClient.wake()
	}
}

// isCut reports whether actor and host cannot reach each other, and a channel
// that is closed when that may have changed.
func (n *Network) isCut(actor, host string) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.cuts {
		if c.holds(actor, host) {
			return true, n.healed
		}
	}
	return false, n.healed
}

// count is the next number of a name, from 0.
func (n *Network) count(name string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.counts[name]
	n.counts[name] = c + 1
	return c
}

// named is the chance of what has this name.
func (n *Network) named(name string) chance { return named(n.options.Seed, name) }

// latency of a message on the connection that c is of.
func (n *Network) latency(c chance, message uint64) time.Duration {
	return n.options.Latency + c.duration(message, n.options.Spread)
}

func (n *Network) dial(ctx context.Context, actor, network, address string) (net.Conn, error) {
	c, err := n.connect(ctx, actor, network, address)
	if trace := n.options.Trace; trace != nil {
		outcome := "connected"
		switch {
		case ctx.Err() != nil:
			outcome = "ended"
		case err != nil:
			outcome = "refused"
		}
		trace.Add(actor, "dial "+address+" "+outcome)
	}
	return c, err
}

func (n *Network) connect(ctx context.Context, actor, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: stringAddr(address), Err: err}
	}
	if strings.HasPrefix(network, "udp") {
		c, err := n.connectPacket(actor, network, address)
		if err != nil {
			return fail(err)
		}
		return c, nil
	}
	target, err := parse(network, "tcp", address)
	if err != nil {
		return fail(err)
	}
	name := actor + ">" + address
	number := n.count(name)
	name += "#" + strconv.FormatUint(number, 10)

	for first := true; first; {
		broken, healed := n.isCut(actor, target.Addr().String())
		if !broken {
			first = false
			continue
		}
		select {
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-healed:
		}
	}
	chance := n.named(name)
	timer := time.NewTimer(n.latency(chance.text("/dial"), 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-timer.C:
	}

	n.mu.Lock()
	l := find(n.listeners, target)
	if l == nil || n.closed {
		n.mu.Unlock()
		return fail(syscall.ECONNREFUSED)
	}
	p := newPair(n, chance, actor, target, clientAddr(actor, number))
	n.conns[p] = struct{}{}
	n.mu.Unlock()
	if !l.push(p.server()) {
		p.reset()
		return fail(syscall.ECONNREFUSED)
	}
	return p.client(), nil
}

// find returns who has the target; one on the address itself goes before one on
// all addresses.
func find[S any](at map[netip.AddrPort]*S, target netip.AddrPort) *S {
	if s := at[target]; s != nil {
		return s
	}
	any := netip.IPv4Unspecified()
	if target.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	if s := at[netip.AddrPortFrom(any, target.Port())]; s != nil {
		return s
	}
	return at[netip.AddrPortFrom(netip.IPv6Unspecified(), target.Port())]
}

func (n *Network) listen(network, address string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: stringAddr(address), Err: err}
	}
	at, err := parse(network, "tcp", address)
	if err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fail(net.ErrClosed)
	}
	if at.Port() == 0 {
		at = freePort(n, n.listeners, at.Addr())
	}
	if n.listeners[at] != nil {
		return fail(syscall.EADDRINUSE)
	}
	l := &listener{network: n, at: at, waiting: make(chan struct{}, 1), done: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

// freePort is address with a port that nobody in at has. n.mu is held.
func freePort[S any](n *Network, at map[netip.AddrPort]*S, address netip.Addr) netip.AddrPort {
	for at[netip.AddrPortFrom(address, n.nextPort)] != nil {
		n.nextPort++
	}
	n.nextPort++
	return netip.AddrPortFrom(address, n.nextPort-1)
}

// parse reads an address of a network whose name begins with kind, "tcp" or "udp".
// Without a host it is every address.
func parse(network, kind, address string) (netip.AddrPort, error) {
	if !strings.HasPrefix(network, kind) {
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return at, fmt.Errorf("this network knows IP addresses and ports only: %w", err)
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

// clientAddr is where a connection of an actor seems to come from: an address of
// 10.99.0.0/16 for each actor and a port for each connection.
func clientAddr(actor string, number uint64) *net.TCPAddr {
	h := Hash(0, actor, 0)
	return &net.TCPAddr{IP: net.IPv4(10, 99, byte(h), byte(h>>8)), Port: int(10000 + number%50000)}
}

type stringAddr string

func (stringAddr) Network() string  { return "tcp" }
func (a stringAddr) String() string { return string(a) }

type listener struct {
	network *Network
	at      netip.AddrPort
	waiting chan struct{} // capacity 1: there may be something in queue
	done    chan struct{}

	mu     sync.Mutex
	queue  []net.Conn // accepted by nobody yet; as long as there are dials
	closed bool
}

// push hands a connection to Accept; false if the listener is closed.
func (l *listener) push(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	l.signal()
	return true
}

func (l *listener) signal() {
	select {
	case l.waiting <- struct{}{}:
	default:
	}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			if len(l.queue) > 0 {
				l.signal()
			}
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		select {
		case <-l.waiting:
		case <-l.done:
		}
	}
}

func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	queue := l.queue
	l.queue = nil
	close(l.done)
	l.mu.Unlock()
	l.network.mu.Lock()
	if l.network.listeners[l.at] == l {
		delete(l.network.listeners, l.at)
	}
	l.network.mu.Unlock()
	for _, c := range queue {
		c.Close()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

type world struct{ n *Network }

func (w world) Clock() outside.Clock { return clock.RealClock{} }

func (w world) Dial(ctx context.Context, actor, network, address string) (net.Conn, error) {
	return w.n.dial(ctx, actor, network, address)
}

func (w world) Listen(_, network, address string) (net.Listener, error) {
	return w.n.listen(network, address)
}

func (w world) ListenPacket(actor, network, address string) (net.PacketConn, error) {
	return w.n.listenPacket(actor, network, address)
}

func (w world) Jitter(name string, n uint64, d time.Duration) time.Duration {
	return w.n.named("jitter/").text(name).duration(n, d)
}

// Rand numbers its calls of one name, so that two readers never repeat each
// other.
func (w world) Rand(name string) io.Reader {
	return stream(w.n.options.Seed, name, w.n.count("rand/"+name))
}
