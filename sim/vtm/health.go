package vtm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vtm-ingress/sim/dataplane"
)

// health is what one member of a cluster knows of the machines, itself included,
// and which addresses it raises in consequence.
type health struct {
	t *TrafficManager

	mu       sync.Mutex // guards all below
	self     machineState
	since    time.Time        // when self became what it is
	peers    map[string]*peer // the other members
	isolated bool
	lastTick time.Time
	order    bool                    // an administrator ended the wait of a recovered machine
	raised   map[string]raisedStatus // by address: since when it is as it is
	groups   map[string]placedGroup  // Traffic IP Groups as they were last placed
	claims   map[string][]string     // by address: the groups that hold it, sorted by name
}

// placedGroup is what is known here of a Traffic IP Group.
type placedGroup struct {
	addresses []string
	raise     []string
}

// peer is another member as it was last heard of.
type peer struct {
	heard time.Time
	said  machineState // what it said of itself
	state machineState // what it was judged to be at the last tick
}

type raisedStatus struct {
	raised bool
	since  time.Time
}

func newHealth(t *TrafficManager, state machineState) *health {
	h := &health{t: t, self: state, since: t.started, lastTick: t.started, peers: make(map[string]*peer), raised: make(map[string]raisedStatus),
		groups: make(map[string]placedGroup), claims: make(map[string][]string)}
	for _, name := range t.cluster.others(t.o.Name) {
		said := t.cluster.stateOf(name)
		h.peers[name] = &peer{heard: t.started, said: said, state: said}
		if said == failed {
			h.peers[name].heard = time.Time{}
		}
	}
	return h
}

// hear takes in another member's heartbeat; the next tick judges it.
func (h *health) hear(name string, says machineState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peers[name]
	if p == nil { // it has just joined
		p = &peer{state: says}
		h.peers[name] = p
	}
	p.heard, p.said = h.t.o.World.Clock().Now(), says
}

// leave forgets a member.
func (h *health) leave(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, name)
}

// states are all machines as this member sees them. h.mu is held.
func (h *health) states() map[string]machineState {
	s := map[string]machineState{h.t.o.Name: h.self}
	for name, p := range h.peers {
		s[name] = p.state
	}
	if h.isolated {
		s[h.t.o.Name] = failed
	}
	return s
}

// claim notes which addresses a group holds, none if it was deleted, and returns
// the other groups that share one of those that it held or holds.
func (h *health) claim(group string, addresses []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var others []string
	old := h.groups[group]
	for _, a := range slices.Concat(old.addresses, addresses) {
		for _, other := range h.claims[a] {
			if other != group && !slices.Contains(others, other) {
				others = append(others, other)
			}
		}
	}
	for _, a := range old.addresses {
		h.claims[a] = without(h.claims[a], []string{group})
		if len(h.claims[a]) == 0 && !slices.Contains(addresses, a) {
			delete(h.claims, a)
			delete(h.raised, a)
		}
	}
	for _, a := range addresses {
		h.claims[a] = slices.Sorted(slices.Values(append(h.claims[a], group)))
	}
	if addresses == nil {
		delete(h.groups, group)
	} else {
		h.groups[group] = placedGroup{addresses, old.raise}
	}
	slices.Sort(others)
	return others
}

// deciding is the group that decides who hosts an address: of those that hold it
// and are enabled the first by name; nil if there is none. h.mu is held.
func (h *health) deciding(address string) *resource {
	for _, name := range h.claims[address] {
		if r := h.t.store.get(h.t.schema.types["traffic_ip_groups"], name); r != nil && r.flag("basic", "enabled") {
			return r
		}
	}
	return nil
}

