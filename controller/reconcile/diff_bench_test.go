package reconcile

import (
	"fmt"
	"testing"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// One pool of 20,000 resources (5,000 Ingresses) has changed.
func BenchmarkDiffOfOneChangeAmongMany(b *testing.B) {
	const n = 20_000
	desired := make(map[vtm.ID]*vtm.Resource, n)
	var owned []*vtm.Resource
	for i := range n {
		mark := vtm.Mark{ID: "k8s", Cluster: "c", Kind: "Ingress", Namespace: "shop", Name: "web", UID: fmt.Sprint(i / 4)}
		r := vtm.New(vtm.Pools, fmt.Sprintf("k8s_shop_web_%d", i), vtm.Properties{"basic": {"note": mark.Format()}})
		desired[r.ID] = r
		owned = append(owned, r)
	}
	observed := NewObserved(translate.Appliance{}, owned...)
	settled := make(map[vtm.ID]*vtm.Resource, n)
	for id, r := range desired {
		settled[id] = r
	}
	changed := vtm.New(vtm.Pools, owned[7].Name, vtm.Properties{"basic": {
		"note": owned[7].Get("basic", "note"), "nodes_table": []any{map[string]any{"node": "10.0.0.1:80"}},
	}})
	desired[changed.ID] = changed
	for b.Loop() {
		if p := Diff(desired, observed, settled); len(p.Steps) != 1 {
			b.Fatalf("%d steps", len(p.Steps))
		}
	}
}
