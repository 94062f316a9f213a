package openapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kube-openapi/pkg/spec3"
	utilproto "k8s.io/kube-openapi/pkg/util/proto"
	"k8s.io/kube-openapi/pkg/util/proto/validation"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"vtm-ingress/sim/kube/kinds"
)

func documents(t testing.TB, version string) *Documents {
	t.Helper()
	d, err := New(kinds.All(), version)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func get(t testing.TB, d *Documents, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// What kubectl 1.20 asks for, decoded as it does.
func models(t testing.TB, d *Documents) utilproto.Models {
	t.Helper()
	w := get(t, d, "/openapi/v2", mediaProtobufOld)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != mediaProtobuf {
		t.Fatalf("status %d, content type %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	var doc openapi_v2.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	m, err := utilproto.NewOpenAPIData(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVersion2ValidatesManifestsAsKubectlDoes(t *testing.T) {
	m := models(t, documents(t, "1.20"))
	ingress := m.LookupModel("io.k8s.api.networking.v1.Ingress")
	if ingress == nil {
		t.Fatal("no Ingress")
	}
	for name, c := range map[string]struct {
		manifest string
		want     string // part of the only error; empty: none
	}{
		"good": {`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"a","creationTimestamp":null},"spec":{"rules":[
			{"host":"a.example","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"s","port":{"number":80}}}}]}}]}}`, ""},
		"unknown field": {`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"rulez":[]}}`, `unknown field "rulez"`},
		"wrong type":    {`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"rules":"x"}}`, `invalid type`},
		"missing field": {`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"rules":[{"http":{"paths":[{"path":"/","backend":{}}]}}]}}`, `missing required field "pathType"`},
	} {
		t.Run(name, func(t *testing.T) {
			var object any
			if err := json.Unmarshal([]byte(c.manifest), &object); err != nil {
				t.Fatal(err)
			}
			errs := validation.ValidateModel(object, ingress, "Ingress")
			switch {
			case c.want == "" && len(errs) > 0:
				t.Errorf("errors %v", errs)
			case c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want)):
				t.Errorf("errors %v, want %s", errs, c.want)
			}
		})
	}
}

// Every kind with all that a scheme can default is valid by its own schema.
func TestVersion2AcceptsIntOrStringAndQuantities(t *testing.T) {
	m := models(t, documents(t, "1.20"))
	deployment := m.LookupModel("io.k8s.api.apps.v1.Deployment")
	var object any
	if err := json.Unmarshal([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{
		"selector":{"matchLabels":{"a":"b"}},
		"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":"50%"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i",
			"resources":{"limits":{"cpu":1,"memory":"10Mi"}},"readinessProbe":{"httpGet":{"port":"http"}}}]}}}}`), &object); err != nil {
		t.Fatal(err)
	}
	if errs := validation.ValidateModel(object, deployment, "Deployment"); len(errs) > 0 {
		t.Errorf("errors %v", errs)
	}
}

// kubectl apply merges lists by the patch strategy and key of the document.
func TestVersion2HasPatchStrategies(t *testing.T) {
	m := models(t, documents(t, "1.20"))
	meta := strategicpatch.NewPatchMetaFromOpenAPI(m.LookupModel("io.k8s.api.core.v1.Service"))
	original := []byte(`{"spec":{"ports":[{"port":80,"name":"a"},{"port":81,"name":"b"}]}}`)
	modified := []byte(`{"spec":{"ports":[{"port":80,"name":"a"}]}}`)
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, original, meta, true)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"spec":{"$setElementOrder/ports":[{"port":80}],"ports":[{"$patch":"delete","port":81}]}}`; string(patch) != want {
		t.Errorf("patch %s, want %s", patch, want)
	}
}

func TestVersion2TellsWhatPatchesTake(t *testing.T) {
	for version, want := range map[string]bool{"1.20": false, "1.24": false, "1.25": true, "1.37": true} {
		w := get(t, documents(t, version), "/openapi/v2", "")
		var doc spec.Swagger
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, p := range doc.Paths.Paths["/api/v1/namespaces/{namespace}/services/{name}"].Patch.Parameters {
			has[p.Name] = true
		}
		if !has["dryRun"] || has["fieldValidation"] != want {
			t.Errorf("%s: parameters %v, want dryRun, and fieldValidation %v", version, has, want)
		}
	}
}

func TestVersion3HasADocumentForEachGroupVersion(t *testing.T) {
	d := documents(t, "1.37")
	w := get(t, d, "/openapi/v3", "application/json")
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds.All() {
		path := root(k.GroupVersionKind.GroupVersion())
		entry, listed := index.Paths[path]
		if !listed {
			t.Errorf("%s is not listed", path)
			continue
		}
		w := get(t, d, entry.ServerRelativeURL, "")
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") == "" {
			t.Errorf("%s: status %d, headers %v", entry.ServerRelativeURL, w.Code, w.Header())
		}
		var doc spec3.OpenAPI
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range doc.Components.Schemas {
			var of []schema.GroupVersionKind
			_ = s.Extensions.GetObject("x-kubernetes-group-version-kind", &of)
			for _, one := range of {
				found = found || one == k.GroupVersionKind
			}
		}
		if !found {
			t.Errorf("%s has no schema of %s", path, k.GroupVersionKind.Kind)
		}
		dangling(t, path, w.Body.Bytes(), func(ref string) bool {
			_, is := doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
			return is
		})
	}
}

