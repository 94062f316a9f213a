package acme_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	legoacme "github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/acme"
	"vtm-ingress/sim/dns"
)

// authority is what both servers are.
type authority interface {
	DirectoryURL() string
	TrustPEM() []byte
	RootsPEM() []byte
	Close()
}

// surroundings are those of one test: names, and a host that answers challenges.
type surroundings struct {
	zone  *dns.Zone
	names *dns.Server
	web   *web
	start func(profiles map[string]time.Duration, external map[string]string) authority
}

// web answers HTTP-01 challenges.
type web struct {
	port int
	mu   sync.Mutex
	said map[string]string // by path
}

func (w *web) Present(_, token, authorization string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said["/.well-known/acme-challenge/"+token] = authorization
	return nil
}

func (w *web) CleanUp(_, token, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.said, "/.well-known/acme-challenge/"+token)
	return nil
}

func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said, ok := w.said[r.URL.Path]
	if !ok {
		http.NotFound(out, r)
		return
	}
	_, _ = out.Write([]byte(said))
}

// records answers DNS-01 challenges.
type records struct{ zone *dns.Zone }

func (r records) Present(domain, _, authorization string) error {
	info := dns01.GetChallengeInfo(domain, authorization)
	r.zone.AddText(info.FQDN, info.Value)
	return nil
}

func (r records) CleanUp(domain, _, authorization string) error {
	info := dns01.GetChallengeInfo(domain, authorization)
	r.zone.RemoveText(info.FQDN, info.Value)
	return nil
}

// both runs a test against Pebble and against the small CA.
func both(t *testing.T, test func(t *testing.T, s *surroundings)) {
	log := slog.New(slog.DiscardHandler)
	for _, which := range []string{"Pebble", "CA"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel() // clients of Pebble wait between two looks
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &surroundings{zone: dns.NewZone(nil), web: &web{port: listener.Addr().(*net.TCPAddr).Port, said: map[string]string{}}}
			server := &http.Server{Handler: s.web}
			var ended sync.WaitGroup
			ended.Go(func() { _ = server.Serve(listener) })
			t.Cleanup(func() { server.Close(); ended.Wait() })
			s.names, err = dns.Start(dns.Options{World: outside.Real(), Log: log, Address: "127.0.0.1:0", Zone: s.zone})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.names.Close)
			s.start = func(profiles map[string]time.Duration, external map[string]string) authority {
				var a authority
				var err error
				if which == "Pebble" {
					a, err = acme.StartPebble(acme.PebbleOptions{
						World: outside.Real(), Log: log, Address: "127.0.0.1:0", Resolver: s.names.Address(), HTTPPort: s.web.port,
						Profiles: profiles, ExternalAccounts: external, BadNonces: 20,
					})
				} else {
					a, err = acme.StartCA(acme.CAOptions{
						World: outside.Real(), Log: log, Address: "127.0.0.1:0", Resolve: s.zone.Addresses, Text: s.zone.Text,
						Dial: func(ctx context.Context, _ string, to netip.AddrPort) (net.Conn, error) {
							if to.Port() != 80 {
								return nil, errors.New("HTTP-01 looks at port 80")
							}
							return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(to.Addr().String(), strconv.Itoa(s.web.port)))
						},
						Profiles: profiles, ExternalAccounts: external,
					})
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(a.Close)
				return a
			}
			test(t, s)
		})
	}
}

// user is an ACME account.
type user struct {
	key          crypto.PrivateKey
	registration *registration.Resource
}

func (u *user) GetEmail() string                        { return "owner@shop.example" }
func (u *user) GetRegistration() *registration.Resource { return u.registration }
func (u *user) GetPrivateKey() crypto.PrivateKey        { return u.key }

