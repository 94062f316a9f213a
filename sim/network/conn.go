package network

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// pair is one connection: two directions, two ends.
type pair struct {
	network            *Network
	actor, host        string // who dialled, and whom: what a Cut is asked about
	clientEnd, srvEnd  *end
	toServer, toClient *direction

	mu   sync.Mutex
	open int // ends not closed yet
}

func newPair(n *Network, c chance, actor string, target netip.AddrPort, from *net.TCPAddr) *pair {
	p := &pair{network: n, actor: actor, host: target.Addr().String(), open: 2}
	p.toServer = &direction{pair: p, chance: c.text("/up")}
	p.toClient = &direction{pair: p, chance: c.text("/down")}
	p.toServer.cond.L = &p.toServer.mu
	p.toClient.cond.L = &p.toClient.mu
	to := net.TCPAddrFromAddrPort(target)
	p.clientEnd = &end{pair: p, in: p.toClient, out: p.toServer, local: from, remote: to}
	p.srvEnd = &end{pair: p, in: p.toServer, out: p.toClient, local: to, remote: from}
	return p
}

func (p *pair) client() net.Conn { return p.clientEnd }
func (p *pair) server() net.Conn { return p.srvEnd }

// reset ends both directions at once, as when a peer's machine is gone.
func (p *pair) reset() {
	for _, d := range []*direction{p.toServer, p.toClient} {
		d.fail(syscall.ECONNRESET)
	}
	p.forget()
}

func (p *pair) forget() {
	p.network.mu.Lock()
	delete(p.network.conns, p)
	p.network.mu.Unlock()
}

func (p *pair) endClosed() {
	p.mu.Lock()
	p.open--
	last := p.open == 0
	p.mu.Unlock()
	if last {
		p.forget()
	}
}

// message is what one Write sent. A nil payload is the end of the direction.
type message struct {
	payload []byte
	at      time.Time // when it arrives
}

// direction carries bytes one way. Messages arrive in order, each at its own
// instant.
type direction struct {
	pair   *pair
	chance chance // of its messages' latencies

	mu       sync.Mutex
	cond     sync.Cond // readers wait for data, end, error or deadline
	flight   []message
	sent     uint64 // messages so far: the number that the latency hash takes
	last     time.Time
	timer    *time.Timer // for the head of flight; nil before the first message
	armed    bool        // the timer runs, or deliver is about to
	buffer   []byte      // arrived, unread
	ended    bool        // the writer's end has arrived
	err      error       // reset
	gone     bool        // the reader has closed: what arrives is dropped
	deadline time.Time
	dlTimer  *time.Timer
}

// send takes a copy of payload; nil sends the end.
func (d *direction) send(payload []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if d.gone && payload != nil {
		return syscall.EPIPE
	}
	m := message{payload: append([]byte(nil), payload...)}
	if payload == nil {
		m.payload = nil
	}
	m.at = time.Now().Add(d.pair.network.latency(d.chance, d.sent))
	d.sent++
	if !m.at.After(d.last) {
		m.at = d.last.Add(1)
	}
	d.last = m.at
	d.flight = append(d.flight, m)
	if !d.armed {
		d.arm()
	}
	return nil
}

// arm sets the timer for the head of flight. d.mu is held.
func (d *direction) arm() {
	if d.armed = len(d.flight) > 0; !d.armed {
		return
	}
	left := max(time.Until(d.flight[0].at), 1)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.deliver)
	} else {
		d.timer.Reset(left)
	}
}

func (d *direction) deliver() {
	broken, _ := d.pair.network.isCut(d.pair.actor, d.pair.host)
	d.mu.Lock()
	defer d.mu.Unlock()
	if broken || d.err != nil {
		d.armed = false // wake arms it again
		return
	}
	now := time.Now()
	for len(d.flight) > 0 && !d.flight[0].at.After(now) {
		m := d.flight[0]
		d.flight = d.flight[1:]
		switch {
		case m.payload == nil:
			d.ended = true
		case d.gone:
		case len(d.buffer) == 0:
			d.buffer = m.payload // which is nobody else's
		default:
			d.buffer = append(d.buffer, m.payload...)
		}
	}
	d.arm()
	d.cond.Broadcast()
}

