package vtm_test

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// eachJSONType runs f for every type of JSON resources with the path of a resource
// that has all required keys and nothing else.
func eachJSONType(t *testing.T, c *client, f func(t *testing.T, c *client, path string, s specType)) {
	t.Helper()
	types := spec(t)
	c.want(201, "PUT", "/config/active/pools/sample", `{}`) // NAT refers to it
	for _, at := range slices.Sorted(maps.Keys(types)) {
		s := types[at]
		if s.Kind == "files" {
			continue
		}
		t.Run(at, func(t *testing.T) {
			c := *c
			c.t = t
			path := "/config/active/" + at
			if s.Kind == "collection" {
				path += "/of%20the%20test"
				c.want(201, "PUT", path, s.minimal().body())
			}
			f(t, &c, path, s)
			if s.Kind == "collection" {
				c.want(204, "DELETE", path, nil)
			}
		})
	}
}

// minimal has the required keys.
func (s specType) minimal() properties {
	p := properties{}
	s.each(false, func(section, key string, k specKey) {
		if k.Required {
			p.set(section, key, k.sample(key))
		}
	})
	return p
}

// sorted lists the keys that each calls f for, in one order.
func (s specType) sorted() (all [][2]string) {
	s.each(false, func(section, key string, _ specKey) { all = append(all, [2]string{section, key}) })
	slices.SortFunc(all, func(a, b [2]string) int { return strings.Compare(a[0]+"/"+a[1], b[0]+"/"+b[1]) })
	return all
}

func TestEveryValueOfEveryEnumerationIsKept(t *testing.T) {
	_, c := start(t, nil)
	eachJSONType(t, c, func(t *testing.T, c *client, path string, s specType) {
		for _, at := range s.sorted() {
			k := s.Sections[at[0]][at[1]]
			for _, v := range k.Enum {
				one := properties{}
				one.set(at[0], at[1], v)
				if got := read(t, c.want(200, "PUT", path, one.body()))[at[0]][at[1]]; got != v {
					t.Errorf("%s/%s is %v, was set to %s", at[0], at[1], got, v)
				}
			}
			if k.Type != "table" {
				continue
			}
			for _, column := range slices.Sorted(maps.Keys(k.Columns)) {
				for _, v := range k.Columns[column].Enum {
					row := k.sample(at[1]).([]any)[0].(map[string]any)
					row[column] = v
					one := properties{}
					one.set(at[0], at[1], []any{row})
					got := read(t, c.want(200, "PUT", path, one.body()))[at[0]][at[1]].([]any)[0].(map[string]any)[column]
					if got != v {
						t.Errorf("%s/%s, column %s is %v, was set to %s", at[0], at[1], column, got, v)
					}
				}
			}
			empty := properties{}
			if !k.Required {
				empty.set(at[0], at[1], k.fallback())
				c.want(200, "PUT", path, empty.body())
			}
		}
	})
}

func TestTheEndsOfEveryRangeAreInIt(t *testing.T) {
	_, c := start(t, nil)
	eachJSONType(t, c, func(t *testing.T, c *client, path string, s specType) {
		for _, at := range s.sorted() {
			k := s.Sections[at[0]][at[1]]
			for _, end := range []*float64{k.Min, k.Max} {
				if end == nil || strings.HasPrefix(at[1], "http_max_") {
					continue // that one would limit the test's own requests
				}
				one := properties{}
				one.set(at[0], at[1], *end)
				if got := read(t, c.want(200, "PUT", path, one.body()))[at[0]][at[1]]; got != *end {
					t.Errorf("%s/%s is %v, was set to %v", at[0], at[1], got, *end)
				}
			}
			if !k.Required {
				one := properties{}
				one.set(at[0], at[1], k.fallback())
				c.want(200, "PUT", path, one.body())
			}
		}
	})
}

