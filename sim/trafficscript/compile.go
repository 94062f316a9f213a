package trafficscript

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

const (
	// maxSource bounds the bytes of one rule or library.
	maxSource = 4 << 20
	// maxDiagnostics bounds the findings that Compile returns.
	maxDiagnostics = 100
)

// Rule is a compiled rule with the libraries that it imports. It is immutable.
type Rule struct {
	name    string
	main    *unit
	slots   int // locals of the rule itself
	body    exec
	parts   []*Part             // its own first
	regexes map[regexKey]*regex // of literal patterns
}

// Part is one of the sources that a rule is made of: its own, or that of a rule library.
// It is immutable.
type Part struct {
	Name      string
	Libraries []string // that it imports itself, sorted
	// Pools that it names itself in pool.use and pool.select, sorted: these count as
	// used. "discard" is not among them.
	Pools []string
}

// unit is what code remembers of the source it came from.
type unit struct {
	name   string
	strict bool // misuse of values ends the rule
}

// sub is a compiled subroutine. body is nil until all of its unit is compiled.
type sub struct {
	name   string
	unit   *unit
	params int
	slots  int
	body   exec
}

// source is a parsed rule or library while it is compiled.
type source struct {
	unit    *unit
	file    *file
	subs    map[string]*sub    // by lower-case name
	aliases map[string]*source // by lower-case alias
	pools   map[string]bool    // that it names
}

// compiler turns sources into a Rule.
type compiler struct {
	load          *loader
	variablePools bool       // VariablePoolUse
	remembered    *Libraries // RememberLibraries; may be nil
	diags         Diagnostics
	libs          map[string]*source // nil value: being loaded, or failed
	parts         []*Part            // of libs
	regexes       map[regexKey]*regex
	regexSize     int // instructions of all regexes, see maxRuleRegexes

	// The sub or rule body that is compiled now.

	src    *source
	scope  map[string]int // variable to slot
	inSub  bool
	loops  int // enclosing loops
	breaks int // enclosing loops and switches
	cost   int // instructions of the expressions since the statement began
}

// Option changes what Compile allows.
type Option func(*compiler)

// VariablePoolUse lets rules name pools by any expression, as the global setting
// trafficscript!variable_pool_use does. Rule.Pools then holds the literal names
// alone, and all pools count as used.
func VariablePoolUse() Option { return func(c *compiler) { c.variablePools = true } }

