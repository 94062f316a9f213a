package vtm

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An answer says each of a hundred keys; what is read of it leaves out those at their
// defaults, section by section where it was seen like that before.
func TestWhatIsReadOfAnAnswerMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Type{ServerKeys, Monitors, Persistence, Pools, TrafficIPGroups, VirtualServers}).Draw(t, "type")
		whole := Properties{"unknown": {"key": "value"}}
		for _, section := range slices.Sorted(maps.Keys(schema()[kind])) {
			whole[section] = map[string]any{}
			touched := rapid.Bool().Draw(t, section)
			keys := schema()[kind][section]
			for _, name := range slices.Sorted(maps.Keys(keys)) {
				switch key := keys[name]; {
				case touched && rapid.IntRange(0, 9).Draw(t, section+"/"+name) == 0:
					whole[section][name] = "other"
				case !key.Required:
					whole[section][name] = key.Default
				}
			}
		}
		r := New(kind, "x", whole)
		body, err := json.Marshal(map[string]any{"properties": whole})
		if err != nil {
			t.Fatal(err)
		}
		slim, err := decode(r.ID, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Settings() {
			if got := slim.Value(s.Section, s.Key); !reflect.DeepEqual(got, s.Value) {
				t.Fatalf("%s/%s is %v, was %v", s.Section, s.Key, got, s.Value)
			}
		}
		for _, s := range slim.Settings() {
			if k := keySchemaOf(kind, s.Section, s.Key); k != nil && !k.Required && reflect.DeepEqual(k.Default, s.Value) {
				t.Fatalf("%s/%s is %v as when nobody had set it, and is kept", s.Section, s.Key, s.Value)
			}
		}
	})
}
