package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"hash/fnv"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller/translate"
)

const (
	// renewBefore is how long before its end a certificate is renewed (specification,
	// Let's Encrypt Support).
	renewBefore = 8 * 24 * time.Hour
	// shortLife is the life of a certificate below which it is renewed after two
	// thirds of it instead.
	shortLife = 24 * 24 * time.Hour
	// spread is over how long those are renewed that end together, at most.
	spread = 12 * time.Hour
	// maxOrders are under way at most.
	maxOrders = 20
	// renewedAtMost is how old a certificate is at least when renewal information has
	// it renewed; a third of its life, if that is less.
	renewedAtMost = 2 * time.Hour
	// settled is how long a certificate has been for too many hosts when it is ordered
	// anew: an Ingress may come back.
	settled = 10 * time.Minute
	// remembered is for how long what failed is kept of a Secret that nobody wants.
	remembered = 24 * time.Hour
	// minWave and maxWave are how far apart waves of renewals begin.
	minWave = time.Second
	maxWave = time.Minute
)

// delays are how long after which failure in a row an order is tried again. Let's
// Encrypt allows five failures an hour for one account and host.
var delays = [...]time.Duration{20 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour}

// attempt is what is kept of a Secret's failed orders.
type attempt struct {
	Failures int       `json:"failures"` // in a row
	At       time.Time `json:"at"`       // of the last one
	Next     time.Time `json:"next"`     // no order before
	Message  string    `json:"message"`  // what the last one failed for
	Hosts    []string  `json:"hosts"`    // of it: with others, it does not count
}

// fail notes a failure. retryAfter is what the authority asked for, zero if
// nothing.
func (a attempt) fail(hosts []string, message string, retryAfter, now time.Time) attempt {
	if !slices.Equal(a.Hosts, hosts) {
		a.Failures = 0
	}
	next := now.Add(delays[min(a.Failures, len(delays)-1)])
	if retryAfter.After(next) {
		next = retryAfter
	}
	return attempt{Failures: a.Failures + 1, At: now, Next: next, Message: message, Hosts: hosts}
}

// asOf is what counts of it. What failed in the future did so by a clock that was wrong,
// and nobody waits until that time comes.
func (a attempt) asOf(now time.Time) attempt {
	if a.At.After(now.Add(maxSkew)) {
		a.Next = now
	}
	return a
}

// leafOf is the certificate in a Secret; nil if it holds no certificate with its
// private key.
func leafOf(secret *corev1.Secret) *x509.Certificate {
	if secret == nil {
		return nil
	}
	certificate, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	if len(bytes.TrimSpace(certificate)) == 0 {
		return nil
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil
	}
	if pair.Leaf != nil {
		return pair.Leaf
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// covers reports whether a certificate is for all of some hosts.
func covers(leaf *x509.Certificate, hosts []string) bool {
	return leaf != nil && !slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) != nil })
}

// surplus reports whether a certificate is for hosts besides.
func surplus(leaf *x509.Certificate, hosts []string) bool {
	return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return !slices.Contains(hosts, name) })
}

// renewAt is when a certificate is due.
func renewAt(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	at := leaf.NotAfter.Add(-renewBefore)
	if life < shortLife {
		at = leaf.NotBefore.Add(life * 2 / 3)
	}
	// Earlier rather than later: the end does not move.
	return at.Add(-within(leaf, min(spread, life/20)))
}

// within is a time below d that is the certificate's own.
func within(leaf *x509.Certificate, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(leaf.Raw) // never fails
	return time.Duration(h.Sum64() % uint64(d))
}

// dueAt is when an order for a certificate is due: at once (zero) if there is none
// that covers its hosts. suggested is when the authority wants it renewed, zero if it
// did not say: that is obeyed if it is sooner. failed is what is kept of its last
// order.
func dueAt(c translate.Certificate, leaf *x509.Certificate, suggested time.Time, failed attempt) time.Time {
	var due time.Time
	if covers(leaf, c.Hosts) {
		due = renewAt(leaf)
		if !suggested.IsZero() {
			// An authority that wants all renewed at once must not be asked without end.
			grace := min(renewedAtMost, leaf.NotAfter.Sub(leaf.NotBefore)/3)
			if suggested = latest(suggested, leaf.NotBefore.Add(grace)); suggested.Before(due) {
				due = suggested
			}
		}
	}
	if failed.Failures > 0 && slices.Equal(failed.Hosts, c.Hosts) && failed.Next.After(due) {
		due = failed.Next
	}
	return due
}

// wavePause is after how long the next wave of renewals begins, if one begins now; zero
// if none is due. Up to maxOrders begin together: their challenges are on the traffic
// managers by a few writes instead of by several for each, and in between others' changes
// find nothing in their way and traffic managers the pause that they wait for to tell
// each other. Half of what is left until the first of them ends is for those that fail.
func wavePause(due []*job, now time.Time) time.Duration {
	renewals, left := 0, time.Duration(math.MaxInt64)
	for _, j := range due {
		if j.kind != first {
			renewals++
			left = min(left, j.leaf.NotAfter.Sub(now))
		}
	}
	if renewals == 0 {
		return 0
	}
	waves := (renewals + maxOrders - 1) / maxOrders
	return max(minWave, min(maxWave, left/2/time.Duration(waves)))
}

// untilWave is after how long the next wave of renewals begins, the last one having
// begun at last; zero or less: now. What is due may become more in between, and then
// the next wave comes sooner.
func untilWave(last time.Time, due []*job, now time.Time) time.Duration {
	return last.Add(wavePause(due, now)).Sub(now)
}
