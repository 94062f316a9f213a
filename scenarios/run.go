package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gherkin "github.com/cucumber/gherkin/go/v26"
	"github.com/cucumber/godog"
	messages "github.com/cucumber/messages/go/v21"

	"vtm-ingress/testenv"
)

// Run runs every scenario of the features folder in a lane, each as a subtest
// with a system of its own.
func Run(t *testing.T, lane testenv.Lane, folder string) {
	for _, s := range read(t, folder) {
		t.Run(s.feature+"/"+s.name, func(t *testing.T) {
			if missing := missing(lane, s.tags); missing != "" {
				t.Skipf("lane %s has no %s", lane.Name(), missing)
			}
			lane.Test(t, "in the "+lane.Name()+" lane", func(t *testing.T) { runOne(t, lane, s.path) })
		})
	}
}

// RunNamed runs one scenario, by the name of its file without ".feature" and its own.
func RunNamed(t *testing.T, lane testenv.Lane, folder, feature, name string) {
	for _, s := range read(t, folder) {
		if s.feature == feature && s.name == name {
			lane.Test(t, name, func(t *testing.T) { runOne(t, lane, s.path) })
			return
		}
	}
	t.Fatalf("no scenario %q in %s.feature", name, feature)
}

// listed is a scenario as it stands in a file.
type listed struct {
	feature, name string
	path          string // "file:line"
	tags          []*messages.Tag
}

func read(t *testing.T, folder string) (all []listed) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.feature"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no features in %s: %v", folder, err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		document, err := gherkin.ParseGherkinDocument(bytes.NewReader(source), (&messages.Incrementing{}).NewId)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, child := range document.Feature.Children {
			if child.Scenario != nil {
				all = append(all, listed{
					feature: strings.TrimSuffix(filepath.Base(file), ".feature"), name: child.Scenario.Name,
					path: fmt.Sprintf("%s:%d", file, child.Scenario.Location.Line),
					tags: append(slices.Clone(document.Feature.Tags), child.Scenario.Tags...),
				})
			}
		}
	}
	return all
}

// missing is the first capability that tags ask for and the lane lacks.
func missing(lane testenv.Lane, tags []*messages.Tag) string {
	for _, tag := range tags {
		if need, ok := strings.CutPrefix(tag.Name, "@needs-"); ok && !lane.Has(testenv.Capability(need)) {
			return need
		}
	}
	return ""
}

// runOne runs the scenario at path ("file:line"). godog gets no testing.T: with
// one it starts goroutines outside the lane's surroundings.
func runOne(t *testing.T, lane testenv.Lane, path string) {
	var output bytes.Buffer
	suite := godog.TestSuite{
		Name: path,
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			s := &scenario{lane: lane}
			sc.Before(func(ctx context.Context, running *godog.Scenario) (context.Context, error) {
				s.lenient = slices.ContainsFunc(running.Tags, func(tag *messages.PickleTag) bool { return tag.Name == "@lenient" })
				return ctx, nil
			})
			sc.After(func(ctx context.Context, _ *godog.Scenario, err error) (context.Context, error) {
				s.end(err, &output)
				return ctx, nil
			})
			s.register(sc)
		},
		Options: &godog.Options{
			Format: "pretty", Output: &output, NoColors: true, Concurrency: 1, Strict: true,
			Paths: []string{path}, DefaultContext: t.Context(),
		},
	}
	if status := suite.Run(); status != 0 {
		t.Errorf("status %d\n%s", status, output.String())
	} else if !strings.Contains(output.String(), "passed") {
		t.Errorf("%s ran no step:\n%s", path, output.String())
	}
}
