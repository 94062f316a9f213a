package kube

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// change says what an object's change is to those downstream.
type change int

const (
	none  change = iota // nothing that a Snapshot shows: the old object stays
	quiet               // a Snapshot shows it, but it asks for no work
	loud                // work is due
)

// sink takes what one informer receives, trimmed. The lock of its Watcher guards
// it.
type sink interface {
	put(object any) change
	remove(object any) change
	// replace takes a whole list. An error never gets here, so an empty list means
	// that there is nothing.
	replace(objects []any) change
	full() bool
}

// tables hold what Kubernetes has. The lock of the Watcher that owns them guards
// them.
type tables struct {
	ingresses *objects[types.NamespacedName, *networkingv1.Ingress]
	classes   *objects[string, *networkingv1.IngressClass]
	services  *objects[types.NamespacedName, *Service]
	nodes     *nodesTable
	endpoints *endpointsTable
	secrets   *objects[types.NamespacedName, *corev1.Secret]
	ranges    *objects[string, *networkingv1.ServiceCIDR]
	hasRanges bool       // the API server has them
	apiServer netip.Addr // see Snapshot
}

func newTables(now func() time.Time) *tables {
	endpoints := newEndpointsTable(now)
	return &tables{
		ingresses: newObjects(whole[*networkingv1.Ingress], namespacedName, ingressChange),
		classes:   newObjects(whole[*networkingv1.IngressClass], name, anyChange[*networkingv1.IngressClass]),
		services: newObjects(func(object any) *Service { return ServiceOf(object.(*corev1.Service)) }, (*Service).Key, func(old, new *Service) change {
			return changeIf(!equality.Semantic.DeepEqual(old, new))
		}),
		nodes:     &nodesTable{newObjects(whole[*corev1.Node], name, anyChange[*corev1.Node]), endpoints},
		endpoints: endpoints,
		ranges:    newObjects(whole[*networkingv1.ServiceCIDR], name, anyChange[*networkingv1.ServiceCIDR]),
		secrets:   newObjects(whole[*corev1.Secret], namespacedName, anyChange[*corev1.Secret]),
	}
}

func (t *tables) full() bool {
	return t.ingresses.full() && t.classes.full() && t.services.full() && t.nodes.full() && t.endpoints.full() && t.secrets.full() &&
		(!t.hasRanges || t.ranges.full())
}

// snapshot of cluster. The Tables of kinds that did not change since the last one
// are the same; last itself is returned if nothing did. last may be nil.
func (t *tables) snapshot(cluster types.UID, last *Snapshot) *Snapshot {
	now := &Snapshot{
		ClusterUID: cluster, APIServer: t.apiServer,
		Ingresses: t.ingresses.publish(),
		Classes:   t.classes.publish(),
		Services:  t.services.publish(),
		Endpoints: t.endpoints.publish(),
		Nodes:     t.nodes.publish(),
		Secrets:   t.secrets.publish(),
		Ranges:    t.ranges.publish(),
	}
	if last != nil && *now == *last {
		return last
	}
	return now
}

func name[T metav1.Object](object T) string { return object.GetName() }

func namespacedName[T metav1.Object](object T) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// published is a Table that readers hold while its owner goes on with the next one.
type published[K, V comparable] struct {
	given  *Table[K, V]  // what readers have
	edits  map[K]edit[V] // since then
	listed bool
}

func (p *published[K, V]) full() bool { return p.listed }

// publish gives the Table with all edits; the same one while there are none.
func (p *published[K, V]) publish() *Table[K, V] {
	if len(p.edits) > 0 {
		p.given, p.edits = p.given.edited(p.edits), nil
	}
	return p.given
}

// lookup is up to date, published or not.
func (p *published[K, V]) lookup(key K) (V, bool) {
	if e, ok := p.edits[key]; ok {
		return e.value, !e.gone
	}
	return p.given.lookup(key)
}

func (p *published[K, V]) set(key K, value V) { p.edit(key, edit[V]{value: value}) }

func (p *published[K, V]) unset(key K) { p.edit(key, edit[V]{gone: true}) }

func (p *published[K, V]) edit(key K, e edit[V]) {
	if p.edits == nil {
		p.edits = map[K]edit[V]{}
	}
	p.edits[key] = e
}

// objects is the sink of a kind whose objects are kept one by one.
type objects[K, T comparable] struct {
	published[K, T]
	read    func(any) T // what is kept of a trimmed object
	key     func(T) K
	compare func(old, new T) change
}

func newObjects[K, T comparable](read func(any) T, key func(T) K, compare func(old, new T) change) *objects[K, T] {
	return &objects[K, T]{read: read, key: key, compare: compare}
}

// whole keeps an object as it is.
func whole[T any](object any) T { return object.(T) }

func (o *objects[K, T]) put(object any) change {
	new := o.read(object)
	key := o.key(new)
	what := loud
	if old, ok := o.lookup(key); ok {
		what = o.compare(old, new)
	}
	if what != none {
		o.set(key, new)
	}
	return what
}

func (o *objects[K, T]) remove(object any) change {
	key := o.key(o.read(object))
	if _, ok := o.lookup(key); !ok {
		return none
	}
	o.unset(key)
	return loud
}

func (o *objects[K, T]) replace(list []any) (what change) {
	o.listed = true
	listed := make(map[K]struct{}, len(list))
	for _, object := range list {
		listed[o.key(o.read(object))] = struct{}{}
		what = max(what, o.put(object))
	}
	for key := range o.publish().Keys() {
		if _, ok := listed[key]; !ok {
			o.unset(key)
			what = loud
		}
	}
	return what
}

// nodesTable is the sink of Nodes. It tells the table of endpoints which of them are
// not ready.
type nodesTable struct {
	*objects[string, *corev1.Node]
	endpoints *endpointsTable
}

func (t *nodesTable) put(object any) change     { return t.tell(t.objects.put(object)) }
func (t *nodesTable) remove(object any) change  { return t.tell(t.objects.remove(object)) }
func (t *nodesTable) replace(list []any) change { return t.tell(t.objects.replace(list)) }

func (t *nodesTable) tell(what change) change {
	if what == none {
		return none
	}
	away := map[string]bool{}
	for name, node := range t.publish().All() {
		if !NodeReady(node) {
			away[name] = true
		}
	}
	return max(what, t.endpoints.awayAre(away))
}

// NodeReady reports whether a Node says that it is ready.
func NodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// addressOf is the address in the URL of an API server, which may lack its scheme
// like those that client-go takes; invalid if it has a name there.
func addressOf(host string) netip.Addr {
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}
