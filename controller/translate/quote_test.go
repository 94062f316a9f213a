package translate_test

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/controller/translate"
)

// unquote reads a TrafficScript literal, as far as Quote writes them.
func unquote(t interface{ Fatalf(string, ...any) }, literal string) string {
	inner, ok := strings.CutPrefix(literal, `"`)
	if !ok || !strings.HasSuffix(inner, `"`) {
		t.Fatalf("%s is no literal", literal)
	}
	inner = inner[:len(inner)-1]
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		switch {
		case c < ' ' || c > '~' || c == '"' || c == '$':
			t.Fatalf("%s: byte %#x stands unescaped", literal, c)
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(inner) && (inner[i+1] == '"' || inner[i+1] == '\\'):
			i++
			b.WriteByte(inner[i])
		default:
			if i+3 >= len(inner) {
				t.Fatalf("%s: escape without three digits", literal)
			}
			n, err := strconv.ParseUint(inner[i+1:i+4], 8, 8)
			if err != nil {
				t.Fatalf("%s: %v", literal, err)
			}
			b.WriteByte(byte(n))
			i += 3
		}
	}
	return b.String()
}

func TestQuoteWritesOnePrintableLiteralOfTheSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		if got := unquote(t, translate.Quote(s)); got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
	for s, want := range map[string]string{"/a b": `"/a b"`, "\"\\\n$\x001é": `"\"\\\012\044\0001\303\251"`} {
		if got := translate.Quote(s); got != want {
			t.Errorf("Quote(%q) = %s, want %s", s, got, want)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", `"`, `\`, "\n", "\x00", "\xff", "#", "${a}", `\"; pool.use("x"); "`, "\\012"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unquote(t, translate.Quote(s)); got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}
