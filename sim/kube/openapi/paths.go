package openapi

import (
	"net/http"
	"reflect"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"vtm-ingress/sim/kube/kinds"
)

// extra is a type beside those of the table that paths speak of.
type extra struct {
	example any
	kind    schema.GroupVersionKind
}

func extraTypes() []extra {
	return []extra{
		{&autoscalingv1.Scale{}, autoscalingv1.SchemeGroupVersion.WithKind("Scale")},
		{&policyv1.Eviction{}, policyv1.SchemeGroupVersion.WithKind("Eviction")},
		{&corev1.Binding{}, corev1.SchemeGroupVersion.WithKind("Binding")},
		{&authenticationv1.TokenRequest{}, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")},
		{&metav1.DeleteOptions{}, metav1.SchemeGroupVersion.WithKind("DeleteOptions")},
		{&metav1.Status{}, metav1.SchemeGroupVersion.WithKind("Status")},
		{&metav1.Patch{}, schema.GroupVersionKind{}},
	}
}

// operation is one method of one path, in neither version's form.
type operation struct {
	path, method, action string
	kind                 schema.GroupVersionKind
	body, result         any // examples of their types; body nil: none
	query                []string
}

func writeParameters(fieldValidation bool) []string {
	p := []string{"dryRun", "fieldManager"}
	if fieldValidation {
		p = append(p, "fieldValidation")
	}
	return p
}

func listParameters() []string {
	return []string{"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
		"resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"}
}

func deleteParameters() []string {
	return []string{"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
}

// parameterType is the JSON type of a query parameter.
func parameterType(name string) string {
	switch name {
	case "allowWatchBookmarks", "sendInitialEvents", "watch", "force", "orphanDependents":
		return "boolean"
	case "limit", "timeoutSeconds", "gracePeriodSeconds":
		return "integer"
	}
	return "string"
}

// operations are those of one kind.
func (d *Documents) operations(k *kinds.Kind) []operation {
	write := writeParameters(d.since.fieldValidation)
	patch := append([]string{"force"}, write...)
	base := "/" + root(k.GroupVersionKind.GroupVersion()) + "/"
	all := base + k.Resource
	if k.Namespaced {
		base += "namespaces/{namespace}/"
	}
	collection, item := base+k.Resource, base+k.Resource+"/{name}"
	object, list := k.New(), k.NewList()

	var out []operation
	add := func(path, method, action string, kind schema.GroupVersionKind, body, result any, query []string) {
		out = append(out, operation{path, method, action, kind, body, result, query})
	}
	gvk := k.GroupVersionKind
	if k.Namespaced {
		add(all, http.MethodGet, "list", gvk, nil, list, listParameters())
	}
	add(collection, http.MethodGet, "list", gvk, nil, list, listParameters())
	add(collection, http.MethodPost, "post", gvk, object, object, write)
	add(collection, http.MethodDelete, "deletecollection", gvk, &metav1.DeleteOptions{}, &metav1.Status{},
		append(listParameters(), deleteParameters()...))
	add(item, http.MethodGet, "get", gvk, nil, object, nil)
	add(item, http.MethodPut, "put", gvk, object, object, write)
	add(item, http.MethodPatch, "patch", gvk, &metav1.Patch{}, object, patch)
	add(item, http.MethodDelete, "delete", gvk, &metav1.DeleteOptions{}, &metav1.Status{}, deleteParameters())

	part := func(name string, kind schema.GroupVersionKind, example any) {
		add(item+"/"+name, http.MethodGet, "get", kind, nil, example, nil)
		add(item+"/"+name, http.MethodPut, "put", kind, example, example, write)
		add(item+"/"+name, http.MethodPatch, "patch", kind, &metav1.Patch{}, example, patch)
	}
	if k.PrepareForStatusUpdate != nil {
		part("status", gvk, object)
	}
	if k.Scale != nil {
		part("scale", autoscalingv1.SchemeGroupVersion.WithKind("Scale"), &autoscalingv1.Scale{})
	}
	connect := func(name string, kind schema.GroupVersionKind, example any) {
		add(item+"/"+name, http.MethodPost, "post", kind, example, example, write)
	}
	switch gvk.Kind {
	case "Pod":
		connect("binding", corev1.SchemeGroupVersion.WithKind("Binding"), &corev1.Binding{})
		connect("eviction", policyv1.SchemeGroupVersion.WithKind("Eviction"), &policyv1.Eviction{})
	case "ServiceAccount":
		connect("token", authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), &authenticationv1.TokenRequest{})
	case "Namespace":
		add(item+"/finalize", http.MethodPut, "put", gvk, object, object, write)
	}
	return out
}

// id is the operation's name, unique within a document.
func (o *operation) id() string {
	var b strings.Builder
	b.WriteString(o.action)
	for part := range strings.SplitSeq(o.path, "/") {
		part = strings.Trim(part, "{}")
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + strings.ReplaceAll(part[1:], ".", ""))
		}
	}
	return b.String()
}

// pathParameters are the parts of the path in braces.
func (o *operation) pathParameters() []string {
	var names []string
	for part := range strings.SplitSeq(o.path, "/") {
		if strings.HasPrefix(part, "{") {
			names = append(names, strings.Trim(part, "{}"))
		}
	}
	return names
}

func (o *operation) extensions() spec.VendorExtensible {
	var e spec.VendorExtensible
	e.AddExtension("x-kubernetes-action", o.action)
	e.AddExtension("x-kubernetes-group-version-kind", kindExtension(o.kind))
	return e
}

