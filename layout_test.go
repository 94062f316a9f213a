// Package layout_test holds the house rules that a compiler does not check: which
// package may import which, who may ask the machine for time and network, and
// that each package says what it is for.
package layout_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "vtm-ingress/"

var dirFS = os.DirFS(".")

// Package is what `go list -json` tells of a package.
type Package struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []Package {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []Package
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p Package
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	return list
}

// forbidden says which packages may not import which, and why. A path stands for
// itself and all below it; those of this module are written without its name.
var forbidden = []struct {
	who, what, why string
	except         []string
}{
	{"controller", "sim", "controller and emulators meet over HTTP only, as in production", nil},
	{"controller", "testenv", "production code knows no test", nil},
	{"controller", "scenarios", "production code knows no test", nil},
	{"sim", "controller", "the emulators serve any client; sharing code would share errors", nil},
	{"sim", "testenv", "the emulators are a product of their own", nil},
	{"sim", "scenarios", "the emulators are a product of their own", nil},
	{"internal", "controller", "internal is the ground that both sides stand on", nil},
	{"internal", "sim", "internal is the ground that both sides stand on", nil},
	{"internal", "testenv", "internal is the ground that both sides stand on", nil},
	{"testenv", "scenarios", "scenarios stand on lanes, not the other way round", nil},
	{"scenarios", "controller", "scenarios see the system from outside, through testenv", nil},
	{"scenarios", "sim", "scenarios see the system from outside, through testenv", nil},

	{"controller/config", "controller", "settings stand below all stages", nil},
	{"controller/vtm", "controller", "the REST client knows nothing of Kubernetes or of what should exist", nil},
	{"controller/kube", "controller", "Snapshots are made before anything is decided", []string{"controller/config"}},
	{"controller/translate", "controller/reconcile", "translation is pure and comes first", nil},
	{"controller/translate", "controller/report", "a verdict is data, telling it comes later", nil},
	{"controller/translate", "net/http", "translation talks to nobody", nil},
	{"controller/translate", "math/rand", "translation is deterministic", nil},
	{"controller/translate", "math/rand/v2", "translation is deterministic", nil},
	{"controller/translate", "os", "translation reads nothing but its input", nil},
	{"controller/translate", "k8s.io/client-go", "translation sees Snapshots, never listers", nil},
	{"controller/translate/model", "k8s.io/api", "the model knows neither Ingress nor Service", nil},
	{"controller/translate/model", "controller/vtm", "the model knows no traffic manager", nil},
	{"controller/report", "controller/reconcile", "reconcile tells report, not the other way round", nil},

	{"sim/trafficscript", "sim", "the language is used by the data plane and knows nothing of it", nil},
	{"sim/dataplane", "sim", "the data plane is configured by the store and knows nothing of it", []string{"sim/trafficscript"}},
	{"sim/vtm", "sim/kube", "a traffic manager knows no Kubernetes", nil},
	{"sim/vtm", "k8s.io/client-go", "a traffic manager knows no Kubernetes", nil},
	{"sim/kube/controllers", "sim/kube", "the small controllers are ordinary clients and serve a real API server too", nil},
	{"sim/node", "sim", "nodes are ordinary clients and serve a real API server too", nil},
	{"sim/acme", "sim", "a certificate authority judges from outside", nil},
	{"sim/dns", "sim", "names are an ordinary client's and serve a real API server too", nil},
	{"sim/network", "sim", "the network carries everything and knows nothing", nil},
}

// within reports whether path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		who := strings.TrimPrefix(p.ImportPath, module)
		imports := p.Imports
		if within(who, "scenarios") {
			imports = append(append(imports, p.TestImports...), p.XTestImports...)
		}
		for _, path := range imports {
			what := strings.TrimPrefix(path, module)
			for _, rule := range forbidden {
				if !within(who, rule.who) || !within(what, rule.what) || within(what, rule.who) {
					continue
				}
				allowed := false
				for _, e := range rule.except {
					allowed = allowed || within(what, e)
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", who, what, rule.why)
				}
			}
			if within(who, "internal") && strings.HasPrefix(path, module) && !within(what, "internal") {
				t.Errorf("%s imports %s: internal stands below everything", who, what)
			}
		}
	}
}

