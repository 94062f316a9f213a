package translate

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// Translator translates, and remembers the last translation to do only what a
// change takes. That is all it remembers for: a fresh one gives the same result.
// It is for one goroutine at a time.
type Translator struct {
	env     *environment
	entries map[types.NamespacedName]*entry
	sites   map[model.Site]*site
	dirty   map[model.Site]bool // sites whose claims changed since they were allotted

	// The maps of the last Snapshot: the same map holds the same things.
	ingresses map[types.NamespacedName]*networkingv1.Ingress
	reading   uint64 // counts the readings of ingresses
	services  map[types.NamespacedName]*corev1.Service
	endpoints map[types.NamespacedName]*kube.Endpoints

	last *Result
}

// site is what a Translator remembers of one site.
type site struct {
	claimants []*entry // by rank
	listeners map[model.Place]*listener
	group     *vtm.Resource // nil on an existing group
}

// New makes a Translator that remembers nothing.
func New() *Translator {
	return &Translator{
		entries: map[types.NamespacedName]*entry{}, sites: map[model.Site]*site{}, dirty: map[model.Site]bool{},
		last: &Result{Desired: map[vtm.ID]*vtm.Resource{}, Verdicts: map[types.NamespacedName]*Verdict{}},
	}
}

// Translate says what should be on the traffic manager for in, and what becomes
// of each Ingress of ours. It never fails: what can't be served has a verdict
// that says why.
//
// Neither in nor the result may be modified after. Against the last result of the
// same Translator what did not change keeps its identity: a Resource, a Verdict,
// and, if nothing changed, the Result.
func (t *Translator) Translate(in Input) *Result {
	env := newEnvironment(in, t.env)
	fresh := env != t.env
	t.env = env
	if fresh {
		clear(t.sites)
		for _, e := range t.entries {
			e.claim = model.Claim{}
			e.settle(nil, nil)
		}
	}
	changed := t.readIngresses(in.Snapshot.Ingresses, fresh)
	moved := fresh || !same(t.services, in.Snapshot.Services) || !same(t.endpoints, in.Snapshot.Endpoints)
	t.services, t.endpoints = in.Snapshot.Services, in.Snapshot.Endpoints
	for _, e := range t.entries {
		if moved || e.stale || !e.working() {
			e.refresh(in, env, t.intern)
			t.enter(e)
		}
		changed = changed || e.stale
	}
	for where := range t.dirty {
		t.allot(where)
		changed = true
	}
	clear(t.dirty)
	if changed {
		t.assemble()
	}
	return t.last
}

// readIngresses brings the entries up to date. It reports whether one is gone.
func (t *Translator) readIngresses(ingresses map[types.NamespacedName]*networkingv1.Ingress, fresh bool) bool {
	if !fresh && same(t.ingresses, ingresses) {
		return false
	}
	t.ingresses = ingresses
	t.reading++
	seen := 0
	for key, ingress := range ingresses {
		e := t.entries[key]
		if e != nil && e.ingress == ingress && !fresh {
			e.seen = t.reading
			seen++
			continue
		}
		if !t.env.classes.own(ingress) {
			continue // an entry that it had is not seen, and removed below
		}
		seen++
		if e != nil && e.wish.share.Owner != ownerOf(ingress) {
			// Deleted and made again: another Ingress, of another rank.
			t.remove(e)
			e = nil
		}
		if e == nil {
			e = &entry{key: key}
			t.entries[key] = e
		}
		e.seen = t.reading
		e.read(ingress, t.env, fresh, t.intern)
	}
	if seen == len(t.entries) {
		return false
	}
	for _, e := range t.entries {
		if e.seen != t.reading {
			t.remove(e)
		}
	}
	return true
}

func (t *Translator) remove(e *entry) {
	e.stands = false
	t.enter(e)
	delete(t.entries, e.key)
}

