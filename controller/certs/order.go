package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
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

// job is one order.
type job struct {
	certificate translate.Certificate
	account     *account
	leaf        *x509.Certificate // what the cache holds; nil: none
	kind        sort
	replaces    string // identifier of leaf (RFC 9773 §4.1), if the authority knows it
	began       bool   // it was counted
}

// errGood: nothing is to be ordered, the cache is behind.
var errGood = errors.New("there is a good certificate already")

// errOther: another instance goes on with the order, and nothing has failed.
var errOther = errors.New("another instance is the one that writes now")

// waiting: the order goes on later, and nothing has failed.
type waiting struct {
	until time.Time
	what  string
}

func (w *waiting) Error() string { return w.what }

// order gets a certificate and puts it into its Secret.
func (m *Manager) order(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	c := j.certificate
	existing, err := m.current(ctx, c.Secret)
	if err != nil {
		return err
	}
	if leaf := leafOf(existing); covers(leaf, c.Hosts) && !leaf.Equal(j.leaf) && renewAt(leaf).After(m.now()) {
		return errGood
	}
	a, err := m.reach(ctx, c.Secret.String(), j.account.key, j.account.location())
	if err != nil {
		return err
	}
	defer a.done()
	order, kept, err := m.goOn(a, j)
	if err == nil && order.Location == "" {
		order, kept, err = m.newOrder(ctx, a, j)
	}
	if err != nil {
		return err
	}
	if order.Status == acme.StatusPending {
		if err := m.authorize(ctx, a, j, order); err != nil {
			return err
		}
	}
	final, err := m.finalize(ctx, a, c, order, kept)
	if err != nil {
		return err
	}
	chain, err := m.chain(a, final.Certificate)
	if err != nil {
		return err
	}
	leaf := leafOf(&corev1.Secret{Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: []byte(kept.Key)}})
	if !covers(leaf, c.Hosts) {
		j.account.change(func() { delete(j.account.orders, c.Secret.String()) })
		return errors.New("the certificate authority sent something that is no certificate for the key and the hosts")
	}
	if err := m.mayGoOn(c); err != nil {
		return err
	}
	if err := m.store(ctx, c.Secret, chain, []byte(kept.Key)); err != nil {
		return err
	}
	m.o.Log.Info("certificate issued", "secret", c.Secret.String(), "hosts", strings.Join(c.Hosts, ","), "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter)
	if skewed := a.wire.skewed(); skewed != "" {
		m.o.Log.Warn(skewed)
	}
	if now := m.now(); leaf.NotBefore.After(now) {
		m.o.Log.Warn("a certificate that was issued is not valid yet by the clock of this machine: set it right", "secret", c.Secret.String(), "from", leaf.NotBefore, "now", now)
	}
	return nil
}

// mayGoOn: whose host it is, and who orders, may have changed meanwhile.
func (m *Manager) mayGoOn(c translate.Certificate) error {
	if _, may := m.o.May(); !may {
		return errOther
	}
	if m.wantedNow(c) == nil {
		return errors.New("the Ingress changed while its certificate was ordered")
	}
	return nil
}

// goOn finds the order that was begun before, by this instance or another one. The
// order has no Location if there is none that can be gone on with.
func (m *Manager) goOn(a *authority, j *job) (acme.ExtendedOrder, begun, error) {
	kept, is := j.account.begun(j.certificate)
	if !is {
		return acme.ExtendedOrder{}, begun{}, nil
	}
	j.count(m)
	order, err := a.core.Orders.Get(kept.URL)
	var problem *acme.ProblemDetails
	switch {
	case errors.As(err, &problem) && (problem.HTTPStatus == http.StatusNotFound || isProblem(err, "malformed") || isProblem(err, "unauthorized")):
		return acme.ExtendedOrder{}, begun{}, nil
	case err != nil:
		return acme.ExtendedOrder{}, begun{}, a.failed(fmt.Errorf("the order can't be read: %w", err))
	case order.Status == acme.StatusInvalid:
		return acme.ExtendedOrder{}, begun{}, nil
	}
	m.o.Log.Info("an order that was begun before goes on", "secret", j.certificate.Secret.String(), "order", kept.URL, "status", order.Status)
	order.Location = kept.URL
	return order, kept, nil
}

