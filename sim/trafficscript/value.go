package trafficscript

import (
	"math"
	"sort"
	"strconv"
)

type kind uint8

const (
	kindString kind = iota // the zero value is "", what a variable never set holds
	kindInt                // 64 bits; arithmetic wraps
	kindDouble
	kindAggregate // array or hash
)

// value is any value. Strings hold bytes. A value is copied freely; aggregates
// are shared by reference until copied by aggregate.copy.
type value struct {
	kind kind
	num  uint64 // an int64's or a float64's bits
	str  string
	agg  *aggregate
}

func stringValue(s string) value  { return value{str: s} }
func intValue(n int64) value      { return value{kind: kindInt, num: uint64(n)} }
func doubleValue(d float64) value { return value{kind: kindDouble, num: math.Float64bits(d)} }
func boolValue(b bool) value {
	if b {
		return intValue(1)
	}
	return intValue(0)
}
func aggregateValue(a *aggregate) value { return value{kind: kindAggregate, agg: a} }
func arrayValue(elems []value) value {
	return aggregateValue(&aggregate{elems: elems})
}
func stringsValue(list []string) value {
	elems := make([]value, len(list))
	for i, s := range list {
		elems[i] = stringValue(s)
	}
	return arrayValue(elems)
}

func (v value) int() int64      { return int64(v.num) }
func (v value) double() float64 { return math.Float64frombits(v.num) }

// truth: a number that is not 0, a string that is not empty ("0" is true), an
// aggregate that is not empty.
func (v value) truth() bool {
	switch v.kind {
	case kindString:
		return v.str != ""
	case kindInt:
		return v.num != 0
	case kindDouble:
		return v.double() != 0
	}
	return v.agg.len() > 0
}

// formatDouble prints as C's %.15g: 15 digits, no ".0" on whole numbers.
func formatDouble(d float64) string {
	switch {
	case math.IsNaN(d):
		return "nan"
	case math.IsInf(d, 1):
		return "inf"
	case math.IsInf(d, -1):
		return "-inf"
	}
	return strconv.FormatFloat(d, 'g', 15, 64)
}

// roundToInt rounds half away from zero and clamps to 64 bits; NaN gives 0.
func roundToInt(d float64) int64 {
	d = math.Round(d)
	switch {
	case math.IsNaN(d):
		return 0
	case d >= math.MaxInt64:
		return math.MaxInt64
	case d <= math.MinInt64:
		return math.MinInt64
	}
	return int64(d)
}

// maxNumber is how many bytes of a string are looked at for a number.
const maxNumber = 512

// numberOf reads the number at the beginning of a string, as an integer or a
// double by its look; 0 when there is none. Blanks before it are skipped.
func numberOf(s string) value {
	s = s[:min(len(s), maxNumber)]
	start := 0
	for start < len(s) && (s[start] == ' ' || s[start] >= '\t' && s[start] <= '\r') {
		start++
	}
	end := start
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	digits := end
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	double := false
	if end < len(s) && s[end] == '.' {
		fraction := end + 1
		for fraction < len(s) && isDigit(s[fraction]) {
			fraction++
		}
		if fraction > end+1 {
			double = true
			end = fraction
		}
	}
	if end == digits {
		return intValue(0)
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		exp := end + 1
		if exp < len(s) && (s[exp] == '-' || s[exp] == '+') {
			exp++
		}
		first := exp
		for exp < len(s) && isDigit(s[exp]) {
			exp++
		}
		if exp > first {
			double = true
			end = exp
		}
	}
	if !double {
		if n, err := strconv.ParseInt(s[start:end], 10, 64); err == nil {
			return intValue(n)
		}
	}
	d, _ := strconv.ParseFloat(s[start:end], 64)
	return doubleValue(d)
}

// aggregate is an array or a hash; an empty one is either. It is never both:
// fields is nil or empty when elems is not.
//
// Copies share their storage until one side writes (own). Storage that is
// shared, or belongs to the compiled rule, is never written; and a reference to
// an aggregate inside shared storage is never handed out.
type aggregate struct {
	elems  []value
	fields map[string]value
	shared bool // another aggregate, or the compiled rule, may hold the same storage
}

func (a *aggregate) isHash() bool { return len(a.fields) > 0 }

func (a *aggregate) len() int {
	if a.isHash() {
		return len(a.fields)
	}
	return len(a.elems)
}

// copy returns an aggregate with the same contents, which changes to either
// side do not reach.
func (a *aggregate) copy() *aggregate {
	if !a.shared { // aggregates of the compiled rule are shared from birth: no write, no race
		a.shared = true
	}
	return &aggregate{elems: a.elems, fields: a.fields, shared: true}
}

// own makes the storage safe to write. It returns how many elements were
// copied.
func (a *aggregate) own() int {
	if !a.shared {
		return 0
	}
	a.shared = false
	if a.isHash() {
		fields := make(map[string]value, len(a.fields)+1)
		for k, v := range a.fields {
			fields[k] = detached(v)
		}
		a.elems, a.fields = nil, fields
		return len(fields)
	}
	elems := make([]value, len(a.elems), len(a.elems)+1)
	for i, v := range a.elems {
		elems[i] = detached(v)
	}
	a.elems, a.fields = elems, nil
	return len(elems)
}

// detached returns v, copied when it is an aggregate.
func detached(v value) value {
	if v.kind == kindAggregate {
		v.agg = v.agg.copy()
	}
	return v
}

// keys returns a hash's keys, sorted, so that a run never depends on the order
// of a Go map.
func (a *aggregate) keys() []string {
	keys := make([]string, 0, len(a.fields))
	for k := range a.fields {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// put sets a field; the storage must be owned and the aggregate no filled array.
func (a *aggregate) put(key string, v value) {
	if a.fields == nil {
		a.fields = make(map[string]value)
	}
	a.fields[key] = v
}
