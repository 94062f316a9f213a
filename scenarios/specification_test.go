package scenarios

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/testenv"
	"vtm-ingress/testenv/bubble"
	"vtm-ingress/testenv/loopback"
)

// TestEachStatementOfTheSpecificationHasAProof holds docs/specification.md to what
// there is: files, tests and scenarios, and that these are run.
func TestEachStatementOfTheSpecificationHasAProof(t *testing.T) {
	text, err := os.ReadFile("../docs/specification.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| (\\d+\\.\\d+) \\| (.+) \\| `([^`]+)` \\| (.+) \\|$")
	p := proofs{t: t, tests: map[string]map[string]bool{}, scenarios: map[string]bool{}}
	for _, s := range read(t, "../features") {
		p.scenarios[s.feature+": "+s.name] = slices.ContainsFunc([]testenv.Lane{bubble.Lane{}, loopback.Lane{}},
			func(lane testenv.Lane) bool { return missing(lane, s.tags) == "" })
	}
	var numbers, open []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| No.") || strings.HasPrefix(line, "| ---") {
			continue
		}
		cells := row.FindStringSubmatch(strings.TrimSpace(line))
		if cells == nil {
			t.Errorf("not a row of number, statement, place and proof: %s", line)
			continue
		}
		number, place, proof := cells[1], cells[3], cells[4]
		if slices.Contains(numbers, number) {
			t.Errorf("%s stands there twice", number)
		}
		numbers = append(numbers, number)
		if _, err := os.Stat(filepath.Join("..", place)); err != nil {
			t.Errorf("%s is said to be implemented where nothing is: %v", number, err)
		}
		if proof == "open" {
			open = append(open, number)
			continue
		}
		for one := range strings.SplitSeq(proof, "; ") {
			if problem := p.wrong(one); problem != "" {
				t.Errorf("%s: %s: %s", number, one, problem)
			}
		}
	}
	if len(numbers) < 70 {
		t.Errorf("%d rows are too few", len(numbers))
	}
	if len(open) > 0 {
		t.Errorf("rows without proof: %q", open)
	}
	for wrong, why := range map[string]string{
		"`routing.feature`: Nothing": "a scenario", "`controller/translate` TestNothing": "a test",
		"`controller/translate` TestGoldenCases/nothing.txtar": "a golden case", "by heart": "no form of proof",
	} {
		if p.wrong(wrong) == "" {
			t.Errorf("%q, %s that does not exist, passes as a proof", wrong, why)
		}
	}
}

// proofs are what rows may name.
type proofs struct {
	t         *testing.T
	scenarios map[string]bool            // "file: name", to whether a lane runs it
	tests     map[string]map[string]bool // by folder: name, to whether it can run
}

var (
	scenarioProof = regexp.MustCompile("^`([a-z0-9_]+)\\.feature`: (.+)$")
	testProof     = regexp.MustCompile("^`([a-z0-9_/-]+)` ((?:Test|Fuzz)\\w+)(?:/(\\S+))?$")
)

// wrong says what is wrong with a proof, "" if it stands.
func (p *proofs) wrong(proof string) string {
	if m := scenarioProof.FindStringSubmatch(proof); m != nil {
		runs, exists := p.scenarios[m[1]+": "+m[2]]
		switch {
		case !exists:
			return "there is no such scenario"
		case !runs:
			return "no lane runs this scenario: look at its tags"
		}
		return ""
	}
	m := testProof.FindStringSubmatch(proof)
	if m == nil {
		return "neither a scenario, `file.feature`: name, nor a test, `folder` TestName"
	}
	if p.tests[m[1]] == nil {
		p.tests[m[1]] = testsIn(p.t, filepath.Join("..", m[1]))
	}
	runs, exists := p.tests[m[1]][m[2]]
	switch {
	case !exists:
		return "there is no such test"
	case !runs:
		return "this test is skipped or left out of the build"
	}
	if m[3] != "" {
		if _, err := os.Stat(filepath.Join("..", m[1], "testdata", m[3])); err != nil {
			return "there is no such case in testdata"
		}
	}
	return ""
}

// testsIn gives the tests of a folder, and whether each can run: its file is built,
// and it does not begin by skipping itself.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	context := build.Default
	context.BuildTags = append(slices.Clone(context.BuildTags), "hashedrand")
	found := map[string]bool{}
	for _, file := range files {
		built, err := context.MatchFile(filepath.Split(file))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range parsed.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil {
				found[f.Name.Name] = built && !skipsItself(f)
			}
		}
	}
	return found
}

func skipsItself(f *ast.FuncDecl) bool {
	if f.Body == nil || len(f.Body.List) == 0 {
		return true
	}
	statement, ok := f.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return false
	}
	call, ok := statement.X.(*ast.CallExpr)
	if !ok {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && strings.HasPrefix(method.Sel.Name, "Skip")
}
