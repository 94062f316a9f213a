package bubble

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// RepeatsItself makes a run several times, beside a load that disturbs the
// scheduler, and fails unless each records the same trace, of at least so many
// lines: every request of every part, with its nanosecond and its outcome.
func RepeatsItself(t *testing.T, times, lines int, run func(*Trace)) {
	t.Helper()
	var stop atomic.Bool
	var load sync.WaitGroup
	for range runtime.NumCPU() {
		load.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		})
	}
	defer load.Wait()
	defer stop.Store(true)

	first := ""
	for n := range times {
		var trace Trace
		run(&trace)
		got := trace.Canonical()
		if n == 0 {
			first = got
			if has := strings.Count(first, "\n"); has < lines {
				t.Fatalf("the trace has %d lines only", has)
			}
		} else if got != first {
			t.Fatalf("run %d differs from the first: %s", n+1, difference(first, got))
		}
	}
}

// difference shows where two traces part.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d of %d and %d:\n%s\n%s", i+1, len(x), len(y), x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines and %d", len(x), len(y))
}
