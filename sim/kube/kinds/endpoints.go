//lint:file-ignore SA1019 Endpoints are deprecated, and all that servers before 1.21 have.

package kinds

import (
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func endpointsRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Resource:         "endpoints",
		Singular:         "endpoints",
		ShortNames:       []string{"ep"},
		Namespaced:       true,
		CreateOnUpdate:   true,
		New:              newOf[corev1.Endpoints],
		NewList:          newOf[corev1.EndpointsList],

		Default: on(func(ep *corev1.Endpoints) {
			for i := range ep.Subsets {
				for j := range ep.Subsets[i].Ports {
					defaultTo(&ep.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		}),
		Validate: check(validateEndpoints),

		Columns: []metav1.TableColumnDefinition{nameColumn(), column("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"]), ageColumn()},
		Row: cells(func(ep *corev1.Endpoints, now time.Time) []any {
			var list []string
			for _, s := range ep.Subsets {
				for _, a := range s.Addresses {
					if len(s.Ports) == 0 { // a headless Service without ports
						list = append(list, a.IP)
					}
				}
				for _, p := range s.Ports {
					for _, a := range s.Addresses {
						list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
					}
				}
			}
			return []any{ep.Name, orNone(firstOf(list, 3)), age(ep.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*corev1.Endpoints](true, nil),
	}
}

func validateEndpoints(ep *corev1.Endpoints) field.ErrorList {
	errs := validateNamespaced(&ep.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	for i, s := range ep.Subsets {
		path := field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], path.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], path.Child("notReadyAddresses").Index(j))...)
		}
		for j, p := range s.Ports {
			at := path.Child("ports").Index(j)
			if p.Name != "" {
				errs = append(errs, dnsLabel(at.Child("name"), p.Name)...)
			} else if len(s.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
			errs = append(errs, portNumber(at.Child("port"), p.Port)...)
			errs = append(errs, protocol(at.Child("protocol"), p.Protocol)...)
			if p.AppProtocol != nil {
				errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
			}
		}
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := validIP(path.Child("ip"), a.IP)
	if len(errs) == 0 {
		errs = append(errs, ordinaryIP(path.Child("ip"), a.IP)...)
	}
	if a.Hostname != "" {
		errs = append(errs, dnsLabel(path.Child("hostname"), a.Hostname)...)
	}
	if a.NodeName != nil {
		errs = append(errs, dnsSubdomain(path.Child("nodeName"), *a.NodeName)...)
	}
	return errs
}
