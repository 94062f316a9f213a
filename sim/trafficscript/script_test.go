package trafficscript_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	ts "vtm-ingress/sim/trafficscript"
)

// The files testdata/*.ts hold programs, separated by lines "---". A program
// passes when it logs no line but by log.info, and ends without an error; it
// checks itself with lang.assert or eq (a sub that each program is given as
// library "test": import test; test.eq(got, want)). A comment at the end of a
// line
//
//	### pattern      expects a compile error on this line
//	### warning: p   expects a compile warning
//	### run: p       expects a warning in the event log, naming this line
//	### abort: p     expects that the rule is aborted on this line
//
// and a program whose first line is "# response" runs as a response rule,
// "# generic request" and "# generic response" as rules of a generic protocol,
// "# completion" as one after the transaction lost its node. Behind these words a
// colon and a title may stand. Other programs of the file are its rule libraries under the name in their first
// line, "# library NAME".

type chunk struct {
	name    string
	source  string // with blank lines before it, so that lines are those of the file
	library string
	first   string
}

type expectation struct {
	line    int
	kind    string
	pattern *regexp.Regexp
	met     bool
}

const testLibrary = `
sub eq($got, $want) {
	if (lang.isArray($got) || lang.isHash($got)) { $got = lang.dump($got); }
	if (lang.isArray($want) || lang.isHash($want)) { $want = lang.dump($want); }
	lang.assert(string.cmp($got, $want) == 0, "got '" . $got . "', want '" . $want . "'");
}
`

func chunks(t *testing.T, path string) []chunk {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []chunk
	line := 0
	for _, source := range strings.Split(string(text), "\n---\n") {
		c := chunk{name: filepath.Base(path) + ":" + strconv.Itoa(line+1), source: strings.Repeat("\n", line) + source}
		c.first, _, _ = strings.Cut(source, "\n")
		c.library, _ = strings.CutPrefix(c.first, "# library ")
		if c.library == c.first {
			c.library = ""
		}
		all = append(all, c)
		line += strings.Count(source, "\n") + 2
	}
	return all
}

func expectations(t *testing.T, source string) []*expectation {
	t.Helper()
	var all []*expectation
	for i, line := range strings.Split(source, "\n") {
		_, text, ok := strings.Cut(line, "### ")
		if !ok {
			continue
		}
		e := &expectation{line: i + 1, kind: "error"}
		for _, kind := range []string{"warning", "run", "abort"} {
			if rest, ok := strings.CutPrefix(text, kind+": "); ok {
				e.kind, text = kind, rest
			}
		}
		e.pattern = regexp.MustCompile(strings.TrimSpace(text))
		all = append(all, e)
	}
	return all
}

func meet(all []*expectation, line int, kind, message string) bool {
	for _, e := range all {
		if !e.met && e.line == line && e.kind == kind && e.pattern.MatchString(message) {
			e.met = true
			return true
		}
	}
	return false
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.ts")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, path := range files {
		all := chunks(t, path)
		load := func(name string) (string, bool) {
			if name == "test" {
				return testLibrary, true
			}
			for _, c := range all {
				if c.library == name {
					return c.source, true
				}
			}
			return "", false
		}
		for _, c := range all {
			if c.library == "" {
				t.Run(c.name, func(t *testing.T) { runChunk(t, c, all, load) })
			}
		}
	}
}

func runChunk(t *testing.T, c chunk, all []chunk, load func(string) (string, bool)) {
	want := expectations(t, c.source)
	rule, diags := ts.Compile("r", c.source, load)
	told := make(map[string]bool)
	for _, d := range diags {
		for _, lib := range all {
			if lib.library == d.Rule && !told[d.Rule] {
				told[d.Rule] = true
				want = append(want, expectations(t, lib.source)...)
			}
		}
		kind := "error"
		if d.Severity == ts.Warning {
			kind = "warning"
		}
		if !meet(want, d.Line, kind, d.Message) {
			t.Errorf("%s: unexpected %s: %s", d.Rule, kind, d)
		}
	}
	if (rule == nil) != (len(diags.Errors()) > 0) {
		t.Errorf("rule is %v with errors %v", rule, diags.Errors())
	}
	if rule != nil {
		h := newHost()
		switch kind, _, _ := strings.Cut(c.first, ":"); kind {
		case "# response":
			h.respond()
		case "# completion":
			h.respond()
			h.tx.Phase, h.tx.Completion = ts.CompletionPhase, "NODE_LOST"
		case "# generic request":
			h.generic()
		case "# generic response":
			h.respond().generic()
		}
		result := rule.Run(context.Background(), h, ts.Limits{})
		for _, e := range h.events {
			kind := "run"
			switch e.Tag {
			case "rulelogmsginfo":
				continue
			case "ruleabort":
				kind = "abort"
			}
			if !meet(want, e.Line, kind, e.Message) {
				t.Errorf("line %d: unexpected event %+v", e.Line, e)
			}
		}
		if (result.End == ts.Aborted) != (result.Err != nil) {
			t.Errorf("result %+v", result)
		}
	}
	for _, e := range want {
		if !e.met {
			t.Errorf("line %d: no %s that matches %q", e.line, e.kind, e.pattern)
		}
	}
}
