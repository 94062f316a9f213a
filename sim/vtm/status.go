package vtm

import (
	"encoding/json"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"vtm-ingress/sim/dataplane"
)

// status answers for what is below status/: the traffic manager under its own
// name and as local_tm (vtm/rest.md §8), and the other members of its cluster.
func (t *TrafficManager) status(r *request, path []string) (answer, *apiError) {
	names := []string{t.o.Name}
	if t.cluster != nil {
		names = slices.Sorted(slices.Values(t.cluster.Names()))
	}
	if len(path) == 0 {
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, true}
		}
		return r.folder(children...)
	}
	switch name := path[0]; {
	case name == t.o.Name || name == "local_tm":
	case !slices.Contains(names, name):
		return r.notFound()
	default:
		other := t.cluster.running(name)
		if other == nil || !t.cluster.reach(t.o.Name, name) {
			return answer{}, errMemberAway(name)
		}
		t = other
	}
	path = r.enter(path)
	if len(path) == 0 {
		return r.folder(child{"information", false}, child{"state", false}, child{"statistics", true})
	}
	switch what := path[0]; {
	case what == "information" && len(path) == 1:
		return t.shows(r, "information", "information", map[string]any{
			"platform": runtime.GOOS + "/" + runtime.GOARCH, "tm_version": "22.3", "uuid": t.uuid,
		})
	case what == "state" && len(path) == 1:
		return t.shows(r, "state", "state", t.state())
	case what == "statistics":
		return t.statistics(r, r.enter(path))
	}
	return r.notFound()
}

// shows answers for one status resource: all members that the schema gives to
// path, those of values with their value, others with zero.
func (t *TrafficManager) shows(r *request, path, root string, values map[string]any) (answer, *apiError) {
	if err := r.reading("status resource"); err != nil {
		return answer{}, err
	}
	members := maps.Clone(t.schema.status[path])
	maps.Copy(members, values)
	b, err := json.Marshal(map[string]any{root: members})
	if err != nil {
		return answer{}, &apiError{status: http.StatusInternalServerError, ID: "internal.error", Text: clip(err.Error())}
	}
	return answer{status: http.StatusOK, body: b}, nil
}

// state is what is wrong now, and which pools, nodes and virtual servers there
// are.
func (t *TrafficManager) state() map[string]any {
	s := t.data.State()
	pools := make([]any, 0, len(s.Pools))
	for _, p := range s.Pools {
		pools = append(pools, map[string]any{
			"name": p.Name, "failure_pool": p.FailurePool,
			"active_nodes": array(p.Active), "draining_nodes": array(p.Draining), "disabled_nodes": array(p.Disabled),
		})
	}
	servers := make([]any, 0, len(s.VirtualServers))
	for _, v := range s.VirtualServers {
		servers = append(servers, map[string]any{
			"name": v.Name, "pool": v.Pool, "port": v.Port, "throughput": 0, "ts_redirect_pools": array(v.RulePools),
		})
	}
	failed := make([]any, 0, len(s.FailedNodes))
	for _, n := range s.FailedNodes {
		failed = append(failed, map[string]any{"node": n.Node, "pools": array(n.Pools)})
	}
	level := "ok"
	switch {
	case len(s.Errors) > 0:
		level = "error"
	case len(s.FailedNodes) > 0:
		level = "warn"
	}
	values := map[string]any{
		"errors": array(s.Errors), "tip_errors": []string{},
		"pools": pools, "virtual_servers": servers, "failed_nodes": failed,
	}
	if t.cluster != nil {
		problems := t.health.problems()
		if len(problems) > 0 {
			level = "error"
		}
		values["tip_errors"] = array(problems)
		if t.cluster.faulty(t.o.Name, "licence-expired") {
			level = "error"
			values["license"] = "expired"
			values["errors"] = append(array(s.Errors), "The licence key has expired")
		}
	}
	values["error_level"] = level
	return values
}

// array is a list that is never null in JSON.
func array(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// statistics answers for those counters that are counted.
func (t *TrafficManager) statistics(r *request, path []string) (answer, *apiError) {
	if len(path) == 0 {
		return r.folder(child{"globals", false}, child{"nodes", true}, child{"pools", true}, child{"traffic_ips", true}, child{"virtual_servers", true})
	}
	what := path[0]
	if what == "globals" && len(path) == 1 {
		now := t.o.World.Clock().Now()
		return t.shows(r, "statistics/globals", "statistics", map[string]any{
			"up_time":                 hundredths(now.Sub(t.started)),
			"time_last_config_update": hundredths(now.Sub(time.Unix(0, t.lastWrite.Load()))),
		})
	}
	path = r.enter(path)
	if only := map[string]string{"nodes": "per_pool_node", "traffic_ips": "traffic_ip"}[what]; only != "" {
		if len(path) == 0 {
			return r.folder(child{only, true})
		}
		if path[0] != only {
			return r.notFound()
		}
		what, path = what+"/"+only, r.enter(path)
	}
	s, known := statisticsOf[what]
	switch {
	case !known || len(path) > 1:
		return r.notFound()
	case len(path) == 0:
		names := s.names(t)
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, false}
		}
		return r.folder(children...)
	}
	values, err := s.of(t, path[0])
	if err != nil {
		return answer{}, err
	}
	if values == nil {
		return r.notFound()
	}
	return t.shows(r, "statistics/"+what, "statistics", values)
}

