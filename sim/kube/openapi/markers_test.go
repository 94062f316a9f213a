package openapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/kube-openapi/pkg/schemaconv"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"

	"vtm-ingress/sim/kube/kinds"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// The table of markers says what the comments in k8s.io/api say, for every type
// that a kind of the table reaches.
func TestMarkersAreThoseOfTheSources(t *testing.T) {
	src := &sources{files: map[string]map[string]*ast.TypeSpec{}}
	var lines []string
	for typ := range reachable() {
		lines = append(lines, src.markers(t, typ)...)
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "")
	if *update {
		if err := os.WriteFile("markers.tsv", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(markersTSV, got); d != "" {
		t.Errorf("markers.tsv is not what the sources say; run go test -update (-have +want):\n%s", d)
	}
}

// Server-side apply merges each list and map as client-go's own schema, made by
// Kubernetes' generators, says.
func TestMergeSchemaIsThatOfClientGo(t *testing.T) {
	scheme := kinds.Scheme()
	s := newSchemas(false)
	reference := applyconfigurations.NewTypeConverter(scheme)
	probe, err := reference.ObjectToTyped(&corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}})
	if err != nil {
		t.Fatal(err)
	}
	want := probe.Schema()
	for _, k := range kinds.All() {
		s.add(k.New(), k.GroupVersionKind)
	}
	s.add(&autoscalingv1.Scale{})
	got, err := schemaconv.ToSchemaFromOpenAPI(s.defined, false)
	if err != nil {
		t.Fatal(err)
	}
	same := map[string]string{
		"io.k8s.api.core.v1.AzureDiskVolumeSource":      "its defaults name constants, and identify no element of a list",
		"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "free-form, in another word",
	}
	compared := 0
	for _, g := range got.Types {
		if same[g.Name] != "" {
			continue
		}
		w, found := want.FindNamedType(g.Name)
		if !found {
			t.Logf("client-go has no %s", g.Name)
			continue
		}
		compared++
		if d := cmp.Diff(shape(w.Atom), shape(g.Atom)); d != "" {
			t.Errorf("%s (-client-go +ours):\n%s", g.Name, d)
		}
	}
	if compared < 150 {
		t.Errorf("compared %d types only", compared)
	}
}

// shape is what matters of a type for merging, printed by field.
func shape(a smdschema.Atom) map[string]string {
	out := map[string]string{"": atom(a)}
	if a.Map != nil {
		for _, f := range a.Map.Fields {
			out[f.Name] = reference(f.Type)
			if f.Default != nil && f.Default != "" && !reflect.DeepEqual(f.Default, map[string]any{}) && !reflect.DeepEqual(f.Default, map[any]any{}) && fmt.Sprint(f.Default) != "0" && fmt.Sprint(f.Default) != "false" {
				out[f.Name] += fmt.Sprintf(" default %v", f.Default)
			}
		}
	}
	return out
}

func reference(r smdschema.TypeRef) string {
	s := atom(r.Inlined)
	if r.NamedType != nil {
		s = *r.NamedType
	}
	if r.ElementRelationship != nil {
		s += " as " + string(*r.ElementRelationship)
	}
	return s
}

func atom(a smdschema.Atom) string {
	var s []string
	if a.Scalar != nil {
		s = append(s, string(*a.Scalar))
	}
	if a.List != nil {
		s = append(s, fmt.Sprintf("list of %s %s%v", reference(a.List.ElementType), a.List.ElementRelationship, a.List.Keys))
	}
	if a.Map != nil {
		relationship := a.Map.ElementRelationship
		if relationship == "" {
			relationship = smdschema.Separable
		}
		s = append(s, fmt.Sprintf("map of %s %s", reference(a.Map.ElementType), relationship))
	}
	return strings.Join(s, " or ")
}

// reachable are the structs that the table's kinds and Scale are made of.
func reachable() map[reflect.Type]bool {
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			if _, is := reflect.New(t).Elem().Interface().(primitive); is {
				return
			}
			for f := range t.Fields() {
				if f.IsExported() {
					visit(f.Type)
				}
			}
		}
	}
	for _, k := range kinds.All() {
		visit(reflect.TypeOf(k.New()))
		visit(reflect.TypeOf(k.NewList()))
	}
	visit(reflect.TypeFor[autoscalingv1.Scale]())
	for _, extra := range extraTypes() {
		visit(reflect.TypeOf(extra.example))
	}
	return seen
}

// sources are the parsed packages of types, by import path and name.
type sources struct {
	files map[string]map[string]*ast.TypeSpec
}

func (s *sources) markers(t *testing.T, typ reflect.Type) []string {
	t.Helper()
	namer, is := reflect.New(typ).Elem().Interface().(modelNamer)
	if !is {
		return nil
	}
	if s.files[typ.PkgPath()] == nil {
		s.files[typ.PkgPath()] = parse(t, typ.PkgPath())
	}
	decl := s.files[typ.PkgPath()][typ.Name()]
	if decl == nil {
		t.Fatalf("no declaration of %s", typ)
	}
	model := namer.OpenAPIModelName()
	lines := marks(t, model, "", decl.Doc, false)
	if fields, is := decl.Type.(*ast.StructType); is {
		for _, f := range fields.Fields.List {
			if f.Tag == nil {
				continue
			}
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
			name, options, _ := strings.Cut(tag, ",")
			if name != "" && name != "-" {
				lines = append(lines, marks(t, model, name, f.Doc, strings.Contains(options, "omitempty"))...)
			}
		}
	}
	return lines
}

// marks reads the markers of one comment. Those that say only what the tag says
// are left out.
func marks(t *testing.T, model, field string, doc *ast.CommentGroup, omitempty bool) []string {
	t.Helper()
	if doc == nil {
		return nil
	}
	var lines []string
	add := func(marker, value string) {
		lines = append(lines, strings.Join([]string{model, field, marker, value}, "\t")+"\n")
	}
	var keys []string
	for _, c := range doc.List {
		text := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
		marker, value, _ := strings.Cut(text, "=")
		switch marker {
		case "+listType":
			add(markListType, value)
		case "+listMapKey":
			keys = append(keys, value)
		case "+structType", "+mapType":
			add(markMapType, value)
		case "+optional":
			if field != "" && !omitempty {
				add(markOptional, "")
			}
		case "+required":
			if field != "" && omitempty {
				add(markRequired, "")
			}
		case "+default":
			if strings.HasPrefix(value, "ref(") {
				continue
			}
			if !json.Valid([]byte(value)) {
				t.Fatalf("%s.%s: default %s is not JSON", model, field, value)
			}
			add(markDefault, value)
		}
	}
	if len(keys) > 0 {
		add(markListMapKey, strings.Join(keys, ","))
	}
	return lines
}

func parse(t *testing.T, pkg string) map[string]*ast.TypeSpec {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]*ast.TypeSpec{}
	for _, name := range names {
		base := filepath.Base(name)
		if strings.HasSuffix(base, "_test.go") || strings.HasPrefix(base, "zz_") || strings.HasSuffix(base, ".pb.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, is := d.(*ast.GenDecl)
			if !is || g.Tok != token.TYPE {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.TypeSpec)
				if spec.Doc == nil {
					spec.Doc = g.Doc
				}
				types[spec.Name.Name] = spec
			}
		}
	}
	return types
}