// client is an account's, not yet registered.
func client(t *testing.T, a authority, s *surroundings) (*lego.Client, *user) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u := &user{key: key}
	config := lego.NewConfig(u)
	config.CADirURL = a.DirectoryURL()
	config.HTTPClient = trusting(t, a)
	config.Certificate.KeyType = certcrypto.EC256
	c, err := lego.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Challenge.SetHTTP01Provider(s.web); err != nil {
		t.Fatal(err)
	}
	return c, u
}

func trusting(t *testing.T, a authority) *http.Client {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.TrustPEM()) {
		t.Fatal("the directory's certificate is no PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func registered(t *testing.T, a authority, s *surroundings) *lego.Client {
	t.Helper()
	c, u := client(t, a, s)
	r, err := c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	u.registration = r
	return c
}

func obtain(t *testing.T, c *lego.Client, request certificate.ObtainRequest) *x509.Certificate {
	t.Helper()
	request.Bundle = true
	got, err := c.Certificate.Obtain(request)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(got.Certificate)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// here points a host at the web server of the test.
func (s *surroundings) here(hosts ...string) {
	for _, h := range hosts {
		s.zone.Set(h, netip.MustParseAddr("127.0.0.1"))
	}
}

func TestACertificateForSeveralHostsIsIssuedAndVerifies(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(nil, nil)
		s.here("www.shop.example", "shop.example")
		got, err := registered(t, a, s).Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"www.shop.example", "shop.example"}, Bundle: true})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(got.Certificate, got.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AppendCertsFromPEM(a.RootsPEM())
		for _, der := range pair.Certificate[1:] {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			between.AddCert(c)
		}
		for _, host := range []string{"www.shop.example", "shop.example"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		if life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore).Round(time.Minute); life != 90*24*time.Hour {
			t.Errorf("it lives %s instead of 90 days", life)
		}
	})
}

// Pebble's own locks are taken in two orders, by who reads an authorization and by who
// makes an order.
func TestPebbleMakesOrdersWhileAuthorizationsAreRead(t *testing.T) {
	t.Parallel()
	s := &surroundings{web: &web{}}
	a, err := acme.StartPebble(acme.PebbleOptions{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	_, u := client(t, a, s)
	of := func(url string) *api.Core {
		core, err := api.New(trusting(t, a), "test", a.DirectoryURL(), url, u.key)
		if err != nil {
			t.Fatal(err)
		}
		return core
	}
	made, err := of("").Accounts.New(legoacme.Account{TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := of(made.Location).Orders.New([]string{"shop.example"})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 8 {
		reader, orderer := of(made.Location), of(made.Location)
		clients.Go(func() {
			for range 200 {
				if _, err := reader.Authorizations.Get(first.Authorizations[0]); err != nil {
					t.Error(err)
					return
				}
			}
		})
		clients.Go(func() {
			for range 100 {
				if _, err := orderer.Orders.New([]string{"shop.example"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

func TestACertificateHasAnotherChain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(nil, nil)
		s.here("shop.example")
		c, u := client(t, a, s)
		r, err := c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
		if err != nil {
			t.Fatal(err)
		}
		u.registration = r
		got, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"shop.example"}, Bundle: true})
		if err != nil {
			t.Fatal(err)
		}
		core, err := api.New(trusting(t, a), "test", a.DirectoryURL(), r.URI, u.key)
		if err != nil {
			t.Fatal(err)
		}
		all, err := core.Certificates.GetAll(got.CertURL, true)
		if err != nil {
			t.Fatal(err)
		}
		tops := map[string]bool{}
		for _, one := range all {
			pair, err := tls.X509KeyPair(one.Cert, got.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			top, err := x509.ParseCertificate(pair.Certificate[len(pair.Certificate)-1])
			if err != nil {
				t.Fatal(err)
			}
			tops[top.Issuer.CommonName] = true
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AppendCertsFromPEM(a.RootsPEM())
			between.AddCert(top)
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "shop.example", Roots: roots, Intermediates: between}); err != nil {
				t.Errorf("to %s: %v", top.Issuer.CommonName, err)
			}
		}
		if len(tops) != 2 {
			t.Errorf("chains lead to %v", tops)
		}
	})
}

func TestAChallengeThatIsNotAnsweredFailsTheOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(s *surroundings)
		host    string
	}{
		{"no such name", func(*surroundings) {}, "nowhere.example"},
		{"nobody is there", func(s *surroundings) { s.zone.Set("closed.example", netip.MustParseAddr("127.255.255.1")) }, "closed.example"},
		{"somebody else is there", func(s *surroundings) { s.here("other.example"); s.web = &web{said: map[string]string{}} }, "other.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, s *surroundings) {
				a := s.start(nil, nil)
				c.prepare(s)
				_, err := registered(t, a, s).Certificate.Obtain(certificate.ObtainRequest{Domains: []string{c.host}})
				var details *legoacme.ProblemDetails
				if !errors.As(err, &details) || details.Type == "" || details.Detail == "" {
					t.Fatalf("no problem document but %v", err)
				}
			})
		})
	}
}

