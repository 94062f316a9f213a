package acme_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	legoacme "github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"

	"vtm-ingress/sim/acme"
	"vtm-ingress/sim/network"
)

// inBubble runs a CA on a network in memory, and gives a client that has an account.
func inBubble(t *testing.T, test func(t *testing.T, ca *acme.CA, c *lego.Client)) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: 3})
		world := n.World()
		listener, err := world.Listen("web", "tcp", "10.1.1.1:80")
		if err != nil {
			t.Fatal(err)
		}
		site := &web{said: map[string]string{}}
		server := &http.Server{Handler: site}
		var ended sync.WaitGroup
		ended.Go(func() { _ = server.Serve(listener) })
		ca, err := acme.StartCA(acme.CAOptions{
			World: world, Log: slog.New(slog.DiscardHandler), Address: "127.3.0.3:14000",
			Resolve: func(host string) []netip.Addr {
				if host != "shop.example" {
					return nil
				}
				return []netip.Addr{netip.MustParseAddr("10.1.1.1")}
			},
			Dial: func(ctx context.Context, actor string, to netip.AddrPort) (net.Conn, error) {
				return world.Dial(ctx, actor, "tcp", to.String())
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca.TrustPEM())
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		u := &user{key: key}
		config := lego.NewConfig(u)
		config.CADirURL = ca.DirectoryURL()
		config.HTTPClient = world.HTTPClient("client", &tls.Config{RootCAs: pool})
		config.Certificate.KeyType = certcrypto.EC256
		c, err := lego.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Challenge.SetHTTP01Provider(site); err != nil {
			t.Fatal(err)
		}
		if u.registration, err = c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true}); err != nil {
			t.Fatal(err)
		}
		test(t, ca, c)
		config.HTTPClient.CloseIdleConnections()
		ca.Close()
		server.Close()
		ended.Wait()
		n.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}

func TestTheSmallCAIssuesInABubble(t *testing.T) {
	inBubble(t, func(t *testing.T, ca *acme.CA, c *lego.Client) {
		leaf := obtain(t, c, certificate.ObtainRequest{Domains: []string{"shop.example"}})
		if now := time.Now(); leaf.NotBefore.After(now) || leaf.NotAfter.Before(now.AddDate(0, 0, 89)) {
			t.Errorf("it lives from %s to %s, and now is %s", leaf.NotBefore, leaf.NotAfter, now)
		}
		if ca.Issued() != 1 {
			t.Errorf("%d were issued", ca.Issued())
		}
	})
}

// problems are the types of RFC 8555 §6.7 and of profiles, but for badNonce, after
// which lego waits by chance, and alreadyReplaced (RFC 9773), after which it asks
// again by itself.
var problems = []string{
	"accountDoesNotExist", "alreadyRevoked", "badCSR", "badPublicKey", "badRevocationReason", "badSignatureAlgorithm",
	"caa", "compound", "connection", "dns", "externalAccountRequired", "incorrectResponse", "invalidContact", "invalidProfile", "malformed",
	"orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "tls", "unauthorized", "unsupportedContact", "unsupportedIdentifier",
	"userActionRequired",
}

func TestTheSmallCARefusesWhatItIsToldTo(t *testing.T) {
	inBubble(t, func(t *testing.T, ca *acme.CA, c *lego.Client) {
		try := func() error {
			_, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"shop.example"}})
			return err
		}
		for _, request := range []string{"newOrder", "challenge", "finalize", "certificate"} {
			for _, kind := range problems {
				ca.Refuse(acme.Refusal{Request: request, Problem: kind, Detail: "because I say so", RetryAfter: time.Hour, Times: 1})
				var details *legoacme.ProblemDetails
				if err := try(); !errors.As(err, &details) || details.Type != "urn:ietf:params:acme:error:"+kind || details.Detail != "because I say so" {
					t.Errorf("%s refused as %s: %v", request, kind, err)
				}
				if err := try(); err != nil {
					t.Errorf("after one %s: %v", kind, err)
				}
			}
		}
		ca.Refuse(acme.Refusal{Request: "any", Garbage: true})
		if try() == nil {
			t.Error("garbage is taken for an answer")
		}
		ca.Refuse()
		ca.Block("shop.example")
		var details *legoacme.ProblemDetails
		if err := try(); !errors.As(err, &details) || details.Type != "urn:ietf:params:acme:error:rejectedIdentifier" {
			t.Errorf("a blocked domain: %v", err)
		}
	})
}
