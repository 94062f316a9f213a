package vtm

import (
	"slices"
	"time"

	"vtm-ingress/sim/dataplane"
)

// update adds a change to one of the data plane. It returns false for types that
// the data plane knows nothing of: they are stored only.
func (t *TrafficManager) update(u *dataplane.Update, r *resource) bool {
	next := r
	if r.deleted {
		next = nil
	}
	if r.kind.path == "traffic_managers" && r.name == t.o.Name && next != nil {
		t.placeREST(next)
		return false
	}
	if r.kind.path != "traffic_ip_groups" || t.cluster == nil {
		return put(u, r.kind.path, r.name, next)
	}
	var addresses []string
	if next == nil {
		put(u, r.kind.path, r.name, nil)
	} else {
		addresses = slices.Concat([]string{}, next.list("basic", "ipaddresses"))
	}
	others := t.health.claim(r.name, addresses)
	if next != nil {
		t.placeGroup(u, next)
	}
	for _, name := range others {
		if other := t.store.get(r.kind, name); other != nil {
			t.placeGroup(u, other)
		}
	}
	return true
}

// placeGroup adds a Traffic IP Group with what this member raises of it.
func (t *TrafficManager) placeGroup(u *dataplane.Update, r *resource) {
	g := trafficIPGroup(r)
	t.health.place(g, r)
	if u.TrafficIPGroups == nil {
		u.TrafficIPGroups = make(map[string]*dataplane.TrafficIPGroup)
	}
	u.TrafficIPGroups[r.name] = g // not set: each member has another
}

// put adds a resource to an update, nil if it was deleted. It returns false when
// the data plane does not know the type.
func put(u *dataplane.Update, path, name string, r *resource) bool {
	switch path {
	case "global_settings":
		u.Global = globalSettings(r)
	case "traffic_ip_groups":
		set(&u.TrafficIPGroups, name, r, trafficIPGroup)
	case "virtual_servers":
		set(&u.VirtualServers, name, r, virtualServer)
	case "pools":
		set(&u.Pools, name, r, pool)
	case "monitors":
		set(&u.Monitors, name, r, monitor)
	case "rules":
		set(&u.Rules, name, r, rule)
	case "ssl/server_keys":
		set(&u.ServerKeys, name, r, storedKey)
	case "ssl/client_keys":
		set(&u.ClientKeys, name, r, storedKey)
	case "persistence":
		set(&u.Persistence, name, r, persistence)
	case "protection":
		set(&u.Protection, name, r, protection)
	case "monitor_scripts":
		set(&u.MonitorScripts, name, r, file)
	case "ssl/cas":
		set(&u.CAs, name, r, file)
	case "extra_files":
		set(&u.ExtraFiles, name, r, file)
	case "ssl/ticket_keys":
		set(&u.TicketKeys, name, r, func(r *resource) *dataplane.TicketKey {
			return &dataplane.TicketKey{
				Key:   r.text("basic", "key"),
				Begin: time.Unix(key[int64](r, "basic", "validity_start"), 0),
				End:   time.Unix(key[int64](r, "basic", "validity_end"), 0),
			}
		})
	default:
		return putNamed(u, path, name, r)
	}
	return true
}

// set adds a resource in the data plane's form, which typed makes of nothing but the
// resource.
func set[T any](m *map[string]*T, name string, r *resource, typed func(*resource) *T) {
	if *m == nil {
		*m = make(map[string]*T)
	}
	if r == nil {
		(*m)[name] = nil
		return
	}
	(*m)[name] = effect(r, typed)
}

func effect[T any](r *resource, typed func(*resource) *T) *T {
	if r.effect.Load() == nil {
		r.effect.CompareAndSwap(nil, typed(r)) // another member may have been faster
	}
	return r.effect.Load().(*T)
}

func rule(r *resource) *dataplane.Rule { return &dataplane.Rule{Source: string(r.content)} }

func storedKey(r *resource) *dataplane.ServerKey {
	return &dataplane.ServerKey{Public: r.text("basic", "public"), Private: r.text("basic", "private")}
}

func file(r *resource) *dataplane.File {
	return &dataplane.File{Content: string(r.content), Modified: r.at}
}

func globalSettings(r *resource) *dataplane.Global {
	return &dataplane.Global{
		IdleTimeout:     r.seconds("connection", "idle_timeout"),
		VariablePoolUse: r.flag("trafficscript", "variable_pool_use"),
		MaxInstructions: r.number("trafficscript", "max_instr"),
		Script:          scriptSettings(r),
		TLS: dataplane.GlobalTLS{
			TLS10:        r.flag("ssl", "support_tls1"),
			TLS11:        r.flag("ssl", "support_tls1_1"),
			TLS12:        r.flag("ssl", "support_tls1_2"),
			TLS13:        r.flag("ssl", "support_tls1_3"),
			Tickets:      r.flag("ssl", "tickets_enabled"),
			CipherSuites: r.text("ssl", "cipher_suites"),
			Curves:       r.list("ssl", "elliptic_curves"),
		},
		Sessions: sessionCaches(r),
		WebCache: dataplane.GlobalCache{
			Size:           r.text("web_cache", "size"),
			MaxFileSize:    r.text("web_cache", "max_file_size"),
			MaxFiles:       r.number("web_cache", "max_file_num"),
			NormalizeQuery: r.flag("web_cache", "normalize_query"),
		},
	}
}

func trafficIPGroup(r *resource) *dataplane.TrafficIPGroup {
	return &dataplane.TrafficIPGroup{
		Enabled:     r.flag("basic", "enabled"),
		IPAddresses: r.list("basic", "ipaddresses"),
		Machines:    r.list("basic", "machines"),
		Slaves:      r.list("basic", "slaves"),
	}
}

// key returns the value of a key, its default if it is not set. The schema has
// every key that this package asks for; a test asks for them all.
func key[T any](r *resource, sectionName, name string) T {
	r.kind.note(sectionName, "/", name)
	v, _ := r.value(r.kind.property(sectionName, name)).(T)
	return v
}

func (r *resource) flag(sectionName, name string) bool   { return key[bool](r, sectionName, name) }
func (r *resource) text(sectionName, name string) string { return key[string](r, sectionName, name) }
func (r *resource) list(sectionName, name string) []string {
	return key[[]string](r, sectionName, name)
}
func (r *resource) number(sectionName, name string) int { return int(key[int64](r, sectionName, name)) }

// seconds is for keys that count seconds; the schema's bounds keep all that are
// read here far from overflow, and Duration saturates the rest.
func (r *resource) seconds(sectionName, name string) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(min(key[int64](r, sectionName, name), most)) * time.Second
}

// file is the content of a file that takes effect.
func (r *resource) file() []byte {
	r.kind.note("content")
	return r.content
}

// tableRow is a row with the names of its columns.
type tableRow struct {
	kind  *resourceType
	of    *property
	cells row
}

func (r *resource) table(sectionName, name string) []tableRow {
	p := r.kind.property(sectionName, name)
	rows := key[[]row](r, sectionName, name)
	out := make([]tableRow, len(rows))
	for i, cells := range rows {
		out[i] = tableRow{r.kind, p, cells}
	}
	return out
}

func (t tableRow) cell(column string) any {
	t.kind.note(t.of.section, "/", t.of.name, ".", column)
	return t.cells[t.of.column(column)]
}

func (t tableRow) text(column string) string {
	s, _ := t.cell(column).(string)
	return s
}

func (t tableRow) list(column string) []string {
	l, _ := t.cell(column).([]string)
	return l
}

func (t tableRow) number(column string) int {
	n, _ := t.cell(column).(int64)
	return int(n)
}
