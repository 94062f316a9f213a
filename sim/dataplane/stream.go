package dataplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// stream is one connection of a protocol without requests, from the client's
// first byte to the end of both sides.
//
// Two goroutines pass on what comes, each one way. Rules run in whichever of them
// got the data; the turn lets one run at a time. A slow reader holds up its writer
// by what the network buffers, and no more.
type stream struct {
	*transaction          // for rules: it has no request
	conn         net.Conn // of the client, TLS taken off
	node         *nodeStream
	turn         chan struct{}

	idle     time.Duration // 0: no limit
	lastMove atomic.Int64  // Unix time in ns of the last data either way; 0 until a node is there

	// asked tells that client data went to the node which it has not answered yet:
	// its next data is a response. Without it, client data is a new request.
	asked atomic.Bool
	// responded gets one when a response begins; silent is closed when the node sends
	// no more. The next of several requests that came at once waits for either.
	responded chan struct{}
	silent    chan struct{}
}

var (
	errStreamEnd = errors.New("a rule ended the connection")
	errNoHello   = errors.New("the connection does not begin with a TLS ClientHello")
)

// stream serves the connection until both sides have ended. secure is TLS that
// was taken off, nil for a plain connection.
func (c *client) stream(secure *tls.Conn) {
	defer c.end()
	c.busy.Add(1)
	v := c.server
	conf := v.conf.Load()
	s := &stream{conn: c, turn: make(chan struct{}, 1), responded: make(chan struct{}, 1), silent: make(chan struct{}), idle: conf.Timeout}
	ctx, cancel := context.WithCancelCause(context.WithValue(c.gen.ctx, clientKey{}, c))
	s.transaction = &transaction{v: v, conf: conf, client: c, ctx: ctx, cancel: cancel, number: 1, started: v.d.now()}
	s.watched = true // rules are bounded by rules, data by idle
	req := &http.Request{Header: make(http.Header)}
	if secure != nil {
		s.conn = c.ending(secure)
		state := secure.ConnectionState()
		req.TLS = &state
	}
	s.r = req
	defer cancel(nil)
	defer s.conn.Close()
	v.countTransaction(c)
	defer v.d.stats.add(gTransactions, 1)
	// The end of the virtual server, or of the longest duration, ends both sides.
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	if limit := conf.MaxTransactionDuration; limit > 0 {
		v.d.tasks.spawn(func() {
			if sleep(ctx, v.d.options.World.Clock(), limit) {
				v.stats.inc(vsMaxDurationTimedOut)
				cancel(errTooLong)
			}
		})
	}
	if err := s.run(); err != nil && !errors.Is(err, errStreamEnd) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if c.gen.ctx.Err() == nil {
			if errors.Is(err, errNoNode) || errors.Is(err, errNoReply) {
				v.stats.inc(vsConnectionFailures)
			}
			s.tell(err)
		}
		s.why = err
	}
	s.completionRules()
	c.heed(s.script)
}

// run chooses the node, as the protocol wants it, and passes on what comes.
func (s *stream) run() error {
	if s.conf.mode == modeUDP {
		return s.relay()
	}
	first, err := s.first()
	if err != nil {
		return err
	}
	if len(s.conf.requestRules)+len(s.conf.responseRules)+len(s.conf.completionRules) > 0 {
		s.prepareScript()
		s.script.Streamer, s.script.Cache = nil, nil
		s.script.ClientData = &trafficscript.Data{Bytes: first, More: s.more(s.conn)}
		if first, err = s.request(); err != nil {
			return err
		}
	} else if s.conf.Pool == discard {
		return s.discarded()
	}
	r := &route{d: s.v.d, client: addrPort(s.client.RemoteAddr()), script: s.script, random: s.Random}
	if s.conf.mode == modeTLS {
		r.sslSession, _ = helloSession(1, first)
	}
	s.route = r
	if s.node, err = s.v.d.connect(s.ctx, s.poolName(), r, s.nodeServerName()); err != nil {
		return err
	}
	defer s.node.Close()
	stop := context.AfterFunc(s.ctx, func() { s.node.Close() })
	defer stop()
	if s.script != nil {
		s.script.Node = s.node.node.address
	}
	if s.conf.ServerFirstBanner != "" && s.conf.mode == modeServerFirst {
		if err := s.skipBanner(); err != nil {
			return err
		}
	}
	if len(first) > 0 {
		if err := s.send(s.node, first); err != nil {
			return err
		}
		s.asked.Store(true)
	}
	return s.pass()
}

// first returns what the client sends before a node is chosen: nothing where the
// node speaks first, or nobody in particular.
func (s *stream) first() ([]byte, error) {
	wait := false
	switch s.conf.mode {
	case modeClientFirst:
		wait = !s.conf.RulesOnConnect
	case modeServerFirst:
		if banner := s.conf.ServerFirstBanner; banner != "" {
			if !strings.HasSuffix(banner, "\n") {
				banner += "\r\n"
			}
			if err := s.send(s.conn, []byte(banner)); err != nil {
				return nil, err
			}
			wait = true
		}
	case modeTLS:
		return s.hello()
	}
	if !wait {
		return nil, nil
	}
	s.until(s.conf.ConnectTimeout)
	b, err := s.read(s.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNoData
	}
	return b, err
}