// TestEveryMistakeIsTold puts each mistake that a key allows, alone and all of one
// body together, and finds each in error_info, and nothing changed.
func TestEveryMistakeIsTold(t *testing.T) {
	_, c := start(t, nil)
	eachJSONType(t, c, func(t *testing.T, c *client, path string, s specType) {
		before := c.want(200, "GET", path, nil)
		together, want := properties{}, map[string]string{}
		for i, at := range s.sorted() {
			section, key := at[0], at[1]
			k := s.Sections[section][key]
			mistakes := map[string]any{"json.wrong_type": k.wrongType()}
			if k.Type == "table" {
				mistakes = map[string]any{"json.invalid_table": "rows"}
			}
			if k.Min != nil {
				mistakes["property.out_of_range"] = *k.Min - 1
			}
			if k.Max != nil {
				mistakes["property.out_of_range"] = *k.Max + 1
			}
			if len(k.Enum) > 0 {
				mistakes["property.not_in_enum"] = ""
				if slices.Contains(k.Enum, "") {
					mistakes["property.not_in_enum"] = k.Enum[0] + " "
				}
			}
			ids := slices.Sorted(maps.Keys(mistakes))
			for _, id := range ids {
				one := properties{}
				one.set(section, key, mistakes[id])
				r := c.want(400, "PUT", path, one.body())
				info := r.json(t)["error_info"].(map[string]any)
				if errorAt(t, r, section, key)["error_id"] != id || len(info) != 1 || len(info[section].(map[string]any)) != 1 {
					t.Errorf("%s/%s as %v: %s, want %s alone", section, key, mistakes[id], r.body, id)
				}
			}
			id := ids[i%len(ids)]
			together.set(section, key, mistakes[id])
			want[section+" "+key] = id
		}
		together.set("basic", "no_such_key", 1)
		want["basic no_such_key"] = "json.unknown_property"
		r := c.want(400, "PUT", path, together.body())
		found := 0
		for section, keys := range r.json(t)["error_info"].(map[string]any) {
			for key, e := range keys.(map[string]any) {
				found++
				if got := e.(map[string]any)["error_id"]; got != want[section+" "+key] {
					t.Errorf("of all mistakes, %s/%s is told as %v, want %s", section, key, got, want[section+" "+key])
				}
			}
		}
		if found != len(want) {
			t.Errorf("%d mistakes are told, %d were made", found, len(want))
		}
		if s.Kind == "collection" { // nothing is created of a body with a mistake
			c.want(400, "PUT", path+"2", together.body())
			c.want(404, "GET", path+"2", nil)
		}
		if after := c.want(200, "GET", path, nil); string(after.body) != string(before.body) {
			t.Errorf("refused bodies changed\n%s\nto\n%s", before.body, after.body)
		}
	})
}

// TestEveryMistakeInATableIsToldByRowAndColumn does the same for columns.
func TestEveryMistakeInATableIsToldByRowAndColumn(t *testing.T) {
	_, c := start(t, nil)
	tables := 0
	eachJSONType(t, c, func(t *testing.T, c *client, path string, s specType) {
		for _, at := range s.sorted() {
			k := s.Sections[at[0]][at[1]]
			if k.Type != "table" {
				continue
			}
			tables++
			row := k.sample(at[1]).([]any)[0].(map[string]any)
			good := properties{}
			good.set(at[0], at[1], []any{row})
			before := c.want(200, "PUT", path, good.body())
			for column, k := range k.Columns {
				mistakes := map[string]any{"json.wrong_type": k.wrongType()}
				if k.Min != nil {
					mistakes["property.out_of_range"] = *k.Min - 1
				}
				if len(k.Enum) > 0 {
					mistakes["property.not_in_enum"] = "wizard_magic"
				}
				for id, v := range mistakes {
					bad := maps.Clone(row)
					bad[column] = v
					one := properties{}
					one.set(at[0], at[1], []any{bad})
					r := c.want(400, "PUT", path, one.body())
					rows := errorAt(t, r, at[0], at[1])
					if len(rows) != 1 {
						t.Errorf("%s/%s, column %s as %v: %s", at[0], at[1], column, v, r.body)
						continue
					}
					for name := range rows {
						if got := errorAt(t, r, at[0], at[1], name, column)["error_id"]; got != id {
							t.Errorf("%s/%s, row %s, column %s as %v: %s, want %s", at[0], at[1], name, column, v, r.body, id)
						}
					}
				}
				if k.Required {
					bad := maps.Clone(row)
					delete(bad, column)
					one := properties{}
					one.set(at[0], at[1], []any{bad})
					c.want(400, "PUT", path, one.body())
				}
			}
			if after := c.want(200, "GET", path, nil); string(after.body) != string(before.body) {
				t.Errorf("%s/%s: refused rows changed the table", at[0], at[1])
			}
			none := properties{}
			none.set(at[0], at[1], []any{})
			c.want(200, "PUT", path, none.body())
		}
	})
	if tables < 15 {
		t.Errorf("the schema has %d tables", tables)
	}
}

