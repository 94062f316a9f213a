package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxAffinitySeconds is one day.
	maxAffinitySeconds = 86400
	// kubeletPort must not be exposed by a load balancer.
	kubeletPort = 10250
)

func validateService(s *corev1.Service, cluster []corev1.IPFamily) field.ErrorList {
	errs := validateNamespaced(&s.ObjectMeta, apivalidation.NameIsDNS1035Label)
	spec := field.NewPath("spec")
	if s.Spec.Type != corev1.ServiceTypeExternalName && !headless(s) && len(s.Spec.Ports) == 0 {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s, spec)...)
	errs = append(errs, validateServicePorts(s, spec.Child("ports"))...)
	if s.Spec.Selector != nil {
		errs = append(errs, metav1validation.ValidateLabels(s.Spec.Selector, spec.Child("selector"))...)
	}
	errs = append(errs, validateSessionAffinity(s, spec)...)
	errs = append(errs, validateClusterIPs(s, spec, cluster)...)
	for i, ip := range s.Spec.ExternalIPs {
		at := spec.Child("externalIPs").Index(i)
		if e := validIP(at, ip); len(e) > 0 {
			errs = append(errs, e...)
		} else {
			errs = append(errs, ordinaryIP(at, ip)...)
		}
	}
	errs = append(errs, validateLoadBalancerFields(s, spec)...)
	errs = append(errs, validateTrafficPolicies(s, spec)...)
	if d := s.Spec.TrafficDistribution; d != nil {
		errs = append(errs, oneOf(spec.Child("trafficDistribution"), *d, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

func validateServiceType(s *corev1.Service, spec *field.Path) field.ErrorList {
	errs := oneOf(spec.Child("type"), s.Spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if headless(s) {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.Spec.ClusterIP,
				fmt.Sprintf("may not be set to 'None' for %s services", s.Spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		forbid := func(child string, set bool) {
			if set {
				errs = append(errs, field.Forbidden(spec.Child(child), "may not be set for ExternalName services"))
			}
		}
		forbid("clusterIPs", len(s.Spec.ClusterIPs) > 0)
		forbid("ipFamilies", len(s.Spec.IPFamilies) > 0)
		forbid("ipFamilyPolicy", s.Spec.IPFamilyPolicy != nil)
		// A trailing dot says that the name is fully qualified.
		if name := strings.TrimSuffix(s.Spec.ExternalName, "."); name != "" {
			errs = append(errs, dnsSubdomain(spec.Child("externalName"), name)...)
		} else {
			errs = append(errs, field.Required(spec.Child("externalName"), ""))
		}
	}
	return errs
}

func validateServicePorts(s *corev1.Service, path *field.Path) field.ErrorList {
	type numbered struct {
		protocol corev1.Protocol
		number   int32
	}
	var errs field.ErrorList
	names, ports, nodePorts := sets.New[string](), sets.New[numbered](), sets.New[numbered]()
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], path.Index(i)
		switch {
		case p.Name != "":
			errs = append(errs, dnsLabel(at.Child("name"), p.Name)...)
			if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		case len(s.Spec.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, portNumber(at.Child("port"), p.Port)...)
		errs = append(errs, protocol(at.Child("protocol"), p.Protocol)...)
		errs = append(errs, portNumberOrName(at.Child("targetPort"), p.TargetPort)...)
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
		}
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer && p.Port == kubeletPort {
			errs = append(errs, field.Invalid(at, p.Port, fmt.Sprintf("may not expose port %v externally since it is used by kubelet", kubeletPort)))
		}
		if s.Spec.Type == corev1.ServiceTypeClusterIP && p.NodePort != 0 {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if p.NodePort != 0 {
			key := numbered{p.Protocol, p.NodePort}
			if nodePorts.Has(key) {
				errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
			}
			nodePorts.Insert(key)
		}
		key := numbered{p.Protocol, p.Port}
		if ports.Has(key) {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		ports.Insert(key)
	}
	return errs
}

func validateSessionAffinity(s *corev1.Service, spec *field.Path) field.ErrorList {
	errs := oneOf(spec.Child("sessionAffinity"), s.Spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at := spec.Child("sessionAffinityConfig")
	config := s.Spec.SessionAffinityConfig
	switch s.Spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone)))
		}
	case corev1.ServiceAffinityClientIP:
		if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
			return append(errs, field.Required(at, fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)))
		}
		if t := *config.ClientIP.TimeoutSeconds; t <= 0 || t > maxAffinitySeconds {
			errs = append(errs, field.Invalid(at.Child("clientIP", "timeoutSeconds"), t,
				fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds)))
		}
	}
	return errs
}

