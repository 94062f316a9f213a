package kinds

import (
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
)

// Kind is one row: all that the server knows of one kind in one group and
// version.
//
// Objects given to a row's functions are of the type that New makes. They own
// what they are given as "new" and may change it; "old" is never changed.
// The order of a create is: Default, PrepareForCreate, Validate and
// ValidateCreate. The order of an update is: Default, PrepareForUpdate, Validate
// and ValidateUpdate. The order of a status update is: Default,
// PrepareForStatusUpdate, ValidateStatusUpdate. What every update must keep of
// an object's metadata (rest.BeforeUpdate checks it) is not checked here.
type Kind struct {
	GroupVersionKind schema.GroupVersionKind
	Resource         string // plural, as in paths: "ingresses"
	Singular         string
	ShortNames       []string
	Categories       []string // "all" puts it into kubectl get all
	Namespaced       bool

	// New and NewList make empty objects of the types of k8s.io/api.
	New     func() runtime.Object
	NewList func() runtime.Object

	// Default fills what the client left out. Nil: nothing to fill. Scheme
	// registers it too, so that decoding defaults.
	Default func(obj runtime.Object)

	// PrepareForCreate removes what a client may not set (status) and sets
	// what the server sets (generation, phase). Nil: nothing to do.
	PrepareForCreate func(obj runtime.Object)
	// PrepareForUpdate puts back what this request may not change (status) and
	// raises metadata.generation where the desired state changed. Nil: nothing
	// to do.
	PrepareForUpdate func(new, old runtime.Object)
	// PrepareForStatusUpdate puts back everything but status. Nil: the kind has
	// no status subresource.
	PrepareForStatusUpdate func(new, old runtime.Object)

	// Validate checks the whole object but status, metadata included. Never nil.
	Validate func(obj runtime.Object) field.ErrorList
	// ValidateCreate checks what only a create may not do. Nil: nothing.
	ValidateCreate func(obj runtime.Object) field.ErrorList
	// ValidateUpdate checks only what an update may not change. Nil: nothing.
	ValidateUpdate func(new, old runtime.Object) field.ErrorList
	// ValidateStatusUpdate checks the status. Nil: nothing.
	ValidateStatusUpdate func(new, old runtime.Object) field.ErrorList
	// Warnings are told on create in Warning headers (RFC 7234, section 5.5).
	// Nil: none.
	Warnings func(obj runtime.Object) []string

	// Scale is the scale subresource. Nil: none.
	Scale *Scale

	// Columns and Row are the Table that kubectl get prints; priority 1 are the
	// columns of -o wide. Row gives one cell a column; now is the server's
	// time, for ages. Never nil.
	Columns []metav1.TableColumnDefinition
	Row     func(obj runtime.Object, now time.Time) []any

	// SelectableFields are those a field selector may name; metadata.name is
	// always among them, metadata.namespace where Namespaced. Every label the
	// kind supports is in the set, with "" where the object has no value. Never
	// nil.
	SelectableFields func(obj runtime.Object) fields.Set

	// GracefulDelete: a delete first sets deletionTimestamp and the grace
	// period; a delete with grace 0 removes (pods).
	GracefulDelete bool
	// CreateOnUpdate: a PUT of an object that does not exist creates it.
	CreateOnUpdate bool
	// ConditionalUpdateOnly: an update without resourceVersion is refused.
	ConditionalUpdateOnly bool

	// MinVersion and MaxVersion are the first and the last Kubernetes version
	// ("1.21") that serves the row. "": no bound.
	MinVersion, MaxVersion string

	// Presents is set where the row has no objects of its own but shows those
	// of another row in another form. Nil: the row's objects are stored as they
	// are.
	Presents *Presentation
}

// Scale converts between an object and its scale subresource (autoscaling/v1).
type Scale struct {
	// Get gives the object's Scale, with its name, namespace, UID,
	// resourceVersion and creation time.
	Get func(obj runtime.Object) *autoscalingv1.Scale
	// Set writes the wanted number of replicas (0 or more) into the object. The
	// caller then runs the kind's PrepareForUpdate and validation.
	Set func(obj runtime.Object, replicas int32)
}

// Presentation ties a row to the row whose objects it shows: events.k8s.io/v1
// Event shows what core/v1 Event stores. Both conversions lose nothing, copy
// what they share with their argument, and set apiVersion and kind of the
// result.
type Presentation struct {
	Of         schema.GroupVersionKind // a row of the same table, itself without Presents
	ToStored   func(obj runtime.Object) runtime.Object
	FromStored func(obj runtime.Object) runtime.Object
}

// GroupVersionResource gives the row's group and version with its resource.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return k.GroupVersionKind.GroupVersion().WithResource(k.Resource)
}

// ServedBy tells whether a server of the given Kubernetes version ("1.21" or
// "v1.21.3") serves the row. A version that cannot be read serves it.
func (k *Kind) ServedBy(kubernetes string) bool {
	v, err := version.ParseGeneric(kubernetes)
	if err != nil {
		return true
	}
	v = version.MajorMinor(v.Major(), v.Minor())
	if k.MinVersion != "" && v.LessThan(version.MustParseGeneric(k.MinVersion)) {
		return false
	}
	return k.MaxVersion == "" || !v.GreaterThan(version.MustParseGeneric(k.MaxVersion))
}
