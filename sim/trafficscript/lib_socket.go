package trafficscript

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"
)

// Sockets are what rules of one client connection opened with tcp.connect. They
// stay open from rule to rule; the Host closes them with the connection.
type Sockets struct {
	mu     sync.Mutex
	last   int
	open   map[int]net.Conn
	closed bool
}

// maxSockets bounds those of one client connection.
const maxSockets = 64

// Close closes all, and those that are opened later at once.
func (s *Sockets) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.open {
		c.Close()
	}
	clear(s.open)
}

// room tells whether one more socket may be opened.
func (s *Sockets) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && len(s.open) < maxSockets
}

func (s *Sockets) add(c net.Conn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return 0
	}
	if s.open == nil {
		s.open = make(map[int]net.Conn)
	}
	s.last++
	s.open[s.last] = c
	return s.last
}

func (s *Sockets) get(handle int64) net.Conn {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[clamp(handle, s.last)]
}

func (s *Sockets) remove(handle int64) net.Conn {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[clamp(handle, s.last)]
	delete(s.open, clamp(handle, s.last))
	return c
}

// socketFunctions talk to others while the rule waits. What went wrong is in $1.
var socketFunctions = []function{
	fn("tcp.connect", 2, 3, tcpConnect).in(inRequest | inResponse),
	fn("tcp.read", 2, 3, tcpRead).in(inRequest | inResponse),
	fn("tcp.write", 2, 3, tcpWrite).in(inRequest | inResponse),
	fn("tcp.close", 1, 1, func(r *run, a []value) value {
		c := r.tx.Sockets.remove(r.toInt(a[0]))
		if c == nil {
			return r.socketFails("there is no such socket", intValue(0))
		}
		if err := c.Close(); err != nil {
			return r.socketFails(err.Error(), intValue(0))
		}
		return intValue(1)
	}).in(inRequest | inResponse),
	fn("udp.sendTo", 3, 3, udpSendTo).in(inRequest | inResponse),
}

func (r *run) socketFails(message string, result value) value {
	r.captures[1] = stringValue(oneLine(message))
	return result
}

// socketError spells an error for $1.
func socketError(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return err.Error()
}

// peer returns "ip:port"; "" when it is none.
func (r *run) peer(ip, port value) string {
	addr, err := netip.ParseAddr(r.toString(ip))
	n := r.toInt(port)
	if err != nil || n < 1 || n > 65535 {
		return ""
	}
	return net.JoinHostPort(addr.String(), strconv.FormatInt(n, 10))
}

// patience returns the time-out argument in milliseconds; 0: none.
func (r *run) patience(a []value, i int) time.Duration {
	return time.Duration(clamp(r.intArg(a, i, 0), 24*3600*1000)) * time.Millisecond
}

// dialed opens a connection; nil when that failed, with why.
func (r *run) dialed(network, address string, patience time.Duration) (net.Conn, string) {
	switch {
	case address == "":
		return nil, "that is no address and port"
	case r.machine().Dial == nil:
		return nil, "there is no way to other hosts"
	case r.ended != Finished:
		return nil, "the rule has ended"
	}
	ctx := r.ctx
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	defer r.waits()()
	c, err := r.machine().Dial(ctx, network, address)
	if !r.alive() {
		if err == nil {
			c.Close()
		}
		return nil, "the rule has ended"
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, "timeout"
		}
		return nil, socketError(err)
	}
	return c, ""
}

// tcpConnect gives a handle, or 0.
func tcpConnect(r *run, a []value) value {
	s := r.tx.Sockets
	if s == nil || !s.room() {
		return r.socketFails("no more sockets can be opened", intValue(0))
	}
	c, problem := r.dialed("tcp", r.peer(a[0], a[1]), r.patience(a, 2))
	if c == nil {
		return r.socketFails(problem, intValue(0))
	}
	return intValue(int64(s.add(c)))
}

// during lets a socket's operation wait until patience or the transaction ends.
func (r *run) during(c net.Conn, patience time.Duration, set func(time.Time) error, operation func() (int, error)) (int, error) {
	if r.ended != Finished {
		return 0, context.Canceled
	}
	deadline := time.Time{}
	if patience > 0 {
		deadline = r.host.Now().Add(patience)
	}
	if err := set(deadline); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(r.ctx, func() {
		defer close(ended)
		_ = c.SetDeadline(time.Unix(1, 0))
	})
	defer r.waits()()
	n, err := operation()
	if !stop() {
		<-ended
		r.alive()
	}
	return n, err
}

// tcpRead gives what has come, "" with $1 0 when the other end closed.
func tcpRead(r *run, a []value) value {
	c, most := r.tx.Sockets.get(r.toInt(a[0])), clamp(r.toInt(a[1]), 1<<20)
	if c == nil || most == 0 {
		return r.socketFails("there is no such socket, or nothing to read", value{})
	}
	if !r.alloc(most) {
		return value{}
	}
	buffer := make([]byte, most)
	n, err := r.during(c, r.patience(a, 2), c.SetReadDeadline, func() (int, error) { return c.Read(buffer) })
	switch {
	case n > 0:
		return stringValue(string(buffer[:n]))
	case errors.Is(err, io.EOF):
		r.captures[1] = intValue(0)
	case err != nil:
		r.captures[1] = stringValue(oneLine(socketError(err)))
	}
	return value{}
}

// tcpWrite gives the number of bytes written; -1 for an error but a time-out.
func tcpWrite(r *run, a []value) value {
	c, data := r.tx.Sockets.get(r.toInt(a[0])), r.toString(a[1])
	if c == nil {
		return r.socketFails("there is no such socket", intValue(-1))
	}
	if !r.work(len(data)) {
		return value{}
	}
	n, err := r.during(c, r.patience(a, 2), c.SetWriteDeadline, func() (int, error) { return c.Write([]byte(data)) })
	if err != nil {
		message := socketError(err)
		if message == "timeout" {
			return r.socketFails(message, intValue(int64(n)))
		}
		return r.socketFails(message, intValue(-1))
	}
	return intValue(int64(n))
}

// udpSendTo gives the number of bytes sent, or -1.
func udpSendTo(r *run, a []value) value {
	data := r.toString(a[2])
	c, problem := r.dialed("udp", r.peer(a[0], a[1]), 0)
	if c == nil {
		return r.socketFails(problem, intValue(-1))
	}
	defer c.Close()
	n, err := r.during(c, 0, c.SetWriteDeadline, func() (int, error) { return c.Write([]byte(data)) })
	if err != nil {
		return r.socketFails(socketError(err), intValue(-1))
	}
	return intValue(int64(n))
}
