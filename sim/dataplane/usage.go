package dataplane

import (
	"strings"

	"vtm-ingress/internal/changes"
	"vtm-ingress/sim/trafficscript"
)

// usage knows which pools are in use: only those are monitored. A pool is used
// by an enabled virtual server whose default pool it is, by a rule in use that
// names it literally, and as the failure pool of a pool in use. All of it belongs
// to DataPlane.mu.
type usage struct {
	rules   map[string]int                   // uses by enabled virtual servers, by rule
	pools   map[string]int                   // uses by servers and parts of rules, by pool
	literal map[string][]*trafficscript.Part // what names pools, by compiled rule
	next    map[string]string                // failure pools

	behind map[string]bool // in use as a failure pool
	dirty  map[string]bool // pools whose use may have changed since settle
	every  bool            // variable_pool_use: all are in use
}

func newUsage() usage {
	return usage{
		rules: make(map[string]int), pools: make(map[string]int),
		literal: make(map[string][]*trafficscript.Part), next: make(map[string]string),
		behind: make(map[string]bool), dirty: make(map[string]bool),
	}
}

func (u *usage) pool(name string, by int) {
	u.pools[name] += by
	if u.pools[name] == 0 {
		delete(u.pools, name)
	}
	u.dirty[name] = true
}

func (u *usage) rule(name string, by int) {
	before := u.rules[name] > 0
	u.rules[name] += by
	after := u.rules[name] > 0
	if !after {
		delete(u.rules, name)
	}
	if before != after {
		u.literals(name, by)
	}
}

func (u *usage) literals(rule string, by int) {
	for _, part := range u.literal[rule] {
		u.part(part, by)
	}
}

func (u *usage) part(p *trafficscript.Part, by int) {
	for _, name := range p.Pools {
		u.pool(name, by)
	}
}

// compiled says what a rule is made of from now on. Its work grows with what of it is
// new.
func (u *usage) compiled(rule string, parts []*trafficscript.Part) {
	if u.rules[rule] > 0 {
		before := make(map[string]*trafficscript.Part, len(parts))
		for _, part := range u.literal[rule] {
			before[part.Name] = part
		}
		for _, part := range parts {
			was := before[part.Name]
			delete(before, part.Name)
			switch was {
			case part:
			case nil:
				u.part(part, 1)
			default:
				changes.Between(was.Pools, part.Pools, strings.Compare,
					func(gone string) { u.pool(gone, -1) }, func(came string) { u.pool(came, 1) })
			}
		}
		for _, gone := range before {
			u.part(gone, -1)
		}
	}
	if len(parts) == 0 {
		delete(u.literal, rule)
		return
	}
	u.literal[rule] = parts
}

// failover says which failure pool a pool has from now on; "" for none.
func (u *usage) failover(pool, to string) {
	if u.next[pool] == to {
		return
	}
	u.dirty[pool] = true
	if to == "" {
		delete(u.next, pool)
		return
	}
	u.next[pool] = to
}

// settle works out the use of failure pools and returns the pools whose use may
// have changed since it was last called. Its work grows with the number of
// failure pools, not of pools.
func (u *usage) settle(every bool) map[string]bool {
	changed := u.dirty
	u.dirty = make(map[string]bool)
	u.every = every
	if len(changed) == 0 || len(u.next) == 0 && len(u.behind) == 0 {
		return changed
	}
	behind := make(map[string]bool)
	for from := range u.next {
		if u.pools[from] == 0 {
			continue
		}
		// A chain may be a circle: it ends where it was before.
		for to := u.next[from]; to != "" && !behind[to]; to = u.next[to] {
			behind[to] = true
		}
	}
	for name := range u.behind {
		changed[name] = true
	}
	for name := range behind {
		changed[name] = true
	}
	u.behind = behind
	return changed
}

func (u *usage) inUse(pool string) bool {
	return u.every || u.pools[pool] > 0 || u.behind[pool]
}
