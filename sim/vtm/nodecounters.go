package vtm

import (
	"slices"
	"strings"

	"vtm-ingress/sim/dataplane"
)

// halved are the keys of nodes/node: its bytes come in two halves of 32 bits.
func halved(keys []string) []string {
	var out []string
	for _, key := range keys {
		switch key {
		case "bytes_from_node", "bytes_to_node":
			out = append(out, key+"_hi", key+"_lo")
		case "idle_conns": // which only the newer tables have
		default:
			out = append(out, key)
		}
	}
	return out
}

// nodes are all nodes of all pools, sorted.
func (t *TrafficManager) nodes() []string {
	var names []string
	for _, pool := range t.poolNames() {
		p := t.store.get(t.schema.types["pools"], pool)
		if p == nil {
			continue
		}
		for _, n := range p.table("basic", "nodes_table") {
			names = append(names, n.text("node"))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nodes4 are those that the older table has, which knows IPv4 alone.
func (t *TrafficManager) nodes4() []string {
	return slices.DeleteFunc(t.nodes(), func(n string) bool { return strings.HasPrefix(n, "[") })
}

// nodeCounters add up what a node is in all its pools. It is alive if it is in one
// of them.
func (t *TrafficManager) nodeCounters(name string) (map[string]any, *apiError) {
	sum := make(dataplane.Counts)
	state, found := "", false
	var responses, measured int64
	for _, pool := range t.poolNames() {
		s, _ := t.data.PoolStatistics(pool)
		at := slices.IndexFunc(s.Nodes, func(n dataplane.NodeStatistics) bool { return n.Node == name })
		if at < 0 {
			continue
		}
		found = true
		n := s.Nodes[at]
		if !s.InUse || n.State == "disabled" {
			continue
		}
		switch {
		case !n.Failed:
			state = "alive"
		case state == "":
			state = "dead"
		}
		least := sum["response_min"]
		for key, count := range n.Counts {
			sum[key] += count
		}
		sum["response_max"] = max(sum["response_max"]-n.Counts["response_max"], n.Counts["response_max"])
		if mean := n.Counts["response_mean"]; mean > 0 {
			responses += mean
			measured++
			if sum["response_min"] = n.Counts["response_min"]; measured > 1 {
				sum["response_min"] = min(least, n.Counts["response_min"])
			}
		} else {
			sum["response_min"] = least
		}
	}
	switch {
	case !found:
		return nil, nil
	case state == "":
		return nil, errNoCounters(name)
	}
	sum["response_mean"] = 0
	if measured > 0 {
		sum["response_mean"] = responses / measured
	}
	values := valuesOf(sum)
	values["state"], values["port"] = state, portOf(name)
	return values, nil
}

// node4Counters are the same in the form of nodes/node.
func (t *TrafficManager) node4Counters(name string) (map[string]any, *apiError) {
	if strings.HasPrefix(name, "[") {
		return nil, nil
	}
	values, err := t.nodeCounters(name)
	if values == nil {
		return nil, err
	}
	for _, key := range []string{"bytes_from_node", "bytes_to_node"} {
		n, _ := values[key].(int64)
		values[key+"_hi"], values[key+"_lo"] = n>>32, n&(1<<32-1)
		delete(values, key)
	}
	delete(values, "idle_conns")
	return values, nil
}

func (t *TrafficManager) poolNodes() []string {
	var names []string
	for _, pool := range t.poolNames() {
		p := t.store.get(t.schema.types["pools"], pool)
		if p == nil {
			continue
		}
		for _, n := range p.table("basic", "nodes_table") {
			names = append(names, pool+"-"+n.text("node"))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// poolNodeCounters finds "POOL-HOST:PORT"; pools and hosts may hold hyphens.
func (t *TrafficManager) poolNodeCounters(name string) (map[string]any, *apiError) {
	for i := range len(name) {
		if name[i] != '-' {
			continue
		}
		pool, node := name[:i], name[i+1:]
		s, _ := t.data.PoolStatistics(pool)
		at := slices.IndexFunc(s.Nodes, func(n dataplane.NodeStatistics) bool { return n.Node == node })
		if at < 0 {
			continue
		}
		n := s.Nodes[at]
		state := "alive"
		switch {
		case n.State == "disabled" || !s.InUse:
			return nil, errNoCounters(name)
		case n.Failed:
			state = "dead"
		case n.State == "draining":
			state = "draining"
		}
		values := valuesOf(n.Counts)
		values["state"], values["node_port"] = state, portOf(node)
		return values, nil
	}
	return nil, nil
}