var errNoData = errors.New("the client sent no data in time")

// until gives the client a time for what it sends next; 0: no limit.
func (s *stream) until(limit time.Duration) {
	if limit > 0 {
		_ = s.conn.SetReadDeadline(s.v.d.now().Add(limit))
	}
}

// hello reads the ClientHello of TLS that is passed through.
func (s *stream) hello() ([]byte, error) {
	s.until(s.conf.ConnectTimeout)
	var b []byte
	for {
		more, err := s.read(s.conn)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || len(b) > 0 {
				err = errNoHello
			}
			return nil, err
		}
		b = append(b, more...)
		name, whole := helloName(b)
		if whole {
			s.r.TLS = &tls.ConnectionState{ServerName: name}
			return b, nil
		}
		if b[0] != 22 || len(b) > maxHello {
			return nil, errNoHello
		}
	}
}

// maxHello bounds a ClientHello: what crypto/tls takes.
const maxHello = 64 << 10

// helloName returns the server name of the ClientHello that b begins with. whole
// is false while more bytes are needed, and when it is none.
func helloName(b []byte) (name string, whole bool) {
	server := tls.Server(helloConn{r: bytes.NewReader(b)}, &tls.Config{
		// Old versions are the node's to refuse.
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name, whole = hello.ServerName, true
			return nil, errNoHello
		},
	})
	_ = server.Handshake()
	return name, whole
}

// helloConn lets crypto/tls read a ClientHello from memory; what it answers is
// thrown away.
type helloConn struct {
	net.Conn
	r *bytes.Reader
}

func (c helloConn) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c helloConn) Write(b []byte) (int, error) { return len(b), nil }

// request runs the request rules on ClientData and carries out what they decided.
// It returns what goes to the node.
func (s *stream) request() ([]byte, error) {
	t := s.script
	t.Phase = trafficscript.RequestPhase
	if err := s.rules(s.conf.requestRules); err != nil {
		return nil, err
	}
	answered := len(t.Interim) > 0
	for _, raw := range t.Interim {
		if err := s.send(s.conn, []byte(raw)); err != nil {
			return nil, err
		}
	}
	t.Interim = nil
	if err := s.decided(); err != nil {
		return nil, err
	}
	d := t.ClientData
	out := bytes.Clone(d.Message())
	d.Bytes = d.Bytes[len(out):]
	d.Ends, d.End = false, 0
	if len(d.Bytes) == 0 {
		d.Bytes = nil
	}
	if answered { // by request.sendResponse: the node has no part in it
		s.asked.Store(false)
		return nil, nil
	}
	return out, nil
}

// rules runs rules, which may take and wait no longer than the connection may be
// idle.
func (s *stream) rules(names []string) error {
	ctx := s.ctx
	if s.idle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.idle, errIdle)
		defer cancel()
	}
	s.runRules(ctx, names)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// decided carries out what rules decided about the connection as a whole.
func (s *stream) decided() error {
	t := s.script
	switch {
	case t.Discard || t.Pool == discard || t.Pool == "" && s.conf.Pool == discard:
		return s.discarded()
	case t.Close != nil:
		_ = s.send(s.conn, []byte(*t.Close))
		return errStreamEnd
	}
	return nil
}

// nodeServerName is what a rule wants SNI to say to the node; "" if none does.
func (s *stream) nodeServerName() string {
	if s.script == nil {
		return ""
	}
	return s.script.NodeServerName
}

func (s *stream) discarded() error {
	s.v.stats.inc(vsDiscard)
	return errStreamEnd
}

// skipBanner takes the node's own first line away: the client had another.
func (s *stream) skipBanner() error {
	var line []byte
	for !bytes.Contains(line, []byte("\n")) {
		if len(line) > maxLine {
			return errNodeData
		}
		b, err := s.read(s.node)
		if err != nil {
			return errors.Join(errNodeData, err)
		}
		line = append(line, b...)
	}
	_, rest, _ := bytes.Cut(line, []byte("\n"))
	if len(rest) > 0 {
		return s.send(s.conn, rest)
	}
	return nil
}

// pass passes on what comes until both sides have ended, or one has failed.
func (s *stream) pass() error {
	_ = s.conn.SetReadDeadline(time.Time{})
	s.lastMove.Store(s.v.d.now().UnixNano())
	up := make(chan error, 1)
	go func() {
		err := s.sendOn(s.node, nil, s.nextRequest) // behind the first one
		if err == nil {
			err = s.pump(s.conn, s.node, s.fromClient, s.nextRequest)
		}
		// Without proxy_close the end of the client is the end of all.
		if err != nil || !s.conf.ProxyClose || s.node.CloseWrite() != nil {
			s.node.Close()
		}
		up <- err
	}()
	err := s.pump(s.node, s.conn, s.fromNode, nil)
	close(s.silent)
	half, ok := s.conn.(interface{ CloseWrite() error })
	if err != nil || !s.conf.ProxyClose || !ok || half.CloseWrite() != nil {
		s.conn.Close()
	}
	other := <-up
	if err == nil || errors.Is(err, net.ErrClosed) {
		err = other
	}
	return err
}

