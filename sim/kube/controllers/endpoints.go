//lint:file-ignore SA1019 Endpoints are deprecated, and all that servers before 1.21 have.

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"
)

const (
	sliceManager  = "endpointslice-controller.k8s.io"
	slicedAtMost  = 100 // endpoints a slice, as the real controller has it
	endpointsNote = "endpoints.kubernetes.io/managed-by"
)

// endpoints keeps the Endpoints and the EndpointSlices of each Service that has a
// selector: slices of each family of the Service, Endpoints of its first. Left out: zones
// and hints, mirroring of hand-made Endpoints.
type endpoints struct {
	*manager
	client   kubernetes.Interface
	services corelisters.ServiceLister
	pods     corelisters.PodLister
	objects  corelisters.EndpointsLister
	slices   cache.Indexer // nil below 1.21
	queue    *loop

	// Slices made that the cache does not show yet, by the Service's key; of the one
	// worker alone. Until then that Service's slices wait: their event comes.
	made map[string]madeSlice
}

func (m *manager) addEndpoints() error {
	client, err := m.client("endpoints")
	if err != nil {
		return err
	}
	core := m.factory.Core().V1()
	c := &endpoints{
		manager: m, client: client, made: map[string]madeSlice{},
		services: core.Services().Lister(), pods: core.Pods().Lister(), objects: core.Endpoints().Lister(),
	}
	c.queue = m.loop("endpoints", c.sync)
	on(core.Services().Informer(), func(s, _ *corev1.Service) { c.queue.add(keyOf(s.Namespace, s.Name)) })
	on(core.Endpoints().Informer(), func(e, _ *corev1.Endpoints) { c.queue.add(keyOf(e.Namespace, e.Name)) })
	on(core.Pods().Informer(), func(p, old *corev1.Pod) {
		c.servicesOf(p)
		if old != nil && !maps.Equal(old.Labels, p.Labels) {
			c.servicesOf(old)
		}
	})
	if m.slices {
		informer := m.factory.Discovery().V1().EndpointSlices().Informer()
		c.slices = informer.GetIndexer()
		// Ours alone, by Service.
		err := informer.AddIndexers(cache.Indexers{byService: func(object any) ([]string, error) {
			s, ok := object.(*discoveryv1.EndpointSlice)
			if !ok || s.Labels[discoveryv1.LabelManagedBy] != sliceManager {
				return nil, nil
			}
			return []string{keyOf(s.Namespace, s.Labels[discoveryv1.LabelServiceName])}, nil
		}})
		if err != nil {
			return err
		}
		on(informer, func(s, _ *discoveryv1.EndpointSlice) {
			if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
				c.queue.add(keyOf(s.Namespace, name))
			}
		})
	}
	return nil
}

// servicesOf queues the Services that select a pod, in the order of their names.
func (c *endpoints) servicesOf(p *corev1.Pod) {
	all, err := c.services.Services(p.Namespace).List(labels.Everything())
	if err != nil {
		return // a lister of a cache does not fail
	}
	var names []string
	for _, s := range all {
		if selects(s.Spec.Selector, p.Labels) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		c.queue.add(keyOf(p.Namespace, name))
	}
}

// selects says whether a Service's selector, if it has one, matches. It is asked for
// each pair of pod and Service.
func selects(selector, of map[string]string) bool {
	for key, value := range selector {
		if has, ok := of[key]; !ok || has != value {
			return false
		}
	}
	return len(selector) > 0
}

type madeSlice struct {
	uid types.UID
	at  time.Time
}

// endpoint is one pod behind a Service, by its address of one family.
type endpoint struct {
	pod                         *corev1.Pod
	address                     string
	ready, serving, terminating bool
}

// portGroup holds the endpoints for which the Service's ports resolve alike.
type portGroup struct {
	ports     []corev1.EndpointPort
	endpoints []endpoint
}

