package vtm

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vtm-ingress/sim/dataplane"
)

// statistic is one kind of resource below status/NAME/statistics.
type statistic struct {
	// names lists the objects that have counters, sorted; nil: there is one resource
	// without a name.
	names func(*TrafficManager) []string
	// of returns one object's values by key, nil if there is no such object.
	// Keys that are not there are 0 or "".
	of func(t *TrafficManager, name string) (map[string]any, *apiError)
	// counted are the keys with a value of their own; all others are always 0.
	counted []string
}

// statistics are all of them, by path below statistics/: vtm/rest.md §8.
func statistics() map[string]statistic {
	keys := dataplane.CountedKeys()
	// Objects that are stored and nothing else: they are listed, and count nothing.
	stored := func(path string) statistic {
		return statistic{names: configured(path), of: func(t *TrafficManager, name string) (map[string]any, *apiError) {
			if t.store.get(t.schema.types[path], name) == nil {
				return nil, nil
			}
			return map[string]any{}, nil
		}}
	}
	nothing := statistic{
		names: func(*TrafficManager) []string { return nil },
		of:    func(*TrafficManager, string) (map[string]any, *apiError) { return nil, nil },
	}
	zeros := statistic{of: func(*TrafficManager, string) (map[string]any, *apiError) { return map[string]any{}, nil }}
	cache := func(name string, keys []string) statistic {
		return statistic{counted: keys, of: func(t *TrafficManager, _ string) (map[string]any, *apiError) {
			return valuesOf(t.data.CacheStatistics()[name]), nil
		}}
	}
	state := []string{"state", "port"}
	return map[string]statistic{
		"actions":                                    {configured("actions"), (*TrafficManager).actionCounters, []string{"processed"}},
		"bandwidth":                                  {configured("bandwidth"), (*TrafficManager).bandwidthCounters, []string{"maximum"}},
		"cache/asp_session_cache":                    cache("asp_session_cache", keys["session cache kept"]),
		"cache/ip_session_cache":                     cache("ip_session_cache", keys["session cache"]),
		"cache/j2ee_session_cache":                   cache("j2ee_session_cache", keys["session cache"]),
		"cache/ssl_cache":                            zeros,
		"cache/ssl_session_cache":                    cache("ssl_session_cache", keys["session cache kept"]),
		"cache/uni_session_cache":                    cache("uni_session_cache", keys["session cache"]),
		"cache/web_cache":                            cache("web_cache", keys["web_cache"]),
		"cloud_api_credentials":                      stored("cloud_api_credentials"),
		"connection_rate_limit":                      {configured("rate"), (*TrafficManager).rateCounters, []string{"max_rate_per_min", "max_rate_per_sec"}},
		"events":                                     {configured("event_types"), (*TrafficManager).eventCounters, []string{"matched"}},
		"extras/user_counters_32":                    zeros,
		"extras/user_counters_64":                    zeros,
		"glb_services":                               stored("glb_services"),
		"globals":                                    {nil, (*TrafficManager).globalCounters, append(keys["globals"], "events_seen", "number_child_processes", "time_last_config_update", "up_time")},
		"listen_ips":                                 {(*TrafficManager).listenIPs, (*TrafficManager).listenIPCounters, keys["listen_ips"]},
		"locations":                                  stored("locations"),
		"network_interface":                          nothing,
		"nodes/node":                                 {(*TrafficManager).nodes4, (*TrafficManager).node4Counters, append(halved(keys["nodes"]), state...)},
		"nodes/node_inet46":                          {(*TrafficManager).nodes, (*TrafficManager).nodeCounters, append(keys["nodes"], state...)},
		"nodes/per_pool_node":                        {(*TrafficManager).poolNodes, (*TrafficManager).poolNodeCounters, append(keys["nodes"], "state", "node_port")},
		"per_location_service":                       nothing,
		"per_node_slm/per_node_service_level":        nothing,
		"per_node_slm/per_node_service_level_inet46": nothing,
		"pools":                         {(*TrafficManager).poolNames, (*TrafficManager).poolCounters, append(keys["pools"], "algorithm", "disabled", "draining", "nodes", "persistence", "state")},
		"rule_authenticators":           stored("rule_authenticators"),
		"rules":                         {configured("rules"), (*TrafficManager).ruleCounters, keys["rules"]},
		"service_level_monitors":        stored("service_level_monitors"),
		"service_protection":            {configured("protection"), (*TrafficManager).protectionCounters, keys["protection"]},
		"ssl_ocsp_stapling":             zeros,
		"traffic_ips/ip_gateway":        {nil, (*TrafficManager).gatewayCounters, []string{"number_inet46", "number_raised_inet46"}},
		"traffic_ips/traffic_ip":        {(*TrafficManager).trafficIPs4, (*TrafficManager).trafficIPCounters, []string{"state", "time"}},
		"traffic_ips/traffic_ip_inet46": {(*TrafficManager).trafficIPs, (*TrafficManager).trafficIPCounters, []string{"state", "time"}},
		"virtual_servers":               {(*TrafficManager).enabledServers, (*TrafficManager).serverCounters, append(keys["virtual_servers"], "port", "protocol")},
	}
}

