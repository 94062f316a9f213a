package kinds

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// now is the server's time in these tests.
var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// Each file of testdata holds cases: NAME.yaml is what a client sends, NAME.want
// what it is told and what is stored. Of several documents the first is created
// and each further one updates it; one that begins with "# status" updates the
// status alone. The file dual-stack.txtar has a cluster of both families.
func TestObjectsAreDefaultedValidatedAndShownAsARealServerDoes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, f := range archive.Files {
				want[f.Name] = string(f.Data)
			}
			out := &txtar.Archive{Comment: archive.Comment}
			rows := All()
			if filepath.Base(name) == "dual-stack.txtar" {
				rows = AllOf(corev1.IPv4Protocol, corev1.IPv6Protocol)
			}
			for _, f := range archive.Files {
				of, is := strings.CutSuffix(f.Name, ".yaml")
				if !is {
					continue
				}
				got := outcome(t, rows, string(f.Data))
				out.Files = append(out.Files, f, txtar.File{Name: of + ".want", Data: []byte(got)})
				if d := cmp.Diff(want[of+".want"], got); d != "" && !*update {
					t.Errorf("%s (-want +got):\n%s", of, d)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

var separator = regexp.MustCompile(`(?m)^---\n`)

// outcome does to the documents what the server does, and tells it.
func outcome(t *testing.T, rows []Kind, documents string) string {
	t.Helper()
	var out bytes.Buffer
	var stored runtime.Object
	var kind *Kind
	for i, doc := range separator.Split(documents, -1) {
		var typ metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &typ); err != nil {
			t.Fatal(err)
		}
		kind = byKind(t, rows, schema.FromAPIVersionAndKind(typ.APIVersion, typ.Kind))
		obj := kind.New()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		var errs field.ErrorList
		switch {
		case i == 0:
			errs = create(kind, obj, &out)
		case strings.HasPrefix(doc, "# status"):
			kind.defaultObject(obj)
			kind.PrepareForStatusUpdate(obj, stored)
			if kind.ValidateStatusUpdate != nil {
				errs = kind.ValidateStatusUpdate(obj, stored)
			}
		default:
			errs = change(kind, obj, stored)
		}
		if len(errs) == 0 {
			stored = obj
		}
		for _, e := range errs {
			fmt.Fprintf(&out, "%s\n", e)
		}
	}
	if stored == nil {
		return out.String()
	}
	text, err := yaml.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	cells := kind.Row(stored, now)
	if len(cells) != len(kind.Columns) {
		t.Fatalf("%d cells for %d columns", len(cells), len(kind.Columns))
	}
	out.WriteString("---\n")
	for i, c := range kind.Columns {
		fmt.Fprintf(&out, "%s: %v\n", c.Name, cells[i])
	}
	return out.String()
}

func create(kind *Kind, obj runtime.Object, out io.Writer) field.ErrorList {
	m, _ := meta.Accessor(obj)
	if kind.Namespaced && m.GetNamespace() == "" {
		m.SetNamespace("shop")
	}
	kind.defaultObject(obj)
	if kind.PrepareForCreate != nil {
		kind.PrepareForCreate(obj)
	}
	if kind.Warnings != nil {
		for _, w := range kind.Warnings(obj) {
			fmt.Fprintf(out, "Warning: %s\n", w)
		}
	}
	errs := kind.Validate(obj)
	if kind.ValidateCreate != nil {
		errs = append(errs, kind.ValidateCreate(obj)...)
	}
	return errs
}

func change(kind *Kind, obj, stored runtime.Object) field.ErrorList {
	m, _ := meta.Accessor(obj)
	if kind.Namespaced && m.GetNamespace() == "" {
		m.SetNamespace("shop")
	}
	kind.defaultObject(obj)
	if kind.PrepareForUpdate != nil {
		kind.PrepareForUpdate(obj, stored)
	}
	errs := kind.Validate(obj)
	if kind.ValidateUpdate != nil {
		errs = append(errs, kind.ValidateUpdate(obj, stored)...)
	}
	return errs
}

func (k *Kind) defaultObject(obj runtime.Object) {
	if k.Default != nil {
		k.Default(obj)
	}
}

func byKind(t *testing.T, rows []Kind, gvk schema.GroupVersionKind) *Kind {
	t.Helper()
	for i := range rows {
		if rows[i].GroupVersionKind == gvk {
			return &rows[i]
		}
	}
	t.Fatalf("no kind %s", gvk)
	return nil
}
