package reconcile

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// configuration draws resources whose references all exist.
func configuration(t *rapid.T, label string) map[vtm.ID]*vtm.Resource {
	out := map[vtm.ID]*vtm.Resource{}
	add := func(r *vtm.Resource) { out[r.ID] = r }
	names := func(kind vtm.Type, what string) []string {
		var have []string
		for id := range out {
			if id.Type == kind {
				have = append(have, id.Name)
			}
		}
		slices.Sort(have)
		return have
	}
	some := func(kind vtm.Type, what string) []any {
		var list []any
		for _, name := range names(kind, what) {
			if rapid.Bool().Draw(t, label+what+name) {
				list = append(list, name)
			}
		}
		return list
	}
	version := func(what string) int { return rapid.IntRange(1, 3).Draw(t, label+what+"version") }
	present := func(what string) bool { return rapid.IntRange(0, 2).Draw(t, label+what) > 0 }
	mark := vtm.Mark{ID: "k8s", Cluster: "c", Kind: "Ingress", Namespace: "a", Name: "b"}
	note := func(n int) string {
		m := mark
		m.UID = fmt.Sprint(n)
		return m.Format()
	}
	for n := range 2 {
		if name := fmt.Sprintf("k8s_monitor%d", n); present(name) {
			add(vtm.New(vtm.Monitors, name, vtm.Properties{"basic": {"note": note(n), "delay": version(name)}}))
		}
	}
	for n := range 3 {
		name := fmt.Sprintf("k8s_pool%d", n)
		if !present(name) {
			continue
		}
		basic := map[string]any{"note": note(n), "monitors": some(vtm.Monitors, name), "nodes_table": []any{}}
		for node := range version(name) - 1 {
			basic["nodes_table"] = append(basic["nodes_table"].([]any), map[string]any{"node": fmt.Sprintf("10.0.0.%d:80", node)})
		}
		if before := names(vtm.Pools, name); n == 2 && len(before) > 0 && present(name+"failure") {
			basic["failure_pool"] = before[0]
		}
		add(vtm.New(vtm.Pools, name, vtm.Properties{"basic": basic}))
	}
	for n := range 3 {
		name := fmt.Sprintf("k8s_rule%d", n)
		if !present(name) {
			continue
		}
		text := mark.Comment() + fmt.Sprintf("# version %d\n", version(name))
		if n == 2 {
			for _, library := range some(vtm.Rules, name) {
				text += fmt.Sprintf("import %s;\n", library)
			}
		}
		for _, pool := range some(vtm.Pools, name) {
			text += fmt.Sprintf("pool.use(%q);\n", pool)
		}
		add(vtm.NewFile(vtm.Rules, name, []byte(text)))
	}
	for n := range 2 {
		if name := fmt.Sprintf("k8s_group%d", n); present(name) {
			add(vtm.New(vtm.TrafficIPGroups, name, vtm.Properties{"basic": {"note": note(n), "ipaddresses": []string{fmt.Sprintf("10.1.0.%d", n)}}}))
		}
	}
	for n := range 2 {
		name := fmt.Sprintf("k8s_server%d", n)
		if !present(name) {
			continue
		}
		pool := "discard"
		if pools := names(vtm.Pools, name); len(pools) > 0 {
			pool = rapid.SampledFrom(pools).Draw(t, label+name+"pool")
		}
		groups := some(vtm.TrafficIPGroups, name)
		// Two never hold the same place at once.
		add(vtm.New(vtm.VirtualServers, name, vtm.Properties{"basic": {
			"note": note(n), "enabled": true, "port": 80 + n*(version(name)-1) + 10*n, "pool": pool,
			"listen_on_traffic_ips": groups, "request_rules": some(vtm.Rules, name),
		}}))
	}
	return out
}

// dangling names a reference of one of the store's resources to one of all that
// the store doesn't hold.
func dangling(store, all map[vtm.ID]*vtm.Resource) string {
	for _, r := range store {
		missing := ""
		eachReference(r, func(to vtm.ID) {
			if all[to] != nil && store[to] == nil {
				missing = fmt.Sprintf("%s refers to %s", r.ID, to)
			}
		})
		if missing != "" {
			return missing
		}
	}
	return ""
}

