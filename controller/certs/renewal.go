package certs

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
	"github.com/go-acme/lego/v4/certificate"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
)

const (
	// maxQuestions are asked in a row.
	maxQuestions = 200
	// askAgain is after how long an authority is asked that does not say when; askRetry,
	// one that could not answer; askLater, one that has no renewal information, or not
	// for that certificate. What it says itself is taken between askSoon and askLater
	// (RFC 9773 §4.3.2).
	askAgain = 6 * time.Hour
	askRetry = time.Hour
	askLater = 24 * time.Hour
	askSoon  = time.Minute
)

// renewal is what the authority says of when a certificate is to be renewed.
type renewal struct {
	secret types.NamespacedName
	leaf   *x509.Certificate
	known  bool      // the authority knows it
	at     time.Time // in the window that it suggests; zero: it suggests none
	next   time.Time // not to be asked before
	why    string    // URL of an explanation; may be empty
}

// suggested is when a certificate is to be renewed; zero: nothing is said of it.
func (r renewal) suggested(leaf *x509.Certificate) time.Time {
	if r.leaf != leaf {
		return time.Time{}
	}
	return r.at
}

// id names a certificate to the authority, if it knows it; else "".
func (r renewal) id(leaf *x509.Certificate) string {
	if leaf == nil || r.leaf != leaf || !r.known {
		return ""
	}
	id, err := certificate.MakeARICertID(leaf)
	if err != nil {
		return ""
	}
	return id
}

// ask asks the authority of the certificates for which that is due, unless it is
// being asked, and returns after how long that will be.
func (m *Manager) ask(ctx context.Context, wanted []translate.Certificate, snapshot *kube.Snapshot) time.Duration {
	if m.asking != nil {
		return lookAgain
	}
	now, again := m.now(), lookAgain
	var list []renewal
	for _, c := range wanted {
		leaf := m.leaf(c.Secret, snapshot)
		if leaf == nil || !kube.IssuedBy(snapshot.Secrets.Get(c.Secret), m.o.Settings.ControllerID) {
			continue
		}
		r := m.renewals[c.Secret]
		if r.leaf != leaf {
			r = renewal{secret: c.Secret, leaf: leaf}
		}
		if wait := r.next.Sub(now); wait > 0 {
			again = min(again, wait)
		} else if len(list) < maxQuestions {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return again
	}
	ctx, m.asking = context.WithCancel(ctx)
	account := m.account
	go func() { m.told <- m.questions(ctx, account, list) }() // Run and stop wait for it
	return again
}

// hear takes over the answers.
func (m *Manager) hear(told []renewal) {
	m.asking()
	m.asking = nil
	for _, r := range told {
		if before := m.renewals[r.secret]; r.why != "" && r.why != before.why {
			m.o.Log.Info("the certificate authority says why it wants a certificate renewed", "secret", r.secret.String(), "at", r.at, "see", r.why)
		}
		m.renewals[r.secret] = r
	}
}

// questions asks one after the other.
func (m *Manager) questions(ctx context.Context, account *account, list []renewal) []renewal {
	a, err := m.reach(ctx, "renewal", account.key, "")
	if err != nil {
		for i := range list {
			list[i].next = latest(m.now().Add(askRetry), retryOf(err))
		}
		return list
	}
	defer a.done()
	for i := range list {
		answered, err := m.question(a, &list[i])
		if errors.Is(err, api.ErrNoARI) {
			for j := range list {
				list[j].known, list[j].at, list[j].next = false, time.Time{}, m.now().Add(askLater)
			}
			return list
		}
		if err != nil {
			m.o.Log.Debug("renewal information can't be had", "secret", list[i].secret.String(), "error", err)
		}
		if !answered {
			for j := range list[i:] {
				list[i+j].next = m.now().Add(askRetry)
			}
			return list
		}
	}
	return list
}

// question asks of one certificate. What was known of it stays if there is no answer.
func (m *Manager) question(a *authority, r *renewal) (answered bool, err error) {
	r.next = m.now().Add(askRetry)
	id, err := certificate.MakeARICertID(r.leaf)
	if err != nil {
		r.next = m.now().Add(askLater)
		return true, err
	}
	response, err := a.core.Certificates.GetRenewalInfo(id)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	asked := retryAfter(response.Header.Get("Retry-After"), m.now())
	if !asked.IsZero() {
		r.next = latest(m.now().Add(askSoon), asked)
		if day := m.now().Add(askLater); r.next.After(day) {
			r.next = day
		}
	}
	if response.StatusCode != http.StatusOK {
		if response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusBadRequest {
			r.known, r.at, r.next = false, time.Time{}, m.now().Add(askLater)
		}
		return true, fmt.Errorf("status %d", response.StatusCode)
	}
	var info acme.RenewalInfoResponse
	if err := json.NewDecoder(response.Body).Decode(&info); err != nil {
		return true, err
	}
	window := info.SuggestedWindow
	if !window.End.After(window.Start) {
		return true, fmt.Errorf("the window from %s to %s is none", window.Start, window.End)
	}
	if asked.IsZero() {
		r.next = m.now().Add(askAgain)
	}
	r.known, r.why = true, info.ExplanationURL
	r.at = window.Start.Add(within(r.leaf, window.End.Sub(window.Start)))
	return true, nil
}
