package vtm

import "maps"

// shown says which hidden keys a request asked for: "section/key", by its query
// parameter expert_keys.
type shown map[string]bool

// everything shows all hidden keys; no query can ask for it.
var everything = shown{"*": true}

func (s shown) visible(p *property) bool {
	return !p.expert || s[p.section+"/"+p.name] || s["*"]
}

// merge makes the new resource out of the stored one (nil: it is created) and a
// PUT body. Keys that the body names are set, others stay; lists and tables are
// replaced as a whole (vtm/rest.md §2). All mistakes of a body are reported
// together, and then nothing of it is used.
func merge(t *resourceType, name string, old *resource, body []byte, expert shown) (*resource, *apiError) {
	decoded, err := decodeJSON(body)
	if err != nil {
		return nil, errParse(err)
	}
	main, ok := decoded.(map[string]any)
	if !ok {
		return nil, errParse(errNoObject)
	}
	for field := range main {
		if field != "properties" {
			return nil, errField(firstUnknown(main, "properties"))
		}
	}
	bad := make(problems)
	r := &resource{kind: t, name: name, values: make(map[*property]any)}
	if old != nil {
		r.builtin = old.builtin
		maps.Copy(r.values, old.values)
	}
	sections, ok := main["properties"].(map[string]any)
	if _, given := main["properties"]; given && !ok {
		bad.section("properties", "json.wrong_type", "The value has the wrong type. Expected an object of sections")
		return nil, bad.err()
	}
	for sectionName, v := range sections {
		sec := t.section(sectionName)
		if sec == nil {
			bad.section(sectionName, "json.unknown_section", "Section is unknown")
			continue
		}
		keys, ok := v.(map[string]any)
		if !ok {
			bad.section(sectionName, "json.wrong_type", "The value has the wrong type. Expected an object of keys")
			continue
		}
		for key, v := range keys {
			p := t.property(sectionName, key)
			if p == nil || !expert.visible(p) {
				bad.key(sectionName, key, unknownProperty())
				continue
			}
			value, err := p.fromJSON(v)
			if err != nil {
				bad.key(sectionName, key, err)
				continue
			}
			r.values[p] = value
		}
	}
	if old == nil {
		for _, sec := range t.sections {
			for _, p := range sec.properties {
				_, set := r.values[p]
				given, _ := sections[sec.name].(map[string]any)
				if _, wrong := given[p.name]; p.required && !set && !wrong {
					bad.key(sec.name, p.name, noDefault())
				}
			}
		}
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	return r, nil
}

type constError string

func (e constError) Error() string { return string(e) }

const errNoObject = constError("expected an object with the member 'properties'")

// firstUnknown names one field that is not known, always the same one.
func firstUnknown(main map[string]any, known string) string {
	first := ""
	for field := range main {
		if field != known && (first == "" || field < first) {
			first = field
		}
	}
	return first
}

// appendResource writes a JSON resource as GET and PUT answer it: every section
// with every key that is not hidden, defaults filled in.
func appendResource(b []byte, r *resource, expert shown) []byte {
	b = append(b, `{"properties":{`...)
	firstSection := true
	for _, sec := range r.kind.sections {
		open := false
		for _, p := range sec.properties {
			if !expert.visible(p) {
				continue
			}
			switch {
			case open:
				b = append(b, ',')
			case firstSection:
				b = append(b, sec.label...)
			default:
				b = append(append(b, ','), sec.label...)
			}
			open, firstSection = true, false
			b = p.appendJSON(append(b, p.label...), r.value(p))
		}
		if open {
			b = append(b, '}')
		}
	}
	return append(b, "}}"...)
}
