package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// State is what a traffic manager shows of itself in status/state. All lists are
// sorted.
type State struct {
	Pools          []PoolState
	VirtualServers []ServerState
	FailedNodes    []FailedNode
	TrafficIPs     []TrafficIPState
	// Errors are wrong configuration and failures, a sentence each, naming the
	// object.
	Errors []string
}

// PoolState is a pool with its nodes by state. Failed nodes are among the active
// or draining ones.
type PoolState struct {
	Name                       string
	Active, Draining, Disabled []string
	Failed                     []string
	FailurePool                string
	InUse                      bool // its monitors run
}

// ServerState is an enabled virtual server.
type ServerState struct {
	Name string
	Port int
	Pool string // default pool
	// Listening are the configured addresses that it gets connections of.
	Listening []netip.AddrPort
	// Throughput is how many bytes its clients sent and got in the last full second.
	Throughput int64
	// RulePools are the pools that its rules name.
	RulePools []string
}

// FailedNode is a node that failed, with the pools in which it did.
type FailedNode struct {
	Node  string
	Pools []string
}

// TrafficIPState is an address of a Traffic IP Group.
type TrafficIPState struct {
	Group  string
	IP     string
	Raised bool
}

// State returns the present state. Its work grows with the configuration.
func (d *DataPlane) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s State
	fail := func(format string, args ...any) { s.Errors = append(s.Errors, fmt.Sprintf(format, args...)) }
	d.poolStates(&s, fail)
	s.TrafficIPs = d.trafficIPs()
	for _, name := range sorted(d.servers) {
		d.serverState(d.servers[name], &s, fail)
	}
	d.rules.Range(func(name, r any) bool {
		for _, p := range r.(*rule).problems {
			fail("Rule '%s': %s", name, p)
		}
		return true
	})
	d.keys.Range(func(name, k any) bool {
		if err := k.(*serverKey).err; err != nil {
			fail("Server key '%s' cannot be used: %v", name, err)
		}
		return true
	})
	slices.Sort(s.Errors)
	s.Errors = slices.Compact(s.Errors) // a rule may be used by several servers
	return s
}

// TrafficIPs lists the addresses of all Traffic IP Groups, by group.
func (d *DataPlane) TrafficIPs() []TrafficIPState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trafficIPs()
}

func (d *DataPlane) trafficIPs() []TrafficIPState {
	var list []TrafficIPState
	for _, name := range sorted(d.groups) {
		g := d.groups[name]
		raised := d.raisedText(g)
		for _, ip := range g.IPAddresses {
			list = append(list, TrafficIPState{name, ip, slices.Contains(raised, ip)})
		}
	}
	return list
}

func (d *DataPlane) poolStates(s *State, fail func(string, ...any)) {
	pools := make(map[string]*pool)
	d.pools.Range(func(name, p any) bool {
		pools[name.(string)] = p.(*pool)
		return true
	})
	failed := make(map[string][]string)
	for _, name := range sorted(pools) {
		p := pools[name]
		conf := p.conf.Load()
		ps := PoolState{Name: name, FailurePool: conf.FailurePool, InUse: p.inUse}
		p.mu.Lock()
		for _, n := range p.nodes {
			switch n.state {
			case "draining":
				ps.Draining = append(ps.Draining, n.address)
			case "disabled":
				ps.Disabled = append(ps.Disabled, n.address)
			default:
				ps.Active = append(ps.Active, n.address)
			}
			if n.state != "disabled" && (n.failed() || len(p.poolwide) > 0) {
				ps.Failed = append(ps.Failed, n.address)
				failed[n.address] = append(failed[n.address], name)
			}
		}
		if p.died {
			fail("Pool '%s' has no back-end nodes responding", name)
		}
		p.mu.Unlock()
		for _, list := range [][]string{ps.Active, ps.Draining, ps.Disabled, ps.Failed} {
			slices.Sort(list)
		}
		for _, m := range conf.Monitors {
			if mon := d.monitors[m]; mon == nil {
				fail("Pool '%s': monitor '%s' does not exist", name, m)
			} else if !d.runsMonitor(mon) {
				fail("Pool '%s': monitor '%s' %s", name, m, mon.notRun())
			}
		}
		if conf.FailurePool != "" && pools[conf.FailurePool] == nil {
			fail("Pool '%s': failure pool '%s' does not exist", name, conf.FailurePool)
		}
		s.Pools = append(s.Pools, ps)
	}
	for _, n := range sorted(failed) {
		s.FailedNodes = append(s.FailedNodes, FailedNode{n, failed[n]})
	}
}

func (d *DataPlane) serverState(v *vserver, s *State, fail func(string, ...any)) {
	conf := v.conf.Load()
	if !conf.Enabled {
		return
	}
	if conf.problem != "" {
		fail("Virtual server '%s' cannot start: %s", v.name, conf.problem)
	}
	vs := ServerState{Name: v.name, Port: conf.Port, Pool: conf.Pool, Throughput: v.stats.throughput.last(d.now())}
	if conf.Pool != discard && d.pool(conf.Pool) == nil {
		fail("Virtual server '%s': pool '%s' does not exist", v.name, conf.Pool)
	}
	for _, name := range v.usedRules {
		r := d.rule(name)
		if r == nil {
			fail("Virtual server '%s': rule '%s' does not exist", v.name, name)
			continue
		}
		compiled := r.compiled.Load()
		if compiled == nil {
			continue
		}
		for _, p := range compiled.Pools() {
			vs.RulePools = append(vs.RulePools, p)
			if d.pool(p) == nil {
				fail("Rule '%s': pool '%s' does not exist", name, p)
			}
		}
	}
	slices.Sort(vs.RulePools)
	vs.RulePools = slices.Compact(vs.RulePools)
	if !conf.ListenOnAny {
		for _, g := range conf.ListenOnTrafficIPs {
			if d.groups[g] == nil {
				fail("Virtual server '%s': Traffic IP Group '%s' does not exist", v.name, g)
			}
		}
	}
	now := d.now()
	ended := func(key string) bool {
		end := d.key(key).expires()
		return !end.IsZero() && !end.After(now)
	}
	for _, key := range conf.sites.keys(func(key string) bool { return d.key(key) == nil || ended(key) }) {
		k := d.key(key)
		if k == nil {
			fail("Virtual server '%s': server key '%s' does not exist", v.name, key)
			continue
		}
		if end := k.expires(); ended(key) {
			fail("Virtual server '%s': certificate '%s' has expired on %s", v.name, key, end.UTC().Format(time.DateOnly))
		}
	}
	for _, at := range v.claims {
		e := d.endpoints[at]
		owner := e.owner()
		switch {
		case owner.server != v:
			if slices.ContainsFunc(e.claims, func(c *claim) bool { return c.server == v && c.specific == owner.specific }) {
				fail("Virtual server '%s' cannot listen on %s: virtual server '%s' has this address and port", v.name, at, owner.server.name)
			}
		case e.err != nil:
			fail("Virtual server '%s' cannot listen on %s: %v", v.name, at, e.err)
		default:
			vs.Listening = append(vs.Listening, at.AddrPort)
		}
	}
	slices.SortFunc(vs.Listening, netip.AddrPort.Compare)
	s.VirtualServers = append(s.VirtualServers, vs)
}
