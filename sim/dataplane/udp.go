package dataplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"vtm-ingress/sim/trafficscript"
)

const (
	// maxDatagram is more than UDP can carry.
	maxDatagram = 64 << 10
	// maxFlows bounds the flows of one socket, and flowQueue the datagrams of one that
	// wait; what comes on top is dropped.
	maxFlows  = 10_000
	flowQueue = 64
	// defaultUDPTimeout is udp!timeout where it is not set.
	defaultUDPTimeout = 7 * time.Second
)

// udpSocket is a socket for datagrams with its flows.
type udpSocket struct {
	conn net.PacketConn

	mu     sync.Mutex // guards all below
	flows  map[netip.AddrPort]*udpFlow
	open   map[*udpFlow]struct{} // those, and the flows of one datagram each
	closed bool                  // no new flows; closes when open is empty
}

// udpFlow is what one client sends and gets until the flow ends: the connection of
// a client of UDP. A Write sends one datagram, a Read returns one.
type udpFlow struct {
	socket  *udpSocket
	server  *vserver
	from    netip.AddrPort
	waiting chan []byte // sent to under udpSocket.mu
	once    sync.Once
	done    chan struct{}
}

// receive hands each datagram to its flow, or begins one with the owner of that
// moment.
func (s *socket) receive() {
	defer close(s.done)
	b := make([]byte, maxDatagram)
	for {
		n, from, err := s.udp.conn.ReadFrom(b)
		if err != nil {
			if s.ended(err) {
				return
			}
			continue
		}
		v := s.owner.Load()
		if f := s.udp.take(v, addrPort(from), bytes.Clone(b[:n])); f != nil {
			v.serve(s.at, f)
		}
	}
}

// take gives a datagram to its flow; a flow that it begins is returned.
func (u *udpSocket) take(v *vserver, from netip.AddrPort, b []byte) (begun *udpFlow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.flows[from]
	if f == nil || f.server != v {
		if u.closed || len(u.open) >= maxFlows {
			v.stats.add(vsUDPDropped, int64(len(b)))
			return nil
		}
		f = &udpFlow{socket: u, server: v, from: from, waiting: make(chan []byte, flowQueue), done: make(chan struct{})}
		begun = f
		u.open[f] = struct{}{}
		if v.conf.Load().UDP.EndPointPersistence {
			u.flows[from] = f
		}
	}
	select {
	case f.waiting <- b:
	default:
		v.stats.add(vsUDPDropped, int64(len(b)))
	}
	return begun
}

// drain begins no new flow and closes the socket when the last one ends; false when
// there is none.
func (u *udpSocket) drain() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = len(u.open) > 0
	return u.closed
}

// close ends the socket and its flows: nobody could answer their clients.
func (u *udpSocket) close() {
	u.mu.Lock()
	u.closed = true
	flows := make([]*udpFlow, 0, len(u.open))
	for f := range u.open {
		flows = append(flows, f)
	}
	u.mu.Unlock()
	u.conn.Close()
	for _, f := range flows {
		f.Close()
	}
}

// forget takes the flow out; with quiet only if no datagram waits. The client's
// next datagram begins another.
func (f *udpFlow) forget(quiet bool) bool {
	u := f.socket
	u.mu.Lock()
	defer u.mu.Unlock()
	if quiet && len(f.waiting) > 0 {
		return false
	}
	delete(u.open, f)
	if u.flows[f.from] == f {
		delete(u.flows, f.from)
	}
	if u.closed && len(u.open) == 0 {
		u.conn.Close()
	}
	return true
}

func (f *udpFlow) Read(b []byte) (int, error) {
	select {
	case m := <-f.waiting:
		return copy(b, m), nil
	case <-f.done:
		return 0, net.ErrClosed
	}
}

func (f *udpFlow) Write(b []byte) (int, error) { return f.socket.conn.WriteTo(b, f.RemoteAddr()) }

func (f *udpFlow) Close() error {
	f.forget(false)
	f.once.Do(func() { close(f.done) })
	return nil
}

func (f *udpFlow) LocalAddr() net.Addr  { return f.socket.conn.LocalAddr() }
func (f *udpFlow) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(f.from) }

// Deadlines are relay's own.

func (f *udpFlow) SetDeadline(time.Time) error      { return nil }
func (f *udpFlow) SetReadDeadline(time.Time) error  { return nil }
func (f *udpFlow) SetWriteDeadline(time.Time) error { return nil }

