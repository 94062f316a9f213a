package dataplane

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
)

var (
	errBodySpent = errors.New("the request's body was sent already and cannot be read again")
	errBodyLarge = errors.New("the body is too large to be read by a rule")
)

// maxRuleBody is how much of a body a rule may read: the greatest value of
// connection!max_client_buffer.
const maxRuleBody = 16 << 20

// bodySource is the body of a client's request. Each try on a node reads a view
// of it from the beginning; what was read is kept up to limit, so that another
// try can send it again.
//
// The goroutine that reads a view may outlive its try. It then waits in src with
// the turn in its hand, and whatever it still gets is kept for the next view. The
// turn is a channel, not a mutex, so that under simulation waiting for it lets
// time pass.
type bodySource struct {
	src  io.Reader
	turn chan struct{}
	came func() // called whenever something of src came; nil: nobody asks

	spilled atomic.Bool // more than limit was read: the beginning is lost
	broken  atomic.Bool // src failed before its end
	closed  atomic.Bool // the request has ended

	// Held by whoever has the turn.

	limit int
	kept  []byte
	total int64 // bytes read from src
	err   error // how src ended
}

func newBodySource(src io.Reader, limit int) *bodySource {
	return &bodySource{src: src, limit: limit, turn: make(chan struct{}, 1)}
}

// finish lets no further try read the body, and returns when none does: a server
// reads the next request from the same connection. stuck is called if one is
// reading at this moment.
func (s *bodySource) finish(stuck func()) {
	s.closed.Store(true)
	select {
	case s.turn <- struct{}{}:
	default:
		stuck()
		s.turn <- struct{}{}
	}
	<-s.turn
}

// replayable tells whether another try can send the body.
func (s *bodySource) replayable() bool { return s == nil || !s.spilled.Load() }

// read reads from src into b. The caller has the turn.
func (s *bodySource) read(b []byte) (int, error) {
	n, err := s.src.Read(b)
	s.total += int64(n)
	if n > 0 && s.came != nil {
		s.came()
	}
	if err != nil {
		s.err = err
		if err != io.EOF {
			s.broken.Store(true)
		}
	}
	return n, err
}

// peek returns the first n bytes of the body, or all of it when it is shorter or
// n is 0. They are still sent.
func (s *bodySource) peek(ctx context.Context, n int) (string, error) {
	if s == nil {
		return "", nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if s.spilled.Load() {
		return "", errBodySpent
	}
	for s.err == nil && (n == 0 || len(s.kept) < n) {
		if len(s.kept) >= maxRuleBody {
			return "", errBodyLarge
		}
		var chunk [16 << 10]byte
		got, _ := s.read(chunk[:])
		s.kept = append(s.kept, chunk[:got]...)
	}
	if s.err != nil && s.err != io.EOF {
		return "", s.err
	}
	if n == 0 || n > len(s.kept) {
		n = len(s.kept)
	}
	return string(s.kept[:n]), nil
}

// bodyView is one reading of a bodySource, from its beginning.
type bodyView struct {
	source *bodySource
	at     int64
	closed atomic.Bool
}

func (v *bodyView) Close() error {
	v.closed.Store(true)
	return nil
}

func (v *bodyView) Read(b []byte) (int, error) {
	s := v.source
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	switch {
	case v.closed.Load() || s.closed.Load():
		return 0, io.ErrClosedPipe
	case v.at < int64(len(s.kept)):
		n := copy(b, s.kept[v.at:])
		v.at += int64(n)
		return n, nil
	case v.at != s.total:
		return 0, errBodySpent
	case s.err != nil:
		return 0, s.err
	}
	n, err := s.read(b)
	v.at += int64(n)
	if !s.spilled.Load() {
		if len(s.kept)+n > s.limit {
			s.spilled.Store(true)
			s.kept = nil
		} else {
			s.kept = append(s.kept, b[:n]...)
		}
	}
	return n, err
}
