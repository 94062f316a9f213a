package dataplane

import (
	"bytes"
	"strings"
)

// framing follows the requests of an HTTP/1 connection byte by byte and refuses
// what two servers might read in two ways: where a request ends must be beyond
// doubt before any of it is passed on. net/http is more lenient than that (it
// takes bare line feeds, folded lines, a length beside a transfer coding), and it
// parses again what framing let pass; a request must please both.
//
// What is refused, by RFC 9112: a line feed without carriage return and the
// reverse (2.2), spaces around a field name and folded lines (5.1, 5.2), bytes
// that no field has (RFC 9110 5.5), Content-Length twice, beside
// Transfer-Encoding or not a plain number (6.3), Transfer-Encoding in HTTP/1.0
// or other than a single "chunked" (6.1), chunk sizes that are not hexadecimal
// (7.1). Where the RFC lets a server choose, it is refused.
//
// It belongs to whoever reads the connection.
type framing struct {
	state frameState
	line  []byte // what came of the present line, without its end
	left  int64  // bytes of the body or chunk still to come

	// Of the present head.

	http10, chunked, upgrade bool
	length                   int64 // -1: none given

	fault *fault // once set, nothing more is read
}

// fault is why a request is refused.
type fault struct {
	code int // status for the client
	why  string
}

type frameState uint8

const (
	inRequestLine frameState = iota
	inHeader
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
	// afterUpgrade: what comes belongs to the other protocol if the node agrees,
	// and is the next request if not.
	afterUpgrade
)

// maxLine bounds what is kept of one line; the server's own limit on a head is
// smaller, as a rule.
const maxLine = 1 << 20

func (f *fault) Error() string { return f.why }

// feed follows b and returns how much of it may be passed on: all, unless fault
// is set or the rest awaits the outcome of an upgrade.
func (f *framing) feed(b []byte) int {
	at := 0
	for at < len(b) && f.fault == nil && f.state != afterUpgrade {
		switch f.state {
		case inBody, inChunk:
			n := min(f.left, int64(len(b)-at))
			at += int(n)
			if f.left -= n; f.left == 0 {
				if f.state == inBody {
					f.next()
				} else {
					f.state = inChunkEnd
				}
			}
		default:
			end := bytes.IndexByte(b[at:], '\n')
			if end < 0 {
				if len(f.line)+len(b)-at > maxLine {
					f.refuse(431, "a line is too long")
					return at
				}
				f.line = append(f.line, b[at:]...)
				return len(b)
			}
			line := b[at : at+end]
			if len(f.line) > 0 {
				f.line = append(f.line, line...)
				line = f.line
			}
			f.take(line)
			f.line = f.line[:0]
			if f.fault == nil {
				at += end + 1
			}
		}
	}
	return at
}

func (f *framing) refuse(code int, why string) { f.fault = &fault{code, why} }

// next begins the next request.
func (f *framing) next() {
	f.state = inRequestLine
	if f.upgrade {
		f.state = afterUpgrade
	}
}

// declined begins the next request after an upgrade that did not come about.
func (f *framing) declined() {
	if f.state == afterUpgrade {
		f.state = inRequestLine
	}
}

// take follows one line that ended with a line feed, which is not part of it.
func (f *framing) take(line []byte) {
	n := len(line) - 1
	if n < 0 || line[n] != '\r' {
		f.refuse(400, "a line ends without carriage return")
		return
	}
	line = line[:n]
	switch f.state {
	case inRequestLine:
		f.requestLine(line)
	case inHeader:
		if len(line) > 0 {
			f.header(line)
		} else {
			f.headEnds()
		}
	case inChunkSize:
		f.chunkSize(line)
	case inChunkEnd:
		if len(line) > 0 {
			f.refuse(400, "a chunk is longer than its size")
		}
		f.state = inChunkSize
	case inTrailer:
		if len(line) == 0 {
			f.next()
		} else if name, _, ok := f.field(line); ok && framingField(name) {
			f.refuse(400, "the trailer has a field that frames messages")
		}
	}
}

