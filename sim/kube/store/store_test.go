package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"

	"vtm-ingress/sim/kube/store"
)

func object(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{Data: map[string]string{"v": value}}
}

func contents(items []store.Item) map[string]string {
	all := map[string]string{}
	for _, item := range items {
		all[item.Key] = item.Object.(*corev1.ConfigMap).Data["v"]
	}
	return all
}

// A list at any kept revision, and a watch from it, show what was so; older
// ones expire; newer ones are not there yet.
func TestHistoryIsTrueOrExpired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		s := store.New(limit)
		table, other := s.Table(schema.GroupResource{Resource: "a"}), s.Table(schema.GroupResource{Resource: "b"})
		keys := []string{"x/a", "x/b", "xy/a", "z/a"}
		now := map[string]string{}
		past := map[uint64]map[string]string{s.Revision(): {}}
		for i := range rapid.IntRange(0, 40).Draw(t, "changes") {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			err := s.Write(func(tx *store.Tx) error {
				if next := tx.Next(); next != s.Revision()+1 {
					t.Fatalf("next revision %d after %d", next, s.Revision())
				}
				if rapid.IntRange(0, 4).Draw(t, "elsewhere") == 0 {
					return tx.Put(other, key, object("other"))
				}
				if _, exists := now[key]; exists && rapid.Bool().Draw(t, "delete") {
					delete(now, key)
					_, err := tx.Delete(table, key)
					return err
				}
				now[key] = fmt.Sprint(i)
				return tx.Put(table, key, object(now[key]))
			})
			if err != nil {
				t.Fatal(err)
			}
			past[s.Revision()] = maps.Clone(now)
		}
		prefix := rapid.SampledFrom([]string{"", "x/", "q/"}).Draw(t, "prefix")
		under := func(all map[string]string) map[string]string {
			some := maps.Clone(all)
			maps.DeleteFunc(some, func(key, _ string) bool { return len(key) < len(prefix) || key[:len(prefix)] != prefix })
			return some
		}
		latest, revision := table.Latest(prefix)
		if d := cmp.Diff(under(now), contents(latest)); d != "" || revision != s.Revision() {
			t.Fatalf("latest at %d: %s", revision, d)
		}
		if !slices.IsSortedFunc(latest, func(a, b store.Item) int { return strings.Compare(a.Key, b.Key) }) {
			t.Fatal("not in order")
		}
		kept := 0
		for at, want := range past {
			items, err := table.At(prefix, at)
			w, watchErr := table.Watch(prefix, at)
			if errors.Is(err, store.ErrExpired) {
				if !errors.Is(watchErr, store.ErrExpired) {
					t.Fatalf("list at %d is expired, watch says %v", at, watchErr)
				}
				continue
			}
			if err != nil || watchErr != nil {
				t.Fatal(err, watchErr)
			}
			kept++
			if d := cmp.Diff(under(want), contents(items)); d != "" {
				t.Fatalf("at %d: %s", at, d)
			}
			// What a watch tells leads from then to now.
			state := contents(items)
			events, to, err := w.Next()
			w.Stop()
			if err != nil || to != s.Revision() {
				t.Fatal(err, to)
			}
			for _, e := range events {
				if e.Deleted {
					delete(state, e.Key)
				} else {
					state[e.Key] = e.Object.(*corev1.ConfigMap).Data["v"]
				}
				if e.Object.(metav1.Object).GetResourceVersion() != fmt.Sprint(e.Revision) {
					t.Fatalf("event of revision %d has an object of %s", e.Revision, e.Object.(metav1.Object).GetResourceVersion())
				}
			}
			if d := cmp.Diff(under(now), state); d != "" {
				t.Fatalf("watch from %d: %s", at, d)
			}
		}
		if want := min(len(past), limit); kept < want {
			t.Fatalf("%d revisions are kept, want at least %d", kept, want)
		}
		if _, err := table.At(prefix, s.Revision()+1); !errors.Is(err, store.ErrFuture) {
			t.Fatal(err)
		}
	})
}

func TestAWatcherThatFallsBehindExpires(t *testing.T) {
	s := store.New(2)
	table := s.Table(schema.GroupResource{Resource: "a"})
	w, err := table.Watch("", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 10 {
		if err := s.Write(func(tx *store.Tx) error { return tx.Put(table, "k", object(fmt.Sprint(i))) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.Next(); !errors.Is(err, store.ErrExpired) {
		t.Errorf("%v, want that it expired", err)
	}
}

func TestATableTellsItsLastChange(t *testing.T) {
	s := store.New(1)
	table, other := s.Table(schema.GroupResource{Resource: "a"}), s.Table(schema.GroupResource{Resource: "b"})
	if got := table.Changed(); got != 0 {
		t.Errorf("revision %d before the first commit", got)
	}
	for _, change := range []func(*store.Tx) error{
		func(tx *store.Tx) error { return tx.Put(table, "k", object("v")) },
		func(tx *store.Tx) error { return tx.Put(table, "k", object("w")) },
		func(tx *store.Tx) error { _, err := tx.Delete(table, "k"); return err },
	} {
		if err := s.Write(change); err != nil {
			t.Fatal(err)
		}
		last := s.Revision()
		if err := s.Write(func(tx *store.Tx) error { return tx.Put(other, "k", object("v")) }); err != nil {
			t.Fatal(err)
		}
		if got := table.Changed(); got != last {
			t.Errorf("revision %d, want %d", got, last)
		}
	}
}

func TestForgetExpiresAllBefore(t *testing.T) {
	s := store.New(100)
	table := s.Table(schema.GroupResource{Resource: "a"})
	before := s.Revision()
	put := func() {
		if err := s.Write(func(tx *store.Tx) error { return tx.Put(table, "k", object("v")) }); err != nil {
			t.Fatal(err)
		}
	}
	put()
	last := s.Revision()
	open, err := table.Watch("", last)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Stop()
	s.Forget()
	for _, from := range []uint64{before, last} {
		if _, err := table.Watch("", from); !errors.Is(err, store.ErrExpired) {
			t.Errorf("watch from %d: %v, want that it expired", from, err)
		}
	}
	if _, _, err := open.Next(); err != nil {
		t.Errorf("one that has seen all: %v", err)
	}
	w, err := table.Watch("", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	put()
	if events, _, err := w.Next(); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestWakesOnlyForItsPrefix(t *testing.T) {
	s := store.New(100)
	table := s.Table(schema.GroupResource{Resource: "a"})
	w, err := table.Watch("x/", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	<-w.Wake()
	for _, key := range []string{"y/a", "x/a"} {
		if err := s.Write(func(tx *store.Tx) error { return tx.Put(table, key, object("v")) }); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.Wake():
			if key != "x/a" {
				t.Errorf("woken by %s", key)
			}
		default:
			if key == "x/a" {
				t.Errorf("not woken by %s", key)
			}
		}
	}
}
