package kinds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// annotationIngressClass is how a class was named before spec.ingressClassName.
const annotationIngressClass = "kubernetes.io/ingress.class"

func ingressRow() Kind {
	return Kind{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("Ingress"),
		Resource:         "ingresses",
		Singular:         "ingress",
		ShortNames:       []string{"ing"},
		Namespaced:       true,
		MinVersion:       "1.19",
		New:              newOf[networkingv1.Ingress],
		NewList:          newOf[networkingv1.IngressList],

		PrepareForCreate: on(func(ing *networkingv1.Ingress) {
			ing.Status = networkingv1.IngressStatus{}
			ing.Generation = 1
		}),
		PrepareForUpdate: onBoth(func(new, old *networkingv1.Ingress) {
			new.Status = *old.Status.DeepCopy()
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, !same(new.Spec, old.Spec))
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *networkingv1.Ingress) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate: check(func(ing *networkingv1.Ingress) field.ErrorList {
			errs := validateNamespaced(&ing.ObjectMeta, apivalidation.NameIsDNSSubdomain)
			return append(errs, validateIngressSpec(&ing.Spec, field.NewPath("spec"))...)
		}),
		ValidateCreate: check(func(ing *networkingv1.Ingress) field.ErrorList {
			annotation, annotated := ing.Annotations[annotationIngressClass]
			if annotated && ing.Spec.IngressClassName != nil && annotation != *ing.Spec.IngressClassName {
				return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(annotationIngressClass), annotation,
					"must match `ingressClassName` when both are specified")}
			}
			return nil
		}),
		ValidateStatusUpdate: checkBoth(func(new, _ *networkingv1.Ingress) field.ErrorList {
			var errs field.ErrorList
			for i, in := range new.Status.LoadBalancer.Ingress {
				errs = append(errs, validateLoadBalancerIngress(field.NewPath("status", "loadBalancer", "ingress").Index(i), in.IP, in.Hostname)...)
			}
			return errs
		}),
		Warnings: func(obj runtime.Object) []string {
			ing := obj.(*networkingv1.Ingress)
			if _, annotated := ing.Annotations[annotationIngressClass]; annotated && ing.Spec.IngressClassName == nil {
				return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", annotationIngressClass)}
			}
			return nil
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
			column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
			column("Address", "Address is a list containing ingress points for the load-balancer"),
			column("Ports", "Ports of TLS configurations that open"),
			ageColumn(),
		},
		Row: cells(func(ing *networkingv1.Ingress, now time.Time) []any {
			ports := "80"
			if len(ing.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			var hosts, addresses []string
			for _, r := range ing.Spec.Rules {
				if r.Host != "" {
					hosts = append(hosts, r.Host)
				}
			}
			for _, in := range ing.Status.LoadBalancer.Ingress {
				addresses = append(addresses, or(in.IP, in.Hostname))
			}
			return []any{ing.Name, orNone(deref(ing.Spec.IngressClassName)), or(firstOf(hosts, 3), "*"),
				loadBalancerAddresses(addresses), ports, age(ing.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*networkingv1.Ingress](true, nil),
	}
}

// loadBalancerAddresses is a load balancer's status in one cell.
func loadBalancerAddresses(addresses []string) string {
	addresses = slices.DeleteFunc(addresses, func(a string) bool { return a == "" })
	slices.Sort(addresses)
	return strings.Join(slices.Compact(addresses), ",")
}

func validateLoadBalancerIngress(path *field.Path, ip, hostname string) field.ErrorList {
	var errs field.ErrorList
	if ip != "" {
		errs = append(errs, validIP(path.Child("ip"), ip)...)
	}
	if hostname != "" {
		errs = append(errs, dnsSubdomain(path.Child("hostname"), hostname)...)
		if netutils.ParseIPSloppy(hostname) != nil {
			errs = append(errs, field.Invalid(path.Child("hostname"), hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}

func validateIngressSpec(spec *networkingv1.IngressSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(path, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, validateIngressBackend(spec.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for i := range spec.Rules {
		errs = append(errs, validateIngressRule(&spec.Rules[i], path.Child("rules").Index(i))...)
	}
	for i := range spec.TLS {
		errs = append(errs, validateIngressTLS(&spec.TLS[i], path.Child("tls").Index(i))...)
	}
	if spec.IngressClassName != nil {
		errs = append(errs, dnsSubdomain(path.Child("ingressClassName"), *spec.IngressClassName)...)
	}
	return errs
}

func validateIngressTLS(tls *networkingv1.IngressTLS, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, host := range tls.Hosts {
		errs = append(errs, validateIngressHost(path.Child("hosts").Index(i), host)...)
	}
	if tls.SecretName != "" {
		errs = append(errs, dnsSubdomain(path.Child("secretName"), tls.SecretName)...)
	}
	return errs
}

func validateIngressHost(path *field.Path, host string) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalid(path, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return dnsSubdomain(path, host)
}

func validateIngressRule(rule *networkingv1.IngressRule, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if rule.Host != "" {
		if netutils.ParseIPSloppy(rule.Host) != nil {
			errs = append(errs, field.Invalid(path.Child("host"), rule.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validateIngressHost(path.Child("host"), rule.Host)...)
	}
	if rule.HTTP == nil {
		return errs
	}
	paths := path.Child("http", "paths")
	if len(rule.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for i := range rule.HTTP.Paths {
		errs = append(errs, validateIngressPath(&rule.HTTP.Paths[i], paths.Index(i))...)
	}
	return errs
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, at *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
		for _, sequence := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, sequence) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, fmt.Sprintf("must not contain '%s'", sequence)))
			}
		}
		for _, suffix := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, suffix) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, fmt.Sprintf("cannot end with '%s'", suffix)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("pathType"), *p.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}))
	}
	return append(errs, validateIngressBackend(&p.Backend, at.Child("backend"))...)
}

func validateIngressBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource == nil && b.Service == nil:
		return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
	case b.Resource != nil:
		return validateTypedReference(deref(b.Resource.APIGroup), b.Resource.Kind, b.Resource.Name, at.Child("resource"))
	}
	var errs field.ErrorList
	service := at.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		errs = append(errs, invalid(service.Child("name"), b.Service.Name, apivalidation.NameIsDNS1035Label(b.Service.Name, false))...)
	}
	port := b.Service.Port
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, invalid(service.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, portNumber(service.Child("port", "number"), port.Number)...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

// validateTypedReference checks a reference to an object of any kind.
func validateTypedReference(group, kind, name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if group != "" {
		errs = append(errs, dnsSubdomain(at.Child("apiGroup"), group)...)
	}
	segment := func(child, value string) {
		if value == "" {
			errs = append(errs, field.Required(at.Child(child), ""))
			return
		}
		errs = append(errs, invalid(at.Child(child), value, content.IsPathSegmentName(value))...)
	}
	segment("kind", kind)
	segment("name", name)
	return errs
}