func (c *endpoints) sync(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	service, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		delete(c.made, key)
		return c.remove(ctx, namespace, name)
	}
	if err != nil {
		return err
	}
	if len(service.Spec.Selector) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName || service.DeletionTimestamp != nil {
		return nil
	}
	pods, err := c.pods.Pods(namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return err
	}
	families := service.Spec.IPFamilies
	if len(families) == 0 { // as API servers had it before 1.20
		families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if err := c.syncEndpoints(ctx, service, group(service, pods, families[0])); err != nil {
		return err
	}
	if c.slices == nil {
		return nil
	}
	return c.syncSlices(ctx, service, pods, families)
}

// addressOf is a pod's address of a family; "" if it has none.
func addressOf(p *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range p.Status.PodIPs {
		if netutils.IsIPv6String(ip.IP) == (family == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

// group sorts a Service's pods that have an address of a family by how its ports
// resolve on them; groups by their ports, pods by address.
func group(service *corev1.Service, pods []*corev1.Pod, family corev1.IPFamily) []portGroup {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		x, _ := netip.ParseAddr(addressOf(a, family))
		y, _ := netip.ParseAddr(addressOf(b, family))
		return cmp.Or(x.Compare(y), cmp.Compare(a.Name, b.Name))
	})
	groups := map[string]*portGroup{}
	for _, p := range pods {
		address := addressOf(p, family)
		if address == "" || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		ports := resolve(service, p)
		var key string
		for _, sp := range ports { // what differs by pod
			key += fmt.Sprintf("%s=%d,", sp.Name, sp.Port)
		}
		if groups[key] == nil {
			groups[key] = &portGroup{ports: ports}
		}
		serving := podReady(p)
		terminating := p.DeletionTimestamp != nil
		groups[key].endpoints = append(groups[key].endpoints, endpoint{
			pod: p, address: address, serving: serving, terminating: terminating,
			ready: service.Spec.PublishNotReadyAddresses || serving && !terminating,
		})
	}
	var list []portGroup
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[key])
	}
	return list
}

// resolve gives the ports of a Service on one pod; a named port that the pod does
// not have is left out.
func resolve(service *corev1.Service, p *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for _, sp := range service.Spec.Ports {
		number := sp.TargetPort.IntVal
		if sp.TargetPort.Type == intstr.String {
			number = namedPort(p, sp.TargetPort.StrVal, sp.Protocol)
		} else if number == 0 {
			number = sp.Port
		}
		if number != 0 {
			ports = append(ports, corev1.EndpointPort{Name: sp.Name, Port: number, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol})
		}
	}
	return ports
}

func namedPort(p *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == cmp.Or(protocol, corev1.ProtocolTCP) {
				return port.ContainerPort
			}
		}
	}
	return 0
}

