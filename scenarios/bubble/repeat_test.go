package bubble_test

import (
	"testing"

	"vtm-ingress/scenarios"
	"vtm-ingress/testenv/bubble"
)

// TestOneSeedGivesOneTrace runs a scenario with steady requests, a rollout and
// leader election ten times.
func TestOneSeedGivesOneTrace(t *testing.T) {
	if !bubble.Repeats {
		t.Skip("this build lacks -tags hashedrand -ldflags=-checklinkname=0, which make test passes")
	}
	bubble.RepeatsItself(t, 10, 500, func(trace *bubble.Trace) {
		scenarios.RunNamed(t, bubble.Lane{Trace: trace}, "../../features", "changes", "Requests go on while a Deployment is rolled")
	})
}