// Compile turns a rule's source into a Rule. load gives the source of an
// imported rule library, and false if there is none of this name; a nil load
// knows none. It is asked once for each library. The Rule is nil if and only if
// there is an error among the Diagnostics, each of which has its position; those of
// a library name the library. A rule that passes may still be wrong about things
// that only the traffic manager knows, such as the names in Pools.
func Compile(name, text string, load func(name string) (string, bool), options ...Option) (*Rule, Diagnostics) {
	c := newCompiler(&loader{load: load})
	for _, o := range options {
		o(c)
	}
	if c.remembered != nil {
		if known := c.remembered.rule(name, text, c.variablePools, c.load); known != nil {
			return known.rule, known.diags
		}
	}
	rule := &Rule{name: name, regexes: c.regexes}
	src := c.parse(name, text)
	if src != nil {
		c.compileSubs(src)
		rule.main = src.unit
		rule.body, rule.slots = c.compileBody(src, nil, func() exec { return c.block(src.file.stmts) })
		rule.parts = append([]*Part{src.part()}, c.parts...)
	}
	slices.SortStableFunc(c.diags, func(a, b Diagnostic) int {
		if a.Rule != b.Rule { // the rule's own first, then library by library
			if a.Rule == name || b.Rule == name {
				return map[bool]int{true: -1, false: 1}[a.Rule == name]
			}
			return strings.Compare(a.Rule, b.Rule)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(c.diags.Errors()) > 0 {
		return nil, c.diags
	}
	if c.remembered != nil {
		c.remembered.remember(&compiledRule{text, c.variablePools, c.load.asked, rule, c.diags})
		if len(src.file.imports) == 0 && len(src.file.stmts) == 0 {
			c.remembered.keep(c.asLibrary(src, text, rule.parts[0]))
		}
	}
	return rule, c.diags
}

func newCompiler(load *loader) *compiler {
	return &compiler{
		load:    load,
		libs:    make(map[string]*source),
		regexes: make(map[regexKey]*regex),
	}
}

// loader asks for the sources of rule libraries. Which library is the next follows from
// the rule and the libraries before: whoever goes through them again finds what was
// answered.
type loader struct {
	load  func(string) (string, bool) // nil: there are none
	asked []loaded
}

// loaded is what is known of a library's source.
type loaded struct {
	name, text string
	found      bool
}

// text returns the source of a library, after so many others.
func (l *loader) text(others int, name string) (text string, found bool) {
	if others < len(l.asked) && l.asked[others].name == name {
		return l.asked[others].text, l.asked[others].found
	}
	if l.load != nil {
		text, found = l.load(name)
	}
	l.asked = append(l.asked[:others], loaded{name, text, found})
	return text, found
}

// Name returns the rule's name.
func (r *Rule) Name() string { return r.name }

// Imports returns the rule libraries that the rule imports, those imported by
// libraries too, sorted.
func (r *Rule) Imports() []string {
	names := make([]string, 0, len(r.parts)-1)
	for _, p := range r.parts[1:] {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// Pools returns the pools that the rule and its libraries name in pool.use and
// pool.select, sorted: these count as used. "discard" is not among them.
func (r *Rule) Pools() []string {
	names := []string{}
	for _, p := range r.parts {
		names = append(names, p.Pools...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Parts returns the sources that the rule is made of, its own first, each once. A
// library that is remembered (RememberLibraries) is the same Part in all rules. The
// caller must not change the slice.
func (r *Rule) Parts() []*Part { return r.parts }

// part says what a source names, when all of it is compiled.
func (s *source) part() *Part {
	p := &Part{Name: s.unit.name, Pools: sortedKeys(s.pools)}
	for _, d := range s.file.imports {
		p.Libraries = append(p.Libraries, d.lib)
	}
	slices.Sort(p.Libraries)
	p.Libraries = slices.Compact(p.Libraries)
	return p
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (c *compiler) report(severity Severity, u *unit, p pos, format string, args ...any) {
	if len(c.diags) >= maxDiagnostics && severity == Warning || len(c.diags) >= 2*maxDiagnostics {
		return
	}
	c.diags = append(c.diags, Diagnostic{severity, u.name, int(p.line), int(p.col), fmt.Sprintf(format, args...)})
}

func (c *compiler) errorf(p pos, format string, args ...any) {
	c.report(Error, c.src.unit, p, format, args...)
}

func (c *compiler) warnf(p pos, format string, args ...any) {
	c.report(Warning, c.src.unit, p, format, args...)
}

// parse reads a source and what it imports, and declares its subs. It returns
// nil after a syntax error.
func (c *compiler) parse(name, text string) *source {
	u := &unit{name: name}
	if len(text) > maxSource {
		c.report(Error, u, pos{1, 1}, "the rule is longer than %d bytes", maxSource)
		return nil
	}
	f, err := parse(text, func(p pos, msg string) { c.report(Warning, u, p, "%s", msg) })
	if err != nil {
		c.report(Error, u, err.pos, "%s", err.msg)
		return nil
	}
	u.strict = f.strict
	src := &source{unit: u, file: f, subs: make(map[string]*sub), aliases: make(map[string]*source), pools: make(map[string]bool)}
	for _, d := range f.subs {
		key := strings.ToLower(d.name)
		switch {
		case src.subs[key] != nil:
			c.report(Error, u, d.pos, "sub '%s' is declared twice", d.name)
			continue
		case isKnown(key):
			c.report(Error, u, d.pos, "sub '%s' has the name of a built-in function: choose another", d.name)
		}
		src.subs[key] = &sub{name: d.name, unit: u, params: len(d.params)}
	}
	for _, d := range f.imports {
		if lib := c.library(u, d); lib != nil {
			src.aliases[strings.ToLower(d.alias)] = lib
		}
	}
	return src
}

// library loads and compiles a rule library once.
func (c *compiler) library(importer *unit, d importDecl) *source {
	if lib, seen := c.libs[d.lib]; seen {
		if lib == nil {
			c.report(Error, importer, d.pos, "rule library '%s' cannot be imported: it imports itself, or has errors", d.lib)
		}
		return lib
	}
	text, found := c.load.text(len(c.libs), d.lib)
	c.libs[d.lib] = nil
	if !found {
		c.report(Error, importer, d.pos, "rule library '%s' is missing: upload a rule of this name first", d.lib)
		return nil
	}
	if len(c.libs) > maxNesting {
		c.report(Error, importer, d.pos, "more than %d rule libraries", maxNesting)
		return nil
	}
	if c.remembered != nil {
		if lib := c.remembered.take(d.lib, text, c.variablePools); lib != nil {
			c.libs[d.lib] = c.adopt(lib)
			return lib.source
		}
	}
	src := c.parse(d.lib, text)
	if src == nil {
		c.report(Error, importer, d.pos, "rule library '%s' has errors", d.lib)
		return nil
	}
	c.finishLibrary(src)
	c.libs[d.lib] = src
	return src
}

func (c *compiler) finishLibrary(src *source) {
	if len(src.file.stmts) > 0 {
		c.report(Warning, src.unit, src.file.stmts[0].where(), "statements outside of subs do not run in a rule library")
	}
	c.compileSubs(src)
	c.parts = append(c.parts, src.part())
}

func (c *compiler) compileSubs(src *source) {
	for _, d := range src.file.subs {
		s := src.subs[strings.ToLower(d.name)]
		s.body, s.slots = c.compileBody(src, d, func() exec { return c.stmt(d.body) })
	}
}

// compileBody compiles one sub, or the rule itself when d is nil, with a scope
// of its own. Parameters have the first slots.
func (c *compiler) compileBody(src *source, d *subDecl, body func() exec) (exec, int) {
	c.src, c.scope, c.inSub, c.loops, c.breaks = src, make(map[string]int), d != nil, 0, 0
	if d != nil {
		for _, name := range d.params {
			c.slot(name)
		}
	}
	run := body()
	return run, len(c.scope)
}

// slot returns a variable's place among the locals.
func (c *compiler) slot(name string) int {
	n, ok := c.scope[name]
	if !ok {
		n = len(c.scope)
		c.scope[name] = n
	}
	return n
}

// exec runs a statement.
type exec func(*run) control

// control is where a statement leaves to.
type control uint8

const (
	goOn control = iota
	doBreak
	doContinue
	doReturn // from the sub or the rule; the value is in run.result
	doEnd    // run.ended is set: leave everything
)

// block runs statements in order.
func (c *compiler) block(list []stmt) exec {
	body := make([]exec, 0, len(list))
	for _, s := range list {
		body = append(body, c.stmt(s))
	}
	if len(body) == 1 {
		return body[0]
	}
	return func(r *run) control {
		for _, s := range body {
			if ctl := s(r); ctl != goOn {
				return ctl
			}
		}
		return goOn
	}
}

// costed compiles the expressions of one statement and returns how many
// instructions they are.
func (c *compiler) costed(compile func()) int {
	outer := c.cost
	c.cost = 1
	compile()
	cost := c.cost
	c.cost = outer
	return cost
}

func (c *compiler) stmt(s stmt) exec {
	line := int(s.where().line)
	switch s := s.(type) {
	case *blockStmt:
		return c.block(s.list)
	case *exprStmt:
		var x eval
		cost := c.costed(func() { x = c.expr(s.x) })
		return func(r *run) control {
			r.line = line
			if !r.use(cost) {
				return doEnd
			}
			x(r)
			if r.ended != Finished {
				return doEnd
			}
			return goOn
		}
	case *ifStmt:
		return c.ifStmt(s, line)
	case *loopStmt:
		return c.loop(s, line)
	case *foreachStmt:
		return c.foreach(s, line)
	case *branchStmt:
		return c.branch(s, line)
	case *returnStmt:
		x := constant(value{})
		cost := c.costed(func() {
			if s.x != nil {
				x = c.expr(s.x)
			}
		})
		return func(r *run) control {
			r.line = line
			if !r.use(cost) {
				return doEnd
			}
			r.result = x(r)
			if r.ended != Finished {
				return doEnd
			}
			return doReturn
		}
	case *switchStmt:
		return c.switchStmt(s, line)
	}
	panic(fmt.Sprintf("unknown statement %T", s))
}

func (c *compiler) ifStmt(s *ifStmt, line int) exec {
	type clause struct {
		line, cost int
		cond       test
		body       exec
	}
	clauses := make([]clause, len(s.conds))
	for i := range s.conds {
		k := &clauses[i]
		k.line = int(s.conds[i].where().line)
		k.cost = c.costed(func() { k.cond = c.test(s.conds[i]) })
		k.body = c.stmt(s.bodies[i])
	}
	clauses[0].line = line
	other := func(*run) control { return goOn }
	if s.other != nil {
		other = c.stmt(s.other)
	}
	return func(r *run) control {
		for i := range clauses {
			k := &clauses[i]
			r.line = k.line
			if !r.use(k.cost) {
				return doEnd
			}
			yes := k.cond(r)
			if r.ended != Finished {
				return doEnd
			}
			if yes {
				return k.body(r)
			}
		}
		return other(r)
	}
}

func (c *compiler) loop(s *loopStmt, line int) exec {
	var init, post eval
	cond := test(func(*run) bool { return true })
	initCost := c.costed(func() {
		if s.init != nil {
			init = c.expr(s.init)
		}
	})
	cost := c.costed(func() {
		if s.cond != nil {
			cond = c.test(s.cond)
		}
		if s.post != nil {
			post = c.expr(s.post)
		}
	})
	body := c.loopBody(s.body)
	return func(r *run) control {
		r.line = line
		if init != nil {
			if !r.use(initCost) {
				return doEnd
			}
			init(r)
		}
		for first := true; ; first = false {
			r.line = line
			if !first && post != nil {
				post(r)
			}
			if !r.use(cost) {
				return doEnd
			}
			if !(first && s.bodyFirst) {
				yes := cond(r)
				if r.ended != Finished {
					return doEnd
				}
				if !yes {
					return goOn
				}
			}
			switch ctl := body(r); ctl {
			case doBreak:
				return goOn
			case doReturn, doEnd:
				return ctl
			}
		}
	}
}

func (c *compiler) loopBody(s stmt) exec {
	c.loops++
	c.breaks++
	defer func() { c.loops--; c.breaks-- }()
	return c.stmt(s)
}

// foreach goes over an array's elements or a hash's keys as they were at the
// beginning.
func (c *compiler) foreach(s *foreachStmt, line int) exec {
	var list eval
	cost := c.costed(func() { list = c.expr(s.x) })
	set := c.setter(s.name)
	body := c.loopBody(s.body)
	return func(r *run) control {
		r.line = line
		if !r.use(cost) {
			return doEnd
		}
		v := list(r)
		if r.ended != Finished {
			return doEnd
		}
		if v.kind != kindAggregate {
			r.cannotConvert(v, "array")
			return r.endOr(goOn)
		}
		var elems []value
		if v.agg.isHash() {
			if !r.work(v.agg.len()*16) || !r.alloc(v.agg.len()*valueSize) {
				return doEnd
			}
			elems = stringsValue(v.agg.keys()).agg.elems
		} else {
			elems = v.agg.copy().elems
		}
		for _, e := range elems {
			r.line = line
			if !r.use(1) {
				return doEnd
			}
			set(r, detached(e))
			switch ctl := body(r); ctl {
			case doBreak:
				return goOn
			case doReturn, doEnd:
				return ctl
			}
		}
		return goOn
	}
}

// endOr returns ctl, or doEnd if the rule ended meanwhile.
func (r *run) endOr(ctl control) control {
	if r.ended != Finished {
		return doEnd
	}
	return ctl
}

// branch: break outside of loops ends the rule, not the rules after it.
func (c *compiler) branch(s *branchStmt, line int) exec {
	switch {
	case s.isContinue && c.loops == 0:
		c.errorf(s.pos, "'continue' outside of a loop")
	case s.isContinue:
		return func(*run) control { return doContinue }
	case c.breaks > 0:
		return func(*run) control { return doBreak }
	}
	return func(r *run) control {
		r.line = line
		r.stop(endedByBreak)
		return doEnd
	}
}

// switchStmt runs the first case that matches, and only it. A break in it
// leaves the switch. Cases that are all string literals compared by == are found
// by one look-up.
func (c *compiler) switchStmt(s *switchStmt, line int) exec {
	type oneCase struct {
		line, cost int
		value      eval
		body       int
	}
	var x eval
	cost := c.costed(func() { x = c.expr(s.x) })
	match := func(r *run, a, b value) bool { return r.equal(a, b) }
	if s.match != "" {
		match = c.matcher(s)
	}
	var cases []oneCase
	literals := make(map[string]int)
	for body, values := range s.values {
		for _, v := range values {
			k := oneCase{line: int(v.where().line), body: body}
			k.cost = c.costed(func() { k.value = c.expr(v) })
			cases = append(cases, k)
			if l, ok := v.(*literal); !ok || l.val.kind != kindString || s.match != "" {
				literals = nil
			} else if _, twice := literals[l.val.str]; literals != nil && !twice {
				literals[l.val.str] = body
			}
		}
	}
	c.breaks++
	bodies := make([]exec, len(s.bodies))
	for i, b := range s.bodies {
		bodies[i] = c.stmt(b)
	}
	other := func(*run) control { return goOn }
	if s.other != nil {
		other = c.stmt(s.other)
	}
	c.breaks--
	find := func(r *run, v value) exec {
		if literals != nil && v.kind == kindString {
			r.work(len(v.str))
			if i, ok := literals[v.str]; ok {
				return bodies[i]
			}
			return other
		}
		for i := range cases {
			k := &cases[i]
			r.line = k.line
			if !r.use(k.cost) || match(r, v, k.value(r)) {
				return bodies[k.body]
			}
		}
		return other
	}
	return func(r *run) control {
		r.line = line
		if !r.use(cost) {
			return doEnd
		}
		body := find(r, x(r))
		if r.ended != Finished {
			return doEnd
		}
		if ctl := body(r); ctl != doBreak {
			return ctl
		}
		return goOn
	}
}