func TestVersion2HasNoDanglingReference(t *testing.T) {
	w := get(t, documents(t, "1.37"), "/openapi/v2", "application/json")
	var doc spec.Swagger
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	dangling(t, "v2", w.Body.Bytes(), func(ref string) bool {
		_, is := doc.Definitions[strings.TrimPrefix(ref, "#/definitions/")]
		return is
	})
}

// dangling looks for references to nothing anywhere in a JSON document.
func dangling(t *testing.T, where string, content []byte, defined func(string) bool) {
	t.Helper()
	var v any
	if err := json.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	references := 0
	var visit func(any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if ref, is := e.(string); is && k == "$ref" {
					references++
					if !defined(ref) {
						t.Errorf("%s: %s is not defined", where, ref)
					}
				}
				visit(e)
			}
		case []any:
			for _, e := range v {
				visit(e)
			}
		}
	}
	visit(v)
	if references == 0 {
		t.Errorf("%s: no reference at all", where)
	}
}

func TestDocumentsAnswerRequests(t *testing.T) {
	d := documents(t, "1.37")
	for _, c := range []struct {
		path, accept string
		status       int
		contentType  string
	}{
		{"/openapi/v2", "", 200, mediaJSON},
		{"/openapi/v2", "application/json, */*", 200, mediaJSON},
		{"/openapi/v2", mediaProtobuf, 200, mediaProtobuf},
		{"/openapi/v2", mediaProtobufOld, 200, mediaProtobuf},
		{"/openapi/v2", "text/html", 406, ""},
		{"/openapi/v3", "", 200, mediaJSON},
		{"/openapi/v3/api/v1", "", 200, mediaJSON},
		{"/openapi/v3/api/v1?hash=OLD", "", 301, ""},
		{"/openapi/v3/apis/nothing/v1", "", 404, ""},
		{"/openapi/v3/../v2", "", 404, ""},
		{"/openapi", "", 404, ""},
	} {
		w := get(t, d, c.path, c.accept)
		if w.Code != c.status || c.contentType != "" && w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s (%s): status %d, content type %s; want %d, %s", c.path, c.accept, w.Code, w.Header().Get("Content-Type"), c.status, c.contentType)
		}
	}
	moved := get(t, d, "/openapi/v3/api/v1?hash=OLD", "").Header().Get("Location")
	if w := get(t, d, moved, ""); w.Code != http.StatusOK {
		t.Errorf("%s: status %d", moved, w.Code)
	}
	if w := get(t, documents(t, "1.23"), "/openapi/v3", ""); w.Code != http.StatusNotFound {
		t.Errorf("1.23 serves OpenAPI 3.0: status %d", w.Code)
	}
	if _, err := New(nil, "new"); err == nil {
		t.Error("a version that is none is taken")
	}
}

func TestUnchangedDocumentsAreNotSentAgain(t *testing.T) {
	d := documents(t, "1.37")
	r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
	r.Header.Set("If-None-Match", get(t, d, "/openapi/v2", "").Header().Get("Etag"))
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("status %d", w.Code)
	}
}

func TestDocumentsAreTheSameEachTime(t *testing.T) {
	for _, path := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"} {
		a, b := get(t, documents(t, "1.37"), path, ""), get(t, documents(t, "1.37"), path, "")
		if a.Body.String() != b.Body.String() {
			t.Errorf("%s differs", path)
		}
	}
}

// Server-side apply merges a pod's ports by number and protocol, the latter
// defaulted.
func TestConverterKnowsListKeys(t *testing.T) {
	c, err := NewTypeConverter(kinds.All())
	if err != nil {
		t.Fatal(err)
	}
	deployment := func(port int32) *appsv1.Deployment {
		d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: port}}}}
		return d
	}
	a, err := c.ObjectToTyped(deployment(80))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.ObjectToTyped(deployment(81))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := a.Merge(b)
	if err != nil {
		t.Fatal(err)
	}
	object, err := c.TypedToObject(merged)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"ports":[{"containerPort":80},{"containerPort":81}]`) {
		t.Errorf("merged to %s", text)
	}
}

func BenchmarkNewTypeConverter(b *testing.B) {
	for b.Loop() {
		if _, err := NewTypeConverter(kinds.All()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVersion2Protobuf(b *testing.B) {
	for b.Loop() {
		get(b, documents(b, "1.37"), "/openapi/v2", mediaProtobuf)
	}
}

func BenchmarkVersion3Index(b *testing.B) {
	for b.Loop() {
		get(b, documents(b, "1.37"), "/openapi/v3", "")
	}
}
