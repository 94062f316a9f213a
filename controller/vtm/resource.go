package vtm

import "reflect"

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

// Resource is one resource as it is or should be. It is immutable once made.
type Resource struct {
	ID
	// Properties of a JSON resource; of one that is desired only the keys that
	// matter, others are the traffic manager's defaults. Nil for a file.
	Properties Properties
	// Content of a file resource (rules). Nil for a JSON resource.
	Content []byte
}

// Value is what a key holds: as Properties say, else as it is when nobody set it;
// nil if that is not known. The result may not be modified.
func (r *Resource) Value(section, key string) any {
	if value, ok := r.Properties[section][key]; ok {
		return value
	}
	if k := schema()[r.Type][section][key]; k != nil && !k.Required {
		return k.Default
	}
	return nil
}

// Slim returns r without the keys that hold what they would hold if nobody had set
// them: of what is read, that is nearly all, and Value knows it. What a controller
// of thousands of Ingresses remembers takes a tenth of the memory that way.
func (r *Resource) Slim() *Resource {
	if r.Type.IsFile() {
		return r
	}
	slim := Properties{}
	all, kept := 0, 0
	for section, keys := range r.Properties {
		for key, value := range keys {
			all++
			if k := schema()[r.Type][section][key]; k != nil && !k.Required && reflect.DeepEqual(value, k.Default) {
				continue
			}
			if slim[section] == nil {
				slim[section] = make(map[string]any)
			}
			slim[section][key] = value
			kept++
		}
	}
	if all == kept {
		return r
	}
	return &Resource{ID: r.ID, Properties: slim}
}
