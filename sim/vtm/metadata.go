package vtm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// metadata is what ?metadata adds to an answer: what there can be at that place
// (vtm/rest.md §1). Nothing public shows the real one's form: ours mirrors that of
// the answer, properties, sections, keys and columns, each with its description
// and type, and what else the schema knows.
type metadata struct {
	Description string `json:"description"`
	// Properties of a resource, by section and key; Members of a status resource.
	Properties map[string]map[string]keyMetadata `json:"properties,omitempty"`
	Members    map[string]keyMetadata            `json:"members,omitempty"`
}

// keyMetadata describes a key, a column of a table, or a member of a status
// resource. Types are bool, int, float, string, list, set and table.
type keyMetadata struct {
	Description string                 `json:"description"`
	Type        string                 `json:"type"`
	Default     json.RawMessage        `json:"default,omitempty"`
	Enum        []string               `json:"enum,omitempty"`
	Min         *int64                 `json:"min,omitempty"`
	Max         *int64                 `json:"max,omitempty"`
	Required    bool                   `json:"required,omitempty"`
	Expert      bool                   `json:"expert,omitempty"`
	PrimaryKey  string                 `json:"primary_key,omitempty"`
	Columns     map[string]keyMetadata `json:"columns,omitempty"`
}

// with adds metadata to an answer that is a JSON object.
func (m *metadata) with(a answer) answer {
	b, err := json.Marshal(m)
	if err != nil || a.raw || len(a.body) == 0 {
		return a
	}
	a.body = append(a.body[:len(a.body)-1:len(a.body)-1], `,"metadata":`...)
	a.body = append(append(a.body, b...), '}')
	return a
}

// metadata describes a resource type. Hidden keys are described if they are shown.
func (t *resourceType) metadata(expert shown) *metadata {
	words := map[resourceClass]string{
		collection: "Resources of the type %s, each with a name", singleton: "The resource %s, of which there is one", files: "Files of the type %s, each with a name",
	}
	m := &metadata{Description: t.about + " " + fmt.Sprintf(words[t.class], t.path)}
	for _, sec := range t.sections {
		for _, p := range sec.properties {
			if !expert.visible(p) {
				continue
			}
			if m.Properties == nil {
				m.Properties = make(map[string]map[string]keyMetadata)
			}
			if m.Properties[sec.name] == nil {
				m.Properties[sec.name] = make(map[string]keyMetadata)
			}
			m.Properties[sec.name][p.name] = p.metadata()
		}
	}
	return m
}

func (p *property) metadata() keyMetadata {
	m := keyMetadata{
		Type: [...]string{"bool", "int", "float", "string", "list", "set", "table"}[p.kind],
		Enum: p.enum, Min: p.min, Max: p.max, Required: p.required, Expert: p.expert,
	}
	says := []string{strings.ToUpper(p.kind.String()[:1]) + p.kind.String()[1:]}
	switch {
	case p.min != nil && p.max != nil:
		says = append(says, fmt.Sprintf("from %d to %d", *p.min, *p.max))
	case p.min != nil:
		says = append(says, fmt.Sprintf("of %d or more", *p.min))
	case p.max != nil:
		says = append(says, fmt.Sprintf("of %d or less", *p.max))
	}
	if len(p.enum) > 0 {
		says = append(says, "one of "+strings.Join(p.enum, ", "))
	}
	if p.references != nil {
		says = append(says, "naming "+strings.Join(p.references.types, " or "))
	}
	if p.required {
		says = append(says, "required")
	} else if p.fallback != nil {
		m.Default = p.appendJSON(nil, p.fallback)
	}
	if p.secret {
		says, m.Default = append(says, "shown as a hash"), nil
	}
	m.Description = strings.TrimSpace(p.about + " " + strings.Join(says, "; "))
	if p.kind == tableKind {
		m.PrimaryKey = p.columns[p.primary].name
		m.Columns = make(map[string]keyMetadata, len(p.columns))
		for _, c := range p.columns {
			m.Columns[c.name] = c.metadata()
		}
	}
	return m
}

// statusMetadata describes a status resource by the members that the schema gives
// it.
func (s *schema) statusMetadata(path string) *metadata {
	m := &metadata{Description: "The status resource " + path + ", which cannot be changed", Members: make(map[string]keyMetadata)}
	for name, zero := range s.status[path] {
		k := keyMetadata{Description: "An array", Type: "list"}
		switch zero.(type) {
		case int:
			k = keyMetadata{Description: "An integer", Type: "int"}
		case string:
			k = keyMetadata{Description: "A string", Type: "string"}
		}
		m.Members[name] = k
	}
	return m
}
