package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// endpoint is one configured address and port that virtual servers claim. One of
// them owns it and gets its connections: a claim to the very address goes before
// one by listen_on_any, and among equals the first comer. The others wait, and
// the endpoint passes to the next when its owner goes. All of it belongs to
// DataPlane.mu.
type endpoint struct {
	at     place
	claims []*claim // in order of arrival
	socket *socket
	err    error // why it is not bound
}

// place is an address and port of TCP or of UDP: both may be used at once.
type place struct {
	netip.AddrPort
	udp bool
}

func (p place) compare(o place) int {
	if p.udp != o.udp {
		if p.udp {
			return 1
		}
		return -1
	}
	return p.AddrPort.Compare(o.AddrPort)
}

type claim struct {
	server   *vserver
	specific bool
	told     bool // an event said that it must wait
}

// owner returns the claim that gets the connections.
func (e *endpoint) owner() *claim {
	for _, c := range e.claims {
		if c.specific {
			return c
		}
	}
	return e.claims[0]
}

// hosts tells whether this traffic manager raises the addresses of a group: it
// is among the machines, and not only as one that waits for the others.
func (d *DataPlane) hosts(g *TrafficIPGroup) bool {
	if g == nil || !g.Enabled || !slices.Contains(g.Machines, d.options.Name) {
		return false
	}
	if !slices.Contains(g.Slaves, d.options.Name) {
		return true
	}
	return !slices.ContainsFunc(g.Machines, func(m string) bool { return !slices.Contains(g.Slaves, m) })
}

// raisedText returns the addresses of a group that are raised here, as they are
// written.
func (d *DataPlane) raisedText(g *TrafficIPGroup) []string {
	switch {
	case g != nil && g.Raise != nil:
		return g.Raise
	case d.hosts(g):
		return g.IPAddresses
	}
	return nil
}

// raised returns the addresses of a group that are raised here.
func (d *DataPlane) raised(g *TrafficIPGroup) []netip.Addr {
	var list []netip.Addr
	for _, text := range d.raisedText(g) {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a.Unmap())
		}
	}
	return list
}