// CountedStatistics says which keys of the resources below statistics/ have a
// value of their own, sorted, by path such as "nodes/per_pool_node"; the other
// keys of the schema are always 0 or "".
func CountedStatistics() map[string][]string {
	out := make(map[string][]string)
	for path, s := range statistics() {
		out[path] = slices.Sorted(slices.Values(s.counted))
	}
	return out
}

// statistics answers for what is below statistics/.
func (t *TrafficManager) statistics(r *request, path []string) (answer, *apiError) {
	all, at := statistics(), ""
	for {
		if s, ok := all[at]; ok {
			return t.statistic(r, at, s, path)
		}
		prefix := ""
		if at != "" {
			prefix = at + "/"
		}
		if len(path) == 0 {
			return r.folder(statisticsBelow(all, prefix)...)
		}
		if !slices.ContainsFunc(statisticsBelow(all, prefix), func(c child) bool { return c.name == path[0] }) {
			return r.notFound()
		}
		at = prefix + path[0]
		path = r.enter(path)
	}
}

// statisticsBelow lists what is directly below prefix, sorted.
func statisticsBelow(all map[string]statistic, prefix string) []child {
	found := make(map[string]bool)
	for path, s := range all {
		if rest, below := strings.CutPrefix(path, prefix); below {
			name, _, deeper := strings.Cut(rest, "/")
			found[name] = deeper || s.names != nil
		}
	}
	var list []child
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, child{name, found[name]})
	}
	return list
}

func (t *TrafficManager) statistic(r *request, at string, s statistic, path []string) (answer, *apiError) {
	name := ""
	switch {
	case s.names == nil && len(path) == 0:
	case s.names != nil && len(path) == 0:
		names := s.names(t)
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, false}
		}
		return r.folder(children...)
	case s.names != nil && len(path) == 1:
		name = path[0]
	default:
		return r.notFound()
	}
	values, err := s.of(t, name)
	if err != nil {
		return answer{}, err
	}
	if values == nil {
		return r.notFound()
	}
	return t.shows(r, "statistics/"+at, "statistics", values)
}

// configured lists the resources of a type.
func configured(path string) func(*TrafficManager) []string {
	return func(t *TrafficManager) []string { return t.store.names(t.schema.types[path]) }
}

// valuesOf are counts as a status resource shows them.
func valuesOf(c dataplane.Counts) map[string]any {
	values := make(map[string]any, len(c)+8)
	for key, n := range c {
		values[key] = n
	}
	return values
}

func (t *TrafficManager) globalCounters(string) (map[string]any, *apiError) {
	now := t.o.World.Clock().Now()
	values := valuesOf(t.data.GlobalStatistics())
	values["up_time"] = hundredths(now.Sub(t.started))
	values["time_last_config_update"] = hundredths(now.Sub(time.Unix(0, t.lastWrite.Load())))
	values["number_child_processes"] = 1
	values["events_seen"] = t.record.seen()
	return values, nil
}

func (t *TrafficManager) enabledServers() []string {
	var names []string
	for _, name := range t.store.names(t.schema.types["virtual_servers"]) {
		if t.store.get(t.schema.types["virtual_servers"], name).flag("basic", "enabled") {
			names = append(names, name)
		}
	}
	return names
}

func (t *TrafficManager) serverCounters(name string) (map[string]any, *apiError) {
	counts, enabled := t.data.ServerStatistics(name)
	vs := t.store.get(t.schema.types["virtual_servers"], name)
	if !enabled || vs == nil {
		return nil, nil
	}
	values := valuesOf(counts)
	values["port"], values["protocol"] = vs.number("basic", "port"), vs.text("basic", "protocol")
	return values, nil
}

func (t *TrafficManager) poolNames() []string { return configured("pools")(t) }

