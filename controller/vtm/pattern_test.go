package vtm

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkReadLikeBefore compares what is read of an answer by those before it with what is
// read key by key.
func checkReadLikeBefore(t interface{ Fatalf(string, ...any) }, kind Type, body []byte) (ok bool) {
	read, ok := readLikeBefore(kind, body)
	if !ok {
		return false
	}
	want, err := readKeys(kind, body)
	if err != nil {
		t.Fatalf("%s is read like one before: %v", body, err)
	}
	if id := (ID{kind, "x"}); !Equal(Of(id, read), Of(id, want)) {
		t.Fatalf("%s: read like one before it is %v, by itself %v", body, read, want)
	}
	return true
}

// Answers that follow each other differ in values, in which keys are told, in how they are
// written, and some are broken: none is read otherwise because of those before.
func TestAnswersAreReadLikeThoseBefore(t *testing.T) {
	alike := 0
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Type{Persistence, Pools, TrafficIPGroups}).Draw(t, "type")
		values := rapid.SampledFrom([]any{
			nil, true, 7, 1.5, "", "text", `"quoted" \\`, []any{}, []any{"b", "a", "a"}, map[string]any{"x": 1},
			[]any{map[string]any{"node": "10.0.0.1:80", "weight": 1}, map[string]any{"node": "10.0.0.2:80"}},
		})
		for range rapid.IntRange(1, 6).Draw(t, "answers") {
			all := map[string]map[string]any{"unknown": {"key": values.Draw(t, "unknown")}}
			for section, keys := range schema()[kind] {
				all[section] = map[string]any{}
				for name, key := range keys {
					all[section][name] = key.Default
				}
			}
			for section := range all {
				if names := slices.Sorted(maps.Keys(schema()[kind][section])); len(names) > 0 && section == "basic" {
					all[section][names[rapid.IntRange(0, min(3, len(names)-1)).Draw(t, "key")]] = values.Draw(t, "value")
				}
			}
			body, err := json.Marshal(map[string]any{"properties": all})
			if err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 9).Draw(t, "form") {
			case 0:
				var spaced bytes.Buffer
				if err := json.Indent(&spaced, body, "", " "); err != nil {
					t.Fatal(err)
				}
				body = spaced.Bytes()
			case 1:
				body = body[:rapid.IntRange(0, len(body)).Draw(t, "cut")]
			case 2:
				body[rapid.IntRange(0, len(body)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(`"{}[],: 1n`)).Draw(t, "byte")
			}
			if checkReadLikeBefore(t, kind, body) {
				alike++
			}
			_, _ = decode(ID{kind, "x"}, body) // remembers it, unless it is broken
		}
	})
	if alike == 0 {
		t.Error("no answer was like one before")
	}
}

// What is remembered is bounded, and follows what the traffic manager tells.
func TestOnlyTheLatestAnswersAreRemembered(t *testing.T) {
	body := func(key string) []byte { return []byte(`{"properties":{"basic":{"` + key + `":1}}}`) }
	for i := range 3 * maxPatterns {
		if _, err := decode(ID{Monitors, "x"}, body(string(rune('a'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(patterns.of[Monitors]); n != maxPatterns {
		t.Errorf("%d answers are remembered", n)
	}
	if _, ok := readLikeBefore(Monitors, body(string(rune('a'+3*maxPatterns-1)))); !ok {
		t.Error("the latest one isn't remembered")
	}
	if _, ok := readLikeBefore(Monitors, body("a")); ok {
		t.Error("the first one is still remembered")
	}
}