// TestRulesNameWhatExists keeps the table above from guarding a renamed package.
func TestRulesNameWhatExists(t *testing.T) {
	all := packages(t)
	for _, rule := range forbidden {
		found := false
		for _, p := range all {
			found = found || within(strings.TrimPrefix(p.ImportPath, module), rule.who)
		}
		if !found {
			t.Errorf("no package %s: the rule «%s» guards nothing", rule.who, rule.why)
		}
	}
}

// outsideOnly are the functions that reach out of the program: whoever calls them
// can't be simulated. The World gives the same.
var outsideOnly = map[string][]string{
	"time":         {"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"},
	"net":          {"Dial", "DialTimeout", "Listen", "ListenPacket", "LookupHost", "LookupIP"},
	"net/http":     {"Get", "Post", "Head", "PostForm", "ListenAndServe", "ListenAndServeTLS"},
	"math/rand":    nil, // nil: all of it
	"math/rand/v2": nil,
	"crypto/rand":  nil,
}

// mayReachOut are the packages that are themselves the outside, or run a program.
var mayReachOut = []string{"internal/outside", "sim/network", "cmd", "testenv", "scenarios"}

func TestTimeNetworkAndChanceComeFromTheWorld(t *testing.T) {
packages:
	for _, p := range packages(t) {
		who := strings.TrimPrefix(p.ImportPath, module)
		for _, allowed := range mayReachOut {
			if within(who, allowed) {
				continue packages
			}
		}
		for _, name := range p.GoFiles {
			checkReach(t, filepath.Join(p.Dir, name))
		}
	}
}

func checkReach(t *testing.T, path string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imported := map[string]string{} // local name -> path
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		functions, watched := outsideOnly[path]
		if !watched {
			continue
		}
		if functions == nil {
			t.Errorf("%s imports %s: take randomness from the World", files.Position(spec.Pos()), path)
			continue
		}
		name := filepath.Base(path)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = path
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, function := range outsideOnly[imported[base.Name]] {
			if selector.Sel.Name == function {
				t.Errorf("%s: %s.%s: take it from the World", files.Position(selector.Pos()), base.Name, function)
			}
		}
		return true
	})
}

func TestEachPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 || within(strings.TrimPrefix(p.ImportPath, module), "cmd") {
			continue
		}
		documented := 0
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil && strings.HasPrefix(file.Doc.Text(), "Package ") {
				documented++
			}
		}
		if documented != 1 {
			t.Errorf("%s has %d package comments, want one, in doc.go", p.ImportPath, documented)
		}
	}
}

// TestTheOrdinaryBuildHasThreeDNSProviders: the others are behind the tag alldns.
func TestTheOrdinaryBuildHasThreeDNSProviders(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/vtm-ingress-controller").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var found []string
	for _, path := range strings.Fields(string(out)) {
		_, name, is := strings.Cut(path, "lego/v4/providers/dns")
		if is && !strings.Contains(name, "internal") {
			found = append(found, strings.TrimPrefix(name, "/"))
		}
	}
	if got := strings.Join(found, " "); got != "exec httpreq rfc2136" {
		t.Errorf("the controller is built with the DNS providers %q", got)
	}
}

// TestNoFileNamesAMachine keeps paths of one machine out of what is published.
func TestNoFileNamesAMachine(t *testing.T) {
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	root := []byte("/wo" + "rk/") // in two parts, so that this file passes
	for _, name := range strings.Fields(string(out)) {
		content, err := fs.ReadFile(dirFS, name)
		if err != nil {
			continue // deleted, or a name with spaces
		}
		if strings.Contains(string(content), string(root)) {
			t.Errorf("%s holds a path of one machine", name)
		}
	}
}
