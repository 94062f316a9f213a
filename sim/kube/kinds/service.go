package kinds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// defaultAffinitySeconds is how long session affinity by client address lasts
// where the client does not say.
const defaultAffinitySeconds = 10800

func serviceRow(families []corev1.IPFamily) Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
		Resource:         "services",
		Singular:         "service",
		ShortNames:       []string{"svc"},
		Categories:       []string{"all"},
		Namespaced:       true,
		CreateOnUpdate:   true,
		New:              newOf[corev1.Service],
		NewList:          newOf[corev1.ServiceList],

		Default: on(defaultService),
		PrepareForCreate: on(func(s *corev1.Service) {
			s.Status = corev1.ServiceStatus{}
			alignClusterIPs(s, nil)
			defaultFamilies(s, nil, families)
		}),
		PrepareForUpdate: onBoth(func(new, old *corev1.Service) {
			new.Status = *old.Status.DeepCopy()
			alignClusterIPs(new, old)
			keepAllocated(new, old)
			dropUnneeded(new, old)
			defaultFamilies(new, old, families)
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *corev1.Service) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate:       check(func(s *corev1.Service) field.ErrorList { return validateService(s, families) }),
		ValidateUpdate: checkBoth(validateServiceUpdate),
		ValidateStatusUpdate: checkBoth(func(new, _ *corev1.Service) field.ErrorList {
			var errs field.ErrorList
			path := field.NewPath("status", "loadBalancer", "ingress")
			if len(new.Status.LoadBalancer.Ingress) > 0 && new.Spec.Type != corev1.ServiceTypeLoadBalancer {
				errs = append(errs, field.Forbidden(path, "may only be used when `spec.type` is \"LoadBalancer\""))
			}
			for i, in := range new.Status.LoadBalancer.Ingress {
				errs = append(errs, validateLoadBalancerIngress(path.Index(i), in.IP, in.Hostname)...)
			}
			return errs
		}),

		Columns: serviceColumns(),
		Row:     cells(serviceCells),
		SelectableFields: selectable(true, func(s *corev1.Service, set fields.Set) {
			set["spec.clusterIP"] = s.Spec.ClusterIP
			set["spec.type"] = string(s.Spec.Type)
		}),
	}
}

// NeedsClusterIP tells whether the Service has a cluster IP: one is allocated
// where spec.clusterIP is empty; "None" is a value.
func NeedsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

// NeedsNodePorts tells whether each port of the Service has a node port: one is
// allocated where nodePort is 0.
func NeedsNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// NeedsHealthCheckNodePort tells whether the Service has a health check node
// port: one is allocated where spec.healthCheckNodePort is 0.
func NeedsHealthCheckNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// externallyAccessible tells whether traffic from outside the cluster can reach
// the Service, so that externalTrafficPolicy has a meaning.
func externallyAccessible(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.Spec.ExternalIPs) > 0
	}
	return false
}

func headless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