// wanted returns the endpoints that a virtual server asks for, and whether it
// asks for these addresses in particular.
func (d *DataPlane) wanted(v *vserver) (list []place, specific bool) {
	conf := v.conf.Load()
	if v.deleted || conf == nil || !conf.runs() {
		return nil, false
	}
	add := func(a netip.Addr) {
		if at := (place{netip.AddrPortFrom(a, uint16(conf.Port)), conf.mode == modeUDP}); !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	if conf.ListenOnAny {
		add(d.own)
		if !d.own.IsUnspecified() {
			for _, name := range sorted(d.groups) {
				for _, a := range d.raised(d.groups[name]) {
					add(a)
				}
			}
		}
		return list, false
	}
	for _, name := range conf.ListenOnTrafficIPs {
		for _, a := range d.raised(d.groups[name]) {
			add(a)
		}
	}
	for _, host := range conf.ListenOnHosts {
		if host == d.options.Name {
			add(d.own)
		} else if a, err := netip.ParseAddr(host); err == nil && !d.elsewhere(a.Unmap()) {
			add(a.Unmap())
		}
	}
	return list, true
}

// elsewhere reports whether another machine has the address: each listens on its
// own of those that a virtual server names.
func (d *DataPlane) elsewhere(a netip.Addr) bool {
	return d.options.Elsewhere != nil && d.options.Elsewhere(a)
}

// claim brings a virtual server's claims in line with its configuration and
// notes the endpoints to resolve.
func (d *DataPlane) claim(v *vserver, changed map[place]bool) {
	wanted, specific := d.wanted(v)
	for _, at := range v.claims {
		e := d.endpoints[at]
		keep := slices.Contains(wanted, at)
		e.claims = slices.DeleteFunc(e.claims, func(c *claim) bool {
			return c.server == v && (!keep || c.specific != specific)
		})
		changed[at] = true
	}
	for _, at := range wanted {
		e := d.endpoints[at]
		if e == nil {
			e = &endpoint{at: at}
			d.endpoints[at] = e
		}
		if !slices.ContainsFunc(e.claims, func(c *claim) bool { return c.server == v }) {
			e.claims = append(e.claims, &claim{server: v, specific: specific})
		}
		changed[at] = true
	}
	v.claims = wanted
}

// resolve gives each changed endpoint to its owner: first closes the sockets that
// nobody wants, then opens new ones. Virtual servers that now listen, or no
// longer do, say so.
func (d *DataPlane) resolve(changed map[place]bool) {
	order := make([]place, 0, len(changed))
	for at := range changed {
		order = append(order, at)
	}
	slices.SortFunc(order, place.compare)
	d.endDraining(func(s *socket) bool { return d.lowered(s.at.Addr()) })
	servers := make(map[string]*vserver)
	for _, at := range order {
		e := d.endpoints[at]
		if e.socket != nil {
			old := e.socket.owner.Load()
			servers[old.name] = old
		}
		if len(e.claims) == 0 {
			if e.socket != nil {
				e.socket.owner.Load().up--
				if d.lowered(at.Addr()) || !e.socket.drain() {
					e.socket.close()
				} else {
					d.draining = append(d.draining, e.socket)
				}
			}
			delete(d.endpoints, at)
		}
	}
	for _, at := range order {
		e := d.endpoints[at]
		if e == nil {
			continue
		}
		for _, c := range e.claims {
			servers[c.server.name] = c.server
		}
		d.bind(e)
	}
	for _, name := range sorted(servers) {
		servers[name].announce()
	}
}

// bind makes the endpoint's socket, if it has none, and gives it to the owner.
func (d *DataPlane) bind(e *endpoint) {
	owner := e.owner()
	for _, c := range e.claims {
		waits := c != owner && c.specific == owner.specific
		if waits && !c.told {
			d.event(Event{Level: "SERIOUS", Section: "vservers/" + c.server.name, Tag: "confmod",
				Text: fmt.Sprintf("Cannot listen on %s: virtual server '%s' has this address and port", e.at, owner.server.name)})
		}
		c.told = waits
	}
	if e.socket != nil {
		if old := e.socket.owner.Swap(owner.server); old != owner.server {
			old.up--
			owner.server.up++
		}
		return
	}
	told := e.err != nil
	if e.at.udp {
		// Who listens goes before what only drains.
		d.endDraining(func(s *socket) bool { return s.at.Port() == e.at.Port() })
	}
	if e.socket, e.err = d.listen(e.at, owner.server); e.err != nil {
		if !told {
			d.event(Event{Level: "SERIOUS", Section: "vservers/" + owner.server.name, Tag: "confmod",
				Text: fmt.Sprintf("Cannot listen on %s: %v; trying again", e.at, e.err)})
		}
		select {
		case d.rebind <- struct{}{}:
		default:
		}
		return
	}
	owner.server.up++
}

// lowered tells whether an address is of a Traffic IP Group and not raised here:
// another machine may be about to bind it. The caller holds d.mu.
func (d *DataPlane) lowered(a netip.Addr) bool {
	named := false
	for _, g := range d.groups {
		if slices.Contains(d.raised(g), a) {
			return false
		}
		named = named || slices.ContainsFunc(g.IPAddresses, func(text string) bool {
			ip, err := netip.ParseAddr(text)
			return err == nil && ip.Unmap() == a
		})
	}
	return named
}

// endDraining closes those sockets that only drain for which needed holds, and
// forgets those that have ended. The caller holds d.mu.
func (d *DataPlane) endDraining(needed func(*socket) bool) {
	d.draining = slices.DeleteFunc(d.draining, func(s *socket) bool {
		select {
		case <-s.done:
			return true
		default:
		}
		if !needed(s) {
			return false
		}
		s.close()
		return true
	})
}

// rebindEvery is the pause between attempts to bind what could not be bound: the
// address may still be held by the machine it moves from.
const rebindEvery = time.Second

func (d *DataPlane) rebindLoop() {
	for {
		select {
		case <-d.rebind:
		case <-d.ctx.Done():
			return
		}
		if !sleep(d.ctx, d.options.World.Clock(), rebindEvery) {
			return
		}
		d.mu.Lock()
		failed := make(map[place]bool)
		if !d.closed {
			for at, e := range d.endpoints {
				if e.err != nil {
					failed[at] = true
				}
			}
			d.resolve(failed)
		}
		d.mu.Unlock()
	}
}

// socket is one listening socket. Who gets its connections can change while it
// listens.
type socket struct {
	d     *DataPlane
	at    netip.AddrPort // the configured address, not the mapped one
	ln    net.Listener   // of TCP
	udp   *udpSocket     // of UDP
	owner atomic.Pointer[vserver]
	done  chan struct{} // closed when the accepting goroutine has ended
}

// listen binds a configured address and port on this machine. A port below 1024
// that may not be bound becomes one 8000 higher.
func (d *DataPlane) listen(at place, owner *vserver) (*socket, error) {
	m := d.options.AddressMap
	to := m.MapPort(at.AddrPort)
	s := &socket{d: d, at: at.AddrPort, done: make(chan struct{})}
	s.owner.Store(owner)
	err := s.open(at, to)
	if err != nil && errors.Is(err, syscall.EACCES) && to.Port() < 1024 {
		moved := netip.AddrPortFrom(to.Addr(), MovedPort(to.Port()))
		if s.open(at, moved) == nil {
			m.movePort(to, moved.Port())
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	if at.udp {
		d.tasks.spawn(s.receive)
	} else {
		d.tasks.spawn(s.accept)
	}
	return s, nil
}

// open binds an address of this machine.
func (s *socket) open(at place, to netip.AddrPort) (err error) {
	world, actor := s.d.options.World, s.d.actor("listen/"+at.String())
	if !at.udp {
		s.ln, err = world.Listen(actor, "tcp", to.String())
		return err
	}
	conn, err := world.ListenPacket(actor+"/udp", "udp", to.String())
	if err == nil {
		s.udp = &udpSocket{conn: conn, flows: make(map[netip.AddrPort]*udpFlow), open: make(map[*udpFlow]struct{})}
	}
	return err
}

// accept hands each connection to the owner of that moment.
func (s *socket) accept() {
	defer close(s.done)
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if s.ended(err) {
				return
			}
			continue
		}
		s.owner.Load().serve(s.at, conn)
	}
}

// ended tells whether a failure is the socket's end; otherwise it waits a little.
func (s *socket) ended(err error) bool {
	if errors.Is(err, net.ErrClosed) || s.d.ctx.Err() != nil {
		return true
	}
	// Out of file descriptors, or a connection that broke at once: the others must
	// still be served.
	s.d.options.Log.Warn("cannot accept a connection", "address", s.at.String(), "error", err)
	return !sleep(s.d.ctx, s.d.options.World.Clock(), 10*time.Millisecond)
}

// drain lets the flows of a socket of UDP end, and the socket with the last of them;
// false when there is nothing to wait for. Connections of TCP need no socket that
// listens.
func (s *socket) drain() bool { return s.udp != nil && s.udp.drain() }

// close stops listening and returns when the socket is free to be bound again.
func (s *socket) close() {
	if s.udp != nil {
		s.udp.close()
	} else {
		s.ln.Close()
	}
	<-s.done
}
