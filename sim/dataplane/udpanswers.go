package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// openFlow is a socket towards a node that takes answers of others, too.
type openFlow struct {
	net.PacketConn
	node    net.Addr
	accepts func(netip.AddrPort) bool
}

// answers makes of a socket that hears the node's address and port alone one that
// hears whom the pool's udp!accept_from names. Such a socket is not told that a port
// of the node is closed: udp!response_timeout finds that out.
func (n *node) answers(actor string, conn net.Conn) (net.Conn, error) {
	conf, peer := n.pool.conf.Load(), addrPort(conn.RemoteAddr())
	f := &openFlow{node: conn.RemoteAddr()}
	switch conf.UDPAcceptFrom {
	case "all":
		f.accepts = func(netip.AddrPort) bool { return true }
	case "dest_ip_only":
		f.accepts = func(from netip.AddrPort) bool { return from.Addr() == peer.Addr() }
	case "ip_mask":
		networks, err := parsePrefix(conf.UDPAcceptMask)
		if err != nil {
			return conn, nil // checkAnswers said so
		}
		f.accepts = func(from netip.AddrPort) bool { return n.pool.d.within(networks, from.Addr()) }
	default:
		return conn, nil
	}
	local := netip.AddrPortFrom(addrPort(conn.LocalAddr()).Addr(), 0)
	conn.Close()
	var err error
	if f.PacketConn, err = n.pool.d.options.World.ListenPacket(actor, "udp", local.String()); err != nil {
		return nil, err
	}
	return f, nil
}

// within tells whether networks hold an address of this machine, or one that is mapped
// to it.
func (d *DataPlane) within(networks []netip.Prefix, a netip.Addr) bool {
	return within(networks, a) || slices.ContainsFunc(d.options.AddressMap.Entries(), func(e MapEntry) bool {
		return e.To == a && within(networks, e.From)
	})
}

// checkAnswers tells of a udp!accept_from_mask that is needed and is no network.
func (p *pool) checkAnswers(conf *Pool) {
	if conf.UDPAcceptFrom != "ip_mask" {
		return
	}
	if _, err := parsePrefix(conf.UDPAcceptMask); err != nil {
		p.d.event(Event{Level: "SERIOUS", Section: "pools/" + p.name, Tag: "confmod",
			Text: fmt.Sprintf("udp!accept_from_mask: '%s' is no network: answers are taken from the nodes alone; set it as 10.0.0.0/8", printable(conf.UDPAcceptMask))})
	}
}

func (f *openFlow) Read(b []byte) (int, error) {
	for {
		n, from, err := f.ReadFrom(b)
		if err != nil || f.accepts(addrPort(from)) {
			return n, err
		}
	}
}

func (f *openFlow) Write(b []byte) (int, error) { return f.WriteTo(b, f.node) }
func (f *openFlow) RemoteAddr() net.Addr        { return f.node }
