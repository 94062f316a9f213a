package certs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate"
)

// spent says of each budget when it will be whole again, if nothing more is taken
// of it. Those that are whole are not in it. It is a token bucket in one number: a
// budget of n in a time refills by one each nth of that time.
type spent map[string]time.Time

// budget is one of those that an order takes from.
type budget struct {
	key   string // in spent
	limit config.Limit
	what  string // it is for, in words, and the setting that says how much
}

// free is when one may be taken of a budget of which all but spare may be used.
func (s spent) free(b budget, spare int, now time.Time) time.Time {
	room := b.each() * time.Duration(max(b.limit.Count-spare, 1)-1)
	return latest(now, s[b.key].Add(-room))
}

// lastTaken, in spent, is when something was taken last. It is no budget's key.
const lastTaken = "taken"

// take takes one.
func (s spent) take(b budget, now time.Time) {
	s[b.key] = latest(now, s[b.key]).Add(b.each())
	s[lastTaken] = latest(now, s[lastTaken])
}

// correct puts right what was taken by a clock that was ahead: in the future.
func (s spent) correct(now time.Time) {
	ahead := s[lastTaken].Sub(now)
	if ahead <= maxSkew {
		return
	}
	for key, whole := range s {
		s[key] = whole.Add(-ahead)
	}
}

// giveBack undoes what was taken.
func (s spent) giveBack(taken map[string]time.Duration) {
	for key, each := range taken {
		s[key] = s[key].Add(-each)
	}
}

// each is after how long one comes back.
func (b budget) each() time.Duration { return b.limit.Per / time.Duration(b.limit.Count) }

// prune forgets what is whole again.
func (s spent) prune(now time.Time) {
	for key, whole := range s {
		if key != lastTaken && !whole.After(now) {
			delete(s, key)
		}
	}
	if len(s) == 1 {
		delete(s, lastTaken)
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sort of an order, by what a certificate authority counts it for.
type sort int

const (
	first    sort = iota // of a certificate that there is not yet
	renewed              // a renewal of which the authority is not told that it is one
	replaces             // a renewal that the authority knows as one (RFC 9773 §5)
)

// ordering are the budgets that an order takes from when it begins.
func ordering(s *config.Settings, c translate.Certificate, kind sort) []budget {
	if kind == replaces {
		return nil // authorities with renewal information don't count those
	}
	return []budget{
		{"account", s.ACMEOrdersPerAccount, "orders (setting acme_orders_per_account)"},
		{"namespace/" + c.Secret.Namespace, s.ACMEOrdersPerNamespace, fmt.Sprintf("orders of namespace %s (setting acme_orders_per_namespace)", c.Secret.Namespace)},
	}
}

// issuing are those that count certificates: an order that ends without one gives
// back what it took.
func issuing(s *config.Settings, c translate.Certificate, kind sort) []budget {
	if kind == replaces {
		return nil
	}
	list := []budget{{"hosts/" + digest(c.Hosts), s.ACMECertificatesPerHosts, "certificates for the same hosts (setting acme_certificates_per_hosts)"}}
	if kind == first {
		for _, domain := range domains(c.Hosts) {
			list = append(list, budget{"domain/" + domain, s.ACMECertificatesPerDomain, fmt.Sprintf("certificates for hosts of %s (setting acme_certificates_per_domain)", domain)})
		}
	}
	return list
}

// failures is the budget of a host's failed verifications.
func failures(s *config.Settings, host string) budget {
	return budget{"failed/" + host, s.ACMEFailuresPerHost, fmt.Sprintf("failed verifications of host %s (setting acme_failures_per_host)", host)}
}

// allowed is when an order may begin, and what it waits for if that is after now.
// Renewals come first: of what an account and a namespace have, others leave a
// quarter to them.
func (s spent) allowed(settings *config.Settings, c translate.Certificate, kind sort, now time.Time) (at time.Time, what string) {
	s.correct(now)
	at = now
	wait := func(b budget, spare int) {
		if free := s.free(b, spare, now); free.After(at) {
			at = free
			what = fmt.Sprintf("%d %s in %s are used up", b.limit.Count-spare, b.what, b.limit.Per)
		}
	}
	for _, b := range ordering(settings, c, kind) {
		if kind == first {
			wait(b, b.limit.Count/4)
		} else {
			wait(b, 0)
		}
	}
	for _, b := range issuing(settings, c, kind) {
		wait(b, 0)
	}
	for _, host := range c.Hosts {
		wait(failures(settings, host), 0)
	}
	return at, what
}

// domains are the registered domains of hosts (public suffix list), sorted, each
// once.
func domains(hosts []string) []string {
	var list []string
	for _, host := range hosts {
		host = strings.TrimPrefix(host, "*.")
		domain, err := publicsuffix.EffectiveTLDPlusOne(host)
		if err != nil {
			domain = host // a suffix itself
		}
		list = append(list, domain)
	}
	slices.SortFunc(list, cmp.Compare[string])
	return slices.Compact(list)
}

func digest(hosts []string) string {
	sum := sha256.Sum256([]byte(strings.Join(hosts, ",")))
	return hex.EncodeToString(sum[:8])
}
