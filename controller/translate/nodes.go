package translate

import (
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller/kube"
	"vtm-ingress/internal/mutation"
)

// nodeSet is what translation needs to know of the Nodes. Immutable.
type nodeSet struct {
	byName map[string]node
	// balanced are the hosts of the nodes that a Service with
	// externalTrafficPolicy Cluster is reached through, sorted: the ready ones that
	// are not labelled out of load balancing. While none is ready, all that are not
	// labelled out: a control plane that has lost its nodes must not empty pools;
	// monitors find out which of them answer.
	balanced []netip.Addr
	anyReady bool
	// addresses are all addresses of all nodes, with the node's name.
	addresses map[netip.Addr]string
	podRanges []netip.Prefix // sorted
	// v6 is the same with the nodes' IPv6 addresses alone, for Services of that
	// family: others have no node port there. Nil in itself.
	v6 *nodeSet
}

type node struct {
	addr  netip.Addr // of the type of the setting node_address_type; invalid if it has none
	ready bool
	// excluded is whether it is labelled out of load balancing.
	excluded bool
}

func newNodeSet(all *kube.Table[string, *corev1.Node], addressType string) *nodeSet {
	s := gatherNodes(all, corev1.NodeAddressType(addressType), false)
	s.v6 = gatherNodes(all, corev1.NodeAddressType(addressType), true)
	return s
}

func gatherNodes(all *kube.Table[string, *corev1.Node], addressType corev1.NodeAddressType, onlyV6 bool) *nodeSet {
	s := &nodeSet{byName: make(map[string]node, all.Len()), addresses: map[netip.Addr]string{}}
	var ready, unready []netip.Addr
	for _, name := range slices.Sorted(all.Keys()) {
		object := all.Get(name)
		n := node{addr: nodeAddress(object, addressType, onlyV6), ready: kube.NodeReady(object)}
		_, n.excluded = object.Labels[corev1.LabelNodeExcludeBalancers]
		s.byName[name] = n
		for _, address := range object.Status.Addresses {
			if addr, err := netip.ParseAddr(address.Address); err == nil {
				s.addresses[addr.Unmap()] = name
			}
		}
		for _, text := range object.Spec.PodCIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				s.podRanges = append(s.podRanges, prefix)
			}
		}
		if n.excluded || !n.addr.IsValid() {
			continue
		}
		if n.ready {
			ready = append(ready, n.addr)
		} else {
			unready = append(unready, n.addr)
		}
	}
	s.anyReady = len(ready) > 0
	s.balanced = ready
	if !s.anyReady && !mutation.On(mutation.UnreadyNodesDropped) {
		s.balanced = unready
	}
	slices.SortFunc(s.balanced, netip.Addr.Compare)
	s.balanced = slices.Compact(s.balanced)
	slices.SortFunc(s.podRanges, func(a, b netip.Prefix) int { return a.Compare(b) })
	return s
}

// cutOff are the hosts of the nodes that endpoints of a Service with
// externalTrafficPolicy Cluster are on, given the nodes with ready and with other
// endpoints, if none of them is ready: Kubernetes counts no endpoint ready then, soon
// if not yet, so that the ready nodes refuse. Nodes that only their API server misses
// still forward to their own Pods.
func (s *nodeSet) cutOff(ready, unready []string) []netip.Addr {
	var addrs []netip.Addr
	for _, name := range slices.Concat(ready, unready) {
		n, ok := s.byName[name]
		switch {
		case ok && !n.ready && !n.excluded && n.addr.IsValid():
			addrs = append(addrs, n.addr)
		case (!ok || n.ready) && slices.Contains(ready, name):
			return nil
		}
	}
	return addrs
}

func (s *nodeSet) equal(o *nodeSet) bool { return s == o || reflect.DeepEqual(s, o) }

// nodeAddress is the node's first address of the type, IPv4 before IPv6 unless
// only the latter will do.
func nodeAddress(object *corev1.Node, addressType corev1.NodeAddressType, onlyV6 bool) netip.Addr {
	var v6 netip.Addr
	for _, address := range object.Status.Addresses {
		if address.Type != addressType {
			continue
		}
		addr, err := netip.ParseAddr(address.Address)
		if err != nil || addr.Zone() != "" {
			continue
		}
		if addr = addr.Unmap(); addr.Is4() {
			if onlyV6 {
				continue
			}
			return addr
		}
		if !v6.IsValid() {
			v6 = addr
		}
	}
	return v6
}

// nodeText is a node of a pool.
func nodeText(addr netip.Addr, port *corev1.ServicePort) string {
	return netip.AddrPortFrom(addr, uint16(port.NodePort)).String()
}

// endpoints gives addresses with a port as nodes of a pool, sorted, each once.
func endpoints(addrs []netip.Addr, port *corev1.ServicePort) []string {
	out := make([]string, len(addrs))
	for i, addr := range addrs {
		out[i] = nodeText(addr, port)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
