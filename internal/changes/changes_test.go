package changes_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/internal/changes"
)

// Whatever was there, and is there now: old without what went and with what came is now.
func TestChangesTellEachElementThatWentOrCameOnce(t *testing.T) {
	lists := rapid.Custom(func(t *rapid.T) []int {
		return slices.Sorted(slices.Values(rapid.SliceOfDistinct(rapid.IntRange(0, 12), rapid.ID).Draw(t, "elements")))
	})
	rapid.Check(t, func(t *rapid.T) {
		old, now := lists.Draw(t, "old"), lists.Draw(t, "now")
		left := slices.Clone(old)
		changes.Between(old, now, cmp.Compare, func(gone int) {
			at := slices.Index(left, gone)
			if at < 0 || slices.Contains(now, gone) {
				t.Fatalf("%d is told as gone", gone)
			}
			left = slices.Delete(left, at, at+1)
		}, func(came int) {
			if slices.Contains(left, came) {
				t.Fatalf("%d is told as new", came)
			}
			left = append(left, came)
		})
		if slices.Sort(left); !slices.Equal(left, now) {
			t.Fatalf("from %v to %v: what is told leads to %v", old, now, left)
		}
	})
}
