package pcre

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ErrNotEmulated marks patterns that PCRE knows and this package does not.
var ErrNotEmulated = errors.New("not emulated")

const (
	maxNesting = 200   // groups in groups
	maxRepeat  = 65535 // PCRE's own limit of {n,m}
	unbounded  = -1
)

// set is a set of bytes.
type set [4]uint64

func (s *set) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *set) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }
func (s *set) addAll(o *set) {
	for i := range s {
		s[i] |= o[i]
	}
}
func (s *set) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}
func (s *set) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c))
	}
}

// fold adds the other case of each ASCII letter.
func (s *set) fold() {
	for c := byte('a'); c <= 'z'; c++ {
		if s.has(c) || s.has(c-32) {
			s.add(c)
			s.add(c - 32)
		}
	}
}
func (s *set) size() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

func setOf(f func(c byte) bool) *set {
	s := new(set)
	for c := range 256 {
		if f(byte(c)) {
			s.add(byte(c))
		}
	}
	return s
}

// node is a piece of a parsed pattern.
type node interface{}

type (
	emptyNode  struct{}
	setNode    struct{ set *set }
	catNode    struct{ list []node }
	altNode    struct{ list []node }
	repeatNode struct {
		body     node
		min, max int // max unbounded
		mode     mode
	}
	groupNode struct {
		body  node
		index int // from 1
	}
	atomicNode struct{ body node }
	lookNode   struct {
		body           node
		behind, negate bool
	}
	assertNode struct{ kind op }
	refNode    struct {
		index  int // or by name
		name   string
		fold   bool
		offset int // in the pattern, for errors
	}
)

// mode is how a repetition prefers its counts.
type mode uint8

const (
	greedy mode = iota
	lazy
	possessive
)

// flags are the options that (?imsxU) switch.
type flags struct{ fold, multi, dotAll, extended, ungreedy bool }

type parser struct {
	text   string
	at     int
	flags  flags
	groups int
	names  map[string]int
	refs   []*refNode
	depth  int
}

// syntaxError tells what is wrong and where.
type syntaxError struct {
	text   string
	at     int
	reason error
}

func (e *syntaxError) Error() string {
	if errors.Is(e.reason, ErrNotEmulated) {
		return fmt.Sprintf("%v, at offset %d of the regular expression '%s'", e.reason, e.at, e.text)
	}
	return fmt.Sprintf("'%s' is no regular expression: %v at offset %d", e.text, e.reason, e.at)
}
func (e *syntaxError) Unwrap() error { return e.reason }

// fail ends parsing; parse recovers it.
func (p *parser) fail(format string, args ...any) {
	panic(&syntaxError{p.text, p.at, fmt.Errorf(format, args...)})
}

func (p *parser) missing(what string) { p.fail("%w: %s", ErrNotEmulated, what) }

func parse(text string, fold bool) (root node, p *parser, err error) {
	p = &parser{text: text, flags: flags{fold: fold}, names: make(map[string]int)}
	defer func() {
		if e := recover(); e != nil {
			bad, ok := e.(*syntaxError)
			if !ok {
				panic(e)
			}
			root, err = nil, bad
		}
	}()
	root = p.alternatives(false)
	if p.at < len(p.text) {
		p.fail("a ) without a (")
	}
	for _, r := range p.refs {
		p.at = r.offset
		if r.name != "" {
			r.index = p.names[r.name]
		}
		if r.index < 1 || r.index > p.groups {
			p.fail("a reference to a group that does not exist")
		}
	}
	return root, p, nil
}

func (p *parser) more() bool { return p.at < len(p.text) }