// count tells that an order is under way, once.
func (j *job) count(m *Manager) {
	if !j.began {
		j.began = true
		m.o.Began()
	}
}

// newOrder begins an order. What it takes from the budgets is kept before the
// authority is asked, and where it is before it goes on: neither is lost with this
// instance.
func (m *Manager) newOrder(ctx context.Context, a *authority, j *job) (acme.ExtendedOrder, begun, error) {
	c, name := j.certificate, j.certificate.Secret.String()
	kept := begun{Hosts: c.Hosts, Taken: map[string]time.Duration{}}
	none := func(err error) (acme.ExtendedOrder, begun, error) {
		j.account.change(func() { j.account.spent.giveBack(kept.Taken) })
		return acme.ExtendedOrder{}, begun{}, err
	}
	profile, err := m.profile(a)
	if err != nil {
		return none(err)
	}
	now := m.now()
	var until time.Time
	var what string
	j.account.change(func() {
		j.account.drop(name)
		if until, what = j.account.spent.allowed(m.o.Settings, c, j.kind, now); !until.After(now) {
			for _, b := range ordering(m.o.Settings, c, j.kind) {
				j.account.spent.take(b, now)
			}
			for _, b := range issuing(m.o.Settings, c, j.kind) {
				j.account.spent.take(b, now)
				kept.Taken[b.key] = b.each()
			}
		}
	})
	if until.After(now) {
		return none(&waiting{until, what})
	}
	j.count(m)
	if err := m.save(ctx, j.account); err != nil {
		return none(err)
	}
	key, err := m.certificateKey(c)
	if err != nil {
		return none(fmt.Errorf("private key: %w", err))
	}
	options := &api.OrderOptions{Profile: profile, ReplacesCertID: j.replaces}
	order, err := a.core.Orders.NewWithOptions(c.Hosts, options)
	if j.replaces != "" && (isProblem(err, "malformed") || isProblem(err, "unauthorized") || isProblem(err, "serverInternal")) {
		// It may be that the other certificate is not taken for one that can be replaced,
		// or not found: Pebble fails so where a serial number begins with a zero.
		options.ReplacesCertID = ""
		order, err = a.core.Orders.NewWithOptions(c.Hosts, options)
	}
	if err != nil {
		return none(a.failed(fmt.Errorf("the order was refused: %w", err)))
	}
	if order.Location == "" {
		return none(errors.New("the certificate authority's answer does not say where the order is"))
	}
	kept.URL, kept.Key = order.Location, string(key)
	j.account.change(func() { j.account.orders[name] = kept })
	if err := m.save(ctx, j.account); err != nil {
		return acme.ExtendedOrder{}, begun{}, err
	}
	return order, kept, nil
}

// profile is the one to ask for.
func (m *Manager) profile(a *authority) (string, error) {
	profile, offered := m.o.Settings.ACMEProfile, a.core.GetDirectory().Meta.Profiles
	switch {
	case profile == "":
	case len(offered) == 0:
		m.o.Log.Warn("the certificate authority has no profiles: the setting acme_profile is without effect", "acme_profile", profile)
		return "", nil
	case offered[profile] == "":
		if _, is := offered[profile]; !is {
			return "", fmt.Errorf("the certificate authority has no profile %q: set acme_profile to one of %s, or remove it", profile, strings.Join(slices.Sorted(maps.Keys(offered)), ", "))
		}
	}
	return profile, nil
}

