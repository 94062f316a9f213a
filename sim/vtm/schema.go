package vtm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vtm-ingress/internal/facts"
)

// schema holds all resource types of the REST API, immutable once parsed.
type schema struct {
	types map[string]*resourceType // by path, such as "ssl/server_keys"
	root  *folder                  // what config/active holds

	// status holds, by path below status/NAME, the members of a status resource
	// with their zero values.
	status map[string]map[string]any
}

// folder is a node of the tree under config/active: either it holds folders, or
// it is where a resource type lives.
type folder struct {
	kind     *resourceType // nil: a plain folder
	children map[string]*folder
	names    []string // of children, sorted
}

type resourceClass int

const (
	collection resourceClass = iota // named JSON resources
	singleton                       // one JSON resource without a name
	files                           // named raw files
)

// resourceType is a row of the schema: one path under config/active.
type resourceType struct {
	path     string
	about    string // what it is for
	class    resourceClass
	sections []*section // sorted by name, never empty but for files

	// reads, where a test sets it, gathers what takes effect: see note.
	reads *reads
}

type section struct {
	name       string
	label      string      // `"name":{`, as it begins in JSON
	properties []*property // sorted by name
}

// property is one key of a section, or one column of a table.
type property struct {
	section string // "" for a column
	name    string
	label   string // `"name":`, as it begins in JSON
	kind    valueKind

	about    string // what it is for; "" if nobody has said
	fallback any    // value when none is set; of the form that value.go describes
	enum     []string
	min, max *int64
	required bool // must be given on creation, or in each row
	expert   bool // hidden unless asked for by expert_keys
	secret   bool // GET shows a hash: vtm/rest.md §6

	columns []*property // of a table, sorted by name
	primary int         // index of the column that names a row

	check      func(string) error // for strings, and each string of a list or set; nil: any
	references *reference         // what the value names; nil: nothing
}

// property returns a key of the type, or nil.
func (t *resourceType) property(sectionName, name string) *property {
	s := t.section(sectionName)
	if s == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(s.properties, name, func(p *property, name string) int { return strings.Compare(p.name, name) })
	if !found {
		return nil
	}
	return s.properties[i]
}

func (t *resourceType) section(name string) *section {
	i, found := slices.BinarySearchFunc(t.sections, name, func(s *section, name string) int { return strings.Compare(s.name, name) })
	if !found {
		return nil
	}
	return t.sections[i]
}

func (p *property) column(name string) int {
	return slices.IndexFunc(p.columns, func(c *property) bool { return c.name == name })
}

// rawKey is a key or column as rest-8.3.schema.json writes it.
type rawKey struct {
	Type     string            `json:"type"`
	Items    string            `json:"items"`
	Default  json.RawMessage   `json:"default"`
	Enum     []string          `json:"enum"`
	Min      *int64            `json:"min"`
	Max      *int64            `json:"max"`
	Required bool              `json:"required"`
	Expert   bool              `json:"expert"`
	Columns  map[string]rawKey `json:"columns"`
}

