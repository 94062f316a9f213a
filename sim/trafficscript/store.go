package trafficscript

import (
	"sort"
	"strings"
	"sync"
)

// Store keeps values by key between transactions, as data.set and
// connection.data.set do. It may be used from several goroutines. A nil Store
// is empty and full.
type Store struct {
	mu      sync.Mutex
	max     int               // bytes of keys and values
	entries map[string]string // value encoded by encodeStored
	used    int
}

// NewStore returns an empty store that holds at most max bytes of keys and
// values.
func NewStore(max int) *Store {
	return &Store{max: max, entries: make(map[string]string)}
}

// Resize changes how many bytes it holds at most. What is there stays.
func (s *Store) Resize(max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max
}

func (s *Store) get(key string) (string, bool) {
	if s == nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.entries[key]
	return v, ok
}

// set returns false, and changes nothing, when the store is too full.
func (s *Store) set(key, value string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.used + len(key) + len(value)
	if old, ok := s.entries[key]; ok {
		used -= len(key) + len(old)
	}
	if used > s.max {
		return false
	}
	s.entries[key] = value
	s.used = used
	return true
}

// remove returns false when there was no such key.
func (s *Store) remove(key string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.entries[key]
	if ok {
		s.used -= len(key) + len(old)
		delete(s.entries, key)
	}
	return ok
}

// reset removes all keys that begin with prefix.
func (s *Store) reset(prefix string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range s.entries {
		if strings.HasPrefix(key, prefix) {
			s.used -= len(key) + len(value)
			delete(s.entries, key)
		}
	}
}

// len returns the number of keys.
func (s *Store) len() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// memory returns the bytes in use and those left.
func (s *Store) memory() (used, free int) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, max(s.max-s.used, 0)
}

// Usage returns how many keys there are, and the bytes of keys and values.
func (s *Store) Usage() (keys, bytes int) {
	used, _ := s.memory()
	return s.len(), used
}

// Keys returns the keys, sorted.
func (s *Store) Keys() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]string, 0, len(s.entries))
	for key := range s.entries {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
