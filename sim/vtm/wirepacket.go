package vtm

import (
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Datagrams on the wire: the members that have raised an address share one socket
// of this machine, and each datagram goes to the one that a connection would go to.

// packetQueue is how many datagrams wait for a member; what comes on top is lost.
const packetQueue = 1024

// wirePackets is one socket of this machine.
type wirePackets struct {
	conn  net.PacketConn
	ended chan struct{} // closed when its receiving goroutine has ended
	by    []*wirePacket // guarded by wire.mu; who raised it last is last
}

// wirePacket is a member's share of it.
type wirePacket struct {
	net.PacketConn // the socket's, for writing and its address
	wire           *wire
	key            string
	member         *gate
	waiting        chan packet
	once           sync.Once
	done           chan struct{}
}

type packet struct {
	bytes []byte
	from  net.Addr
}

// listenPacket raises address and port of UDP for a member.
func (w *wire) listenPacket(actor, network, address string, g *gate) (net.PacketConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.packets[address]
	if s == nil {
		conn, err := w.world.ListenPacket(actor, network, address)
		if err != nil {
			return nil, err
		}
		s = &wirePackets{conn: conn, ended: make(chan struct{})}
		w.packets[address] = s
		go w.receive(s) // ends when the last member's share is closed, which waits for it
	}
	for _, other := range s.by {
		if other.member == g {
			return nil, &net.OpError{Op: "listen", Net: network, Addr: s.conn.LocalAddr(), Err: syscall.EADDRINUSE}
		}
	}
	p := &wirePacket{PacketConn: s.conn, wire: w, key: address, member: g, waiting: make(chan packet, packetQueue), done: make(chan struct{})}
	s.by = append(s.by, p)
	return p, nil
}

func (w *wire) receive(s *wirePackets) {
	defer close(s.ended)
	b := make([]byte, 64<<10)
	for {
		n, from, err := s.conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-w.world.Clock().After(acceptPause)
			continue
		}
		w.mu.Lock()
		names := make([]string, len(s.by))
		for i, p := range s.by {
			names[i] = p.member.name
		}
		if i := w.choose(names, s.conn.LocalAddr(), from); i >= 0 {
			select {
			case s.by[i].waiting <- packet{append([]byte{}, b[:n]...), from}:
			default:
			}
		}
		w.mu.Unlock()
	}
}

// ReadFrom returns the next datagram for the member. What comes while its gate is
// shut is lost.
func (p *wirePacket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		select {
		case <-p.done:
			return 0, nil, &net.OpError{Op: "read", Net: "udp", Addr: p.LocalAddr(), Err: net.ErrClosed}
		case m := <-p.waiting:
			if p.member.shut.Load()&gateClients == 0 {
				return copy(b, m.bytes), m.from, nil
			}
		}
	}
}

func (p *wirePacket) WriteTo(b []byte, to net.Addr) (int, error) {
	if p.member.shut.Load()&gateClients != 0 {
		return len(b), nil
	}
	return p.PacketConn.WriteTo(b, to)
}

// Deadlines would be those of all members.

func (p *wirePacket) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (p *wirePacket) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (p *wirePacket) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// Close drops the address for this member, and returns when the socket is free, if
// nobody else has raised it.
func (p *wirePacket) Close() error {
	p.once.Do(func() {
		w := p.wire
		w.mu.Lock()
		s := w.packets[p.key]
		s.by = slices.DeleteFunc(s.by, func(o *wirePacket) bool { return o == p })
		close(p.done)
		last := len(s.by) == 0
		if last {
			delete(w.packets, p.key)
			_ = s.conn.Close()
		}
		w.mu.Unlock()
		if last {
			<-s.ended
		}
	})
	return nil
}
