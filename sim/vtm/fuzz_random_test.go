package vtm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vtm-ingress/internal/facts"
)

// TestRandomRequestsBreakNothing is FuzzRequests with requests that know the
// schema, as many as rapid makes: types, keys and values are right, nearly right
// and wrong.
func TestRandomRequestsBreakNothing(t *testing.T) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	paths := slices.Sorted(maps.Keys(sch.types))
	managers := hostileGround(t)
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(10, 40).Draw(t, "requests") {
			kind := sch.types[rapid.SampledFrom(paths).Draw(t, "type")]
			target := "/api/tm/" + rapid.SampledFrom([]string{"8.3", "8.3", "8.3", "5.2", "9.9", ""}).Draw(t, "version") + "/config/active/" + kind.path
			if kind.class != singleton || rapid.IntRange(0, 9).Draw(t, "below") == 0 {
				target += "/" + hostileName(t)
			}
			if rapid.IntRange(0, 19).Draw(t, "status") == 0 {
				target = "/api/tm/8.3/status/" + rapid.SampledFrom([]string{"local_tm/backups/full/b", "local_tm/backups/full/b?restore", "vtm-1.sim/state", "local_tm/statistics/globals", "x"}).Draw(t, "what")
			}
			if !strings.Contains(target, "?") {
				target += rapid.SampledFrom([]string{"", "", "", "/", "?metadata", "?expert_keys=basic/factory,lard_size", "?expert_keys=%zz", "?restore&&=;", "//"}).Draw(t, "query")
			}
			method := rapid.SampledFrom([]string{"PUT", "PUT", "PUT", "PUT", "GET", "DELETE", "POST", "PATCH", "HEAD", "OPTIONS", "TRACE", "put"}).Draw(t, "method")
			media := rapid.SampledFrom([]string{"application/json", "", "application/octet-stream", "text/plain", "application/json; charset=utf-16", ";;", "multipart/form-data"}).Draw(t, "media")
			body := hostileBody(t, kind)
			for _, tm := range managers {
				checkRequest(t, tm, method, target, media, body)
			}
		}
	})
}

// hostileName is a name, escaped, mostly a legal one.
func hostileName(t *rapid.T) string {
	name := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "Ping", "vtm-1.sim", "Admin", "a b", "ü", "%", "..", ".", "a/b", "\x00", "\xff", strings.Repeat("y", 255), strings.Repeat("y", 256)}),
		rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }),
	).Draw(t, "name")
	escaped := url.PathEscape(name)
	if rapid.IntRange(0, 9).Draw(t, "escape") == 0 {
		escaped = strings.NewReplacer("%", "%25", "/", "%2f").Replace(escaped)
	}
	return escaped
}

// hostileBody is a body for a type: JSON of its keys, spoilt or not, or any bytes.
func hostileBody(t *rapid.T, kind *resourceType) string {
	if kind.class == files || rapid.IntRange(0, 14).Draw(t, "any bytes") == 0 {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "bytes"))
	}
	sections := map[string]any{}
	put := func(p *property, v any) {
		keys, _ := sections[p.section].(map[string]any)
		if keys == nil {
			keys = map[string]any{}
			sections[p.section] = keys
		}
		keys[p.name] = v
	}
	var all []*property
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			all = append(all, p)
			if p.required && rapid.IntRange(0, 9).Draw(t, "leave a required key") > 0 {
				put(p, json.RawMessage(p.appendJSON(nil, p.trial())))
			}
		}
	}
	for range rapid.IntRange(0, 5).Draw(t, "keys") {
		p := rapid.SampledFrom(all).Draw(t, "key")
		put(p, hostileValue(t, p))
	}
	main := map[string]any{"properties": sections}
	switch rapid.IntRange(0, 19).Draw(t, "spoil") {
	case 0:
		sections["basic"] = rapid.SampledFrom([]any{nil, 1, "x", []any{}, map[string]any{"": nil}}).Draw(t, "section")
	case 1:
		main[rapid.String().Draw(t, "field")] = 1
	case 2:
		main["properties"] = nil
	case 3:
		sections[rapid.String().Draw(t, "unknown section")] = map[string]any{}
	}
	b, err := json.Marshal(main)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if n := len(b); rapid.IntRange(0, 9).Draw(t, "damage") == 0 {
		at := rapid.IntRange(0, n-1).Draw(t, "at")
		b = slices.Concat(b[:at], rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "instead"), b[min(n, at+rapid.IntRange(0, 3).Draw(t, "of")):])
	}
	return string(bytes.ToValidUTF8(b, []byte("\xff")))
}

// hostileValue is a value for a key: right, at its bounds, beyond, or of another
// type.
func hostileValue(t *rapid.T, p *property) any {
	choices := []any{json.RawMessage(p.appendJSON(nil, p.trial())), nil, true, "", "\x00", "\U0010ffff", 0, -1, 1e300, 0.5, []any{}, map[string]any{}, []any{nil}, []any{[]any{[]any{}}}, strings.Repeat("z", 2000)}
	if p.min != nil {
		choices = append(choices, *p.min, *p.min-1)
	}
	if p.max != nil {
		choices = append(choices, *p.max, *p.max+1)
	}
	for _, e := range p.enum {
		choices = append(choices, e)
	}
	if p.kind == tableKind {
		row := map[string]any{}
		for _, c := range p.columns {
			row[c.name] = json.RawMessage(c.appendJSON(nil, c.trial()))
		}
		c := rapid.SampledFrom(p.columns).Draw(t, "column")
		odd := maps.Clone(row)
		odd[c.name] = hostileValue(t, c)
		choices = append(choices, []any{row}, []any{odd}, []any{row, row}, []any{odd, row, nil}, []any{map[string]any{fmt.Sprint(p.name): 1}})
	}
	return rapid.SampledFrom(choices).Draw(t, "value")
}

// FuzzBackupArchive reads any archive. What is read can be written, and reads the
// same again.
func FuzzBackupArchive(f *testing.F) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		f.Fatal(err)
	}
	rule := &resource{kind: sch.types["rules"], name: "r ü", content: []byte("pool.use( \"p\" );")}
	pool, refused := merge(sch.types["pools"], "p", nil, []byte(`{"properties":{"basic":{"nodes_table":[{"node":"127.0.0.1:80"}]}}}`), nil)
	if refused != nil {
		f.Fatal(refused)
	}
	for _, resources := range [][]*resource{nil, {rule}, {pool, rule}} {
		content, err := (&backup{Description: "d", TimeStamp: 1, Version: productVersion, resources: append([]*resource{}, resources...)}).tar()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)/2])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		b, err := readBackup(bytes.NewReader(content), sch)
		if err != nil {
			return
		}
		written, err := b.tar()
		if err != nil {
			t.Skip("a time or text that no archive holds: ", err)
		}
		again, err := readBackup(bytes.NewReader(written), sch)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if len(again.resources) != len(b.resources) || again.Description != b.Description {
			t.Fatalf("%d resources became %d", len(b.resources), len(again.resources))
		}
		for i, r := range b.resources {
			if !sameContent(r, again.resources[i]) {
				t.Fatalf("%s changed", r.id())
			}
		}
	})
}
