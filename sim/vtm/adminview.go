package vtm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm/admin"
)

// adminView is what the admin pages see of a traffic manager: admin.View.
type adminView struct {
	t     *TrafficManager
	types []admin.Type
	keys  map[*property]*admin.Key
}

// confidentialKeys are those whose values no page shows. Private keys are marked
// in the schema.
var confidentialKeys = regexp.MustCompile(`^(cred[123]|key|community|authentication|user_pin|driver_pkcs11_user_pin)$|(password|secret|secret_a|secret_b|secret_access_key|auth_hec_token)$`)

// confidentialFiles are the types whose files hold secrets.
var confidentialFiles = []string{"kerberos/keytabs", "license_keys"}

func (p *property) confidential() bool {
	return p.secret || p.kind == stringKind && confidentialKeys.MatchString(p.name)
}

func newAdminView(t *TrafficManager) *adminView {
	v := &adminView{t: t, keys: make(map[*property]*admin.Key)}
	for _, path := range slices.Sorted(maps.Keys(t.schema.types)) {
		kind := t.schema.types[path]
		shape := admin.Type{Path: path, About: kind.about, Kind: map[resourceClass]admin.Kind{collection: admin.Collection, singleton: admin.Singleton, files: admin.Files}[kind.class]}
		var properties []*property
		for _, sec := range kind.sections {
			for _, p := range sec.properties {
				shape.Keys = append(shape.Keys, adminKey(p))
				properties = append(properties, p)
			}
		}
		for i, p := range properties {
			v.keys[p] = &shape.Keys[i]
		}
		v.types = append(v.types, shape)
	}
	return v
}

// adminKey describes a key or a column in words.
func adminKey(p *property) admin.Key {
	k := admin.Key{Section: p.section, Name: p.name, About: p.about, Type: p.kind.String(), Enum: p.enum, Required: p.required, Expert: p.expert}
	switch {
	case p.min != nil && p.max != nil:
		k.Range = fmt.Sprintf("%d to %d", *p.min, *p.max)
	case p.min != nil:
		k.Range = fmt.Sprintf("%d or more", *p.min)
	case p.max != nil:
		k.Range = fmt.Sprintf("%d or less", *p.max)
	}
	if p.fallback != nil {
		k.Default, _ = shownValue(p.fallback)
	}
	for _, c := range p.columns {
		k.Columns = append(k.Columns, adminKey(c))
	}
	return k
}

// shownValue is a value that is no table, as text: a list has a line for each.
func shownValue(v any) (text string, list []string) {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case string:
		return v, nil
	case []string:
		return strings.Join(v, "\n"), v
	}
	return "", nil
}

func (v *adminView) Name() string                { return v.t.o.Name }
func (v *adminView) Admits(from netip.Addr) bool { return v.t.admits(from) }
func (v *adminView) Types() []admin.Type         { return v.types }
func (v *adminView) State() dataplane.State      { return v.t.data.State() }

func (v *adminView) LogIn(ctx context.Context, user, password string, from netip.Addr) bool {
	return v.t.logIn(ctx, user, password, from)
}

func (v *adminView) Access(user, subject string) admin.Access {
	page := pages[subject]
	if subject == admin.AccessLog {
		page = "Event_Log"
	}
	return map[access]admin.Access{accessNone: admin.None, accessRead: admin.ReadOnly, accessFull: admin.Full}[v.t.access(user, page)]
}

// SessionTimeout is that of the user's group. Public descriptions give its unit as
// seconds; with a default of 30 nobody could work, so it is taken for minutes.
func (v *adminView) SessionTimeout(user string) time.Duration {
	name, set := v.t.o.Groups[user]
	if !set {
		name = "Admin"
	}
	kind := v.t.schema.types["user_groups"]
	group := v.t.store.get(kind, name)
	if group == nil {
		group = &resource{kind: kind} // all defaults
	}
	return 60 * group.seconds("basic", "timeout")
}

func (v *adminView) Names(path string) []string {
	kind := v.t.schema.types[path]
	if kind == nil || kind.class == singleton {
		return nil
	}
	return v.t.store.names(kind)
}

func (v *adminView) Resource(path, name string) *admin.Resource {
	kind := v.t.schema.types[path]
	if kind == nil {
		return nil
	}
	r := v.t.store.get(kind, name)
	if r == nil {
		return nil
	}
	shown := &admin.Resource{Path: path, Name: name, BuiltIn: r.builtin, Size: len(r.content)}
	if kind.class == files {
		if shown.Secret = slices.Contains(confidentialFiles, path); !shown.Secret {
			shown.Content = r.content
		}
		return shown
	}
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			_, set := r.values[p]
			value := admin.Value{Key: v.keys[p], Set: set}
			rows, isTable := r.value(p).([]row)
			switch {
			case p.confidential():
				value.Secret = r.value(p) != ""
			case isTable:
				value.Rows = shownRows(p, rows)
			default:
				value.Text, value.List = shownValue(r.value(p))
				if value.List != nil {
					value.Text = ""
				}
			}
			shown.Values = append(shown.Values, value)
		}
	}
	return shown
}

func shownRows(p *property, rows []row) [][]string {
	all := make([][]string, len(rows))
	for i, cells := range rows {
		all[i] = make([]string, len(cells))
		for c, cell := range cells {
			if p.columns[c].confidential() {
				all[i][c] = "not shown"
				continue
			}
			all[i][c], _ = shownValue(cell)
		}
	}
	return all
}