func (p *parser) take(s string) bool {
	if strings.HasPrefix(p.text[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

// alternatives parses up to ) or the end. With reset, each alternative counts
// its groups from the same number: (?|...).
func (p *parser) alternatives(reset bool) node {
	if p.depth++; p.depth > maxNesting {
		p.fail("groups are nested more than %d deep", maxNesting)
	}
	saved, first, most := p.flags, p.groups, p.groups
	list := []node{p.sequence()}
	for p.more() && p.text[p.at] == '|' {
		p.at++
		most = max(most, p.groups)
		if reset {
			p.groups = first
		}
		list = append(list, p.sequence())
	}
	p.groups = max(most, p.groups)
	p.flags = saved
	p.depth--
	if len(list) == 1 {
		return list[0]
	}
	return &altNode{list}
}

func (p *parser) sequence() node {
	var list []node
	for p.more() && p.text[p.at] != '|' && p.text[p.at] != ')' {
		if p.flags.extended && p.skipBlank() {
			continue
		}
		if p.take(`\E`) {
			continue
		}
		if p.take(`\Q`) {
			literal, _, _ := strings.Cut(p.text[p.at:], `\E`)
			p.at += len(literal)
			p.take(`\E`)
			for i := range len(literal) {
				n := p.char(literal[i])
				if i == len(literal)-1 {
					n = p.quantified(n)
				}
				list = append(list, n)
			}
			continue
		}
		n := p.atom()
		if n == nil { // an option setting or a comment
			continue
		}
		list = append(list, p.quantified(n))
	}
	if len(list) == 1 {
		return list[0]
	}
	if len(list) == 0 {
		return emptyNode{}
	}
	return &catNode{list}
}

// skipBlank skips what (?x) makes meaningless.
func (p *parser) skipBlank() bool {
	switch p.text[p.at] {
	case ' ', '\t', '\n', '\v', '\f', '\r':
		p.at++
		return true
	case '#':
		line, _, _ := strings.Cut(p.text[p.at:], "\n")
		p.at += len(line)
		p.take("\n")
		return true
	}
	return false
}

func (p *parser) char(c byte) node {
	s := new(set)
	s.add(c)
	return p.set(s)
}

func (p *parser) set(s *set) node {
	if p.flags.fold {
		s.fold()
	}
	return &setNode{s}
}

// quantified parses the repetition behind n, if any.
func (p *parser) quantified(n node) node {
	for p.flags.extended && p.more() && p.skipBlank() {
	}
	if !p.more() {
		return n
	}
	lo, hi, width := p.repetition()
	if width == 0 {
		return n
	}
	p.at += width
	m := greedy
	if p.flags.ungreedy {
		m = lazy
	}
	switch {
	case p.take("?"):
		m = greedy + lazy - m
	case p.take("+"):
		m = possessive
	}
	if _, _, width := p.repetition(); width > 0 {
		p.fail("nothing to repeat: %q follows a repetition", p.text[p.at:p.at+1])
	}
	return &repeatNode{n, lo, hi, m}
}

// repetition reads * + ? {n} {n,} {n,m}; width 0 means that there is none. A {
// that begins nothing of this kind is itself.
func (p *parser) repetition() (lo, hi, width int) {
	if !p.more() {
		return 0, 0, 0
	}
	switch p.text[p.at] {
	case '*':
		return 0, unbounded, 1
	case '+':
		return 1, unbounded, 1
	case '?':
		return 0, 1, 1
	case '{':
	default:
		return 0, 0, 0
	}
	inner, _, ok := strings.Cut(p.text[p.at+1:], "}")
	first, second, comma := strings.Cut(inner, ",")
	if !ok || !isNumber(first) || second != "" && !isNumber(second) {
		return 0, 0, 0
	}
	lo, _ = strconv.Atoi(first)
	hi = lo
	if comma {
		hi = unbounded
		if second != "" {
			hi, _ = strconv.Atoi(second)
		}
	}
	if lo > maxRepeat || hi > maxRepeat || len(first) > 6 || len(second) > 6 {
		p.fail("a repetition of more than %d", maxRepeat)
	}
	if hi != unbounded && hi < lo {
		p.fail("the numbers in {} are out of order")
	}
	return lo, hi, len(inner) + 2
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// atom parses one thing that may be repeated; nil for (?i) and comments.
func (p *parser) atom() node {
	c := p.text[p.at]
	switch c {
	case '*', '+', '?':
		p.fail("nothing to repeat before '%c'", c)
	case '(':
		return p.group()
	case '[':
		return p.class()
	case '\\':
		return p.escape()
	case '.':
		p.at++
		s := setOf(func(c byte) bool { return p.flags.dotAll || c != '\n' })
		return &setNode{s}
	case '^':
		p.at++
		if p.flags.multi {
			return &assertNode{opLineStart}
		}
		return &assertNode{opStart}
	case '$':
		p.at++
		if p.flags.multi {
			return &assertNode{opLineEnd}
		}
		return &assertNode{opEndOrNewline}
	}
	p.at++
	return p.char(c)
}
