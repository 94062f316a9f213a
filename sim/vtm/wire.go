package vtm

import (
	"context"
	"crypto/tls"
	"errors"
	"hash/fnv"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
)

// wire is the network segment on which the members of a cluster raise addresses.
// Several members may listen on one address and port, as machines may that raise
// the same IP address: a connection goes to the one that raised it last, since its
// ARP announcement was the last; of a shared address (multihosted, rhi) to that
// one which the hash of the client's address chooses.
type wire struct {
	world outside.World
	of    *dataplane.AddressMap

	mu        sync.Mutex // guards all below
	listeners map[string]*wireSocket
	packets   map[string]*wirePackets
	// metrics of shared addresses, by mapped address and member: lower goes first.
	metrics map[netip.Addr]map[string]int
}

// wireSocket is one listening socket of this machine.
type wireSocket struct {
	ln    net.Listener
	ended chan struct{}   // closed when its accepting goroutine has ended
	by    []*wireListener // guarded by wire.mu; who raised it last is last
}

type wireListener struct {
	net.Listener // the socket's, for its address
	wire         *wire
	key          string
	member       *gate
	name         string
	waiting      chan net.Conn // without capacity: nothing is left in it by Close
	once         sync.Once
	done         chan struct{}
}

func newWire(world outside.World, m *dataplane.AddressMap) *wire {
	return &wire{world: world, of: m, listeners: make(map[string]*wireSocket), packets: make(map[string]*wirePackets), metrics: make(map[netip.Addr]map[string]int)}
}

// setShared notes whether the addresses of a group are shared.
func (w *wire) setShared(member string, p *placing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range p.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		a = w.of.Map(a)
		if !p.shared() {
			delete(w.metrics, a)
			continue
		}
		if w.metrics[a] == nil {
			w.metrics[a] = make(map[string]int)
		}
		w.metrics[a][member] = 0
		if p.mode == "rhi" && slices.Contains(p.passive, member) {
			w.metrics[a][member] = 1
		}
	}
}

// listen raises address and port for a member.
func (w *wire) listen(actor, network, address string, g *gate) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.listeners[address]
	if s == nil {
		ln, err := w.world.Listen(actor, network, address)
		if err != nil {
			return nil, err
		}
		s = &wireSocket{ln: ln, ended: make(chan struct{})}
		w.listeners[address] = s
		go w.accept(s) // ends when the last member's listener is closed, which waits for it
	}
	for _, other := range s.by {
		if other.name == g.name {
			return nil, &net.OpError{Op: "listen", Net: network, Addr: s.ln.Addr(), Err: syscall.EADDRINUSE}
		}
	}
	l := &wireListener{Listener: s.ln, wire: w, key: address, member: g, name: g.name, waiting: make(chan net.Conn), done: make(chan struct{})}
	s.by = append(s.by, l)
	return l, nil
}

func (w *wire) accept(s *wireSocket) {
	defer close(s.ended)
	for {
		conn, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors: what waits is still served.
			<-w.world.Clock().After(acceptPause)
			continue
		}
		w.give(s, conn)
	}
}

// give waits until a member has accepted a connection; others wait in the
// socket's own queue meanwhile.
func (w *wire) give(s *wireSocket, conn net.Conn) {
	for {
		w.mu.Lock()
		names := make([]string, len(s.by))
		for i, l := range s.by {
			names[i] = l.name
		}
		i := w.choose(names, s.ln.Addr(), conn.RemoteAddr())
		if i < 0 {
			w.mu.Unlock()
			_ = conn.Close()
			return
		}
		l := s.by[i]
		w.mu.Unlock()
		select {
		case l.waiting <- conn:
			return
		case <-l.done: // it has dropped the address: another one may have it
		}
	}
}

// choose says which of the members that have raised an address, in that order,
// gets what comes from a client; -1 if there is none. w.mu is held.
func (w *wire) choose(members []string, address, client net.Addr) int {
	var metrics map[string]int
	if at, err := netip.ParseAddrPort(address.String()); err == nil {
		metrics = w.metrics[at.Addr().Unmap()]
	}
	if metrics == nil || len(members) == 0 {
		return len(members) - 1
	}
	best := slices.MinFunc(members, func(a, b string) int { return metrics[a] - metrics[b] })
	equal := slices.DeleteFunc(slices.Sorted(slices.Values(members)), func(m string) bool { return metrics[m] != metrics[best] })
	host, _, _ := net.SplitHostPort(client.String())
	h := fnv.New32a()
	_, _ = h.Write([]byte(host))
	return slices.Index(members, equal[int(h.Sum32()%uint32(len(equal)))])
}

func (l *wireListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case c := <-l.waiting:
			return l.member.conn(c, gateClients), nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close drops the address for this member, and returns when the socket is free,
// if nobody else has raised it.
func (l *wireListener) Close() error {
	l.once.Do(func() {
		w := l.wire
		w.mu.Lock()
		s := w.listeners[l.key]
		s.by = slices.DeleteFunc(s.by, func(o *wireListener) bool { return o == l })
		close(l.done) // who sees it closed does not choose l again
		last := len(s.by) == 0
		if last {
			delete(w.listeners, l.key)
			_ = s.ln.Close()
		}
		w.mu.Unlock()
		if last {
			<-s.ended
		}
	})
	return nil
}

// memberWorld is the outside of one member's data plane: it listens on the wire,
// and what its gate holds back does not pass.
type memberWorld struct {
	outside.World
	wire *wire
	gate *gate
}

func (m memberWorld) Listen(actor, network, address string) (net.Listener, error) {
	return m.wire.listen(actor, network, address, m.gate)
}

func (m memberWorld) ListenPacket(actor, network, address string) (net.PacketConn, error) {
	return m.wire.listenPacket(actor, network, address, m.gate)
}

func (m memberWorld) Dial(ctx context.Context, actor, network, address string) (net.Conn, error) {
	if err := m.gate.wait(ctx.Done(), gateNodes); err != nil {
		return nil, ctx.Err()
	}
	c, err := m.World.Dial(ctx, actor, network, address)
	if err != nil {
		return nil, err
	}
	return m.gate.conn(c, gateNodes), nil
}

func (m memberWorld) HTTPClient(actor string, c *tls.Config) *http.Client {
	client := m.World.HTTPClient(actor, c)
	client.Transport = gatedTransport{client.Transport, m.gate}
	return client
}

type gatedTransport struct {
	http.RoundTripper
	gate *gate
}

func (g gatedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.gate.wait(r.Context().Done(), gateNodes); err != nil {
		return nil, r.Context().Err()
	}
	return g.RoundTripper.RoundTrip(r)
}

func (g gatedTransport) CloseIdleConnections() {
	if c, ok := g.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