func TestSectionsAreMergedAndListedUntilDeleted(t *testing.T) {
	_, c := start(t, nil)
	eachJSONType(t, c, func(t *testing.T, c *client, path string, s specType) {
		if s.Kind == "singleton" {
			return
		}
		folder := path[:strings.LastIndexByte(path, '/')]
		if list := string(c.want(200, "GET", folder, nil).body); !strings.Contains(list, `"name":"of the test"`) {
			t.Errorf("the list lacks it: %s", list)
		}
		// One key of each section, a section a request: the end is as all at once.
		want := read(t, c.want(200, "GET", path, nil))
		done := map[string]bool{}
		for _, at := range s.sorted() {
			k := s.Sections[at[0]][at[1]]
			if done[at[0]] || at[1] == "private" || k.Type == "table" {
				continue
			}
			done[at[0]] = true
			one := properties{}
			one.set(at[0], at[1], k.sample(at[1]))
			want.set(at[0], at[1], k.sample(at[1]))
			for section := range s.Sections { // sections without keys are no mistake
				if section != at[0] {
					one[section] = map[string]any{}
				}
			}
			c.want(200, "PUT", path, one.body())
		}
		if got := read(t, c.want(200, "GET", path, nil)); !reflect.DeepEqual(got, want) {
			t.Errorf("merged: %s", difference(got, want))
		}
		for _, body := range []string{`{}`, `{"properties":{}}`} { // bodies that change nothing
			c.want(200, "PUT", path, body)
		}
		if got := read(t, c.want(200, "GET", path, nil)); !reflect.DeepEqual(got, want) {
			t.Errorf("an empty body changed it: %s", difference(got, want))
		}
	})
}

func TestFilesOfEveryTypeHaveNamesOfAnyLegalKind(t *testing.T) {
	_, c := start(t, nil)
	types := spec(t)
	n := 0
	for _, at := range slices.Sorted(maps.Keys(types)) {
		if types[at].Kind != "files" {
			continue
		}
		n++
		folder := "/config/active/" + at
		for i, name := range []string{"a b", "a:443", "100%", "what?", "a#b", "ünï", "日本", `quo"te\`, "a&b=c;d,e", "<script>", strings.Repeat("x", 255), "a..b", "%2F", "~", "-", "con.txt"} {
			path, content := folder+"/"+url.PathEscape(name), []byte(fmt.Sprint("content ", i, "\x00\xff"))
			c.want(201, "PUT", path, content)
			if r := c.want(200, "GET", path, nil); string(r.body) != string(content) || r.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("%s %q reads %q", at, name, r.body)
			}
			if r := c.want(204, "PUT", path, []byte("other")); len(r.body) != 0 {
				t.Errorf("%s %q, replaced: %q", at, name, r.body)
			}
			if r := c.sendAs("PUT", path, "application/json", "", []byte(`{}`)); r.status != 415 || r.json(t)["error_id"] != "resource.unsupported_media_type" {
				t.Errorf("%s %q as JSON: %d %s", at, name, r.status, r.body)
			}
			if r := c.want(200, "GET", path, nil); string(r.body) != "other" {
				t.Errorf("%s %q reads %q", at, name, r.body)
			}
			c.want(204, "DELETE", path, nil)
			c.want(404, "GET", path, nil)
		}
		for _, name := range []string{".hidden", "a%2Fb", "a%00b", "a%0Ab", "%ff", strings.Repeat("x", 256)} {
			if r := c.want(400, "PUT", folder+"/"+name, []byte("x")); r.json(t)["error_id"] != "resource.invalid_name" {
				t.Errorf("%s %q: %s", at, name, r.body)
			}
		}
		if list := c.want(200, "GET", folder, nil); strings.Contains(string(list.body), "hidden") {
			t.Errorf("%s: %s", at, list.body)
		}
	}
	if n != 11 {
		t.Errorf("%d types of files", n)
	}
}
