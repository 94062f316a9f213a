package mutation_test

import (
	"os"
	"regexp"
	"testing"

	"vtm-ingress/internal/mutation"
)

// row is one of docs/mutations.md, of a fault that an invariant found.
var row = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.+) \\| invariant [1-8] \\| \\d+ \\| [^|]+ \\|$")

// TestEachFaultIsFound compares the table that `make mutations` writes with the faults.
func TestEachFaultIsFound(t *testing.T) {
	page, err := os.ReadFile("../../docs/mutations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		found[m[1]] = m[2]
	}
	for _, d := range mutation.All() {
		if found[d.Name] != d.Text {
			t.Errorf("docs/mutations.md does not say by which invariant the simulation found %s (%s): make mutations ONLY='^%s$'", d.Name, d.Text, d.Name)
		}
		delete(found, d.Name)
	}
	for name := range found {
		t.Errorf("docs/mutations.md has a row for %s, and there is no such fault", name)
	}
	if all := len(mutation.All()); all < 25 {
		t.Errorf("there are %d faults: fewer than 25 show too little", all)
	}
}