func TestPlanLeadsToDesiredWithoutDanglingReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, desired := configuration(t, "before "), configuration(t, "after ")
		all := map[vtm.ID]*vtm.Resource{}
		store := map[vtm.ID]*vtm.Resource{}
		var owned []*vtm.Resource
		for id, r := range before {
			store[id], all[id] = r, r
			owned = append(owned, r)
		}
		for id, r := range desired {
			all[id] = r
		}
		plan := Diff(desired, NewObserved(translate.Appliance{}, owned...), nil)
		for len(plan.Steps) > 0 {
			// Any order within a stage must do.
			stage := 0
			for stage < len(plan.Steps) && plan.Steps[stage].Stage == plan.Steps[0].Stage {
				stage++
			}
			i := rapid.IntRange(0, stage-1).Draw(t, "step")
			s := plan.Steps[i]
			plan.Steps = slices.Delete(plan.Steps, i, i+1)
			if s.Action == Delete {
				delete(store, s.ID)
			} else {
				store[s.ID] = merged(store[s.ID], s.Send)
			}
			if what := dangling(store, all); what != "" {
				t.Fatalf("after %s %s: %s", s.Action, s.ID, what)
			}
		}
		owned = owned[:0]
		for _, r := range store {
			owned = append(owned, r)
		}
		if left := Diff(desired, NewObserved(translate.Appliance{}, owned...), nil); len(left.Steps) > 0 {
			t.Fatalf("after the plan there is still to do:\n%s", left)
		}
	})
}

// merged is what a partial PUT makes of a resource.
func merged(old, send *vtm.Resource) *vtm.Resource {
	if old == nil || send.Type.IsFile() {
		return send
	}
	p := vtm.Properties{}
	for _, r := range []*vtm.Resource{old, send} {
		for _, s := range r.Settings() {
			if p[s.Section] == nil {
				p[s.Section] = map[string]any{}
			}
			p[s.Section][s.Key] = s.Value
		}
	}
	return vtm.New(old.Type, old.Name, p)
}

func TestBrakeHoldsWhenTooManyWouldCease(t *testing.T) {
	pool := func(n, nodes int) *vtm.Resource {
		mark := vtm.Mark{ID: "k8s", Cluster: "c", Kind: "Ingress", Namespace: "a", Name: fmt.Sprint("i", n), UID: fmt.Sprintf("uid%03d", n)}
		var table []any
		for i := range nodes {
			table = append(table, map[string]any{"node": fmt.Sprintf("10.0.0.%d:80", i)})
		}
		return vtm.New(vtm.Pools, fmt.Sprintf("k8s_%03d", n), vtm.Properties{"basic": {"note": mark.Format(), "nodes_table": table}})
	}
	for _, test := range []struct {
		name                     string
		served, deleted, emptied int
		held                     bool
	}{
		{"nothing ceases", 30, 0, 0, false},
		{"half ceases", 30, 15, 0, false},
		{"more than half ceases", 30, 16, 0, true},
		{"emptied counts like deleted", 30, 8, 8, true},
		{"all of few cease", 9, 9, 0, false},
		{"all of ten cease", 10, 10, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var owned []*vtm.Resource
			desired := map[vtm.ID]*vtm.Resource{}
			for n := range test.served {
				owned = append(owned, pool(n, 2))
				var want *vtm.Resource
				switch {
				case n < test.deleted:
					continue
				case n < test.deleted+test.emptied:
					want = pool(n, 0)
				default:
					want = pool(n, 3)
				}
				desired[want.ID] = want
			}
			created := pool(900, 1)
			desired[created.ID] = created
			key := func(public string) *vtm.Resource {
				return vtm.New(vtm.ServerKeys, "k8s_key", vtm.Properties{"basic": {"public": public}})
			}
			owned, desired[key("").ID] = append(owned, key("old")), key("renewed")
			observed := NewObserved(translate.Appliance{}, owned...)
			plan := Diff(desired, observed, nil)
			filtered, ceasing := Brake(plan, observed, nil)
			if (len(ceasing) > 0) != test.held {
				t.Fatalf("held %v, want %v", ceasing, test.held)
			}
			if !test.held {
				if len(filtered.Steps) != len(plan.Steps) {
					t.Fatalf("%d steps of %d left", len(filtered.Steps), len(plan.Steps))
				}
				return
			}
			if len(ceasing) != test.deleted+test.emptied {
				t.Errorf("%d cease, want %d", len(ceasing), test.deleted+test.emptied)
			}
			for _, s := range filtered.Steps {
				if s.Action == Delete || !hasNodes(s.After) && s.ID.Type != vtm.ServerKeys {
					t.Errorf("while the brake holds: %s %s", s.Action, s.ID)
				}
			}
			if want := test.served - test.deleted - test.emptied + 2; len(filtered.Steps) != want {
				t.Errorf("%d steps go on, want the %d that take nothing away", len(filtered.Steps), want)
			}
			if _, still := Brake(plan, observed, ceasing[1:]); len(still) == 0 {
				t.Error("a second list that does not agree on all released the brake")
			}
			if _, still := Brake(plan, observed, ceasing); len(still) != 0 {
				t.Error("a second list that agrees did not release the brake")
			}
		})
	}
}
