package vtm

import (
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
)

// Descriptions are for people: the keys that people set are explained.
func TestEveryTypeAndEveryKeyThatPeopleSetIsExplained(t *testing.T) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	all, without := 0, []string{}
	for path, kind := range sch.types {
		if !strings.HasSuffix(kind.about, ".") {
			t.Errorf("%s is explained as %q", path, kind.about)
		}
		for _, sec := range kind.sections {
			for _, p := range sec.properties {
				all++
				switch {
				case p.about == "":
					without = append(without, path+" "+sec.name+"/"+p.name)
				case !strings.HasSuffix(p.about, ".") || p.about != strings.TrimSpace(p.about):
					t.Errorf("%s %s/%s is explained as %q", path, sec.name, p.name, p.about)
				}
			}
		}
	}
	for _, key := range without {
		if path, _, _ := strings.Cut(key, " "); path != "global_settings" && path != "traffic_managers" {
			t.Errorf("%s is not explained", key)
		}
	}
	if len(without) > 100 {
		t.Errorf("%d of %d keys are not explained: %q", len(without), all, without)
	}
	for _, wrong := range []string{"pools\tTwice.\npools\tTwice.\n", "puddles\tWhat?\n", "pools basic/wings\tWhat?\n", "pools without a tab\n"} {
		if err := sch.describe([]byte(wrong)); err == nil {
			t.Errorf("the description %q is taken", wrong)
		}
	}
}