// validateClusterIPs holds clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy
// together, by the families of the cluster.
func validateClusterIPs(s *corev1.Service, spec *field.Path, cluster []corev1.IPFamily) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil // refused by type
	}
	var errs field.ErrorList
	ips, families, policies := spec.Child("clusterIPs"), spec.Child("ipFamilies"), spec.Child("ipFamilyPolicy")
	switch all := s.Spec.ClusterIPs; {
	case s.Spec.ClusterIP == "" && len(all) > 0:
		errs = append(errs, field.Forbidden(ips, "must be empty when `clusterIP` is not specified"))
	case len(all) > 0 && all[0] != s.Spec.ClusterIP:
		errs = append(errs, field.Invalid(ips, all, "first value must match `clusterIP`"))
	case len(all) > 2:
		errs = append(errs, field.Invalid(ips, all, "may only hold up to 2 values"))
	default:
		for i, ip := range all {
			if ip == corev1.ClusterIPNone {
				if len(all) > 1 {
					errs = append(errs, field.Invalid(ips, all, "'None' must be the first and only value"))
				}
			} else if bad := validIP(ips.Index(i), ip); len(bad) > 0 {
				errs = append(errs, bad...)
			} else if i < len(s.Spec.IPFamilies) && familyOf(ip) != s.Spec.IPFamilies[i] {
				errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", s.Spec.IPFamilies[i], i)))
			}
		}
		if len(all) == 2 && len(errs) == 0 && familyOf(all[0]) == familyOf(all[1]) {
			errs = append(errs, field.Invalid(ips, all, "may specify no more than one IP for each IP family"))
		}
	}
	seen := sets.New[corev1.IPFamily]()
	for i, f := range s.Spec.IPFamilies {
		errs = append(errs, oneOf(families.Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if seen.Has(f) {
			errs = append(errs, field.Duplicate(families.Index(i), f))
		}
		seen.Insert(f)
	}
	policy := deref(s.Spec.IPFamilyPolicy)
	errs = append(errs, emptyOrOneOf(policies, policy, corev1.IPFamilyPolicySingleStack,
		corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	if policy == corev1.IPFamilyPolicySingleStack {
		const two = "must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified"
		if len(s.Spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(policies, policy, fmt.Sprintf(two, "cluster IPs")))
		}
		if len(s.Spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(policies, policy, fmt.Sprintf(two, "IP families")))
		}
	}
	if len(errs) > 0 || ownEndpoints(s) {
		return errs
	}
	if policy == corev1.IPFamilyPolicyRequireDualStack && len(cluster) < 2 {
		errs = append(errs, field.Invalid(policies, policy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range s.Spec.IPFamilies {
		if !slices.Contains(cluster, f) {
			errs = append(errs, field.Invalid(families.Index(i), f, "not configured on this cluster"))
		}
	}
	for i, ip := range s.Spec.ClusterIPs {
		if i >= len(s.Spec.IPFamilies) && !headless(s) && !slices.Contains(cluster, familyOf(ip)) {
			errs = append(errs, field.Invalid(ips.Index(i), s.Spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", familyOf(ip))))
		}
	}
	return errs
}

func validateLoadBalancerFields(s *corev1.Service, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	only := func(child string, set bool) {
		if set && !balanced {
			errs = append(errs, field.Forbidden(spec.Child(child), "may only be used when `type` is 'LoadBalancer'"))
		}
	}
	only("loadBalancerSourceRanges", len(s.Spec.LoadBalancerSourceRanges) > 0)
	only("allocateLoadBalancerNodePorts", s.Spec.AllocateLoadBalancerNodePorts != nil)
	only("loadBalancerClass", s.Spec.LoadBalancerClass != nil)
	for i, c := range s.Spec.LoadBalancerSourceRanges {
		// Spaces around a range are allowed.
		errs = append(errs, validation.IsValidCIDRForLegacyField(spec.Child("loadBalancerSourceRanges").Index(i), strings.TrimSpace(c), true, nil)...)
	}
	if c := s.Spec.LoadBalancerClass; c != nil {
		errs = append(errs, qualifiedName(spec.Child("loadBalancerClass"), *c)...)
	}
	return errs
}

func validateTrafficPolicies(s *corev1.Service, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	external, healthCheck := spec.Child("externalTrafficPolicy"), spec.Child("healthCheckNodePort")
	if externallyAccessible(s) {
		errs = append(errs, oneOf(external, s.Spec.ExternalTrafficPolicy,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	} else if s.Spec.ExternalTrafficPolicy != "" {
		errs = append(errs, field.Invalid(external, s.Spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	if n := s.Spec.HealthCheckNodePort; n != 0 {
		if NeedsHealthCheckNodePort(s) {
			errs = append(errs, portNumber(healthCheck, n)...)
		} else {
			errs = append(errs, field.Invalid(healthCheck, n, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		}
	}
	internal := spec.Child("internalTrafficPolicy")
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		errs = append(errs, oneOf(internal, *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	} else if s.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(internal, ""))
	}
	return errs
}

func validateServiceUpdate(new, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if NeedsClusterIP(new) && NeedsClusterIP(old) {
		errs = append(errs, validateFamiliesUpdate(&new.Spec, &old.Spec, headless(new) || headless(old))...)
	}
	if NeedsHealthCheckNodePort(new) && NeedsHealthCheckNodePort(old) && new.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(spec.Child("healthCheckNodePort"), "field is immutable"))
	}
	if old.Spec.Type == corev1.ServiceTypeLoadBalancer && new.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		!same(new.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), new.Spec.LoadBalancerClass, "may not change once set"))
	}
	return errs
}

// validateFamiliesUpdate: the first address and its family stay, the second ones come
// and go with the policy. Of a headless Service families may change.
func validateFamiliesUpdate(new, old *corev1.ServiceSpec, headless bool) field.ErrorList {
	var errs field.ErrorList
	ips, families, policy := field.NewPath("spec", "clusterIPs"), field.NewPath("spec", "ipFamilies"), field.NewPath("spec", "ipFamilyPolicy")
	for i := range min(len(new.ClusterIPs), len(old.ClusterIPs)) {
		if new.ClusterIPs[i] != old.ClusterIPs[i] {
			errs = append(errs, field.Invalid(ips.Index(i), new.ClusterIPs, "may not change once set"))
		}
	}
	if both := min(len(new.IPFamilies), len(old.IPFamilies)); !headless && !slices.Equal(new.IPFamilies[:both], old.IPFamilies[:both]) {
		errs = append(errs, field.Invalid(families.Index(0), new.IPFamilies, "may not change once set"))
	}
	if deref(new.IPFamilyPolicy) != corev1.IPFamilyPolicySingleStack {
		if reduced(new.ClusterIPs, old.ClusterIPs) {
			errs = append(errs, field.Invalid(policy, deref(new.IPFamilyPolicy), "must be 'SingleStack' to release the secondary cluster IP"))
		}
		if reduced(new.IPFamilies, old.IPFamilies) {
			errs = append(errs, field.Invalid(policy, deref(new.IPFamilyPolicy), "must be 'SingleStack' to release the secondary IP family"))
		}
	}
	return errs
}
