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
		for section, keys := range r.Properties {
			for name, value := range keys {
				if got := slim.Value(section, name); !reflect.DeepEqual(got, value) {
					t.Fatalf("%s/%s is %v, was %v", section, name, got, value)
				}
			}
		}
		for section, keys := range slim.Properties {
			for name, value := range keys {
				if k := schema()[kind][section][name]; k != nil && !k.Required && reflect.DeepEqual(k.Default, value) {
					t.Fatalf("%s/%s is %v as when nobody had set it, and is kept", section, name, value)
				}
			}
		}
		if again := slim.Slim(); again != slim {
			t.Fatal("what is slim gets another one")
		}
	})
}
