package vtm

import (
	"sync"
	"time"
)

// sessionExchange is how one member tells the others of the sessions that its data plane
// keeps: what changed since the last time, each state_sync_interval; all of them to
// a member that has missed something.
type sessionExchange struct {
	mu   sync.Mutex // guards all below
	last time.Time
	owed map[string]bool // members that get all sessions next
}

// owe notes that a member has missed sessions.
func (x *sessionExchange) owe(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owed == nil {
		x.owed = make(map[string]bool)
	}
	x.owed[name] = true
}

// due tells whether it is time; interval 0: sessions are not told at all.
func (x *sessionExchange) due(now time.Time, interval time.Duration) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if interval == 0 || now.Sub(x.last) < interval {
		return false
	}
	x.last = now
	return true
}

// owes tells whether a member gets all sessions, and settles it.
func (x *sessionExchange) owes(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	owed := x.owed[name]
	delete(x.owed, name)
	return owed
}

// tellSessions passes on sessions, if it is time.
func (t *TrafficManager) tellSessions(now time.Time) {
	if !t.sessions.due(now, t.globalSettings().seconds("cluster_comms", "state_sync_interval")) {
		return
	}
	changed := t.data.TakeSessions()
	for _, name := range t.cluster.others(t.o.Name) {
		to := t.cluster.running(name)
		if to == nil || !t.cluster.reach(t.o.Name, name) {
			t.sessions.owe(name)
			continue
		}
		if t.sessions.owes(name) {
			to.data.MergeSessions(t.data.Sessions())
		} else if len(changed) > 0 {
			to.data.MergeSessions(changed)
		}
	}
}
