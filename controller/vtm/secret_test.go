package vtm_test

import (
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
