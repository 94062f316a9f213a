package translate

import (
	"maps"
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
	order   []*entry // by rank

	// The maps of the last Snapshot: the same map holds the same things.
	ingresses map[types.NamespacedName]*networkingv1.Ingress
	reading   uint64 // counts the readings of ingresses
	services  map[types.NamespacedName]*corev1.Service
	endpoints map[types.NamespacedName]*kube.Endpoints

	listeners map[model.Place]*listener
	last      *Result
}

// New makes a Translator that remembers nothing.
func New() *Translator {
	return &Translator{
		entries: map[types.NamespacedName]*entry{}, listeners: map[model.Place]*listener{},
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

	claims := t.readIngresses(in.Snapshot.Ingresses, fresh)
	if fresh {
		claims = true
		clear(t.listeners)
	}
	moved := fresh || claims || !same(t.services, in.Snapshot.Services) || !same(t.endpoints, in.Snapshot.Endpoints)
	t.services, t.endpoints = in.Snapshot.Services, in.Snapshot.Endpoints
	stale := claims
	for _, e := range t.order {
		if moved || e.stale || !e.working() {
			claims = e.refresh(in, env, t.intern) || claims
		}
		stale = stale || e.stale
	}
	if claims {
		t.allot()
	}
	if stale || claims {
		t.assemble()
	}
	return t.last
}

// readIngresses brings entries and their order up to date. It reports whether
// claims may have changed.
func (t *Translator) readIngresses(ingresses map[types.NamespacedName]*networkingv1.Ingress, fresh bool) bool {
	if !fresh && same(t.ingresses, ingresses) {
		return false
	}
	t.ingresses = ingresses
	t.reading++
	claims := false
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
		owner := ownerOf(ingress)
		if e != nil && e.wish.share.Owner != owner {
			// Deleted and made again: another Ingress, of another rank.
			t.remove(e)
			e, claims = nil, true
		}
		known := e != nil
		if !known {
			e = &entry{key: key}
			t.entries[key] = e
		}
		e.seen = t.reading
		claims = e.read(ingress, t.env, fresh) || claims
		if !known {
			at, _ := slices.BinarySearchFunc(t.order, e, compareRank)
			t.order = slices.Insert(t.order, at, e)
		}
	}
	if seen == len(t.entries) {
		return claims
	}
	for _, e := range t.entries {
		if e.seen != t.reading {
			t.remove(e)
		}
	}
	return true
}

func (t *Translator) remove(e *entry) {
	delete(t.entries, e.key)
	if at, ok := slices.BinarySearchFunc(t.order, e, compareRank); ok {
		t.order = slices.Delete(t.order, at, at+1)
	}
}

// compareRank orders entries by rank; no two are equal.
func compareRank(a, b *entry) int {
	return a.wish.share.Owner.Compare(b.wish.share.Owner)
}

// allot gives sites to those that stand, and makes the listeners that changed.
func (t *Translator) allot() {
	var claims []model.Claim
	var claimants []*entry
	for _, e := range t.order {
		if !e.stands {
			e.settle(nil, nil)
			continue
		}
		claims = append(claims, model.Claim{
			Site: e.site, Port: e.wish.port, Exclusive: e.wish.dedicated.IsValid(), Share: e.wish.share,
		})
		claimants = append(claimants, e)
	}
	allotment := model.Allot(claims)
	groups := map[model.Site]*vtm.Resource{}
	for place, l := range allotment.Listeners {
		holder := allotment.Holders[place.Site]
		known := t.listeners[place]
		if known == nil || known.model.Exclusive != l.Exclusive || known.holder != holder || !slices.Equal(known.model.Shares, l.Shares) {
			known = t.newListener(l, holder)
			t.listeners[place] = known
		}
		// Listeners of one site share their group.
		if group, ok := groups[place.Site]; ok {
			known.group = group
		} else {
			groups[place.Site] = known.group
		}
	}
	maps.DeleteFunc(t.listeners, func(place model.Place, _ *listener) bool { return allotment.Listeners[place] == nil })
	for i, e := range claimants {
		if holder, refused := allotment.Refused[i]; refused {
			e.settle(nil, &holder)
		} else {
			e.settle(t.listeners[model.Place{Site: e.site, Port: e.wish.port}], nil)
		}
	}
}

func (t *Translator) newListener(m *model.Listener, holder model.Owner) *listener {
	l := &listener{model: m, holder: holder, own: t.env.listener(m), shadows: map[*model.Share][]model.Shadow{}}
	for i := range l.own {
		l.own[i] = t.intern(l.own[i])
	}
	if m.Site.Group == "" {
		l.group = t.intern(t.env.group(m.Site, holder))
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
		Verdicts: make(map[types.NamespacedName]*Verdict, len(t.order)),
	}
	for _, l := range t.listeners {
		for _, r := range l.own {
			result.Desired[r.ID] = r
		}
		if l.group != nil {
			result.Desired[l.group.ID] = l.group
		}
	}
	for _, e := range t.order {
		if e.stale {
			if v := e.judge(t.env); !reflect.DeepEqual(v, e.verdict) {
				e.verdict = v
			}
			e.stale = false
		}
		result.Verdicts[e.key] = e.verdict
		if e.listener == nil {
			continue
		}
		for i := range e.backends {
			pool := e.backends[i].pool
			result.Desired[pool.ID] = pool
		}
	}
	t.last = result
}
