package vtm

import (
	"slices"
	"strings"
	"sync"
)

// resource is one object of the configuration. It is immutable: a change makes a
// new one.
type resource struct {
	kind    *resourceType
	name    string // "" for a singleton
	version uint64 // of the store when it was written, from 1
	builtin bool   // came with the traffic manager: can be changed, not deleted

	values  map[*property]any // of a JSON resource: what was set, the rest is default
	content []byte            // of a file
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
	mu      sync.RWMutex // guards all below; held for look-ups and swaps alone
	kinds   map[*resourceType]*shelf
	version uint64 // of the last write
}

// shelf holds the resources of one type.
type shelf struct {
	byName map[string]*resource
	names  []string // sorted; replaced, never changed, so that readers can keep it
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

// names returns the names of a type's resources, sorted. The caller must not
// change the slice.
func (s *store) names(t *resourceType) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kinds[t].names
}

// put writes a resource and gives it its version. r is not yet seen by others.
func (s *store) put(r *resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	r.version = s.version
	sh := s.kinds[r.kind]
	if i, found := slices.BinarySearchFunc(sh.names, r.name, strings.Compare); !found {
		names := make([]string, 0, len(sh.names)+1)
		names = append(names, sh.names[:i]...)
		names = append(names, r.name)
		sh.names = append(names, sh.names[i:]...)
	}
	sh.byName[r.name] = r
}

func (s *store) delete(t *resourceType, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	sh := s.kinds[t]
	delete(sh.byName, name)
	if i, found := slices.BinarySearchFunc(sh.names, name, strings.Compare); found {
		names := make([]string, 0, len(sh.names)-1)
		names = append(names, sh.names[:i]...)
		sh.names = append(names, sh.names[i+1:]...)
	}
}
