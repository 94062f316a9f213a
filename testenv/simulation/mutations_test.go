//go:build mutations

package simulation_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vtm-ingress/internal/mutation"
	"vtm-ingress/testenv/simulation"
)

var (
	fault     = flag.String("fault", "", "switch this fault of the controller on; "+noFault+": none, in the same way")
	seeds     = flag.Int("seeds", 40, "how many seeds may be tried to find a fault")
	only      = flag.String("only", "", "faults to look for, as a regular expression; empty: all")
	processes = flag.Int("processes", runtime.NumCPU(), "how many run at once")
)

const mutationsPage = "../../docs/mutations.md"

const noFault = "none"

func init() {
	prepare = func(o *simulation.Options) {
		if *fault == noFault {
			o.Upgrade = func() {}
		}
		for f, d := range mutation.All() {
			if d.Name == *fault {
				o.Upgrade = func() { mutation.Choose(f) }
			}
		}
	}
}

// TestMutations is `make mutations`: of each deliberate fault it makes runs until one
// finds it, first of the seed that found it the last time, and writes its row of
// docs/mutations.md. What it does not look for keeps its row.
func TestMutations(t *testing.T) {
	page, err := os.ReadFile(mutationsPage)
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(*only)
	rows, known := rowsOf(string(page))
	var mu sync.Mutex // guards rows
	turns := make(chan struct{}, *processes)
	var running sync.WaitGroup
	for _, d := range slices.SortedFunc(maps.Values(mutation.All()), func(a, b mutation.Description) int { return strings.Compare(a.Name, b.Name) }) {
		if !wanted.MatchString(d.Name) {
			continue
		}
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			found, ok := findFault(t, d.Name, known[d.Name])
			if !ok {
				t.Errorf("%s (%s) is not found by %d seeds", d.Name, d.Text, *seeds)
			}
			row := fmt.Sprintf("| `%s` | %s | %s |\n", d.Name, d.Text, found)
			t.Log(strings.TrimSpace(row))
			mu.Lock()
			defer mu.Unlock()
			rows[d.Name] = row
			if err := os.WriteFile(mutationsPage, []byte(withRows(string(page), rows)), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

const tableHead = "| fault | what it does | found by | seed | what was seen |\n| --- | --- | --- | --- | --- |\n"

var tableRow = regexp.MustCompile("(?m)^\\| `(\\w+)` \\|.*\\| (\\d*) \\|[^|\\n]*\\|\n")

// rowsOf gives the rows of the page's table and the seeds that found the faults, by
// their names. Faults that are no more have none.
func rowsOf(page string) (rows map[string]string, seeds map[string]uint64) {
	rows, seeds = map[string]string{}, map[string]uint64{}
	for _, d := range mutation.All() {
		rows[d.Name] = ""
	}
	for _, m := range tableRow.FindAllStringSubmatch(page, -1) {
		if _, is := rows[m[1]]; is {
			rows[m[1]] = m[0]
			seeds[m[1]], _ = strconv.ParseUint(m[2], 10, 64) // none: 0
		}
	}
	return rows, seeds
}

// withRows is the page with these rows in its table.
func withRows(page string, rows map[string]string) string {
	text, _, _ := strings.Cut(page, tableHead)
	text += tableHead
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		text += rows[name]
	}
	return text
}

var seen = regexp.MustCompile(`(?s)simulation_test.go:\d+: seed \d+: \S+ invariant (\d+): (.*?)(\n--- FAIL|\nFAIL|$)`)

// findFault gives the last columns of a fault's row. The seed that found it the last
// time comes first.
func findFault(t *testing.T, name string, known uint64) (columns string, ok bool) {
	numbers := []uint64{}
	if known != 0 {
		numbers = append(numbers, known)
	}
	for number := range uint64(*seeds) {
		if number+1 != known {
			numbers = append(numbers, number+1)
		}
	}
	for _, number := range numbers {
		output, err := process(t.Context(), number, *steps, "-fault="+name)
		if err == nil {
			continue
		}
		if _, err := process(t.Context(), number, *steps, "-fault="+noFault); err != nil {
			t.Logf("seed %d fails without %s, too: it counts for nothing", number, name)
			continue
		}
		invariant, text := "0", "the process ended: "+output[max(0, len(output)-200):]
		if m := seen.FindStringSubmatch(output); m != nil {
			invariant, text = m[1], m[2]
		}
		text = strings.Join(strings.Fields(strings.ReplaceAll(text, "|", "/")), " ")
		if len(text) > 160 {
			text = strings.ToValidUTF8(text[:160], "") + "…"
		}
		return "invariant " + invariant + " | " + strconv.FormatUint(number, 10) + " | " + text, true
	}
	return "**nothing** |  | ", false
}
