package facts_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vtm-ingress/internal/facts"
)

var update = flag.Bool("update", false, "write docs/settings.md")

const page = "../../docs/settings.md"

// types are what the page says of each type, in its order.
var types = []struct{ name, words string }{
	{"bool", "`true` or `false`"},
	{"string", "a text"},
	{"names", "a list of names; in the environment and as a flag with commas between them"},
	{"secret", "a text that nobody may see: it has no flag, as the list of processes shows flags, and is never logged"},
	{"file", "the path of a file that can be read"},
	{"url", "an `https://` or `http://` URL without a path"},
	{"urls", "a list of such URLs; in the environment and as a flag with commas between them"},
	{"duration", "a number with a unit, such as `10m`, `1m30s` or `500ms`"},
	{"address", "`host:port`, or `:port` for all addresses of the machine"},
}

type setting struct {
	Key, Type, Default, Pattern, Expects, Min, Max, Example, Meaning string

	Required, Local bool

	Enum []string
}

// TestTheSettingsPageTellsAllSettings compares docs/settings.md with what the
// settings' description makes of it; `make docs` writes it.
func TestTheSettingsPageTellsAllSettings(t *testing.T) {
	want := settingsPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), want); d != "" {
		t.Errorf("docs/settings.md is stale: `make docs` writes it (-there +should be):\n%s", d)
	}
}

func settingsPage(t *testing.T) string {
	t.Helper()
	var all struct{ Settings []setting }
	if err := json.Unmarshal(facts.Settings, &all); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var b strings.Builder
	b.WriteString(`# Settings of the controller

<!-- Made from internal/facts/settings.json by ` + "`make docs`" + `. -->

A setting can be given as a flag, in the environment, or in a YAML file, one
` + "`key: value`" + ` a line; where it is given twice, the flag wins over the environment, and
the environment over the file. With [settings_source](#settings_source) ` + "`vtm`" + ` the traffic
manager keeps settings too, except those marked local; they win over the file. All are
looked at again every ten seconds, and a change takes effect without a restart; only
log_format, metrics_address and debug_address are those of the start.
` + "`--config FILE`" + ` or ` + "`VTM_INGRESS_CONFIG`" + ` names the file. An
unknown key is a mistake. All mistakes are told at once, each with its line, and end
the program with status 2.

| type | what it takes |
| --- | --- |
`)
	for _, kind := range types {
		known[kind.name] = true
		fmt.Fprintf(&b, "| %s | %s |\n", kind.name, kind.words)
	}
	for _, s := range all.Settings {
		if !known[s.Type] {
			t.Errorf("%s: nothing is said of the type %q", s.Key, s.Type)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", s.Key, s.Meaning)
		facts := []string{s.Type}
		add := func(name, value string) {
			if value != "" {
				facts = append(facts, name+value)
			}
		}
		if s.Required {
			add("", "required")
		}
		add("", s.Expects)
		if len(s.Enum) > 0 {
			add("one of ", code(s.Enum...))
		}
		if s.Min != "" || s.Max != "" {
			add("", "from "+code(s.Min)+" to "+code(s.Max))
		}
		if s.Default != "" {
			add("default ", code(s.Default))
		}
		if s.Example != "" {
			add("for example ", code(s.Example))
		}
		if s.Local {
			add("", "local")
		}
		fmt.Fprintf(&b, "Type: %s.\n", strings.Join(facts, "; "))
		if s.Type != "secret" {
			fmt.Fprintf(&b, "Flag %s, environment", code("--"+strings.ReplaceAll(s.Key, "_", "-")))
		} else {
			b.WriteString("Environment")
		}
		fmt.Fprintf(&b, " %s.\n", code("VTM_INGRESS_"+strings.ToUpper(s.Key)))
	}
	return b.String()
}

func code(words ...string) string { return "`" + strings.Join(words, "`, `") + "`" }
