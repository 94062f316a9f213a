package trafficscript

import (
	"math"
	"strings"
)

// unary compiles ! ~ -.
func (c *compiler) unary(x *unaryExpr) eval {
	if x.op == "!" {
		operand := c.test(x.x)
		return func(r *run) value { return boolValue(!operand(r)) }
	}
	operand := c.expr(x.x)
	if x.op == "~" {
		return func(r *run) value { return intValue(^r.toInt(operand(r))) }
	}
	if l, ok := x.x.(*literal); ok && l.val.kind != kindString {
		return constant(negative(l.val))
	}
	return func(r *run) value { return negative(r.toNumber(operand(r))) }
}

func negative(v value) value {
	if v.kind == kindDouble {
		return doubleValue(-v.double())
	}
	return intValue(-v.int())
}

// comparison returns what a comparison operator says of an order; nil for other
// operators. Comparisons with NaN are false, but for !=.
func comparison(op string) func(order int, unordered bool) bool {
	switch op {
	case "==":
		return func(o int, u bool) bool { return o == 0 && !u }
	case "!=":
		return func(o int, u bool) bool { return o != 0 || u }
	case "<":
		return func(o int, u bool) bool { return o < 0 && !u }
	case "<=":
		return func(o int, u bool) bool { return o <= 0 && !u }
	case ">":
		return func(o int, u bool) bool { return o > 0 && !u }
	case ">=":
		return func(o int, u bool) bool { return o >= 0 && !u }
	}
	return nil
}

// test compiles an expression for its truth alone, which saves making 1 and 0.
func (c *compiler) test(x expr) test {
	switch x := x.(type) {
	case *unaryExpr:
		if x.op == "!" {
			c.cost++
			operand := c.test(x.x)
			return func(r *run) bool { return !operand(r) }
		}
	case *binaryExpr:
		if x.op == "==" || x.op == "!=" {
			c.cost++
			return c.equality(x)
		}
		if holds := comparison(x.op); holds != nil {
			c.cost++
			a, b := c.expr(x.x), c.expr(x.y)
			return func(r *run) bool { v := a(r); return holds(r.compare(v, b(r))) }
		}
	}
	if x, ok := x.(*chainExpr); ok && x.op != "." {
		return c.logical(x)
	}
	v := c.expr(x)
	return func(r *run) bool { return v(r).truth() }
}

// logical compiles && and ||, which look no further than they must.
func (c *compiler) logical(x *chainExpr) test {
	parts := make([]test, len(x.parts))
	for i, p := range x.parts {
		parts[i] = c.test(p)
	}
	c.cost += len(parts) - 1
	decisive := x.op == "||" // the truth of an operand that decides
	return func(r *run) bool {
		for _, p := range parts {
			if p(r) == decisive {
				return decisive
			}
		}
		return !decisive
	}
}

// equality compiles == and !=; with a string literal, the form of most routing
// rules, without a call for strings of other length.
func (c *compiler) equality(x *binaryExpr) test {
	want := x.op == "=="
	a := c.expr(x.x)
	if l, ok := x.y.(*literal); ok && l.val.kind == kindString && len(l.val.str) < 1024 {
		text := l.val.str
		if v, ok := x.x.(*variable); ok && !isCapture(v.name) {
			slot := c.slot(v.name)
			return func(r *run) bool {
				if v := &r.locals[slot]; v.kind == kindString {
					return (v.str == text) == want
				}
				return r.equal(r.locals[slot], l.val) == want
			}
		}
		return func(r *run) bool {
			v := a(r)
			if v.kind == kindString {
				return (v.str == text) == want
			}
			return r.equal(v, l.val) == want
		}
	}
	b := c.expr(x.y)
	return func(r *run) bool { v := a(r); return r.equal(v, b(r)) == want }
}

