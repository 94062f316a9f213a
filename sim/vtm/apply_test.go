package vtm

import (
	"reflect"
	"testing"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/dataplane"
)

// TestEverySettingReachesTheDataPlane gives each key a value that is not its
// default and wants to see a change in each field of the typed configuration.
func TestEverySettingReachesTheDataPlane(t *testing.T) {
	s, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	for path, section := range map[string]func(dataplane.Update) any{
		"global_settings":   func(u dataplane.Update) any { return u.Global },
		"traffic_ip_groups": func(u dataplane.Update) any { return u.TrafficIPGroups["x"] },
		"virtual_servers":   func(u dataplane.Update) any { return u.VirtualServers["x"] },
		"pools":             func(u dataplane.Update) any { return u.Pools["x"] },
		"monitors":          func(u dataplane.Update) any { return u.Monitors["x"] },
		"ssl/server_keys":   func(u dataplane.Update) any { return u.ServerKeys["x"] },
		"ssl/client_keys":   func(u dataplane.Update) any { return u.ClientKeys["x"] },
		"persistence":       func(u dataplane.Update) any { return u.Persistence["x"] },
		"protection":        func(u dataplane.Update) any { return u.Protection["x"] },
		"bandwidth":         func(u dataplane.Update) any { return u.BandwidthClasses["x"] },
		"ssl/ticket_keys":   func(u dataplane.Update) any { return u.TicketKeys["x"] },
		"rate":              func(u dataplane.Update) any { return u.Rates["x"] },
		"locations":         func(u dataplane.Update) any { return u.Locations["x"] },
		"traffic_managers":  func(u dataplane.Update) any { return u.TrafficManagers["x"] },

		"service_level_monitors": func(u dataplane.Update) any { return u.ServiceLevels["x"] },
		"rule_authenticators":    func(u dataplane.Update) any { return u.Authenticators["x"] },
	} {
		kind := s.types[path]
		plain := &resource{kind: kind, name: "x"}
		other := &resource{kind: kind, name: "x", values: make(map[*property]any)}
		for _, sec := range kind.sections {
			for _, p := range sec.properties {
				other.values[p] = p.different()
			}
		}
		typed := func(r *resource) reflect.Value {
			var u dataplane.Update
			if !put(&u, path, "x", r) {
				t.Fatalf("%s does not reach the data plane", path)
			}
			return reflect.ValueOf(section(u)).Elem()
		}
		a, b := typed(plain), typed(other)
		unreached(t, path, a, b)
		// Rows as well: a field of a row that nothing fills stays zero.
		for i := range b.NumField() {
			f := b.Field(i)
			if f.Kind() != reflect.Slice || f.Type().Elem().Kind() != reflect.Struct {
				continue
			}
			row := f.Index(0)
			for j := range row.NumField() {
				if row.Field(j).IsZero() {
					t.Errorf("%s: no column reaches %s.%s", path, a.Type().Field(i).Name, row.Type().Field(j).Name)
				}
			}
		}
	}
}

// unreached reports the fields that are the same in both, those of nested
// sections too.
func unreached(t *testing.T, path string, a, b reflect.Value) {
	t.Helper()
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.Name == "Raise" {
			continue // what the cluster decides, not a key
		}
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == a.Type().PkgPath() {
			unreached(t, path+" "+f.Name, a.Field(i), b.Field(i))
		} else if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			t.Errorf("%s: no key reaches %s", path, f.Name)
		}
	}
}

// different is a value of the key that is not its default.
func (p *property) different() any {
	switch p.kind {
	case boolKind:
		return p.fallback != true
	case intKind:
		n, _ := p.fallback.(int64)
		return n + 1
	case floatKind:
		return 1.5
	case stringKind:
		for _, e := range p.enum {
			if e != p.fallback && e != "active" {
				return e
			}
		}
		return "different"
	case tableKind:
		cells := make(row, len(p.columns))
		for i, c := range p.columns {
			cells[i] = c.different()
		}
		return []row{cells}
	}
	return []string{"different"}
}

// TestTheIndexOfReferencesNamesKeysOfTheSchema: a mistyped row would never bite.
func TestTheIndexOfReferencesNamesKeysOfTheSchema(t *testing.T) {
	s, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	for path, keys := range references {
		for key, ref := range keys {
			for _, to := range ref.types {
				if s.types[to] == nil {
					t.Errorf("%s %s refers to %s, which is no type", path, key, to)
				}
			}
		}
	}
}
