package translate

import (
	"fmt"
	"strings"
)

// Quote writes s as a TrafficScript string literal that means exactly the bytes
// of s and is printable ASCII on one line, whatever s holds. All text of users
// gets into a rule through Quote alone.
//
// Bytes other than letters, digits and harmless marks become octal escapes of
// three digits (vtm/trafficscript.md, Lexical), which no following byte can
// prolong. "$" is among them: whether literals interpolate is not known.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~' || c == '$':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
