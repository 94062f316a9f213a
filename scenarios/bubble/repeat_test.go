package bubble_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vtm-ingress/scenarios"
	"vtm-ingress/testenv/bubble"
)

// TestOneSeedGivesOneTrace runs a scenario with steady requests, a rollout and
// leader election ten times beside a load that disturbs the scheduler, and compares
// every request of every part, with its nanosecond and its outcome.
func TestOneSeedGivesOneTrace(t *testing.T) {
	if !bubble.Repeats {
		t.Skip("this build lacks -tags hashedrand -ldflags=-checklinkname=0, which make test passes")
	}
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
	for n := range 10 {
		var trace bubble.Trace
		scenarios.RunNamed(t, bubble.Lane{Trace: &trace}, "../../features", "changes", "Requests go on while a Deployment is rolled")
		got := trace.Canonical()
		if n == 0 {
			first = got
			if lines := strings.Count(first, "\n"); lines < 500 {
				t.Fatalf("the trace has %d lines only", lines)
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
