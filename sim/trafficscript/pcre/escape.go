package pcre

import (
	"strconv"
	"strings"
	"unicode"
)

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool { return c|32 >= 'a' && c|32 <= 'z' }
func isWord(c byte) bool  { return isAlpha(c) || isDigit(c) || c == '_' }
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r' }
func isPunct(c byte) bool { return c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c) }
func isXDigit(c byte) bool {
	return isDigit(c) || c|32 >= 'a' && c|32 <= 'f'
}
func isHorizontal(c byte) bool { return c == ' ' || c == '\t' || c == 0xa0 }
func isVertical(c byte) bool   { return c >= '\n' && c <= '\r' || c == 0x85 }

// classOf returns the set of \d and its like, and false for another letter.
func classOf(c byte) (*set, bool) {
	f := map[byte]func(byte) bool{'d': isDigit, 'w': isWord, 's': isSpace, 'h': isHorizontal, 'v': isVertical}[c|32]
	if f == nil {
		return nil, false
	}
	s := setOf(f)
	if c&32 == 0 {
		s.invert()
	}
	return s, true
}

// posix holds the names in [[:name:]].
var posix = map[string]func(byte) bool{
	"alpha": isAlpha, "digit": isDigit, "word": isWord, "xdigit": isXDigit, "punct": isPunct,
	"alnum": func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"ascii": func(c byte) bool { return c < 0x80 },
	"blank": func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl": func(c byte) bool { return c < ' ' || c == 0x7f },
	"graph": func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower": func(c byte) bool { return c >= 'a' && c <= 'z' },
	"print": func(c byte) bool { return c >= ' ' && c < 0x7f },
	"space": func(c byte) bool { return isSpace(c) || c == '\v' },
	"upper": func(c byte) bool { return c >= 'A' && c <= 'Z' },
}

// escape parses a backslash outside of [].
func (p *parser) escape() node {
	if p.at+1 >= len(p.text) {
		p.fail("a \\ at the end")
	}
	c := p.text[p.at+1]
	if c == 'N' {
		p.at += 2
		return &setNode{setOf(func(c byte) bool { return c != '\n' })}
	}
	if s, ok := classOf(c); ok {
		p.at += 2
		return p.set(s)
	}
	simple := map[byte]op{'A': opStart, 'z': opEnd, 'Z': opEndOrNewline, 'b': opWord, 'B': opNotWord, 'G': opFrom, 'K': opKeep}
	if kind, ok := simple[c]; ok {
		p.at += 2
		return &assertNode{kind}
	}
	switch c {
	case 'C':
		p.at += 2
		return &setNode{setOf(func(byte) bool { return true })}
	case 'R':
		p.at += 2
		crlf := &catNode{[]node{p.char('\r'), p.char('\n')}}
		return &atomicNode{&altNode{[]node{crlf, &setNode{setOf(isVertical)}}}}
	case 'X':
		p.missing(`\X`)
	case 'p', 'P':
		return p.set(p.property())
	case 'k':
		p.at += 2
		for _, pair := range []string{"<>", "''", "{}"} {
			if p.take(pair[:1]) {
				return p.reference(p.name(pair[1]))
			}
		}
		p.fail(`\k without a name`)
	case 'g':
		return p.groupReference()
	}
	if c >= '1' && c <= '9' {
		end := p.at + 1
		for end < len(p.text) && isDigit(p.text[end]) {
			end++
		}
		n, err := strconv.Atoi(p.text[p.at+1 : end])
		// Two digits and more are an octal number unless so many groups were opened.
		if err == nil && (n < 10 || n <= p.groups) {
			p.at = end
			return p.referenceTo(n)
		}
	}
	return p.char(p.byteEscape())
}

// groupReference parses \g1, \g{1}, \g{-1} and \g{name}.
func (p *parser) groupReference() node {
	p.at += 2
	text := ""
	switch {
	case p.take("{"):
		inner, _, ok := strings.Cut(p.text[p.at:], "}")
		if !ok {
			p.fail(`\g{ without }`)
		}
		text = inner
		if text != "" && !isDigit(text[0]) && text[0] != '-' {
			return p.reference(p.name('}'))
		}
		p.at += len(inner) + 1
	case p.more() && (p.text[p.at] == '<' || p.text[p.at] == '\''):
		p.missing("a call of a group")
	default:
		end := p.at
		for end < len(p.text) && (isDigit(p.text[end]) || end == p.at && p.text[end] == '-') {
			end++
		}
		text = p.text[p.at:end]
		p.at = end
	}
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		p.fail(`\g without the number of a group`)
	}
	if n < 0 {
		n += p.groups + 1
	}
	return p.referenceTo(n)
}

