package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller/kube"
	"vtm-ingress/internal/mutation"
)

// resolution is what became of one backend.
type resolution struct {
	nodes []string
	// broken: nothing that Pods or Nodes do can make it work; Service or Ingress
	// must change.
	broken bool
	// unseen: which of its nodes were lost is not known, so that those which are in its
	// pool already stay: it depends on Programmed.
	unseen   bool
	findings findings
}

// resolve finds the nodes through which a backend is reached. service and
// endpoints may be nil. what names the Service: "Service shop/app". there are the nodes
// that its pool has.
func resolve(ref backendRef, what string, service *kube.Service, endpoints *kube.Endpoints, nodes *nodeSet, x *extras, there []string) resolution {
	var r resolution
	fail := func(code, format string, args ...any) resolution {
		r.broken = true
		r.findings.add(degrading, code, format, args...)
		return r
	}
	if service == nil {
		return fail("ServiceNotFound", "%s is missing: create it", what)
	}
	switch service.Type {
	case corev1.ServiceTypeExternalName:
		return fail("ServiceNotNodePort", "%s is of type ExternalName, a name for %s without Pods: name a Service of type NodePort", what, show(service.ExternalName))
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	default:
		kind := service.Type
		if kind == "" {
			kind = corev1.ServiceTypeClusterIP
		}
		return fail("ServiceNotNodePort", "%s is of type %s: set its spec.type to NodePort", what, show(string(kind)))
	}
	port := servicePort(service, ref)
	switch {
	case port == nil:
		return fail("ServicePortNotFound", "%s has no port %s: it has %s", what, portText(ref), portList(service))
	case port.Protocol != "" && port.Protocol != corev1.ProtocolTCP:
		return fail("ServicePortNotFound", "%s: port %s is %s: name a TCP port", what, portText(ref), show(string(port.Protocol)))
	case port.NodePort < 1 || port.NodePort > 65535:
		return fail("ServiceNotNodePort", "%s: port %s has no node port: let Kubernetes allocate node ports", what, portText(ref))
	}
	if slices.Equal(service.Families, []corev1.IPFamily{corev1.IPv6Protocol}) {
		nodes = nodes.v6
	}
	r.chooseNodes(what, service, port, endpoints, nodes, there)
	x.tellPlacement(&r.findings, what, service, port, endpoints)
	return r
}

// keptNotReady tells of nodes that stay in the pool although they are not ready.
func (r *resolution) keptNotReady(what string) {
	r.findings.add(degrading, "NodesNotReady", "%s: all nodes of its endpoints are not ready, or were not until lately: they stay in the pool", what)
}

// chooseNodes is for a Service that can be reached through node ports.
func (r *resolution) chooseNodes(what string, service *kube.Service, port *corev1.ServicePort, eps *kube.Endpoints, nodes *nodeSet, there []string) {
	var ready, unready []string
	if eps != nil {
		ready, unready = eps.ReadyNodes[port.Name], eps.UnreadyNodes[port.Name]
	}
	var addrs []netip.Addr
	if service.Local {
		missing := ""
		for _, name := range ready {
			n, ok := nodes.byName[name]
			if ok && n.addr.IsValid() {
				addrs = append(addrs, n.addr)
			} else if missing == "" {
				missing = name
			}
		}
		// No node with a ready endpoint: perhaps the Pods were lost with their nodes'
		// readiness alone, and are not ready again yet though the nodes are.
		lost := false
		if len(ready) == 0 && !mutation.On(mutation.UnreadyNodesDropped) {
			r.unseen = eps != nil && len(eps.UnseenNodes[port.Name]) > 0
			for _, name := range unready {
				n, ok := nodes.byName[name]
				if !ok || !n.addr.IsValid() {
					continue
				}
				if !n.ready || slices.Contains(eps.LostNodes[port.Name], name) ||
					slices.Contains(eps.UnseenNodes[port.Name], name) && slices.Contains(there, nodeText(n.addr, port)) {
					addrs, lost = append(addrs, n.addr), true
				}
			}
		}
		switch {
		case lost:
			r.keptNotReady(what)
		case missing != "":
			r.findings.add(degrading, "NodeAddressMissing", "%s: node %s is missing or has no address of the type of the setting node_address_type", what, show(missing))
		case len(ready) == 0:
			r.noEndpoints(what)
		}
	} else {
		// The same set for all Services, whatever Pods do: any node forwards. Besides
		// those that alone may still do so.
		addrs = nodes.balanced
		var cut []netip.Addr
		if service.Selects && !mutation.On(mutation.UnreadyNodesDropped) {
			cut = nodes.cutOff(ready, unready)
			addrs = append(slices.Clip(addrs), cut...)
		}
		switch {
		case len(addrs) == 0:
			r.findings.add(degrading, "NoNodes", "%s: no node can be used: each is labelled %s or has no address of the type of the setting node_address_type",
				what, corev1.LabelNodeExcludeBalancers)
		case !nodes.anyReady:
			r.findings.add(degrading, "NodesNotReady", "%s: no node is ready: all nodes stay in the pool", what)
		case len(cut) > 0:
			r.keptNotReady(what)
		case len(ready) == 0 && service.Selects:
			// Endpoints of a Service without selector may have no node's name.
			r.noEndpoints(what)
		}
	}
	r.nodes = endpoints(addrs, port)
}

// NoReadyEndpoints is the code of the one reason that passes by itself while Pods
// start.
const NoReadyEndpoints = "NoReadyEndpoints"

func (r *resolution) noEndpoints(what string) {
	r.findings.add(degrading, NoReadyEndpoints, "%s has no ready endpoints: check that Pods match its selector and are ready", what)
}

// servicePort finds the port that an Ingress names: TCP's where one number is
// used for several protocols. Nil if there is none.
func servicePort(service *kube.Service, ref backendRef) *corev1.ServicePort {
	var found *corev1.ServicePort
	for i := range service.Ports {
		port := &service.Ports[i]
		if ref.port.Name != "" && port.Name != ref.port.Name || ref.port.Name == "" && port.Port != ref.port.Number {
			continue
		}
		if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
			return port
		}
		found = port
	}
	return found
}

func portText(ref backendRef) string {
	if ref.port.Name != "" {
		return ref.port.Name
	}
	return strconv.Itoa(int(ref.port.Number))
}

func portList(service *kube.Service) string {
	if len(service.Ports) == 0 {
		return "none"
	}
	var texts []string
	for i, port := range service.Ports {
		if i == 8 {
			texts = append(texts, fmt.Sprintf("%d more", len(service.Ports)-i))
			break
		}
		text := strconv.Itoa(int(port.Port))
		if port.Name != "" {
			text += " (" + port.Name + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