// finalize asks for the certificate of an order that is authorized.
func (m *Manager) finalize(ctx context.Context, a *authority, c translate.Certificate, order acme.ExtendedOrder, kept begun) (final acme.ExtendedOrder, err error) {
	final = order
	if order.Status == acme.StatusPending || order.Status == acme.StatusReady {
		if err := m.mayGoOn(c); err != nil {
			return final, err
		}
		csr, err := m.request(c, kept)
		if err != nil {
			return final, fmt.Errorf("certificate request: %w", err)
		}
		final, err = a.core.Orders.UpdateForCSR(order.Finalize, csr)
		if isProblem(err, "orderNotReady") {
			// Another instance may have been faster.
			final, err = a.core.Orders.Get(order.Location)
			if err == nil && (final.Status == acme.StatusPending || final.Status == acme.StatusReady) {
				return final, a.failed(fmt.Errorf("the order could not be finalized: it is %s", final.Status))
			}
		}
		if err != nil {
			return final, a.failed(fmt.Errorf("the order could not be finalized: %w", err))
		}
	}
	for pause := m.pauses(a.wire); final.Status != acme.StatusValid; {
		if final.Status == acme.StatusInvalid {
			if err := final.Err(); err != nil {
				return final, a.failed(fmt.Errorf("the order became invalid: %w", err))
			}
			return final, errors.New("the order became invalid")
		}
		if err := pause(ctx); err != nil {
			return final, fmt.Errorf("the order is still not done: %w", err)
		}
		if final, err = a.core.Orders.Get(order.Location); err != nil {
			return final, a.failed(fmt.Errorf("the order can't be read: %w", err))
		}
	}
	return final, nil
}

// request is what a certificate is asked for by.
func (m *Manager) request(c translate.Certificate, kept begun) ([]byte, error) {
	block, _ := pem.Decode([]byte(kept.Key))
	if block == nil {
		return nil, errors.New("the key that was kept for it is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(m.o.World.Rand(m.o.Actor+"/request/"+c.Secret.String()), &x509.CertificateRequest{DNSNames: c.Hosts}, key)
}

// chain fetches a certificate with those between it and the root that is preferred.
func (m *Manager) chain(a *authority, url string) ([]byte, error) {
	preferred := m.o.Settings.ACMEPreferredChain
	if preferred == "" {
		chain, _, err := a.core.Certificates.Get(url, true)
		if err != nil {
			return nil, a.failed(fmt.Errorf("the certificate can't be fetched: %w", err))
		}
		return chain, nil
	}
	all, err := a.core.Certificates.GetAll(url, true)
	if err != nil {
		return nil, a.failed(fmt.Errorf("the certificate can't be fetched: %w", err))
	}
	var offered []string
	for _, from := range slices.Sorted(maps.Keys(all)) {
		root := rootOf(all[from].Cert)
		if root == preferred {
			return all[from].Cert, nil
		}
		offered = append(offered, root)
	}
	m.o.Log.Warn("the certificate authority offers no chain to the root that acme_preferred_chain names: its default is taken", "acme_preferred_chain", preferred, "offered", strings.Join(offered, ", "))
	return all[url].Cert, nil
}

// rootOf is the common name of what a chain leads to; "" if it can't be read.
func rootOf(chain []byte) string {
	var last *x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return ""
		}
		last = c
	}
	if last == nil {
		return ""
	}
	return last.Issuer.CommonName
}

// question is an authorization that is open.
type question struct {
	url, host string
	challenge acme.Challenge
	answer    string // key authorization
}

// authorize proves to the authority that all hosts are served here.
func (m *Manager) authorize(ctx context.Context, a *authority, j *job, order acme.ExtendedOrder) error {
	c := j.certificate
	var web, names []question
	for _, url := range order.Authorizations {
		authorization, err := a.core.Authorizations.Get(url)
		if err != nil {
			return a.failed(fmt.Errorf("the authorization can't be read: %w", err))
		}
		if authorization.Status == acme.StatusValid {
			continue // from an earlier order
		}
		q := question{url: url, host: authorization.Identifier.Value}
		kind := "http-01"
		if authorization.Wildcard {
			kind = "dns-01"
		}
		i := slices.IndexFunc(authorization.Challenges, func(c acme.Challenge) bool { return c.Type == kind })
		if i < 0 {
			return fmt.Errorf("host %s: the certificate authority does not offer %s", q.host, strings.ToUpper(kind))
		}
		q.challenge = authorization.Challenges[i]
		if q.answer, err = a.core.GetKeyAuthorization(q.challenge.Token); err != nil {
			return fmt.Errorf("host %s: %w", q.host, err)
		}
		if authorization.Wildcard {
			names = append(names, q)
		} else {
			web = append(web, q)
		}
	}
	for _, q := range names {
		if err := m.byDNS(ctx, a, j, q); err != nil {
			return err
		}
	}
	return m.byHTTP(ctx, a, j, c, web)
}

