package vtm

import (
	"slices"
	"strings"
)

// Type is a kind of resource on the traffic manager, named by its path under
// config/active (rest-8.3.schema.json).
type Type string

// The types that the controller creates: those that can bear an ownership mark.
const (
	ServerKeys      Type = "ssl/server_keys"
	Monitors        Type = "monitors"
	Persistence     Type = "persistence"
	Pools           Type = "pools"
	Rules           Type = "rules"
	TrafficIPGroups Type = "traffic_ip_groups"
	VirtualServers  Type = "virtual_servers"
)

// Types are all that the controller creates, in the order in which what is
// referred to comes before what refers to it.
var Types = [...]Type{ServerKeys, Monitors, Persistence, Pools, Rules, TrafficIPGroups, VirtualServers}

// IsFile reports whether resources of the type are files: raw content instead of
// properties.
func (t Type) IsFile() bool { return t == Rules }

// ID names one resource of a traffic manager cluster.
type ID struct {
	Type Type
	Name string // as on the traffic manager, unescaped
}

func (id ID) String() string { return string(id.Type) + "/" + id.Name }

// Properties holds a resource's settings: section -> key -> value. Values are of
// the types bool, int64, float64, string, []any (lists, and tables with rows of
// type map[string]any), as Normalize makes them, so that two that mean the same
// are equal under reflect.DeepEqual.
type Properties map[string]map[string]any

// Setting is a key of a resource and what it holds, as in Properties.
type Setting struct {
	Section, Key string
	Value        any
}

func compareSettings(a, b Setting) int {
	if c := strings.Compare(a.Section, b.Section); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}

// Resource is one resource as it is or should be. It is immutable once made.
type Resource struct {
	ID
	// settings of a JSON resource, sorted, each key once; of one that is desired only the
	// keys that matter, others are the traffic manager's defaults. Empty for a file.
	// A controller remembers tens of thousands of resources with a few keys each, of which
	// maps would take three times the memory.
	settings []Setting
	// Content of a file resource (rules). Nil for a JSON resource.
	Content []byte
}

// Of makes a JSON resource of settings whose values are in normal form, each key once.
// They are the resource's from then on.
func Of(id ID, settings []Setting) *Resource {
	slices.SortFunc(settings, compareSettings)
	return &Resource{ID: id, settings: settings}
}

// Settings are those of a JSON resource, sorted; none of a file. They may not be modified.
func (r *Resource) Settings() []Setting { return r.settings }

// Get is what a key holds that r names; nil if it doesn't name it.
func (r *Resource) Get(section, key string) any {
	at, ok := slices.BinarySearchFunc(r.settings, Setting{Section: section, Key: key}, compareSettings)
	if !ok {
		return nil
	}
	return r.settings[at].Value
}

// EachKey calls visit with each key that a or b names, sorted, and with what each holds;
// nil where it doesn't name it.
func EachKey(a, b *Resource, visit func(section, key string, a, b any)) {
	for as, bs := a.settings, b.settings; len(as) > 0 || len(bs) > 0; {
		order := len(bs) - len(as)
		if len(as) > 0 && len(bs) > 0 {
			order = compareSettings(as[0], bs[0])
		}
		switch {
		case order < 0:
			visit(as[0].Section, as[0].Key, as[0].Value, nil)
			as = as[1:]
		case order > 0:
			visit(bs[0].Section, bs[0].Key, nil, bs[0].Value)
			bs = bs[1:]
		default:
			visit(as[0].Section, as[0].Key, as[0].Value, bs[0].Value)
			as, bs = as[1:], bs[1:]
		}
	}
}

// Properties makes those of a JSON resource; nil for a file. The values may not be
// modified.
func (r *Resource) Properties() Properties {
	if r.Type.IsFile() {
		return nil
	}
	p := Properties{}
	for _, s := range r.settings {
		if p[s.Section] == nil {
			p[s.Section] = map[string]any{}
		}
		p[s.Section][s.Key] = s.Value
	}
	return p
}

// Value is what a key holds: as Properties say, else as it is when nobody set it;
// nil if that is not known. The result may not be modified.
func (r *Resource) Value(section, key string) any {
	if value := r.Get(section, key); value != nil {
		return value
	}
	if k := keySchemaOf(r.Type, section, key); k != nil && !k.Required {
		return k.Default
	}
	return nil
}
