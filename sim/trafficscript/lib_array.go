package trafficscript

import (
	"slices"
	"sort"
	"strings"
)

// arrayFunctions change their first argument in place and return it, unless
// their meaning is another.
var arrayFunctions = []function{
	fn("array.create", 1, 2, arrayCreate),
	fn("array.copy", 1, 1, func(r *run, a []value) value {
		if r.toArray(a[0]) == nil {
			return arrayValue(nil)
		}
		return detached(a[0])
	}),
	fn("array.length", 1, 1, func(r *run, a []value) value {
		if l := r.toArray(a[0]); l != nil {
			return intValue(int64(len(l.elems)))
		}
		return intValue(0)
	}),
	fn("array.contains", 2, 2, arrayContains),
	fn("array.join", 1, 2, arrayJoin),
	changing("array.append", 2, 2, arrayAppend),
	changing("array.push", 2, 2, func(r *run, l *aggregate, a []value) value {
		v := detached(a[1])
		if r.owned(l, 1) {
			l.elems = append(l.elems, v)
		}
		return a[0]
	}),
	changing("array.unshift", 2, 2, func(r *run, l *aggregate, a []value) value {
		v := detached(a[1])
		if r.owned(l, 1) && r.work(len(l.elems)*16) {
			l.elems = slices.Insert(l.elems, 0, v)
		}
		return a[0]
	}),
	changing("array.pop", 1, 1, func(r *run, l *aggregate, _ []value) value { return r.removeElement(l, len(l.elems)-1) }),
	changing("array.shift", 1, 1, func(r *run, l *aggregate, _ []value) value { return r.removeElement(l, 0) }),
	changing("array.resize", 2, 3, arrayResize),
	changing("array.reverse", 1, 1, func(r *run, l *aggregate, a []value) value {
		if r.owned(l, 0) && r.work(len(l.elems)*16) {
			slices.Reverse(l.elems)
		}
		return a[0]
	}),
	changing("array.sort", 1, 2, func(r *run, l *aggregate, a []value) value {
		return r.sortArray(l, a, func(v value) value { return stringValue(r.toString(v)) })
	}),
	changing("array.sortNumerical", 1, 2, func(r *run, l *aggregate, a []value) value {
		return r.sortArray(l, a, func(v value) value { return doubleValue(r.toDouble(v)) })
	}),
	changing("array.splice", 3, -1, arraySplice),
	changing("array.filter", 2, 3, arrayFilter),

	fn("hash.count", 1, 1, func(r *run, a []value) value {
		if h := r.toHash(a[0]); h != nil {
			return intValue(int64(len(h.fields)))
		}
		return intValue(0)
	}),
	fn("hash.contains", 2, 2, func(r *run, a []value) value {
		h := r.toHash(a[0])
		if h == nil {
			return intValue(0)
		}
		_, ok := h.fields[r.toString(a[1])]
		return boolValue(ok)
	}),
	fn("hash.keys", 1, 1, func(r *run, a []value) value {
		h := r.toHash(a[0])
		if h == nil || !r.work(len(h.fields)*16) {
			return arrayValue(nil)
		}
		return r.list(h.keys())
	}),
	fn("hash.values", 1, 1, hashValues),
	fn("hash.delete", 2, 2, func(r *run, a []value) value {
		if h := r.toHash(a[0]); h != nil && r.owned(h, 0) {
			delete(h.fields, r.toString(a[1]))
		}
		return a[0]
	}).changing(),
	fn("hash.empty", 1, 1, func(r *run, a []value) value {
		if h := r.toHash(a[0]); h != nil {
			h.elems, h.fields, h.shared = nil, nil, false
		}
		return a[0]
	}).changing(),
}

// changing is a function that changes an array; for anything else it warns and
// gives an empty one.
func changing(name string, min, max int, f func(r *run, l *aggregate, a []value) value) function {
	return fn(name, min, max, func(r *run, a []value) value {
		l := r.toArray(a[0])
		if l == nil {
			return arrayValue(nil)
		}
		return f(r, l, a)
	}).changing()
}

// grow appends n copies of v, counted as memory and work.
func (r *run) grow(l *aggregate, n int64, v value) {
	if n > int64(r.limits.Memory) || !r.owned(l, int(n)) || !r.work(int(n)*16) {
		r.alloc(r.limits.Memory + 1)
		return
	}
	for range n {
		l.elems = append(l.elems, detached(v))
	}
}

func arrayCreate(r *run, a []value) value {
	v := value{}
	if len(a) > 1 {
		v = detached(a[1])
	}
	l := &aggregate{}
	r.grow(l, max(r.toInt(a[0]), 0), v)
	return aggregateValue(l)
}

