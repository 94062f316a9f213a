package store

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// ErrExpired: the revision is older than the history that is kept (HTTP 410
	// Gone, reason Expired).
	ErrExpired = errors.New("the revision is older than the history that is kept")
	// ErrFuture: the revision has not been reached yet.
	ErrFuture = errors.New("the revision has not been reached yet")
)

// Store holds tables that share one revision counter. Its zero value is of no
// use; make one with New.
type Store struct {
	limit int

	// writing is held by Write from first read to last commit; always taken
	// before mu.
	writing sync.Mutex

	// mu guards all below, and the fields of every table.
	mu       sync.RWMutex
	revision uint64
	tables   map[schema.GroupResource]*Table
}

// New makes an empty store that keeps the last limit (at least 1) events of
// each table.
func New(limit int) *Store {
	return &Store{limit: max(limit, 1), revision: 1, tables: map[schema.GroupResource]*Table{}}
}

// Table returns the table of resource, made if there is none.
func (s *Store) Table(resource schema.GroupResource) *Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[resource]
	if t == nil {
		t = &Table{store: s, objects: map[string]runtime.Object{}, watchers: map[*Watcher]struct{}{}, expired: s.revision}
		s.tables[resource] = t
	}
	return t
}

// Revision is that of the last commit, at least 1.
func (s *Store) Revision() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Forget drops all history: watches and lists from before now expire, and watches from
// the last commit too, as if there were another one that nobody sees. Watchers that
// have seen all go on.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		t.history, t.expired, t.begun = nil, s.revision, s.revision+1
	}
	s.revision++
}

// Write runs change as the only writer and returns its error. Commits made
// before an error stay. change must not call Write.
func (s *Store) Write(change func(*Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return change(&Tx{store: s})
}

// Tx is the right to change a store, for as long as the function given to Write
// runs.
type Tx struct{ store *Store }

// Next is the revision that the next commit will have.
func (tx *Tx) Next() uint64 { return tx.store.Revision() + 1 }

// Put commits object under key, with the new revision as its resourceVersion.
// The store owns object from then on: nobody may change it any more.
func (tx *Tx) Put(t *Table, key string, object runtime.Object) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	s := tx.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	accessor.SetResourceVersion(strconv.FormatUint(s.revision, 10))
	previous := t.objects[key]
	t.objects[key] = object
	if previous == nil {
		at, _ := slices.BinarySearch(t.keys, key)
		t.keys = slices.Insert(t.keys, at, key)
	}
	t.record(Event{Key: key, Revision: s.revision, Object: object, Previous: previous})
	return nil
}

// Delete removes the object under key and returns its last state, with the
// deletion's revision as its resourceVersion. There must be one.
func (tx *Tx) Delete(t *Table, key string) (runtime.Object, error) {
	s := tx.store
	s.mu.Lock()
	defer s.mu.Unlock()
	previous := t.objects[key]
	if previous == nil {
		return nil, errors.New("no object " + key)
	}
	last := previous.DeepCopyObject()
	accessor, err := meta.Accessor(last)
	if err != nil {
		return nil, err
	}
	s.revision++
	accessor.SetResourceVersion(strconv.FormatUint(s.revision, 10))
	delete(t.objects, key)
	if at, found := slices.BinarySearch(t.keys, key); found {
		t.keys = slices.Delete(t.keys, at, at+1)
	}
	t.record(Event{Key: key, Revision: s.revision, Object: last, Previous: previous, Deleted: true})
	return last, nil
}

// Table holds the objects of one resource under keys ("namespace/name", or
// "name" for what has no namespace), in the order of keys. All objects that a
// table gives away are shared: copy before changing, and before encoding, since
// encoders write into objects.
type Table struct {
	store *Store

	// guarded by store.mu
	objects map[string]runtime.Object
	keys    []string // sorted
	// history holds the last events in order of revision: at least
	// store.limit of them (if there were so many), at most twice that.
	// Elements are never changed in place, so slices of it may be handed out.
	history  []Event
	changed  uint64 // revision of the last event; 0 before the first
	expired  uint64 // history holds every event after this revision
	begun    uint64 // before this revision no Watcher begins
	watchers map[*Watcher]struct{}
}

// Event is one committed change.
type Event struct {
	Key      string
	Revision uint64
	Object   runtime.Object // the new state; for a deletion the last one
	Previous runtime.Object // nil for a creation
	Deleted  bool
}

