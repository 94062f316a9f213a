package vtm

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatMeansTheSameIsEqual(t *testing.T) {
	type port int32
	for _, test := range []struct {
		name string
		kind Type
		a, b Properties
	}{
		{"integers", VirtualServers, Properties{"basic": {"port": port(80)}}, Properties{"basic": {"port": json.Number("80")}}},
		{"a set's order and repetitions", Pools, Properties{"basic": {"monitors": []string{"b", "a", "b"}}}, Properties{"basic": {"monitors": []any{"a", "b"}}}},
		{"a table's order and defaults", Pools,
			Properties{"basic": {"nodes_table": []map[string]any{{"node": "b:1", "weight": 1, "state": "active"}, {"node": "a:1", "weight": 2}}}},
			Properties{"basic": {"nodes_table": []any{map[string]any{"node": "a:1", "weight": json.Number("2"), "priority": 1}, map[string]any{"node": "b:1"}}}}},
		{"unknown keys", Pools, Properties{"new": {"key": 1}}, Properties{"new": {"key": json.Number("1")}}},
	} {
		a, b := New(test.kind, "x", test.a), New(test.kind, "x", test.b)
		if !Equal(a, b) {
			t.Errorf("%s: %s", test.name, cmp.Diff(a.Properties(), b.Properties()))
		}
		one, two := encode(a.settings), encode(b.settings)
		if string(one) != string(two) {
			t.Errorf("%s: encoded as %s and %s", test.name, one, two)
		}
	}
}

func TestWhatMeansAnotherThingIsNotEqual(t *testing.T) {
	for _, test := range []struct {
		name string
		kind Type
		a, b Properties
	}{
		{"a list's order", VirtualServers, Properties{"basic": {"request_rules": []string{"a", "b"}}}, Properties{"basic": {"request_rules": []string{"b", "a"}}}},
		{"a list's repetitions", VirtualServers, Properties{"basic": {"request_rules": []string{"a", "b", "a"}}}, Properties{"basic": {"request_rules": []string{"a", "b"}}}},
		{"a cell", Pools, Properties{"basic": {"nodes_table": []any{map[string]any{"node": "a:1", "state": "draining"}}}}, Properties{"basic": {"nodes_table": []any{map[string]any{"node": "a:1"}}}}},
		{"text and number", VirtualServers, Properties{"basic": {"port": "80"}}, Properties{"basic": {"port": 80}}},
	} {
		if Equal(New(test.kind, "x", test.a), New(test.kind, "x", test.b)) {
			t.Errorf("%s: equal", test.name)
		}
	}
}

func TestNormalizeCopies(t *testing.T) {
	nodes := []any{map[string]any{"node": "a:1"}}
	r := New(Pools, "p", Properties{"basic": {"nodes_table": nodes}})
	nodes[0].(map[string]any)["node"] = "b:1"
	if got := r.Get("basic", "nodes_table").([]any)[0].(map[string]any)["node"]; got != "a:1" {
		t.Errorf("the resource changed with what it was made of: %v", got)
	}
}

func TestDefaultsOfTheSchema(t *testing.T) {
	for _, test := range []struct {
		kind         Type
		section, key string
		want         any
		ok           bool
	}{
		{VirtualServers, "basic", "enabled", false, true},
		{VirtualServers, "basic", "listen_on_any", true, true},
		{VirtualServers, "basic", "connect_timeout", int64(10), true},
		{VirtualServers, "basic", "request_rules", []any{}, true},
		{VirtualServers, "basic", "note", "", true},
		{VirtualServers, "gzip", "include_mime", []any{"text/html", "text/plain"}, true},
		{VirtualServers, "basic", "port", nil, false},
		{VirtualServers, "basic", "rules_on_connect", nil, false},
		{VirtualServers, "basic", "unheard_of", nil, false},
		{Pools, "load_balancing", "algorithm", "round_robin", true},
	} {
		got, ok := Default(test.kind, test.section, test.key)
		if ok != test.ok || ok && !cmp.Equal(got, test.want) {
			t.Errorf("%s %s/%s: %#v %v, want %#v %v", test.kind, test.section, test.key, got, ok, test.want, test.ok)
		}
	}
}

func TestNamesCannotChangeThePath(t *testing.T) {
	for name, want := range map[string]string{
		"k8s_shop_web":  "config/active/pools/k8s_shop_web",
		"a b/../c?d#e%": "config/active/pools/a%20b%2F..%2Fc%3Fd%23e%25",
		"..":            "config/active/pools/%2E%2E",
		".":             "config/active/pools/%2E",
	} {
		if got := configPath(ID{Pools, name}); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestBodiesSayWhatPropertiesSay(t *testing.T) {
	for _, p := range []Properties{
		{},
		{"basic": {"note": "a \"b\" \\ \n\x00\u2028 é", "port": 80, "enabled": true, "pool": "p"}, "http": {"status_regex": "<&>"}, "new": {"nothing": nil, "some": 1.5}},
		{"basic": {"nodes_table": []any{map[string]any{"node": "b:1", "weight": 2}, map[string]any{"node": "a:1"}}, "monitors": []string{}}},
		{"basic": {"note": "not UTF-8: \xff"}},
	} {
		r := New(VirtualServers, "x", p)
		body := encode(r.settings)
		want, err := json.Marshal(map[string]any{"properties": r.Properties()})
		if err != nil {
			t.Fatal(err)
		}
		var is, ought any
		if err := errors.Join(json.Unmarshal(body, &is), json.Unmarshal(want, &ought)); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if diff := cmp.Diff(ought, is); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
		if strings.Contains(string(body), "\\u003c") {
			t.Errorf("%s has an escape that old versions don't decode", body)
		}
	}
}
