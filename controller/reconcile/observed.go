package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// Observed is what the traffic manager holds, as far as it concerns one
// controller: what was read at once, kept up to date by the answers to writes.
type Observed struct {
	// Owned are the resources with our mark, each as vtm.Resource.Slim has it, or as it
	// is desired, if that is the same: see share.
	Owned map[vtm.ID]*vtm.Resource
	// Clashes are resources that have a name of ours but not our mark: they are
	// somebody else's and stay as they are.
	Clashes map[vtm.ID]bool
	// Appliance is the rest of what translation must know.
	Appliance translate.Appliance
	// Machines are the members that may host the addresses of a Traffic IP Group that is
	// not ours, by its name.
	Machines map[string][]string

	// owners counts, by UID, the virtual servers and pools that an Ingress owns;
	// serving its pools with nodes. Both hold no zeros.
	owners, serving map[types.UID]int
	programmed      map[types.UID]bool       // the keys of owners
	keys            map[string]*vtm.Resource // our server keys, by name
	libraries       map[string]int           // how many rule libraries of ours there are, by what they have in common
	withLibraries   map[string]bool          // the keys of libraries
}

// NewObserved makes an Observed that holds resources, all with our mark.
func NewObserved(appliance translate.Appliance, resources ...*vtm.Resource) *Observed {
	o := &Observed{
		Owned:     map[vtm.ID]*vtm.Resource{},
		Clashes:   map[vtm.ID]bool{},
		Appliance: appliance,
		Machines:  map[string][]string{},
		owners:    map[types.UID]int{},
		serving:   map[types.UID]int{},

		programmed: map[types.UID]bool{},
		keys:       map[string]*vtm.Resource{},

		libraries: map[string]int{}, withLibraries: map[string]bool{},
	}
	for _, r := range resources {
		o.put(r)
	}
	return o
}

// Programmed says what our marks tell is served already. It changes with o.
func (o *Observed) Programmed() translate.Programmed {
	return translate.Programmed{Owned: o.Owned, Owners: o.programmed, Keys: o.keys, Libraries: o.withLibraries}
}

// put notes that the traffic manager holds r now.
func (o *Observed) put(r *vtm.Resource) {
	if old := o.Owned[r.ID]; old != nil {
		o.count(old, -1)
	}
	o.Owned[r.ID] = r
	o.count(r, 1)
}

// share makes o hold want itself in place of what was observed, of which compare finds
// that nothing differs, so that thousands of resources are in memory once and not
// twice. What was observed stays if it says more than want. A server key is never the
// same: its private key is read as a hash.
func (o *Observed) share(want *vtm.Resource) {
	if have := o.Owned[want.ID]; have != nil && have != want {
		o.Owned[want.ID] = sameOf(want, have)
	}
}

// sameOf is want if it says all that have says, else have.
func sameOf(want, have *vtm.Resource) *vtm.Resource {
	if want.Type == vtm.ServerKeys {
		return have
	}
	same := want
	vtm.EachKey(want, have, func(_, _ string, wanted, _ any) {
		if wanted == nil {
			same = have
		}
	})
	return same
}

// remove notes that the traffic manager does not hold id any more.
func (o *Observed) remove(id vtm.ID) {
	if old := o.Owned[id]; old != nil {
		o.count(old, -1)
		delete(o.Owned, id)
	}
}

func (o *Observed) count(r *vtm.Resource, by int) {
	if r.Type == vtm.ServerKeys {
		if by > 0 {
			o.keys[r.Name] = r
		} else {
			delete(o.keys, r.Name)
		}
	}
	if common, ok := translate.LibrariesOf(r.Name); ok && r.Type == vtm.Rules {
		add(o.libraries, common, by)
		if o.libraries[common] > 0 {
			o.withLibraries[common] = true
		} else {
			delete(o.withLibraries, common)
		}
	}
	if r.Type != vtm.Pools && r.Type != vtm.VirtualServers {
		return
	}
	uid, ok := owner(r)
	if !ok {
		return
	}
	add(o.owners, uid, by)
	if o.owners[uid] > 0 {
		o.programmed[uid] = true
	} else {
		delete(o.programmed, uid)
	}
	if hasNodes(r) {
		add(o.serving, uid, by)
	}
}

func add[K comparable](counts map[K]int, key K, by int) {
	if counts[key] += by; counts[key] == 0 {
		delete(counts, key)
	}
}

// owner returns the UID of the Ingress that r's mark names.
func owner(r *vtm.Resource) (types.UID, bool) {
	mark, ok := r.Mark()
	return types.UID(mark.UID), ok && mark.Kind == "Ingress"
}

// hasNodes reports whether r is a pool that can serve.
func hasNodes(r *vtm.Resource) bool {
	if r == nil || r.Type != vtm.Pools {
		return false
	}
	nodes, _ := r.Get("basic", "nodes_table").([]any)
	return len(nodes) > 0
}

// ForeignClusterError says that a controller of another Kubernetes cluster owns
// what has our ID: nothing may be written.
type ForeignClusterError struct {
	ID       string // controller_id
	Resource vtm.ID // one example
	Count    int
	Cluster  string // the UID in its mark
	Own      string // ours
}