// relay is run for datagrams. Each of the client's is a request; of protocol
// udpstreaming the first alone. All go to one node, until as many have come back
// as the virtual server expects, or none has moved either way for its time-out.
func (s *stream) relay() error {
	flow := s.client.Conn.(*udpFlow)
	timers := s.v.d.options.World.Clock()
	quiet := s.conf.UDP.Timeout
	if quiet <= 0 {
		quiet = defaultUDPTimeout
	}
	idle := timers.NewTimer(quiet)
	defer idle.Stop()
	f := &relayed{stream: s, flow: flow, late: timers.NewTimer(time.Hour), streaming: s.conf.Protocol == "udpstreaming"}
	f.late.Stop()
	defer f.end()
	if len(s.conf.requestRules)+len(s.conf.responseRules)+len(s.conf.completionRules) > 0 {
		s.prepareScript()
		s.script.Streamer, s.script.Cache = nil, nil
	} else if s.conf.Pool == discard {
		return s.discarded()
	}
	s.route = &route{d: s.v.d, client: addrPort(s.client.RemoteAddr()), script: s.script, random: s.Random, udp: true}
	for {
		var err error
		// What answers goes first: who waits for it has waited longest, and a run
		// repeats.
		select {
		case m := <-f.replies:
			err = f.reply(m)
		default:
			select {
			case b := <-flow.waiting:
				err = f.ask(b)
			case m := <-f.replies:
				err = f.reply(m)
			case <-f.late.C():
				err = f.tooLate()
			case <-idle.C():
				s.v.stats.inc(vsUDPTimedOut)
				return nil
			case <-flow.done:
				return nil
			case <-s.ctx.Done():
				return context.Cause(s.ctx)
			}
		}
		if errors.Is(err, errStreamEnd) && !flow.forget(true) {
			err = nil // one datagram was discarded; others wait
		}
		if err != nil {
			return err
		}
		if f.complete() && flow.forget(true) {
			return nil
		}
		idle.Reset(quiet)
	}
}

// relayed is a flow with what relay knows of its node.
type relayed struct {
	*stream
	flow      *udpFlow
	streaming bool
	owed      int             // datagrams that the client still expects
	replies   <-chan datagram // nil: no node yet
	latest    []byte          // request
	since     time.Time       // when it was sent
	answered  bool            // by this node, since it has the flow
	late      clock.Timer     // the pool's udp!response_timeout
}

// datagram is what a node sent, or why it sends no more.
type datagram struct {
	bytes []byte
	err   error
}

func (f *relayed) end() {
	f.late.Stop()
	if f.node != nil {
		f.node.Close()
	}
}

// complete tells whether the client has all that it expects.
func (f *relayed) complete() bool {
	return !f.streaming && f.conf.UDP.Responses >= 0 && f.owed <= 0
}

// ask passes on a datagram of the client.
func (f *relayed) ask(b []byte) (err error) {
	s := f.stream
	s.client.received(len(b), nil)
	s.v.stats.inc(vsDatagrams)
	if !f.streaming || s.node == nil {
		s.asked.Store(true)
		if s.script != nil {
			s.script.ClientData = &trafficscript.Data{Bytes: b}
			s.script.Discard, s.script.Close = false, nil
			// Without bytes a rule answered it, or left nothing of it.
			if b, err = s.request(); err != nil || b == nil {
				return err
			}
		}
	}
	f.latest = b
	f.owed += max(f.conf.UDP.Responses, 0)
	if s.node == nil {
		if err := f.connect(); err != nil {
			return err
		}
	}
	return f.pass()
}

// pass sends the latest request to the node, or to another one while that fails.
func (f *relayed) pass() error {
	for {
		f.since = f.v.d.now()
		_, err := f.node.Write(f.latest)
		if err == nil {
			break
		}
		if err := f.another(err); err != nil {
			return err
		}
	}
	if limit := f.node.node.pool.conf.Load().UDPResponseTimeout; limit > 0 {
		f.late.Reset(limit)
	}
	return nil
}

// connect chooses a node.
func (f *relayed) connect() (err error) {
	s := f.stream
	if s.node, err = s.v.d.connect(s.ctx, s.poolName(), s.route, ""); err != nil {
		return err
	}
	if s.script != nil {
		s.script.Node = s.node.node.address
	}
	f.answered = false
	from, out := s.node, make(chan datagram)
	f.replies = out
	s.v.d.tasks.spawn(func() {
		b := s.v.d.datagrams.Get()
		defer s.v.d.datagrams.Put(b)
		for {
			n, err := from.Read(b)
			select {
			case out <- datagram{append([]byte{}, b[:n]...), err}:
			case <-s.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return nil
}

// another takes the request to another node, if this one has not answered.
func (f *relayed) another(why error) error {
	n := f.node.node
	f.failed(why)
	f.node.Close()
	f.node, f.replies = nil, nil
	if f.answered {
		return errors.Join(errNodeData, why)
	}
	if all, _ := f.route.attempts(n.pool.conf.Load()); all > 0 && len(f.route.tries) >= all {
		return fmt.Errorf("%w: %w", errNoNode, why)
	}
	return f.connect()
}

// failed counts a failed try of the node.
func (f *relayed) failed(why error) {
	f.late.Stop()
	n := f.node.node
	n.pool.tried(n, false, why.Error())
	n.stats.add(nodeErrors, 1)
}

// reply passes on a datagram of the node.
func (f *relayed) reply(m datagram) error {
	if m.err != nil {
		if err := f.another(m.err); err != nil {
			return err
		}
		return f.pass()
	}
	n, now := f.node.node, f.v.d.now()
	f.late.Stop()
	if !f.answered {
		f.answered = true
		n.pool.tried(n, true, "")
	}
	n.times.add(now, now.Sub(f.since))
	n.stats.response.measured(now, now.Sub(f.since))
	f.owed--
	if !f.streaming {
		f.asked.Store(true) // each is a response that the rules see
	}
	b, err := f.fromNode(m.bytes)
	if err != nil || b == nil {
		return err
	}
	return f.send(f.conn, b)
}

// tooLate ends the flow: its node did not answer within the pool's
// udp!response_timeout.
func (f *relayed) tooLate() error {
	f.failed(errNoReply)
	return errNoReply
}
