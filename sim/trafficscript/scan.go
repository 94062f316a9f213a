package trafficscript

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pos is a place in a source, both numbers from 1; column counts bytes.
type pos struct{ line, col int32 }

type tokenKind uint8

const (
	tokEOF      tokenKind = iota
	tokName               // a function, library or sub name, dotted: http.getHeader
	tokKeyword            // if, else, ...
	tokVariable           // $name
	tokString
	tokInt
	tokDouble
	tokPunct // operators and brackets
)

// token is one lexical element. text is the name of a variable without $, the
// decoded bytes of a string, and the spelling of all others.
type token struct {
	kind tokenKind
	pos  pos
	text string
	num  int64
	dbl  float64
}

// String describes the token in an error message.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "the end of the rule"
	case tokString:
		return "a string"
	case tokVariable:
		return "'$" + t.text + "'"
	}
	return "'" + t.text + "'"
}

var keywords = map[string]bool{
	"if": true, "else": true, "while": true, "do": true, "for": true, "foreach": true, "in": true,
	"break": true, "continue": true, "return": true, "switch": true, "case": true, "default": true,
	"sub": true, "import": true, "as": true, "true": true, "false": true,
}

// puncts are the operators by their first byte, longest first.
var puncts = func() (by [256][]string) {
	for _, op := range []string{
		"<<=", ">>=",
		"++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "=>",
		"+=", "-=", "*=", "/=", "%=", ".=", "&=", "|=", "^=",
		"(", ")", "[", "]", "{", "}", ",", ";", ":", "?", "=", "+", "-", "*", "/", "%", ".",
		"<", ">", "!", "~", "&", "^", "|",
	} {
		by[op[0]] = append(by[op[0]], op)
	}
	return by
}()

// syntaxError is the one error that ends scanning or parsing.
type syntaxError struct {
	pos pos
	msg string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("Line %d: %s", e.pos.line, e.msg) }

// scanner cuts a source into tokens. Its methods panic with a *syntaxError,
// which parse recovers.
type scanner struct {
	src       string
	off       int
	line      int32
	lineStart int // offset of the current line's first byte

	warn func(p pos, msg string)
}

func (s *scanner) pos() pos { return pos{s.line, int32(s.off-s.lineStart) + 1} }

func fail(p pos, format string, args ...any) {
	panic(&syntaxError{p, fmt.Sprintf(format, args...)})
}

// newline notes that the byte at s.off-1 ended a line.
func (s *scanner) newline() {
	s.line++
	s.lineStart = s.off
}

func (s *scanner) skipSpace() {
	for s.off < len(s.src) {
		switch s.src[s.off] {
		case ' ', '\t', '\r', '\f', '\v':
			s.off++
		case '\n':
			s.off++
			s.newline()
		case '#':
			for s.off < len(s.src) && s.src[s.off] != '\n' {
				s.off++
			}
		default:
			return
		}
	}
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

func (s *scanner) at(off int) byte {
	if off < len(s.src) {
		return s.src[off]
	}
	return 0
}

func (s *scanner) next() token {
	s.skipSpace()
	p := s.pos()
	if s.off >= len(s.src) {
		return token{kind: tokEOF, pos: p}
	}
	start := s.off
	switch c := s.src[s.off]; {
	case isLetter(c):
		s.word()
		for s.at(s.off) == '.' && isLetter(s.at(s.off+1)) {
			s.off++
			s.word()
		}
		text := s.src[start:s.off]
		if keywords[text] {
			return token{kind: tokKeyword, pos: p, text: text}
		}
		return token{kind: tokName, pos: p, text: text}
	case c == '$':
		s.off++
		s.word()
		name := s.src[start+1 : s.off]
		if name == "" {
			fail(p, "expected a variable name after '$'")
		}
		if isDigit(name[0]) && (len(name) > 1 || name == "0") {
			fail(p, "'$%s' is no variable: names begin with a letter or '_', captures are $1 to $9", name)
		}
		return token{kind: tokVariable, pos: p, text: name}
	case isDigit(c):
		return s.number(p)
	case c == '"':
		return s.doubleQuoted(p)
	case c == '\'':
		return s.singleQuoted(p)
	}
	for _, op := range puncts[s.src[s.off]] {
		if strings.HasPrefix(s.src[s.off:], op) {
			s.off += len(op)
			return token{kind: tokPunct, pos: p, text: op}
		}
	}
	r, size := utf8.DecodeRuneInString(s.src[s.off:])
	if r == utf8.RuneError && size <= 1 {
		fail(p, "unexpected byte 0x%02x", s.src[s.off])
	}
	fail(p, "unexpected character %q", r)
	return token{}
}

func (s *scanner) word() {
	for s.off < len(s.src) && (isLetter(s.src[s.off]) || isDigit(s.src[s.off])) {
		s.off++
	}
}

func (s *scanner) digits() {
	for isDigit(s.at(s.off)) {
		s.off++
	}
}

// number scans integers, hex integers and doubles. A '.' belongs to the number
// only when a digit follows, since it is also concatenation.
func (s *scanner) number(p pos) token {
	start := s.off
	if s.src[s.off] == '0' && (s.at(s.off+1) == 'x' || s.at(s.off+1) == 'X') {
		s.off += 2
		s.word()
		n, err := strconv.ParseUint(s.src[start+2:s.off], 16, 64)
		if err != nil {
			fail(p, "'%s' is no hexadecimal number of at most 64 bits", s.src[start:s.off])
		}
		return token{kind: tokInt, pos: p, text: s.src[start:s.off], num: int64(n)}
	}
	s.digits()
	double := false
	if s.at(s.off) == '.' && isDigit(s.at(s.off+1)) {
		double = true
		s.off++
		s.digits()
	}
	if c := s.at(s.off); c == 'e' || c == 'E' {
		exp := s.off + 1
		if c := s.at(exp); c == '+' || c == '-' {
			exp++
		}
		if isDigit(s.at(exp)) {
			double = true
			s.off = exp
			s.digits()
		}
	}
	end := s.off
	s.word()
	text := s.src[start:s.off]
	if s.off > end {
		fail(p, "'%s' is no number", text)
	}
	if !double {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return token{kind: tokInt, pos: p, text: text, num: n}
		}
	}
	// Integers beyond 64 bits become doubles; doubles beyond theirs infinite.
	d, _ := strconv.ParseFloat(text, 64)
	return token{kind: tokDouble, pos: p, text: text, dbl: d}
}

