package vtm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawStamp(t *rapid.T, name string) stamp {
	s := stamp{at: time.Unix(int64(rapid.IntRange(0, 2).Draw(t, name+" at")), 0), by: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, name+" by")}
	for _, m := range []string{"a", "b", "c"} {
		if n := rapid.IntRange(0, 2).Draw(t, name+" "+m); n > 0 {
			s.versions = append(s.versions, memberVersion{m, uint64(n)})
		}
	}
	return s
}

func TestVersionsAreAPartialOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := drawStamp(t, "v").versions, drawStamp(t, "w").versions
		opposite := map[order]order{same: same, older: newer, newer: older, concurrent: concurrent}
		if v.compare(w) != opposite[w.compare(v)] {
			t.Errorf("%v against %v: %d and %d", v, w, v.compare(w), w.compare(v))
		}
		u := v.union(w)
		if o := u.compare(v); o != newer && o != same {
			t.Errorf("the union %v of %v and %v is no newer", u, v, w)
		}
		if !slices.IsSortedFunc(u, func(x, y memberVersion) int { return strings.Compare(x.Member, y.Member) }) {
			t.Errorf("%v is not sorted", u)
		}
		if v.next("b").compare(v) != newer {
			t.Errorf("the next of %v is %v", v, v.next("b"))
		}
	})
}

// Three members write what they like while they are apart; then each hears of
// the others' changes, in any order and again and again.
func TestMembersThatWereApartEndWithOneResource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c"}
		kind := &resourceType{class: files}
		held := map[string]*resource{"a": {kind: kind}, "b": {kind: kind}, "c": {kind: kind}}
		serial := 0
		take := func(to, from string) {
			if next, _ := reconcile(held[to], held[from]); next != nil {
				held[to] = next
			}
		}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			who := rapid.SampledFrom(names).Draw(t, "who")
			if rapid.Bool().Draw(t, "writes") {
				serial++
				held[who] = &resource{kind: kind, content: fmt.Append(nil, serial), stamp: nextStamp(held[who], time.Unix(int64(rapid.IntRange(0, 3).Draw(t, "at")), 0), who)}
			} else {
				take(who, rapid.SampledFrom(names).Draw(t, "from"))
			}
		}
		for range 3 { // every ordered pair, until nothing moves
			for _, to := range rapid.Permutation(names).Draw(t, "order") {
				for _, from := range names {
					take(to, from)
				}
			}
		}
		for _, m := range names[1:] {
			if string(held[m].content) != string(held["a"].content) || held[m].versions.compare(held["a"].versions) != same {
				t.Errorf("a has %s %v, %s has %s %v", held["a"].content, held["a"].stamp, m, held[m].content, held[m].stamp)
			}
		}
	})
}
