package translate

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// AddressContested is the code of a warning: somebody else has an address, or a port of
// it, that goes on being ours.
const AddressContested = "AddressContested"

// environment is what concerns all Ingresses alike. A change of it makes all
// translations new. Immutable.
type environment struct {
	settings   *config.Settings
	cluster    types.UID
	apiServer  netip.Addr // see kube.Snapshot
	appliance  Appliance
	allClasses *kube.Table[string, *networkingv1.IngressClass]
	allNodes   *kube.Table[string, *corev1.Node]
	classes    classes  // of allClasses
	nodes      *nodeSet // of allNodes
	names      namer

	// groupOf gives the group that has an address, of those that are not ours; the
	// first by name where several have it.
	groupOf map[netip.Addr]string
	// contested are the addresses of groupOf that a group of ours has too: true where
	// ours keeps it.
	contested map[netip.Addr]bool
	// servers are the names of the virtual servers that are not ours, sorted, by
	// port.
	servers map[int][]string
	// services are the ranges of Services' addresses, sorted.
	services []netip.Prefix
	// members are those of the traffic managers' names that are addresses.
	members map[netip.Addr]bool
}

// newEnvironment returns last itself when nothing in it changed.
func newEnvironment(in Input, last *environment) *environment {
	known := last != nil && last.settings == in.Settings
	var classes classes
	if known && last.allClasses == in.Snapshot.Classes {
		classes = last.classes
	} else {
		classes = newClasses(in.Snapshot.Classes, in.Settings)
	}
	var nodes *nodeSet
	if known && last.allNodes == in.Snapshot.Nodes {
		nodes = last.nodes
	} else {
		nodes = newNodeSet(in.Snapshot.Nodes, in.Settings.NodeAddressType)
	}
	services := rangesOf(in.Snapshot.Ranges)
	names := namer{in.Settings.ControllerID}
	contested := contestedAddresses(in, names)
	if known && maps.Equal(last.contested, contested) && slices.Equal(last.services, services) && last.cluster == in.Snapshot.ClusterUID && last.apiServer == in.Snapshot.APIServer && last.classes.equal(classes) &&
		last.nodes.equal(nodes) && reflect.DeepEqual(last.appliance, in.Appliance) {
		return last
	}
	env := &environment{
		settings: in.Settings, cluster: in.Snapshot.ClusterUID, apiServer: in.Snapshot.APIServer, appliance: in.Appliance,
		allClasses: in.Snapshot.Classes, allNodes: in.Snapshot.Nodes, services: services, classes: classes, nodes: nodes, names: names, contested: contested,
		groupOf: map[netip.Addr]string{}, servers: map[int][]string{}, members: map[netip.Addr]bool{},
	}
	for _, name := range slices.Sorted(maps.Keys(in.Appliance.Groups)) {
		for _, addr := range in.Appliance.Groups[name].Addresses {
			addr = addr.Unmap()
			if _, taken := env.groupOf[addr]; !taken {
				env.groupOf[addr] = name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Appliance.Servers)) {
		port := in.Appliance.Servers[name].Port
		env.servers[port] = append(env.servers[port], name)
	}
	for _, name := range in.Appliance.Members {
		if addr, err := netip.ParseAddr(name); err == nil {
			env.members[addr.Unmap()] = true
		}
	}
	return env
}

// contestedAddresses finds what environment.contested holds.
func contestedAddresses(in Input, names namer) map[netip.Addr]bool {
	contested := map[netip.Addr]bool{}
	for name, group := range in.Appliance.Groups {
		for _, addr := range group.Addresses {
			ours := vtm.ID{Type: vtm.TrafficIPGroups, Name: names.group(model.Site{Address: addr.Unmap()})}
			if in.Programmed.Owned[ours] == nil {
				continue
			}
			keeps, known := contested[addr.Unmap()]
			contested[addr.Unmap()] = (keeps || !known) && goesFirst(ours.Name, name, group.Controller)
		}
	}
	return contested
}

// goesFirst says whether a resource of ours, which is there, keeps a place that
// somebody else's has too. What serves goes on serving; of those of two controllers,
// which looked at the same moment and both found nobody, the first by name, so that
// both decide alike.
func goesFirst(ours, theirs, controller string) bool { return controller == "" || ours < theirs }

// maker says whose a resource is that is not ours.
func maker(controller string) string {
	if controller == "" {
		return "which the controller did not create"
	}
	return "which another controller created (controller_id " + show(controller) + ")"
}

// site decides where an Ingress listens, and whether port 80 there can redirect,
// if it asks for that. It is the zero Site when a finding is fatal. covered reports
// whether somebody else's virtual server listens there, so that the result depends on
// what is programmed.
func (env *environment) site(w *wish, programmed Programmed, found *findings) (site model.Site, redirect, covered bool) {
	contested := func(addr netip.Addr) {
		if group, ok := env.groupOf[addr]; ok {
			found.add(warning, AddressContested, "address %s is also of Traffic IP Group %s, %s: this Ingress goes on being served; remove the address from that group, or use another one here",
				addr, show(group), maker(env.appliance.Groups[group].Controller))
		}
	}
	switch {
	case w.dedicated.IsValid():
		if group, ok := env.groupOf[w.dedicated]; ok && !env.contested[w.dedicated] {
			found.add(fatal, "AddressInUse", "address %s is of Traffic IP Group %s, %s: use %s, or another address",
				w.dedicated, show(group), maker(env.appliance.Groups[group].Controller), annShared)
			return model.Site{}, false, false
		}
		site.Address = w.dedicated
		contested(w.dedicated)
	case w.shared.IsValid():
		site.Address = w.shared
		if group, ok := env.groupOf[w.shared]; ok && !env.contested[w.shared] {
			site = model.Site{Group: group}
			break
		}
		contested(w.shared)
	case env.settings.DefaultTrafficIPGroup == "":
		found.add(fatal, "NoAddress", "no address: add the annotation %s or %s, or set default_traffic_ip_group", annAddress, annShared)
		return model.Site{}, false, false
	default:
		name := env.settings.DefaultTrafficIPGroup
		group, ok := env.appliance.Groups[name]
		switch {
		case !ok:
			found.add(fatal, "NoAddress", "the default Traffic IP Group %s is not on the traffic manager: create it, or add the annotation %s", show(name), annAddress)
			return model.Site{}, false, false
		case len(group.Addresses) == 0:
			found.add(fatal, "NoAddress", "the default Traffic IP Group %s has no addresses: add one to it, or add the annotation %s", show(name), annAddress)
			return model.Site{}, false, false
		}
		site.Group = name
	}
	if site.Address.IsValid() {
		if why := env.reserved(site.Address); why != "" {
			found.add(fatal, "InvalidAddress", "address %s %s: use another address", site.Address, why)
			return model.Site{}, false, false
		}
	}
	// other is who has a port of the site, "" if nobody keeps us from it.
	other := func(port uint16) string {
		server, ours := env.covering(site, port, programmed)
		covered = covered || server != ""
		if !ours {
			return server
		}
		found.add(warning, AddressContested, "virtual server %s, %s, listens on port %d of this address too: this Ingress goes on being served; use another address or port for one of the two",
			show(server), maker(env.appliance.Servers[server].Controller), port)
		return ""
	}
	if server := other(w.port); server != "" {
		found.add(fatal, "AddressInUse", "virtual server %s, %s, listens on port %d of this address: use another address or port",
			show(server), maker(env.appliance.Servers[server].Controller), w.port)
		return model.Site{}, false, covered
	}
	if !w.letsEncrypt && !w.transport.redirect {
		return site, false, covered
	}
	server := other(plainPort)
	whose := maker(env.appliance.Servers[server].Controller)
	switch {
	case server == "":
		return site, w.transport.redirect, covered
	case w.letsEncrypt:
		found.add(fatal, "AddressInUse", "annotation %s: virtual server %s, %s, listens on port %d of this address, where the certificate authority asks: use another address",
			annLetsEncrypt, show(server), whose, plainPort)
	case w.transport.optional:
		found.add(warning, "NotRedirected", "port %d does not redirect, which the setting default_ssl_redirect asks for: virtual server %s, %s, listens on it",
			plainPort, show(server), whose)
		return site, false, covered
	default:
		found.add(fatal, "AddressInUse", "annotation %s: virtual server %s, %s, listens on port %d of this address: remove the annotation, or use another address",
			annRedirect, show(server), whose, plainPort)
	}
	return model.Site{}, false, covered
}

// reserved says what else uses an address, "" if nothing is known.
func (env *environment) reserved(addr netip.Addr) string {
	if name, ok := env.nodes.addresses[addr]; ok {
		return "is that of node " + show(name)
	}
	if addr == env.apiServer {
		return "is that of the Kubernetes API server"
	}
	if env.members[addr] {
		return "is a traffic manager's own"
	}
	for _, prefix := range env.nodes.podRanges {
		if prefix.Contains(addr) {
			return "is in the Pods' range " + prefix.String()
		}
	}
	for _, prefix := range env.services {
		if prefix.Contains(addr) {
			return "is in the Services' range " + prefix.String()
		}
	}
	return ""
}

// rangesOf gives the ranges of Services' addresses, sorted.
func rangesOf(all *kube.Table[string, *networkingv1.ServiceCIDR]) []netip.Prefix {
	var ranges []netip.Prefix
	for _, object := range all.All() {
		for _, text := range object.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				ranges = append(ranges, prefix)
			}
		}
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return slices.Compact(ranges)
}