// continuation skips a backslash-newline, by which a string goes on on the next
// line, and tells if there was one.
func (s *scanner) continuation() bool {
	rest := s.src[s.off:]
	switch {
	case strings.HasPrefix(rest, "\\\n"):
		s.off += 2
	case strings.HasPrefix(rest, "\\\r\n"):
		s.off += 3
	default:
		return false
	}
	s.newline()
	return true
}

// singleQuoted scans '...', where a backslash is an ordinary byte unless it
// ends the line.
func (s *scanner) singleQuoted(p pos) token {
	s.off++
	var b strings.Builder
	for s.off < len(s.src) {
		if s.continuation() {
			continue
		}
		c := s.src[s.off]
		s.off++
		switch c {
		case '\'':
			return token{kind: tokString, pos: p, text: b.String()}
		case '\n':
			s.newline()
		}
		b.WriteByte(c)
	}
	fail(p, "the string that begins here is never closed: expected '''")
	return token{}
}

func (s *scanner) doubleQuoted(p pos) token {
	s.off++
	var b strings.Builder
	for s.off < len(s.src) {
		if s.continuation() {
			continue
		}
		c := s.src[s.off]
		switch c {
		case '"':
			s.off++
			return token{kind: tokString, pos: p, text: b.String()}
		case '\\':
			s.escape(&b)
			continue
		}
		s.off++
		if c == '\n' {
			s.newline()
		}
		b.WriteByte(c)
	}
	fail(p, "the string that begins here is never closed: expected '\"'")
	return token{}
}

// escape decodes one backslash escape. One that means nothing gives the
// character itself, with a warning.
func (s *scanner) escape(b *strings.Builder) {
	p := s.pos()
	s.off++ // the backslash
	if s.off >= len(s.src) {
		return
	}
	c := s.src[s.off]
	switch c {
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case '"', '\\':
		b.WriteByte(c)
	case 'x':
		if n, width := s.digitsOf(s.off+1, 2, 16); width > 0 {
			b.WriteByte(byte(n))
			s.off += width
		} else {
			s.warn(p, `'\x' without hexadecimal digits is 'x'`)
			b.WriteByte(c)
		}
	case 'u':
		if n, width := s.digitsOf(s.off+1, 4, 16); width == 4 {
			b.WriteRune(rune(n))
			s.off += width
		} else {
			s.warn(p, `'\u' without four hexadecimal digits is 'u'`)
			b.WriteByte(c)
		}
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n, width := s.digitsOf(s.off, 3, 8)
		b.WriteByte(byte(n))
		s.off += width - 1
	default:
		s.warn(p, fmt.Sprintf("unknown escape '\\%c' is '%c': write '\\\\%c' for a backslash", c, c, c))
		b.WriteByte(c)
		if c == '\n' {
			s.off++
			s.newline()
			return
		}
	}
	s.off++
}

// digitsOf reads up to max digits of the base at off, and returns their value
// and number.
func (s *scanner) digitsOf(off, max, base int) (n int64, width int) {
	for width < max {
		d := hexDigit(s.at(off + width))
		if d < 0 || d >= base {
			break
		}
		n = n*int64(base) + int64(d)
		width++
	}
	return n, width
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