// place tells the data plane's form of a group what is raised here. An address
// that several groups hold is raised for all of them where the first has it.
func (h *health) place(g *dataplane.TrafficIPGroup, r *resource) {
	p := newPlacing(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	now, states := h.t.o.World.Clock().Now(), h.states()
	own := p.raisedBy(h.t.o.Name, states)
	g.Raise = []string{}
	decided := *p // without the addresses that another group decides on
	decided.addresses = nil
	for _, a := range g.IPAddresses {
		by, up := h.deciding(a), slices.Contains(own, a)
		if by != nil && by.name != r.name {
			up = slices.Contains(newPlacing(by).raisedBy(h.t.o.Name, states), a)
		} else {
			decided.addresses = append(decided.addresses, a)
		}
		if up = up && by != nil; up && g.Enabled {
			g.Raise = append(g.Raise, a)
		}
		if old, known := h.raised[a]; !known || old.raised != up {
			h.raised[a] = raisedStatus{up, now}
		}
	}
	h.groups[r.name] = placedGroup{g.IPAddresses, g.Raise}
	h.t.cluster.wire.setShared(h.t.o.Name, &decided)
}

// doubleClaims are the sentences of tip_errors about addresses that several groups
// hold. h.mu is held.
func (h *health) doubleClaims() []string {
	var list []string
	for address, groups := range h.claims {
		first := h.deciding(address)
		if first == nil {
			continue
		}
		for _, name := range groups {
			if name != first.name {
				list = append(list, fmt.Sprintf("Traffic IP Group '%s': %s is also in Traffic IP Group '%s', which decides who hosts it", name, address, first.name))
			}
		}
	}
	return list
}

// beatLoop sends heartbeats and judges those of the others, every
// monitor_interval, until ctx ends. Members beat at different moments.
func (t *TrafficManager) beatLoop(ctx context.Context) {
	clock := t.o.World.Clock()
	interval := func() time.Duration {
		return time.Duration(t.globalSettings().number("fault_tolerance", "monitor_interval")) * time.Millisecond
	}
	timer := clock.NewTimer(t.o.World.Jitter("vtm/"+t.o.Name+"/heartbeat", 0, interval()))
	defer timer.Stop()
	for {
		select {
		case <-timer.C():
		case <-ctx.Done():
			return
		}
		timer.Reset(interval())
		if t.cluster.frozen(t.o.Name) {
			continue
		}
		t.beat(ctx)
	}
}

// beat is one heartbeat: it is sent, with the sessions that are due, the others
// are judged, and if that changes who hosts what, it takes effect.
func (t *TrafficManager) beat(ctx context.Context) {
	h := t.health
	before, after, lost := h.tick()
	for _, name := range t.cluster.others(t.o.Name) {
		if to := t.cluster.running(name); to != nil && t.cluster.reach(t.o.Name, name) {
			to.health.hear(t.o.Name, h.state())
		}
	}
	t.tellSessions(t.o.World.Clock().Now())
	if lost {
		// What the lost member had told me and not the others, they get from me.
		t.fellBehind(t.cluster.others(t.o.Name)...)
	}
	if !maps.Equal(before, after) {
		t.replace(ctx)
	}
}

func (h *health) state() machineState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.self
}

// tick judges the members and returns how they were seen before and are now, and
// whether one was lost.
func (h *health) tick() (before, after map[string]machineState, lost bool) {
	t := h.t
	settings := t.globalSettings()
	timeout := settings.seconds("fault_tolerance", "monitor_timeout")
	isolated := t.cluster.isolated(t.o.Name)
	now := t.o.World.Clock().Now()
	var events []dataplane.Event
	tell := func(level, tag, text string) {
		events = append(events, dataplane.Event{Level: level, Section: "faulttolerance", Tag: tag, Text: text})
	}
	h.mu.Lock()
	before = h.states()
	if isolated != h.isolated {
		h.isolated = isolated
		if isolated {
			tell("SERIOUS", "pingfrontendfail", "This machine has no network connectivity")
			tell("WARN", "dropipwarn", "Dropping all Traffic IP addresses: this machine has failed")
		}
		if !isolated {
			h.comeBack(now, tell)
		}
	} else if now.Sub(h.lastTick) > timeout {
		h.comeBack(now, tell) // it stood still, and the others have taken over
	}
	h.lastTick = now
	for _, name := range slices.Sorted(maps.Keys(h.peers)) {
		p := h.peers[name]
		switch silent := now.Sub(p.heard) > timeout; {
		case silent && p.state != failed:
			p.state, lost = failed, true
			tell("SERIOUS", "machinetimeout", "Timed out waiting for a heartbeat of machine "+name)
			tell("SERIOUS", "machinefail", "Machine "+name+" has failed")
		case !silent && p.state == failed:
			p.state = p.said
			tell("INFO", "machineok", "Machine "+name+" is working again")
			if !h.anyFailed() {
				tell("INFO", "allmachinesok", "All machines are working")
			}
		case !silent:
			p.state = p.said
		}
	}
	if h.self == pending && !h.isolated {
		if why := h.mayHost(now, settings); why != "" {
			h.self, h.since, h.order = working, now, false
			tell("INFO", "activatedautomatically", "This machine may host Traffic IP addresses again: "+why)
		}
	}
	after = h.states()
	h.mu.Unlock()
	for _, e := range events {
		t.logEvent(e)
	}
	return before, after, lost
}

