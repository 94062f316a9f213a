package kube

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A Table holds what a plain map would, whatever became of it, and the Tables that it
// was made of go on holding what they held.
func TestTableIsAMapWhosePastStays(t *testing.T) {
	type version struct {
		table *Table[int, string]
		plain map[int]string
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.IntRange(0, 60)
		value := rapid.SampledFrom([]string{"", "a", "b"})
		first := rapid.MapOf(key, value).Draw(t, "first")
		versions := []version{{nil, nil}, {NewTable(maps.Clone(first)), first}}
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			of := rapid.SampledFrom(versions).Draw(t, "of")
			next := version{of.table, maps.Clone(of.plain)}
			if next.plain == nil {
				next.plain = map[int]string{}
			}
			switch k := key.Draw(t, "key"); rapid.IntRange(0, 3).Draw(t, "change") {
			case 0, 1:
				v := value.Draw(t, "value")
				next.table, next.plain[k] = of.table.With(k, v), v
			case 2:
				next.table = of.table.Without(k)
				delete(next.plain, k)
			case 3:
				edits := map[int]edit[string]{}
				for k, v := range rapid.MapOfN(key, value, 0, 5).Draw(t, "many") {
					edits[k] = edit[string]{value: v}
					next.plain[k] = v
				}
				edits[k] = edit[string]{gone: true}
				delete(next.plain, k)
				next.table = of.table.edited(edits)
			}
			versions = append(versions, next)
		}
		for i, v := range versions {
			held := maps.Collect(v.table.All())
			if !maps.Equal(held, v.plain) || v.table.Len() != len(v.plain) {
				t.Fatalf("version %d holds %v, %d, and should hold %v", i, held, v.table.Len(), v.plain)
			}
			if keys := slices.Sorted(v.table.Keys()); !slices.Equal(keys, slices.Sorted(maps.Keys(v.plain))) {
				t.Fatalf("version %d has the keys %v of %v", i, keys, v.plain)
			}
			for k := range 61 {
				if got := v.table.Get(k); got != v.plain[k] {
					t.Fatalf("version %d has %q at %d, not %q", i, got, k, v.plain[k])
				}
			}
			for j, other := range versions {
				var want []int
				for k := range 61 {
					a, inA := v.plain[k]
					b, inB := other.plain[k]
					if inA != inB || a != b {
						want = append(want, k)
					}
				}
				if got := slices.Sorted(v.table.Differing(other.table)); !slices.Equal(got, want) {
					t.Fatalf("versions %d, %v, and %d, %v, differ in %v", i, v.plain, j, other.plain, got)
				}
			}
		}
	})
}

// Most changes of a large Table copy a small part of it.
func TestTableSharesWhatDidNotChange(t *testing.T) {
	const size = 10_000
	plain := map[int]int{}
	for i := range size {
		plain[i] = i
	}
	now := NewTable(plain)
	const changes, most = 1000, 100 // the square root of size
	made := 0
	for i := range changes {
		next := now.With(i, -i-1)
		if len(next.delta) > most {
			t.Fatalf("%d of %d keys differ from the base after %d changes", len(next.delta), size, i+1)
		}
		if !same(now.base, next.base) {
			made++
		}
		now = next
	}
	if made > changes/most {
		t.Errorf("%d bases were made in %d changes", made, changes)
	}
	if back := NewTable(plain).With(1, -1).With(1, 1); len(back.delta) != 0 {
		t.Errorf("what is as the base has it is kept besides: %v", back.delta)
	}
}
