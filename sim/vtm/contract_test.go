package vtm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
)

// The contract is read from the schema by code of the test's own, so that a
// mistake in the emulator's reading is found.

type specKey struct {
	Type     string
	Default  any
	Enum     []string
	Min, Max *float64
	Required bool
	Expert   bool
	Columns  map[string]specKey
}

type specType struct {
	Path     string
	Kind     string
	Sections map[string]map[string]specKey
}

func spec(t testing.TB) map[string]specType {
	t.Helper()
	var s struct{ Config map[string]specType }
	if err := json.Unmarshal(facts.RESTSchema, &s); err != nil {
		t.Fatal(err)
	}
	for _, keys := range []string{"ssl/server_keys", "ssl/client_keys"} {
		for _, name := range []string{"note", "request"} { // the server wants less than the schema says
			k := s.Config[keys].Sections["basic"][name]
			k.Required = false
			s.Config[keys].Sections["basic"][name] = k
		}
	}
	mime := s.Config["virtual_servers"].Sections["gzip"]["include_mime"]
	mime.Default = []any{"text/html", "text/plain"}
	s.Config["virtual_servers"].Sections["gzip"]["include_mime"] = mime
	return s.Config
}

func (k specKey) fallback() any {
	if k.Default != nil {
		return k.Default
	}
	switch k.Type {
	case "bool":
		return false
	case "int", "float":
		return float64(0)
	case "string":
		return ""
	}
	return []any{}
}

// sample is a valid value that is not the default; name is the key's.
func (k specKey) sample(name string) any {
	switch name {
	case "http_max_header_length", "http_max_resource_body_length":
		return float64(1 << 20) // what is in effect while the test goes on
	}
	switch k.Type {
	case "bool":
		return k.Default != true
	case "int":
		v := float64(1)
		if k.Max != nil {
			v = *k.Max
		} else if k.Min != nil {
			v = *k.Min + 1
		}
		if v == k.fallback() {
			v--
		}
		return v
	case "float":
		return 1.5
	case "string":
		if len(k.Enum) > 0 {
			for _, e := range k.Enum {
				if e != k.Default {
					return e
				}
			}
			return k.Enum[0]
		}
		return text(name)
	case "list", "set":
		return []any{text(name)}
	}
	row := map[string]any{}
	for column, c := range k.Columns {
		row[column] = c.sample(column)
	}
	return []any{row}
}

// text is a string that suits a key of that name.
func text(name string) string {
	switch name {
	case "ipaddresses", "ip", "source_ip":
		return "192.0.2.1"
	case "node":
		return "192.0.2.1:80"
	case "access":
		return "127.0.0.0/8" // who is not on the list is let in no more
	}
	return "sample"
}

func (k specKey) wrongType() any {
	switch k.Type {
	case "string":
		return 5
	case "list", "set", "table":
		return map[string]any{}
	}
	return "5"
}

// each calls f for every key that is, or is not, hidden.
func (s specType) each(expert bool, f func(section, key string, k specKey)) {
	for section, keys := range s.Sections {
		for name, k := range keys {
			if k.Expert == expert {
				f(section, name, k)
			}
		}
	}
}

type properties map[string]map[string]any

func (p properties) set(section, key string, v any) {
	if p[section] == nil {
		p[section] = map[string]any{}
	}
	p[section][key] = v
}

func (p properties) body() string {
	b, _ := json.Marshal(map[string]any{"properties": p})
	return string(b)
}

func read(t *testing.T, r reply) properties {
	t.Helper()
	var v struct{ Properties properties }
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatal(err)
	}
	return v.Properties
}

// errorAt returns error_info's entry for a key.
func errorAt(t *testing.T, r reply, path ...string) map[string]any {
	t.Helper()
	at, _ := r.json(t)["error_info"].(map[string]any)
	for _, p := range path {
		at, _ = at[p].(map[string]any)
	}
	return at
}

func TestEveryResourceTypeKeepsItsContract(t *testing.T) {
	types := spec(t)
	if len(types) != 43 {
		t.Fatalf("the schema has %d types", len(types))
	}
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/pools/sample", `{}`) // NAT refers to it
	for _, path := range slices.Sorted(maps.Keys(types)) {
		s := types[path]
		t.Run(path, func(t *testing.T) {
			c := *c
			c.t = t
			switch s.Kind {
			case "files":
				fileContract(t, &c, "/config/active/"+path)
			case "singleton":
				jsonContract(t, &c, "/config/active/"+path, s)
			default:
				jsonContract(t, &c, "/config/active/"+path+"/a%20name:443", s)
			}
		})
	}
}

