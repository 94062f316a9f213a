package reconcile

import (
	"testing"

	"vtm-ingress/controller/vtm"
)

// What is on the traffic manager as it is desired is in memory once, unless it says
// more than is desired or can't be read as it was written.
func TestWhatIsObservedIsSharedWithWhatIsDesired(t *testing.T) {
	pool := func(more ...string) *vtm.Resource {
		basic := map[string]any{"note": "ours"}
		for _, key := range more {
			basic[key] = "set"
		}
		return vtm.New(vtm.Pools, "p", vtm.Properties{"basic": basic})
	}
	key := func() *vtm.Resource {
		return vtm.New(vtm.ServerKeys, "k", vtm.Properties{"basic": {"public": "p"}})
	}
	for what, c := range map[string]struct {
		have, want *vtm.Resource
		shared     bool
	}{
		"the same":                       {pool(), pool(), true},
		"less, the rest being defaults":  {pool(), pool("failpool"), true},
		"more than is desired":           {pool("failpool"), pool(), false},
		"a server key":                   {key(), key(), false},
		"a resource that was never read": {nil, pool(), false},
	} {
		o := &Observed{Owned: map[vtm.ID]*vtm.Resource{}}
		if c.have != nil {
			o.Owned[c.have.ID] = c.have
		}
		o.share(c.want)
		if got := o.Owned[c.want.ID] == c.want; got != c.shared {
			t.Errorf("%s: shared %v, want %v", what, got, c.shared)
		}
		if len(o.Owned) > 1 || c.have == nil && len(o.Owned) > 0 {
			t.Errorf("%s: observed is what nobody read", what)
		}
	}
}
