package vtm

import (
	"hash/fnv"
	"slices"

	"vtm-ingress/sim/dataplane"
)

// placing is what decides who hosts the addresses of one Traffic IP Group.
type placing struct {
	group      string
	mode       string // basic!mode
	assignment string // basic!ip_assignment_mode
	together   bool
	addresses  []string
	machines   []string
	passive    []string // slaves
	mapping    map[string]string
}

// machineState is how a member is seen by another.
type machineState int

const (
	failed  machineState = iota
	pending              // works again, and must not take addresses yet
	working
)

// shared tells whether several machines raise an address at once.
func (p *placing) shared() bool { return p.mode == "multihosted" || p.mode == "rhi" }

// hosts decides which machine hosts which address, from nothing but the group and
// the states of the machines: members that see the same decide the same. What a
// shared address is raised by is told by raisedBy instead.
//
// Each address has a home: machines and addresses sorted, one after the other,
// beginning at a machine that follows from the group's name (balanced) or at the
// first (alphabetic). An address whose home does not host goes to that eligible
// machine which has the fewest, so that nothing moves without need.
func (p *placing) hosts(state map[string]machineState) map[string]string {
	eligible := p.eligible(state)
	if len(eligible) == 0 {
		return nil
	}
	out := make(map[string]string, len(p.addresses))
	load := make(map[string]int)
	give := func(address, machine string) {
		out[address] = machine
		load[machine]++
	}
	addresses := slices.SortedFunc(slices.Values(p.addresses), dataplane.CompareAddresses)
	homes := p.homes()
	first := 0
	if p.assignment != "alphabetic" {
		h := fnv.New32a()
		_, _ = h.Write([]byte(p.group))
		first = int(h.Sum32() % uint32(len(homes)))
	}
	home := func(i int) string { return homes[(first+i)%len(homes)] }
	if p.together {
		for i := range homes {
			if slices.Contains(eligible, home(i)) {
				for _, a := range addresses {
					give(a, home(i))
				}
				return out
			}
		}
		for _, a := range addresses {
			give(a, eligible[0])
		}
		return out
	}
	var left []string
	i := 0
	for _, a := range addresses {
		if fixed := p.mapping[a]; fixed != "" && slices.Contains(p.machines, fixed) {
			if slices.Contains(eligible, fixed) {
				give(a, fixed)
			} else {
				left = append(left, a)
			}
			continue
		}
		if h := home(i); slices.Contains(eligible, h) {
			give(a, h)
		} else {
			left = append(left, a)
		}
		i++
	}
	for _, a := range left {
		best := eligible[0]
		for _, m := range eligible {
			if load[m] < load[best] {
				best = m
			}
		}
		give(a, best)
	}
	return out
}

// homes are the machines that host when all work: those that are not passive.
func (p *placing) homes() []string {
	var active []string
	for _, m := range slices.Sorted(slices.Values(p.machines)) {
		if !slices.Contains(p.passive, m) {
			active = append(active, m)
		}
	}
	if len(active) == 0 {
		return slices.Sorted(slices.Values(p.machines))
	}
	return active
}

// eligible are the machines that may host now, sorted: active ones that work,
// else passive ones, else those that are pending.
func (p *placing) eligible(state map[string]machineState) []string {
	for _, want := range []machineState{working, pending} {
		for _, passive := range []bool{false, true} {
			var list []string
			for _, m := range slices.Sorted(slices.Values(p.machines)) {
				if state[m] == want && slices.Contains(p.passive, m) == passive {
					list = append(list, m)
				}
			}
			if len(list) > 0 {
				return list
			}
		}
	}
	return nil
}

// raisedBy returns the addresses that a machine raises, in the group's order.
// Shared addresses are raised by all eligible machines; with rhi by the passive
// ones that work too, whose routes cost more.
func (p *placing) raisedBy(machine string, state map[string]machineState) []string {
	raised := []string{}
	if p.shared() {
		up := p.eligible(state)
		if p.mode == "rhi" && state[machine] == working && slices.Contains(p.machines, machine) {
			up = append(up, machine)
		}
		if slices.Contains(up, machine) {
			raised = append(raised, p.addresses...)
		}
		return raised
	}
	hosts := p.hosts(state)
	for _, a := range p.addresses {
		if hosts[a] == machine {
			raised = append(raised, a)
		}
	}
	return raised
}

// newPlacing reads a Traffic IP Group.
func newPlacing(r *resource) *placing {
	p := &placing{
		group: r.name, mode: r.text("basic", "mode"), assignment: r.text("basic", "ip_assignment_mode"),
		together:  r.flag("basic", "keeptogether"),
		addresses: r.list("basic", "ipaddresses"), machines: r.list("basic", "machines"), passive: r.list("basic", "slaves"),
	}
	for _, m := range r.table("basic", "ip_mapping") {
		if p.mapping == nil {
			p.mapping = make(map[string]string)
		}
		p.mapping[m.text("ip")] = m.text("traffic_manager")
	}
	return p
}
