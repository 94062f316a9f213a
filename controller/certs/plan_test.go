package certs

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate"
)

// leaf is one for hosts, good from begin for life.
func leaf(begin time.Time, life time.Duration, hosts ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: begin, NotAfter: begin.Add(life), DNSNames: hosts,
		Raw: []byte(begin.String() + life.String()),
	}
}

func TestACertificateIsDueBeforeItsEndAndNotAtItsBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "begin"), 0)
		life := time.Duration(rapid.Int64Range(60, 400*24*3600).Draw(t, "life")) * time.Second
		c := translate.Certificate{Hosts: []string{"web.example"}}
		l := leaf(begin, life, "web.example")
		at := dueAt(c, l, time.Time{}, attempt{})
		latest := l.NotAfter.Add(-renewBefore)
		if life < shortLife {
			latest = begin.Add(life * 2 / 3)
		}
		if at.After(latest) || at.Before(latest.Add(-spread)) || at.Before(begin.Add(life/2)) {
			t.Fatalf("life %s: due %s after its beginning, latest %s", life, at.Sub(begin), latest.Sub(begin))
		}
		if !dueAt(translate.Certificate{Hosts: []string{"web.example", "more.example"}}, l, time.Time{}, attempt{}).IsZero() {
			t.Fatal("a certificate that lacks a host is not due at once")
		}
		if !dueAt(c, nil, time.Time{}, attempt{}).IsZero() {
			t.Fatal("no certificate, and none is due at once")
		}
	})
}

func TestFailuresAreTriedAgainLaterAndLaterAndNotBeforeTheAuthorityAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, a, last := time.Unix(1e9, 0), attempt{}, time.Duration(0)
		hosts := []string{"web.example"}
		inAnHour := 0
		for n := range rapid.IntRange(1, 30).Draw(t, "failures") {
			var asked time.Time
			if rapid.Bool().Draw(t, "asks") {
				asked = now.Add(time.Duration(rapid.IntRange(0, 1e6).Draw(t, "after")) * time.Second)
			}
			if now.Before(time.Unix(1e9, 0).Add(time.Hour)) {
				inAnHour++
			}
			a = a.fail(hosts, "no", asked, now)
			if a.Failures != n+1 || a.Next.Before(asked) || asked.IsZero() && a.Next.Sub(now) < last {
				t.Fatalf("failure %d: next after %s, asked for %s, before %s", n+1, a.Next.Sub(now), asked, last)
			}
			if at := dueAt(translate.Certificate{Hosts: hosts}, nil, time.Time{}, a); !at.Equal(a.Next) {
				t.Fatalf("due at %s, next attempt at %s", at, a.Next)
			}
			if asked.IsZero() {
				last = a.Next.Sub(now)
			}
			now = a.Next
		}
		if inAnHour > 5 {
			t.Fatalf("%d failures in an hour", inAnHour)
		}
		if !dueAt(translate.Certificate{Hosts: []string{"new.example"}}, nil, time.Time{}, a).IsZero() {
			t.Fatal("other hosts wait for a failure that is none of theirs")
		}
	})
}

func TestAFailureByAClockThatWasWrongIsNotWaitedFor(t *testing.T) {
	now, hosts := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), []string{"a.example"}
	c := translate.Certificate{Hosts: hosts}
	ahead := now.Add(4000 * 24 * time.Hour)
	if at := dueAt(c, nil, time.Time{}, attempt{}.fail(hosts, "no", time.Time{}, ahead).asOf(now)); at.After(now) {
		t.Errorf("it waits until %s, and now is %s", at, now)
	}
	if at := dueAt(c, nil, time.Time{}, attempt{}.fail(hosts, "no", time.Time{}, now.Add(time.Second)).asOf(now)); !at.After(now) {
		t.Error("a failure of another instance, whose clock is a second ahead, does not count")
	}
	s, b := spent{}, budget{key: "failed/a.example", limit: config.Limit{Count: 2, Per: time.Hour}}
	s.take(b, ahead)
	s.take(b, ahead)
	s.correct(now)
	if at := s.free(b, 0, now); !at.Equal(now.Add(30 * time.Minute)) {
		t.Errorf("a budget that was spent by a clock that was wrong is free at %s, and now is %s", at, now)
	}
}

func TestWavesOfRenewalsLeaveHalfOfTheTimeThatIsLeft(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	due := func(n int, left time.Duration) (list []*job) {
		for range n {
			list = append(list, &job{kind: renewed, leaf: &x509.Certificate{NotAfter: now.Add(left)}})
		}
		return append(list, &job{kind: first})
	}
	for _, c := range []struct {
		n          int
		left, want time.Duration
	}{
		{0, 0, 0},
		{500, 80 * time.Second, 1600 * time.Millisecond},
		{501, 104 * time.Second, 2 * time.Second},
		{1, 20 * time.Second, 10 * time.Second},
		{1000, 8 * 24 * time.Hour, maxWave},
		{500, -time.Hour, minWave},
	} {
		if got := wavePause(due(c.n, c.left), now); got != c.want {
			t.Errorf("%d due, %s left: the next wave is after %s, want %s", c.n, c.left, got, c.want)
		}
	}
}

func TestTheNextWaveComesSoonerWhenMoreIsDue(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	due := func(n int) (list []*job) {
		for range n {
			list = append(list, &job{kind: renewed, leaf: &x509.Certificate{NotAfter: began.Add(80 * time.Second)}})
		}
		return list
	}
	if wait := untilWave(time.Time{}, due(1), began); wait > 0 {
		t.Errorf("the first wave waits %s", wait)
	}
	now := began.Add(2 * time.Second)
	if few := untilWave(began, due(20), now); few <= 0 {
		t.Errorf("with 20 due the next wave waits %s", few)
	}
	if many := untilWave(began, due(500), now); many > 0 {
		t.Errorf("with 500 due the next wave waits %s", many)
	}
}
