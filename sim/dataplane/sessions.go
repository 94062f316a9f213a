package dataplane

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"
)

// Session is an entry of a session cache: clients of a persistence class with
// this key are sent to this node. Members of a cluster exchange them.
type Session struct {
	Type  string // of the persistence class: ip, universal, j2ee, asp, ssl
	Class string // name of the persistence class
	Key   string // what the class takes from the client
	Node  string // "host:port"; "": the session was forgotten
	Used  time.Time
}

// defaultSessionCaches are the schema's defaults.
var defaultSessionCaches = SessionCaches{IPSize: 32768, UniversalSize: 32768, J2EESize: 32768, ASPSize: 32768, SSLSize: 32768}

type sessionKey struct{ class, key string }

// sessionCaches are the session caches of a traffic manager, one for each type
// that keeps any. Each is bounded: the session used longest ago goes first.
type sessionCaches struct {
	mu     sync.Mutex // guards all below
	caches map[string]*sessionCache
}

type sessionCache struct {
	size    int
	expiry  time.Duration // 0: never
	entries map[sessionKey]*list.Element
	order   *list.List // of *Session, the latest used first
	counts  struct{ lookups, hits, expiries int64 }
	// changed are the keys to tell the other members: used, made or forgotten since
	// the last exchange. Bounded by twice the size.
	changed map[sessionKey]Session
}

func newSessionCaches(conf SessionCaches) *sessionCaches {
	s := &sessionCaches{caches: make(map[string]*sessionCache)}
	for _, kind := range []string{"asp", "ip", "j2ee", "ssl", "universal"} {
		s.caches[kind] = &sessionCache{entries: make(map[sessionKey]*list.Element), order: list.New(), changed: make(map[sessionKey]Session)}
	}
	s.configure(conf)
	return s
}

// configure sets sizes and expiry; sessions beyond them go.
func (s *sessionCaches) configure(conf SessionCaches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := func(kind string, size int, expiry time.Duration) {
		c := s.caches[kind]
		c.size, c.expiry = size, expiry
		c.trim()
	}
	set("ip", conf.IPSize, conf.IPExpiry)
	set("universal", conf.UniversalSize, conf.UniversalExpiry)
	set("j2ee", conf.J2EESize, conf.J2EEExpiry)
	set("asp", conf.ASPSize, 0)
	set("ssl", conf.SSLSize, 0)
}

func (c *sessionCache) trim() {
	for c.order.Len() > c.size {
		c.drop(c.order.Back())
	}
}

func (c *sessionCache) drop(e *list.Element) {
	s := c.order.Remove(e).(*Session)
	delete(c.entries, sessionKey{s.Class, s.Key})
}

// find returns the node of a session, and whether there is one; it counts as
// used.
func (s *sessionCaches) find(kind, class, key string, now time.Time) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[kind]
	c.counts.lookups++
	at := sessionKey{class, key}
	e := c.entries[at]
	if e == nil {
		return "", false
	}
	found := e.Value.(*Session)
	if c.expiry > 0 && now.Sub(found.Used) >= c.expiry {
		c.counts.expiries++
		c.drop(e)
		return "", false
	}
	c.counts.hits++
	found.Used = now
	c.order.MoveToFront(e)
	if c.expiry > 0 {
		c.tell(*found) // so that the other members do not let it expire
	}
	return found.Node, true
}

// keep makes or changes a session.
func (s *sessionCaches) keep(n Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[n.Type]
	if e := c.entries[sessionKey{n.Class, n.Key}]; e == nil || e.Value.(*Session).Node != n.Node {
		c.tell(n)
	}
	c.put(n)
}

// put stores a session as the one used last.
func (c *sessionCache) put(n Session) {
	at := sessionKey{n.Class, n.Key}
	if e := c.entries[at]; e != nil {
		e.Value = &n
		c.order.MoveToFront(e)
		return
	}
	c.entries[at] = c.order.PushFront(&n)
	c.trim()
}

// forget ends a session.
func (s *sessionCaches) forget(kind, class, key string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[kind]
	if e := c.entries[sessionKey{class, key}]; e != nil {
		c.drop(e)
		c.tell(Session{Type: kind, Class: class, Key: key, Used: now})
	}
}

func (c *sessionCache) tell(n Session) {
	at := sessionKey{n.Class, n.Key}
	if _, ok := c.changed[at]; ok || len(c.changed) < 2*c.size {
		c.changed[at] = n
	}
}

// TakeSessions returns the sessions that were made, changed or forgotten here
// since it was last called, sorted: what the other members of a cluster do not
// know yet.
func (d *DataPlane) TakeSessions() []Session {
	s := d.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Session
	for _, c := range s.caches {
		for _, n := range c.changed {
			all = append(all, n)
		}
		clear(c.changed)
	}
	slices.SortFunc(all, compareSessions)
	return all
}

// Sessions returns all sessions that are kept, sorted: for a member that has
// missed changes.
func (d *DataPlane) Sessions() []Session {
	s := d.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Session
	for _, c := range s.caches {
		for e := c.order.Front(); e != nil; e = e.Next() {
			all = append(all, *e.Value.(*Session))
		}
	}
	slices.SortFunc(all, compareSessions)
	return all
}

// MergeSessions takes in sessions of another member. Of two that differ the one
// used last holds.
func (d *DataPlane) MergeSessions(list []Session) {
	s := d.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range list {
		c := s.caches[n.Type]
		if c == nil {
			continue
		}
		at := sessionKey{n.Class, n.Key}
		e := c.entries[at]
		if own, ok := c.changed[at]; ok {
			if own.Used.After(n.Used) {
				continue // the other one will hear of it
			}
			delete(c.changed, at) // overtaken
		}
		switch {
		case e != nil && !n.Used.After(e.Value.(*Session).Used):
			if own := e.Value.(*Session); own.Node != n.Node {
				c.tell(*own) // the other one does not know
			}
		case n.Node != "":
			c.put(n)
		case e != nil:
			c.drop(e)
		}
	}
}

func compareSessions(a, b Session) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Key, b.Key))
}