func TestAWildcardIsIssuedOverDNSAlone(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(nil, nil)
		s.here("shop.example")
		c := registered(t, a, s)
		if _, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"*.shop.example"}}); err == nil {
			t.Fatal("issued over HTTP")
		}
		err := c.Challenge.SetDNS01Provider(records{s.zone}, dns01.AddRecursiveNameservers([]string{s.names.Address()}),
			dns01.WrapPreCheck(func(string, string, string, dns01.PreCheckFunc) (bool, error) { return true, nil }))
		if err != nil {
			t.Fatal(err)
		}
		c.Challenge.Remove("http-01")
		leaf := obtain(t, c, certificate.ObtainRequest{Domains: []string{"*.shop.example", "shop.example"}})
		if err := leaf.VerifyHostname("any.shop.example"); err != nil {
			t.Error(err)
		}
	})
}

func TestProfilesHaveTheirLifetimes(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(map[string]time.Duration{"default": 24 * time.Hour, "short": time.Minute}, nil)
		s.here("shop.example")
		c := registered(t, a, s)
		leaf := obtain(t, c, certificate.ObtainRequest{Domains: []string{"shop.example"}, Profile: "short"})
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 58*time.Second || life > time.Minute {
			t.Errorf("it lives %s instead of a minute", life)
		}
		if _, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"shop.example"}, Profile: "eternal"}); err == nil {
			t.Error("an unknown profile is accepted")
		}
	})
}

func TestExternalAccountsAreRequiredWhereThereAreAny(t *testing.T) {
	both(t, func(t *testing.T, s *surroundings) {
		secret := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
		a := s.start(nil, map[string]string{"kid-1": secret})
		c, _ := client(t, a, s)
		if _, err := c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true}); err == nil {
			t.Error("registered without an external account")
		}
		other := base64.RawURLEncoding.EncodeToString([]byte("another key, of the right length"))
		if _, err := c.Registration.RegisterWithExternalAccountBinding(registration.RegisterEABOptions{TermsOfServiceAgreed: true, Kid: "kid-1", HmacEncoded: other}); err == nil {
			t.Error("registered with the wrong key")
		}
		if _, err := c.Registration.RegisterWithExternalAccountBinding(registration.RegisterEABOptions{TermsOfServiceAgreed: true, Kid: "kid-1", HmacEncoded: secret}); err != nil {
			t.Error(err)
		}
	})
}

