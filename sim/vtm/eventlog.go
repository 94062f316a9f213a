package vtm

import (
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

// String is the line as the log file has it: time, then level, section, tags and
// text, with tabs between (vtm/runtime.md, "Event log").
func (e Event) String() string {
	parts := append([]string{e.Time.Format("[02/Jan/2006:15:04:05 -0700]"), e.Level, e.Section, e.Tag}, e.More...)
	return strings.Join(append(parts, e.Text), "\t")
}

// Write is one accepted change of the configuration over REST.
type Write struct {
	Time   time.Time
	User   string
	Method string // PUT or DELETE
	Path   string // below config/active, unescaped: "pools/web"
	Status int    // 200, 201 or 204
}

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

func (r *record) event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.add(e, keptEvents)
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

// EventLog returns the newest 10,000 lines of the event log, oldest first.
func (t *TrafficManager) EventLog() []Event {
	t.record.mu.Lock()
	defer t.record.mu.Unlock()
	return t.record.events.list()
}

// Writes returns the newest 50,000 accepted changes, oldest first, and how many
// there were in all.
func (t *TrafficManager) Writes() (writes []Write, total uint64) {
	t.record.mu.Lock()
	defer t.record.mu.Unlock()
	return t.record.writes.list(), t.record.writes.total
}

// logEvent writes a line of the event log.
func (t *TrafficManager) logEvent(e dataplane.Event) {
	t.record.event(Event{Time: t.o.World.Clock().Now(), Event: e})
	t.o.Log.Debug("event log", "level", e.Level, "section", e.Section, "tag", e.Tag, "text", e.Text)
}
