package trafficscript

import (
	"strings"
)

// stringFunctions are those of string.* that look at, cut and join strings.
// Strings are bytes; case is that of ASCII.
var stringFunctions = []function{
	fn("string.append", 1, -1, stringAppend),
	fn("string.cmp", 2, 2, func(r *run, a []value) value {
		return intValue(int64(strings.Compare(r.toString(a[0]), r.toString(a[1]))))
	}),
	fn("string.icmp", 2, 2, func(r *run, a []value) value {
		return intValue(int64(strings.Compare(lower(r.toString(a[0])), lower(r.toString(a[1])))))
	}),
	predicate("string.contains", strings.Contains),
	predicate("string.containsI", ignoringCase(strings.Contains)),
	predicate("string.startsWith", strings.HasPrefix),
	predicate("string.startsWithI", ignoringCase(strings.HasPrefix)),
	predicate("string.endsWith", strings.HasSuffix),
	predicate("string.endsWithI", ignoringCase(strings.HasSuffix)),
	fn("string.wildmatch", 2, 2, func(r *run, a []value) value {
		s, pattern := r.toString(a[0]), r.toString(a[1])
		return boolValue(r.work(len(s)*(1+len(pattern)/16)) && wildmatch(s, pattern))
	}),
	fn("string.count", 2, 3, stringCount),
	fn("string.find", 2, 3, func(r *run, a []value) value {
		return find(r.toString(a[0]), r.toString(a[1]), r.intArg(a, 2, 0))
	}),
	fn("string.findI", 2, 3, func(r *run, a []value) value {
		return find(lower(r.toString(a[0])), lower(r.toString(a[1])), r.intArg(a, 2, 0))
	}),
	fn("string.findr", 2, 3, stringFindr),
	fn("string.len", 1, 1, stringLength),
	fn("string.length", 1, 1, stringLength),
	fn("string.left", 2, 2, cut(func(s string, n int) string { return s[:n] })),
	fn("string.right", 2, 2, cut(func(s string, n int) string { return s[len(s)-n:] })),
	fn("string.skip", 2, 2, cut(func(s string, n int) string { return s[n:] })),
	fn("string.drop", 2, 2, cut(func(s string, n int) string { return s[:len(s)-n] })),
	fn("string.substring", 3, 3, stringSubstring),
	fn("string.insertbytes", 3, 3, stringInsertBytes),
	fn("string.replaceBytes", 3, 3, stringReplaceBytes),
	textFn("string.lowercase", lower),
	textFn("string.uppercase", upper),
	textFn("string.trim", func(s string) string { return strings.Trim(s, " \t\r\n\f\v") }),
	textFn("string.reverse", reverse),
	fn("string.split", 1, 2, stringSplit),
	fn("string.replace", 3, 3, replacer(1, false)),
	fn("string.replaceAll", 3, 3, replacer(-1, false)),
	fn("string.replaceI", 3, 3, replacer(1, true)),
	fn("string.replaceAllI", 3, 3, replacer(-1, true)),
	fn("string.ireplace", 3, 3, replacer(1, true)).replacedBy("string.replaceI"),
	fn("string.IreplaceAll", 3, 3, replacer(-1, true)).replacedBy("string.replaceAllI"),
	fn("string.sprintf", 1, -1, stringSprintf),
}

// lower returns s with the ASCII letters in lower case.
func lower(s string) string { return mapASCII(s, 'A', 'Z', 'a'-'A') }

func upper(s string) string { return mapASCII(s, 'a', 'z', 'A'-'a'+256) }

func mapASCII(s string, from, to byte, add int) string {
	for i := range len(s) {
		if from <= s[i] && s[i] <= to {
			b := []byte(s)
			for ; i < len(b); i++ {
				if from <= b[i] && b[i] <= to {
					b[i] += byte(add)
				}
			}
			return string(b)
		}
	}
	return s
}

func ignoringCase(f func(a, b string) bool) func(a, b string) bool {
	return func(a, b string) bool { return f(lower(a), lower(b)) }
}

func stringAppend(r *run, a []value) value {
	size := 0
	parts := make([]string, len(a))
	for i := range a {
		parts[i] = r.toString(a[i])
		size += len(parts[i])
	}
	if !r.alloc(size) {
		return value{}
	}
	return stringValue(strings.Join(parts, ""))
}

func stringLength(r *run, a []value) value { return intValue(int64(len(r.toString(a[0])))) }

