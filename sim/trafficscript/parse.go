package trafficscript

import "strings"

const (
	// maxNesting bounds how deep statements and parentheses nest, so that the
	// recursion of the parser is bounded.
	maxNesting = 250
	// maxHeight bounds how deep operators nest in one expression, so that the
	// recursion of compiler and interpreter is bounded. Chains of one of . && ||
	// count once.
	maxHeight = 1000
)

type parser struct {
	scan  scanner
	tok   token // the next one, not yet consumed
	depth int
	file  *file
}

// parse reads a whole source. Its error has position and what was expected.
func parse(src string, warn func(pos, string)) (f *file, err *syntaxError) {
	p := &parser{scan: scanner{src: src, line: 1, warn: warn}, file: &file{}}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *syntaxError:
			f, err = nil, e
		default:
			panic(e)
		}
	}()
	p.advance()
	for p.tok.kind != tokEOF {
		switch {
		case p.isKeyword("import"):
			p.parseImport()
		case p.isKeyword("sub"):
			p.parseSub()
		default:
			p.file.stmts = append(p.file.stmts, p.statement())
		}
	}
	return p.file, nil
}

func (p *parser) advance() token {
	t := p.tok
	p.tok = p.scan.next()
	return t
}

func (p *parser) isPunct(text string) bool {
	return p.tok.kind == tokPunct && p.tok.text == text
}

func (p *parser) isKeyword(text string) bool {
	return p.tok.kind == tokKeyword && p.tok.text == text
}

