package pcre

import "strings"

// group parses what begins with a (.
func (p *parser) group() node {
	p.at++
	if p.more() && p.text[p.at] == '*' {
		p.missing("the verb " + p.text[p.at-1:min(len(p.text), p.at+12)])
	}
	if !p.take("?") {
		return p.capture("")
	}
	switch {
	case p.take("#"):
		_, _, ok := strings.Cut(p.text[p.at:], ")")
		if !ok {
			p.fail("a comment without an end")
		}
		p.at += strings.IndexByte(p.text[p.at:], ')') + 1
		return nil
	case p.take(":"):
		return p.body(false)
	case p.take("|"):
		return p.body(true)
	case p.take(">"):
		return &atomicNode{p.body(false)}
	case p.take("="):
		return &lookNode{body: p.body(false)}
	case p.take("!"):
		return &lookNode{body: p.body(false), negate: true}
	case p.take("<="):
		return &lookNode{body: p.body(false), behind: true}
	case p.take("<!"):
		return &lookNode{body: p.body(false), behind: true, negate: true}
	case p.take("P="):
		return p.reference(p.name(')'))
	case p.take("P<"), p.take("<"):
		return p.capture(p.name('>'))
	case p.take("'"):
		return p.capture(p.name('\''))
	case p.take("P>"), p.take("&"), p.take("R"):
		p.missing("recursion")
	case p.take("("):
		p.missing("a conditional group")
	case p.take("C"):
		p.missing("a callout")
	}
	if p.more() && (isDigit(p.text[p.at]) || p.text[p.at] == '+' || p.text[p.at] == '-' && p.at+1 < len(p.text) && isDigit(p.text[p.at+1])) {
		p.missing("a call of a group")
	}
	return p.options()
}

// body parses a group's contents and its ).
func (p *parser) body(reset bool) node {
	n := p.alternatives(reset)
	if !p.take(")") {
		p.fail("a ( without a )")
	}
	return n
}

func (p *parser) capture(name string) node {
	p.groups++
	g := &groupNode{index: p.groups}
	if name != "" {
		if old, ok := p.names[name]; ok && old != g.index {
			p.fail("two groups have the name '%s'", name)
		}
		p.names[name] = g.index
	}
	g.body = p.body(false)
	return g
}

// name parses a group's name and what closes it.
func (p *parser) name(end byte) string {
	i := strings.IndexByte(p.text[p.at:], end)
	if i < 0 {
		p.fail("a group's name without its '%c'", end)
	}
	name := p.text[p.at : p.at+i]
	for j := range len(name) {
		if !isWord(name[j]) || j == 0 && isDigit(name[j]) {
			name = ""
			break
		}
	}
	if name == "" || len(name) > 128 {
		p.fail("a group's name that is no word")
	}
	p.at += i + 1
	return name
}

// options parses (?i-s) and (?i-s:...).
func (p *parser) options() node {
	saved, on := p.flags, true
	for p.more() {
		c := p.text[p.at]
		p.at++
		switch c {
		case 'i':
			p.flags.fold = on
		case 'm':
			p.flags.multi = on
		case 's':
			p.flags.dotAll = on
		case 'x':
			p.flags.extended = on
		case 'U':
			p.flags.ungreedy = on
		case '-':
			on = false
		case ')':
			return nil // until the end of the enclosing group, which restores them
		case ':':
			n := p.body(false)
			p.flags = saved
			return n
		default:
			p.at--
			p.fail("the unknown group (?%c", c)
		}
	}
	p.fail("a ( without a )")
	return nil
}

func (p *parser) reference(name string) node {
	r := &refNode{name: name, fold: p.flags.fold, offset: p.at}
	p.refs = append(p.refs, r)
	return r
}

func (p *parser) referenceTo(index int) node {
	r := &refNode{index: index, fold: p.flags.fold, offset: p.at}
	p.refs = append(p.refs, r)
	return r
}