func (e *ForeignClusterError) Error() string {
	return fmt.Sprintf("%d resources of controller_id %q on the traffic manager belong to the Kubernetes cluster %s, and this one is %s (%s): nothing is written; give this controller another controller_id, or remove them if that cluster is gone",
		e.Count, e.ID, e.Cluster, e.Own, e.Resource)
}

// Observe reads all that concerns the controller id of the Kubernetes cluster
// with that UID. It changes nothing. An error means that nothing is known.
func Observe(ctx context.Context, client *vtm.Client, id, cluster string) (*Observed, error) {
	members, err := client.Members(ctx)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 {
		return nil, errors.New("the traffic manager's cluster lists no members: its configuration is not readable yet")
	}
	o := NewObserved(translate.Appliance{
		Members: members,
		Groups:  map[string]translate.Group{},
		Servers: map[string]translate.Server{},
	})
	var ids []vtm.ID
	for _, t := range vtm.Types {
		names, err := client.List(ctx, t)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasPrefix(name, vtm.Prefix(id)) || t == vtm.TrafficIPGroups || t == vtm.VirtualServers {
				ids = append(ids, vtm.ID{Type: t, Name: name})
			}
		}
	}
	read, err := readAll(ctx, client, ids)
	if err != nil {
		return nil, err
	}
	var foreign *ForeignClusterError
	for _, id2 := range ids {
		r := read[id2]
		if r == nil {
			continue // deleted since it was listed
		}
		named := strings.HasPrefix(id2.Name, vtm.Prefix(id))
		mark, marked := r.Mark()
		switch {
		case named && marked && mark.ID == id && mark.Cluster == cluster, named && mutation.On(mutation.ForeignTaken):
			o.put(r)
			continue
		case named && marked && mark.ID == id:
			if foreign == nil {
				foreign = &ForeignClusterError{ID: id, Resource: id2, Cluster: mark.Cluster, Own: cluster}
			}
			foreign.Count++
		case named:
			o.Clashes[id2] = true
		}
		switch id2.Type {
		case vtm.TrafficIPGroups:
			o.Appliance.Groups[id2.Name], o.Machines[id2.Name] = groupOf(r), machinesOf(r)
		case vtm.VirtualServers:
			o.Appliance.Servers[id2.Name] = serverOf(r)
		}
	}
	if foreign != nil {
		return nil, foreign
	}
	return o, nil
}

// readAll reads resources in parallel; those that are missing are left out. The
// first error ends it.
func readAll(ctx context.Context, client *vtm.Client, ids []vtm.ID) (map[vtm.ID]*vtm.Resource, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failed error
	read := make(map[vtm.ID]*vtm.Resource, len(ids))
	client.Each(ids, func(id vtm.ID) {
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			return
		}
		r, err := client.Get(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			read[id] = r
		case errors.Is(err, vtm.ErrNotFound):
		case failed == nil:
			failed = err
			cancel()
		}
	})
	if failed != nil {
		return nil, failed
	}
	return read, nil
}

func groupOf(r *vtm.Resource) translate.Group {
	g := translate.Group{Controller: controllerOf(r)}
	for _, text := range stringsOf(r.Value("basic", "ipaddresses")) {
		if address, err := netip.ParseAddr(text); err == nil {
			g.Addresses = append(g.Addresses, address.Unmap())
		}
	}
	return g
}

func serverOf(r *vtm.Resource) translate.Server {
	anyAddress, _ := r.Value("basic", "listen_on_any").(bool)
	port, _ := r.Value("basic", "port").(int64)
	return translate.Server{
		Any:    anyAddress,
		Groups: stringsOf(r.Value("basic", "listen_on_traffic_ips")),
		Hosts:  stringsOf(r.Value("basic", "listen_on_hosts")),
		Port:   int(port),

		Controller: controllerOf(r),
	}
}

// machinesOf are the members that may host a Traffic IP Group's addresses.
func machinesOf(r *vtm.Resource) []string { return stringsOf(r.Value("basic", "machines")) }

// controllerOf gives the controller_id of the controller that made r, "" if none did.
func controllerOf(r *vtm.Resource) string {
	if mark, ok := r.Mark(); ok && strings.HasPrefix(r.Name, vtm.Prefix(mark.ID)) {
		return mark.ID
	}
	return "" // a copy, perhaps: it has the note of what it was made from
}

// stringsOf returns the strings of a list, or the one string, that a key holds.
func stringsOf(value any) []string {
	switch v := value.(type) {
	case string:
		if v != "" {
			return []string{v}
		}
	case []any:
		out := make([]string, 0, len(v))
		for _, element := range v {
			if s, ok := element.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// sortedIDs returns the keys of m in the order in which they are worked on.
func sortedIDs[V any](m map[vtm.ID]V) []vtm.ID {
	return slices.SortedFunc(maps.Keys(m), compareIDs)
}

func compareIDs(a, b vtm.ID) int {
	if c := strings.Compare(string(a.Type), string(b.Type)); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
