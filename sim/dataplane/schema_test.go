package dataplane

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"vtm-ingress/internal/facts"
)

// valuesOf are those that the REST API's schema allows a key, sorted: the tables of
// algorithms, persistence and monitors must have each.
func valuesOf(t *testing.T, kind, section, key string) []string {
	t.Helper()
	var schema struct {
		Config map[string]struct {
			Sections map[string]map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(facts.RESTSchema, &schema); err != nil {
		t.Fatal(err)
	}
	values := schema.Config[kind].Sections[section][key].Enum
	if len(values) == 0 {
		t.Fatalf("the schema has no values of %s.%s.%s", kind, section, key)
	}
	return slices.Sorted(slices.Values(values))
}

// wantAll tells what of the schema's values a table does not have, and the reverse.
func wantAll[V any](t *testing.T, table map[string]V, kind, section, key string) {
	t.Helper()
	if got, want := slices.Sorted(maps.Keys(table)), valuesOf(t, kind, section, key); !slices.Equal(got, want) {
		t.Errorf("the table has %v, the schema's %s.%s.%s %v", got, kind, section, key, want)
	}
}
