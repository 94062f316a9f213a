package pcre_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/sim/trafficscript/pcre"
)

// budget is how many steps a match of these tests may take.
const budget = 20_000

// checkMatch is what holds for any pattern and subject: it ends within its budget,
// and what it finds lies in the subject, groups in their match or looked at around
// it.
func checkMatch(t *testing.T, pattern, subject string, fold bool) {
	re, err := pcre.Compile(pattern, fold)
	if err != nil {
		if re != nil || err.Error() == "" {
			t.Fatalf("Compile(%q): %v, %q", pattern, re, err)
		}
		return
	}
	for from := 0; from <= len(subject); from += 1 + len(subject)/3 {
		steps := budget
		loc, err := re.Match(subject, from, &steps)
		if err != nil {
			if steps > 0 {
				t.Fatalf("%q in %q: %v with %d steps left", pattern, subject, err, steps)
			}
			continue
		}
		if loc == nil {
			continue
		}
		if len(loc)%2 != 0 || loc[0] > loc[1] || loc[0] < from {
			t.Fatalf("%q in %q from %d: %v", pattern, subject, from, loc)
		}
		for i := 0; i < len(loc); i += 2 {
			if loc[i] > loc[i+1] || loc[i+1] > len(subject) || (loc[i] < 0) != (loc[i+1] < 0) {
				t.Fatalf("%q in %q: group %d is %v", pattern, subject, i/2, loc)
			}
		}
	}
}

var fuzzSeeds = []string{
	"", "a", "(a|b)*c", "(?=a)(a+)+$x", `(\w+)\s\1`, "(?<!x)y", "(?>a+)b", "a{2,3}?", "[^\\d\\s-]", "(?i:A)b", `\bword\b`, "(((((",
	"a**", "[z-a]", "\\", "(?P<n>a)(?P=n)", "x{99999}", "(?#", "[[:alpha:]]+", `\x{41}\xff\101`, "^$", "(?m)^b", "a++b", `\Qa.b\E`,
}

// FuzzMatch: no pattern and no subject makes the matcher panic or run on.
func FuzzMatch(f *testing.F) {
	for _, p := range fuzzSeeds {
		f.Add(p, "aab word word ab\n", false)
	}
	f.Fuzz(checkMatch)
}

// TestManyRandomPatterns is a bounded piece of FuzzMatch, always the same one.
func TestManyRandomPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", ".", "*", "+", "?", "(", ")", "|", "[", "]", "^", "$", "{2}", "{1,", "}", "\\", "\\1", "\\b", "(?=", "(?<!", "(?>", "(?:", "-", "\\w", "\xff", ","}
	for range 5000 {
		var pattern, subject strings.Builder
		for range random.IntN(12) {
			pattern.WriteString(pieces[random.IntN(len(pieces))])
		}
		for range random.IntN(20) {
			subject.WriteString(string("ab \n\xff-"[random.IntN(6)]))
		}
		checkMatch(t, pattern.String(), subject.String(), random.IntN(2) == 0)
	}
}

// TestItMatchesAsRE2WhereBothMeanTheSame: of patterns that RE2 can carry out, both
// find the same place and the same groups.
func TestItMatchesAsRE2WhereBothMeanTheSame(t *testing.T) {
	var pattern func(depth int) *rapid.Generator[string]
	pattern = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			for range rapid.IntRange(1, 3).Draw(t, "length") {
				kinds := 3
				if depth > 0 {
					kinds = 5
				}
				atom := ""
				switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
				case 0, 1:
					atom = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "letter")
				case 2:
					atom = rapid.SampledFrom([]string{".", "[ab]", "[^a]", `\w`}).Draw(t, "class")
				case 3:
					atom = "(" + pattern(depth-1).Draw(t, "group") + ")"
				case 4:
					atom = "(?:" + pattern(depth-1).Draw(t, "left") + "|" + pattern(depth-1).Draw(t, "right") + ")"
				}
				b.WriteString(atom + rapid.SampledFrom([]string{"", "", "?", "{2}", "{1,2}?"}).Draw(t, "times"))
			}
			return b.String()
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		p := pattern(2).Draw(t, "pattern")
		subject := rapid.StringMatching(`[abc]{0,12}`).Draw(t, "subject")
		want := regexp.MustCompile(p).FindStringSubmatchIndex(subject)
		re, err := pcre.Compile(p, false)
		if err != nil {
			t.Fatalf("%q: %v", p, err)
		}
		steps := 1 << 20
		got, err := re.Match(subject, 0, &steps)
		if err != nil {
			t.Fatalf("%q in %q: %v", p, subject, err)
		}
		if !slices.Equal(got, want) && !errors.Is(err, pcre.ErrNotEmulated) {
			t.Fatalf("%q in %q: got %v, RE2 finds %v", p, subject, fmt.Sprint(got), want)
		}
	})
}