func arrayContains(r *run, a []value) value {
	l := r.toArray(a[0])
	if l == nil || !r.work(len(l.elems)*16) {
		return intValue(0)
	}
	for _, e := range l.elems {
		if e.kind != kindAggregate && r.equal(e, a[1]) {
			return intValue(1)
		}
	}
	return intValue(0)
}

func arrayJoin(r *run, a []value) value {
	l, sep := r.toArray(a[0]), " "
	if len(a) > 1 {
		sep = r.toString(a[1])
	}
	if l == nil || !r.work(len(l.elems)*16) {
		return value{}
	}
	parts, size := make([]string, len(l.elems)), 0
	for i, e := range l.elems {
		parts[i] = r.toString(e)
		if size += len(parts[i]) + len(sep); size > r.limits.Memory {
			break
		}
	}
	if !r.alloc(size) {
		return value{}
	}
	return stringValue(strings.Join(parts, sep))
}

func arrayAppend(r *run, l *aggregate, a []value) value {
	other := r.toArray(a[1])
	if other == nil {
		return a[0]
	}
	more := other.copy().elems
	if r.owned(l, len(more)) && r.work(len(more)*16) {
		for _, e := range more {
			l.elems = append(l.elems, detached(e))
		}
	}
	return a[0]
}

// removeElement takes out one end; "" when the array is empty.
func (r *run) removeElement(l *aggregate, at int) value {
	if len(l.elems) == 0 || !r.owned(l, 0) {
		return value{}
	}
	v := l.elems[at]
	if at == 0 {
		l.elems = l.elems[1:]
	} else {
		l.elems = l.elems[:at]
	}
	return v
}

func arrayResize(r *run, l *aggregate, a []value) value {
	n := max(r.toInt(a[1]), 0)
	if n < int64(len(l.elems)) {
		if r.owned(l, 0) {
			l.elems = l.elems[:n]
		}
		return a[0]
	}
	v := value{}
	if len(a) > 2 {
		v = detached(a[2])
	}
	r.grow(l, n-int64(len(l.elems)), v)
	return a[0]
}

// sortArray sorts by keys that are computed once; equal ones keep their order.
func (r *run) sortArray(l *aggregate, a []value, key func(value) value) value {
	if !r.owned(l, len(l.elems)) || !r.work(len(l.elems)*64) {
		return a[0]
	}
	keys := make([]value, len(l.elems))
	for i, e := range l.elems {
		keys[i] = key(e)
	}
	s := byKey{keys, l.elems}
	if len(a) > 1 && a[1].truth() {
		sort.Stable(sort.Reverse(s))
	} else {
		sort.Stable(s)
	}
	return a[0]
}

type byKey struct{ keys, elems []value }

func (s byKey) Len() int { return len(s.keys) }
func (s byKey) Less(i, j int) bool {
	if s.keys[i].kind == kindDouble {
		return s.keys[i].double() < s.keys[j].double()
	}
	return s.keys[i].str < s.keys[j].str
}
func (s byKey) Swap(i, j int) {
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
	s.elems[i], s.elems[j] = s.elems[j], s.elems[i]
}

// arraySplice removes length elements at offset, puts the values there, and
// returns what it removed.
func arraySplice(r *run, l *aggregate, a []value) value {
	from := clamp(r.toInt(a[1]), len(l.elems))
	to := from + clamp(r.toInt(a[2]), len(l.elems)-from)
	values := make([]value, 0, len(a)-3)
	for _, v := range a[3:] {
		values = append(values, detached(v))
	}
	if !r.owned(l, len(values)+to-from) || !r.work(len(l.elems)*16) {
		return arrayValue(nil)
	}
	removed := slices.Clone(l.elems[from:to])
	l.elems = slices.Replace(l.elems, from, to, values...)
	return arrayValue(removed)
}

// arrayFilter keeps the elements that match, with flag ! those that do not.
func arrayFilter(r *run, l *aggregate, a []value) value {
	pattern, flags := r.toString(a[1]), r.stringArg(a, 2)
	re := r.regex(pattern, strings.Contains(flags, "i"))
	if re == nil || !r.owned(l, 0) {
		return a[0]
	}
	want := !strings.Contains(flags, "!")
	kept := l.elems[:0]
	for _, e := range l.elems {
		s := r.toString(e)
		if !r.use(1) {
			return a[0]
		}
		if (len(r.find(re, s, 1).at) > 0) == want {
			kept = append(kept, e)
		}
	}
	clear(l.elems[len(kept):])
	l.elems = kept
	return a[0]
}

// hashValues are in the order of hash.keys.
func hashValues(r *run, a []value) value {
	h := r.toHash(a[0])
	if h == nil || !r.work(len(h.fields)*16) || !r.alloc(len(h.fields)*valueSize) {
		return arrayValue(nil)
	}
	elems := make([]value, 0, len(h.fields))
	for _, k := range h.keys() {
		elems = append(elems, detached(h.fields[k]))
	}
	return arrayValue(elems)
}
