package certs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate"
)

func wants(namespace, secret string, hosts ...string) translate.Certificate {
	slices.Sort(hosts)
	return translate.Certificate{Secret: types.NamespacedName{Namespace: namespace, Name: secret}, Hosts: hosts}
}

// whenAllowed begins an order as soon as it may, and returns when that was.
func (s spent) whenAllowed(settings *config.Settings, c translate.Certificate, kind sort, now time.Time) time.Time {
	at, _ := s.allowed(settings, c, kind, now)
	for _, b := range slices.Concat(ordering(settings, c, kind), issuing(settings, c, kind)) {
		s.take(b, at)
	}
	return at
}

func TestNoMoreOrdersBeginThanABucketAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings := config.Default()
		settings.ACMEOrdersPerAccount = config.Limit{Count: rapid.IntRange(1, 20).Draw(t, "account"), Per: time.Hour}
		settings.ACMECertificatesPerDomain = config.Limit{Count: rapid.IntRange(1, 10).Draw(t, "domain"), Per: 24 * time.Hour}
		s, now := spent{}, time.Unix(1e9, 0)
		var began []time.Time
		for n := range rapid.IntRange(1, 60).Draw(t, "orders") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "pause")) * time.Second)
			kind := sort(rapid.IntRange(0, 1).Draw(t, "kind"))
			now = s.whenAllowed(settings, wants("shop", fmt.Sprint(n), fmt.Sprintf("h%d.d%d.example", n, n)), kind, now)
			began = append(began, now)
		}
		limit := settings.ACMEOrdersPerAccount
		for i, from := range began {
			within := 0
			for _, at := range began[i:] {
				if at.Before(from.Add(limit.Per)) {
					within++
				}
			}
			// A full bucket, and what comes back meanwhile.
			if within > 2*limit.Count {
				t.Fatalf("%d orders within %s, of %d", within, limit.Per, limit.Count)
			}
		}
	})
}

func TestEachBudgetIsTold(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		name  string
		limit func(*config.Settings, config.Limit)
		kind  sort
		next  translate.Certificate // after one for www.shop.example in shop
		waits bool
	}{
		{"acme_orders_per_account", func(s *config.Settings, l config.Limit) { s.ACMEOrdersPerAccount = l }, first, wants("b", "x", "a.other.example"), true},
		{"acme_orders_per_account", func(s *config.Settings, l config.Limit) { s.ACMEOrdersPerAccount = l }, replaces, wants("b", "x", "a.other.example"), false},
		{"acme_orders_per_namespace", func(s *config.Settings, l config.Limit) { s.ACMEOrdersPerNamespace = l }, first, wants("shop", "x", "a.other.example"), true},
		{"acme_orders_per_namespace", func(s *config.Settings, l config.Limit) { s.ACMEOrdersPerNamespace = l }, first, wants("b", "x", "a.other.example"), false},
		{"acme_certificates_per_domain", func(s *config.Settings, l config.Limit) { s.ACMECertificatesPerDomain = l }, first, wants("b", "x", "more.shop.example"), true},
		{"acme_certificates_per_domain", func(s *config.Settings, l config.Limit) { s.ACMECertificatesPerDomain = l }, renewed, wants("b", "x", "more.shop.example"), false},
		{"acme_certificates_per_domain", func(s *config.Settings, l config.Limit) { s.ACMECertificatesPerDomain = l }, first, wants("b", "x", "www.bank.example"), false},
		{"acme_certificates_per_hosts", func(s *config.Settings, l config.Limit) { s.ACMECertificatesPerHosts = l }, renewed, wants("shop", "x", "www.shop.example"), true},
		{"acme_certificates_per_hosts", func(s *config.Settings, l config.Limit) { s.ACMECertificatesPerHosts = l }, first, wants("shop", "x", "www.shop.example", "b.shop.example"), false},
	} {
		settings, s := config.Default(), spent{}
		c.limit(settings, config.Limit{Count: 1, Per: time.Hour})
		if at := s.whenAllowed(settings, wants("shop", "one", "www.shop.example"), first, now); !at.Equal(now) {
			t.Errorf("%s: the first waits until %s", c.name, at)
		}
		at, what := s.allowed(settings, c.next, c.kind, now)
		if waits := at.After(now); waits != c.waits || waits != strings.Contains(what, c.name) || waits && !at.Equal(now.Add(time.Hour)) {
			t.Errorf("%s, %v: until %s for %q", c.name, c.next, at.Sub(now), what)
		}
		s.prune(now.Add(2 * 168 * time.Hour))
		if len(s) != 0 {
			t.Errorf("%s: %v is kept for ever", c.name, s)
		}
	}
}

func TestRenewalsHaveAQuarterToThemselves(t *testing.T) {
	settings, s, now := config.Default(), spent{}, time.Unix(1e9, 0)
	settings.ACMEOrdersPerAccount = config.Limit{Count: 8, Per: time.Hour}
	begin := func(kind sort) (n int) {
		for ; ; n++ {
			c := wants(fmt.Sprint(kind, n), "x", fmt.Sprintf("www.d%d-%d.example", kind, n))
			if at, _ := s.allowed(settings, c, kind, now); at.After(now) {
				return n
			}
			s.whenAllowed(settings, c, kind, now)
		}
	}
	if n := begin(first); n != 6 {
		t.Errorf("%d new ones of 8", n)
	}
	if n := begin(renewed); n != 2 {
		t.Errorf("%d renewals of the 2 that are left", n)
	}
}

func TestAHostThatFailsTooOftenWaitsWhateverItsCompanyIs(t *testing.T) {
	settings, s, now := config.Default(), spent{}, time.Unix(1e9, 0)
	for range settings.ACMEFailuresPerHost.Count {
		s.take(failures(settings, "bad.shop.example"), now)
	}
	if at, what := s.allowed(settings, wants("shop", "x", "bad.shop.example", "new.shop.example"), first, now); !at.Equal(now.Add(12*time.Minute)) || !strings.Contains(what, "bad.shop.example") {
		t.Errorf("until %s for %q", at.Sub(now), what)
	}
	if at, _ := s.allowed(settings, wants("shop", "x", "new.shop.example"), first, now); at.After(now) {
		t.Errorf("another host waits until %s", at.Sub(now))
	}
}

func TestWhatIsGivenBackCanBeTakenAgain(t *testing.T) {
	settings, s, now := config.Default(), spent{}, time.Unix(1e9, 0)
	c := wants("shop", "x", "www.shop.example")
	for range 50 { // far more than the five certificates for the same hosts
		taken := map[string]time.Duration{}
		for _, b := range issuing(settings, c, first) {
			s.take(b, now)
			taken[b.key] = b.each()
		}
		s.giveBack(taken)
	}
	if at, what := s.allowed(settings, c, first, now); at.After(now) {
		t.Errorf("until %s for %s", at.Sub(now), what)
	}
}
