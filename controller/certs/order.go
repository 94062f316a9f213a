package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

const (
	// orderTimeout bounds one order.
	orderTimeout = 10 * time.Minute
	// shownTimeout bounds how long members take to learn of a challenge.
	shownTimeout = 3 * time.Minute
	// replicated is after how long without a request traffic managers tell each other
	// of changes for sure (vtm/rest.md §5).
	replicated = 12 * time.Second
)

// core is a client of the authority, until done. Its requests end with ctx.
func (m *Manager) core(ctx context.Context, actor string, key crypto.PrivateKey, url string) (core *api.Core, done func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	base := m.o.World.HTTPClient(m.o.Actor+"/"+actor, m.trust())
	done = func() {
		cancel()
		base.CloseIdleConnections()
	}
	client := &http.Client{Transport: &ending{ctx, base.Transport}, Timeout: requestTimeout}
	core, err = api.New(client, userAgent, m.o.Settings.ACMEDirectory, url, key)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("the certificate authority's directory %s can't be used: %w", m.o.Settings.ACMEDirectory, err)
	}
	return core, done, nil
}

// ending ends requests when ctx does: lego's have no context of their own.
type ending struct {
	ctx  context.Context
	base http.RoundTripper
}

func (e *ending) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	context.AfterFunc(e.ctx, cancel)
	return e.base.RoundTrip(r.WithContext(ctx))
}

// order gets a certificate and puts it into its Secret.
func (m *Manager) order(ctx context.Context, c translate.Certificate, a *account) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	existing, err := m.current(ctx, c.Secret)
	if err != nil {
		return err
	}
	if leaf := leafOf(existing); leaf != nil && dueAt(c, leaf, attempt{}).After(m.now()) {
		return nil // the cache is behind
	}
	core, done, err := m.core(ctx, c.Secret.String(), a.key, a.url)
	if err != nil {
		return err
	}
	defer done()
	order, err := core.Orders.NewWithOptions(c.Hosts, &api.OrderOptions{Profile: m.o.Settings.ACMEProfile})
	if err != nil {
		return fmt.Errorf("the order was refused: %w", err)
	}
	if err := m.authorize(ctx, core, c, order); err != nil {
		return err
	}
	// Whose host it is may have changed meanwhile.
	if !m.stillWanted(c) {
		return errors.New("the Ingress changed while its certificate was ordered")
	}
	key, keyPEM, err := m.certificateKey(c)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(m.o.World.Rand(m.o.Actor+"/request/"+c.Secret.String()), &x509.CertificateRequest{DNSNames: c.Hosts}, key)
	if err != nil {
		return fmt.Errorf("certificate request: %w", err)
	}
	final, err := core.Orders.UpdateForCSR(order.Finalize, csr)
	if err != nil {
		return fmt.Errorf("the order could not be finalized: %w", err)
	}
	for pause := m.pauses(); final.Status != acme.StatusValid; {
		if final.Status == acme.StatusInvalid {
			return fmt.Errorf("the order became invalid: %w", final.Err())
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the order is still not done: %w", err)
		}
		if final, err = core.Orders.Get(order.Location); err != nil {
			return fmt.Errorf("the order can't be read: %w", err)
		}
	}
	chain, _, err := core.Certificates.Get(final.Certificate, true)
	if err != nil {
		return fmt.Errorf("the certificate can't be fetched: %w", err)
	}
	leaf := leafOf(&corev1.Secret{Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: keyPEM}})
	if leaf == nil {
		return errors.New("the certificate authority sent something that is no certificate for the key")
	}
	if _, may := m.o.May(); !may {
		return errors.New("another instance is the one that writes now")
	}
	if err := m.store(ctx, c.Secret, chain, keyPEM); err != nil {
		return err
	}
	m.o.Log.Info("certificate issued", "secret", c.Secret.String(), "hosts", strings.Join(c.Hosts, ","), "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter)
	return nil
}

// authorize proves to the authority that all hosts are served here.
func (m *Manager) authorize(ctx context.Context, core *api.Core, c translate.Certificate, order acme.ExtendedOrder) error {
	type asked struct{ authorization, challenge string }
	var all []asked
	var challenges []translate.Challenge
	for _, url := range order.Authorizations {
		authorization, err := core.Authorizations.Get(url)
		if err != nil {
			return fmt.Errorf("the authorization can't be read: %w", err)
		}
		if authorization.Status == acme.StatusValid {
			continue // from an earlier order
		}
		host := authorization.Identifier.Value
		found := false
		for _, challenge := range authorization.Challenges {
			if challenge.Type != "http-01" {
				continue
			}
			answer, err := core.GetKeyAuthorization(challenge.Token)
			if err != nil {
				return fmt.Errorf("host %s: %w", host, err)
			}
			challenges = append(challenges, translate.Challenge{Namespace: c.Secret.Namespace, Host: host, Token: challenge.Token, KeyAuthorization: answer})
			all = append(all, asked{url, challenge.URL})
			found = true
			break
		}
		if !found {
			return fmt.Errorf("host %s: the certificate authority does not offer HTTP-01", host)
		}
	}
	if len(all) == 0 {
		return nil
	}
	m.answer(c.Secret, challenges)
	defer m.answer(c.Secret, nil)
	if err := m.shown(ctx, c, challenges); err != nil {
		return fmt.Errorf("the traffic manager does not answer the certificate authority yet: %w", err)
	}
	for _, a := range all {
		if _, err := core.Challenges.New(a.challenge); err != nil {
			return fmt.Errorf("the challenge was refused: %w", err)
		}
	}
	for i, a := range all {
		for pause := m.pauses(); ; {
			authorization, err := core.Authorizations.Get(a.authorization)
			if err != nil {
				return fmt.Errorf("host %s: the authorization can't be read: %w", challenges[i].Host, err)
			}
			if authorization.Status == acme.StatusValid {
				break
			}
			if authorization.Status != acme.StatusPending && authorization.Status != acme.StatusProcessing {
				for _, challenge := range authorization.Challenges {
					if err := challenge.Err(); err != nil {
						return fmt.Errorf("host %s could not be verified, which takes that DNS resolves it to the Ingress's address and that port 80 there can be reached: %w", challenges[i].Host, err)
					}
				}
				return fmt.Errorf("host %s could not be verified: the authorization is %s", challenges[i].Host, authorization.Status)
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("host %s is still not verified: %w", challenges[i].Host, err)
			}
		}
	}
	return nil
}

