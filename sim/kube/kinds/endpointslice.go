package kinds

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// The limits of one EndpointSlice.
const (
	maxSliceEndpoints = 1000
	maxSliceAddresses = 100 // of one endpoint
	maxSlicePorts     = 20000
	maxSliceTopology  = 16
)

func endpointSliceRow() Kind {
	return Kind{
		GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Resource:         "endpointslices",
		Singular:         "endpointslice",
		Namespaced:       true,
		MinVersion:       "1.21",
		New:              newOf[discoveryv1.EndpointSlice],
		NewList:          newOf[discoveryv1.EndpointSliceList],

		Default: on(func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				defaultPtr(&s.Ports[i].Name, "")
				defaultPtr(&s.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		}),
		PrepareForCreate: on(func(s *discoveryv1.EndpointSlice) { s.Generation = 1 }),
		PrepareForUpdate: onBoth(func(new, old *discoveryv1.EndpointSlice) {
			changed := !same(new.Endpoints, old.Endpoints) || !same(new.Ports, old.Ports) || new.AddressType != old.AddressType
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, changed)
		}),

		Validate: check(validateEndpointSlice),
		ValidateUpdate: checkBoth(func(new, old *discoveryv1.EndpointSlice) field.ErrorList {
			return apivalidation.ValidateImmutableField(new.AddressType, old.AddressType, field.NewPath("addressType"))
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("AddressType", discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"]),
			column("Ports", discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"]),
			column("Endpoints", discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"]),
			ageColumn(),
		},
		Row: cells(func(s *discoveryv1.EndpointSlice, now time.Time) []any {
			var ports, addresses []string
			for _, p := range s.Ports {
				switch {
				case p.Port != nil:
					ports = append(ports, strconv.Itoa(int(*p.Port)))
				default:
					ports = append(ports, or(deref(p.Name), "*"))
				}
			}
			for _, e := range s.Endpoints {
				addresses = append(addresses, e.Addresses...)
			}
			return []any{s.Name, string(s.AddressType), or(firstOf(ports, 3), "<unset>"), or(firstOf(addresses, 3), "<unset>"),
				age(s.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*discoveryv1.EndpointSlice](true, nil),
	}
}

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateNamespaced(&s.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	errs = append(errs, oneOf(field.NewPath("addressType"), s.AddressType,
		discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)...)

	endpoints := field.NewPath("endpoints")
	if len(s.Endpoints) > maxSliceEndpoints {
		errs = append(errs, field.TooMany(endpoints, len(s.Endpoints), maxSliceEndpoints))
	} else {
		for i := range s.Endpoints {
			errs = append(errs, validateEndpoint(&s.Endpoints[i], s.AddressType, endpoints.Index(i))...)
		}
	}

	ports := field.NewPath("ports")
	if len(s.Ports) > maxSlicePorts {
		return append(errs, field.TooMany(ports, len(s.Ports), maxSlicePorts))
	}
	names := sets.New[string]()
	for i, p := range s.Ports {
		at := ports.Index(i)
		name := deref(p.Name)
		if name != "" {
			errs = append(errs, dnsLabel(at.Child("name"), name)...)
		}
		if names.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names.Insert(name)
		errs = append(errs, protocol(at.Child("protocol"), deref(p.Protocol))...)
		if p.Port != nil {
			errs = append(errs, portNumber(at.Child("port"), *p.Port)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
		}
	}
	return errs
}

func validateEndpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	addresses := path.Child("addresses")
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	case n > maxSliceAddresses:
		errs = append(errs, field.TooMany(addresses, n, maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(addresses.Index(i), a, kind)...)
	}
	if e.NodeName != nil {
		errs = append(errs, dnsSubdomain(path.Child("nodeName"), *e.NodeName)...)
	}
	if e.Hostname != nil {
		errs = append(errs, dnsLabel(path.Child("hostname"), *e.Hostname)...)
	}
	topology := path.Child("deprecatedTopology")
	if len(e.DeprecatedTopology) > maxSliceTopology {
		errs = append(errs, field.TooMany(topology, len(e.DeprecatedTopology), maxSliceTopology))
	}
	if _, there := e.DeprecatedTopology[corev1.LabelHostname]; there {
		errs = append(errs, field.Invalid(topology.Key(corev1.LabelHostname), "", fmt.Sprintf("may not be set to %s, use nodeName", corev1.LabelHostname)))
	}
	return errs
}

func validateSliceAddress(path *field.Path, address string, kind discoveryv1.AddressType) field.ErrorList {
	var isFamily func(string) bool
	var family string
	switch kind {
	case discoveryv1.AddressTypeIPv4:
		isFamily, family = netutils.IsIPv4String, "IPv4"
	case discoveryv1.AddressTypeIPv6:
		isFamily, family = netutils.IsIPv6String, "IPv6"
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(path, address)
	default:
		return nil // the address type itself is refused
	}
	if errs := validIP(path, address); len(errs) > 0 {
		return errs
	}
	if !isFamily(address) {
		return field.ErrorList{field.Invalid(path, address, fmt.Sprintf("must be an %s address", family))}
	}
	return ordinaryIP(path, address)
}
