package vtm

import (
	"fmt"
	"slices"
)

// What status/state says of the licence: nothing public tells the product's own
// words. Without a valid licence the product is in developer mode.
const (
	licenceValid   = "licensed"
	licenceMissing = "developer mode"
	// licenceExpired is how the event log and the errors of status/state tell it.
	licenceExpired = "The licence key has expired: traffic is limited as in developer mode"
	// developerBandwidth is developer mode's 1 Mbit/s, in bytes a second.
	developerBandwidth = 1_000_000 / 8
)

// state is what is wrong now, and which pools, nodes and virtual servers there
// are: vtm/rest.md §8.
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
			"name": v.Name, "pool": v.Pool, "port": v.Port, "throughput": v.Throughput, "ts_redirect_pools": array(v.RulePools),
		})
	}
	failed := make([]any, 0, len(s.FailedNodes))
	for _, n := range s.FailedNodes {
		failed = append(failed, map[string]any{"node": n.Node, "pools": array(n.Pools)})
	}
	problems, licence := s.Errors, licenceValid
	dangling, ofIPs := t.dangling()
	problems = append(problems, dangling...)
	if wrong := t.sockets.wrong(); wrong != "" {
		problems = append(problems, wrong)
	}
	if t.cluster != nil {
		ofIPs = append(ofIPs, t.health.problems()...)
		if t.cluster.faulty(t.o.Name, "licence-expired") {
			problems, licence = append(problems, licenceExpired), licenceMissing
		}
	}
	slices.Sort(problems)
	slices.Sort(ofIPs)
	level := "ok"
	switch {
	case len(problems)+len(ofIPs) > 0:
		level = "error"
	case len(s.FailedNodes) > 0:
		level = "warn"
	}
	return map[string]any{
		"error_level": level, "errors": array(slices.Compact(problems)), "tip_errors": array(slices.Compact(ofIPs)), "license": licence,
		"pools": pools, "virtual_servers": servers, "failed_nodes": failed,
	}
}

// toldByDataPlane are the references that dataplane.State looks after, and those
// of what is switched off, which does no harm.
var toldByDataPlane = map[string][]string{
	"virtual_servers": {"pools", "rules", "traffic_ip_groups", "ssl/server_keys"},
	"pools":           {"pools", "monitors"},
}

// dangling lists references to what does not exist, those of Traffic IP Groups
// apart.
func (t *TrafficManager) dangling() (errors, ofIPs []string) {
	for _, r := range t.store.all(t.schema) {
		if r.deleted || !r.refers() || r.kind.path == "virtual_servers" && !r.flag("basic", "enabled") {
			continue
		}
		for _, u := range uses(r) {
			if slices.Contains(toldByDataPlane[r.kind.path], u.path) || t.store.get(t.schema.types[u.path], u.name) != nil {
				continue
			}
			text := fmt.Sprintf("%s '%s': %s '%s' does not exist", spoken(r.kind.path, true), r.name, spoken(u.path, false), u.name)
			if r.kind.path == "traffic_ip_groups" {
				ofIPs = append(ofIPs, text)
			} else {
				errors = append(errors, text)
			}
		}
	}
	return errors, ofIPs
}

// refers tells cheaply whether a resource may name others at all.
func (r *resource) refers() bool {
	for p := range r.values {
		if p.references != nil || slices.ContainsFunc(p.columns, func(c *property) bool { return c.references != nil }) {
			return true
		}
	}
	return false
}

// spoken is what one resource of a type is called.
func spoken(path string, first bool) string {
	names := map[string][2]string{
		"actions": {"Action", "action"}, "appliance/nat": {"NAT", "NAT"}, "bandwidth": {"Bandwidth class", "bandwidth class"},
		"cloud_api_credentials": {"Cloud credentials", "cloud credentials"}, "dns_server/zone_files": {"Zone file", "zone file"},
		"dns_server/zones": {"DNS zone", "DNS zone"}, "event_types": {"Event type", "event type"}, "extra_files": {"Extra file", "extra file"},
		"glb_services": {"GLB service", "GLB service"}, "locations": {"Location", "location"}, "monitor_scripts": {"Monitor program", "monitor program"},
		"monitors": {"Monitor", "monitor"}, "persistence": {"Session persistence class", "session persistence class"}, "pools": {"Pool", "pool"},
		"protection": {"Service protection class", "service protection class"}, "rules": {"Rule", "rule"},
		"saml/trustedidps": {"Identity provider", "identity provider"}, "service_level_monitors": {"Service level monitor", "service level monitor"},
		"servicediscovery": {"Service discovery plugin", "service discovery plugin"}, "ssl/cas": {"Certificate authority", "certificate authority"},
		"ssl/client_keys": {"Client key", "client key"}, "ssl/server_keys": {"Server key", "server key"},
		"traffic_ip_groups": {"Traffic IP Group", "Traffic IP Group"}, "traffic_managers": {"Traffic manager", "traffic manager"},
		"virtual_servers": {"Virtual server", "virtual server"},
	}
	spelt, known := names[path]
	switch {
	case !known:
		return path
	case first:
		return spelt[0]
	}
	return spelt[1]
}