// wake sends on its way again what a Cut held back.
func (d *direction) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.armed || len(d.flight) == 0 || d.err != nil {
		return
	}
	at := time.Now()
	for i := range d.flight {
		next := time.Now().Add(d.pair.network.latency(d.chance.text("/again"), d.sent+uint64(i)))
		if !next.After(at) {
			next = at.Add(1)
		}
		at = next
		d.flight[i].at = at
	}
	if at.After(d.last) {
		d.last = at
	}
	d.arm()
}

func (d *direction) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	d.flight = nil
	if d.armed {
		d.timer.Stop()
		d.armed = false
	}
	d.cond.Broadcast()
}

func (d *direction) read(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.gone:
			return 0, net.ErrClosed
		case !d.deadline.IsZero() && !time.Now().Before(d.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(d.buffer) > 0:
			n := copy(b, d.buffer)
			d.buffer = d.buffer[n:]
			if len(d.buffer) == 0 {
				d.buffer = nil
			}
			return n, nil
		case d.err != nil:
			return 0, d.err
		case d.ended:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		}
		d.cond.Wait()
	}
}

func (d *direction) setDeadline(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dlTimer != nil {
		d.dlTimer.Stop()
		d.dlTimer = nil
	}
	d.deadline = t
	// No timer for what is past: readers are woken below, and Go 1.26's race detector
	// dies on a timer of a bubble that is due when it is made.
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.dlTimer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.cond.Broadcast()
		})
	}
	d.cond.Broadcast()
}

// leave is the reader's close: it wakes reads and drops what comes.
func (d *direction) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	d.buffer = nil
	if d.dlTimer != nil {
		d.dlTimer.Stop()
		d.dlTimer = nil
	}
	d.cond.Broadcast()
}

// end is one side of a pair, as a net.Conn.
type end struct {
	pair          *pair
	in, out       *direction
	local, remote net.Addr

	mu            sync.Mutex
	closed        bool
	writeClosed   bool
	writeDeadline time.Time
}

func (e *end) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

func (e *end) Read(b []byte) (int, error) {
	n, err := e.in.read(b)
	if err != nil && err != io.EOF {
		err = e.fail("read", err)
	}
	return n, err
}

func (e *end) Write(b []byte) (int, error) {
	e.mu.Lock()
	closed, deadline := e.closed || e.writeClosed, e.writeDeadline
	e.mu.Unlock()
	if closed {
		return 0, e.fail("write", net.ErrClosed)
	}
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return 0, e.fail("write", os.ErrDeadlineExceeded)
	}
	if len(b) == 0 {
		return 0, nil
	}
	if err := e.out.send(b); err != nil {
		return 0, e.fail("write", err)
	}
	return len(b), nil
}

// CloseWrite sends the end of this direction and leaves the other open.
func (e *end) CloseWrite() error {
	e.mu.Lock()
	done := e.closed || e.writeClosed
	e.writeClosed = true
	e.mu.Unlock()
	if done {
		return nil
	}
	if err := e.out.send(nil); err != nil {
		return e.fail("close", err)
	}
	return nil
}

func (e *end) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return e.fail("close", net.ErrClosed)
	}
	e.closed = true
	sendEnd := !e.writeClosed
	e.mu.Unlock()
	if sendEnd {
		_ = e.out.send(nil) // a reset connection needs no end
	}
	e.in.leave()
	e.pair.endClosed()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

func (e *end) SetDeadline(t time.Time) error {
	_ = e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.setDeadline(t)
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	e.writeDeadline = t
	e.mu.Unlock()
	return nil
}
