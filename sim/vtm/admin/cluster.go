package admin

import (
	"net/http"
	"slices"
	"strings"
)

// diagnosePage is what is wrong now.
type diagnosePage struct {
	Overall  Status
	Problems []problemRow
	Members  []memberRow
}

type problemRow struct {
	Problem
	Status Status
	// Link leads to the object that the problem begins with, "" if it names none.
	Link string
}

// objects are the types that a problem's first words name.
var objects = []struct{ words, path string }{
	{"Virtual server", "virtual_servers"}, {"Pool", "pools"}, {"Rule", "rules"},
	{"Server key", "ssl/server_keys"}, {"Traffic IP Group", "traffic_ip_groups"}, {"Monitor", "monitors"},
}

func (p *Pages) diagnose(w http.ResponseWriter, r *http.Request, v *visit) {
	problems := p.view.Problems()
	page := diagnosePage{Overall: overall(problems)}
	for _, q := range problems {
		row := problemRow{Problem: q, Status: Status{"warn", "warning"}, Link: p.concerned(q.Text)}
		if q.Serious {
			row.Status = Status{"bad", "error"}
		}
		page.Problems = append(page.Problems, row)
	}
	for _, m := range p.view.Members() {
		page.Members = append(page.Members, memberRow{m, memberStatus(m)})
	}
	p.render(w, r, v, http.StatusOK, "diagnose", "Diagnose", page)
}

// concerned is the page of the object that a problem is about.
func (p *Pages) concerned(problem string) string {
	for _, o := range objects {
		rest, ok := strings.CutPrefix(problem, o.words+" '")
		if !ok {
			continue
		}
		// A name may hold an apostrophe: the longest that exists.
		for at := strings.LastIndexByte(rest, '\''); at >= 0; at = strings.LastIndexByte(rest[:at], '\'') {
			if p.view.Resource(o.path, rest[:at]) != nil {
				return resourceLink(o.path, rest[:at])
			}
		}
	}
	return ""
}

// clusterPage is who is in the cluster, and who hosts which address.
type clusterPage struct {
	Members []memberRow
	Groups  []groupRow
	Pager   pager
	// Waits: this traffic manager has recovered and hosts nothing yet.
	Waits    bool
	Settings []Value // of fault tolerance
}

type groupRow struct {
	Name, Mode string
	Status     Status
	Active     []string // machines
	Passive    []string
	Addresses  []Address
}

// toleranceKeys are the settings that decide how the members take over.
var toleranceKeys = []string{"auto_failback", "autofailback_delay", "monitor_interval", "monitor_timeout"}

func (p *Pages) cluster(w http.ResponseWriter, r *http.Request, v *visit) {
	now := p.snapshot()
	var page clusterPage
	for _, m := range now.members {
		page.Members = append(page.Members, memberRow{m, memberStatus(m)})
		page.Waits = page.Waits || m.Self && m.State == "pending"
	}
	names, pager := paged(r, p.view.Names("traffic_ip_groups"), 100)
	page.Pager = pager
	for _, name := range names {
		if g := p.view.Resource("traffic_ip_groups", name); g != nil {
			page.Groups = append(page.Groups, now.groupRow(g))
		}
	}
	global := p.view.Resource("global_settings", "")
	for _, key := range toleranceKeys {
		if v := global.value("fault_tolerance", key); v.Key != nil {
			page.Settings = append(page.Settings, v)
		}
	}
	p.render(w, r, v, http.StatusOK, "cluster", "Cluster", page)
}

func (s *snapshot) groupRow(g *Resource) groupRow {
	row := groupRow{Name: g.Name, Mode: g.text("basic", "mode"), Status: s.groupStatus(g), Passive: g.list("basic", "slaves")}
	for _, m := range g.list("basic", "machines") {
		if !slices.Contains(row.Passive, m) {
			row.Active = append(row.Active, m)
		}
	}
	for _, a := range g.list("basic", "ipaddresses") {
		row.Addresses = append(row.Addresses, Address{Text: a, Group: g.Name, Hosts: s.hosts[a]})
	}
	return row
}

func (s *snapshot) groupStatus(g *Resource) Status {
	addresses := g.list("basic", "ipaddresses")
	hosted := 0
	for _, a := range addresses {
		if len(s.hosts[a]) > 0 {
			hosted++
		}
	}
	switch {
	case !g.flag("basic", "enabled"):
		return disabled
	case len(addresses) == 0:
		return Status{"warn", "no addresses"}
	case hosted < len(addresses):
		return Status{"bad", "not all addresses are hosted"}
	}
	return working
}

func (p *Pages) reactivate(w http.ResponseWriter, r *http.Request, v *visit) {
	p.view.Reactivate(v.user)
	http.Redirect(w, r, "/cluster", http.StatusSeeOther)
}
