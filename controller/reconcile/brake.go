package reconcile

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// brakeFrom is how many Ingresses must cease to be served at once before the
// brake holds them.
const brakeFrom = 10

// Ceasing returns the UIDs of the Ingresses that have pools with nodes and would
// have none after the plan, by deletion or by emptying, sorted.
func Ceasing(p *Plan, observed *Observed) []types.UID {
	lost := map[types.UID]int{}
	for i := range p.Steps {
		s := &p.Steps[i]
		before, after := hasNodes(s.Before), hasNodes(s.After)
		if before == after {
			continue
		}
		by, r := 1, s.Before
		if after {
			by, r = -1, s.After
		}
		if uid, ok := owner(r); ok {
			lost[uid] += by
		}
	}
	var out []types.UID
	for uid, n := range lost {
		if n > 0 && n >= observed.serving[uid] {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}

// Brake holds back a plan by which more than half of the served Ingresses, and
// at least ten, would cease to be served, unless confirmed names all of these:
// then a second full list of Kubernetes, later, agreed. While it holds, only what
// takes nothing away goes on: what is created, pools that keep nodes, and renewed
// certificates, which may run out while it holds. It
// returns the plan to apply and whom it held.
func Brake(p *Plan, observed *Observed, confirmed []types.UID) (*Plan, []types.UID) {
	ceasing := Ceasing(p, observed)
	if mutation.On(mutation.BrakeOff) || len(ceasing) < brakeFrom || 2*len(ceasing) <= len(observed.serving) {
		return p, nil
	}
	unconfirmed := slices.DeleteFunc(slices.Clone(ceasing), func(uid types.UID) bool {
		_, found := slices.BinarySearch(confirmed, uid)
		return found
	})
	if len(unconfirmed) == 0 {
		return p, nil
	}
	return p.filter(func(s *Step) string {
		if s.Action == Create && len(s.MakeWay) == 0 || s.Action == Update && (hasNodes(s.After) || s.ID.Type == vtm.ServerKeys) {
			return ""
		}
		return "more than half of the served Ingresses would cease: waiting for a second list of Kubernetes to agree"
	}), ceasing
}
