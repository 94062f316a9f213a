package vtm

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"vtm-ingress/sim/dataplane"
)

// Bounds of what logins keep. Whoever does not know a password must not be able
// to fill the memory with names or with attempts that wait.
const (
	maxTrackedUsers  = 1_000
	maxWaitingLogins = 64
	maxCachedLogins  = 1_000
	maxLoginWait     = 30 * time.Second // an attempt that would wait longer is refused
)

// logins carries out the login settings of global_settings!security and
// rest_api!auth_timeout (vtm/rest.md §4):
//
//   - After a failed attempt the next one of that user is looked at when
//     login_delay seconds have passed; it waits until then.
//   - After max_login_attempts failed ones in a row the user is suspended for
//     max_login_suspension_time minutes: even the right password is refused, with
//     the same answer, so that nobody learns which users exist.
//   - Users that do not exist are counted only with track_unknown_users.
//   - A success is remembered for auth_timeout seconds for that user, password and
//     client address; while it is, a request is no attempt and passes.
type logins struct {
	mu      sync.Mutex // guards all below; held for look-ups alone
	users   map[string]*attempts
	cached  map[login]time.Time // until when
	waiting int
}

// attempts is what is known of a user whose last attempt failed.
type attempts struct {
	failed    int // in a row
	last      time.Time
	suspended time.Time // until then; zero: not suspended
}

// login is one successful attempt. The password is kept as a hash.
type login struct {
	user     string
	password [sha256.Size]byte
	from     netip.Addr
}

// loginSettings are those that an attempt is judged by.
type loginSettings struct {
	delay, suspension, remembered time.Duration
	most                          int // 0: nobody is suspended
	unknown                       bool
}

func (t *TrafficManager) loginSettings() loginSettings {
	g := t.globalSettings()
	return loginSettings{
		delay:      g.seconds("security", "login_delay"),
		suspension: 60 * g.seconds("security", "max_login_suspension_time"),
		most:       g.number("security", "max_login_attempts"),
		unknown:    g.flag("security", "track_unknown_users"),
		remembered: g.seconds("rest_api", "auth_timeout"),
	}
}

// logIn tells whether user may act with that password, and writes what the event
// log has to tell about it. It may wait, as the login delay says, for as long as
// ctx lets it; an attempt that is given up is a refused one. The answer of one
// that is refused tells nothing about why.
func (t *TrafficManager) logIn(ctx context.Context, user, password string, from netip.Addr) bool {
	s := t.loginSettings()
	l := &t.logins
	this := login{user, sha256.Sum256([]byte(password)), from}
	want, known := t.o.Users[user]
	counted := known || s.unknown
	for {
		now := t.o.World.Clock().Now()
		l.mu.Lock()
		if until, ok := l.cached[this]; ok {
			if now.Before(until) && s.remembered > 0 {
				l.mu.Unlock()
				return true
			}
			delete(l.cached, this)
		}
		a := l.users[user]
		if a != nil && now.Before(a.suspended) {
			l.mu.Unlock()
			t.loginEvent("WARN", "loginsuspended", user, "is suspended until "+a.suspended.UTC().Format(time.RFC3339))
			return false
		}
		if a != nil && !a.suspended.IsZero() { // it is over
			delete(l.users, user)
			a = nil
		}
		if a != nil && now.Before(a.last.Add(s.delay)) {
			wait := a.last.Add(s.delay).Sub(now)
			if l.waiting >= maxWaitingLogins || wait > maxLoginWait {
				l.mu.Unlock()
				return false
			}
			l.waiting++
			l.mu.Unlock()
			ok := t.sleep(ctx, wait)
			l.mu.Lock()
			l.waiting--
			l.mu.Unlock()
			if !ok {
				return false
			}
			continue // another attempt may have failed meanwhile
		}
		// Compared in a time that does not tell which of the two was wrong.
		same := subtle.ConstantTimeCompare([]byte(password), []byte(want)) == 1
		if known && same {
			delete(l.users, user)
			l.remember(this, now, s.remembered)
			l.mu.Unlock()
			return true
		}
		suspended := counted && l.fail(user, now, s)
		l.mu.Unlock()
		t.loginEvent("WARN", "authfail", user, "gave a wrong name or password")
		if suspended {
			t.loginEvent("WARN", "loginsuspended", user, "is suspended after "+strconv.Itoa(s.most)+" failed attempts")
		}
		return false
	}
}

// fail counts a failed attempt, and tells whether it suspends the user. mu is
// held.
func (l *logins) fail(user string, now time.Time, s loginSettings) bool {
	a := l.users[user]
	if a == nil {
		if l.users == nil {
			l.users = make(map[string]*attempts)
		}
		if len(l.users) >= maxTrackedUsers {
			l.forgetOldest()
		}
		a = &attempts{}
	}
	// A new value: who waits has read the old one.
	next := &attempts{failed: a.failed + 1, last: now}
	if s.most > 0 && next.failed >= s.most {
		next.suspended = now.Add(s.suspension)
	}
	l.users[user] = next
	return !next.suspended.IsZero()
}

// forgetOldest makes room for one user. Of two that failed at one instant the one
// of the lesser name goes, so that a run can be repeated. mu is held.
func (l *logins) forgetOldest() {
	oldest := ""
	for name, a := range l.users {
		o := l.users[oldest]
		if o == nil || a.last.Before(o.last) || a.last.Equal(o.last) && name < oldest {
			oldest = name
		}
	}
	delete(l.users, oldest)
}

// remember keeps a success. When there are too many, those that are over go, and
// if none is, all: then the next requests are checked again. mu is held.
func (l *logins) remember(this login, now time.Time, lasts time.Duration) {
	if lasts <= 0 {
		return
	}
	if l.cached == nil {
		l.cached = make(map[login]time.Time)
	}
	if len(l.cached) >= maxCachedLogins {
		for k, until := range l.cached {
			if !now.Before(until) {
				delete(l.cached, k)
			}
		}
		if len(l.cached) >= maxCachedLogins {
			clear(l.cached)
		}
	}
	l.cached[this] = now.Add(lasts)
}

// loginEvent writes about a user, whose name is anyone's choice.
func (t *TrafficManager) loginEvent(level, tag, user, what string) {
	t.logEvent(dataplane.Event{Level: level, Section: "admin", Tag: tag, Text: "User " + clip(strconv.QuoteToASCII(user)) + " " + what})
}

// sleep waits; it is false when ctx ended first.
func (t *TrafficManager) sleep(ctx context.Context, d time.Duration) bool {
	timer := t.o.World.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// clientAddress is the address that a request came from; invalid if it has none.
func clientAddress(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// admits tells whether security!basic.access lets an address in: an empty list
// all, otherwise those that one of its addresses or networks holds. Host names,
// which the real one looks up, hold none.
func (t *TrafficManager) admits(from netip.Addr) bool {
	list := t.store.get(t.schema.types["security"], "").list("basic", "access")
	for _, entry := range list {
		if a, err := netip.ParseAddr(entry); err == nil && a.Unmap() == from {
			return true
		}
		if n, err := netip.ParsePrefix(entry); err == nil && n.Contains(from) {
			return true
		}
	}
	return len(list) == 0
}