func (c *compiler) binary(x *binaryExpr) eval {
	if comparison(x.op) != nil {
		c.cost-- // test counts it again
		t := c.test(x)
		return func(r *run) value { return boolValue(t(r)) }
	}
	apply := operator(x.op)
	a, b := c.expr(x.x), c.expr(x.y)
	return func(r *run) value { v := a(r); return apply(r, v, b(r)) }
}

// operator returns an arithmetic or bitwise operator; nil for ".".
func operator(op string) func(r *run, a, b value) value {
	switch op {
	case "+":
		return arithmetic(func(a, b int64) int64 { return a + b }, func(a, b float64) float64 { return a + b })
	case "-":
		return arithmetic(func(a, b int64) int64 { return a - b }, func(a, b float64) float64 { return a - b })
	case "*":
		return arithmetic(func(a, b int64) int64 { return a * b }, func(a, b float64) float64 { return a * b })
	case "/":
		return divide
	case "%":
		return func(r *run, a, b value) value {
			x, y := r.toInt(a), r.toInt(b)
			if y == 0 {
				r.misuse("Division by zero")
				return intValue(0)
			}
			return intValue(x % y)
		}
	case "&":
		return bitwise(func(a, b int64) int64 { return a & b })
	case "|":
		return bitwise(func(a, b int64) int64 { return a | b })
	case "^":
		return bitwise(func(a, b int64) int64 { return a ^ b })
	case "<<":
		return bitwise(func(a, b int64) int64 { return shift(a, b) })
	case ">>":
		return bitwise(func(a, b int64) int64 { return shift(a, -b) })
	}
	return nil
}

// shift moves bits to the left by n, to the right when n is negative.
func shift(a, n int64) int64 {
	switch {
	case n >= 64:
		return 0
	case n >= 0:
		return a << uint(n)
	case n > -64:
		return a >> uint(-n)
	}
	return a >> 63
}

func arithmetic(ints func(a, b int64) int64, doubles func(a, b float64) float64) func(*run, value, value) value {
	return func(r *run, a, b value) value {
		a, b = r.toNumber(a), r.toNumber(b)
		if a.kind == kindInt && b.kind == kindInt {
			return intValue(ints(a.int(), b.int()))
		}
		return doubleValue(doubles(r.toDouble(a), r.toDouble(b)))
	}
}

func bitwise(op func(a, b int64) int64) func(*run, value, value) value {
	return func(r *run, a, b value) value { x := r.toInt(a); return intValue(op(x, r.toInt(b))) }
}

// divide is exact: 1/2 is 0.5, 4/2 stays an integer.
func divide(r *run, a, b value) value {
	a, b = r.toNumber(a), r.toNumber(b)
	if r.toDouble(b) == 0 {
		r.misuse("Division by zero")
		return intValue(0)
	}
	if a.kind == kindInt && b.kind == kindInt && a.int()%b.int() == 0 && a.int() != math.MinInt64 {
		return intValue(a.int() / b.int())
	}
	return doubleValue(r.toDouble(a) / r.toDouble(b))
}

// chain compiles . && and ||; concatenation joins all parts at once.
func (c *compiler) chain(x *chainExpr) eval {
	if x.op != "." {
		t := c.logical(x)
		return func(r *run) value { return boolValue(t(r)) }
	}
	c.cost += len(x.parts) - 1
	parts := c.exprs(x.parts)
	if len(parts) == 2 {
		a, b := parts[0], parts[1]
		return func(r *run) value { s := r.toString(a(r)); return r.join(s, r.toString(b(r))) }
	}
	return func(r *run) value {
		var few [8]string
		list, size := few[:0], 0
		for _, p := range parts {
			s := r.toString(p(r))
			if size += len(s); size > r.limits.Memory {
				r.alloc(size)
				return value{}
			}
			list = append(list, s)
		}
		if !r.alloc(size) {
			return value{}
		}
		return stringValue(strings.Join(list, ""))
	}
}

func (r *run) join(a, b string) value {
	if !r.alloc(len(a) + len(b)) {
		return value{}
	}
	return stringValue(a + b)
}
