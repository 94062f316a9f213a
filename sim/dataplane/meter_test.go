package dataplane

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A meter agrees with adding up all that it was given.
func TestAMeterKnowsTheLastSecondAndThePeakOfAnHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := meter{hourly: true}
		sums := make(map[int64]int64)
		at := int64(1_000_000 * 60)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			at += rapid.SampledFrom([]int64{0, 0, 1, 2, 30, 61, 1000, 4000}).Draw(t, "pause")
			n := rapid.Int64Range(1, 100).Draw(t, "n")
			m.add(time.Unix(at, 0), n)
			sums[at] += n
		}
		at += rapid.SampledFrom([]int64{0, 1, 2, 600, 3500, 8000}).Draw(t, "later")
		if got := m.last(time.Unix(at, 0)); got != sums[at-1] {
			t.Fatalf("the last second is %d, want %d", got, sums[at-1])
		}
		var want int64
		for second, sum := range sums {
			if second < at && at/60-second/60 < 60 {
				want = max(want, sum)
			}
		}
		if got := m.peak(time.Unix(at, 0)); got != want {
			t.Fatalf("the peak is %d, want %d", got, want)
		}
	})
}
