package openapi

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"vtm-ingress/sim/kube/kinds"
)

// NewTypeConverter gives what server-side apply needs to know of the types of
// the table's kinds and of Scale: which lists are merged by which keys, which
// structs are replaced as a whole. Objects given to it need their apiVersion
// and kind. It takes a few milliseconds and holds no reference to the table.
func NewTypeConverter(table []kinds.Kind) (managedfields.TypeConverter, error) {
	s := newSchemas(false)
	for _, k := range table {
		s.add(k.New(), k.GroupVersionKind)
	}
	s.add(&autoscalingv1.Scale{}, autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	return managedfields.NewTypeConverter(s.defined, false)
}