// pauses gives a function that waits longer from call to call.
func (m *Manager) pauses() func(context.Context) error {
	d := 50 * time.Millisecond
	return func(ctx context.Context) error {
		err := m.sleep(ctx, d)
		d = min(2*d, 5*time.Second)
		return err
	}
}

func (m *Manager) sleep(ctx context.Context, d time.Duration) error {
	timer := m.o.World.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// shown waits until each member that can be asked answers the challenges: any may
// hold the address, and members learn of each other's changes only later.
func (m *Manager) shown(ctx context.Context, c translate.Certificate, challenges []translate.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, shownTimeout)
	defer cancel()
	for pause := m.pauses(); ; {
		elsewhere, err := m.notShown(ctx, c, challenges)
		if err == nil {
			return nil
		}
		wait := pause
		if elsewhere {
			wait = func(ctx context.Context) error { return m.sleep(ctx, replicated) }
		}
		if wait(ctx) != nil {
			return err
		}
	}
}

// notShown says what a member lacks; elsewhere: another member has it.
func (m *Manager) notShown(ctx context.Context, c translate.Certificate, challenges []translate.Challenge) (elsewhere bool, lacks error) {
	has := 0
	for _, member := range m.o.Members {
		err := lacking(ctx, member, c, challenges)
		var kind = vtm.KindOf(err)
		switch {
		case err == nil:
			has++
		case kind == vtm.Unreachable && len(m.o.Members) > 1:
			// Whatever it serves, it can't be asked.
		default:
			lacks = fmt.Errorf("%s: %w", member.Endpoint(), err)
		}
	}
	if has == 0 && lacks == nil {
		lacks = errors.New("no traffic manager can be reached")
	}
	return has > 0, lacks
}

func lacking(ctx context.Context, member *vtm.Client, c translate.Certificate, challenges []translate.Challenge) error {
	if len(c.Needs) == 0 {
		return errors.New("nothing answers at its address")
	}
	for _, id := range c.Needs {
		r, err := member.Get(ctx, id)
		if err != nil {
			return err
		}
		for _, challenge := range challenges {
			if id.Type == vtm.Rules && !bytes.Contains(r.Content, []byte(challenge.Answer())) {
				return fmt.Errorf("%s lacks the challenge of host %s", id, challenge.Host)
			}
		}
	}
	return nil
}

// certificateKey draws a new private key.
func (m *Manager) certificateKey(c translate.Certificate) (crypto.Signer, []byte, error) {
	m.mu.Lock()
	m.drawn++
	random := m.o.World.Rand(m.o.Actor + "/key/" + c.Secret.String() + "/" + strconv.FormatUint(m.drawn, 10))
	m.mu.Unlock()
	var key crypto.Signer
	var err error
	if m.o.Settings.ACMEKeyType == "rsa" {
		key, err = rsa.GenerateKey(random, 2048)
	} else {
		var drawn *ecdsa.PrivateKey
		drawn, err = outside.NewKey(random)
		key = drawn
	}
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// trust is how the directory's own HTTPS is verified.
func (m *Manager) trust() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, Time: m.o.World.Clock().Now}
	if ca := m.o.Settings.ACMECA; ca != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca) // config has checked it
	}
	return config
}

// retryAfter is when the authority wants to be asked again at the earliest; zero if
// it didn't say (RFC 8555 §6.6).
func retryAfter(err error, now time.Time) time.Time {
	var limited *acme.RateLimitedError
	if !errors.As(err, &limited) {
		return time.Time{}
	}
	if seconds, err := strconv.Atoi(limited.RetryAfter); err == nil && seconds >= 0 && seconds < 1<<31 {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	if at, err := http.ParseTime(limited.RetryAfter); err == nil {
		return at
	}
	return now.Add(time.Hour)
}

// inWords is what an error means to an Ingress's owner: the authority's problem
// document, if there is one.
func inWords(err error) string {
	var problem *acme.ProblemDetails
	if !errors.As(err, &problem) {
		return err.Error()
	}
	before, _, _ := strings.Cut(err.Error(), ": acme: error")
	text := fmt.Sprintf("%s: the certificate authority says: %s (%s)", before, problem.Detail, strings.TrimPrefix(problem.Type, "urn:ietf:params:acme:error:"))
	for _, sub := range problem.SubProblems {
		text += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
	}
	return text
}