// patchTypes are the media types of patches.
func patchTypes() []string {
	return []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
}

// define adds the types of a kind and of its operations.
func define(s *schemas, k *kinds.Kind) {
	gvk := k.GroupVersionKind
	s.add(k.New(), gvk)
	list := gvk
	list.Kind += "List"
	s.add(k.NewList(), list)
	for _, e := range extraTypes() {
		if e.kind.Empty() || e.kind.Kind == "DeleteOptions" || e.kind.Kind == "Status" {
			s.add(e.example)
		} else if e.kind.Kind == "Scale" && k.Scale != nil || gvk.Kind == "Pod" && (e.kind.Kind == "Eviction" || e.kind.Kind == "Binding") ||
			gvk.Kind == "ServiceAccount" && e.kind.Kind == "TokenRequest" {
			s.add(e.example, e.kind)
		}
	}
}

func (d *Documents) info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "v" + strings.TrimPrefix(d.version, "v")}}
}

func (d *Documents) buildV2() *spec.Swagger {
	s := newSchemas(false)
	paths := map[string]spec.PathItem{}
	for i := range d.table {
		define(s, &d.table[i])
		for _, o := range d.operations(&d.table[i]) {
			item := paths[o.path]
			*methodOf[*spec.Operation](&item.PathItemProps, o.method) = o.v2(s)
			paths[o.path] = item
		}
	}
	definitions := spec.Definitions{}
	for name, def := range s.defined {
		definitions[name] = *def
	}
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: d.info(), Paths: &spec.Paths{Paths: paths}, Definitions: definitions,
	}}
}

// methodOf is the field of a path item that holds a method's operation: Get,
// Put, Post, Delete or Patch.
func methodOf[T any](item any, method string) *T {
	field := method[:1] + strings.ToLower(method[1:])
	return reflect.ValueOf(item).Elem().FieldByName(field).Addr().Interface().(*T)
}

func (o *operation) v2(s *schemas) *spec.Operation {
	op := &spec.Operation{VendorExtensible: o.extensions()}
	op.ID = o.id()
	op.Consumes, op.Produces = []string{"*/*"}, []string{"application/json"}
	if o.method == http.MethodPatch {
		op.Consumes = patchTypes()
	}
	parameter := func(name, in, kind string) {
		op.Parameters = append(op.Parameters, spec.Parameter{
			ParamProps:   spec.ParamProps{Name: name, In: in, Required: in == "path"},
			SimpleSchema: spec.SimpleSchema{Type: kind},
		})
	}
	for _, name := range o.pathParameters() {
		parameter(name, "path", "string")
	}
	for _, name := range o.query {
		parameter(name, "query", parameterType(name))
	}
	if o.body != nil {
		body := s.ref(s.add(o.body))
		op.Parameters = append(op.Parameters, spec.Parameter{
			ParamProps: spec.ParamProps{Name: "body", In: "body", Required: o.method != http.MethodDelete, Schema: &body}})
	}
	result := s.ref(s.add(o.result))
	op.Responses = &spec.Responses{ResponsesProps: spec.ResponsesProps{StatusCodeResponses: map[int]spec.Response{
		http.StatusOK: {ResponseProps: spec.ResponseProps{Description: "OK", Schema: &result}},
	}}}
	return op
}

func (d *Documents) buildV3(gv schema.GroupVersion) *spec3.OpenAPI {
	s := newSchemas(true)
	paths := map[string]*spec3.Path{}
	for i := range d.table {
		k := &d.table[i]
		if k.GroupVersionKind.GroupVersion() != gv {
			continue
		}
		define(s, k)
		for _, o := range d.operations(k) {
			if paths[o.path] == nil {
				paths[o.path] = &spec3.Path{}
			}
			*methodOf[*spec3.Operation](&paths[o.path].PathProps, o.method) = o.v3(s)
		}
	}
	return &spec3.OpenAPI{
		Version: "3.0.0", Info: d.info(), Paths: &spec3.Paths{Paths: paths},
		Components: &spec3.Components{Schemas: s.defined},
	}
}

func (o *operation) v3(s *schemas) *spec3.Operation {
	op := &spec3.Operation{VendorExtensible: o.extensions()}
	op.OperationId = o.id()
	parameter := func(name, in, kind string) {
		t := typed(kind, "")
		op.Parameters = append(op.Parameters, &spec3.Parameter{
			ParameterProps: spec3.ParameterProps{Name: name, In: in, Required: in == "path", Schema: &t}})
	}
	for _, name := range o.pathParameters() {
		parameter(name, "path", "string")
	}
	for _, name := range o.query {
		parameter(name, "query", parameterType(name))
	}
	content := func(example any, types ...string) map[string]*spec3.MediaType {
		ref := s.ref(s.add(example))
		out := map[string]*spec3.MediaType{}
		for _, t := range types {
			out[t] = &spec3.MediaType{MediaTypeProps: spec3.MediaTypeProps{Schema: &ref}}
		}
		return out
	}
	if o.body != nil {
		types := []string{"*/*"}
		if o.method == http.MethodPatch {
			types = patchTypes()
		}
		op.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{
			Content: content(o.body, types...), Required: o.method != http.MethodDelete}}
	}
	op.Responses = &spec3.Responses{ResponsesProps: spec3.ResponsesProps{StatusCodeResponses: map[int]*spec3.Response{
		http.StatusOK: {ResponseProps: spec3.ResponseProps{Description: "OK", Content: content(o.result, "application/json")}},
	}}}
	return op
}