// parseSchema reads rest-8.3.schema.json, and adds what is known better than it
// says: see amend.
func parseSchema(data []byte) (*schema, error) {
	var raw struct {
		Config map[string]struct {
			Kind     string                       `json:"kind"`
			Sections map[string]map[string]rawKey `json:"sections"`
		} `json:"config"`
		Status map[string]struct {
			Fields map[string]any `json:"fields"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("the REST schema is not readable: %w", err)
	}
	s := &schema{types: make(map[string]*resourceType, len(raw.Config)), root: &folder{}, status: make(map[string]map[string]any, len(raw.Status))}
	for path, row := range raw.Status {
		for name, shape := range row.Fields {
			switch shape {
			case "int":
				row.Fields[name] = 0
			case "string":
				row.Fields[name] = ""
			default:
				row.Fields[name] = []any{}
			}
		}
		s.status[path] = row.Fields
	}
	for _, path := range slices.Sorted(maps.Keys(raw.Config)) {
		row := raw.Config[path]
		t := &resourceType{path: path}
		switch row.Kind {
		case "collection":
			t.class = collection
		case "singleton":
			t.class = singleton
		case "files":
			t.class = files
		default:
			return nil, fmt.Errorf("the REST schema gives %s the unknown kind %q", path, row.Kind)
		}
		for _, name := range slices.Sorted(maps.Keys(row.Sections)) {
			sec := &section{name: name, label: strconv.Quote(name) + ":{"}
			for _, key := range slices.Sorted(maps.Keys(row.Sections[name])) {
				p, err := newProperty(name, key, row.Sections[name][key])
				if err != nil {
					return nil, fmt.Errorf("the REST schema, %s: %w", path, err)
				}
				sec.properties = append(sec.properties, p)
			}
			t.sections = append(t.sections, sec)
		}
		s.types[path] = t
		s.root.add(strings.Split(path, "/"), t)
	}
	if err := s.amend(); err != nil {
		return nil, err
	}
	return s, s.describe(facts.Descriptions)
}

// describe reads facts.Descriptions: what each type, and "type section/key", is for.
func (s *schema) describe(descriptions []byte) error {
	for line := range strings.Lines(string(descriptions)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		what, about, _ := strings.Cut(line, "\t")
		path, key, isKey := strings.Cut(what, " ")
		t := s.types[path]
		if t == nil || about == "" {
			return fmt.Errorf("the descriptions of the REST schema: not a type or a key, a tab and words: %q", line)
		}
		into := &t.about
		if isKey {
			sectionName, name, _ := strings.Cut(key, "/")
			p := t.property(sectionName, name)
			if p == nil {
				return fmt.Errorf("the descriptions of the REST schema: %s has no key %s", path, key)
			}
			into = &p.about
		}
		if *into != "" {
			return fmt.Errorf("the descriptions of the REST schema: %s is there twice", what)
		}
		*into = about
	}
	return nil
}

func (f *folder) add(path []string, t *resourceType) {
	if len(path) == 0 {
		f.kind = t
		return
	}
	if f.children == nil {
		f.children = make(map[string]*folder)
	}
	child := f.children[path[0]]
	if child == nil {
		child = &folder{}
		f.children[path[0]] = child
		f.names = slices.Sorted(maps.Keys(f.children))
	}
	child.add(path[1:], t)
}

func newProperty(sectionName, name string, raw rawKey) (*property, error) {
	p := &property{
		section: sectionName, name: name, label: strconv.Quote(name) + ":",
		enum: raw.Enum, min: raw.Min, max: raw.Max,
		required: raw.Required, expert: raw.Expert,
	}
	switch raw.Type {
	case "bool":
		p.kind, p.fallback = boolKind, false
	case "int":
		p.kind, p.fallback = intKind, int64(0)
	case "float":
		p.kind, p.fallback = floatKind, float64(0)
	case "string":
		p.kind, p.fallback = stringKind, ""
	case "list":
		p.kind, p.fallback = listKind, []string{}
	case "set":
		p.kind, p.fallback = setKind, []string{}
	case "table":
		p.kind, p.fallback = tableKind, []row{}
		for _, column := range slices.Sorted(maps.Keys(raw.Columns)) {
			c, err := newProperty("", column, raw.Columns[column])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if len(raw.Columns[column].Default) == 0 {
				c.fallback = nil // a column without default is left out of answers
			}
			p.columns = append(p.columns, c)
		}
		p.primary = slices.IndexFunc(p.columns, func(c *property) bool { return c.name == primaryColumn(name) })
		if p.primary < 0 {
			return nil, fmt.Errorf("table %s has no column that names its rows", name)
		}
	default:
		return nil, fmt.Errorf("key %s has the unknown type %q", name, raw.Type)
	}
	if (p.kind == listKind || p.kind == setKind) && raw.Items != "string" {
		return nil, fmt.Errorf("key %s has items of the unknown type %q", name, raw.Items)
	}
	if len(raw.Default) > 0 {
		value, err := decodeJSON(raw.Default)
		if err != nil {
			return nil, fmt.Errorf("default of %s: %w", name, err)
		}
		if p.fallback, err = p.fromJSON(value); err != nil {
			return nil, fmt.Errorf("default of %s: %w", name, err)
		}
	}
	return p, nil
}

// primaryColumn names the column that identifies a row of a table: a row's
// errors are reported under its value, and no two rows share one.
func primaryColumn(table string) string {
	switch table {
	case "nodes_table":
		return "node"
	case "server_cert_host_mapping", "ca_sites":
		return "host"
	case "ocsp_issuers":
		return "issuer"
	case "ip_mapping":
		return "ip"
	case "many_to_one_all_ports", "many_to_one_port_locked", "one_to_one", "port_mapping":
		return "rule_number"
	case "dnssec_keys":
		return "domain"
	case "location_settings":
		return "location"
	case "appliance_sysctl":
		return "sysctl"
	case "appliance_returnpath":
		return "mac"
	case "proxy_map":
		return "absolute_path"
	default:
		return "name"
	}
}

// amend adds to the schema what it does not hold: which keys are secret, the
// form of addresses, what names other resources, and where the server is known
// to want less than the schema's source says (vtm/rest.md §6, §7).
func (s *schema) amend() error {
	var err error
	edit := func(path, sectionName, name string, change func(*property)) {
		p := s.find(path, sectionName, name)
		if p == nil {
			err = fmt.Errorf("the REST schema lacks %s %s/%s", path, sectionName, name)
			return
		}
		change(p)
	}
	for _, keys := range []string{"ssl/server_keys", "ssl/client_keys"} {
		edit(keys, "basic", "private", func(p *property) { p.secret = true })
		for _, name := range []string{"note", "request"} {
			edit(keys, "basic", name, func(p *property) { p.required = false })
		}
	}
	edit("virtual_servers", "gzip", "include_mime", func(p *property) { p.fallback = []string{"text/html", "text/plain"} })
	edit("traffic_ip_groups", "basic", "ipaddresses", func(p *property) { p.check = checkIP })
	edit("traffic_ip_groups", "basic", "ip_mapping.ip", func(p *property) { p.check = checkIP })
	edit("pools", "basic", "nodes_table.node", func(p *property) { p.check = checkNode })
	edit("pools", "basic", "nodes_table.source_ip", func(p *property) { p.check = checkIPOrEmpty })
	for path, keys := range references {
		for key, ref := range keys {
			sectionName, name, _ := strings.Cut(key, "/")
			edit(path, sectionName, name, func(p *property) { p.references = &ref })
		}
	}
	return err
}

// find returns a key, or with "table.column" a column of it; nil if there is none.
func (s *schema) find(path, sectionName, name string) *property {
	t := s.types[path]
	if t == nil {
		return nil
	}
	name, column, isColumn := strings.Cut(name, ".")
	p := t.property(sectionName, name)
	if p == nil || !isColumn {
		return p
	}
	if i := p.column(column); i >= 0 {
		return p.columns[i]
	}
	return nil
}
