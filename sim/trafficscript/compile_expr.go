package trafficscript

import (
	"fmt"
	"strings"
)

// eval computes an expression. When the rule ends within it (run.ended), its
// value means nothing.
type eval func(*run) value

// test computes an expression's truth.
type test func(*run) bool

func constant(v value) eval { return func(*run) value { return v } }

// expr compiles an expression for its value. An aggregate that it gives is
// never inside shared storage, but may be a variable's own: who keeps it stores
// detached(v).
func (c *compiler) expr(x expr) eval {
	switch x := x.(type) {
	case *literal:
		return constant(x.val)
	case *variable:
		return c.variable(x.name)
	case *indexExpr:
		return c.index(x)
	case *callExpr:
		c.cost++
		return c.call(x)
	case *unaryExpr:
		c.cost++
		return c.unary(x)
	case *binaryExpr:
		c.cost++
		return c.binary(x)
	case *chainExpr:
		return c.chain(x)
	case *conditionalExpr:
		c.cost++
		cond, yes, no := c.test(x.cond), c.expr(x.yes), c.expr(x.no)
		return func(r *run) value {
			if cond(r) {
				return yes(r)
			}
			return no(r)
		}
	case *assignExpr:
		c.cost++
		return c.assign(x)
	case *stepExpr:
		c.cost++
		return c.step(x)
	case *aggregateExpr:
		return c.aggregate(x)
	}
	panic(fmt.Sprintf("unknown expression %T", x))
}

func isCapture(name string) bool { return isDigit(name[0]) }

func (c *compiler) variable(name string) eval {
	if isCapture(name) {
		n := name[0] - '0'
		return func(r *run) value { return r.captures[n] }
	}
	slot := c.slot(name)
	return func(r *run) value { return r.locals[slot] }
}

// setter writes a variable.
func (c *compiler) setter(name string) func(*run, value) {
	if isCapture(name) {
		n := name[0] - '0'
		return func(r *run, v value) { r.captures[n] = v }
	}
	slot := c.slot(name)
	return func(r *run, v value) { r.locals[slot] = v }
}

// element reads x[key] of an aggregate; what is not there is "".
func (r *run) element(a *aggregate, key value) value {
	if a.isHash() {
		k := r.toString(key)
		r.work(len(k))
		return a.fields[k]
	}
	if i := r.toInt(key); i >= 0 && i < int64(len(a.elems)) {
		return a.elems[i]
	}
	return value{}
}

// elementOf reads x[key] of any value.
func (r *run) elementOf(x, key value) value {
	if x.kind != kindAggregate {
		if x.kind != kindString || x.str != "" { // a variable never set has no elements
			r.cannotConvert(x, "array")
		}
		return value{}
	}
	return r.element(x.agg, key)
}

func (c *compiler) index(x *indexExpr) eval {
	base, key := c.expr(x.x), c.expr(x.i)
	return func(r *run) value {
		b := base(r)
		v := r.elementOf(b, key(r))
		if v.kind == kindAggregate && b.agg.shared {
			v = detached(v)
		}
		return v
	}
}

// reference compiles an argument whose changes in place the caller sees: a
// parameter of a sub, or of a function that changes its argument.
func (c *compiler) reference(x expr) eval {
	i, ok := x.(*indexExpr)
	if !ok {
		return c.expr(x)
	}
	base, key := c.reference(i.x), c.expr(i.i)
	return func(r *run) value {
		b, k := base(r), key(r)
		v := r.elementOf(b, k)
		if v.kind == kindAggregate && b.agg.shared {
			if !r.owned(b.agg, 0) {
				return value{}
			}
			v = r.element(b.agg, k)
		}
		return v
	}
}

// container compiles the aggregate that holds a target's element, made when the
// variable or element was never set. It gives nil, after a warning, when
// something else is there. All keys are computed before any container is looked
// up, so that nothing runs, and could share its storage, before it is written.
func (c *compiler) container(x expr) func(*run) *aggregate {
	if v, ok := x.(*variable); ok {
		get, set := c.variable(v.name), c.setter(v.name)
		return func(r *run) *aggregate {
			return r.intoAggregate(get(r), func(v value) { set(r, v) })
		}
	}
	i := x.(*indexExpr)
	base, key := c.container(i.x), c.expr(i.i)
	return func(r *run) *aggregate {
		k := key(r)
		a := base(r)
		if a == nil || !r.owned(a, 0) {
			return nil
		}
		return r.intoAggregate(r.element(a, k), func(v value) { r.setElement(a, k, v) })
	}
}

func (r *run) intoAggregate(v value, set func(value)) *aggregate {
	if v.kind == kindAggregate {
		return v.agg
	}
	if v.kind == kindString && v.str == "" {
		v = arrayValue(nil)
		set(v)
		return v.agg
	}
	r.cannotConvert(v, "array")
	return nil
}