// cut makes a function of a string and a number of bytes, which is cut to the
// string's length.
func cut(f func(s string, n int) string) func(*run, []value) value {
	return func(r *run, a []value) value {
		s := r.toString(a[0])
		return stringValue(f(s, clamp(r.toInt(a[1]), len(s))))
	}
}

// clamp returns n cut to 0 and limit.
func clamp(n int64, limit int) int { return int(min(max(n, 0), int64(limit))) }

func find(s, needle string, from int64) value {
	start := clamp(from, len(s))
	if i := strings.Index(s[start:], needle); i >= 0 {
		return intValue(int64(start + i))
	}
	return intValue(-1)
}

// stringFindr searches from the end; its third argument is how many bytes at the
// end to leave out.
func stringFindr(r *run, a []value) value {
	s := r.toString(a[0])
	end := len(s) - clamp(r.intArg(a, 2, 0), len(s))
	return intValue(int64(strings.LastIndex(s[:end], r.toString(a[1]))))
}

func stringCount(r *run, a []value) value {
	s, needle := r.toString(a[0]), r.toString(a[1])
	if needle == "" {
		return intValue(0)
	}
	return intValue(int64(strings.Count(s[clamp(r.intArg(a, 2, 0), len(s)):], needle)))
}

// stringSubstring: both ends belong to it.
func stringSubstring(r *run, a []value) value {
	s := r.toString(a[0])
	from, to := clamp(r.toInt(a[1]), len(s)), clamp(min(r.toInt(a[2]), int64(len(s)))+1, len(s))
	if to <= from {
		return value{}
	}
	return stringValue(s[from:to])
}

func stringInsertBytes(r *run, a []value) value {
	s, insertion := r.toString(a[0]), r.toString(a[1])
	at := clamp(r.toInt(a[2]), len(s))
	if !r.alloc(len(s) + len(insertion)) {
		return value{}
	}
	return stringValue(s[:at] + insertion + s[at:])
}

func stringReplaceBytes(r *run, a []value) value {
	s, replacement := r.toString(a[0]), r.toString(a[1])
	at := clamp(r.toInt(a[2]), len(s))
	if !r.alloc(len(s) + len(replacement)) {
		return value{}
	}
	return stringValue(s[:at] + replacement + s[min(at+len(replacement), len(s)):])
}

func reverse(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

// stringSplit: the separator is a blank by default; an empty one cuts into
// single bytes. An empty string gives an empty array.
func stringSplit(r *run, a []value) value {
	s, sep := r.toString(a[0]), " "
	if len(a) > 1 {
		sep = r.toString(a[1])
	}
	if s == "" {
		return arrayValue(nil)
	}
	n := len(s)
	if sep != "" {
		n = strings.Count(s, sep) + 1
	}
	if !r.alloc(n*valueSize) || !r.work(n*16) {
		return value{}
	}
	elems := make([]value, 0, n)
	if sep == "" {
		for i := range len(s) {
			elems = append(elems, stringValue(s[i:i+1]))
		}
		return arrayValue(elems)
	}
	for part := range strings.SplitSeq(s, sep) {
		elems = append(elems, stringValue(part))
	}
	return arrayValue(elems)
}

// replacer makes string.replace and its kin. An empty search string finds
// nothing.
func replacer(limit int, fold bool) func(*run, []value) value {
	return func(r *run, a []value) value {
		s, search, replacement := r.toString(a[0]), r.toString(a[1]), r.toString(a[2])
		if search == "" {
			return stringValue(s)
		}
		in := s
		if fold {
			in, search = lower(s), lower(search)
		}
		n := strings.Count(in, search)
		if limit > 0 {
			n = min(n, limit)
		}
		size := len(s) + n*(len(replacement)-len(search))
		if !r.alloc(size) || !r.work(size) {
			return value{}
		}
		var b strings.Builder
		b.Grow(size)
		at := 0
		for range n {
			i := at + strings.Index(in[at:], search)
			b.WriteString(s[at:i])
			b.WriteString(replacement)
			at = i + len(search)
		}
		b.WriteString(s[at:])
		return stringValue(b.String())
	}
}

// wildmatch matches the whole of s by a pattern of * (any bytes) and ? (one
// byte), in time linear in len(s) times len(pattern).
func wildmatch(s, pattern string) bool {
	i, p := 0, 0
	star, resume := -1, 0 // the last * and where in s it was tried to end
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			i++
			p++
		case star >= 0:
			resume++
			i, p = resume, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