func fileContract(t *testing.T, c *client, folder string) {
	path := folder + "/" + "a%20name"
	content := []byte("TEST_TEXT\x00\xff\r\n")
	c.want(201, "PUT", path, content)
	if r := c.want(200, "GET", path, nil); string(r.body) != string(content) || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("read back %q as %s", r.body, r.header.Get("Content-Type"))
	}
	if r := c.want(204, "PUT", path, []byte{}); len(r.body) != 0 {
		t.Errorf("a replaced file answers %q", r.body)
	}
	if r := c.want(200, "GET", path, nil); len(r.body) != 0 {
		t.Errorf("an emptied file holds %q", r.body)
	}
	c.want(415, "PUT", path, `{"properties":{}}`)
	if r := c.want(200, "GET", folder, nil); !strings.Contains(string(r.body), `"name":"a name"`) {
		t.Errorf("the list lacks the file: %s", r.body)
	}
	c.want(204, "DELETE", path, nil)
	c.want(404, "GET", path, nil)
}

func jsonContract(t *testing.T, c *client, path string, s specType) {
	single := s.Kind == "singleton"
	created := http.StatusCreated
	if single {
		created = http.StatusOK
	} else {
		c.want(404, "GET", path, nil)
	}

	// Creation wants the required keys, and names each that is missing.
	minimal, missing := properties{}, 0
	s.each(false, func(section, key string, k specKey) {
		if k.Required {
			missing++
			minimal.set(section, key, k.sample(key))
		}
	})
	if missing > 0 {
		r := c.want(400, "PUT", path, `{"properties":{}}`)
		s.each(false, func(section, key string, k specKey) {
			if id := errorAt(t, r, section, key)["error_id"]; k.Required && id != "property.no_default" {
				t.Errorf("missing %s/%s is reported as %v", section, key, id)
			}
		})
		c.want(404, "GET", path, nil)
	}

	// A minimal resource has every key that is not hidden, with its default.
	made := c.want(created, "PUT", path, minimal.body())
	want := properties{}
	s.each(false, func(section, key string, k specKey) {
		want.set(section, key, k.fallback())
		if v, given := minimal[section][key]; given {
			want.set(section, key, stored(path, key, v))
		}
	})
	got := read(t, c.want(200, "GET", path, nil))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("minimal: %s", difference(got, want))
	}
	if !reflect.DeepEqual(read(t, made), want) {
		t.Error("the answer to PUT is not what GET shows")
	}

	// All keys set, all read back.
	full, want := properties{}, properties{}
	s.each(false, func(section, key string, k specKey) {
		full.set(section, key, k.sample(key))
		want.set(section, key, stored(path, key, k.sample(key)))
	})
	c.want(200, "PUT", path, full.body())
	got = read(t, c.want(200, "GET", path, nil))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("full: %s", difference(got, want))
	}

	refused := func(what string, bad properties, id func(k specKey) string) {
		t.Helper()
		if len(bad) == 0 {
			return
		}
		r := c.want(400, "PUT", path, bad.body())
		if r.json(t)["error_id"] != "resource.validation_error" {
			t.Errorf("%s: %s", what, r.body)
		}
		for section, keys := range bad {
			for key := range keys {
				if got := errorAt(t, r, section, key)["error_id"]; got != id(s.Sections[section][key]) {
					t.Errorf("%s of %s/%s is reported as %v", what, section, key, got)
				}
			}
		}
	}
	always := func(id string) func(specKey) string { return func(specKey) string { return id } }
	typed := func(k specKey) string {
		if k.Type == "table" {
			return "json.invalid_table"
		}
		return "json.wrong_type"
	}
	wrong, null, low, high, enum := properties{}, properties{}, properties{}, properties{}, properties{}
	s.each(false, func(section, key string, k specKey) {
		wrong.set(section, key, k.wrongType())
		null.set(section, key, nil)
		if k.Min != nil {
			low.set(section, key, *k.Min-1)
		}
		if k.Max != nil {
			high.set(section, key, *k.Max+1)
		}
		if len(k.Enum) > 0 {
			enum.set(section, key, "wizard_magic")
		}
	})
	refused("a wrong type", wrong, typed)
	refused("null", null, typed)
	refused("a value below the range", low, always("property.out_of_range"))
	refused("a value above the range", high, always("property.out_of_range"))
	refused("a value out of the enumeration", enum, always("property.not_in_enum"))

	// Hidden keys are unknown unless asked for.
	var names []string
	hidden := properties{}
	s.each(true, func(section, key string, k specKey) {
		hidden.set(section, key, k.sample(key))
		names = append(names, section+"/"+key)
	})
	if len(names) > 0 {
		refused("a hidden key", hidden, always("json.unknown_property"))
		slices.Sort(names)
		asked := path + "?expert_keys=" + strings.Join(names, ",")
		c.want(200, "PUT", asked, hidden.body())
		shown := read(t, c.want(200, "GET", asked, nil))
		s.each(true, func(section, key string, k specKey) {
			if !reflect.DeepEqual(shown[section][key], stored(path, key, k.sample(key))) {
				t.Errorf("hidden %s/%s is %v", section, key, shown[section][key])
			}
		})
	}

	r := c.want(400, "PUT", path, `{"properties":{"basic":{"no_such_key":1},"no_such_section":{"a":1}}}`)
	if id := errorAt(t, r, "basic", "no_such_key")["error_id"]; id != "json.unknown_property" {
		t.Errorf("an unknown key is reported as %v", id)
	}
	if id := errorAt(t, r, "no_such_section")["error_id"]; id != "json.unknown_section" {
		t.Errorf("an unknown section is reported as %v", id)
	}

	// Nothing refused has left a trace; a body that changes one key changes one.
	got = read(t, c.want(200, "GET", path, nil))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after refusals: %s", difference(got, want))
	}
	s.each(false, func(section, key string, k specKey) {
		one := properties{}
		one.set(section, key, k.fallback())
		if k.Required {
			return
		}
		got = read(t, c.want(200, "PUT", path, one.body()))
		want.set(section, key, k.fallback())
		if !reflect.DeepEqual(got, want) {
			t.Errorf("after changing %s/%s alone: %s", section, key, difference(got, want))
		}
		if k.Type == "table" {
			tableContract(t, c, path, section, key, k)
			want.set(section, key, k.fallback())
		}
	})

	if single {
		c.want(403, "DELETE", path, nil)
		return
	}
	c.want(204, "DELETE", path, nil)
	c.want(404, "GET", path, nil)
	c.want(404, "DELETE", path, nil)
}

