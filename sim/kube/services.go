package kube

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// usualNodePorts are those of an API server without --service-node-port-range.
var usualNodePorts = net.PortRange{Base: 30000, Size: 2768}

// Cluster IPs of each family; the first and the last of them are never given. The second
// is that of the Service default/kubernetes.
var (
	serviceRangeV4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceRangeV6 = netip.MustParsePrefix("fd00:96::/112")
)

// allocations keeps the books of cluster IPs and node ports. They follow
// commits, so that a request that fails or is a dry run keeps nothing.
//
// Used by the holder of the store's write right alone; therefore no lock.
type allocations struct {
	ranges    []*serviceRange       // one of each family; the first is that of Services which say nothing
	addresses map[netip.Addr]string // -> the Service's key
	ports     map[nodePort]string   // -> the Service's key
	nodePorts net.PortRange         // those that may be given
	lastPort  int32                 // as serviceRange.last
}

// serviceRange is where cluster IPs of one family are.
type serviceRange struct {
	netip.Prefix
	// What was given last; the search goes on behind it, so that what was freed
	// is not given again soon.
	last netip.Addr
}

func (r *serviceRange) family() corev1.IPFamily {
	if r.Addr().Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

type nodePort struct {
	protocol corev1.Protocol
	port     int32
}

func newAllocations(o Options) *allocations {
	prefixes := []netip.Prefix{serviceRangeV4, serviceRangeV6}
	if o.IPv6 {
		slices.Reverse(prefixes)
	}
	if !o.DualStack {
		prefixes = prefixes[:1]
	}
	if o.NodePorts.Size == 0 {
		o.NodePorts = usualNodePorts
	}
	a := &allocations{
		nodePorts: o.NodePorts,
		addresses: map[netip.Addr]string{},
		ports:     map[nodePort]string{},
		lastPort:  int32(o.NodePorts.Base) - 1,
	}
	for _, prefix := range prefixes {
		a.ranges = append(a.ranges, &serviceRange{Prefix: prefix, last: prefix.Addr().Next()})
	}
	return a
}

// kubernetesAddress is the cluster IP of the Service default/kubernetes.
func (a *allocations) kubernetesAddress() string { return a.ranges[0].Addr().Next().String() }

// families are those that Services can have.
func (a *allocations) families() []corev1.IPFamily {
	var all []corev1.IPFamily
	for _, r := range a.ranges {
		all = append(all, r.family())
	}
	return all
}

// held lists what a Service holds.
func held(obj runtime.Object) (addresses []netip.Addr, ports []nodePort) {
	service, ok := obj.(*corev1.Service)
	if !ok || service == nil {
		return nil, nil
	}
	for _, s := range service.Spec.ClusterIPs {
		if address, err := netip.ParseAddr(s); err == nil { // not "None"
			addresses = append(addresses, address)
		}
	}
	for _, p := range service.Spec.Ports {
		if p.NodePort != 0 {
			ports = append(ports, nodePort{p.Protocol, p.NodePort})
		}
	}
	if p := service.Spec.HealthCheckNodePort; p != 0 {
		ports = append(ports, nodePort{corev1.ProtocolTCP, p})
	}
	return addresses, ports
}

// committed follows a commit under key; other kinds than Service are ignored.
// before is nil for a creation, after for a deletion.
func (a *allocations) committed(key string, before, after runtime.Object) {
	addresses, ports := held(before)
	for _, address := range addresses {
		delete(a.addresses, address)
	}
	for _, port := range ports {
		delete(a.ports, port)
	}
	addresses, ports = held(after)
	for _, address := range addresses {
		a.addresses[address] = key
	}
	for _, port := range ports {
		a.ports[port] = key
	}
}

// assign completes service with the addresses and ports that its type needs,
// and checks those that the client asks for. old is nil for a creation.
func (a *allocations) assign(service, old *corev1.Service) error {
	ownAddresses, ownPorts := []netip.Addr(nil), []nodePort(nil)
	if old != nil {
		ownAddresses, ownPorts = held(old)
	}
	var errs field.ErrorList
	if needsClusterIP(service) {
		errs = append(errs, a.assignAddresses(service, ownAddresses)...)
	}
	if needsNodePorts(service) {
		errs = append(errs, a.assignPorts(service, ownPorts)...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), service.Name, errs)
	}
	return nil
}