// statisticsOf are the resources with counters for each object: names lists the
// objects, sorted, and of returns one object's counters, nil if it has none.
var statisticsOf = map[string]struct {
	names func(*TrafficManager) []string
	of    func(*TrafficManager, string) (map[string]any, *apiError)
}{
	"virtual_servers":        {(*TrafficManager).enabledServers, (*TrafficManager).serverCounters},
	"pools":                  {(*TrafficManager).poolNames, (*TrafficManager).poolCounters},
	"nodes/per_pool_node":    {(*TrafficManager).poolNodes, (*TrafficManager).nodeCounters},
	"traffic_ips/traffic_ip": {(*TrafficManager).trafficIPs, (*TrafficManager).trafficIPCounters},
}

func (t *TrafficManager) enabledServers() []string {
	var names []string
	for _, name := range t.store.names(t.schema.types["virtual_servers"]) {
		if _, enabled := t.data.ServerStatistics(name); enabled {
			names = append(names, name)
		}
	}
	return names
}

func (t *TrafficManager) serverCounters(name string) (map[string]any, *apiError) {
	s, enabled := t.data.ServerStatistics(name)
	vs := t.store.get(t.schema.types["virtual_servers"], name)
	if !enabled || vs == nil {
		return nil, nil
	}
	values := map[string]any{
		"port": vs.number("basic", "port"), "protocol": vs.text("basic", "protocol"),
		"current_conn": s.CurrentConnections, "max_conn": s.MaxConnections,
		"total_requests": s.Requests, "total_http_requests": s.Requests,
		"bytes_in": s.BytesIn, "bytes_out": s.BytesOut,
		"direct_replies": s.DirectReplies, "discard": s.Discarded,
	}
	for class := 1; class <= 5; class++ {
		values["http"+string(rune('0'+class))+"xx_responses"] = s.Responses[class]
	}
	return values, nil
}

func (t *TrafficManager) poolNames() []string { return t.store.names(t.schema.types["pools"]) }

func (t *TrafficManager) poolCounters(name string) (map[string]any, *apiError) {
	nodes, known := t.data.PoolStatistics(name)
	p := t.store.get(t.schema.types["pools"], name)
	if !known || p == nil {
		return nil, nil
	}
	var total int64
	for _, n := range nodes {
		total += n.Tries
	}
	byState := map[string]int{}
	for _, n := range p.table("basic", "nodes_table") {
		byState[n.text("state")]++
	}
	persistence := p.text("basic", "persistence_class")
	if persistence == "" {
		persistence = "none"
	}
	return map[string]any{
		"algorithm": nativeAlgorithm(p.text("load_balancing", "algorithm")), "persistence": persistence, "state": "active",
		"nodes": len(p.table("basic", "nodes_table")), "disabled": byState["disabled"], "draining": byState["draining"],
		"total_conn": total,
	}, nil
}

// nativeAlgorithm is how statistics spell an algorithm: "leastConnections"
// (vtm/rest.md §8). Round robin is spelt without a capital.
func nativeAlgorithm(algorithm string) string {
	if algorithm == "round_robin" {
		return "roundrobin"
	}
	words := strings.Split(algorithm, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

func (t *TrafficManager) poolNodes() []string {
	var names []string
	for _, pool := range t.poolNames() {
		nodes, _ := t.data.PoolStatistics(pool)
		for _, n := range nodes {
			names = append(names, pool+"-"+n.Node)
		}
	}
	slices.Sort(names)
	return names
}

// nodeCounters finds "POOL-HOST:PORT"; pools and hosts may hold hyphens.
func (t *TrafficManager) nodeCounters(name string) (map[string]any, *apiError) {
	for i := range len(name) {
		if name[i] != '-' {
			continue
		}
		pool, node := name[:i], name[i+1:]
		nodes, _ := t.data.PoolStatistics(pool)
		at := slices.IndexFunc(nodes, func(n dataplane.NodeStatistics) bool { return n.Node == node })
		p := t.store.get(t.schema.types["pools"], pool)
		if at < 0 || p == nil {
			continue
		}
		state := "alive"
		for _, row := range p.table("basic", "nodes_table") {
			if row.text("node") != node {
				continue
			}
			switch row.text("state") {
			case "disabled":
				return nil, errNoCounters(name)
			case "draining":
				state = "draining"
			}
		}
		for _, failed := range t.data.State().FailedNodes {
			if failed.Node == node && slices.Contains(failed.Pools, pool) {
				state = "dead"
			}
		}
		n := nodes[at]
		return map[string]any{
			"state": state, "node_port": portOf(node), "current_requests": n.CurrentRequests,
			"failures": n.Failures, "total_conn": n.Tries,
		}, nil
	}
	return nil, nil
}

func (t *TrafficManager) trafficIPs() []string {
	var names []string
	for _, ip := range t.data.State().TrafficIPs {
		names = append(names, ip.IP)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (t *TrafficManager) trafficIPCounters(name string) (map[string]any, *apiError) {
	var values map[string]any
	defer func() {
		if values == nil || t.cluster == nil {
			return
		}
		if since, known := t.health.changed(name); known {
			values["time"] = hundredths(t.o.World.Clock().Now().Sub(since))
		}
	}()
	for _, ip := range t.data.State().TrafficIPs {
		switch {
		case ip.IP != name:
		case ip.Raised:
			values = map[string]any{"state": "raised"}
		case values == nil:
			values = map[string]any{"state": "lowered"}
		}
	}
	return values, nil
}

// hundredths is the unit in which a traffic manager counts time.
func hundredths(d time.Duration) int64 { return int64(d / (10 * time.Millisecond)) }
