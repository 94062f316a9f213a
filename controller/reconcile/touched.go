package reconcile

import (
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// touched is a set of what must be looked at: some keys, or everything.
type touched[K comparable] struct {
	all  bool
	keys map[K]struct{}
}

// everything makes t hold all keys there are.
func (t *touched[K]) everything() { t.all, t.keys = true, nil }

// nothing makes t empty.
func (t *touched[K]) nothing() { t.all, t.keys = false, map[K]struct{}{} }

func (t *touched[K]) add(key K) {
	if !t.all {
		t.keys[key] = struct{}{}
	}
}

// users knows which Ingresses need a resource.
type users struct {
	verdicts map[types.NamespacedName]*translate.Verdict
	of       map[vtm.ID][]*translate.Verdict // mostly one; in no order
}

func newUsers() users {
	return users{map[types.NamespacedName]*translate.Verdict{}, map[vtm.ID][]*translate.Verdict{}}
}

// update takes over an Ingress's verdict, nil if it has none any more.
func (u *users) update(name types.NamespacedName, verdict *translate.Verdict) {
	if old := u.verdicts[name]; old != nil {
		for _, id := range old.Resources {
			of := u.of[id]
			if at := slices.Index(of, old); at >= 0 {
				last := len(of) - 1
				of[at], of[last] = of[last], nil
				of = of[:last]
			}
			if len(of) == 0 {
				delete(u.of, id)
			} else {
				u.of[id] = of
			}
		}
	}
	if verdict == nil {
		delete(u.verdicts, name)
		return
	}
	u.verdicts[name] = verdict
	for _, id := range verdict.Resources {
		u.of[id] = append(u.of[id], verdict)
	}
}

// diff compares what may differ: all that l.unsettled holds.
func (l *Loop) diff(result *translate.Result) *Plan {
	if !l.unsettled.all {
		return diff(maps.Keys(l.unsettled.keys), result.Desired, l.observed, l.settled)
	}
	p := Diff(result.Desired, l.observed, l.settled)
	l.unsettled.nothing()
	for _, r := range p.Same {
		l.unsettled.add(r.ID)
	}
	for i := range p.Steps {
		l.unsettled.add(p.Steps[i].ID)
	}
	for _, h := range p.Held {
		l.unsettled.add(h.ID)
	}
	return p
}

// prune takes out of l.unsettled what is as it should be.
func (l *Loop) prune(result *translate.Result) {
	for id := range l.unsettled.keys {
		want := result.Desired[id]
		if want != nil && l.settled[id] == want || want == nil && (l.observed == nil || l.observed.Owned[id] == nil) {
			delete(l.unsettled.keys, id)
		}
	}
}

// untoldNames gives the Ingresses of which something may have to be told: those
// in l.untold, and those that need what is in l.unsettled and isn't as it should be.
// One that was not live because of a resource is in l.untold until it is.
func (l *Loop) untoldNames(result *translate.Result) iter.Seq[types.NamespacedName] {
	names := l.untold.keys
	if l.untold.all || l.unsettled.all {
		names = make(map[types.NamespacedName]struct{}, len(result.Verdicts))
		for name := range result.Verdicts {
			names[name] = struct{}{}
		}
		for name := range l.told {
			names[name] = struct{}{}
		}
		return maps.Keys(names)
	}
	for id := range l.unsettled.keys {
		if want := result.Desired[id]; want != nil && l.settled[id] == want {
			continue
		}
		for _, verdict := range l.users.of[id] {
			names[verdict.Ingress] = struct{}{}
		}
	}
	return maps.Keys(names)
}
