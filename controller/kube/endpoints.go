package kube

import (
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// endpointsTable is the sink of EndpointSlices, or of Endpoints where the API
// server has no slices. It keeps which nodes they name and not the endpoints, so
// that Pods can come and go on a node without a change.
type endpointsTable struct {
	published[types.NamespacedName, *Endpoints]
	parts     map[types.NamespacedName]part                   // by slice
	byService map[types.NamespacedName][]types.NamespacedName // Service -> its slices; mostly one, in no order
	away      map[string]bool                                 // the nodes that are not ready; not changed in place
	back      map[string]time.Time                            // when others were seen to be ready again, which were not
	now       func() time.Time
	// listing: what comes is a list, so that what happened since the one before, or
	// before the first one, was not seen.
	listing bool
}

// justBack is for how long after a node is ready again the endpoints on it may not be
// so because of its loss: it has yet to tell. Nodes and endpoints are told by two
// watches, of which one may be behind.
const justBack = time.Minute

// part is what one slice says of its Service.
type part struct {
	service types.NamespacedName
	family  discoveryv1.AddressType // of a slice; a Pod of two families is in a slice of each
	ports   []portNodes
}

// portNodes are the nodes of one port's endpoints, sorted. ready has a node once
// for each endpoint, but no more than twice: Pods may come and go on a crowded
// node without a change. unready has each once.
type portNodes struct {
	port           string
	ready, unready []string
}

func newEndpointsTable(now func() time.Time) *endpointsTable {
	return &endpointsTable{
		now:       now,
		back:      map[string]time.Time{},
		parts:     map[types.NamespacedName]part{},
		byService: map[types.NamespacedName][]types.NamespacedName{},
	}
}

func (t *endpointsTable) put(object any) change {
	key, new, ok := readPart(object)
	if !ok {
		return t.forget(key)
	}
	old, known := t.parts[key]
	if known && reflect.DeepEqual(old, new) {
		return none
	}
	t.parts[key] = new
	if !known || old.service != new.service {
		t.byService[new.service] = append(t.byService[new.service], key)
	}
	what := t.merge(new.service)
	if known && old.service != new.service {
		t.leave(old.service, key)
		what = max(what, t.merge(old.service))
	}
	return what
}

func (t *endpointsTable) remove(object any) change {
	key, _, _ := readPart(object)
	return t.forget(key)
}

func (t *endpointsTable) forget(key types.NamespacedName) change {
	old, known := t.parts[key]
	if !known {
		return none
	}
	delete(t.parts, key)
	t.leave(old.service, key)
	return t.merge(old.service)
}

// leave notes that a slice is not a Service's any more.
func (t *endpointsTable) leave(service, slice types.NamespacedName) {
	t.byService[service] = slices.DeleteFunc(t.byService[service], func(key types.NamespacedName) bool { return key == slice })
}

func (t *endpointsTable) replace(list []any) (what change) {
	t.listing = true
	listed := make(map[types.NamespacedName]bool, len(list))
	for _, object := range list {
		key, _, _ := readPart(object)
		listed[key] = true
		what = max(what, t.put(object))
	}
	for key := range t.parts {
		if !listed[key] {
			what = max(what, t.forget(key))
		}
	}
	t.listing, t.listed = false, true
	return what
}

// merge makes a Service's Endpoints of its slices anew.
func (t *endpointsTable) merge(service types.NamespacedName) change {
	old, known := t.lookup(service)
	if len(t.byService[service]) == 0 {
		delete(t.byService, service)
		if !known {
			return none
		}
		t.unset(service)
		return loud
	}
	ready, unready, crowded := map[string]map[string]bool{}, map[string]map[string]bool{}, map[string]map[string]bool{}
	families := map[discoveryv1.AddressType]map[string]map[string]bool{}
	for _, key := range t.byService[service] {
		family := families[t.parts[key].family]
		if family == nil {
			family = map[string]map[string]bool{}
			families[t.parts[key].family] = family
		}
		for _, p := range t.parts[key].ports {
			add(ready, p.port, p.ready)
			add(unready, p.port, p.unready)
			add(crowded, p.port, add(family, p.port, p.ready))
		}
	}
	for port, nodes := range unready {
		maps.DeleteFunc(nodes, func(node string, _ bool) bool { return ready[port][node] })
	}
	new := &Endpoints{ReadyNodes: sorted(ready), UnreadyNodes: sorted(unready)}
	if old == nil {
		old = &Endpoints{}
	}
	for port, nodes := range new.UnreadyNodes {
		for _, node := range nodes {
			switch {
			case t.away[node], slices.Contains(old.LostNodes[port], node),
				slices.Contains(old.ReadyNodes[port], node) && (t.listing || t.isJustBack(node)):
				note(&new.LostNodes, port, node)
			case t.listing && !t.listed, slices.Contains(old.UnseenNodes[port], node):
				note(&new.UnseenNodes, port, node)
			}
		}
	}
	if len(crowded) > 0 {
		new.CrowdedNodes = sorted(crowded)
	}
	if known && reflect.DeepEqual(old, new) {
		return none
	}
	t.set(service, new)
	if known && reflect.DeepEqual(old.ReadyNodes, new.ReadyNodes) && reflect.DeepEqual(old.UnreadyNodes, new.UnreadyNodes) &&
		reflect.DeepEqual(old.LostNodes, new.LostNodes) && reflect.DeepEqual(old.UnseenNodes, new.UnseenNodes) {
		// Nodes get crowded for moments in each rollout.
		return quiet
	}
	return loud
}

func (t *endpointsTable) isJustBack(node string) bool {
	at, is := t.back[node]
	return is && t.now().Sub(at) < justBack
}

func note(to *map[string][]string, port, node string) {
	if *to == nil {
		*to = map[string][]string{}
	}
	(*to)[port] = append((*to)[port], node)
}

// awayAre notes which nodes are not ready. What is unready on one of them was lost
// with it.
func (t *endpointsTable) awayAre(away map[string]bool) (what change) {
	lost := maps.Clone(away)
	maps.DeleteFunc(lost, func(node string, _ bool) bool { return t.away[node] })
	for node := range t.away {
		if !away[node] {
			t.back[node] = t.now()
		}
	}
	maps.DeleteFunc(t.back, func(node string, at time.Time) bool { return away[node] || t.now().Sub(at) >= justBack })
	t.away = away
	if len(lost) == 0 {
		return none
	}
	touched := func(nodes []string) bool {
		return slices.ContainsFunc(nodes, func(node string) bool { return lost[node] })
	}
	for service := range t.byService {
		if eps, _ := t.lookup(service); eps != nil && slices.ContainsFunc(slices.Collect(maps.Values(eps.UnreadyNodes)), touched) {
			what = max(what, t.merge(service))
		}
	}
	return what
}

// add notes nodes of a port and returns those that were there already.
func add(to map[string]map[string]bool, port string, nodes []string) (again []string) {
	if len(nodes) > 0 && to[port] == nil {
		to[port] = make(map[string]bool, len(nodes))
	}
	for _, node := range nodes {
		if to[port][node] {
			again = append(again, node)
		}
		to[port][node] = true
	}
	return again
}

// sorted leaves out ports without a node.
func sorted(ports map[string]map[string]bool) map[string][]string {
	result := make(map[string][]string, len(ports))
	for port, nodes := range ports {
		if len(nodes) > 0 {
			result[port] = slices.Sorted(maps.Keys(nodes))
		}
	}
	return result
}

// readPart reads a slice or, of older clusters, Endpoints. ok is false if it
// belongs to no Service.
func readPart(object any) (key types.NamespacedName, p part, ok bool) {
	switch o := object.(type) {
	case *discoveryv1.EndpointSlice:
		key = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		p.service = types.NamespacedName{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}
		p.family = o.AddressType
		ready, unready := sliceNodes(o.Endpoints)
		for _, port := range o.Ports {
			name := ""
			if port.Name != nil {
				name = *port.Name
			}
			p.ports = append(p.ports, portNodes{name, ready, unready})
		}
	case *legacyEndpoints:
		key = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		p.service = key
		for _, subset := range o.Subsets {
			ready, unready := atMostTwice(nodesOf(subset.Addresses)), unique(nodesOf(subset.NotReadyAddresses))
			for _, port := range subset.Ports {
				p.ports = append(p.ports, portNodes{port.Name, ready, unready})
			}
		}
	}
	return key, p, p.service.Name != ""
}

func sliceNodes(endpoints []discoveryv1.Endpoint) (ready, unready []string) {
	for _, e := range endpoints {
		if e.NodeName == nil {
			continue
		}
		c := e.Conditions
		switch {
		case c.Ready == nil || *c.Ready: // unknown counts as ready, says the API
			ready = append(ready, *e.NodeName)
		case c.Terminating == nil || !*c.Terminating:
			unready = append(unready, *e.NodeName)
		}
	}
	return atMostTwice(ready), unique(unready)
}

func nodesOf(addresses []corev1.EndpointAddress) (nodes []string) {
	for _, a := range addresses {
		if a.NodeName != nil {
			nodes = append(nodes, *a.NodeName)
		}
	}
	return nodes
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// atMostTwice sorts names and leaves of each no more than two.
func atMostTwice(names []string) []string {
	slices.Sort(names)
	kept := names[:0]
	for _, name := range names {
		if n := len(kept); n < 2 || kept[n-2] != name {
			kept = append(kept, name)
		}
	}
	return kept
}