// addresses of a site, sorted.
func (env *environment) addresses(site model.Site) []netip.Addr {
	if site.Group == "" {
		return []netip.Addr{site.Address}
	}
	addrs := make([]netip.Addr, 0, 1)
	for _, addr := range env.appliance.Groups[site.Group].Addresses {
		addrs = append(addrs, addr.Unmap())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// covering names the first virtual server that is not ours and listens, enabled
// or not, at a place; "" if there is none. ours reports that one of ours listens there
// already, and goes before all of them.
func (env *environment) covering(site model.Site, port uint16, programmed Programmed) (server string, ours bool) {
	servers := env.servers[int(port)]
	if len(servers) == 0 {
		return "", false
	}
	group, addrs := env.names.group(site), env.addresses(site)
	there := vtm.ID{Type: vtm.VirtualServers, Name: env.names.server(model.Place{Site: site, Port: port})}
	for _, name := range servers {
		switch {
		case !env.listens(name, group, addrs):
		case programmed.Owned[there] == nil || !goesFirst(there.Name, name, env.appliance.Servers[name].Controller):
			return name, false
		case server == "":
			server = name
		}
	}
	return server, server != ""
}

// listens reports whether a virtual server that is not ours listens on a group, or on
// one of its addresses.
func (env *environment) listens(name, group string, addrs []netip.Addr) bool {
	server := env.appliance.Servers[name]
	if server.Any || slices.Contains(server.Groups, group) {
		return true
	}
	for _, addr := range addrs {
		for _, other := range server.Groups {
			if slices.ContainsFunc(env.appliance.Groups[other].Addresses, func(a netip.Addr) bool { return a.Unmap() == addr }) {
				return true
			}
		}
		for _, host := range server.Hosts {
			// A host name may resolve to anything; that it is this address is not assumed.
			if a, err := netip.ParseAddr(host); err == nil && a.Unmap() == addr {
				return true
			}
		}
	}
	return false
}
