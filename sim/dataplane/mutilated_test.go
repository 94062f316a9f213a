package dataplane

import (
	"math/rand/v2"
	"testing"
)

// What the fuzzers look for, on many inputs made of their seeds: the same ones in each
// run.
func TestManyMutilatedInputs(t *testing.T) {
	var requests, headers []string
	for _, c := range ambiguous {
		requests = append(requests, c.request)
	}
	requests = append(requests, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"+smuggled)
	for _, c := range proxyHeaders {
		headers = append(headers, c.header)
	}
	for _, of := range []struct {
		name  string
		seeds []string
		check func(*testing.T, []byte)
	}{
		{"framing", requests, checkFraming},
		{"PROXY headers", headers, checkProxyHeader},
		{"ClientHellos", hellos, checkHelloSession},
		{"targets", targets, func(t *testing.T, b []byte) { checkTarget(t, string(b)) }},
	} {
		t.Run(of.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			for range 5000 {
				input := []byte(of.seeds[random.IntN(len(of.seeds))])
				for range 1 + random.IntN(4) {
					input = mutilate(random, input, of.seeds[random.IntN(len(of.seeds))])
				}
				if of.check(t, input); t.Failed() {
					t.Fatalf("input: %q", input)
				}
			}
		})
	}
}

// mutilate takes a piece away, doubles it, puts another's in, or changes a byte.
func mutilate(random *rand.Rand, b []byte, other string) []byte {
	if len(b) == 0 {
		return []byte(other)
	}
	from := random.IntN(len(b))
	to := from + random.IntN(min(len(b)-from, 20)+1)
	out := append([]byte(nil), b[:from]...)
	switch random.IntN(4) {
	case 0:
		return append(out, b[to:]...)
	case 1:
		return append(append(out, b[from:to]...), b[from:]...)
	case 2:
		if len(other) > 0 {
			at := random.IntN(len(other))
			out = append(out, other[at:min(at+20, len(other))]...)
		}
		return append(out, b[from:]...)
	}
	out = append(out, b[from:]...)
	out[from] = byte(random.IntN(256))
	return out
}
