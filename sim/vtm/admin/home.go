package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the traffic map: what one page shows.
const (
	mapPerPage   = 25 // virtual servers
	maxMapNodes  = 12 // nodes of one pool
	maxMapPools  = 12 // pools of one virtual server
	recentEvents = 6
)

// homePage is the traffic map at a glance.
type homePage struct {
	Banner  string // post_login_banner
	Overall Status
	Counts  []count
	Members []memberRow
	Find    string
	Rows    []mapRow
	Pager   pager
	Events  []logLine
}

type count struct {
	Number int
	Of     int // 0: Number alone
	Title  string
	Link   string
	Status Status
}

type memberRow struct {
	Member
	Status Status
}

// mapRow is a virtual server with all that a request meets on its way.
type mapRow struct {
	Name, Protocol string
	Status         Status
	Addresses      []Address
	Rules          []mapRule
	Pools          []mapPool
	MorePools      int
}

type mapRule struct {
	Name, When string
	Status     Status
}

type mapPool struct {
	Name, Role string
	Builtin    bool
	Status     Status
	Nodes      []Node
	MoreNodes  int
}

func (p *Pages) home(w http.ResponseWriter, r *http.Request, v *visit) {
	now := p.snapshot()
	page := homePage{Find: clip(r.URL.Query().Get("find"), 200)}
	page.Banner = p.view.Resource("global_settings", "").text("security", "post_login_banner")
	problems := p.view.Problems()
	page.Overall = overall(problems)
	for _, m := range now.members {
		page.Members = append(page.Members, memberRow{m, memberStatus(m)})
	}
	page.Counts = p.counts(now, problems)

	var names []string
	for _, name := range p.view.Names("virtual_servers") {
		if strings.Contains(strings.ToLower(name), strings.ToLower(page.Find)) {
			names = append(names, name)
		}
	}
	names, page.Pager = paged(r, names, mapPerPage)
	for _, name := range names {
		if server := p.view.Resource("virtual_servers", name); server != nil {
			page.Rows = append(page.Rows, p.mapRow(server, now))
		}
	}
	lines, _ := p.view.Events(nil)
	for _, line := range slices.Backward(lines) {
		if levelRank(line.Level) > 0 && len(page.Events) < recentEvents {
			page.Events = append(page.Events, newLogLine(line))
		}
	}
	p.render(w, r, v, http.StatusOK, "home", "Home", page)
}

// overall sums up all problems.
func overall(problems []Problem) Status {
	switch {
	case slices.ContainsFunc(problems, func(q Problem) bool { return q.Serious }):
		return Status{"bad", "Error"}
	case len(problems) > 0:
		return Status{"warn", "Warning"}
	}
	return Status{"ok", "OK"}
}

func (p *Pages) counts(now *snapshot, problems []Problem) []count {
	up := 0
	for _, m := range now.members {
		if m.State == "working" {
			up++
		}
	}
	servers := len(p.view.Names("virtual_servers"))
	nodes, failed := make(map[string]bool), len(now.state.FailedNodes)
	for _, q := range now.state.Pools {
		for _, n := range slices.Concat(q.Active, q.Draining) {
			nodes[n] = true
		}
	}
	hosted, addresses := 0, make(map[string]bool)
	for _, ip := range now.state.TrafficIPs {
		if !addresses[ip.IP] && len(now.hosts[ip.IP]) > 0 {
			hosted++
		}
		addresses[ip.IP] = true
	}
	well := func(good bool, kind string) Status {
		if good {
			return Status{Kind: "ok"}
		}
		return Status{Kind: kind}
	}
	return []count{
		{up, len(now.members), "traffic managers working", "/cluster", well(up == len(now.members), "bad")},
		{len(now.state.VirtualServers), servers, "virtual servers enabled", "/catalogs/virtual_servers", well(true, "")},
		{len(nodes) - failed, len(nodes), "nodes working", "/catalogs/pools", well(failed == 0, "warn")},
		{hosted, len(addresses), "Traffic IP addresses hosted", "/cluster", well(hosted == len(addresses), "warn")},
		{len(problems), 0, map[bool]string{true: "problem now", false: "problems now"}[len(problems) == 1], "/diagnose", overall(problems)},
	}
}

func (p *Pages) mapRow(server *Resource, now *snapshot) mapRow {
	addresses := p.addresses(server, now)
	row := mapRow{
		Name: server.Name, Protocol: server.text("basic", "protocol"),
		Status: now.serverStatus(server, addresses), Addresses: addresses,
	}
	if server.flag("basic", "ssl_decrypt") {
		row.Protocol += ", TLS"
	}
	for _, phase := range []string{"request", "response", "completion"} {
		for _, use := range server.list("basic", phase+"_rules") {
			name, off := strings.CutPrefix(use, "/")
			rule := mapRule{Name: name, When: phase, Status: working}
			switch {
			case p.view.Resource("rules", name) == nil:
				rule.Status = missing
			case off:
				rule.Status = disabled
			case now.concerns("Rule", name):
				rule.Status = Status{"warn", "has problems"}
			}
			row.Rules = append(row.Rules, rule)
		}
	}
	seen := make(map[string]bool)
	add := func(name, role string) {
		if name == "" || seen[name] {
			return
		}
		seen[name] = true
		if len(row.Pools) >= maxMapPools {
			row.MorePools++
			return
		}
		row.Pools = append(row.Pools, now.mapPool(name, role))
	}
	add(server.text("basic", "pool"), "default")
	for _, name := range now.servers[server.Name].RulePools {
		add(name, "by rule")
	}
	for _, q := range slices.Clone(row.Pools) {
		add(now.pools[q.Name].FailurePool, "when "+q.Name+" fails")
	}
	return row
}

func (s *snapshot) mapPool(name, role string) mapPool {
	q := mapPool{Name: name, Role: role}
	state, known := s.pools[name]
	switch {
	case name == "discard":
		q.Builtin, q.Status = true, Status{"ok", "closes the connection"}
	case name == "builtin_dns":
		q.Builtin, q.Status = true, Status{"ok", "built in"}
	case !known:
		q.Status = missing
	default:
		q.Status, q.Nodes = poolStatus(state), poolNodes(state)
		if len(q.Nodes) > maxMapNodes {
			q.MoreNodes = len(q.Nodes) - maxMapNodes
			q.Nodes = q.Nodes[:maxMapNodes]
		}
	}
	return q
}

// pager leads through the pages of a long list.
type pager struct {
	First, Last, All     int // of what is shown, counted from 1
	Previous, Next, Only string
}

// paged returns the part of a list that a request asks for by its parameter page.
func paged[T any](r *http.Request, list []T, each int) ([]T, pager) {
	last := max(0, (len(list)-1)/each)
	at, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil {
		at = 0
	}
	at = min(max(at, 0), last)
	from, to := at*each, min((at+1)*each, len(list))
	g := pager{First: from + 1, Last: to, All: len(list)}
	link := func(page int) string {
		q := url.Values{}
		for key, values := range r.URL.Query() {
			q[key] = values
		}
		q.Set("page", strconv.Itoa(page))
		return r.URL.EscapedPath() + "?" + q.Encode()
	}
	if at > 0 {
		g.Previous = link(at - 1)
	}
	if at < last {
		g.Next = link(at + 1)
	}
	return list[from:to], g
}