// Item is an object with its key.
type Item struct {
	Key    string
	Object runtime.Object
}

// record is called with store.mu held for writing.
func (t *Table) record(e Event) {
	t.history = append(t.history, e)
	t.changed = e.Revision
	if limit := t.store.limit; len(t.history) > 2*limit {
		cut := len(t.history) - limit
		t.expired = t.history[cut-1].Revision
		t.history = slices.Clone(t.history[cut:])
	}
	for w := range t.watchers {
		if strings.HasPrefix(e.Key, w.prefix) {
			w.nudge()
		}
	}
}

// since returns the events after revision, with store.mu held.
func (t *Table) since(revision uint64) []Event {
	at, _ := slices.BinarySearchFunc(t.history, revision+1, func(e Event, r uint64) int {
		switch {
		case e.Revision < r:
			return -1
		case e.Revision > r:
			return 1
		}
		return 0
	})
	return t.history[at:]
}

// Changed is the revision of the last commit to the table; 0 if there was none.
func (t *Table) Changed() uint64 {
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	return t.changed
}

// Get returns the object under key, nil if there is none.
func (t *Table) Get(key string) runtime.Object {
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	return t.objects[key]
}

// Latest lists the objects whose keys begin with prefix, in the order of keys,
// and the revision at which they are so.
func (t *Table) Latest(prefix string) ([]Item, uint64) {
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	return t.latest(prefix), t.store.revision
}

func (t *Table) latest(prefix string) []Item {
	from, _ := slices.BinarySearch(t.keys, prefix)
	var items []Item
	for _, key := range t.keys[from:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		items = append(items, Item{Key: key, Object: t.objects[key]})
	}
	return items
}

// At lists as Latest does, but as it was at revision. Fails with ErrExpired or
// ErrFuture.
func (t *Table) At(prefix string, revision uint64) ([]Item, error) {
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	switch {
	case revision > t.store.revision:
		return nil, ErrFuture
	case revision < t.expired:
		return nil, ErrExpired
	}
	undone := map[string]runtime.Object{} // nil: did not exist
	events := t.since(revision)
	for i := len(events) - 1; i >= 0; i-- {
		if strings.HasPrefix(events[i].Key, prefix) {
			undone[events[i].Key] = events[i].Previous
		}
	}
	var items []Item
	for _, item := range t.latest(prefix) {
		if _, changed := undone[item.Key]; !changed {
			items = append(items, item)
		}
	}
	for key, object := range undone {
		if object != nil {
			items = append(items, Item{Key: key, Object: object})
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Key, b.Key) })
	return items, nil
}

// Watch follows the changes after revision to objects whose keys begin with
// prefix. Fails with ErrExpired or ErrFuture. The caller ends it with Stop.
func (t *Table) Watch(prefix string, revision uint64) (*Watcher, error) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	switch {
	case revision > t.store.revision:
		return nil, ErrFuture
	case revision < max(t.expired, t.begun):
		return nil, ErrExpired
	}
	w := &Watcher{table: t, prefix: prefix, revision: revision, wake: make(chan struct{}, 1)}
	w.nudge()
	t.watchers[w] = struct{}{}
	return w, nil
}

// Watcher is a position in a table's history. It holds no queue: one that falls
// behind by more than the history that is kept expires.
type Watcher struct {
	table    *Table
	prefix   string
	revision uint64 // used by the goroutine that calls Next alone
	wake     chan struct{}
}

func (w *Watcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Wake receives after a commit that concerns the watcher, and once at the
// beginning; several commits may make one.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Next returns the events since the last call, in order (nil if there are
// none), and the revision up to which nothing was missed. Fails with ErrExpired.
func (w *Watcher) Next() ([]Event, uint64, error) {
	t := w.table
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	if w.revision < t.expired {
		return nil, 0, ErrExpired
	}
	var events []Event
	for _, e := range t.since(w.revision) {
		if strings.HasPrefix(e.Key, w.prefix) {
			events = append(events, e)
		}
	}
	w.revision = t.store.revision
	return events, w.revision, nil
}

// Stop ends the watcher.
func (w *Watcher) Stop() {
	w.table.store.mu.Lock()
	defer w.table.store.mu.Unlock()
	delete(w.table.watchers, w)
}
