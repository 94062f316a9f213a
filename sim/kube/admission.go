package kube

import (
	"cmp"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// annotationIngressClass is how a class was named before spec.ingressClassName.
const annotationIngressClass = "kubernetes.io/ingress.class"

// admitIngress gives a new Ingress that names no class, in neither way, the
// default one, as the admission plug-in DefaultIngressClass of a real server
// does. An empty name is a name. Where several classes are marked as default,
// the newest is taken since 1.26; before, the Ingress was refused.
func (r *resource) admitIngress(ingress *networkingv1.Ingress) error {
	if _, annotated := ingress.Annotations[annotationIngressClass]; annotated || ingress.Spec.IngressClassName != nil {
		return nil
	}
	items, _ := r.resources[networkingv1.SchemeGroupVersion.WithResource("ingressclasses")].table.Latest("")
	var newest *networkingv1.IngressClass
	found := 0
	for _, item := range items { // in the order of names
		class := item.Object.(*networkingv1.IngressClass)
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		found++
		if newest == nil || class.CreationTimestamp.After(newest.CreationTimestamp.Time) {
			newest = class
		}
	}
	if newest == nil {
		return nil
	}
	if found > 1 && !r.version.atLeast(26) {
		return apierrors.NewForbidden(r.groupResource(), cmp.Or(ingress.Name, ingress.GenerateName),
			apierrors.NewInternalError(fmt.Errorf("%d default IngressClasses were found, only 1 allowed", found)))
	}
	name := newest.Name
	ingress.Spec.IngressClassName = &name
	return nil
}