// askable are the traffic managers of the cluster whose state this one can ask for
// now, itself included.
func (v *adminView) askable() []*TrafficManager {
	if v.t.cluster == nil {
		return []*TrafficManager{v.t}
	}
	var list []*TrafficManager
	for _, name := range v.t.cluster.Names() {
		switch other := v.t.cluster.running(name); {
		case name == v.t.o.Name:
			list = append(list, v.t)
		case other != nil && v.t.cluster.reach(v.t.o.Name, name):
			list = append(list, other)
		}
	}
	return list
}

func (v *adminView) Members() []admin.Member {
	self := admin.Member{Name: v.t.o.Name, Address: v.t.o.Address, State: "working", Self: true}
	if v.t.cluster == nil {
		for _, ip := range v.t.data.State().TrafficIPs {
			if ip.Raised && !slices.Contains(self.Raised, ip.IP) {
				self.Raised = append(self.Raised, ip.IP)
			}
		}
		return []admin.Member{self}
	}
	states := v.t.health.seen()
	asked := make(map[string]*TrafficManager)
	for _, tm := range v.askable() {
		asked[tm.o.Name] = tm
	}
	var list []admin.Member
	for _, name := range v.t.cluster.Names() {
		m := admin.Member{Name: name, Self: name == v.t.o.Name, State: states[name].String()}
		if member := v.t.cluster.member(name); member != nil {
			m.Address = member.o.Address
		}
		if tm := asked[name]; tm != nil {
			m.Raised = tm.health.allRaised()
		}
		list = append(list, m)
	}
	return list
}

// seen are the states of all machines as this one sees them now.
func (h *health) seen() map[string]machineState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states()
}

func (s machineState) String() string {
	return [...]string{failed: "failed", pending: "pending", working: "working"}[s]
}

// Problems are those of status/state of each traffic manager; one that several
// have is told once.
func (v *adminView) Problems() []admin.Problem {
	var all []admin.Problem
	add := func(member string, serious bool, text string) {
		for i, p := range all {
			if p.Text == text {
				all[i].Member += ", " + member
				all[i].Serious = p.Serious || serious
				return
			}
		}
		all = append(all, admin.Problem{Member: member, Serious: serious, Text: text})
	}
	for _, tm := range v.askable() {
		state := tm.state()
		for _, key := range []string{"tip_errors", "errors"} {
			texts, _ := state[key].([]string)
			for _, text := range texts {
				add(tm.o.Name, true, text)
			}
		}
		for _, n := range tm.data.State().FailedNodes {
			add(tm.o.Name, false, fmt.Sprintf("Node %s has failed in %s", n.Node, strings.Join(n.Pools, ", ")))
		}
	}
	return all
}

func (v *adminView) Events(after admin.Cursor) ([]admin.Line, admin.Cursor) {
	next := maps.Clone(after)
	if next == nil {
		next = make(admin.Cursor)
	}
	var lines []admin.Line
	for _, tm := range v.askable() {
		name := tm.o.Name
		tm.record.mu.Lock()
		events, total := tm.record.events.list(), tm.record.events.total
		tm.record.mu.Unlock()
		if known, ok := after[name]; ok {
			fresh := total - min(known, total)
			events = events[len(events)-int(min(fresh, uint64(len(events)))):]
		}
		next[name] = total
		for _, e := range events {
			lines = append(lines, admin.Line{Time: e.Time, Member: name, Event: e.Event})
		}
	}
	slices.SortStableFunc(lines, func(a, b admin.Line) int { return a.Time.Compare(b.Time) })
	return lines, next
}

// EditLists goes the way of a PUT over REST.
func (v *adminView) EditLists(ctx context.Context, user, name string, edit func([]admin.List) ([]admin.List, error)) error {
	kind := v.t.schema.types["custom"]
	p := kind.property("basic", "string_lists")
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "/api/tm/8.3/config/active/custom/"+name, nil)
	if err != nil {
		return err
	}
	var refused error
	failed := v.t.change(&request{Request: r, of: v.t, user: user}, func() (*resource, *resource, *apiError) {
		old := v.t.store.get(kind, name)
		var lists []admin.List
		if old != nil {
			for _, row := range old.table("basic", "string_lists") {
				lists = append(lists, admin.List{Name: row.text("name"), Values: row.list("value")})
			}
		}
		if lists, refused = edit(lists); refused != nil {
			return nil, nil, &apiError{ID: "edit.refused", Text: refused.Error()}
		}
		next := &resource{kind: kind, name: name, values: make(map[*property]any)}
		if old != nil {
			next.builtin = old.builtin
			maps.Copy(next.values, old.values)
		}
		rows := make([]row, len(lists))
		for i, l := range lists {
			rows[i] = make(row, len(p.columns))
			rows[i][p.column("name")], rows[i][p.column("value")] = l.Name, l.Values
		}
		next.values[p] = rows
		return old, next, nil
	})
	switch {
	case refused != nil:
		return refused
	case failed != nil:
		return errors.New(failed.Text)
	}
	return nil
}

func (v *adminView) Reactivate(user string) {
	if v.t.cluster == nil {
		return
	}
	v.t.Reactivate()
	v.t.logEvent(dataplane.Event{Level: "INFO", Section: "faulttolerance", Tag: "activated", Text: "This machine was activated by " + clip(strconv.QuoteToASCII(user))})
}
