package trafficscript

import (
	"math"
	"strings"
)

// langFunctions are lang.*; four of them also go by their bare name.
var langFunctions = []function{
	fn("lang.toInt", 1, 1, func(r *run, a []value) value { return intValue(r.toInt(a[0])) }),
	fn("lang.toDouble", 1, 1, func(r *run, a []value) value { return doubleValue(r.toDouble(a[0])) }),
	fn("lang.toString", 1, 1, func(r *run, a []value) value { return r.text(r.toString(a[0])) }),
	fn("lang.toArray", 1, -1, langToArray),
	fn("lang.toHash", 1, -1, langToHash),
	fn("lang.isArray", 1, 1, func(r *run, a []value) value {
		return boolValue(a[0].kind == kindAggregate && !a[0].agg.isHash())
	}),
	fn("lang.isHash", 1, 1, func(r *run, a []value) value {
		return boolValue(a[0].kind == kindAggregate && (a[0].agg.isHash() || a[0].agg.len() == 0))
	}),
	fn("lang.dump", 1, 1, langDump),
	fn("lang.chr", 1, 1, langChr),
	fn("lang.tochar", 1, 1, langChr).replacedBy("lang.chr"),
	fn("chr", 1, 1, langChr),
	fn("lang.ord", 1, 1, langOrd),
	fn("ord", 1, 1, langOrd),
	fn("lang.min", 2, 2, langMin),
	fn("min", 2, 2, langMin),
	fn("lang.max", 2, 2, langMax),
	fn("max", 2, 2, langMax),
	fn("lang.assert", 2, 2, func(r *run, a []value) value {
		if !a[0].truth() {
			r.abort("Assertion failed: %s", oneLine(r.toString(a[1])))
		}
		return value{}
	}),
	fn("lang.warn", 1, 1, func(r *run, a []value) value {
		r.misuse("%s", oneLine(r.toString(a[0])))
		return value{}
	}),
}

func langChr(r *run, a []value) value { return stringValue(string([]byte{byte(r.toInt(a[0]))})) }

func langOrd(r *run, a []value) value {
	s := r.toString(a[0])
	if s == "" {
		return intValue(0)
	}
	return intValue(int64(s[0]))
}

// larger compares two strings as strings, all else as numbers by their look.
func (r *run) larger(a, b value) (first bool, x, y value) {
	if a.kind == kindString && b.kind == kindString {
		return a.str >= b.str, a, b
	}
	a, b = r.toNumber(a), r.toNumber(b)
	if a.kind == kindInt && b.kind == kindInt {
		return a.int() >= b.int(), a, b
	}
	return r.toDouble(a) >= r.toDouble(b), a, b
}

func langMax(r *run, a []value) value {
	first, x, y := r.larger(a[0], a[1])
	if first {
		return x
	}
	return y
}

func langMin(r *run, a []value) value {
	first, x, y := r.larger(a[0], a[1])
	if first {
		return y
	}
	return x
}

// langToArray makes an array of its arguments; of one hash, keys and values in
// turn.
func langToArray(r *run, a []value) value {
	if len(a) == 1 && a[0].kind == kindAggregate {
		if !a[0].agg.isHash() {
			return detached(a[0])
		}
		h := a[0].agg
		if !r.alloc(2*h.len()*valueSize) || !r.work(h.len()*16) {
			return value{}
		}
		elems := make([]value, 0, 2*h.len())
		for _, k := range h.keys() {
			elems = append(elems, stringValue(k), detached(h.fields[k]))
		}
		return arrayValue(elems)
	}
	elems := make([]value, 0, len(a))
	for _, v := range a {
		elems = append(elems, detached(v))
	}
	return arrayValue(elems)
}

// langToHash makes a hash of keys and values in turn, given as arguments or as
// one array.
func langToHash(r *run, a []value) value {
	if len(a) == 1 && a[0].kind == kindAggregate {
		if a[0].agg.isHash() {
			return detached(a[0])
		}
		a = a[0].agg.copy().elems
	}
	if !r.alloc(len(a)*valueSize) || !r.work(len(a)*16) {
		return value{}
	}
	h := &aggregate{}
	for i := 0; i < len(a); i += 2 {
		v := value{}
		if i+1 < len(a) {
			v = detached(a[i+1])
		}
		h.put(r.toString(a[i]), v)
	}
	return aggregateValue(h)
}

func langDump(r *run, a []value) value {
	var b strings.Builder
	r.dump(&b, a[0], 0)
	return stringValue(b.String())
}

// dump writes v as a literal that would make it. It counts what it writes as
// memory: an array may hold itself many times over, by shared storage.
func (r *run) dump(b *strings.Builder, v value, depth int) {
	put := func(s string) bool {
		if !r.alloc(len(s)) {
			return false
		}
		b.WriteString(s)
		return true
	}
	if v.kind != kindAggregate {
		quote := ""
		if v.kind == kindString {
			quote = `"`
		}
		put(quote + r.toString(v) + quote)
		return
	}
	if depth > maxNesting {
		put("...")
		return
	}
	if !r.work(v.agg.len()*16) || !put("[") {
		return
	}
	var keys []string
	elems := v.agg.elems
	if v.agg.isHash() {
		keys = v.agg.keys()
		elems = make([]value, len(keys))
		for i, k := range keys {
			elems[i] = v.agg.fields[k]
		}
	}
	for i, e := range elems {
		if i > 0 && !put(",") {
			return
		}
		if !put(" ") || keys != nil && !put(`"`+keys[i]+`" => `) {
			return
		}
		r.dump(b, e, depth+1)
	}
	put(" ]")
}

var mathFunctions = []function{
	mathFn("math.acos", math.Acos),
	mathFn("math.asin", math.Asin),
	mathFn("math.atan", math.Atan),
	mathFn("math.ceil", math.Ceil),
	mathFn("math.cos", math.Cos),
	mathFn("math.exp", math.Exp),
	mathFn("math.fabs", math.Abs),
	mathFn("math.floor", math.Floor),
	mathFn("math.ln", math.Log),
	mathFn("math.log", math.Log10),
	mathFn("math.rint", math.RoundToEven),
	mathFn("math.sin", math.Sin),
	mathFn("math.sqrt", math.Sqrt),
	mathFn("math.tan", math.Tan),
	fn("math.pow", 2, 2, func(r *run, a []value) value {
		return doubleValue(math.Pow(r.toDouble(a[0]), r.toDouble(a[1])))
	}),
	fn("math.random", 1, 1, func(r *run, a []value) value {
		n := r.toInt(a[0])
		if n <= 0 {
			return intValue(0)
		}
		return intValue(int64(r.host.Random() % uint64(n)))
	}),
}

func mathFn(name string, f func(float64) float64) function {
	return fn(name, 1, 1, func(r *run, a []value) value { return doubleValue(f(r.toDouble(a[0]))) })
}
