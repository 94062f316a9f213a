package vtm_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestMetadataDescribesEveryKeyThatIsShown(t *testing.T) {
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/pools/sample", `{}`)
	types := spec(t)
	for _, path := range slices.Sorted(maps.Keys(types)) {
		s := types[path]
		at := "/config/active/" + path
		if s.Kind == "files" {
			c.want(201, "PUT", at+"/m", []byte("x"))
			if r := c.want(200, "GET", at+"/m?metadata", nil); string(r.body) != "x" {
				t.Errorf("%s: a file is %q", path, r.body)
			}
			if r := c.want(200, "GET", at+"?metadata", nil).json(t); r["metadata"].(map[string]any)["description"] == "" {
				t.Errorf("%s: %v", path, r)
			}
			continue
		}
		var hidden []string
		s.each(true, func(section, key string, _ specKey) { hidden = append(hidden, section+"/"+key) })
		if s.Kind == "collection" {
			folder := c.want(200, "GET", at+"?metadata", nil).json(t)
			if folder["metadata"].(map[string]any)["properties"] == nil {
				t.Errorf("%s: the type is not described", path)
			}
			minimal := properties{}
			s.each(false, func(section, key string, k specKey) {
				if k.Required {
					minimal.set(section, key, k.sample(key))
				}
			})
			at += "/m"
			c.want(201, "PUT", at, minimal.body())
		}
		for _, expert := range []string{"", strings.Join(hidden, ",")} {
			r := c.want(200, "GET", at+"?metadata&expert_keys="+url.QueryEscape(expert), nil).json(t)
			plain := c.want(200, "GET", at+"?expert_keys="+url.QueryEscape(expert), nil).json(t)
			about, _ := r["metadata"].(map[string]any)
			delete(r, "metadata")
			if !reflect.DeepEqual(r, plain) {
				t.Errorf("%s: with metadata the rest of the answer differs", path)
			}
			described, _ := about["properties"].(map[string]any)
			for section, keys := range plain["properties"].(map[string]any) {
				of, _ := described[section].(map[string]any)
				if len(of) != len(keys.(map[string]any)) {
					t.Errorf("%s, %s: %d keys are described, %d shown", path, section, len(of), len(keys.(map[string]any)))
				}
				for key := range keys.(map[string]any) {
					k := s.Sections[section][key]
					d, _ := of[key].(map[string]any)
					min, hasMin := d["min"]
					if d["type"] != k.Type || d["description"] == "" || len(k.Columns) != len(object(d["columns"])) ||
						hasMin != (k.Min != nil) || hasMin && min != *k.Min {
						t.Errorf("%s, %s/%s is described as %v", path, section, key, d)
					}
				}
			}
		}
	}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func TestMetadataIsThereForEveryPlace(t *testing.T) {
	_, c := start(t, nil)
	for _, path := range []string{
		"", "/config", "/config/active", "/config/active/ssl", "/status", "/status/local_tm", "/status/local_tm/information", "/status/local_tm/state",
		"/status/local_tm/statistics", "/status/local_tm/statistics/globals", "/status/local_tm/backups/full",
	} {
		r := c.want(200, "GET", path+"?metadata", nil)
		var v struct {
			Metadata *struct {
				Description string
				Members     map[string]any
			}
		}
		if err := json.Unmarshal(r.body, &v); err != nil || v.Metadata == nil || v.Metadata.Description == "" {
			t.Errorf("%s: %v %s", path, err, r.body)
		}
	}
	if r := c.want(404, "GET", "/config/active/puddles?metadata", nil).json(t); r["metadata"] != nil {
		t.Errorf("an error has metadata: %v", r)
	}
}
