package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// grade says what a finding does to its Ingress, the gravest first.
type grade int

const (
	fatal     grade = iota // the Ingress is rejected
	degrading              // it serves, but not all that was asked
	warning                // it does what was asked; its owner may have meant something else
)

// finding is one thing found out about an Ingress.
type finding struct {
	grade grade
	Reason
}

type findings []finding

func (f *findings) add(g grade, code, format string, args ...any) {
	*f = append(*f, finding{g, Reason{Code: code, Message: fmt.Sprintf(format, args...)}})
}

// worst is the gravest grade, one beyond warning if there is no finding.
func (f findings) worst() grade {
	worst := warning + 1
	for _, finding := range f {
		worst = min(worst, finding.grade)
	}
	return worst
}

// maxReasons bounds what is told about one Ingress: an Ingress may have ten
// thousand broken paths, and an Event is read by a person.
const maxReasons = 20

// reasons lists the findings, the gravest first, else in the order in which they
// were found, each once.
func (f findings) reasons() []Reason {
	sorted := slices.Clone(f)
	slices.SortStableFunc(sorted, func(a, b finding) int { return cmp.Compare(a.grade, b.grade) })
	var out []Reason
	seen := make(map[Reason]bool, len(sorted))
	for _, finding := range sorted {
		if !seen[finding.Reason] {
			seen[finding.Reason] = true
			out = append(out, finding.Reason)
		}
	}
	if len(out) > maxReasons {
		more := len(out) - maxReasons + 1
		out = append(out[:maxReasons-1:maxReasons-1], Reason{
			Code:    "MoreReasons",
			Message: fmt.Sprintf("%d more like these: correct the first ones to see them", more),
		})
	}
	return out
}

// maxShown bounds how much of a user's text a message repeats, in bytes.
const maxShown = 80

// show quotes a user's text for a message, shortened, nothing in it left to act
// on a terminal or a log.
func show(s string) string {
	if len(s) > maxShown {
		cut := maxShown
		for cut > maxShown-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return strconv.QuoteToGraphic(s[:cut]) + "…"
	}
	return strconv.QuoteToGraphic(s)
}
