package pcre_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"vtm-ingress/sim/trafficscript/pcre"
)

// groups returns "whole|first|second", "-" for a group that took no part, "no"
// without a match.
func groups(t testing.TB, pattern, s string, fold bool) string {
	t.Helper()
	re, err := pcre.Compile(pattern, fold)
	if err != nil {
		return err.Error()
	}
	steps := 1_000_000
	m, err := re.Match(s, 0, &steps)
	if err != nil {
		return err.Error()
	}
	if m == nil {
		return "no"
	}
	var parts []string
	for i := 0; i < len(m); i += 2 {
		if m[i] < 0 {
			parts = append(parts, "-")
		} else {
			parts = append(parts, s[m[i]:m[i+1]])
		}
	}
	return strings.Join(parts, "|")
}

func TestPatternsMatchAsPCREDoes(t *testing.T) {
	for _, test := range []struct{ pattern, subject, want string }{
		{`a(b)?c`, "xac", "ac|-"},
		{`^a$`, "a\n", "a"}, {`^a\z`, "a\n", "no"}, {`^a\Z`, "a\n", "a"}, {`a$`, "a\n\n", "no"},
		{`(?m)^b$`, "a\nb\nc", "b"}, {`(?m)^$`, "a\n", "no"},
		{`foo(?=bar)`, "foobar", "foo"}, {`foo(?!bar)`, "foobar", "no"}, {`foo(?!bar)`, "foobaz", "foo"},
		{`(?<=\.)com`, "x.com", "com"}, {`(?<!\.)com`, "x.com", "no"}, {`(?<=a|bc)d`, "bcd", "d"}, {`(?<=a|bc)d`, "cd", "no"},
		{`(?=(a+))a*b\1`, "baaabac", "aba|a"}, {`(?=.*\d)(?=.*[a-z])\w{4,}`, "ab12", "ab12"},
		{`(\w)\1`, "hello", "ll|l"}, {`(a)|\1b`, "b", "no"}, {`(?i)(a)\1`, "aA", "aA|a"}, {`(?<q>["'])x\k<q>`, `'x'`, "'x'|'"},
		{`(?P<y>a)(?P=y)\g{y}\g1\g{-1}`, "aaaaa", "aaaaa|a"},
		{`a++a`, "aaa", "no"}, {`(?>a+)a`, "aaa", "no"}, {`(?>a+)b`, "aaab", "aaab"}, {`(?:ab|a)++b`, "ab", "no"}, {`x{2,3}+x`, "xxx", "no"},
		{`a{2}`, "aaa", "aa"}, {`a{2,}?`, "aaa", "aa"}, {`a{,3}`, "a{,3}", "a{,3}"}, {`(ab){2,3}`, "ababab", "ababab|ab"}, {`(?:ab){2}c`, "ababc", "ababc"},
		{`<(.+?)>`, "<a><b>", "<a>|a"}, {`(?U)<(.+)>`, "<a><b>", "<a>|a"}, {`(?:a|b)*?c`, "abc", "abc"},
		{`(?:)*x`, "x", "x"}, {`(a*)*b`, "b", "b|"}, {`(a|)+b`, "ab", "ab|"}, {`(?:a*)+`, "aa", "aa"},
		{`(?|a(x)|b(y))\1`, "byy", "byy|y"}, {`(?#note)a(?i)B`, "ab", "ab"}, {`(?i:A)b`, "ab", "ab"}, {`(?i:A)b`, "aB", "no"}, {`((?i)a)b`, "AB", "no"},
		{"(?x) a  b # rest\n c", "abc", "abc"}, {`(?x)a\ b`, "a b", "a b"}, {`(?s)a.b`, "a\nb", "a\nb"}, {`a\Nb`, "a\nb", "no"},
		{`\Qa.b\E+`, "a.bb", "a.bb"}, {`\x41\x{42}\103\o{104}\e\cA`, "ABCD\x1b\x01", "ABCD\x1b\x01"}, {`\0`, "\x00", "\x00"},
		{`[]a]+`, "]a", "]a"}, {`[^]]`, "]x", "x"}, {`[a-\d]+`, "a-1", "a-1"}, {`[[:alpha:][:^alnum:]]+`, "a-1", "a-"}, {`[\]\\]`, `\`, `\`}, {`[\b]`, "\b", "\b"}, {`[a\-z]+`, "-z", "-z"}, {`[\Q-]\E]`, "]", "]"},
		{`\h\v\R`, " \n\r\n", " \n\r\n"}, {`\H\V`, "ab", "ab"}, {`\d\D\w\W\s\S`, "1a_- x", "1a_- x"}, {`\p{Lu}\PL\p{^Lu}`, "A1b", "A1b"},
		{`foo\Kbar`, "foobar", "bar"}, {`\bfoo\b`, "a foo b", "foo"}, {`\Boo`, "foo", "oo"}, {`\Ga`, "ba", "no"},
		{`\xe9.`, "\xe9\xff", "\xe9\xff"}, {`é`, "é", "é"}, {`(?i)É`, "é", "no"},
		{`\bthe\b(?!.*\bthe\b)`, "the cat the dog", "the"}, {`^(?:(\d+)|(\w+))$`, "ab", "ab|-|ab"},
		{`^(?!10\.)(\d+\.){3}\d+$`, "10.0.0.1", "no"}, {`^(?!10\.)(\d+\.){3}\d+$`, "11.0.0.1", "11.0.0.1|0."},
		{`(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\10`, "abcdefghijj", "abcdefghijj|a|b|c|d|e|f|g|h|i|j"}, {`\11`, "\t", "\t"},
	} {
		if got := groups(t, test.pattern, test.subject, false); got != test.want {
			t.Errorf("%s on %q: %q, want %q", test.pattern, test.subject, got, test.want)
		}
	}
	if got := groups(t, `(x)Y\1[^a]`, "XyxB", true); got != "XyxB|X" {
		t.Errorf("folded: %q", got)
	}
}

func TestBadPatternsSayWhatIsWrong(t *testing.T) {
	for pattern, want := range map[string]string{
		`(`: "a ( without a ) at offset 1", `)`: "a ) without", `[a`: "a [ without", `*`: "nothing to repeat", `a**`: "nothing to repeat", `a{3,2}`: "out of order",
		`a{70000}`: "repetition of more than", `[b-a]`: "out of order", `\1`: "does not exist", `(a)\g{-2}`: "does not exist", `\k<n>`: "does not exist",
		`(?<=a+)`: "not of one length", `(?<n>a)(?<n>b)`: "two groups", `(?<1>a)`: "no word", `\`: "at the end", `\y`: "unknown escape", `[[:foo:]]`: "unknown class",
		`(?R)`: "not emulated: recursion", `(?1)`: "not emulated", `(?(1)a|b)`: "not emulated: a conditional", `(*ACCEPT)`: "not emulated: the verb", `\X`: "not emulated",
		`\x{100}`: "is no byte", `\p{Nope}`: "unknown property", `(?z)`: "unknown group", `(?#x`: "without an end", `\g`: "without the number", `\k`: "without a name",
		strings.Repeat("(", 300): "nested more than", `((((a{9}){99}){99}){99}){99}`: "too large", `(?i`: "without a )", `\c`: "without a character", `\o7`: "without {", `[\`: "at the end",
	} {
		if _, err := pcre.Compile(pattern, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", pattern, err, want)
		}
	}
	if _, err := pcre.Compile(`(?R)`, false); !errors.Is(err, pcre.ErrNotEmulated) {
		t.Errorf("recursion: %v", err)
	}
}

// TestHostilePatternsEnd: what takes exponential time, or a deep stack, ends by
// its budget.
func TestHostilePatternsEnd(t *testing.T) {
	for pattern, subject := range map[string]string{
		`^(a+)+\1$`:             strings.Repeat("a", 40) + "b",
		`(x+x+)+(?=y)`:          strings.Repeat("x", 60),
		`(?:a|b)*(?=c)`:         strings.Repeat("ab", 1<<20),
		`(?:(?:a?){50}){9}(?!)`: strings.Repeat("a", 50),
	} {
		re, err := pcre.Compile(pattern, false)
		if err != nil {
			t.Fatal(err)
		}
		steps := 2_000_000
		if m, err := re.Match(subject, 0, &steps); !errors.Is(err, pcre.ErrLimit) {
			t.Errorf("%s: %v, %v", pattern, m, err)
		}
	}
}

// common tells if a pattern means the same to RE2 and to PCRE, so far as the
// text shows: no $ (a final newline), no (?m), no escape of another meaning, and
// nothing that repeats what may be empty.
var unlike = regexp.MustCompile(`\$|\(\?[^:]|\\[^.\\dDwWsSbB\[\](){}*+?^|-]|[*+?}]\)*[*+?{]|[|(]\)|\|\||\(\||^\||\|$|[\^bB]\)*[*+?{]|\[\[|\{[0-9,]*0[0-9]|[^ -~]`)

// FuzzAgainstRE2: on the patterns that both know, both find the same match.
func FuzzAgainstRE2(f *testing.F) {
	for _, s := range [][2]string{
		{`a(b|c)*d`, "abcbcd"}, {`^([^:]+):(\d+)`, "host:80"}, {`(a|ab)(c|bcd)(d*)`, "abcd"}, {`[a-c]{2,3}?x`, "abcx"}, {`\bx\w+?\b`, "a xyz"},
		{`(a+|b+)+c`, "aabbc"}, {`x*`, "yxx"}, {`(?:a|b)+?(b)`, "aab"}, {`((a)|(b))+`, "ab"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 60 || len(s) > 200 {
			return
		}
		re, err := pcre.Compile(pattern, false)
		steps := 100_000
		var got []int
		if err == nil {
			if got, err = re.Match(s, 0, &steps); err != nil {
				return
			}
		}
		if unlike.MatchString(pattern) || strings.ContainsFunc(s, func(r rune) bool { return r > 126 }) {
			return
		}
		other, otherErr := regexp.Compile(pattern)
		if otherErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v, but RE2 takes it", pattern, err)
		}
		want := other.FindStringSubmatchIndex(s)
		if len(want) > 1 && len(got) > 1 && strings.Contains(pattern, "(") && strings.ContainsAny(pattern, "*+?{") {
			want, got = want[:2], got[:2] // what a repeated group holds, the engines decide otherwise
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q on %q: %v, RE2 %v", pattern, s, got, want)
		}
	})
}
