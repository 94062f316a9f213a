package trafficscript_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
	ts "vtm-ingress/sim/trafficscript"
)

var update = flag.Bool("update", false, "write the page of functions")

const functionPage = "../../docs/trafficscript-functions.md"

// testTexts returns where functions are tested: the programs of testdata by
// "file.ts: first line", and the tests in Go by their file.
func testTexts(t *testing.T) (names, texts []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.ts")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		for _, c := range chunks(t, path) {
			title := strings.TrimPrefix(c.first, "# ")
			if title == c.first {
				title = "program at line " + c.name[strings.LastIndexByte(c.name, ':')+1:]
			}
			names, texts = append(names, filepath.Base(path)+": "+title), append(texts, c.source)
		}
	}
	for _, path := range []string{"run_test.go", "certificate_test.go", "machine_test.go", "tables_test.go"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names, texts = append(names, path), append(texts, string(text))
	}
	return names, texts
}

// coverage returns which test calls each function; "" for none. Calls in programs
// that expect a compile error do not run, and do not count.
func coverage(t *testing.T) map[string]string {
	names, texts := testTexts(t)
	by := make(map[string]string)
	for _, f := range ts.LibraryNames() {
		call := regexp.MustCompile(`(^|[^.\w])` + regexp.QuoteMeta(f) + `\(`)
		for i, text := range texts {
			if !strings.HasPrefix(names[i], "syntax.ts") && call.MatchString(text) {
				by[f] = names[i]
				break
			}
		}
	}
	return by
}

// noEffect finds the functions of which docs/trafficscript.md says that what they
// set is seen by rules alone.
var noEffect = regexp.MustCompile(`(BandwidthClass|DSCP|ToS|ServerCloseAlert|LogEnabled|\.(request|require)Cert|markedForInclusion|clude)$|^http\.(kerberos|aptimizer)\.`)

func TestEveryFunctionIsTested(t *testing.T) {
	covered := coverage(t)
	for _, name := range ts.LibraryNames() {
		if covered[name] == "" {
			t.Errorf("no test calls %s", name)
		}
	}
}

// TestThePageOfFunctionsIsCurrent: docs/trafficscript-functions.md says of each
// function of the traffic manager whether it works here, and which test shows it.
func TestThePageOfFunctionsIsCurrent(t *testing.T) {
	covered := coverage(t)
	ours := make(map[string]string) // lower case to the spelling of the table
	for _, name := range ts.LibraryNames() {
		ours[strings.ToLower(name)] = name
	}
	families := make(map[string][]string)
	works, all := 0, 0
	row := func(name, params string) {
		family, _, _ := strings.Cut(name, ".")
		if !strings.Contains(name, ".") {
			family = "lang"
		}
		state, test := "not emulated", ""
		if n, ok := ours[strings.ToLower(name)]; ok {
			works++
			state, test = "works", covered[n]
			if noEffect.MatchString(n) {
				state = "works, without effect on the network"
			}
			if instead := ts.ReplacedBy(n); instead != "" {
				state = "works, deprecated: use `" + instead + "`"
			}
			delete(ours, strings.ToLower(name))
		}
		all++
		families[family] = append(families[family], fmt.Sprintf("| `%s(%s)` | %s | %s |\n", name, params, state, test))
	}
	for line := range strings.Lines(string(facts.TrafficScriptFunctions)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" && line[0] != '#' {
			name, params, _ := strings.Cut(line, "\t")
			row(name, strings.TrimSpace(params))
		}
	}
	for _, name := range sorted(ours) {
		row(ours[name], "") // short names that the reference only mentions
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# TrafficScript functions

All functions of the traffic manager's reference (about release 9.9), whether they work in the emulated one, and the test in `+"`sim/trafficscript`"+` that shows it. %d of %d work. A rule that calls one that is not emulated is refused when it is compiled, by the function's name. [trafficscript.md](trafficscript.md) describes the language, and says which functions have no effect on the network.

Functions that ask for something beyond the transaction (extra files, counters, rate and service level classes, places, name servers, authenticators, other web servers) work as far as what runs the rule provides it: `+"`trafficscript.Machine`"+`. Where it does not, they answer as for a thing that does not exist.

This page is generated: `+"`go test ./sim/trafficscript -run Page -update`"+`.
`, works, all)
	for _, family := range sorted(families) {
		fmt.Fprintf(&b, "\n## %s\n\n| function | state | test |\n| --- | --- | --- |\n%s", family, strings.Join(families[family], ""))
	}
	if *update {
		if err := os.WriteFile(functionPage, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if page, err := os.ReadFile(functionPage); err != nil || string(page) != b.String() {
		t.Errorf("%s is not current: run go test ./sim/trafficscript -run Page -update (%v)", functionPage, err)
	}
}

// TestTheExamplesOfTheLanguagePageHold runs the programs of docs/trafficscript.md.
func TestTheExamplesOfTheLanguagePageHold(t *testing.T) {
	page, err := os.ReadFile("../../docs/trafficscript.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```ts\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d programs", len(blocks))
	}
	for _, b := range blocks {
		source, _, _ := strings.Cut(b, "```")
		title, _, _ := strings.Cut(source, "\n")
		h := newHost()
		rule, diags := ts.Compile("page", source, nil)
		if rule == nil || len(diags) > 0 {
			t.Errorf("%s: %v", title, diags)
			continue
		}
		if result := rule.Run(t.Context(), h, ts.Limits{}); result.Err != nil || len(h.events) > 0 {
			t.Errorf("%s: %v, events %v", title, result.Err, h.events)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