// property parses \pL, \p{Lu}, \P{L} and \p{^L}; of Unicode's characters only
// those of one byte can be met.
func (p *parser) property() *set {
	negate := p.text[p.at+1] == 'P'
	p.at += 2
	name := ""
	if p.take("{") {
		inner, _, ok := strings.Cut(p.text[p.at:], "}")
		if !ok {
			p.fail(`\p{ without }`)
		}
		p.at += len(inner) + 1
		name = inner
		if rest, ok := strings.CutPrefix(name, "^"); ok {
			name, negate = rest, !negate
		}
	} else if p.more() {
		name = p.text[p.at : p.at+1]
		p.at++
	}
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	if table == nil && name != "Any" {
		p.fail(`\p of the unknown property '%s'`, name)
	}
	s := setOf(func(c byte) bool { return table == nil || unicode.Is(table, rune(c)) })
	if negate {
		s.invert()
	}
	return s
}

// byteEscape parses an escape that is one byte.
func (p *parser) byteEscape() byte {
	c := p.text[p.at+1]
	p.at += 2
	number := func(digits string, base int) byte {
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil || n > 255 {
			p.fail("the number '%s' is no byte", digits)
		}
		return byte(n)
	}
	span := func(max int, f func(byte) bool) string {
		start := p.at
		for p.more() && p.at-start < max && f(p.text[p.at]) {
			p.at++
		}
		return p.text[start:p.at]
	}
	octal := func(c byte) bool { return c >= '0' && c <= '7' }
	switch c {
	case 'a':
		return 7
	case 'e':
		return 27
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'c':
		if !p.more() || p.text[p.at] >= 0x80 {
			p.fail(`\c without a character`)
		}
		p.at++
		x := p.text[p.at-1]
		if x >= 'a' && x <= 'z' {
			x -= 32
		}
		return x ^ 64
	case 'x', 'o':
		base, digit := 16, isXDigit
		if c == 'o' {
			base, digit = 8, octal
		}
		if p.take("{") {
			digits := span(8, digit)
			if digits == "" || !p.take("}") {
				p.fail(`\%c{ without a number and }`, c)
			}
			return number(digits, base)
		}
		if c == 'o' {
			p.fail(`\o without {`)
		}
		digits := span(2, isXDigit)
		if digits == "" {
			return 0
		}
		return number(digits, 16)
	}
	if octal(c) {
		p.at--
		return number(span(3, octal), 8)
	}
	if isDigit(c) || isAlpha(c) {
		p.at--
		p.fail(`the unknown escape \%c`, c)
	}
	return c
}

// class parses [...].
func (p *parser) class() node {
	start := p.at
	p.at++
	negate := p.take("^")
	s := new(set)
	for first := true; ; first = false {
		if !p.more() {
			p.at = start
			p.fail("a [ without a ]")
		}
		if p.text[p.at] == ']' && !first {
			p.at++
			break
		}
		if p.take(`\E`) {
			first = true
			continue
		}
		if p.take(`\Q`) {
			literal, _, _ := strings.Cut(p.text[p.at:], `\E`)
			for i := range len(literal) {
				s.add(literal[i])
			}
			p.at += len(literal)
			p.take(`\E`)
			continue
		}
		if many := p.classSet(); many != nil {
			s.addAll(many)
			continue
		}
		lo := p.classByte()
		if p.at+1 >= len(p.text) || p.text[p.at] != '-' || p.text[p.at+1] == ']' {
			s.add(lo)
			continue
		}
		dash := p.at
		p.at++
		if many := p.classSet(); many != nil { // [a-\d]: the - is itself
			s.add(lo)
			s.add('-')
			s.addAll(many)
			continue
		}
		hi := p.classByte()
		if hi < lo {
			p.at = dash
			p.fail("a range in [] that is out of order")
		}
		s.addRange(lo, hi)
	}
	if p.flags.fold {
		s.fold()
	}
	if negate {
		s.invert()
	}
	return &setNode{s}
}

// classSet parses \d, \pL or [:alpha:] in a class; nil if there is a byte.
func (p *parser) classSet() *set {
	rest := p.text[p.at:]
	if strings.HasPrefix(rest, "[:") {
		name, _, ok := strings.Cut(rest[2:], ":]")
		negate := strings.HasPrefix(name, "^")
		if f := posix[strings.TrimPrefix(name, "^")]; ok && f != nil {
			p.at += len(name) + 4
			s := setOf(f)
			if p.flags.fold {
				s.fold()
			}
			if negate {
				s.invert()
			}
			return s
		}
		if ok && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz^") == "" {
			p.fail("the unknown class [:%s:]", name)
		}
	}
	if len(rest) < 2 || rest[0] != '\\' {
		return nil
	}
	if rest[1] == 'p' || rest[1] == 'P' {
		return p.property()
	}
	if s, ok := classOf(rest[1]); ok {
		p.at += 2
		return s
	}
	return nil
}

func (p *parser) classByte() byte {
	if !p.more() {
		p.fail("a [ without a ]")
	}
	c := p.text[p.at]
	if c != '\\' {
		p.at++
		return c
	}
	if p.at+1 >= len(p.text) {
		p.fail("a \\ at the end")
	}
	if p.text[p.at+1] == 'b' {
		p.at += 2
		return '\b'
	}
	return p.byteEscape()
}
