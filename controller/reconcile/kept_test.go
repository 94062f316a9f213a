package reconcile

import (
	"testing"

	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// Somebody may change a resource between a write and the answer that tells what it is
// like now. What is so twice is the traffic manager's own will.
func TestAChangeThatTheTrafficManagerDoesNotKeepIsTriedOnceMore(t *testing.T) {
	var said []report.Entry
	l := pureLoop(&said)
	l.observed = NewObserved(translate.Appliance{})
	pool := func(passive bool) *vtm.Resource {
		return vtm.New(vtm.Pools, "web", vtm.Properties{"basic": {"note": "ours", "passive_monitoring": passive}})
	}
	want := pool(true)
	l.observed.put(pool(false))
	send := func() (sent int) {
		step := Step{Action: Update, ID: want.ID, Before: l.observed.Owned[want.ID], After: want, Send: want}
		plan := &Plan{Steps: []Step{step}}
		l.dropFutile(plan)
		for i := range plan.Steps {
			(&applying{l: l}).succeeded(&plan.Steps[i], pool(false))
		}
		return len(plan.Steps)
	}
	for round, sends := range []int{1, 1, 0, 0} {
		if sent := send(); sent != sends {
			t.Errorf("round %d: sent %d times, want %d", round, sent, sends)
		}
	}
	if want = pool(true); send() != 1 {
		t.Error("what is another wish is not sent")
	}
}
