package vtm

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// resource is one object of the configuration. It is immutable: a change makes a
// new one.
type resource struct {
	kind    *resourceType
	name    string // "" for a singleton
	builtin bool   // came with the traffic manager: can be changed, not deleted
	deleted bool   // a tombstone: so that a member that was away learns of it

	stamp
	// conflict tells of a concurrent change that gave way to this one; "" if there
	// was none. It goes where the resource goes, so that every member tells it.
	conflict string

	values  map[*property]any // of a JSON resource: what was set, the rest is default
	content []byte            // of a file

	// effect is what the data plane gets of it, made when it is first asked for:
	// members that have the same resource share it.
	effect atomic.Value
	// uses are its references, found when they are first asked for.
	uses atomic.Pointer[[]use]
}

// id is the path below config/active, unescaped: "pools/web".
func (r *resource) id() string {
	if r.kind.class == singleton {
		return r.kind.path
	}
	return r.kind.path + "/" + r.name
}

func (r *resource) value(p *property) any {
	if v, set := r.values[p]; set {
		return v
	}
	return p.fallback
}

// store is the configuration of one traffic manager. Reads take a lock for a map
// look-up only; whoever writes serialises with TrafficManager.writing, from
// reading what is there until the change is in effect.
type store struct {
	// keepsTombs: deletions are remembered for members that have not heard of them.
	keepsTombs bool

	mu    sync.RWMutex // guards all below; held for look-ups and swaps alone
	kinds map[*resourceType]*shelf
}

// shelf holds the resources of one type.
type shelf struct {
	byName map[string]*resource
	names  []string             // of byName, sorted; replaced, never changed, so that readers can keep it
	tombs  map[string]*resource // tombstones; nil without any
}

func newStore(s *schema) *store {
	st := &store{kinds: make(map[*resourceType]*shelf, len(s.types))}
	for _, t := range s.types {
		st.kinds[t] = &shelf{byName: make(map[string]*resource)}
	}
	return st
}

// get returns a resource, or nil.
func (s *store) get(t *resourceType, name string) *resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kinds[t].byName[name]
}

// last returns a resource or its tombstone; nil if it never was.
func (s *store) last(t *resourceType, name string) *resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sh := s.kinds[t]
	if r := sh.byName[name]; r != nil {
		return r
	}
	return sh.tombs[name]
}

// names returns the names of a type's resources, sorted. The caller must not
// change the slice.
func (s *store) names(t *resourceType) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kinds[t].names
}

// put writes a resource, or a tombstone in its place. r is not changed afterwards.
func (s *store) put(r *resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.kinds[r.kind]
	i, found := slices.BinarySearchFunc(sh.names, r.name, strings.Compare)
	if r.deleted {
		delete(sh.byName, r.name)
		if s.keepsTombs {
			if sh.tombs == nil {
				sh.tombs = make(map[string]*resource)
			}
			sh.tombs[r.name] = r
		}
		if found {
			sh.names = slices.Concat(sh.names[:i], sh.names[i+1:])
		}
		return
	}
	delete(sh.tombs, r.name)
	sh.byName[r.name] = r
	if !found {
		sh.names = slices.Concat(sh.names[:i], []string{r.name}, sh.names[i:])
	}
}

// putAll writes many resources that are not there yet, with work in proportion.
func (s *store) putAll(all []*resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	touched := make(map[*shelf]bool)
	for _, r := range all {
		sh := s.kinds[r.kind]
		if r.deleted {
			if sh.tombs == nil {
				sh.tombs = make(map[string]*resource)
			}
			sh.tombs[r.name] = r
			continue
		}
		sh.byName[r.name] = r
		touched[sh] = true
	}
	for sh := range touched {
		sh.names = slices.Sorted(maps.Keys(sh.byName))
	}
}

// all returns every resource and tombstone, sorted by type and name.
func (s *store) all(sch *schema) []*resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*resource
	for _, path := range slices.Sorted(maps.Keys(sch.types)) {
		sh := s.kinds[sch.types[path]]
		for _, name := range sh.names {
			list = append(list, sh.byName[name])
		}
		for _, name := range slices.Sorted(maps.Keys(sh.tombs)) {
			list = append(list, sh.tombs[name])
		}
	}
	return list
}

// hasTombs tells whether bury has something to do.
func (s *store) hasTombs(before time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, sh := range s.kinds {
		for _, r := range sh.tombs {
			if r.at.Before(before) {
				return true
			}
		}
	}
	return false
}

// bury forgets the tombstones made before a time, and returns them.
func (s *store) bury(before time.Time) []*resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []*resource
	for _, sh := range s.kinds {
		for name, r := range sh.tombs {
			if r.at.Before(before) {
				delete(sh.tombs, name)
				gone = append(gone, r)
			}
		}
	}
	return gone
}