// tableContract leaves the table empty.
func tableContract(t *testing.T, c *client, path, section, key string, k specKey) {
	t.Helper()
	body := func(rows ...any) string {
		p := properties{}
		p.set(section, key, append([]any{}, rows...))
		return p.body()
	}
	row := k.sample(key).([]any)[0].(map[string]any)
	c.want(200, "PUT", path, body(row))

	odd := maps.Clone(row)
	odd["no_such_column"] = 1
	r := c.want(400, "PUT", path, body(odd))
	rows := errorAt(t, r, section, key)
	if len(rows) != 1 {
		t.Fatalf("an unknown column of %s/%s: %s", section, key, r.body)
	}
	for name := range rows {
		if id := errorAt(t, r, section, key, name, "no_such_column")["error_id"]; id != "json.unknown_property" {
			t.Errorf("an unknown column of %s/%s: %s", section, key, r.body)
		}
	}
	for what, bad := range map[string]string{
		"two rows of one name": body(row, row),
		"a row without a name": body(map[string]any{}),
		"a row that is no row": body("row"),
	} {
		r = c.want(400, "PUT", path, bad)
		if id := errorAt(t, r, section, key)["error_id"]; id != "json.invalid_table" {
			t.Errorf("%s in %s/%s: %s", what, section, key, r.body)
		}
	}
	got := read(t, c.want(200, "GET", path, nil))[section][key]
	if !reflect.DeepEqual(got, []any{row}) {
		t.Errorf("%s/%s holds %v, want %v", section, key, got, row)
	}
	c.want(200, "PUT", path, body())
	if got := read(t, c.want(200, "GET", path, nil))[section][key]; !reflect.DeepEqual(got, []any{}) {
		t.Errorf("%s/%s is not emptied: %v", section, key, got)
	}
}

// stored is what GET shows of a value that was put.
func stored(path, key string, v any) any {
	if key == "private" && strings.HasPrefix(path, "/config/active/ssl/") {
		return "ryvb4aqbbsHireHWlPQfxxqDHQJo6YkVYhE9imKt0b8=" // SHA-256 of "sample"
	}
	return v
}

func difference(got, want properties) string {
	var b strings.Builder
	for _, side := range []properties{got, want} {
		for section, keys := range side {
			for key := range keys {
				if g, w := got[section][key], want[section][key]; !reflect.DeepEqual(g, w) {
					_, inGot := got[section][key]
					fmt.Fprintf(&b, "\n%s/%s: got %v (present: %t), want %v", section, key, g, inGot, w)
				}
			}
		}
	}
	return b.String()
}
