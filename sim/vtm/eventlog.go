package vtm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"vtm-ingress/sim/dataplane"
)

// Event is one line of the event log.
type Event struct {
	Time time.Time
	dataplane.Event
}

// eventTime is how a line of the log begins (vtm/runtime.md, "Event log").
const eventTime = "[02/Jan/2006:15:04:05 -0700]"

// String is the line as the log file has it: time, then level, section, tags and
// text, with tabs between (vtm/runtime.md, "Event log"). It is one line: what
// would end it or pass for a tab is shown as an escape.
func (e Event) String() string {
	return e.Time.Format(eventTime) + "\t" + e.message()
}

// message is what actions get: the line without its time.
func (e Event) message() string {
	parts := append([]string{e.Level, e.Section, e.Tag}, e.More...)
	parts = append(parts, e.Text)
	for i, p := range parts {
		parts[i] = oneLine(p)
	}
	return strings.Join(parts, "\t")
}

// oneLine escapes control codes.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case isControl(r):
			b.WriteString(`\x` + string("0123456789abcdef"[r>>4&15]) + string("0123456789abcdef"[r&15]))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// parseEvent reads a line that String made; false if it is none.
func parseEvent(line string) (Event, bool) {
	parts := strings.Split(line, "\t")
	if len(parts) < 5 {
		return Event{}, false
	}
	at, err := time.Parse(eventTime, parts[0])
	if err != nil {
		return Event{}, false
	}
	last := len(parts) - 1
	e := Event{Time: at, Event: dataplane.Event{Level: parts[1], Section: parts[2], Tag: parts[3], Text: parts[last]}}
	if last > 4 {
		e.More = parts[4:last]
	}
	return e, true
}

// Write is one accepted change of the configuration over REST.
type Write struct {
	Time   time.Time
	User   string
	Method string // PUT or DELETE
	Path   string // below config/active, unescaped: "pools/web"
	Status int    // 200, 201 or 204
	Agent  string // the request's User-Agent, at most 200 bytes
	Member string // that was asked
	// Holds is a hash of what the resource holds after it; 0: it is gone.
	Holds uint64
	// Repeated: the fault of that name let it take effect once more.
	Repeated bool
}

func shortAgent(agent string) string { return strings.Clone(agent[:min(len(agent), 200)]) }

// The record keeps the newest lines and writes; older ones are forgotten.
const (
	keptEvents = 10_000
	keptWrites = 50_000
)

// record is what happened on this traffic manager: bounded.
type record struct {
	mu     sync.Mutex // guards all below
	events ring[Event]
	writes ring[Write]
	counts map[target]int64 // event types: matched; actions: processed
	more   chan struct{}    // closed with the next event; nil: nobody waits
}

// seen is how many lines the event log has had.
func (r *record) seen() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events.total
}

// countOf is how often an event type matched, or an action was carried out.
func (r *record) countOf(t target) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[t]
}

func (r *record) count(t target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = make(map[target]int64)
	}
	r.counts[t]++
}

func (r *record) event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.add(e, keptEvents)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

func (r *record) write(w Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes.add(w, keptWrites)
}

// ring keeps the last entries it was given, and counts all.
type ring[T any] struct {
	entries []T
	next    int    // where the oldest is, once full
	total   uint64 // ever added
}

func (r *ring[T]) add(v T, bound int) {
	r.total++
	if len(r.entries) < bound {
		r.entries = append(r.entries, v)
		return
	}
	r.entries[r.next] = v
	r.next = (r.next + 1) % bound
}

// list returns the entries kept, oldest first.
func (r *ring[T]) list() []T {
	return slices.Concat(r.entries[r.next:], r.entries[:r.next])
}

// since returns those kept of the entries after the first n.
func (r *ring[T]) since(n uint64) []T {
	if n >= r.total {
		return nil
	}
	if new := r.total - n; new < uint64(len(r.entries)) {
		// The newest ends just before next.
		at, size := (r.next-int(new)+len(r.entries))%len(r.entries), len(r.entries)
		out := make([]T, new)
		for i := range out {
			out[i] = r.entries[(at+i)%size]
		}
		return out
	}
	return r.list()
}

// EventLog returns the newest 10,000 lines of the event log, oldest first.
func (t *TrafficManager) EventLog() []Event {
	events, _ := t.EventsSince(0)
	return events
}

// EventsSince returns the lines of the event log after the first seen ones, oldest
// first, at most the newest 10,000, and how many there have been in all: what to
// ask for next time.
func (t *TrafficManager) EventsSince(seen uint64) (events []Event, total uint64) {
	t.record.mu.Lock()
	defer t.record.mu.Unlock()
	return t.record.events.since(seen), t.record.events.total
}

// errEnded tells that a traffic manager was closed.
var errEnded = errors.New("the traffic manager has ended")

// AwaitEvent returns when the event log has had more than seen lines, or with an
// error when ctx or the traffic manager has ended.
func (t *TrafficManager) AwaitEvent(ctx context.Context, seen uint64) error {
	for {
		t.record.mu.Lock()
		if t.record.events.total > seen {
			t.record.mu.Unlock()
			return nil
		}
		if t.record.more == nil {
			t.record.more = make(chan struct{})
		}
		more := t.record.more
		t.record.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.ended:
			return errEnded
		}
	}
}

// Writes returns the newest 50,000 accepted changes, oldest first, and how many
// there were in all.
func (t *TrafficManager) Writes() (writes []Write, total uint64) {
	t.record.mu.Lock()
	defer t.record.mu.Unlock()
	return t.record.writes.list(), t.record.writes.total
}

// levels of events by log!error_level, the least first.
var levels = [...]struct{ setting, level string }{{"info", "INFO"}, {"warn", "WARN"}, {"serious", "SERIOUS"}, {"fatal", "FATAL"}}

// logged tells whether global_settings log!error_level lets a level into the log.
func (t *TrafficManager) logged(level string) bool {
	g := t.globalSettings()
	if g == nil {
		return true // the traffic manager is being made
	}
	least := g.text("log", "error_level")
	for _, l := range levels {
		if l.setting == least {
			return true
		}
		if l.level == level {
			return false
		}
	}
	return true
}

// logEvent writes a line of the event log, and has the event types that it matches
// do what they say. It never waits: events come from under locks.
func (t *TrafficManager) logEvent(happened dataplane.Event) {
	e := Event{Time: t.o.World.Clock().Now(), Event: happened}
	if t.logged(e.Level) {
		t.record.event(e)
		if t.eventFile != nil {
			t.eventFile.write(e.String())
		}
		t.o.Log.Debug("event log", "level", e.Level, "section", e.Section, "tag", e.Tag, "text", e.Text)
	}
	t.dispatch(e)
}