// setElement writes a[key]. An empty aggregate becomes a hash by a string key,
// an array by a number; an array grows.
func (r *run) setElement(a *aggregate, key, v value) {
	if a.isHash() || a.len() == 0 && key.kind == kindString {
		k := r.toString(key)
		if r.owned(a, 1) && r.alloc(len(k)) && r.work(len(k)) {
			a.put(k, v)
		}
		return
	}
	i := r.toInt(key)
	if i < 0 {
		r.misuse("Array index %d is out of range", i)
		return
	}
	if i >= int64(r.limits.Memory) { // no array is that long
		r.alloc(r.limits.Memory + 1)
		return
	}
	grow := max(0, int(i)-len(a.elems)+1)
	if !r.owned(a, grow) || !r.work(grow*16) {
		return
	}
	for range grow {
		a.elems = append(a.elems, value{})
	}
	a.elems[i] = v
}

// update compiles reading a target, computing its new value, and writing it.
// compute returns what to write and what the whole expression gives.
func (c *compiler) update(target expr, operand eval, compute func(r *run, old, operand value) (written, result value)) eval {
	if v, ok := target.(*variable); ok {
		get, set := c.variable(v.name), c.setter(v.name)
		return func(r *run) value {
			x := operand(r)
			written, result := compute(r, get(r), x)
			if r.ended == Finished {
				set(r, written)
			}
			return result
		}
	}
	i := target.(*indexExpr)
	base, key := c.container(i.x), c.expr(i.i)
	return func(r *run) value {
		x, k := operand(r), key(r)
		a := base(r)
		if a == nil {
			return value{}
		}
		written, result := compute(r, r.element(a, k), x)
		if r.ended == Finished {
			r.setElement(a, k, written)
		}
		return result
	}
}

func (c *compiler) assign(x *assignExpr) eval {
	val := c.expr(x.value)
	if x.op == "" {
		return c.assignPlain(x, val)
	}
	apply := operator(x.op)
	if x.op == "." {
		apply = func(r *run, a, b value) value { return r.join(r.toString(a), r.toString(b)) }
	}
	return c.update(x.target, val, func(r *run, old, operand value) (value, value) {
		v := apply(r, old, operand)
		return v, v
	})
}

// assignPlain copies aggregates, except when a variable gets the aggregate that
// it already holds: $a = array.push($a, 1).
func (c *compiler) assignPlain(x *assignExpr, val eval) eval {
	if v, ok := x.target.(*variable); ok {
		get, set := c.variable(v.name), c.setter(v.name)
		return func(r *run) value {
			v := val(r)
			if r.ended != Finished {
				return v
			}
			if v.kind == kindAggregate && get(r).agg != v.agg {
				v = detached(v)
			}
			set(r, v)
			return v
		}
	}
	i := x.target.(*indexExpr)
	base, key := c.container(i.x), c.expr(i.i)
	return func(r *run) value {
		v := detached(val(r))
		if r.ended != Finished {
			return v
		}
		k := key(r)
		if a := base(r); a != nil {
			r.setElement(a, k, v)
		}
		return v
	}
}

func (c *compiler) step(x *stepExpr) eval {
	return c.update(x.target, constant(value{}), func(r *run, old, _ value) (value, value) {
		old = r.toNumber(old)
		v := intValue(old.int() + x.delta)
		if old.kind == kindDouble {
			v = doubleValue(old.double() + float64(x.delta))
		}
		if x.prefix {
			return v, v
		}
		return v, old
	})
}

// aggregate compiles [..]. One of constants alone is made once, and each
// evaluation shares its storage.
func (c *compiler) aggregate(x *aggregateExpr) eval {
	c.cost++
	if a, ok := frozen(x); ok {
		v := aggregateValue(a)
		return func(*run) value { return detached(v) }
	}
	c.cost += len(x.values)
	keys, values := c.exprs(x.keys), c.exprs(x.values)
	return func(r *run) value {
		if !r.alloc(len(values) * valueSize) {
			return value{}
		}
		a := &aggregate{}
		if keys == nil {
			a.elems = make([]value, 0, len(values))
		}
		for i, val := range values {
			if keys == nil {
				a.elems = append(a.elems, detached(val(r)))
				continue
			}
			k := r.toString(keys[i](r))
			a.put(k, detached(val(r)))
		}
		return aggregateValue(a)
	}
}

// frozen builds an aggregate of literals, which nothing may write, and false
// when it has other elements. An aggregate expression that it may share is
// frozen too.
func frozen(x *aggregateExpr) (*aggregate, bool) {
	a := &aggregate{shared: true}
	for i, e := range x.values {
		var v value
		switch e := e.(type) {
		case *literal:
			v = e.val
		case *aggregateExpr:
			inner, ok := frozen(e)
			if !ok {
				return nil, false
			}
			v = aggregateValue(inner)
		default:
			return nil, false
		}
		if x.keys == nil {
			a.elems = append(a.elems, v)
			continue
		}
		key, ok := x.keys[i].(*literal)
		if !ok {
			return nil, false
		}
		// The conversion of a literal needs no run: it is no aggregate.
		a.put((*run)(nil).toString(key.val), v)
	}
	return a, true
}

