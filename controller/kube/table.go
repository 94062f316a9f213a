package kube

import (
	"iter"
	"maps"
	"reflect"
)

// Table is an immutable map of which the next one, with some changes, costs about
// the changes and not the whole. nil is an empty Table. Two that are one (==) hold
// the same.
//
// Tables of one descent share a base, which none of them changes, and each has its
// difference from it.
type Table[K, V comparable] struct {
	base  map[K]V
	delta map[K]edit[V] // in place of what base has; never what base has
	size  int
}

// edit is what became of a key: value, or nothing if it is gone.
type edit[V any] struct {
	value V
	gone  bool
}

// NewTable gives a Table of m, which may not be changed any more.
func NewTable[K, V comparable](m map[K]V) *Table[K, V] {
	return &Table[K, V]{base: m, size: len(m)}
}

// Get returns what is at key, the zero value if nothing is.
func (t *Table[K, V]) Get(key K) V {
	value, _ := t.lookup(key)
	return value
}

func (t *Table[K, V]) lookup(key K) (value V, ok bool) {
	if t == nil {
		return value, false
	}
	if e, ok := t.delta[key]; ok {
		return e.value, !e.gone
	}
	value, ok = t.base[key]
	return value, ok
}

// Len is how many keys there are.
func (t *Table[K, V]) Len() int {
	if t == nil {
		return 0
	}
	return t.size
}

// All goes through everything, in no order.
func (t *Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t == nil {
			return
		}
		for key, value := range t.base {
			if _, edited := t.delta[key]; !edited && !yield(key, value) {
				return
			}
		}
		for key, e := range t.delta {
			if !e.gone && !yield(key, e.value) {
				return
			}
		}
	}
}

// Keys goes through all keys, in no order.
func (t *Table[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for key := range t.All() {
			if !yield(key) {
				return
			}
		}
	}
}

// With returns t with value at key.
func (t *Table[K, V]) With(key K, value V) *Table[K, V] {
	return t.edited(map[K]edit[V]{key: {value: value}})
}

// Without returns t with nothing at key.
func (t *Table[K, V]) Without(key K) *Table[K, V] {
	return t.edited(map[K]edit[V]{key: {gone: true}})
}

func (t *Table[K, V]) edited(edits map[K]edit[V]) *Table[K, V] {
	if t == nil {
		t = &Table[K, V]{}
	}
	new := &Table[K, V]{base: t.base, delta: make(map[K]edit[V], len(t.delta)+len(edits)), size: t.size}
	maps.Copy(new.delta, t.delta)
	for key, e := range edits {
		switch _, there := t.lookup(key); {
		case there && e.gone:
			new.size--
		case !there && !e.gone:
			new.size++
		}
		if value, based := t.base[key]; based != e.gone && value == e.value {
			delete(new.delta, key) // back to what it was
		} else {
			new.delta[key] = e
		}
	}
	// Up to the square root, copying the delta each time and making a base now and then
	// cost about the same.
	if d := len(new.delta); d*d > len(t.base) {
		base := make(map[K]V, new.size)
		maps.Insert(base, new.All())
		return NewTable(base)
	}
	return new
}

// Differing goes through the keys that t and other do not hold with the same value,
// each once, in no order. That costs about their number where one Table was made of
// the other by a few changes, and else about the size of both.
func (t *Table[K, V]) Differing(other *Table[K, V]) iter.Seq[K] {
	return func(yield func(K) bool) {
		differs := func(key K) bool {
			a, inT := t.lookup(key)
			b, inOther := other.lookup(key)
			return inT != inOther || a != b
		}
		if t == other {
			return
		}
		if t != nil && other != nil && same(t.base, other.base) {
			for key := range t.delta {
				if differs(key) && !yield(key) {
					return
				}
			}
			for key := range other.delta {
				if _, seen := t.delta[key]; !seen && differs(key) && !yield(key) {
					return
				}
			}
			return
		}
		for key := range t.All() {
			if differs(key) && !yield(key) {
				return
			}
		}
		for key := range other.All() {
			if _, seen := t.lookup(key); !seen && !yield(key) {
				return
			}
		}
	}
}

// same reports whether two maps are one.
func same[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