// byHTTP answers HTTP-01 by the traffic manager.
func (m *Manager) byHTTP(ctx context.Context, a *authority, j *job, c translate.Certificate, questions []question) error {
	if len(questions) == 0 {
		return nil
	}
	var challenges []translate.Challenge
	for _, q := range questions {
		challenges = append(challenges, translate.Challenge{Namespace: c.Secret.Namespace, Host: q.host, Token: q.challenge.Token, KeyAuthorization: q.answer})
	}
	m.answer(c.Secret, challenges)
	defer m.answer(c.Secret, nil)
	if err := m.shown(ctx, c, challenges); err != nil {
		return fmt.Errorf("the traffic manager does not answer the certificate authority yet: %w", err)
	}
	if err := m.mayGoOn(c); err != nil {
		return err
	}
	for _, q := range questions {
		if err := q.challengeBy(a); err != nil {
			return err
		}
	}
	for _, q := range questions {
		if err := m.verified(ctx, a, j, q, "DNS resolves it to the Ingress's address and that port 80 there can be reached"); err != nil {
			return err
		}
	}
	return nil
}

// challengeBy lets the authority look, unless it does so already.
func (q question) challengeBy(a *authority) error {
	if q.challenge.Status != acme.StatusPending {
		return nil
	}
	if _, err := a.core.Challenges.New(q.challenge.URL); err != nil {
		return a.failed(fmt.Errorf("host %s: the challenge was refused: %w", q.host, err))
	}
	return nil
}

// verified waits until the authority has looked. takes says what that takes.
func (m *Manager) verified(ctx context.Context, a *authority, j *job, q question, takes string) error {
	for pause := m.pauses(a.wire); ; {
		authorization, err := a.core.Authorizations.Get(q.url)
		if err != nil {
			return a.failed(fmt.Errorf("host %s: the authorization can't be read: %w", q.host, err))
		}
		if authorization.Status == acme.StatusValid {
			return nil
		}
		if authorization.Status != acme.StatusPending && authorization.Status != acme.StatusProcessing {
			j.account.change(func() { j.account.spent.take(failures(m.o.Settings, q.host), m.now()) })
			err := fmt.Errorf("host %s could not be verified: the authorization is %s", q.host, authorization.Status)
			for _, challenge := range authorization.Challenges {
				if why := challenge.Err(); why != nil {
					err = fmt.Errorf("host %s could not be verified, which takes that %s: %w", q.host, takes, why)
					break
				}
			}
			return a.failed(err)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("host %s is still not verified: %w", q.host, err)
		}
	}
}

// pauses gives a function that waits longer from call to call, and at least as long
// as the authority asks for. If that is beyond the end of ctx, it says so at once.
func (m *Manager) pauses(w *wire) func(context.Context) error {
	d := 50 * time.Millisecond
	return func(ctx context.Context) error {
		now, asked := m.now(), w.wait()
		if end, is := ctx.Deadline(); is && asked > 0 && now.Add(asked).After(end) {
			return &waiting{now.Add(asked), "the certificate authority asks to look again then"}
		}
		err := m.sleep(ctx, max(d, asked))
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
	for pause := m.pauses(&wire{now: m.now}); ; {
		now := m.wantedNow(c)
		if now == nil {
			return errors.New("the Ingress changed while its certificate was ordered")
		}
		elsewhere, err := m.notShown(ctx, *now, challenges)
		if elsewhere {
			// It may have come to all of them while they were asked one after the other.
			elsewhere, err = m.notShown(ctx, *now, challenges)
		}
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

// notShown says what a member lacks, nil if none lacks anything; elsewhere: another
// member has it.
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
	return has > 0 && lacks != nil, lacks
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

// certificateKey draws a new private key: PEM, PKCS #8.
func (m *Manager) certificateKey(c translate.Certificate) ([]byte, error) {
	// No two are drawn alike.
	random := m.o.World.Rand(m.o.Actor + "/key/" + c.Secret.String() + "/" + strconv.FormatInt(m.now().UnixNano(), 10))
	var key crypto.Signer
	var err error
	if m.o.Settings.ACMEKeyType == "rsa" {
		key, err = rsa.GenerateKey(random, 2048)
	} else {
		key, err = outside.NewKey(random)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