func TestRenewalInformationFollowsTheLifeAndWhatIsSuggested(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(nil, nil)
		s.here("shop.example")
		c := registered(t, a, s)
		leaf := obtain(t, c, certificate.ObtainRequest{Domains: []string{"shop.example"}})
		info, err := c.Certificate.GetRenewalInfo(certificate.RenewalInfoRequest{Cert: leaf})
		if err != nil {
			t.Fatal(err)
		}
		if w := info.SuggestedWindow; !w.Start.After(leaf.NotBefore) || !w.End.After(w.Start) || w.End.After(leaf.NotAfter) {
			t.Errorf("window from %s to %s of a life from %s to %s", w.Start, w.End, leaf.NotBefore, leaf.NotAfter)
		}
		if info.RetryAfter <= 0 {
			t.Error("no Retry-After")
		}
		start := leaf.NotBefore.Add(-time.Hour).Truncate(time.Second)
		end := start.Add(time.Minute)
		switch a := a.(type) {
		case *acme.Pebble:
			err = a.SuggestRenewal(leaf.SerialNumber, start, end)
		case *acme.CA:
			err = a.SuggestRenewal(leaf.SerialNumber, start, end)
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err = c.Certificate.GetRenewalInfo(certificate.RenewalInfoRequest{Cert: leaf}); err != nil {
			t.Fatal(err)
		}
		if w := info.SuggestedWindow; !w.Start.Equal(start) || !w.End.Equal(end) {
			t.Errorf("window from %s to %s", w.Start, w.End)
		}
		id, err := certificate.MakeARICertID(leaf)
		if err != nil {
			t.Fatal(err)
		}
		again := obtain(t, c, certificate.ObtainRequest{Domains: []string{"shop.example"}, ReplacesCertID: id})
		if again.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			t.Error("the same certificate again")
		}
	})
}

func TestOrdersAreJudged(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *surroundings) {
		a := s.start(nil, nil)
		c, u := client(t, a, s)
		r, err := c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
		if err != nil {
			t.Fatal(err)
		}
		core, err := api.New(trusting(t, a), "test", a.DirectoryURL(), r.URI, u.key)
		if err != nil {
			t.Fatal(err)
		}
		for _, hosts := range [][]string{{"under_score.shop.example"}, {"a.*.shop.example"}, {"*.*.shop.example"}, {"trailing.example."}} {
			if _, err := core.Orders.New(hosts); err == nil {
				t.Errorf("an order for %q is accepted", hosts)
			}
		}
		order, err := core.Orders.New([]string{"shop.example"})
		if err != nil {
			t.Fatal(err)
		}
		if order.Status != "pending" || len(order.Authorizations) != 1 {
			t.Errorf("order %+v", order)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		csr := func(host string) []byte {
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
			if err != nil {
				t.Fatal(err)
			}
			return der
		}
		problem := func(err error) string {
			var details *legoacme.ProblemDetails
			if !errors.As(err, &details) {
				t.Fatalf("no problem document but %v", err)
			}
			return details.Type
		}
		_, err = core.Orders.UpdateForCSR(order.Finalize, csr("shop.example"))
		if got := problem(err); got != "urn:ietf:params:acme:error:orderNotReady" {
			t.Errorf("finalized before its time: %s", got)
		}
		s.here("shop.example")
		authorization, err := core.Authorizations.Get(order.Authorizations[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, challenge := range authorization.Challenges {
			if challenge.Type != "http-01" {
				continue
			}
			keyAuthorization, err := core.GetKeyAuthorization(challenge.Token)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.web.Present("", challenge.Token, keyAuthorization)
			if _, err := core.Challenges.New(challenge.URL); err != nil {
				t.Fatal(err)
			}
		}
		for authorization.Status == "pending" { // Pebble looks in its own time
			if authorization, err = core.Authorizations.Get(order.Authorizations[0]); err != nil {
				t.Fatal(err)
			}
		}
		if authorization.Status != "valid" {
			t.Fatalf("authorization %+v", authorization)
		}
		_, err = core.Orders.UpdateForCSR(order.Finalize, csr("bank.example"))
		if err == nil {
			t.Error("a CSR for another host is accepted")
		}
		if _, err = core.Orders.Get(order.Location); err != nil {
			t.Error(err)
		}
		otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		forged, err := api.New(trusting(t, a), "test", a.DirectoryURL(), r.URI, otherKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := forged.Orders.New([]string{"shop.example"}); err == nil {
			t.Error("a signature by another key is accepted")
		}
	})
}
