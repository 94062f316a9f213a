package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The next helpers give a row's functions their type: a row is written against
// *corev1.Service, the table holds functions of runtime.Object.

func on[T runtime.Object](f func(T)) func(runtime.Object) {
	return func(obj runtime.Object) { f(obj.(T)) }
}

func onBoth[T runtime.Object](f func(new, old T)) func(new, old runtime.Object) {
	return func(new, old runtime.Object) { f(new.(T), old.(T)) }
}

func check[T runtime.Object](f func(T) field.ErrorList) func(runtime.Object) field.ErrorList {
	return func(obj runtime.Object) field.ErrorList { return f(obj.(T)) }
}

func checkBoth[T runtime.Object](f func(new, old T) field.ErrorList) func(new, old runtime.Object) field.ErrorList {
	return func(new, old runtime.Object) field.ErrorList { return f(new.(T), old.(T)) }
}

func cells[T runtime.Object](f func(obj T, now time.Time) []any) func(runtime.Object, time.Time) []any {
	return func(obj runtime.Object, now time.Time) []any { return f(obj.(T), now) }
}

func newOf[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}

// selectable gives SelectableFields: the metadata of every kind, and what more
// adds (nil: nothing) under labels that do not depend on the object.
func selectable[T interface {
	runtime.Object
	metav1.Object
}](namespaced bool, more func(obj T, set fields.Set)) func(runtime.Object) fields.Set {
	return func(obj runtime.Object) fields.Set {
		o := obj.(T)
		set := fields.Set{"metadata.name": o.GetName()}
		if namespaced {
			set["metadata.namespace"] = o.GetNamespace()
		}
		if more != nil {
			more(o, set)
		}
		return set
	}
}

// A namespaced object's metadata, with the kind's rule for names.
func validateNamespaced(meta *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMeta(meta, true, name, field.NewPath("metadata"))
}

func validateClusterScoped(meta *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMeta(meta, false, name, field.NewPath("metadata"))
}

// invalid turns the messages of a validation helper into errors about value.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// oneOf refuses what is not among supported; empty is a missing value.
func oneOf[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return emptyOrOneOf(path, value, supported...)
}

func emptyOrOneOf[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if value == "" || slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, sets.List(sets.New(supported...)))}
}

func dnsLabel(path *field.Path, value string) field.ErrorList {
	return invalid(path, value, validation.IsDNS1123Label(value))
}

func dnsSubdomain(path *field.Path, value string) field.ErrorList {
	return invalid(path, value, validation.IsDNS1123Subdomain(value))
}

func qualifiedName(path *field.Path, value string) field.ErrorList {
	return invalid(path, value, validation.IsQualifiedName(value))
}

func portNumber(path *field.Path, value int32) field.ErrorList {
	return invalid(path, value, validation.IsValidPortNum(int(value)))
}

func portNumberOrName(path *field.Path, value intstr.IntOrString) field.ErrorList {
	if value.Type == intstr.String {
		return invalid(path, value.StrVal, validation.IsValidPortName(value.StrVal))
	}
	return invalid(path, value.IntValue(), validation.IsValidPortNum(value.IntValue()))
}

func protocol(path *field.Path, value corev1.Protocol) field.ErrorList {
	return oneOf(path, value, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

func nonNegative(path *field.Path, value int64) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(value, path)
}

// keys gives a map's keys in order: nothing that a client sees may depend on
// the order of a map.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// raiseGeneration counts a change of the desired state.
func raiseGeneration(new, old *metav1.ObjectMeta, changed bool) {
	new.Generation = old.Generation
	if changed {
		new.Generation++
	}
}

func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// defaultTo fills a value that was left out.
func defaultTo[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// defaultPtr fills a pointer that was left out.
func defaultPtr[T any](v **T, to T) {
	if *v == nil {
		*v = &to
	}
}

func deref[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}

// Columns of tables.

func nameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

func ageColumn() metav1.TableColumnDefinition {
	return column("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

func column(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

func wideColumn(name, description string) metav1.TableColumnDefinition {
	c := column(name, description)
	c.Priority = 1
	return c
}

func integer(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Type = "integer"
	return c
}

// age is the time since t as kubectl shows it.
func age(t time.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

func orNone(s string) string { return or(s, "<none>") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// firstOf joins the first most of list, and counts the rest.
func firstOf(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(list[:most], ","), len(list)-most)
}
