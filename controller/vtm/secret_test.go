package vtm_test

import (
	"reflect"
	"testing"

	"vtm-ingress/controller/vtm"
)

func TestAPrivateKeyIsComparedByItsHash(t *testing.T) {
	const hash = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" // echo -n hello | openssl sha256 -binary | base64
	for _, test := range []struct {
		t    vtm.Type
		key  string
		got  any
		want bool
	}{
		{vtm.ServerKeys, "private", hash, true},
		{vtm.ServerKeys, "private", "hello", true},
		{vtm.ServerKeys, "private", "hash of another", false},
		{vtm.ServerKeys, "private", nil, false},
		{vtm.ServerKeys, "public", hash, false},
		{vtm.Pools, "private", hash, false},
	} {
		if got := vtm.SameValue(test.t, "basic", test.key, "hello", test.got); got != test.want {
			t.Errorf("%s basic/%s: hello against %v: %v, want %v", test.t, test.key, test.got, got, test.want)
		}
	}
}

// Values in normal form are the same exactly when they are deeply equal.
func TestValuesAreTheSameWhenTheyAreDeeplyEqual(t *testing.T) {
	// Twice, so that equal values of different make are compared, too.
	var all []any
	for range 2 {
		all = append(all, nil, "", "a", true, false, 1.0, 2.0, []string{"a"},
			[]any(nil), []any{}, []any{"a"}, []any{"a", "b"}, []any{"b", "a"}, []any{nil}, []any{1.0},
			map[string]any(nil), map[string]any{}, map[string]any{"x": "a"}, map[string]any{"y": "a"},
			map[string]any{"x": "a", "y": nil}, map[string]any{"x": nil, "z": nil}, map[string]any{"x": []any{}}, map[string]any{"x": []any(nil)},
			[]any{map[string]any{"x": "a"}}, []any{map[string]any{"x": "b"}})
	}
	for _, a := range all {
		for _, b := range all {
			if got, want := vtm.SameValue(vtm.Pools, "basic", "key", a, b), reflect.DeepEqual(a, b); got != want {
				t.Errorf("%#v and %#v are the same: %v; want %v", a, b, got, want)
			}
		}
	}
}
