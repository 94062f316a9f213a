package kube

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"vtm-ingress/sim/kube/store"
)

// bookmarkPeriod is that of a real server's watch cache.
const bookmarkPeriod = time.Minute

// watching is one open watch. Its goroutine ends with ctx, with Stop, or with
// the last event of a history that has expired.
type watching struct {
	resource  *resource
	prefix    string
	selection selection
	bookmarks bool
	position  *store.Watcher

	// results is without buffer, unless many objects come first: the handler that
	// encodes flushes whenever it is empty, so that the bounds of messages don't depend
	// on scheduling.
	results chan watch.Event
	stop    context.CancelFunc
	ended   chan struct{}
	once    sync.Once
}

// Watch follows changes from options.ResourceVersion on; where initial events
// are asked for, the objects that exist come first. A revision that is too old
// is told as an event of type ERROR, as a real server does.
func (r *resource) Watch(ctx context.Context, options *internalversion.ListOptions) (watch.Interface, error) {
	if options == nil {
		options = &internalversion.ListOptions{}
	}
	from, err := r.reached(options.ResourceVersion)
	if err != nil {
		return nil, err
	}
	w := &watching{
		resource:  r,
		prefix:    r.prefix(ctx),
		selection: r.selection(options.LabelSelector, options.FieldSelector),
		bookmarks: options.AllowWatchBookmarks,
		ended:     make(chan struct{}),
	}
	// Without sendInitialEvents, "" and "0" mean: all that exists, then changes.
	legacy := options.SendInitialEvents == nil && from == 0
	var initial []store.Item
	switch {
	case legacy, options.SendInitialEvents != nil && *options.SendInitialEvents:
		initial, from = r.latest(ctx, w.prefix)
	case from == 0:
		from = r.store.Revision()
	}
	waiting := 0
	if len(initial) >= many {
		waiting = bunch
	}
	w.results = make(chan watch.Event, waiting)
	w.position, err = r.table.Watch(w.prefix, from)
	if err != nil && !errors.Is(err, store.ErrExpired) {
		return nil, apierrors.NewInternalError(err)
	}
	expired := err != nil
	ctx, w.stop = context.WithCancel(ctx)
	go func() {
		defer close(w.ended)
		defer close(w.results)
		if expired {
			w.sendExpired(ctx, from)
			return
		}
		defer w.position.Stop()
		if !w.sendInitial(ctx, initial) {
			return
		}
		if !legacy && options.SendInitialEvents != nil && *options.SendInitialEvents && w.bookmarks {
			if !w.sendBookmark(ctx, from, true) {
				return
			}
		}
		w.follow(ctx, from)
	}()
	return w, nil
}

// Where at least many objects come first, up to a bunch of events wait for the handler, as
// in a real API server: thousands that are flushed one by one keep a client waiting.
const many, bunch = 1000, 100

func (w *watching) ResultChan() <-chan watch.Event { return w.results }

// Stop ends the watch and waits for its goroutine.
func (w *watching) Stop() {
	w.once.Do(w.stop)
	<-w.ended
}

// send gives one event to the handler; false if the watch has ended.
func (w *watching) send(ctx context.Context, e watch.Event) bool {
	select {
	case w.results <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait is for how long faults hold back an event; false if the watch has ended.
func (w *watching) wait(ctx context.Context) bool {
	rules, _ := w.resource.befallen(ctx, "delay")
	for _, rule := range rules {
		d, _ := time.ParseDuration(rule.Arg)
		select {
		case <-ctx.Done():
			return false
		case <-w.resource.clock.After(d):
		}
	}
	return true
}

func (w *watching) sendInitial(ctx context.Context, items []store.Item) bool {
	for _, item := range items {
		obj := w.resource.show(item.Object)
		if w.selection.matches(obj) && !w.send(ctx, watch.Event{Type: watch.Added, Object: obj}) {
			return false
		}
	}
	return true
}

func (w *watching) sendExpired(ctx context.Context, from uint64) bool {
	status := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", from, w.resource.store.Revision())).ErrStatus
	return w.send(ctx, watch.Event{Type: watch.Error, Object: &status})
}

// sendBookmark tells that nothing up to revision is missing.
func (w *watching) sendBookmark(ctx context.Context, revision uint64, initialEnd bool) bool {
	obj := w.resource.New()
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	accessor.SetResourceVersion(strconv.FormatUint(revision, 10))
	if initialEnd {
		accessor.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return w.send(ctx, watch.Event{Type: watch.Bookmark, Object: obj})
}

// follow sends changes as they are committed, and bookmarks.
func (w *watching) follow(ctx context.Context, revision uint64) {
	ticker := w.resource.clock.NewTicker(bookmarkPeriod)
	defer ticker.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-w.position.Wake():
		case <-ticker.C():
			due = w.bookmarks
		}
		events, now, err := w.position.Next()
		if err != nil {
			w.sendExpired(ctx, revision)
			return
		}
		revision = now
		for _, e := range events {
			out, any := w.event(e)
			if !any {
				continue
			}
			if !w.wait(ctx) || !w.send(ctx, out) {
				return
			}
		}
		if due && !w.sendBookmark(ctx, revision, false) {
			return
		}
	}
}

// event makes of a change what a client with this selection sees: an object
// that begins or ceases to match is added or deleted for it.
func (w *watching) event(e store.Event) (watch.Event, bool) {
	var now, before runtime.Object
	var is, was bool
	if !e.Deleted {
		now = w.resource.show(e.Object)
		is = w.selection.matches(now)
	}
	if e.Previous != nil {
		if w.selection.all() {
			was = true
		} else {
			before = w.resource.show(e.Previous)
			was = w.selection.matches(before)
		}
	}
	switch {
	case is && was:
		return watch.Event{Type: watch.Modified, Object: now}, true
	case is:
		return watch.Event{Type: watch.Added, Object: now}, true
	case was:
		if e.Deleted {
			before = w.resource.show(e.Object)
		}
		accessor, err := meta.Accessor(before)
		if err != nil {
			return watch.Event{}, false
		}
		accessor.SetResourceVersion(strconv.FormatUint(e.Revision, 10))
		return watch.Event{Type: watch.Deleted, Object: before}, true
	}
	return watch.Event{}, false
}