func targetRef(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

func (c *endpoints) syncEndpoints(ctx context.Context, service *corev1.Service, groups []portGroup) error {
	var subsets []corev1.EndpointSubset
	for _, g := range groups {
		if len(g.ports) == 0 && len(service.Spec.Ports) > 0 {
			continue // a headless Service may do without ports
		}
		subset := corev1.EndpointSubset{Ports: g.ports}
		for _, e := range g.endpoints {
			address := corev1.EndpointAddress{IP: e.address, NodeName: ptr.To(e.pod.Spec.NodeName), TargetRef: targetRef(e.pod)}
			switch {
			case e.ready:
				subset.Addresses = append(subset.Addresses, address)
			case !e.terminating:
				subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
			}
		}
		if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
			subsets = append(subsets, subset)
		}
	}
	wanted := with(service.Labels, endpointsNote, "endpoint-controller")
	old, err := c.objects.Endpoints(service.Namespace).Get(service.Name)
	if apierrors.IsNotFound(err) {
		fresh := &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Name: service.Name, Namespace: service.Namespace, Labels: wanted},
			Subsets:    subsets,
		}
		_, err = c.client.CoreV1().Endpoints(service.Namespace).Create(ctx, fresh, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // its event comes
		}
		return err
	}
	if err != nil || apiequality.Semantic.DeepEqual(old.Subsets, subsets) && maps.Equal(old.Labels, wanted) {
		return err
	}
	changed := old.DeepCopy()
	changed.Subsets, changed.Labels = subsets, wanted
	_, err = c.client.CoreV1().Endpoints(service.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

// byService is the index of the slices that are ours.
const byService = "service"

// syncSlices gives each family slices of its own, and deletes those of families that
// the Service no longer has.
func (c *endpoints) syncSlices(ctx context.Context, service *corev1.Service, pods []*corev1.Pod, families []corev1.IPFamily) error {
	key := keyOf(service.Namespace, service.Name)
	found, err := c.slices.ByIndex(byService, key)
	if err != nil {
		return err
	}
	all := make([]*discoveryv1.EndpointSlice, len(found))
	for i, object := range found {
		all[i] = object.(*discoveryv1.EndpointSlice)
	}
	if made, ok := c.made[key]; ok {
		shows := slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.UID == made.uid })
		if !shows && c.now().Sub(made.at) < pendingFor {
			c.queue.queue.AddAfter(key, pendingFor) // should it have been deleted at once
			return nil
		}
		delete(c.made, key)
	}
	existing := slices.DeleteFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.DeletionTimestamp != nil })
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	byType := map[discoveryv1.AddressType][]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		byType[s.AddressType] = append(byType[s.AddressType], s)
	}
	for _, family := range families {
		addresses := discoveryv1.AddressType(family) // of the same names
		if err := c.syncFamily(ctx, service, addresses, group(service, pods, family), byType[addresses]); err != nil {
			return err
		}
		delete(byType, addresses)
	}
	for _, addresses := range slices.Sorted(maps.Keys(byType)) {
		for _, s := range byType[addresses] {
			if err := c.deleteSlice(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncFamily gives each group of endpoints slices of its own, and reuses those of the
// family that exist, so that one pod's change is one slice's.
func (c *endpoints) syncFamily(ctx context.Context, service *corev1.Service, addresses discoveryv1.AddressType, groups []portGroup, existing []*discoveryv1.EndpointSlice) error {
	if len(groups) == 0 {
		groups = []portGroup{{}} // the real one keeps an empty slice, too
	}
	for _, g := range groups {
		ports := slicePorts(g.ports)
		var mine []*discoveryv1.EndpointSlice
		existing = slices.DeleteFunc(existing, func(s *discoveryv1.EndpointSlice) bool {
			same := apiequality.Semantic.DeepEqual(s.Ports, ports)
			if same {
				mine = append(mine, s)
			}
			return same
		})
		if len(mine) == 0 && len(existing) > 0 && len(groups) == 1 {
			mine, existing = existing, nil // ports changed: change the slices in place
		}
		for _, part := range distribute(g.endpoints, mine) {
			if err := c.writeSlice(ctx, service, addresses, part, ports); err != nil {
				return err
			}
		}
	}
	for _, s := range existing {
		if err := c.deleteSlice(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// part is what one slice should hold. slice nil: a new one; no endpoints while
// others have some: deleted.
type part struct {
	slice     *discoveryv1.EndpointSlice
	endpoints []discoveryv1.Endpoint
	remove    bool
}

// distribute leaves endpoints in the slices that have them and puts new ones where
// there is room.
func distribute(wanted []endpoint, slicesThere []*discoveryv1.EndpointSlice) []part {
	byAddress := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, e := range wanted {
		byAddress[e.address] = discoveryv1.Endpoint{
			Addresses: []string{e.address}, NodeName: ptr.To(e.pod.Spec.NodeName), TargetRef: targetRef(e.pod),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(e.ready), Serving: ptr.To(e.serving), Terminating: ptr.To(e.terminating)},
		}
		order = append(order, e.address)
	}
	// More slices than are needed, as after groups became one: the last ones are
	// emptied into the others.
	needed := max(1, (len(wanted)+slicedAtMost-1)/slicedAtMost)
	var parts []part
	for n, s := range slicesThere {
		p := part{slice: s}
		if n >= needed {
			parts = append(parts, p)
			continue
		}
		for _, old := range s.Endpoints {
			if len(old.Addresses) == 0 {
				continue
			}
			if e, ok := byAddress[old.Addresses[0]]; ok {
				p.endpoints = append(p.endpoints, e)
				delete(byAddress, old.Addresses[0])
			}
		}
		parts = append(parts, p)
	}
	for _, address := range order {
		e, ok := byAddress[address]
		if !ok {
			continue
		}
		i := slices.IndexFunc(parts[:min(needed, len(parts))], func(p part) bool { return len(p.endpoints) < slicedAtMost })
		if i < 0 {
			parts = append(parts, part{})
			i = len(parts) - 1
		}
		parts[i].endpoints = append(parts[i].endpoints, e)
	}
	if len(parts) == 0 {
		parts = append(parts, part{})
	}
	for i := range parts {
		parts[i].remove = len(parts[i].endpoints) == 0 && parts[i].slice != nil && i > 0
	}
	return parts
}

func (c *endpoints) writeSlice(ctx context.Context, service *corev1.Service, addresses discoveryv1.AddressType, p part, ports []discoveryv1.EndpointPort) error {
	if p.remove {
		return c.deleteSlice(ctx, p.slice)
	}
	if p.slice == nil {
		created, err := c.client.DiscoveryV1().EndpointSlices(service.Namespace).Create(ctx, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: strings.TrimSuffix(service.Name[:min(len(service.Name), 200)], ".") + "-", Namespace: service.Namespace,
				Labels:          sliceLabels(service),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))},
			},
			AddressType: addresses, Endpoints: p.endpoints, Ports: ports,
		}, metav1.CreateOptions{})
		if err == nil {
			c.made[keyOf(service.Namespace, service.Name)] = madeSlice{created.UID, c.now()}
		}
		return err
	}
	wanted := sliceLabels(service)
	if apiequality.Semantic.DeepEqual(p.slice.Endpoints, p.endpoints) && apiequality.Semantic.DeepEqual(p.slice.Ports, ports) &&
		maps.Equal(p.slice.Labels, wanted) {
		return nil
	}
	changed := p.slice.DeepCopy()
	changed.Endpoints, changed.Ports, changed.Labels = p.endpoints, ports, wanted
	_, err := c.client.DiscoveryV1().EndpointSlices(service.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

// sliceLabels are the Service's own, and those by which its slices are found.
func sliceLabels(service *corev1.Service) map[string]string {
	l := with(with(service.Labels, discoveryv1.LabelServiceName, service.Name), discoveryv1.LabelManagedBy, sliceManager)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		l[corev1.IsHeadlessService] = ""
	}
	return l
}

func (c *endpoints) deleteSlice(ctx context.Context, s *discoveryv1.EndpointSlice) error {
	err := c.client.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func slicePorts(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	var list []discoveryv1.EndpointPort
	for _, p := range ports {
		list = append(list, discoveryv1.EndpointPort{
			Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(cmp.Or(p.Protocol, corev1.ProtocolTCP)), AppProtocol: p.AppProtocol,
		})
	}
	return list
}

// remove deletes what was kept for a Service that is gone. Slices go with their
// owner.
func (c *endpoints) remove(ctx context.Context, namespace, name string) error {
	old, err := c.objects.Endpoints(namespace).Get(name)
	if apierrors.IsNotFound(err) || err == nil && old.Labels[endpointsNote] == "" {
		return nil // hand-made ones, and leader election of old, are not ours
	}
	if err != nil {
		return err
	}
	err = c.client.CoreV1().Endpoints(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
