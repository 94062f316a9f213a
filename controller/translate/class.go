package translate

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
)

const (
	// ControllerName in an IngressClass makes it ours (specification, Defining the
	// Traffic Manager as the Controller in Your Ingress Specification).
	ControllerName = "pulsesecure.net/vtm-ingress-controller"

	annClass     = "kubernetes.io/ingress.class" // the older way to name a class
	legacyClass  = "vtm"
	annIsDefault = "ingressclass.kubernetes.io/is-default-class"
)

// classes are the IngressClasses that are ours.
type classes struct {
	ours       []string // sorted
	hasDefault bool     // one of them is the cluster's default
}

func newClasses(all *kube.Table[string, *networkingv1.IngressClass], settings *config.Settings) classes {
	var c classes
	for _, name := range slices.Sorted(all.Keys()) {
		class := all.Get(name)
		if class.Spec.Controller != ControllerName {
			continue
		}
		if len(settings.IngressClassNames) > 0 && !slices.Contains(settings.IngressClassNames, name) {
			continue
		}
		c.ours = append(c.ours, name)
		c.hasDefault = c.hasDefault || IsDefault(class)
	}
	return c
}

func (c classes) equal(d classes) bool {
	return c.hasDefault == d.hasDefault && slices.Equal(c.ours, d.ours)
}

// IsDefault reports whether a class is the cluster's default.
func IsDefault(class *networkingv1.IngressClass) bool {
	return class.Annotations[annIsDefault] == "true"
}

// Unclassed reports whether an Ingress names no class, so that it has the cluster's
// default.
func Unclassed(ingress *networkingv1.Ingress) bool {
	_, annotated := ingress.Annotations[annClass]
	return ingress.Spec.IngressClassName == nil && !annotated
}

// own reports whether an Ingress is ours. The field goes before the annotation;
// the default class is for an Ingress that has neither.
func (c classes) own(ingress *networkingv1.Ingress) bool {
	if name := ingress.Spec.IngressClassName; name != nil {
		_, ok := slices.BinarySearch(c.ours, *name)
		return ok
	}
	if name, ok := ingress.Annotations[annClass]; ok {
		return name == legacyClass
	}
	return c.hasDefault
}

// Foreign says why an Ingress without a verdict is not ours, and what would make it so.
func (r *Result) Foreign(ingress *networkingv1.Ingress) string {
	const remedy = ": name an IngressClass whose spec.controller is " + ControllerName
	name := ingress.Spec.IngressClassName
	if name == nil {
		if class, ok := ingress.Annotations[annClass]; ok {
			return fmt.Sprintf("its annotation %s is %s, not %q", annClass, show(class), legacyClass)
		}
		return "it names no class, and no IngressClass of this controller is the cluster's default: set spec.ingressClassName"
	}
	switch class := r.of.snapshot.Classes.Get(*name); {
	case class == nil:
		return fmt.Sprintf("there is no IngressClass %s: create it, or name another", show(*name))
	case class.Spec.Controller != ControllerName:
		return fmt.Sprintf("its IngressClass %s is for the controller %s%s", show(*name), show(class.Spec.Controller), remedy)
	default:
		return fmt.Sprintf("its IngressClass %s is none of the setting ingress_class_names", show(*name))
	}
}
