package vtm

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/dataplane"
)

// Limits of program actions.
const (
	actionQueue   = 100              // events that wait for a program; more are lost, with a line in the log
	actionLongest = 10 * time.Minute // for basic!timeout 0, which is no limit on a real one
)

// reactions is what events set off: event types made ready, and their actions.
type reactions struct {
	matchers atomic.Pointer[[]eventTypeMatcher] // nil: to be made anew

	mu    sync.Mutex            // held over the opening of a file, too
	files map[string]*eventFile // by action; guarded by mu

	programs chan programRun // nil: programs do not run
	lost     atomic.Bool     // told that the queue is full
}

// programRun is one program to run for one event.
type programRun struct {
	action    string
	eventType string
	event     Event
}

// forget has the event types made ready anew after a change of one.
func (r *reactions) forget(kind *resourceType) {
	if kind.path != "event_types" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.matchers.Store(nil)
}

// dispatch finds the event types that an event matches, and carries out their
// actions. It never waits.
func (t *TrafficManager) dispatch(e Event) {
	matchers := t.reactions.matchers.Load()
	if matchers == nil {
		matchers = t.prepareEventTypes()
	}
	for _, m := range *matchers {
		if !m.matches(e) {
			continue
		}
		t.record.count(target{"event_types", m.name})
		for _, name := range m.actions {
			t.act(name, m.name, e)
		}
	}
}

// prepareEventTypes makes all event types ready. Under mu: a change of one waits,
// and has them made anew.
func (t *TrafficManager) prepareEventTypes() *[]eventTypeMatcher {
	t.reactions.mu.Lock()
	defer t.reactions.mu.Unlock()
	var list []eventTypeMatcher
	kind := t.schema.types["event_types"]
	for _, name := range t.store.names(kind) {
		if r := t.store.get(kind, name); r != nil {
			list = append(list, newMatcher(r))
		}
	}
	t.reactions.matchers.Store(&list)
	return &list
}

// act carries out one action for one event. Actions of the types email, soap,
// syslog and trap are stored, and nothing is sent.
func (t *TrafficManager) act(name, eventType string, e Event) {
	a := t.store.get(t.schema.types["actions"], name)
	if a == nil {
		return
	}
	switch a.text("basic", "type") {
	case "log":
		t.record.count(target{"actions", name})
		if f := t.reactions.file(t, a); f != nil {
			f.write(e.String())
		}
	case "program":
		if t.reactions.programs == nil || strings.HasPrefix(e.Tag, "eventaction") {
			return // not allowed, or an event of a program action itself
		}
		select {
		case t.reactions.programs <- programRun{name, eventType, e}:
			t.reactions.lost.Store(false)
		default:
			if !t.reactions.lost.Swap(true) {
				t.logEvent(dataplane.Event{Level: "WARN", Section: "actions/" + name, Tag: "eventactionlost", Text: fmt.Sprintf("%d events wait for their programs; others are lost", actionQueue)})
			}
		}
	}
}

// file returns an action's log file, nil where nothing is kept in files. Of the
// path that the action names only the last part counts: a user of the REST API
// decides what is written, not where.
func (r *reactions) file(t *TrafficManager, a *resource) *eventFile {
	if t.o.Data == "" {
		return nil
	}
	base := path.Base(a.text("log", "file"))
	if checkName(a.kind, base) != nil || base == "/" {
		base = a.name + ".log"
	}
	if base == "errors" {
		return nil // the event log has it
	}
	at := filepath.Join(t.o.Data, "log", base)
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.files[a.name]; f != nil {
		if f.path == at {
			return f
		}
		f.close()
	}
	f, err := openEventFile(at, logFileSize, t.o.Log)
	if err != nil {
		t.o.Log.Warn("an action's log cannot be written", "action", a.name, "error", err)
		return nil
	}
	if r.files == nil {
		r.files = make(map[string]*eventFile)
	}
	r.files[a.name] = f
	return f
}

// closeLogs closes the event log and the logs of actions.
func (t *TrafficManager) closeLogs() {
	if t.eventFile != nil {
		t.eventFile.close()
	}
	t.reactions.close()
}

func (r *reactions) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		f.close()
	}
}

// runPrograms runs the programs of actions, one after the other, until ctx ends.
func (t *TrafficManager) runPrograms(ctx context.Context) {
	for {
		select {
		case run := <-t.reactions.programs:
			t.runProgram(ctx, run)
		case <-ctx.Done():
			return
		}
	}
}

func (t *TrafficManager) runProgram(ctx context.Context, run programRun) {
	a := t.store.get(t.schema.types["actions"], run.action)
	if a == nil || a.text("basic", "type") != "program" {
		return // changed meanwhile
	}
	tell := func(level, tag, text string) {
		t.logEvent(dataplane.Event{Level: level, Section: "actions/" + run.action, Tag: tag, Text: text})
	}
	program := t.store.get(t.schema.types["action_programs"], a.text("program", "program"))
	if program == nil {
		tell("WARN", "eventactionfail", "The program '"+a.text("program", "program")+"' does not exist: add it to the action programs")
		return
	}
	args := []string{"--eventtype=" + run.eventType}
	for _, row := range a.table("program", "arguments") {
		args = append(args, "--"+row.text("name")+"="+row.text("value"))
	}
	limit := a.seconds("basic", "timeout")
	if limit <= 0 || limit > actionLongest {
		limit = actionLongest
	}
	t.record.count(target{"actions", run.action})
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	output, err := dataplane.RunProgram(limited, program.file(), append(args, run.event.message())...)
	if err != nil && limited.Err() != nil {
		err = fmt.Errorf("it took longer than %v", limit)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		tell("WARN", "eventactionfail", fmt.Sprintf("The program failed: %v; it printed: %s", err, output))
	case a.flag("basic", "verbose"):
		tell("INFO", "eventactionok", "The program ended; it printed: "+output)
	}
}
