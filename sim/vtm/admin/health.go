package admin

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"vtm-ingress/sim/dataplane"
)

// Status is how something does. Kind chooses mark and colour, Word says the same.
type Status struct {
	Kind string // "ok", "warn", "bad", "off"
	Word string
}

var (
	working  = Status{"ok", "working"}
	disabled = Status{"off", "disabled"}
	missing  = Status{"bad", "does not exist"}
)

// memberStatus is that of a traffic manager.
func memberStatus(m Member) Status {
	switch m.State {
	case "working":
		return working
	case "pending":
		return Status{"warn", "recovered, hosts nothing yet"}
	}
	return Status{"bad", "failed"}
}

// levelStatus is that of a line of the event log.
func levelStatus(level string) Status {
	switch strings.ToUpper(level) {
	case "INFO":
		return Status{"ok", "INFO"}
	case "WARN", "WARNING":
		return Status{"warn", "WARN"}
	}
	return Status{"bad", level}
}

// levelRank orders levels by gravity.
func levelRank(level string) int {
	switch strings.ToUpper(level) {
	case "INFO":
		return 0
	case "WARN", "WARNING":
		return 1
	case "SERIOUS":
		return 2
	}
	return 3
}

// Node is a node of a pool with its state.
type Node struct {
	Address string
	Status  Status
}

// poolNodes lists a pool's nodes: those that failed first.
func poolNodes(s dataplane.PoolState) []Node {
	var nodes []Node
	for _, list := range []struct {
		addresses []string
		status    Status
	}{{s.Active, working}, {s.Draining, Status{"warn", "draining"}}, {s.Disabled, disabled}} {
		for _, a := range list.addresses {
			n := Node{a, list.status}
			if slices.Contains(s.Failed, a) && list.status != disabled {
				n.Status = Status{"bad", "failed"}
			}
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b Node) int {
		failed := func(n Node) int {
			if n.Status.Kind == "bad" {
				return 0
			}
			return 1
		}
		return cmp.Or(failed(a)-failed(b), dataplane.CompareAddresses(a.Address, b.Address))
	})
	return nodes
}

// poolStatus sums up a pool's nodes.
func poolStatus(s dataplane.PoolState) Status {
	all := len(s.Active) + len(s.Draining)
	failed := len(s.Failed)
	switch {
	case all == 0:
		return Status{"warn", "no nodes"}
	case failed >= all:
		return Status{"bad", "all nodes failed"}
	case failed > 0:
		return Status{"warn", fmt.Sprintf("%d of %d nodes failed", failed, all)}
	}
	return working
}

// snapshot is what one page needs of the state, found by name.
type snapshot struct {
	state   dataplane.State
	servers map[string]dataplane.ServerState
	pools   map[string]dataplane.PoolState
	members []Member
	hosts   map[string][]string // by Traffic IP address: the members that raised it
}

func (p *Pages) snapshot() *snapshot {
	s := &snapshot{
		state: p.view.State(), members: p.view.Members(),
		servers: make(map[string]dataplane.ServerState), pools: make(map[string]dataplane.PoolState), hosts: make(map[string][]string),
	}
	for _, v := range s.state.VirtualServers {
		s.servers[v.Name] = v
	}
	for _, q := range s.state.Pools {
		s.pools[q.Name] = q
	}
	for _, m := range s.members {
		for _, a := range m.Raised {
			s.hosts[a] = append(s.hosts[a], m.Name)
		}
	}
	return s
}

// concerns tells whether a problem is about an object, such as "Rule" and its name.
func (s *snapshot) concerns(what, name string) bool {
	return slices.ContainsFunc(s.state.Errors, func(e string) bool {
		return strings.HasPrefix(e, what+" '"+name+"'")
	})
}

// serverStatus is that of a virtual server whose addresses are known.
func (s *snapshot) serverStatus(r *Resource, addresses []Address) Status {
	v, enabled := s.servers[r.Name]
	switch {
	case !r.flag("basic", "enabled"):
		return disabled
	case !enabled:
		return Status{"bad", "not running"}
	case len(v.Listening) == 0 && !slices.ContainsFunc(addresses, s.othersHost):
		return Status{"bad", "not listening"}
	case s.concerns("Virtual server", r.Name):
		return Status{"warn", "has problems"}
	}
	return working
}

// othersHost tells whether another traffic manager has an address, so that it is
// no mistake that this one does not listen there.
func (s *snapshot) othersHost(a Address) bool {
	host, _, err := net.SplitHostPort(a.Text)
	return slices.ContainsFunc(s.members, func(m Member) bool {
		return !m.Self && (slices.Contains(a.Hosts, m.Name) || a.Group == "" && err == nil && host == m.Address)
	})
}

// Address is a place where a virtual server listens.
type Address struct {
	Text  string // "10.0.0.5:80"
	Group string // its Traffic IP Group; "" if it is none's
	Hosts []string
	Any   bool
}

// Status tells whether somebody answers there.
func (a Address) Status() Status {
	switch {
	case a.Any || a.Group == "":
		return Status{"ok", "on every traffic manager"}
	case len(a.Hosts) == 0:
		return Status{"bad", "hosted nowhere"}
	}
	return Status{"ok", "hosted by " + strings.Join(a.Hosts, ", ")}
}

// addresses lists where a virtual server listens.
func (p *Pages) addresses(r *Resource, s *snapshot) []Address {
	port := r.text("basic", "port")
	groups, own := r.list("basic", "listen_on_traffic_ips"), r.list("basic", "listen_on_hosts")
	if r.flag("basic", "listen_on_any") || len(groups)+len(own) == 0 {
		return []Address{{Text: "any address, port " + port, Any: true}}
	}
	var list []Address
	for _, name := range groups {
		group := p.view.Resource("traffic_ip_groups", name)
		for _, a := range group.list("basic", "ipaddresses") {
			list = append(list, Address{Text: net.JoinHostPort(a, port), Group: name, Hosts: s.hosts[a]})
		}
		if group == nil {
			list = append(list, Address{Text: "Traffic IP Group " + name + " (does not exist)", Group: name})
		}
	}
	for _, a := range own {
		list = append(list, Address{Text: net.JoinHostPort(a, port)})
	}
	return list
}