func (t *TrafficManager) poolCounters(name string) (map[string]any, *apiError) {
	s, known := t.data.PoolStatistics(name)
	p := t.store.get(t.schema.types["pools"], name)
	if !known || p == nil {
		return nil, nil
	}
	values := valuesOf(s.Counts)
	byState := map[string]int{}
	for _, n := range s.Nodes {
		byState[n.State]++
	}
	persistence := p.text("basic", "persistence_class")
	if persistence == "" {
		persistence = "none"
	}
	// Where nothing sends requests to a pool it is unused, as the SNMP tables of the
	// product have it.
	state := "active"
	if !s.InUse {
		state = "unused"
	}
	values["algorithm"] = nativeAlgorithm(p.text("load_balancing", "algorithm"))
	values["persistence"], values["state"] = persistence, state
	values["nodes"], values["disabled"], values["draining"] = len(s.Nodes), byState["disabled"], byState["draining"]
	return values, nil
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

func (t *TrafficManager) ruleCounters(name string) (map[string]any, *apiError) {
	counts, known := t.data.RuleStatistics(name)
	if !known {
		return nil, nil
	}
	return valuesOf(counts), nil
}

func (t *TrafficManager) protectionCounters(name string) (map[string]any, *apiError) {
	counts, known := t.data.ProtectionStatistics(name)
	if !known {
		return nil, nil
	}
	return valuesOf(counts), nil
}

func (t *TrafficManager) listenIPs() []string {
	var names []string
	for _, a := range t.data.ListenIPs() {
		names = append(names, a.String())
	}
	slices.Sort(names)
	return names
}

func (t *TrafficManager) listenIPCounters(name string) (map[string]any, *apiError) {
	a, err := netip.ParseAddr(name)
	if err != nil || !slices.Contains(t.data.ListenIPs(), a) {
		return nil, nil
	}
	return valuesOf(t.data.ListenIPStatistics(a)), nil
}

func (t *TrafficManager) bandwidthCounters(name string) (map[string]any, *apiError) {
	r := t.store.get(t.schema.types["bandwidth"], name)
	if r == nil {
		return nil, nil
	}
	return map[string]any{"maximum": r.number("basic", "maximum")}, nil
}

func (t *TrafficManager) rateCounters(name string) (map[string]any, *apiError) {
	r := t.store.get(t.schema.types["rate"], name)
	if r == nil {
		return nil, nil
	}
	return map[string]any{
		"max_rate_per_min": r.number("basic", "max_rate_per_minute"),
		"max_rate_per_sec": r.number("basic", "max_rate_per_second"),
	}, nil
}

func (t *TrafficManager) eventCounters(name string) (map[string]any, *apiError) {
	if t.store.get(t.schema.types["event_types"], name) == nil {
		return nil, nil
	}
	return map[string]any{"matched": t.record.countOf(target{"event_types", name})}, nil
}

func (t *TrafficManager) actionCounters(name string) (map[string]any, *apiError) {
	if t.store.get(t.schema.types["actions"], name) == nil {
		return nil, nil
	}
	return map[string]any{"processed": t.record.countOf(target{"actions", name})}, nil
}

func (t *TrafficManager) trafficIPs() []string {
	var names []string
	for _, ip := range t.data.TrafficIPs() {
		names = append(names, ip.IP)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// trafficIPs4 are those that the older table has, which knows IPv4 alone.
func (t *TrafficManager) trafficIPs4() []string {
	return slices.DeleteFunc(t.trafficIPs(), func(ip string) bool { return strings.Contains(ip, ":") })
}

func (t *TrafficManager) trafficIPCounters(name string) (map[string]any, *apiError) {
	var values map[string]any
	for _, ip := range t.data.TrafficIPs() {
		switch {
		case ip.IP != name:
		case ip.Raised:
			values = map[string]any{"state": "raised"}
		case values == nil:
			values = map[string]any{"state": "lowered"}
		}
	}
	if values != nil && t.cluster != nil {
		if since, known := t.health.changed(name); known {
			values["time"] = hundredths(t.o.World.Clock().Now().Sub(since))
		}
	}
	return values, nil
}

func (t *TrafficManager) gatewayCounters(string) (map[string]any, *apiError) {
	all, raised := t.data.TrafficIPs(), 0
	for _, ip := range all {
		if ip.Raised {
			raised++
		}
	}
	return map[string]any{"number_inet46": len(all), "number_raised_inet46": raised}, nil
}

// hundredths is the unit in which a traffic manager counts time.
func hundredths(d time.Duration) int64 { return int64(d / (10 * time.Millisecond)) }
