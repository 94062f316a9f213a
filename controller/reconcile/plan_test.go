package reconcile

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// Each case holds "observed" and "desired", both YAML of id -> properties, or
// text for a rule; "foreign", the appliance's Traffic IP Groups and virtual
// servers that are not ours; and the "plan". A mark is added to each resource.
func TestPlansAreAsInTestdata(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string][]byte{}
			for _, f := range archive.Files {
				sections[f.Name] = f.Data
			}
			observed := NewObserved(foreign(t, sections["foreign"]), resources(t, sections["observed"])...)
			desired := map[vtm.ID]*vtm.Resource{}
			for _, r := range resources(t, sections["desired"]) {
				desired[r.ID] = r
			}
			got := Diff(desired, observed, nil).String()
			if *update {
				for i := range archive.Files {
					if archive.Files[i].Name == "plan" {
						archive.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(sections["plan"]), got); diff != "" {
				t.Errorf("plan (-want +got; -update rewrites):\n%s", diff)
			}
		})
	}
}

func resources(t *testing.T, text []byte) []*vtm.Resource {
	t.Helper()
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	mark := vtm.Mark{ID: "k8s", Cluster: "c", Kind: "Ingress", Namespace: "shop", Name: "web", UID: "1"}
	var out []*vtm.Resource
	for key, value := range all {
		slash := strings.LastIndexByte(key, '/')
		kind, name := vtm.Type(key[:slash]), key[slash+1:]
		switch v := value.(type) {
		case string:
			out = append(out, vtm.NewFile(kind, name, append([]byte(mark.Comment()), v...)))
		case map[string]any:
			p := vtm.Properties{}
			for section, keys := range v {
				p[section] = keys.(map[string]any)
			}
			if p["basic"] == nil {
				p["basic"] = map[string]any{}
			}
			p["basic"]["note"] = mark.Format()
			out = append(out, vtm.New(kind, name, p))
		}
	}
	return out
}

func foreign(t *testing.T, text []byte) translate.Appliance {
	t.Helper()
	var in struct {
		Groups  map[string][]string
		Servers map[string]struct {
			Groups []string
			Port   int
		}
	}
	if err := yaml.UnmarshalStrict(text, &in); err != nil {
		t.Fatal(err)
	}
	a := translate.Appliance{Members: []string{"vtm-1"}, Groups: map[string]translate.Group{}, Servers: map[string]translate.Server{}}
	for name, addresses := range in.Groups {
		var g translate.Group
		for _, address := range addresses {
			g.Addresses = append(g.Addresses, netip.MustParseAddr(address))
		}
		a.Groups[name] = g
	}
	for name, s := range in.Servers {
		a.Servers[name] = translate.Server{Groups: s.Groups, Port: s.Port}
	}
	return a
}

func TestPlanNeverShowsPrivateKeys(t *testing.T) {
	key := vtm.New(vtm.ServerKeys, "k8s_shop_tls", vtm.Properties{"basic": {"private": "SECRET", "public": "P", "request": ""}})
	plan := Diff(map[vtm.ID]*vtm.Resource{key.ID: key}, NewObserved(translate.Appliance{}), nil).String()
	if strings.Contains(plan, "SECRET") || !strings.Contains(plan, "[hidden]") {
		t.Errorf("plan shows a private key:\n%s", plan)
	}
}

func TestDiffLeavesSettledResourcesAlone(t *testing.T) {
	r := vtm.New(vtm.Pools, "k8s_a", vtm.Properties{"basic": {"note": "x"}})
	observed := NewObserved(translate.Appliance{}, vtm.New(vtm.Pools, "k8s_a", vtm.Properties{"basic": {"note": "y"}}))
	desired := map[vtm.ID]*vtm.Resource{r.ID: r}
	if p := Diff(desired, observed, nil); len(p.Steps) != 1 {
		t.Fatalf("without settled: %d steps, want 1", len(p.Steps))
	}
	if p := Diff(desired, observed, desired); len(p.Steps) != 0 {
		t.Errorf("settled: %d steps, want none", len(p.Steps))
	}
}

func TestDiffNeverTouchesAClash(t *testing.T) {
	r := vtm.New(vtm.Pools, "k8s_a", vtm.Properties{"basic": {"note": "x"}})
	observed := NewObserved(translate.Appliance{})
	observed.Clashes[r.ID] = true
	p := Diff(map[vtm.ID]*vtm.Resource{r.ID: r}, observed, nil)
	if len(p.Steps) != 0 || len(p.Held) != 1 {
		t.Errorf("plan:\n%s", p)
	}
}

func TestRuleReferencesAreFound(t *testing.T) {
	rule := vtm.NewFile(vtm.Rules, "r", []byte(`# vtm-ingress/1 "not_this"
import k8s_lib as lib; import "k8s lib2";
if (http.getPath() == 'it\'s "odd"') { pool.use("k8s_a"); } # "nor this"
else { pool.select( 'k8s_b' ); }
pool.use("k8s_\"c`))
	var got []string
	eachReference(rule, func(id vtm.ID) { got = append(got, id.String()) })
	want := []string{"rules/k8s_lib", "rules/k8s lib2", `pools/it's "odd"`, "pools/k8s_a", "pools/k8s_b", `pools/k8s_"c`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

func FuzzScanRule(f *testing.F) {
	f.Add([]byte("import a; pool.use(\"b\"); # c\n'd\\"))
	f.Fuzz(func(t *testing.T, source []byte) {
		_, literals := scanRule(source)
		for _, text := range literals {
			if len(text) > len(source) {
				t.Errorf("a literal longer than its source")
			}
		}
		// What is quoted by the simplest means is found, whatever came before on
		// other lines in no open quote.
		if !bytes.ContainsAny(source, `"'#`) {
			_, found := scanRule(fmt.Appendf(bytes.Clone(source), "\n(%q)", "pool"))
			if len(found) != 1 || found[0] != "pool" {
				if !strings.HasSuffix(strings.TrimSpace(string(source)), "import") {
					t.Errorf("literal after %q not found: %q", source, found)
				}
			}
		}
	})
}