// sendOn sends b, and then what next gives, until that is nothing.
func (s *stream) sendOn(to net.Conn, b []byte, next func() ([]byte, error)) (err error) {
	for {
		if len(b) > 0 {
			if err := s.send(to, b); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		if b, err = next(); err != nil || b == nil {
			return err
		}
	}
}

// nextRequest returns the next request of those that came at once, when the node
// has answered the one before; nil when there is none.
func (s *stream) nextRequest() ([]byte, error) {
	if err := s.take(); err != nil {
		return nil, err
	}
	more := s.script != nil && len(s.script.ClientData.Bytes) > 0
	s.give()
	if !more {
		return nil, nil
	}
	for s.asked.Load() {
		select {
		case <-s.responded:
		case <-s.silent:
			return nil, nil
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		}
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	defer s.give()
	s.asked.Store(true)
	b, err := s.request()
	if b == nil {
		b = []byte{} // a rule answered it: there may be another
	}
	return b, err
}

// pump passes on one direction; nil: it ended.
func (s *stream) pump(from, to net.Conn, change func([]byte) ([]byte, error), next func() ([]byte, error)) error {
	for {
		b, err := s.read(from)
		if len(b) > 0 {
			if b, err = change(b); err == nil {
				err = s.sendOn(to, b, next)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// fromClient sees what the client sends: what comes after a response is a new
// request, which the request rules see.
func (s *stream) fromClient(b []byte) ([]byte, error) {
	if len(s.conf.requestRules) == 0 || s.conf.mode == modeTLS {
		// Of TLS that is passed through, rules see the ClientHello alone.
		s.asked.Store(true)
		return b, nil
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	defer s.give()
	if s.asked.Swap(true) {
		return b, nil
	}
	s.script.ClientData.Bytes = append(s.script.ClientData.Bytes, b...)
	return s.request()
}

// fromNode sees what the node sends: what comes first after a request is what the
// response rules see.
func (s *stream) fromNode(b []byte) ([]byte, error) {
	asked := s.asked.Swap(false)
	if asked {
		select {
		case s.responded <- struct{}{}:
		default:
		}
	}
	if !asked || len(s.conf.responseRules) == 0 || s.conf.mode == modeTLS {
		return b, nil
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	defer s.give()
	t := s.script
	t.Phase = trafficscript.ResponsePhase
	t.Retry, t.Close, t.Discard = false, nil, false
	t.ServerData = &trafficscript.Data{Bytes: b, Flush: func(_ context.Context, b []byte) error { return s.send(s.conn, b) }}
	if s.conf.mode != modeUDP { // a datagram is all there is
		t.ServerData.More = s.more(s.node)
	}
	t.ResponseTime = s.v.d.now().Sub(s.started)
	if err := s.rules(s.conf.responseRules); err != nil {
		return nil, err
	}
	d := t.ServerData
	t.ServerData = nil
	if err := s.decided(); err != nil {
		return nil, err
	}
	if d.Closed {
		_ = s.send(s.conn, d.Bytes)
		return nil, errStreamEnd
	}
	return d.Bytes, nil
}

// take waits for the turn to run rules.
func (s *stream) take() error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *stream) give() { <-s.turn }

// more lets rules wait for further data.
func (s *stream) more(from net.Conn) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return s.read(from) }
}

func (s *stream) moved() {
	if s.lastMove.Load() != 0 {
		s.lastMove.Store(s.v.d.now().UnixNano())
	}
}

// read returns the next bytes of one side. It fails when nothing has moved either
// way for the virtual server's time-out.
func (s *stream) read(from net.Conn) ([]byte, error) {
	b := s.v.d.buffers.Get()
	defer s.v.d.buffers.Put(b)
	for {
		if s.idle > 0 && s.lastMove.Load() > 0 {
			_ = from.SetReadDeadline(time.Unix(0, s.lastMove.Load()).Add(s.idle))
		}
		n, err := from.Read(b)
		if n > 0 {
			s.moved()
			return bytes.Clone(b[:n]), nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && s.lastMove.Load() > 0 {
			if s.v.d.now().Sub(time.Unix(0, s.lastMove.Load())) < s.idle {
				continue // the other side moved
			}
			s.v.stats.inc(vsDataTimedOut)
		}
		if err != nil {
			return nil, err
		}
	}
}

// send writes to one side, which must take it within the time-out.
func (s *stream) send(to net.Conn, b []byte) error {
	if s.idle > 0 {
		_ = to.SetWriteDeadline(s.v.d.now().Add(s.idle))
	}
	_, err := to.Write(b)
	s.moved()
	return err
}
