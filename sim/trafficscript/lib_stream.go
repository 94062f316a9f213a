package trafficscript

import (
	"context"
	"strconv"
	"strings"
)

// Streamer sends a response to the client while a rule makes it, for
// http.stream.*.
type Streamer interface {
	// StartResponse sends the head: status, reason and header lines of a; length
	// is that of the body, -1 if it is not known. It is called once.
	StartResponse(ctx context.Context, a *Answer, length int64) error
	// WriteResponse sends further bytes of the body.
	WriteResponse(ctx context.Context, data string) error
	// ReadResponse waits for further bytes of the node's response and returns up
	// to max of them, without transfer and content encoding; "" at its end, and in
	// request rules.
	ReadResponse(ctx context.Context, max int) (string, error)
}

// StreamEnd tells how a rule ended a response that it sent piece by piece.
type StreamEnd uint8

const (
	NotStreamed       StreamEnd = iota // no rule ended it; if one was begun (Streaming), it ends with the rules
	StreamFinished                     // it is complete
	StreamFromBackend                  // the rest of the node's body follows
)

// streaming is the state of http.stream.*, from rule to rule.
type streaming struct {
	begun    bool
	bounded  bool   // a content length was given
	left     int64  // bytes that may still be sent, when bounded
	unread   string // read from the node, not yet given to the rule
	finished bool   // the node's body is read
}

// Streaming tells whether a rule began to send a response by http.stream: the
// client has its head, and gets no other one.
func (t *Transaction) Streaming() bool { return t.streaming.begun }

var streamFunctions = []function{
	fn("http.stream.startResponse", 2, 4, startResponse).in(inRequest | inResponse),
	fn("http.stream.writeResponse", 1, 1, func(r *run, a []value) value {
		r.streamOut("http.stream.writeResponse", r.toString(a[0]))
		return value{}
	}).in(inRequest | inResponse),
	fn("http.stream.readResponse", 1, 2, func(r *run, a []value) value { return r.streamIn(a, true) }).in(inResponse),
	fn("http.stream.readBulkResponse", 1, 2, func(r *run, a []value) value { return r.streamIn(a, false) }).in(inResponse),
	fn("http.stream.finishResponse", 0, 1, func(r *run, a []value) value {
		return r.endStream("http.stream.finishResponse", a, StreamFinished)
	}).in(inRequest | inResponse),
	fn("http.stream.continueFromBackend", 0, 1, func(r *run, a []value) value {
		if r.tx.Phase == RequestPhase {
			return r.endStream("http.stream.continueFromBackend", a, StreamFinished)
		}
		return r.endStream("http.stream.continueFromBackend", a, StreamFromBackend)
	}).in(inRequest | inResponse),
}

// streamError tells that a function of http.stream cannot work now.
func (r *run) streamError(format string, args ...any) {
	if r.unit.strict {
		r.abort(format, args...)
		return
	}
	r.warn("rulestreamerror", format, args...)
}

// startResponse sends the head: code, type, and as wanted length and header lines.
// In response rules without lines those of the node stay.
func startResponse(r *run, a []value) value {
	s := &r.tx.streaming
	if r.tx.Streamer == nil || s.begun {
		r.streamError("http.stream.startResponse: the response was begun already, or cannot be streamed")
		return value{}
	}
	code, reason := r.statusCode(a[0])
	answer := &Answer{Code: code, Reason: reason, Header: r.headerLines(r.stringArg(a, 3))}
	if len(a) < 4 && r.tx.Phase == ResponsePhase && r.tx.Response != nil {
		answer.Header = r.responseHeaders().h.Clone()
		for _, name := range []string{"Content-Length", "Content-Encoding", "Transfer-Encoding"} {
			answer.Header.Del(name)
		}
	}
	if contentType := oneLine(r.toString(a[1])); contentType != "" {
		answer.Header.Set("Content-Type", contentType)
	}
	length := int64(-1)
	if n, err := strconv.ParseInt(r.stringArg(a, 2), 10, 64); err == nil && n >= 0 {
		length = n
		s.bounded, s.left = true, n
	}
	if r.ended != Finished {
		return value{}
	}
	s.begun = true
	defer r.waits()()
	if err := r.tx.Streamer.StartResponse(r.ctx, answer, length); err != nil {
		r.abort("http.stream.startResponse: %s", waitError(err))
	}
	return value{}
}

// streamOut sends a piece, and no more than the length that was promised.
func (r *run) streamOut(function, data string) {
	s := &r.tx.streaming
	if !s.begun {
		r.streamError("%s: call http.stream.startResponse first", function)
		return
	}
	if s.bounded {
		data = data[:clamp(s.left, len(data))]
		s.left -= int64(len(data))
	}
	if data == "" || r.ended != Finished || !r.work(len(data)) {
		return
	}
	defer r.waits()()
	if err := r.tx.Streamer.WriteResponse(r.ctx, data); err != nil {
		r.abort("%s: %s", function, waitError(err))
	}
}

// streamIn reads up to count bytes of the node's body: to the first or last
// delimiter in them, with it, or all of them where there is none. A delimiter that
// begins in them is read whole.
func (r *run) streamIn(a []value, first bool) value {
	s := &r.tx.streaming
	count, delimiter := clamp(r.toInt(a[0]), r.limits.Memory), r.stringArg(a, 1)
	if count <= 0 || r.tx.Streamer == nil {
		return value{}
	}
	reach := count + max(len(delimiter)-1, 0)
	for r.ended == Finished {
		within, at := s.unread[:min(reach, len(s.unread))], -1
		if !r.work(len(within)) {
			break
		}
		switch {
		case delimiter == "":
		case first:
			at = strings.Index(within, delimiter)
		default:
			at = strings.LastIndex(within, delimiter)
		}
		enough := len(s.unread) >= reach || len(s.unread) >= count && !endsWithPart(s.unread, delimiter)
		if s.finished || enough || first && at >= 0 {
			n := min(count, len(s.unread))
			if at >= 0 {
				n = at + len(delimiter)
			}
			taken := s.unread[:n]
			s.unread = s.unread[n:]
			return stringValue(taken)
		}
		r.streamFill(reach - len(s.unread))
	}
	return value{}
}

// streamFill waits for more of the node's body.
func (r *run) streamFill(most int) {
	s := &r.tx.streaming
	done := r.waits()
	piece, err := r.tx.Streamer.ReadResponse(r.ctx, most)
	done()
	if err != nil {
		r.abort("the response's body cannot be read: %s", waitError(err))
		return
	}
	if r.alloc(len(piece)) && r.work(len(s.unread)) {
		s.finished = piece == ""
		s.unread += piece
	}
}

// endsWithPart tells if s ends with the beginning of a delimiter.
func endsWithPart(s, delimiter string) bool {
	for n := min(len(delimiter)-1, len(s)); n > 0; n-- {
		if strings.HasSuffix(s, delimiter[:n]) {
			return true
		}
	}
	return false
}

// endStream sends the last piece and ends this rule and all later ones.
func (r *run) endStream(function string, a []value, end StreamEnd) value {
	if !r.tx.streaming.begun {
		r.streamError("%s: call http.stream.startResponse first", function)
		return value{}
	}
	r.streamOut(function, r.stringArg(a, 0))
	if end == StreamFromBackend {
		r.streamOut(function, r.tx.streaming.unread)
	}
	if r.ended == Finished {
		r.tx.Streamed = end
		r.stop(Decided)
	}
	return value{}
}
