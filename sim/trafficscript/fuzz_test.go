package trafficscript_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ts "vtm-ingress/sim/trafficscript"
)

func seeds(f testing.TB) []string {
	files, err := filepath.Glob("testdata/*.ts")
	if err != nil {
		f.Fatal(err)
	}
	all := []string{
		"", "$", "\"", "'\\", "\"\\x", "\"\\u00", "#", "0x", "1e", "$a[[", "switch(1){case", "import a as", "sub f(",
		"\x00", "\xff\xfe", "$1=$2=$a[$b[1]]++;", "f.g.h.i(1)[2][3];", "$a = [1 => [2 => 3,],];", "%", "1 ? 2 : 3 ? 4 : 5;",
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, strings.Split(string(text), "\n---\n")...)
	}
	return all
}

// FuzzRule: no source makes compiling or running panic, and none runs or grows
// without bound, in no phase.
func FuzzRule(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(checkRule)
}

// TestManyMutilatedRules is a bounded piece of FuzzRule: programs that were cut,
// joined and changed at random places, always the same ones.
func TestManyMutilatedRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := seeds(t)
	for range 1500 {
		source := all[random.IntN(len(all))]
		for range 1 + random.IntN(4) {
			source = mutilate(random, source, all[random.IntN(len(all))])
		}
		checkRule(t, source)
		if t.Failed() {
			t.Fatalf("source:\n%s", source)
		}
	}
}

func mutilate(random *rand.Rand, s, other string) string {
	if len(s) == 0 {
		return other
	}
	from := random.IntN(len(s))
	to := from + random.IntN(min(len(s)-from, 40)+1)
	switch random.IntN(5) {
	case 0: // something is missing
		return s[:from] + s[to:]
	case 1: // something is there twice
		return s[:to] + s[from:]
	case 2: // something else is in between
		if len(other) > 0 {
			at := random.IntN(len(other))
			return s[:from] + other[at:min(at+40, len(other))] + s[to:]
		}
	case 3: // it breaks off
		return s[:from]
	}
	b := []byte(s) // a byte is another one
	const others = "\x00\n\"'{}()[];$#.,=&|0a\xff"
	b[from] = others[random.IntN(len(others))]
	return string(b)
}

// checkRule is what holds for any source.
func checkRule(t *testing.T, source string) {
	load := func(name string) (string, bool) {
		if name == "test" {
			return testLibrary, true
		}
		return source, name == "self"
	}
	rule, diags := ts.Compile("fuzz", source, load)
	if (rule == nil) != (len(diags.Errors()) > 0) {
		t.Fatalf("rule %v with %v", rule, diags)
	}
	for _, d := range diags {
		if d.Line < 1 || d.Column < 1 || d.Message == "" {
			t.Fatalf("diagnostic %+v", d)
		}
	}
	if rule == nil {
		return
	}
	limits := ts.Limits{Instructions: 5000, Depth: 50, Memory: 1 << 20}
	for _, h := range []*memoryHost{newHost(), newHost().respond(), newHost().generic(), newHost().respond().generic()} {
		result := rule.Run(context.Background(), h, limits)
		if result.Instructions > limits.Instructions || (result.End == ts.Aborted) != (result.Err != nil) {
			t.Fatalf("result %+v", result)
		}
		if h.tx.ClientData == nil {
			checkTransaction(t, &h.tx)
		}
	}
}

// checkTransaction: whatever a rule does, what goes on the wire keeps to one
// message.
func checkTransaction(t *testing.T, tx *ts.Transaction) {
	t.Helper()
	if strings.ContainsAny(tx.Request.Method+tx.Request.Target, " \r\n\x00") || tx.Request.Method == "" || tx.Request.Target == "" {
		t.Fatalf("request line %q %q", tx.Request.Method, tx.Request.Target)
	}
	headers := map[string][]string{"Host": {tx.Request.Host}, "Set-Cookie": tx.SetCookies}
	for name, values := range tx.Request.Header {
		headers[name] = values
	}
	if tx.Response != nil {
		for name, values := range tx.Response.Header {
			headers[name] = append(headers[name], values...)
		}
		headers["Reason"] = []string{tx.Response.Reason}
		if tx.Response.Code < 200 || tx.Response.Code > 999 {
			t.Fatalf("response code %d", tx.Response.Code)
		}
	}
	if a := tx.Answer; a != nil {
		for name, values := range a.Header {
			headers[name] = append(headers[name], values...)
		}
		headers["Reason"] = append(headers["Reason"], a.Reason)
		if a.Code < 200 || a.Code > 999 {
			t.Fatalf("answer code %d", a.Code)
		}
	}
	for name, values := range headers {
		if name == "" || strings.ContainsAny(name, " :\r\n\x00") {
			t.Fatalf("header name %q", name)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") {
				t.Fatalf("header %s: %q", name, v)
			}
		}
	}
}

// FuzzNormalizePath: the result is normal, and never leaves the root.
func FuzzNormalizePath(f *testing.F) {
	for _, s := range paths {
		f.Add(s)
	}
	rule := compile(f, normalizes)
	f.Fuzz(func(t *testing.T, path string) { checkNormalPath(t, rule, path) })
}

// TestManyMutilatedPaths looks for the same on paths made of the seeds.
func TestManyMutilatedPaths(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rule := compile(t, normalizes)
	for range 3000 {
		path := paths[random.IntN(len(paths))]
		for range 1 + random.IntN(4) {
			path = mutilate(random, path, paths[random.IntN(len(paths))])
		}
		if checkNormalPath(t, rule, path); t.Failed() {
			return
		}
	}
}

var paths = []string{"/", "/a/../b", "//", "/..", "/a/./", "a/..", "/a\x00", "/.../x", "/a//../.."}

const normalizes = `$n = http.normalizePath(http.getHeader("P")); http.setHeader("N", $n); http.setHeader("NN", http.normalizePath($n));`

func checkNormalPath(t *testing.T, rule *ts.Rule, path string) {
	t.Helper()
	h := newHost()
	h.tx.Request.Header["P"] = []string{path}
	rule.Run(context.Background(), h, ts.Limits{})
	got, again := h.tx.Request.Header.Get("N"), h.tx.Request.Header.Get("Nn")
	if got != again {
		t.Errorf("%q: %q is not normal: %q", path, got, again)
	}
	if strings.Contains(got, "//") || strings.Contains("/"+got+"/", "/../") || strings.Contains("/"+got+"/", "/./") {
		t.Errorf("%q: %q", path, got)
	}
}