func (f *framing) requestLine(line []byte) {
	if len(line) == 0 {
		return // RFC 9112 2.2: empty lines before a request are ignored
	}
	for _, c := range line {
		if c <= ' ' && c != ' ' || c == 0x7f {
			f.refuse(400, "the request line has a control character")
			return
		}
	}
	if bytes.Count(line, []byte(" ")) != 2 {
		f.refuse(400, "the request line is not method, target and version")
		return
	}
	f.http10 = bytes.HasSuffix(line, []byte(" HTTP/1.0"))
	f.chunked, f.upgrade, f.length = false, false, -1
	f.state = inHeader
}

// field splits a header line; false when it is refused.
func (f *framing) field(line []byte) (name, value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	switch {
	case line[0] == ' ' || line[0] == '\t':
		f.refuse(400, "a header line is folded")
		return nil, nil, false
	case colon <= 0:
		f.refuse(400, "a header line has no name")
		return nil, nil, false
	}
	name, value = line[:colon], line[colon+1:]
	for _, c := range name {
		if !tokenByte[c] {
			f.refuse(400, "a header's name has a character that no name has")
			return nil, nil, false
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			f.refuse(400, "a header's value has a control character")
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}

func (f *framing) header(line []byte) {
	name, value, ok := f.field(line)
	if !ok {
		return
	}
	switch len(name) {
	case len("Upgrade"):
		f.upgrade = f.upgrade || bytes.EqualFold(name, []byte("Upgrade"))
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			f.contentLength(value)
		}
	case len("Transfer-Encoding"):
		if !bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			return
		}
		switch {
		case f.chunked:
			f.refuse(400, "Transfer-Encoding is given twice")
		case !bytes.EqualFold(value, []byte("chunked")):
			f.refuse(501, "the transfer coding is not supported")
		}
		f.chunked = true
	}
}

func (f *framing) contentLength(value []byte) {
	// 18 digits cannot overflow, and nobody sends so much.
	if f.length >= 0 || len(value) == 0 || len(value) > 18 {
		f.refuse(400, "Content-Length is given twice or is no length")
		return
	}
	f.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			f.refuse(400, "Content-Length is no number")
			return
		}
		f.length = f.length*10 + int64(c-'0')
	}
}

func (f *framing) headEnds() {
	switch {
	case f.chunked && f.length >= 0:
		f.refuse(400, "both Transfer-Encoding and Content-Length are given")
	case f.chunked && f.http10:
		f.refuse(400, "HTTP/1.0 has no Transfer-Encoding")
	case f.chunked:
		f.state = inChunkSize
	case f.length > 0:
		f.left, f.state = f.length, inBody
	default:
		f.next()
	}
}

// chunkSize takes the line before a chunk. Extensions are ignored, as RFC 9112
// 7.1.1 wants it; they do not reach the node.
func (f *framing) chunkSize(line []byte) {
	digits, extension, _ := bytes.Cut(line, []byte(";"))
	digits = bytes.TrimRight(digits, " \t") // "bad" white space, which the RFC has recipients remove
	if len(digits) == 0 || len(digits) > 15 {
		f.refuse(400, "a chunk's size is no size")
		return
	}
	f.left = 0
	for _, c := range digits {
		v := strings.IndexByte("0123456789abcdef", c|0x20)
		if v < 0 || c < '0' {
			f.refuse(400, "a chunk's size is not hexadecimal")
			return
		}
		f.left = f.left<<4 | int64(v)
	}
	for _, c := range extension {
		if c < ' ' && c != '\t' || c == 0x7f {
			f.refuse(400, "a chunk's extension has a control character")
			return
		}
	}
	f.state = inChunk
	if f.left == 0 {
		f.state = inTrailer
	}
}

func framingField(name []byte) bool {
	return bytes.EqualFold(name, []byte("Content-Length")) || bytes.EqualFold(name, []byte("Transfer-Encoding")) || bytes.EqualFold(name, []byte("Host"))
}

// tokenByte tells which bytes a field's name is made of (RFC 9110 5.6.2).
var tokenByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()
