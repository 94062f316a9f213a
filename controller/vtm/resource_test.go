package vtm

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestASlimResourceMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Type{ServerKeys, Monitors, Persistence, Pools, TrafficIPGroups, VirtualServers}).Draw(t, "type")
		whole := Properties{"unknown": {"key": "value"}}
		for section, keys := range schema()[kind] {
			whole[section] = map[string]any{}
			for name, key := range keys {
				switch rapid.IntRange(0, 9).Draw(t, section+"/"+name) {
				case 0:
					whole[section][name] = "other"
				default:
					if !key.Required {
						whole[section][name] = key.Default
					}
				}
			}
		}
		r := New(kind, "x", whole)
		slim := r.Slim()
		for _, s := range r.Settings() {
			if got := slim.Value(s.Section, s.Key); !reflect.DeepEqual(got, s.Value) {
				t.Fatalf("%s/%s is %v, was %v", s.Section, s.Key, got, s.Value)
			}
		}
		for _, s := range slim.Settings() {
			if k := schema()[kind][s.Section][s.Key]; k != nil && !k.Required && reflect.DeepEqual(k.Default, s.Value) {
				t.Fatalf("%s/%s is %v as when nobody had set it, and is kept", s.Section, s.Key, s.Value)
			}
		}
		if again := slim.Slim(); again != slim {
			t.Fatal("what is slim gets another one")
		}
	})
}