// take consumes the punctuation if it is next.
func (p *parser) take(text string) bool {
	if p.isPunct(text) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expected(what string) {
	fail(p.tok.pos, "expected %s before %s", what, p.tok)
}

func (p *parser) expect(text string) token {
	if !p.isPunct(text) {
		p.expected("'" + text + "'")
	}
	return p.advance()
}

func (p *parser) expectKeyword(text string) token {
	if !p.isKeyword(text) {
		p.expected("'" + text + "'")
	}
	return p.advance()
}

func (p *parser) expectKind(kind tokenKind, what string) token {
	if p.tok.kind != kind {
		p.expected(what)
	}
	return p.advance()
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		fail(p.tok.pos, "nested more than %d deep: move the inner part to a sub", maxNesting)
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) parseImport() {
	at := p.advance().pos
	var lib token
	switch p.tok.kind {
	case tokName, tokString:
		lib = p.advance()
	default:
		p.expected("the name of a rule library")
	}
	d := importDecl{pos: at, lib: lib.text, alias: lib.text}
	if p.isKeyword("as") {
		p.advance()
		d.alias = p.expectKind(tokName, "a name for the library").text
	}
	p.expect(";")
	if lib.kind == tokName && lib.text == "strict" {
		p.file.strict = true
		return
	}
	p.file.imports = append(p.file.imports, d)
}

func (p *parser) parseSub() {
	at := p.advance().pos
	d := &subDecl{pos: at, name: p.expectKind(tokName, "the name of the sub").text}
	p.expect("(")
	for !p.isPunct(")") {
		if len(d.params) > 0 {
			p.expect(",")
		}
		t := p.expectKind(tokVariable, "a parameter such as '$a'")
		if isDigit(t.text[0]) {
			fail(t.pos, "'$%s' is a capture and can be no parameter", t.text)
		}
		for _, other := range d.params {
			if other == t.text {
				fail(t.pos, "parameter '$%s' stands here twice", t.text)
			}
		}
		d.params = append(d.params, t.text)
	}
	p.expect(")")
	d.body = p.block()
	p.file.subs = append(p.file.subs, d)
}

// Statements

func (p *parser) block() *blockStmt {
	p.enter()
	defer p.leave()
	b := &blockStmt{pos: p.expect("{").pos}
	for !p.isPunct("}") {
		if p.tok.kind == tokEOF {
			fail(p.tok.pos, "expected '}' before the end of the rule: the block of line %d is open", b.line)
		}
		b.list = append(b.list, p.statement())
	}
	p.advance()
	return b
}

func (p *parser) statement() stmt {
	p.enter()
	defer p.leave()
	at := p.tok.pos
	if p.tok.kind == tokKeyword {
		switch p.tok.text {
		case "if":
			return p.ifChain()
		case "while":
			p.advance()
			cond := p.condition()
			return &loopStmt{pos: at, cond: cond, body: p.statement()}
		case "do":
			p.advance()
			body := p.statement()
			p.expectKeyword("while")
			s := &loopStmt{pos: at, cond: p.condition(), body: body, bodyFirst: true}
			p.expect(";")
			return s
		case "for":
			return p.forLoop()
		case "foreach":
			p.advance()
			p.expect("(")
			v := p.expectKind(tokVariable, "a variable such as '$v'")
			p.expectKeyword("in")
			x := p.expr()
			p.expect(")")
			return &foreachStmt{pos: at, name: v.text, x: x, body: p.statement()}
		case "switch":
			return p.switchStatement()
		case "break", "continue":
			word := p.advance().text
			p.expect(";")
			return &branchStmt{pos: at, isContinue: word == "continue"}
		case "return":
			p.advance()
			s := &returnStmt{pos: at}
			if !p.isPunct(";") {
				s.x = p.expr()
			}
			p.expect(";")
			return s
		case "sub", "import":
			fail(at, "'%s' must stand outside of all blocks", p.tok.text)
		case "else":
			fail(at, "'else' without 'if'")
		case "case", "default":
			fail(at, "'%s' outside of 'switch'", p.tok.text)
		case "true", "false": // begin an expression
		default:
			p.expected("a statement")
		}
	}
	switch {
	case p.isPunct("{"):
		return p.block()
	case p.isPunct(";"):
		p.advance()
		return &blockStmt{pos: at}
	}
	s := &exprStmt{pos: at, x: p.expr()}
	p.expect(";")
	return s
}

func (p *parser) condition() expr {
	p.expect("(")
	x := p.expr()
	p.expect(")")
	return x
}

// ifChain reads a chain of any length without recursion.
func (p *parser) ifChain() stmt {
	s := &ifStmt{pos: p.tok.pos}
	for {
		p.expectKeyword("if")
		s.conds = append(s.conds, p.condition())
		s.bodies = append(s.bodies, p.statement())
		if !p.isKeyword("else") {
			return s
		}
		p.advance()
		if !p.isKeyword("if") {
			s.other = p.statement()
			return s
		}
	}
}

func (p *parser) forLoop() stmt {
	s := &loopStmt{pos: p.advance().pos}
	p.expect("(")
	if !p.isPunct(";") {
		s.init = p.expr()
	}
	p.expect(";")
	if !p.isPunct(";") {
		s.cond = p.expr()
	}
	p.expect(";")
	if !p.isPunct(")") {
		s.post = p.expr()
	}
	p.expect(")")
	s.body = p.statement()
	return s
}

func (p *parser) switchStatement() stmt {
	s := &switchStmt{pos: p.advance().pos}
	p.expect("(")
	s.x = p.expr()
	if p.take(",") {
		t := p.expectKind(tokName, "the name of a function")
		s.match, s.matchPos = t.text, t.pos
	}
	p.expect(")")
	p.expect("{")
	for p.isKeyword("case") {
		p.advance()
		values := []expr{p.expr()}
		for p.take(",") {
			values = append(values, p.expr())
		}
		s.values = append(s.values, values)
		s.bodies = append(s.bodies, p.caseBody())
	}
	if p.isKeyword("default") {
		p.advance()
		s.other = p.caseBody()
		if p.isKeyword("case") || p.isKeyword("default") {
			fail(p.tok.pos, "'%s' after 'default': default is the last", p.tok.text)
		}
	}
	if !p.isPunct("}") {
		p.expected("'case', 'default' or '}'")
	}
	p.advance()
	return s
}

func (p *parser) caseBody() stmt {
	b := &blockStmt{pos: p.expect(":").pos}
	for !p.isKeyword("case") && !p.isKeyword("default") && !p.isPunct("}") {
		if p.tok.kind == tokEOF {
			p.expected("'}'")
		}
		b.list = append(b.list, p.statement())
	}
	return b
}

// Expressions

func (p *parser) expr() expr {
	p.enter()
	defer p.leave()
	x := p.binary(1)
	if !p.isPunct("?") {
		return x
	}
	at := p.advance().pos
	yes := p.expr()
	p.expect(":")
	no := p.expr()
	return &conditionalExpr{over(at, x, yes, no), x, yes, no}
}

// binaryLevel returns how tight a binary operator binds, 0 for none.
func binaryLevel(op string) int {
	switch op {
	case "||":
		return 1
	case "&&":
		return 2
	case "|":
		return 3
	case "^":
		return 4
	case "&":
		return 5
	case "==", "!=":
		return 6
	case "<", "<=", ">", ">=":
		return 7
	case "<<", ">>":
		return 8
	case "+", "-", ".":
		return 9
	case "*", "/", "%":
		return 10
	}
	return 0
}

func (p *parser) binary(level int) expr {
	x := p.unary()
	for {
		if p.tok.kind != tokPunct {
			return x
		}
		op := p.tok
		l := binaryLevel(op.text)
		if l < level || l == 0 {
			return x
		}
		p.advance()
		y := p.binary(l + 1)
		if op.text != "." && op.text != "&&" && op.text != "||" {
			x = &binaryExpr{over(op.pos, x, y), op.text, x, y}
		} else if c, ok := x.(*chainExpr); ok && c.op == op.text { // (a . b) . c too: it is the same
			c.raise(y)
			c.parts = append(c.parts, y)
		} else {
			x = &chainExpr{over(op.pos, x, y), op.text, []expr{x, y}}
		}
	}
}

func (p *parser) unary() expr {
	if p.tok.kind != tokPunct {
		return p.postfix()
	}
	switch op := p.tok; op.text {
	case "!", "~", "-":
		p.enter()
		defer p.leave()
		p.advance()
		x := p.unary()
		return &unaryExpr{over(op.pos, x), op.text, x}
	case "++", "--":
		p.advance()
		x := p.indexed(p.primary())
		return &stepExpr{over(op.pos, x), stepOf(op.text), true, p.target(op, x)}
	}
	return p.postfix()
}

func stepOf(op string) int64 {
	if op == "--" {
		return -1
	}
	return 1
}

// target checks that op can write to x: $v or $v[i][j].
func (p *parser) target(op token, x expr) expr {
	inner := x
	for {
		switch t := inner.(type) {
		case *variable:
			return x
		case *indexExpr:
			inner = t.x
			continue
		}
		fail(op.pos, "'%s' needs a variable, such as '$a' or '$a[0]'", op.text)
	}
}

func (p *parser) indexed(x expr) expr {
	for depth := 0; p.isPunct("["); depth++ {
		if depth > maxNesting {
			fail(p.tok.pos, "more than %d indices", maxNesting)
		}
		at := p.advance().pos
		i := p.expr()
		p.expect("]")
		x = &indexExpr{over(at, x, i), x, i}
	}
	return x
}

func (p *parser) postfix() expr {
	x := p.indexed(p.primary())
	if p.tok.kind != tokPunct {
		return x
	}
	switch op := p.tok; op.text {
	case "++", "--":
		p.advance()
		return &stepExpr{over(op.pos, x), stepOf(op.text), false, p.target(op, x)}
	case "=", "+=", "-=", "*=", "/=", "%=", ".=", "&=", "|=", "^=", "<<=", ">>=":
		p.advance()
		target := p.target(op, x)
		val := p.expr()
		return &assignExpr{over(op.pos, target, val), strings.TrimSuffix(op.text, "="), target, val}
	}
	return x
}

func (p *parser) primary() expr {
	switch t := p.tok; t.kind {
	case tokInt:
		p.advance()
		return &literal{node{pos: t.pos}, intValue(t.num)}
	case tokDouble:
		p.advance()
		return &literal{node{pos: t.pos}, doubleValue(t.dbl)}
	case tokString:
		p.advance()
		return &literal{node{pos: t.pos}, stringValue(t.text)}
	case tokVariable:
		p.advance()
		return &variable{node{pos: t.pos}, t.text}
	case tokName:
		p.advance()
		if !p.isPunct("(") {
			fail(p.tok.pos, "expected '(' after the function name '%s' before %s", t.text, p.tok)
		}
		args := p.arguments()
		return &callExpr{over(t.pos, args...), t.text, args}
	case tokKeyword:
		switch t.text {
		case "true":
			p.advance()
			return &literal{node{pos: t.pos}, intValue(1)}
		case "false":
			p.advance()
			return &literal{node{pos: t.pos}, intValue(0)}
		}
	case tokPunct:
		switch t.text {
		case "(":
			p.advance()
			x := p.expr()
			p.expect(")")
			return x
		case "[":
			return p.aggregate()
		}
	}
	p.expected("an expression")
	return nil
}

func (p *parser) arguments() []expr {
	p.expect("(")
	var args []expr
	for !p.isPunct(")") {
		if len(args) > 0 {
			if !p.isPunct(",") {
				p.expected("',' or ')'")
			}
			p.advance()
		}
		args = append(args, p.expr())
	}
	p.advance()
	return args
}

func (p *parser) aggregate() expr {
	a := &aggregateExpr{node: node{pos: p.expect("[").pos}}
	for n := 0; !p.isPunct("]"); n++ {
		if n > 0 {
			if !p.isPunct(",") {
				p.expected("',' or ']'")
			}
			p.advance()
			if p.isPunct("]") {
				break
			}
		}
		x := p.expr()
		switch {
		case n > 0 && a.keys == nil && p.isPunct("=>"):
			fail(p.tok.pos, "'=>' in an array: either all elements have a key or none")
		case n == 0 && p.isPunct("=>"), a.keys != nil:
			p.expect("=>")
			a.keys = append(a.keys, x)
			a.raise(x)
			x = p.expr()
		}
		a.values = append(a.values, x)
		a.raise(x)
	}
	p.advance()
	return a
}
