package vtm

import (
	"encoding/json"
	"fmt"
	"sync"

	"vtm-ingress/internal/facts"
)

// keySchema is what the REST schema says of one key, as far as comparing and
// checking need it.
type keySchema struct {
	Type     string                `json:"type"`  // bool, int, float, string, list, set, table
	Items    string                `json:"items"` // type of a list's or set's elements
	Enum     []string              `json:"enum"`
	Min      *float64              `json:"min"`
	Max      *float64              `json:"max"`
	Pattern  string                `json:"pattern"`
	NonEmpty bool                  `json:"non_empty"`
	Default  any                   `json:"default"`
	Required bool                  `json:"required"`
	ReadOnly bool                  `json:"read_only"`
	Expert   bool                  `json:"expert"`
	Columns  map[string]*keySchema `json:"columns"`

	section, name string // where it stands
	defaultText   []byte // Default as JSON
}

// keySchemaOf is what the REST schema says of a key, nil if it doesn't know it.
func keySchemaOf(t Type, section, key string) *keySchema {
	return schema()[t][section][key]
}

// schema gives type -> section for the types that the controller uses. What it says of
// keys is made once from embedded data and never changed after.
var schema = sync.OnceValue(func() map[Type]map[string]map[string]*keySchema {
	var document struct {
		Config map[Type]struct {
			Sections map[string]map[string]*keySchema `json:"sections"`
		} `json:"config"`
	}
	if err := json.Unmarshal(facts.RESTSchema, &document); err != nil {
		// Embedded data: only a broken build can get here.
		panic(fmt.Sprintf("REST schema: %v", err))
	}
	all := make(map[Type]map[string]map[string]*keySchema, len(Types))
	// The schema knows no default of this one; the traffic manager has one
	// (vtm/rest.md §7).
	document.Config[VirtualServers].Sections["gzip"]["include_mime"].Default = []any{"text/html", "text/plain"}
	for _, t := range Types {
		all[t] = make(map[string]map[string]*keySchema)
		for section, keys := range document.Config[t].Sections {
			all[t][section] = keys
			for name, key := range keys {
				key.section, key.name = section, name
				for _, column := range key.Columns {
					column.Default = column.defaultValue()
				}
				key.Default = key.defaultValue()
				key.defaultText, _ = json.Marshal(key.Default) // it came as JSON
			}
		}
	}
	return all
})

// defaultValue is the normal form of the key's default: the one that is given,
// else the zero value of its type.
func (k *keySchema) defaultValue() any {
	if k.Default != nil {
		return k.normalize(k.Default)
	}
	switch k.Type {
	case "bool":
		return false
	case "int":
		return int64(0)
	case "float":
		return float64(0)
	case "string":
		return ""
	default:
		return []any{}
	}
}

// primaryKey names the column by which a table's rows are told apart: each row's
// value is unique. (The schema's column names; vtm/README.md.)
func (k *keySchema) primaryKey() string {
	for _, name := range []string{"node", "host", "issuer", "ip"} {
		if _, ok := k.Columns[name]; ok {
			return name
		}
	}
	return "name"
}

// Default returns the value that a key has when nobody set it, in normal form,
// and whether a key that is not wanted may be set back to it: not where the
// schema doesn't know the key, hides it, forbids writing or has no default.
func Default(t Type, section, key string) (any, bool) {
	k := keySchemaOf(t, section, key)
	if k == nil || k.ReadOnly || k.Expert || k.Required {
		return nil, false
	}
	return k.Default, true
}
