package kube

import (
	"bytes"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim leaves of an object just received what the controller needs: a cluster's
// objects are in memory for as long as it runs, and what isn't kept can't make
// work by changing (nodes report their health several times a minute). It changes
// the object in place, and doing it twice does no harm.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		writers := statusWriters(o.ManagedFields)
		trimMeta(&o.ObjectMeta)
		o.ManagedFields = writers
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	case *networkingv1.IngressClass:
		trimMeta(&o.ObjectMeta)
		o.ResourceVersion = ""
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	case *networkingv1.ServiceCIDR:
		trimMeta(&o.ObjectMeta)
		o.ResourceVersion, o.Annotations, o.Status = "", nil, networkingv1.ServiceCIDRStatus{}
	case *corev1.Service:
		// What is kept of it is what ServiceOf reads.
		trimMeta(&o.ObjectMeta)
		o.Annotations, o.Status = nil, corev1.ServiceStatus{}
	case *corev1.Node:
		labels := o.Labels
		trimMeta(&o.ObjectMeta)
		o.ResourceVersion, o.Annotations, o.Labels = "", nil, labels
		o.Spec = corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs, Unschedulable: o.Spec.Unschedulable}
		var ready []corev1.NodeCondition
		for _, c := range o.Status.Conditions {
			if c.Type == corev1.NodeReady {
				ready = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
			}
		}
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses, Conditions: ready}
	case *corev1.Secret:
		trimMeta(&o.ObjectMeta)
		o.ResourceVersion, o.Annotations, o.StringData = "", ourMarks(o.Annotations), nil
		data := make(map[string][]byte, 2)
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if value, ok := o.Data[key]; ok {
				data[key] = value
			}
		}
		o.Data = data
	case *discoveryv1.EndpointSlice:
		o.Annotations, o.ManagedFields = nil, nil
	case *legacyEndpoints:
		o.Annotations, o.ManagedFields = nil, nil
	}
	return object, nil
}

// Annotations of the Secrets that the controller made.
const (
	// IssuedFor holds the controller_id of whoever made it.
	IssuedFor = "vtm.pulsesecure.net/issued-by-controller"
	// UnusedSince is since when no Ingress names it: RFC 3339.
	UnusedSince = "vtm.pulsesecure.net/unused-since"
)

// IssuedBy reports whether a Secret, which may be nil, was made by the controller of
// an identifier.
func IssuedBy(secret *corev1.Secret, id string) bool {
	return secret != nil && secret.Annotations[IssuedFor] == id
}

// ourMarks are those of a Secret's annotations; nil if it has none.
func ourMarks(all map[string]string) map[string]string {
	var ours map[string]string
	for _, name := range []string{IssuedFor, UnusedSince} {
		if value, is := all[name]; is {
			if ours == nil {
				ours = map[string]string{}
			}
			ours[name] = value
		}
	}
	return ours
}

// StatusManager begins the names of field managers by which controllers of this kind
// write the status of Ingresses; the setting controller_id follows.
const StatusManager = "vtm-ingress-"

// statusWriters keeps of the managers of an Ingress's fields those of ours that wrote the
// addresses in its status, and nobody else since; their names alone.
func statusWriters(all []metav1.ManagedFieldsEntry) (kept []metav1.ManagedFieldsEntry) {
	for _, m := range all {
		if !strings.HasPrefix(m.Manager, StatusManager) {
			continue
		}
		// One that was trimmed before has no fields any more.
		if m.FieldsV1 == nil || bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:ingress"`)) {
			kept = append(kept, metav1.ManagedFieldsEntry{Manager: m.Manager})
		}
	}
	return kept
}

// WroteStatus reports whether the addresses in an Ingress's status, as Snapshots have it,
// are all what the controller with that controller_id wrote.
func WroteStatus(ingress *networkingv1.Ingress, controllerID string) bool {
	return slices.ContainsFunc(ingress.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == StatusManager+controllerID })
}

// trimMeta keeps name, UID, versions, times and annotations.
func trimMeta(m *metav1.ObjectMeta) {
	m.ManagedFields, m.Labels, m.Finalizers, m.OwnerReferences = nil, nil, nil, nil
	m.GenerateName = ""
}

// anyChange compares trimmed objects without a resourceVersion.
func anyChange[T metav1.Object](old, new T) change {
	return changeIf(!equality.Semantic.DeepEqual(old, new))
}

func changeIf(changed bool) change {
	if changed {
		return loud
	}
	return none
}

// ingressChange: a status that alone changed asks for no work, since mostly it is
// the one that the controller itself wrote. What somebody else writes there is
// seen when the Ingress is looked at the next time.
func ingressChange(old, new *networkingv1.Ingress) change {
	switch {
	case old.UID != new.UID, old.Generation != new.Generation,
		!old.CreationTimestamp.Equal(&new.CreationTimestamp), !old.DeletionTimestamp.Equal(new.DeletionTimestamp),
		!reflect.DeepEqual(old.Annotations, new.Annotations) && len(old.Annotations)+len(new.Annotations) > 0,
		!equality.Semantic.DeepEqual(old.Spec, new.Spec):
		return loud
	case !equality.Semantic.DeepEqual(old.Status, new.Status):
		return quiet
	}
	return none
}
