package controller

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ownMetrics are the names of those that are registered.
func ownMetrics(t *testing.T) sets.Set[string] {
	t.Helper()
	registered := make(chan *prometheus.Desc, 100)
	if _, err := newMetrics(describing{registered}); err != nil {
		t.Fatal(err)
	}
	close(registered)
	names := sets.New[string]()
	for desc := range registered {
		names.Insert(regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(desc.String())[1])
	}
	return names
}

type describing struct{ to chan *prometheus.Desc }

func (d describing) Register(c prometheus.Collector) error     { c.Describe(d.to); return nil }
func (d describing) MustRegister(...prometheus.Collector)      {}
func (d describing) Unregister(prometheus.Collector) (ok bool) { return true }

// named are our metrics that a text names, without the suffixes of a histogram.
func named(text string) sets.Set[string] {
	names := sets.New[string]()
	for _, name := range regexp.MustCompile(`\bvtm_ingress_[a-z_]+`).FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		names.Insert(name)
	}
	return names
}

func TestEachMetricIsDocumentedAndShown(t *testing.T) {
	own := ownMetrics(t)
	table := sets.New[string]()
	for _, row := range regexp.MustCompile("(?m)^\\| `(vtm_ingress_[a-z_]+)` \\|").FindAllStringSubmatch(read(t, "../docs/operations.md"), -1) {
		table.Insert(row[1])
	}
	if d := cmp.Diff(sets.List(own), sets.List(table)); d != "" {
		t.Errorf("docs/operations.md (-registered +documented):\n%s", d)
	}
	if d := cmp.Diff(sets.List(own), sets.List(named(read(t, "../deploy/grafana-dashboard.json")))); d != "" {
		t.Errorf("deploy/grafana-dashboard.json (-registered +shown):\n%s", d)
	}
	if missing := named(read(t, "../deploy/alerts.yaml")).Difference(own); len(missing) > 0 {
		t.Errorf("deploy/alerts.yaml: there are no metrics %q", sets.List(missing))
	}
}

func TestEachAlertIsDocumented(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, "../deploy/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	alerts := sets.New[string]()
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts.Insert(rule.Alert)
			if rule.Expr == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("%s lacks expr, severity or summary", rule.Alert)
			}
		}
	}
	documented := sets.New[string]()
	for _, row := range regexp.MustCompile("(?m)^\\| `(VTMIngress[A-Za-z]+)` \\|").FindAllStringSubmatch(read(t, "../docs/operations.md"), -1) {
		documented.Insert(row[1])
	}
	if d := cmp.Diff(sets.List(alerts), sets.List(documented)); d != "" {
		t.Errorf("docs/operations.md (-alert +documented):\n%s", d)
	}
}

func TestTheDashboardIsJSONWithAQueryInEachPanel(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(read(t, "../deploy/grafana-dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	if len(board.Panels) == 0 {
		t.Error("it has no panels")
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.Expr == "" {
				t.Errorf("%s: %q", panel.Title, target.Expr)
			}
		}
		if len(panel.Targets) == 0 {
			t.Errorf("%s asks for nothing", panel.Title)
		}
	}
}

// notReasons look like reasons and are names of the Kubernetes API or of types.
var notReasons = sets.New("NodePort", "LoadBalancer", "InternalIP", "IngressClass", "ImplementationSpecific", "ClusterIP", "TrafficScript", "ExternalName")

// reasons are those in the code: words in camel case that stand alone in a text.
func reasons(t *testing.T) sets.Set[string] {
	t.Helper()
	word := regexp.MustCompile(`^(([A-Z][a-z]+){2,}[0-9]*|Waiting|Programmed|PassthroughOnPort80|InvalidTLS)$`)
	found := sets.New[string]()
	for _, folder := range []string{"translate", "reconcile", "report"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil && word.MatchString(text) && !notReasons.Has(text) {
						found.Insert(text)
					}
				}
				return true
			})
		}
	}
	return found
}

func TestEachReasonIsDocumented(t *testing.T) {
	documented := map[string]string{}
	_, table, _ := strings.Cut(read(t, "../docs/operations.md"), "\n## Reasons\n")
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z0-9]+)` \\|[^|]*\\| (.*) \\|$").FindAllStringSubmatch(table, -1) {
		if documented[row[1]] != "" || row[2] == "" {
			t.Errorf("%s: twice, or without a meaning", row[1])
		}
		documented[row[1]] = row[2]
	}
	if d := cmp.Diff(sets.List(reasons(t)), slices.Sorted(maps.Keys(documented))); d != "" {
		t.Errorf("docs/operations.md, section Reasons (-code +documented):\n%s", d)
	}
}