// comeBack begins anew after this machine itself was away. h.mu is held.
func (h *health) comeBack(now time.Time, tell func(level, tag, text string)) {
	for name, p := range h.peers {
		if h.t.cluster.reach(h.t.o.Name, name) {
			p.heard = now
		}
	}
	h.self, h.since = pending, now
	tell("INFO", "machinerecovered", "This machine has recovered")
}

func (h *health) anyFailed() bool {
	for _, p := range h.peers {
		if p.state == failed {
			return true
		}
	}
	return false
}

// mayHost says why a machine that has recovered may host addresses, "" if it has
// to wait. h.mu is held.
func (h *health) mayHost(now time.Time, settings *resource) string {
	if h.order {
		return "it was activated"
	}
	states := h.states()
	delete(states, h.t.o.Name)
	if !slices.Contains(slices.Collect(maps.Values(states)), working) {
		return "no other machine works"
	}
	if settings.flag("fault_tolerance", "auto_failback") && now.Sub(h.since) >= settings.seconds("fault_tolerance", "autofailback_delay") {
		return "it has worked for the time of autofailback_delay"
	}
	// With it, would an address that another machine hosts move?
	with := maps.Clone(states)
	with[h.t.o.Name] = working
	groups := h.t.schema.types["traffic_ip_groups"]
	for _, name := range h.t.store.names(groups) {
		r := h.t.store.get(groups, name)
		if r == nil || !r.flag("basic", "enabled") {
			continue
		}
		p := newPlacing(r)
		if p.shared() {
			continue
		}
		old := p.hosts(states)
		for address, machine := range p.hosts(with) {
			if old[address] != "" && old[address] != machine {
				return ""
			}
		}
	}
	return "no address of another machine moves"
}

// replace computes anew which addresses are raised here and tells the data plane
// what changed.
func (t *TrafficManager) replace(ctx context.Context) {
	select {
	case t.writing <- struct{}{}:
		defer func() { <-t.writing }()
	case <-ctx.Done():
		return
	}
	groups := t.schema.types["traffic_ip_groups"]
	var u dataplane.Update
	var up, down []string
	for _, name := range t.store.names(groups) {
		was := t.health.raisedOf(name)
		t.placeGroup(&u, t.store.get(groups, name))
		is := u.TrafficIPGroups[name].Raise
		if slices.Equal(was, is) {
			delete(u.TrafficIPGroups, name)
			continue
		}
		up = append(up, without(is, was)...)
		down = append(down, without(was, is)...)
	}
	if len(u.TrafficIPGroups) == 0 {
		return
	}
	t.data.Apply(u)
	if len(up) > 0 {
		t.logEvent(dataplane.Event{Level: "WARN", Section: "faulttolerance", Tag: "flipperraiselocalworking", Text: "Raising Traffic IP addresses here: " + strings.Join(up, ", ")})
	}
	if len(down) > 0 {
		t.logEvent(dataplane.Event{Level: "INFO", Section: "faulttolerance", Tag: "dropipinfo", Text: "Dropping Traffic IP addresses: " + strings.Join(down, ", ")})
	}
}

// raisedOf are the addresses of a group that are raised here now.
func (h *health) raisedOf(group string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups[group].raise
}

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

// Reactivate lets a machine that has recovered host Traffic IP addresses again,
// where auto_failback is off.
func (t *TrafficManager) Reactivate() {
	t.health.mu.Lock()
	defer t.health.mu.Unlock()
	t.health.order = true
}

// changed says since when an address is raised or not.
func (h *health) changed(address string) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, known := h.raised[address]
	return s.since, known
}

// problems are the sentences of status/state's tip_errors, sorted.
func (h *health) problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for name, p := range h.peers {
		if p.state == failed {
			list = append(list, "Machine "+name+" has failed")
		}
	}
	switch {
	case h.isolated:
		list = append(list, "This machine has no network connectivity")
	case h.self == pending:
		list = append(list, "This machine has recovered and does not host Traffic IP addresses yet")
	}
	list = append(list, h.doubleClaims()...)
	slices.Sort(list)
	return list
}