// enter makes an entry's claim the one that it has now.
func (t *Translator) enter(e *entry) {
	var claim model.Claim
	if e.stands {
		claim = model.Claim{Site: e.site, Port: e.wish.port, Exclusive: e.wish.dedicated.IsValid(), Share: e.wish.share}
	}
	if claim == e.claim {
		return
	}
	if e.claim.Share != nil {
		old := t.sites[e.claim.Site]
		if at, ok := slices.BinarySearchFunc(old.claimants, e, compareRank); ok {
			old.claimants = slices.Delete(old.claimants, at, at+1)
		}
		t.dirty[e.claim.Site] = true
		e.settle(nil, nil)
	}
	e.claim = claim
	if claim.Share != nil {
		at := t.sites[claim.Site]
		if at == nil {
			at = &site{listeners: map[model.Place]*listener{}}
			t.sites[claim.Site] = at
		}
		i, _ := slices.BinarySearchFunc(at.claimants, e, compareRank)
		at.claimants = slices.Insert(at.claimants, i, e)
		t.dirty[claim.Site] = true
	}
}

// compareRank orders entries that claim by rank; no two are equal.
func compareRank(a, b *entry) int {
	return a.claim.Share.Owner.Compare(b.claim.Share.Owner)
}

// allot gives a site to those who claim it, and makes the listeners that changed.
func (t *Translator) allot(where model.Site) {
	s := t.sites[where]
	if len(s.claimants) == 0 {
		delete(t.sites, where)
		return
	}
	claims := make([]model.Claim, len(s.claimants))
	for i, e := range s.claimants {
		claims[i] = e.claim
	}
	allotment := model.Allot(claims)
	if where.Group == "" {
		s.group = t.intern(t.env.group(where, allotment.Holders[where]))
	}
	listeners := make(map[model.Place]*listener, len(allotment.Listeners))
	for place, l := range allotment.Listeners {
		known := s.listeners[place]
		if known == nil || known.model.Exclusive != l.Exclusive || !slices.Equal(known.model.Shares, l.Shares) {
			known = t.newListener(l)
		}
		known.group = s.group
		listeners[place] = known
	}
	s.listeners = listeners
	for i, e := range s.claimants {
		if holder, refused := allotment.Refused[i]; refused {
			e.settle(nil, &holder)
		} else {
			e.settle(listeners[model.Place{Site: where, Port: e.claim.Port}], nil)
		}
	}
}

func (t *Translator) newListener(m *model.Listener) *listener {
	asked := &serverExtras{}
	if m.Exclusive {
		holder := m.Holder()
		asked = &t.entries[types.NamespacedName{Namespace: holder.Namespace, Name: holder.Name}].wish.extras.server
	}
	l := &listener{model: m, own: t.env.listener(m, asked), shadows: map[*model.Share][]model.Shadow{}}
	for i := range l.own {
		l.own[i] = t.intern(l.own[i])
	}
	for _, shadow := range m.Shadows() {
		l.shadows[shadow.Share] = append(l.shadows[shadow.Share], shadow)
	}
	return l
}

// settle notes what an entry got.
func (e *entry) settle(l *listener, refused *model.Owner) {
	same := e.listener == l && (e.refused == refused || e.refused != nil && refused != nil && *e.refused == *refused)
	if !same {
		e.listener, e.refused, e.stale = l, refused, true
	}
}

// intern returns the last result's resource instead of an equal one.
func (t *Translator) intern(r *vtm.Resource) *vtm.Resource {
	if last := t.last.Desired[r.ID]; vtm.Equal(last, r) {
		return last
	}
	return r
}

// assemble makes the verdicts that are stale, and the result.
func (t *Translator) assemble() {
	result := &Result{
		Desired:  make(map[vtm.ID]*vtm.Resource, len(t.last.Desired)+8),
		Verdicts: make(map[types.NamespacedName]*Verdict, len(t.entries)),
	}
	for _, s := range t.sites {
		for _, l := range s.listeners {
			for _, r := range l.own {
				result.Desired[r.ID] = r
			}
		}
		if s.group != nil {
			result.Desired[s.group.ID] = s.group
		}
	}
	for _, e := range t.entries {
		if e.stale {
			e.verdict = e.judge(t.env)
			if last := t.last.Verdicts[e.key]; reflect.DeepEqual(last, e.verdict) {
				e.verdict = last
			}
			e.stale = false
		}
		result.Verdicts[e.key] = e.verdict
		if e.listener == nil {
			continue
		}
		for _, r := range e.own {
			result.Desired[r.ID] = r
		}
		for i := range e.backends {
			pool := e.backends[i].pool
			result.Desired[pool.ID] = pool
		}
	}
	t.last = result
}