func (c *compiler) exprs(list []expr) []eval {
	if list == nil {
		return nil
	}
	evals := make([]eval, len(list))
	for i, x := range list {
		evals[i] = c.expr(x)
	}
	return evals
}

// call compiles a call of a sub, a library's sub, or a function.
func (c *compiler) call(x *callExpr) eval {
	key := strings.ToLower(x.name)
	if s := c.lookupSub(key); s != nil {
		return c.subCall(x, s)
	}
	if f := library[key]; f != nil {
		return c.libraryCall(x, f)
	}
	for dot := strings.IndexByte(key, '.'); dot >= 0; {
		if c.src.aliases[key[:dot]] != nil {
			c.errorf(x.pos, "rule library '%s' has no sub '%s'", x.name[:dot], x.name[dot+1:])
			return constant(value{})
		}
		next := strings.IndexByte(key[dot+1:], '.')
		if next < 0 {
			break
		}
		dot += 1 + next
	}
	if isKnown(key) {
		c.errorf(x.pos, "function %s is not emulated", x.name)
	} else {
		c.errorf(x.pos, "unknown function %s%s", x.name, c.suggest(key))
	}
	c.exprs(x.args) // for the errors in them
	return constant(value{})
}

// lookupSub finds a sub by its lower-case name: of this source, or of a library
// by its alias.
func (c *compiler) lookupSub(key string) *sub {
	if s := c.src.subs[key]; s != nil {
		return s
	}
	for dot := range len(key) {
		if key[dot] == '.' {
			if lib := c.src.aliases[key[:dot]]; lib != nil {
				if s := lib.subs[key[dot+1:]]; s != nil {
					return s
				}
			}
		}
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (c *compiler) subCall(x *callExpr, s *sub) eval {
	if len(x.args) != s.params {
		c.errorf(x.pos, "sub %s takes %s, not %d", s.name, plural(s.params, "argument"), len(x.args))
	}
	args := make([]eval, len(x.args))
	for i, a := range x.args {
		args[i] = c.reference(a)
	}
	line := int(x.line)
	return func(r *run) value {
		caller, free, unit := r.locals, r.free, r.unit
		if !r.work(s.slots * valueSize) {
			return value{}
		}
		locals := r.frame(s.slots)
		clear(locals)
		for i, a := range args {
			locals[i] = a(r)
		}
		r.line = line
		if r.ended != Finished {
			return value{}
		}
		if r.depth++; r.depth > r.limits.Depth {
			r.abort("sub %s: calls are nested more than %d deep", s.name, r.limits.Depth)
			return value{}
		}
		r.locals, r.unit, r.result = locals, s.unit, value{}
		s.body(r)
		v := r.result
		r.locals, r.free, r.unit, r.line, r.result = caller, free, unit, line, value{}
		r.depth--
		return v
	}
}

// libraryCall compiles a call of a built-in function.
func (c *compiler) libraryCall(x *callExpr, f *function) eval {
	if n := len(x.args); n < f.min || f.max >= 0 && n > f.max {
		c.errorf(x.pos, "function %s takes %s, not %d: %s", f.name, f.arity(), n, f.signature())
		return constant(value{})
	}
	if f.deprecated != "" {
		c.warnf(x.pos, "function %s is deprecated: use %s", f.name, f.deprecated)
	}
	if f.check != nil {
		f.check(c, x)
	}
	args := make([]eval, len(x.args))
	for i, a := range x.args {
		if i == 0 && f.inPlace {
			args[i] = c.reference(a)
		} else {
			args[i] = c.expr(a)
		}
	}
	line := int(x.line)
	return func(r *run) value {
		base, bytes := len(r.args), 0
		for _, a := range args {
			v := a(r)
			bytes += len(v.str)
			r.args = append(r.args, v)
		}
		r.line = line
		var v value
		if r.ended == Finished && r.work(bytes) && f.phases&(1<<r.tx.Phase) != 0 {
			v = f.call(r, r.args[base:])
		}
		clear(r.args[base:])
		r.args = r.args[:base]
		return v
	}
}

// matcher compiles the function of switch (x, function).
func (c *compiler) matcher(s *switchStmt) func(r *run, a, b value) bool {
	at := node{pos: s.matchPos}
	call := &callExpr{at, s.match, []expr{&variable{at, switchValue}, &variable{at, switchCase}}}
	setValue, setCase := c.setter(switchValue), c.setter(switchCase)
	f := c.call(call)
	return func(r *run, a, b value) bool {
		setValue(r, a)
		setCase(r, b)
		return f(r).truth()
	}
}

// Names of the locals that hold what a switch compares; no source can name them.
const (
	switchValue = "switch value"
	switchCase  = "switch case"
)