func defaultService(s *corev1.Service) {
	defaultTo(&s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch s.Spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		s.Spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		defaultPtr(&s.Spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		defaultPtr(&s.Spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		defaultPtr(&s.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, defaultAffinitySeconds)
	}
	defaultTo(&s.Spec.Type, corev1.ServiceTypeClusterIP)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		defaultTo(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) {
		defaultTo(&s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		defaultPtr(&s.Spec.AllocateLoadBalancerNodePorts, true)
		fallthrough
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeClusterIP:
		defaultPtr(&s.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			defaultPtr(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

// alignClusterIPs makes clusterIP and the first of clusterIPs agree where a
// client that knows only the one changed it. old is nil on create.
func alignClusterIPs(new, old *corev1.Service) {
	n := &new.Spec
	if old == nil {
		old = &corev1.Service{}
	}
	o := &old.Spec
	untouched := len(n.ClusterIPs) == 0 || slices.Equal(n.ClusterIPs, o.ClusterIPs)
	switch {
	case n.ClusterIP == o.ClusterIP || !untouched:
	case n.ClusterIP == "":
		n.ClusterIPs = nil
	default:
		n.ClusterIPs = []string{n.ClusterIP}
	}
}

// keepAllocated puts back what the server once allocated and the client left
// out, so that applying the same manifest again changes nothing.
func keepAllocated(new, old *corev1.Service) {
	if NeedsClusterIP(new) && NeedsClusterIP(old) {
		defaultTo(&new.Spec.ClusterIP, old.Spec.ClusterIP)
		if len(new.Spec.ClusterIPs) == 0 && new.Spec.ClusterIP == old.Spec.ClusterIP {
			new.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if NeedsNodePorts(new) && NeedsNodePorts(old) {
		was := map[string]int32{} // by port name
		for _, p := range old.Spec.Ports {
			was[p.Name] = p.NodePort
		}
		used := nodePorts(old).Intersection(nodePorts(new))
		for i := range new.Spec.Ports {
			p := &new.Spec.Ports[i]
			if n := was[p.Name]; p.NodePort == 0 && !used.Has(n) {
				p.NodePort = n
				used.Insert(n)
			}
		}
	}
	if NeedsHealthCheckNodePort(new) && NeedsHealthCheckNodePort(old) {
		defaultTo(&new.Spec.HealthCheckNodePort, old.Spec.HealthCheckNodePort)
	}
}

func nodePorts(s *corev1.Service) sets.Set[int32] {
	used := sets.New[int32]()
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			used.Insert(p.NodePort)
		}
	}
	return used
}

// dropUnneeded takes away what the Service's new type has no use for and the
// client did not touch: else a change of type alone would be refused.
func dropUnneeded(new, old *corev1.Service) {
	n, o := &new.Spec, &old.Spec
	if NeedsClusterIP(old) && !NeedsClusterIP(new) {
		if slices.Equal(n.ClusterIPs, o.ClusterIPs) {
			n.ClusterIP, n.ClusterIPs = "", nil
		}
		if slices.Equal(n.IPFamilies, o.IPFamilies) {
			n.IPFamilies = nil
		}
		if same(n.IPFamilyPolicy, o.IPFamilyPolicy) {
			n.IPFamilyPolicy = nil
		}
	}
	if NeedsNodePorts(old) && !NeedsNodePorts(new) && nodePorts(new).Equal(nodePorts(old)) {
		for i := range n.Ports {
			n.Ports[i].NodePort = 0
		}
	}
	if NeedsHealthCheckNodePort(old) && !NeedsHealthCheckNodePort(new) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type != corev1.ServiceTypeLoadBalancer {
		if same(n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts) {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if same(n.LoadBalancerClass, o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
		new.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	if externallyAccessible(old) && !externallyAccessible(new) && n.ExternalTrafficPolicy == o.ExternalTrafficPolicy {
		n.ExternalTrafficPolicy = ""
	}
}

// defaultFamilies fills in what the client leaves open of the policy and the families,
// by the families of the cluster; old is nil on create. What is wrong is left as it is,
// for validation to tell.
func defaultFamilies(s, old *corev1.Service, cluster []corev1.IPFamily) {
	if !NeedsClusterIP(s) {
		return
	}
	spec := &s.Spec
	if old == nil {
		old = &corev1.Service{}
	}
	switch {
	case old.Spec.IPFamilyPolicy != nil:
		defaultPtr(&spec.IPFamilyPolicy, *old.Spec.IPFamilyPolicy)
	case ownEndpoints(s):
		defaultPtr(&spec.IPFamilyPolicy, corev1.IPFamilyPolicyRequireDualStack)
	default:
		defaultPtr(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	}
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if single {
		// The policy alone is enough to give up the second family.
		if slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:min(1, len(spec.ClusterIPs))]
		}
		if slices.Equal(spec.IPFamilies, old.Spec.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:min(1, len(spec.IPFamilies))]
		}
	} else if reduced(spec.ClusterIPs, old.Spec.ClusterIPs) || reduced(spec.IPFamilies, old.Spec.IPFamilies) {
		return
	}
	if !headless(s) {
		for _, ip := range spec.ClusterIPs[min(len(spec.IPFamilies), len(spec.ClusterIPs)):] {
			family := familyOf(ip)
			if !slices.Contains(cluster, family) {
				return
			}
			spec.IPFamilies = append(spec.IPFamilies, family)
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{cluster[0]}
	}
	if !single && len(spec.IPFamilies) == 1 && (len(cluster) == 2 || ownEndpoints(s)) {
		other := corev1.IPv6Protocol
		if spec.IPFamilies[0] == other {
			other = corev1.IPv4Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, other)
	}
}

// ownEndpoints says that a Service is headless and has no selector: somebody makes
// endpoints for it, of whatever families.
func ownEndpoints(s *corev1.Service) bool { return headless(s) && len(s.Spec.Selector) == 0 }

// reduced says whether new is the beginning of old, and not nothing.
func reduced[T comparable](new, old []T) bool {
	return len(new) > 0 && len(new) < len(old) && slices.Equal(new, old[:len(new)])
}

func familyOf(ip string) corev1.IPFamily {
	if netutils.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func serviceColumns() []metav1.TableColumnDefinition {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn(),
		column("Type", doc["type"]),
		column("Cluster-IP", doc["clusterIP"]),
		column("External-IP", doc["externalIPs"]),
		column("Port(s)", doc["ports"]),
		ageColumn(),
		wideColumn("Selector", doc["selector"]),
	}
}

func serviceCells(s *corev1.Service, now time.Time) []any {
	clusterIP := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		number := fmt.Sprint(p.Port)
		if p.NodePort > 0 {
			number += fmt.Sprintf(":%d", p.NodePort)
		}
		ports = append(ports, number+"/"+string(p.Protocol))
	}
	return []any{s.Name, string(s.Spec.Type), clusterIP, serviceExternalIP(s), orNone(strings.Join(ports, ",")),
		age(s.CreationTimestamp.Time, now), labels.FormatLabels(s.Spec.Selector)}
}

func serviceExternalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(strings.Join(s.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var addresses []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			addresses = append(addresses, or(in.IP, in.Hostname))
		}
		all := slices.Clone(s.Spec.ExternalIPs)
		if own := loadBalancerAddresses(addresses); own != "" {
			all = append([]string{own}, all...)
		}
		return or(strings.Join(all, ","), "<pending>")
	}
	return "<unknown>"
}