func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// assignAddresses gives a Service an address of each of its families, which
// kinds.defaultFamilies has set.
func (a *allocations) assignAddresses(service *corev1.Service, own []netip.Addr) field.ErrorList {
	spec := &service.Spec
	if spec.ClusterIP == corev1.ClusterIPNone {
		spec.ClusterIPs = []string{corev1.ClusterIPNone}
		return nil
	}
	at := field.NewPath("spec", "clusterIPs")
	all := make([]string, len(spec.IPFamilies))
	copy(all, spec.ClusterIPs)
	for i, family := range spec.IPFamilies {
		r := a.ranges[slices.IndexFunc(a.ranges, func(r *serviceRange) bool { return r.family() == family })]
		if all[i] != "" {
			if why := a.refusal(r, all[i], own); why != "" {
				return field.ErrorList{field.Invalid(at, spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", all[i], why))}
			}
			continue
		}
		address, ok := a.freeAddress(r)
		if !ok {
			return field.ErrorList{field.InternalError(at, fmt.Errorf("failed to allocate a serviceIP: range is full"))}
		}
		all[i] = address.String()
	}
	spec.ClusterIP, spec.ClusterIPs = all[0], all
	return nil
}

// refusal says why a client can't have the address that it asks for; "" if it can.
func (a *allocations) refusal(r *serviceRange, text string, own []netip.Addr) string {
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "must be a valid IP address"
	case !r.Contains(address) || address == r.Addr():
		return fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", address, r.Prefix)
	case a.addresses[address] != "" && !slices.Contains(own, address):
		return "provided IP is already allocated"
	}
	return ""
}

func (a *allocations) freeAddress(r *serviceRange) (netip.Addr, bool) {
	// Of either family the last four bytes are those that differ.
	b := r.Addr().AsSlice()
	tail := b[len(b)-4:]
	first := binary.BigEndian.Uint32(tail)
	count := uint32(1) << (r.Addr().BitLen() - r.Bits())
	given := r.last.AsSlice()
	last := binary.BigEndian.Uint32(given[len(given)-4:]) - first
	for i := uint32(1); i <= count; i++ {
		offset := (last + i) % count
		if offset <= 1 || offset == count-1 { // network, kubernetes, broadcast
			continue
		}
		binary.BigEndian.PutUint32(tail, first+offset)
		if address, _ := netip.AddrFromSlice(b); a.addresses[address] == "" {
			r.last = address
			return address, true
		}
	}
	return netip.Addr{}, false
}

func (a *allocations) assignPorts(service *corev1.Service, own []nodePort) field.ErrorList {
	var errs field.ErrorList
	mine := map[nodePort]bool{} // claimed by this request so far
	byPort := map[int32]int32{} // one node port serves all protocols of a port
	check := func(at *field.Path, p nodePort) {
		switch {
		case !a.nodePorts.Contains(int(p.port)):
			errs = append(errs, field.Invalid(at, p.port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %s", a.nodePorts.String())))
		case mine[p] || a.ports[p] != "" && !slices.Contains(own, p):
			errs = append(errs, field.Invalid(at, p.port, "provided port is already allocated"))
		}
		mine[p] = true
	}
	ports := service.Spec.Ports
	for i := range ports {
		if ports[i].NodePort != 0 {
			check(field.NewPath("spec", "ports").Index(i).Child("nodePort"), nodePort{ports[i].Protocol, ports[i].NodePort})
			byPort[ports[i].Port] = ports[i].NodePort
		}
	}
	free := func(at *field.Path, protocol corev1.Protocol) (int32, bool) {
		for range a.nodePorts.Size {
			if a.lastPort++; !a.nodePorts.Contains(int(a.lastPort)) {
				a.lastPort = int32(a.nodePorts.Base)
			}
			taken := false
			for _, other := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
				p := nodePort{other, a.lastPort}
				taken = taken || mine[p] || a.ports[p] != ""
			}
			if !taken {
				mine[nodePort{protocol, a.lastPort}] = true
				return a.lastPort, true
			}
		}
		errs = append(errs, field.InternalError(at, fmt.Errorf("failed to allocate a nodePort: range is full")))
		return 0, false
	}
	for i := range ports {
		if ports[i].NodePort != 0 {
			continue
		}
		if shared := (nodePort{ports[i].Protocol, byPort[ports[i].Port]}); shared.port != 0 && !mine[shared] && a.ports[shared] == "" {
			ports[i].NodePort, mine[shared] = shared.port, true
			continue
		}
		port, ok := free(field.NewPath("spec", "ports").Index(i).Child("nodePort"), ports[i].Protocol)
		if !ok {
			return errs
		}
		ports[i].NodePort, byPort[ports[i].Port] = port, port
	}
	if needsHealthCheckPort(service) {
		at := field.NewPath("spec", "healthCheckNodePort")
		if p := service.Spec.HealthCheckNodePort; p != 0 {
			check(at, nodePort{corev1.ProtocolTCP, p})
		} else if p, ok := free(at, corev1.ProtocolTCP); ok {
			service.Spec.HealthCheckNodePort = p
		}
	}
	return errs
}

// keepAssigned carries over the ports that the server assigned and the client left
// out, and drops what the new type has no use for and the client did not touch, so
// that a client may change the type alone. Addresses are carried over in package kinds.
func keepAssigned(new, old *corev1.Service) {
	spec, was := &new.Spec, &old.Spec
	if !needsClusterIP(new) && needsClusterIP(old) && spec.ClusterIP == was.ClusterIP {
		spec.ClusterIP, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = "", nil, nil, nil
	}
	switch {
	case needsNodePorts(new) && needsNodePorts(old):
		keepNodePorts(spec.Ports, was.Ports)
	case !needsNodePorts(new) && needsNodePorts(old):
		dropNodePorts(spec.Ports, was.Ports)
	}
	switch {
	case needsHealthCheckPort(new) && needsHealthCheckPort(old):
		if spec.HealthCheckNodePort == 0 {
			spec.HealthCheckNodePort = was.HealthCheckNodePort
		}
	case spec.HealthCheckNodePort == was.HealthCheckNodePort:
		if !needsHealthCheckPort(new) {
			spec.HealthCheckNodePort = 0
		}
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer && was.Type == corev1.ServiceTypeLoadBalancer {
		if same(spec.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if same(spec.LoadBalancerClass, was.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
}

func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// keepNodePorts gives each port that names no node port that of the old port of
// the same number and protocol, unless another one claims it.
func keepNodePorts(new, old []corev1.ServicePort) {
	claimed := map[nodePort]bool{}
	for _, p := range new {
		if p.NodePort != 0 {
			claimed[nodePort{p.Protocol, p.NodePort}] = true
		}
	}
	for i := range new {
		if new[i].NodePort != 0 {
			continue
		}
		for _, p := range old {
			kept := nodePort{p.Protocol, p.NodePort}
			if p.Port == new[i].Port && p.Protocol == new[i].Protocol && p.NodePort != 0 && !claimed[kept] {
				new[i].NodePort, claimed[kept] = p.NodePort, true
				break
			}
		}
	}
}

// dropNodePorts takes away the node ports, if they are just those of before.
func dropNodePorts(new, old []corev1.ServicePort) {
	was := map[nodePort]bool{}
	for _, p := range old {
		was[nodePort{p.Protocol, p.NodePort}] = true
	}
	for _, p := range new {
		if p.NodePort != 0 && !was[nodePort{p.Protocol, p.NodePort}] {
			return // the client wants something: validation tells what is wrong
		}
	}
	for i := range new {
		new[i].NodePort = 0
	}
}
