package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// markersTSV holds one marker a line: model, field by its JSON name (empty: the
// model itself), marker, value. Sorted; written by TestMarkers.
//
//go:embed markers.tsv
var markersTSV string

// The markers of a field or type, as in the comments of k8s.io/api.
const (
	markListType   = "listType"   // atomic, set or map
	markListMapKey = "listMapKey" // the JSON names that identify an element, comma-separated
	markMapType    = "mapType"    // atomic: replaced as a whole
	markOptional   = "optional"
	markRequired   = "required"
	markDefault    = "default" // JSON
)

// site is a place that can have markers.
type site struct{ model, field string }

func readMarkers() map[site]map[string]string {
	all := map[site]map[string]string{}
	for line := range strings.Lines(markersTSV) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		at := site{columns[0], columns[1]}
		if all[at] == nil {
			all[at] = map[string]string{}
		}
		all[at][columns[2]] = columns[3]
	}
	return all
}

// modelNamer is what types with a definition of their own implement.
type modelNamer interface{ OpenAPIModelName() string }

// documented are types with the texts of their fields; "" is the type's own.
type documented interface{ SwaggerDoc() map[string]string }

// primitive are structs that are a string or a number in JSON.
type primitive interface {
	OpenAPISchemaType() []string
	OpenAPISchemaFormat() string
}

// either are primitives of several types, which OpenAPI 3.0 can say.
type either interface{ OpenAPIV3OneOfTypes() []string }

// schemas collects the definitions of types and of all that they refer to. The
// maps of k8s.io/kube-openapi print sorted, so that the outcome is the same
// each time.
type schemas struct {
	v3      bool // OpenAPI 3.0, else 2.0
	markers map[site]map[string]string
	defined map[string]*spec.Schema
}

func newSchemas(v3 bool) *schemas {
	return &schemas{v3: v3, markers: readMarkers(), defined: map[string]*spec.Schema{}}
}

// add defines the type of example, a pointer to a struct with a model name, and
// gives that name. kinds are the kinds that the type is, if any.
func (s *schemas) add(example any, kinds ...schema.GroupVersionKind) string {
	name := s.define(reflect.TypeOf(example).Elem())
	if len(kinds) > 0 {
		var list []any
		for _, k := range kinds {
			list = append(list, kindExtension(k))
		}
		s.defined[name].AddExtension("x-kubernetes-group-version-kind", list)
	}
	return name
}

func kindExtension(k schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind}
}

// ref is a reference to a definition.
func (s *schemas) ref(name string) spec.Schema {
	prefix := "#/definitions/"
	if s.v3 {
		prefix = "#/components/schemas/"
	}
	return spec.Schema{SchemaProps: spec.SchemaProps{Ref: spec.MustCreateRef(prefix + name)}}
}

func (s *schemas) define(t reflect.Type) string {
	value := reflect.New(t).Elem().Interface()
	name := value.(modelNamer).OpenAPIModelName()
	if s.defined[name] != nil {
		return name
	}
	out := &spec.Schema{}
	s.defined[name] = out // before its fields: types refer to themselves
	switch p := value.(type) {
	case primitive:
		*out = s.primitive(p)
	default:
		out.Type = []string{"object"}
		if t.Kind() != reflect.Struct {
			panic(fmt.Sprintf("openapi: %s is no struct", t)) // a type of k8s.io/api that this package does not know
		}
		s.fields(out, name, t)
	}
	if d, is := value.(documented); is && out.Description == "" {
		out.Description = d.SwaggerDoc()[""]
	}
	s.mark(out, s.markers[site{model: name}])
	return name
}

// fields fills an object's properties with those of the struct t, whose
// embedded structs without a JSON name are part of it.
func (s *schemas) fields(out *spec.Schema, model string, t reflect.Type) {
	var texts map[string]string
	if d, is := reflect.New(t).Elem().Interface().(documented); is {
		texts = d.SwaggerDoc()
	}
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" {
			embedded := f.Type
			inner := model
			if n, is := reflect.New(embedded).Elem().Interface().(modelNamer); is {
				inner = n.OpenAPIModelName()
			}
			s.fields(out, inner, embedded)
			continue
		}
		if name == "" {
			continue // Raw bytes of a type that marshals itself
		}
		marks := s.markers[site{model, name}]
		p := s.of(f.Type)
		if s.v3 && p.Ref.String() != "" {
			// In OpenAPI 3.0 nothing may stand beside a reference.
			p = spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{p}}}
		}
		p.Description = texts[name]
		if v := f.Tag.Get("patchStrategy"); v != "" {
			p.AddExtension("x-kubernetes-patch-strategy", v)
		}
		if v := f.Tag.Get("patchMergeKey"); v != "" {
			p.AddExtension("x-kubernetes-patch-merge-key", v)
		}
		s.mark(&p, marks)
		out.SetProperty(name, p)

		_, optional := marks[markOptional]
		_, required := marks[markRequired]
		if required || !optional && !slices.Contains(strings.Split(options, ","), "omitempty") {
			out.Required = append(out.Required, name)
		}
	}
	slices.Sort(out.Required)
}

func (s *schemas) mark(out *spec.Schema, marks map[string]string) {
	if v, is := marks[markListType]; is {
		out.AddExtension("x-kubernetes-list-type", v)
	}
	if v, is := marks[markListMapKey]; is {
		keys := []any{}
		for k := range strings.SplitSeq(v, ",") {
			keys = append(keys, k)
		}
		out.AddExtension("x-kubernetes-list-map-keys", keys)
	}
	if v, is := marks[markMapType]; is {
		out.AddExtension("x-kubernetes-map-type", v)
	}
	if v, is := marks[markDefault]; is {
		// The test that writes markers.tsv sees to it that this is JSON.
		_ = json.Unmarshal([]byte(v), &out.Default)
	}
}

// of is the schema of a field of type t.
func (s *schemas) of(t reflect.Type) spec.Schema {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	if _, named := reflect.New(t).Elem().Interface().(modelNamer); named {
		return s.ref(s.define(t))
	}
	switch t.Kind() {
	case reflect.String:
		return typed("string", "")
	case reflect.Bool:
		return typed("boolean", "")
	case reflect.Int32:
		return typed("integer", "int32")
	case reflect.Int64:
		return typed("integer", "int64")
	case reflect.Uint8:
		return typed("integer", "byte")
	case reflect.Float64:
		return typed("number", "double")
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return typed("string", "byte")
		}
		list := typed("array", "")
		items := s.of(t.Elem())
		list.Items = &spec.SchemaOrArray{Schema: &items}
		return list
	case reflect.Map:
		object := typed("object", "")
		values := s.of(t.Elem())
		object.AdditionalProperties = &spec.SchemaOrBool{Allows: true, Schema: &values}
		return object
	}
	panic(fmt.Sprintf("openapi: no schema for %s", t)) // a type of k8s.io/api that this package does not know
}

func typed(kind, format string) spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{kind}, Format: format}}
}

func (s *schemas) primitive(p primitive) spec.Schema {
	out := typed(p.OpenAPISchemaType()[0], p.OpenAPISchemaFormat())
	if e, is := p.(either); is && s.v3 {
		out.Type = nil
		for _, t := range e.OpenAPIV3OneOfTypes() {
			out.OneOf = append(out.OneOf, typed(t, ""))
		}
	}
	return out
}
