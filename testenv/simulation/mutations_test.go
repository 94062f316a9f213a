//go:build mutations

package simulation_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vtm-ingress/internal/mutation"
)

var (
	fault     = flag.String("fault", "", "switch this fault of the controller on")
	seeds     = flag.Int("seeds", 40, "how many seeds may be tried to find a fault")
	only      = flag.String("only", "", "faults to look for, as a regular expression; empty: all")
	processes = flag.Int("processes", runtime.NumCPU(), "how many run at once")
)

const mutationsPage = "../../docs/mutations.md"

func init() {
	before := prepare
	prepare = func() {
		before()
		for f, d := range mutation.All {
			if d.Name == *fault {
				mutation.Choose(f)
			}
		}
	}
}

// TestMutations is `make mutations`: of each deliberate fault it makes runs until one
// finds it, and writes the table of docs/mutations.md.
func TestMutations(t *testing.T) {
	wanted := regexp.MustCompile(*only)
	var names []string
	texts := map[string]string{}
	for _, d := range mutation.All {
		if wanted.MatchString(d.Name) {
			names, texts[d.Name] = append(names, d.Name), d.Text
		}
	}
	slices.Sort(names)
	rows := make([]string, len(names))
	turns := make(chan struct{}, *processes)
	var running sync.WaitGroup
	for n, name := range names {
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			found, ok := findFault(t.Context(), name)
			if !ok {
				t.Errorf("%s (%s) is not found by %d seeds", name, texts[name], *seeds)
			}
			rows[n] = fmt.Sprintf("| `%s` | %s | %s |\n", name, texts[name], found)
			t.Log(strings.TrimSpace(rows[n]))
		})
	}
	running.Wait()
	if *only != "" {
		return
	}
	page, err := os.ReadFile(mutationsPage)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| fault | what it does | found by | seed | what was seen |\n| --- | --- | --- | --- | --- |\n"
	text, _, is := strings.Cut(string(page), head)
	if !is {
		t.Fatalf("%s has no table", mutationsPage)
	}
	if err := os.WriteFile(mutationsPage, []byte(text+head+strings.Join(rows, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}

var seen = regexp.MustCompile(`(?m)^\s*simulation_test.go:\d+: seed \d+: \S+ invariant (\d+): (.*)$`)

// findFault gives the last columns of a fault's row.
func findFault(ctx context.Context, name string) (columns string, ok bool) {
	for number := uint64(1); number <= uint64(*seeds); number++ {
		output, err := process(ctx, number, *steps, "-fault="+name)
		if err == nil {
			continue
		}
		invariant, text := "0", "the process ended: "+output[max(0, len(output)-200):]
		if m := seen.FindStringSubmatch(output); m != nil {
			invariant, text = m[1], m[2]
		}
		text = strings.NewReplacer("|", "/", "\n", " ").Replace(text)
		if len(text) > 160 {
			text = strings.ToValidUTF8(text[:160], "") + "…"
		}
		return "invariant " + invariant + " | " + strconv.FormatUint(number, 10) + " | " + text, true
	}
	return "**nothing** | | ", false
}
