package reconcile

import (
	"testing"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// An Ingress waits for replication only where a member that has yet to learn of the
// change may hold its address.
func TestMembersThatCantHoldTheAddressAreNotWaitedFor(t *testing.T) {
	for _, c := range []struct {
		what     string
		member   string              // that is written through
		machines map[string][]string // of the group; nil: it is ours
		live     bool
	}{
		{"a group of ours", "vtm-1", nil, false},
		{"a group that all may host", "vtm-1", map[string][]string{"edge": {"vtm-1", "vtm-2"}}, false},
		{"a group of the member that is written through", "vtm-1", map[string][]string{"edge": {"vtm-1"}}, true},
		{"a group of another one", "vtm-2", map[string][]string{"edge": {"vtm-1"}}, false},
		{"a member that is not known", "", map[string][]string{"edge": {"vtm-1"}}, false},
	} {
		server := vtm.New(vtm.VirtualServers, "k8s_web", vtm.Properties{"basic": {"listen_on_traffic_ips": []any{"edge"}}})
		pool := vtm.New(vtm.Pools, "k8s_pool", nil)
		l := &Loop{
			observed: NewObserved(translate.Appliance{Members: []string{"vtm-1", "vtm-2"}}), member: c.member,
			settled:     map[vtm.ID]*vtm.Resource{server.ID: server, pool.ID: pool},
			replicating: map[vtm.ID]struct{}{pool.ID: {}},
		}
		l.observed.Machines = c.machines
		verdict := &translate.Verdict{Outcome: translate.Complete, Resources: []vtm.ID{pool.ID, server.ID}}
		result := &translate.Result{Desired: l.settled}
		if live, _ := l.outcome(verdict, result, nil); live != c.live {
			t.Errorf("%s: live %v, want %v", c.what, live, c.live)
		}
		delete(l.replicating, pool.ID)
		if live, _ := l.outcome(verdict, result, nil); !live {
			t.Errorf("%s: not live when all is replicated", c.what)
		}
	}
}
