package vtm

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
)

// TestEveryTypeBelongsToAPage holds the pages to the schema, and docs to the pages.
func TestEveryTypeBelongsToAPage(t *testing.T) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string][]string) // by page
	for _, path := range slices.Sorted(maps.Keys(pages)) {
		types[pages[path]] = append(types[pages[path]], "`"+path+"`")
		if sch.types[path] == nil && !strings.HasPrefix(path, "status/") {
			t.Errorf("%s is no type", path)
		}
	}
	for path := range sch.types {
		if pages[path] == "" {
			t.Errorf("%s belongs to no page: nobody but Admin may use it", path)
		}
	}
	want := "| page | resources |\n| --- | --- |\n"
	for _, page := range slices.Sorted(maps.Keys(types)) {
		want += "| " + page + " | " + strings.Join(types[page], ", ") + " |\n"
	}
	docs, err := os.ReadFile("../../docs/emulated-vtm.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), want) {
		t.Errorf("docs/emulated-vtm.md lacks this table:\n%s", want)
	}
}

func TestBuiltInGroupsNameKnownLevelsAndPagesOnce(t *testing.T) {
	for name, g := range builtinGroups {
		seen := make(map[string]bool)
		for page := range strings.FieldsSeq(g.full + " " + g.ro + " " + g.none) {
			if seen[page] {
				t.Errorf("%s names %s twice", name, page)
			}
			seen[page] = true
		}
	}
}
