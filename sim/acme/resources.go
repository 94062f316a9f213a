package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// States of orders, authorizations and challenges (RFC 8555, section 7.1.6).
const (
	pending     = "pending"
	ready       = "ready"
	valid       = "valid"
	invalid     = "invalid"
	deactivated = "deactivated"
)

// Lives of what waits for its client.
const (
	orderLife         = 7 * 24 * time.Hour
	authorizationLife = time.Hour
)

// maxHosts of one order, as Let's Encrypt has it.
const maxHosts = 100

type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type order struct {
	path        string
	account     *account
	state       string // pending (or ready: derived), valid, invalid
	expires     time.Time
	identifiers []identifier
	profile     string
	replaces    string
	needs       []*authorization
	problem     *Problem
	certificate *issued
}

type authorization struct {
	path       string
	order      *order
	identifier identifier // without "*."
	wildcard   bool
	state      string
	expires    time.Time
	token      string
	tried      string // the challenge that was tried: "http-01", "dns-01"; empty: none
	validated  time.Time
	problem    *Problem
}

// newAccount registers a key, or finds it (RFC 8555, section 7.3).
func (ca *CA) newAccount(w http.ResponseWriter, _ *http.Request, s *signed) *Problem {
	var wish struct {
		Contact              []string        `json:"contact"`
		TermsOfServiceAgreed bool            `json:"termsOfServiceAgreed"`
		OnlyReturnExisting   bool            `json:"onlyReturnExisting"`
		External             json.RawMessage `json:"externalAccountBinding"`
	}
	if p := s.read(&wish); p != nil {
		return p
	}
	id, err := thumbprint(s.key)
	if err != nil {
		return problem("badPublicKey", "%v", err)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, known := range ca.accounts {
		if other, err := thumbprint(known.key); err == nil && other == id {
			if !known.valid {
				return problem("unauthorized", "the account is deactivated")
			}
			ca.showAccount(w, known, http.StatusOK)
			return nil
		}
	}
	if wish.OnlyReturnExisting {
		return problem("accountDoesNotExist", "no account has this key")
	}
	if !wish.TermsOfServiceAgreed {
		return problem("userActionRequired", "the terms of service were not agreed to")
	}
	for _, contact := range wish.Contact {
		address, mail := strings.CutPrefix(contact, "mailto:")
		if !mail {
			return problem("unsupportedContact", "contact %q is no mailto: URL", contact)
		}
		if before, after, found := strings.Cut(address, "@"); !found || before == "" || !strings.Contains(after, ".") {
			return problem("invalidContact", "contact %q has no valid address", contact)
		}
	}
	if len(ca.o.ExternalAccounts) > 0 {
		if p := ca.external(wish.External, s.key); p != nil {
			return p
		}
	}
	a := &account{path: pathAccount + strconv.Itoa(ca.name()), key: s.key, contact: wish.Contact, valid: true}
	ca.accounts[a.path] = a
	ca.showAccount(w, a, http.StatusCreated)
	return nil
}

// external checks an external account binding (RFC 8555, section 7.3.4).
func (ca *CA) external(binding json.RawMessage, key *jose.JSONWebKey) *Problem {
	if len(binding) == 0 {
		return problem("externalAccountRequired", "newAccount needs an externalAccountBinding")
	}
	message, err := jose.ParseSigned(string(binding), []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
	if err != nil || len(message.Signatures) != 1 {
		return problem("malformed", "externalAccountBinding is no JSON Web Signature")
	}
	header := message.Signatures[0].Protected
	secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(ca.o.ExternalAccounts[header.KeyID], "="))
	if err != nil || len(secret) == 0 {
		return problem("unauthorized", "no external account %q is known", header.KeyID)
	}
	bound, err := message.Verify(secret)
	if err != nil {
		return problem("unauthorized", "the externalAccountBinding is not signed by the key of %q", header.KeyID)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(bound); err != nil {
		return problem("malformed", "the externalAccountBinding holds no key")
	}
	want, _ := thumbprint(key)
	if got, err := thumbprint(&jwk); err != nil || got != want {
		return problem("malformed", "the externalAccountBinding is for another key")
	}
	return nil
}

func (ca *CA) showAccount(w http.ResponseWriter, a *account, status int) {
	w.Header().Set("Location", ca.url(a.path))
	state := valid
	if !a.valid {
		state = deactivated
	}
	reply(w, status, map[string]any{"status": state, "contact": a.contact, "orders": ca.url(a.path + "/orders")})
}

func (ca *CA) serveAccount(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	if r.URL.Path != s.account.path {
		return problem("unauthorized", "that is another account")
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if !s.get() {
		var wish struct {
			Status  string   `json:"status"`
			Contact []string `json:"contact"`
		}
		if p := s.read(&wish); p != nil {
			return p
		}
		if wish.Status == deactivated {
			s.account.valid = false
		}
		if wish.Contact != nil {
			s.account.contact = wish.Contact
		}
	}
	ca.showAccount(w, s.account, http.StatusOK)
	return nil
}

// newOrder makes an order and its authorizations (RFC 8555, section 7.4).
func (ca *CA) newOrder(w http.ResponseWriter, _ *http.Request, s *signed) *Problem {
	var wish struct {
		Identifiers []identifier `json:"identifiers"`
		Profile     string       `json:"profile"`
		Replaces    string       `json:"replaces"`
	}
	if p := s.read(&wish); p != nil {
		return p
	}
	if len(wish.Identifiers) == 0 || len(wish.Identifiers) > maxHosts {
		return problem("malformed", "an order is for 1 to %d identifiers, not %d", maxHosts, len(wish.Identifiers))
	}
	if wish.Profile == "" {
		wish.Profile = DefaultProfile
	}
	if _, ok := ca.o.Profiles[wish.Profile]; !ok {
		return problem("invalidProfile", "there is no profile %q", wish.Profile)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	var wrong []Problem
	for i, id := range wish.Identifiers {
		wish.Identifiers[i].Value = strings.ToLower(id.Value)
		if p := ca.checkName(wish.Identifiers[i]); p != nil {
			p.Identifier = &wish.Identifiers[i]
			wrong = append(wrong, *p)
		}
	}
	if len(wrong) > 0 {
		p := problem("rejectedIdentifier", "%s", wrong[0].Detail)
		p.Subproblems = wrong
		return p
	}
	if wish.Replaces != "" {
		old, p := ca.byID(wish.Replaces)
		switch {
		case p != nil:
			return p
		case old.account != s.account:
			return problem("unauthorized", "the certificate to replace is another account's")
		case old.replaced:
			return problem("alreadyReplaced", "the certificate was replaced already")
		}
	}
	now := ca.o.World.Clock().Now()
	o := &order{
		path: pathOrder + strconv.Itoa(ca.name()), account: s.account, state: pending,
		expires: now.Add(orderLife), identifiers: wish.Identifiers, profile: wish.Profile, replaces: wish.Replaces,
	}
	for _, id := range wish.Identifiers {
		name, wildcard := strings.CutPrefix(id.Value, "*.")
		token := make([]byte, 24)
		if _, err := io.ReadFull(ca.random, token); err != nil {
			return problem("serverInternal", "randomness: %v", err)
		}
		a := &authorization{
			path: pathAuthorization + strconv.Itoa(ca.name()), order: o, identifier: identifier{"dns", name}, wildcard: wildcard,
			state: pending, expires: now.Add(orderLife), token: base64.RawURLEncoding.EncodeToString(token),
		}
		o.needs = append(o.needs, a)
		ca.authorizations[a.path] = a
	}
	ca.orders[o.path] = o
	ca.showOrder(w, o, http.StatusCreated)
	return nil
}

// checkName says what is wrong with a name for which a certificate is ordered.
func (ca *CA) checkName(id identifier) *Problem {
	if id.Type != "dns" {
		return problem("unsupportedIdentifier", "identifiers of type %q are not supported", id.Type)
	}
	name := strings.TrimPrefix(id.Value, "*.")
	labels := strings.Split(name, ".")
	switch {
	case net.ParseIP(name) != nil:
		return problem("rejectedIdentifier", "%q is an address", id.Value)
	case len(name) > 253:
		return problem("rejectedIdentifier", "%q is longer than 253 characters", id.Value)
	case len(labels) < 2:
		return problem("rejectedIdentifier", "%q needs at least one dot", id.Value)
	case ca.blocked[name]:
		return problem("rejectedIdentifier", "policy forbids issuing for %q", id.Value)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return problem("rejectedIdentifier", "%q has a label that is none", id.Value)
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return problem("rejectedIdentifier", "%q has the character %q", id.Value, c)
			}
		}
	}
	return nil
}

// status of an order follows from its authorizations until it is finalised.
func (o *order) status(now time.Time) string {
	if o.state != pending {
		return o.state
	}
	if now.After(o.expires) {
		return invalid
	}
	state := ready
	for _, a := range o.needs {
		switch a.state {
		case invalid, deactivated:
			return invalid
		case pending:
			state = pending
		}
	}
	return state
}

func (ca *CA) showOrder(w http.ResponseWriter, o *order, status int) {
	body := map[string]any{
		"status": o.status(ca.o.World.Clock().Now()), "expires": o.expires.UTC().Format(time.RFC3339),
		"identifiers": o.identifiers, "profile": o.profile,
		"finalize": ca.url(pathFinalize + strings.TrimPrefix(o.path, pathOrder)),
	}
	var list []string
	for _, a := range o.needs {
		list = append(list, ca.url(a.path))
		if a.problem != nil {
			body["error"] = a.problem
		}
	}
	body["authorizations"] = list
	if o.problem != nil {
		body["error"] = o.problem
	}
	if o.certificate != nil {
		body["certificate"] = ca.url(o.certificate.path)
	}
	if o.replaces != "" {
		body["replaces"] = o.replaces
	}
	w.Header().Set("Location", ca.url(o.path))
	reply(w, status, body)
}

func (ca *CA) serveOrder(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o := ca.orders[r.URL.Path]
	if o == nil || o.account != s.account {
		return notFound("order")
	}
	ca.showOrder(w, o, http.StatusOK)
	return nil
}

// challenges of an authorization: a wildcard has no HTTP-01 (RFC 8555, section
// 7.1.3; section 8.3).
func (a *authorization) challenges() []string {
	if a.wildcard {
		return []string{"dns-01"}
	}
	return []string{"http-01", "dns-01"}
}

func (ca *CA) showChallenge(a *authorization, kind string) map[string]any {
	body := map[string]any{
		"type": kind, "token": a.token, "status": pending,
		"url": ca.url(pathChallenge + strings.TrimPrefix(a.path, pathAuthorization) + "/" + kind),
	}
	if a.tried == kind {
		body["status"] = a.state
		if a.problem != nil {
			body["error"] = a.problem
		} else {
			body["validated"] = a.validated.UTC().Format(time.RFC3339)
		}
	}
	return body
}

func (ca *CA) serveAuthorization(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a := ca.authorizations[r.URL.Path]
	if a == nil || a.order.account != s.account {
		return notFound("authorization")
	}
	if !s.get() {
		var wish struct {
			Status string `json:"status"`
		}
		if p := s.read(&wish); p != nil {
			return p
		}
		if wish.Status != deactivated {
			return problem("malformed", "an authorization can only be deactivated")
		}
		a.state = deactivated
	}
	var list []map[string]any
	for _, kind := range a.challenges() {
		if a.tried == "" || a.tried == kind {
			list = append(list, ca.showChallenge(a, kind))
		}
	}
	body := map[string]any{
		"status": a.state, "expires": a.expires.UTC().Format(time.RFC3339), "identifier": a.identifier, "challenges": list,
	}
	if a.wildcard {
		body["wildcard"] = true
	}
	reply(w, http.StatusOK, body)
	return nil
}

// challenge shows a challenge, or looks at it and answers with what it found: a
// client that polls would wait by chance.
func (ca *CA) challenge(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	kind := r.PathValue("kind")
	ca.mu.Lock()
	a := ca.authorizations[pathAuthorization+r.PathValue("n")]
	if a == nil || a.order.account != s.account || !slices.Contains(a.challenges(), kind) {
		ca.mu.Unlock()
		return notFound("challenge")
	}
	look := !s.get() && a.state == pending
	token, name := a.token, a.identifier.Value
	ca.mu.Unlock()
	if look {
		print, err := thumbprint(s.key)
		if err != nil {
			return problem("serverInternal", "%v", err)
		}
		p := ca.validate(r.Context(), kind, name, token, token+"."+print)
		ca.mu.Lock()
		now := ca.o.World.Clock().Now()
		a.tried, a.problem, a.validated = kind, p, now
		if p != nil {
			a.state = invalid
		} else {
			a.state, a.expires = valid, now.Add(authorizationLife)
		}
		ca.mu.Unlock()
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	w.Header().Add("Link", "<"+ca.url(a.path)+`>;rel="up"`)
	reply(w, http.StatusOK, ca.showChallenge(a, kind))
	return nil
}

// validate looks whether the client has put the key authorization where the
// challenge asks for it.
func (ca *CA) validate(ctx context.Context, kind, name, token, authorization string) *Problem {
	ctx, cancel := deadline(ctx)
	defer cancel()
	if kind == "dns-01" { // RFC 8555, section 8.4
		sum := sha256.Sum256([]byte(authorization))
		if !slices.Contains(ca.o.Text("_acme-challenge."+name), base64.RawURLEncoding.EncodeToString(sum[:])) {
			return problem("unauthorized", "no TXT record of _acme-challenge.%s has the right value", name)
		}
		return nil
	}
	addresses := ca.o.Resolve(name)
	if len(addresses) == 0 {
		return problem("dns", "%s: there is no such name", name)
	}
	actor := "acme/validate/" + name
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				to := ca.o.Resolve(host)
				if len(to) == 0 {
					return nil, fmt.Errorf("%s: there is no such name", host)
				}
				number, err := strconv.ParseUint(port, 10, 16)
				if err != nil {
					return nil, err
				}
				return ca.o.Dial(ctx, actor, netip.AddrPortFrom(to[0], uint16(number)))
			},
		},
	}
	defer client.CloseIdleConnections()
	url := "http://" + name + "/.well-known/acme-challenge/" + token
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return problem("serverInternal", "%v", err)
	}
	request.Header.Set("User-Agent", "sandbox certificate authority")
	response, err := client.Do(request)
	if err != nil {
		return problem("connection", "%s: %v", addresses[0], err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return problem("connection", "%s: %v", addresses[0], err)
	}
	if response.StatusCode != http.StatusOK {
		return problem("unauthorized", "%s: invalid response from %s: %d", addresses[0], url, response.StatusCode)
	}
	if got := bytes.TrimRight(body, " \t\r\n"); string(got) != authorization {
		return problem("unauthorized", "%s: %s holds %.100q, not the key authorization", addresses[0], url, got)
	}
	return nil
}
