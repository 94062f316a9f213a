package certs

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/providers/dns/exec"
	"github.com/go-acme/lego/v4/providers/dns/httpreq"
	"github.com/go-acme/lego/v4/providers/dns/rfc2136"
)

const (
	// recordTTL of the records that are made, in seconds.
	recordTTL = 60
	// seenPause is how long a name server is left alone that does not have a record yet.
	seenPause = time.Second
)

// record is one that answers DNS-01 (RFC 8555 §8.4).
type record struct {
	Host  string `json:"host"` // without "*."
	Token string `json:"token"`
	// KeyAuthorization from which the record's text is made.
	KeyAuthorization string `json:"keyAuthorization"`
}

// lego keeps in a variable of the process which name servers it asks where a record
// belongs, and some providers can't have two records of one name: one at a time.
var oneProvider = make(chan struct{}, 1)

// provider makes what writes records. It reads no environment.
func (m *Manager) provider() (challenge.Provider, error) {
	s := m.o.Settings
	switch s.ACMEDNSProvider {
	case "exec":
		return exec.NewDNSProviderConfig(&exec.Config{Program: s.ACMEDNSProgram})
	case "httpreq":
		endpoint, err := url.Parse(s.ACMEDNSEndpoint)
		if err != nil {
			return nil, fmt.Errorf("acme_dns_endpoint: %w", err)
		}
		client := m.o.World.HTTPClient(m.o.Actor+"/dns", nil)
		client.Timeout = requestTimeout
		return httpreq.NewDNSProviderConfig(&httpreq.Config{Endpoint: endpoint, Username: s.ACMEDNSUser, Password: s.ACMEDNSSecret.Reveal(), HTTPClient: client})
	case "rfc2136":
		return rfc2136.NewDNSProviderConfig(&rfc2136.Config{
			Nameserver: s.ACMEDNSServer, TSIGKey: s.ACMEDNSUser, TSIGSecret: s.ACMEDNSSecret.Reveal(), TSIGAlgorithm: s.ACMEDNSAlgorithm,
			DNSTimeout: requestTimeout / 3, TTL: recordTTL,
		})
	}
	return otherProvider(s.ACMEDNSProvider)
}

// withProvider calls how with the provider, alone in this process. A provider takes no
// context: if it does not end, ctx does, and all others wait for it. Nobody can end it,
// so nobody waits for it when the Manager ends.
func (m *Manager) withProvider(ctx context.Context, how func(challenge.Provider) error) error {
	select {
	case oneProvider <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("DNS provider %s (setting acme_dns_provider) is still busy with another record: %w", m.o.Settings.ACMEDNSProvider, ctx.Err())
	}
	ended := make(chan error, 1)
	go func() {
		defer func() { <-oneProvider }()
		ended <- m.callProvider(how)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("DNS provider %s (setting acme_dns_provider) does not end: %w", m.o.Settings.ACMEDNSProvider, ctx.Err())
	}
}

func (m *Manager) callProvider(how func(challenge.Provider) error) error {
	if servers := m.o.Settings.ACMEDNSResolvers; len(servers) > 0 {
		_ = dns01.AddRecursiveNameservers(servers)(nil) // has no error
	}
	provider, err := m.provider()
	if err != nil {
		return fmt.Errorf("DNS provider %s (setting acme_dns_provider): %w", m.o.Settings.ACMEDNSProvider, err)
	}
	if err := how(provider); err != nil {
		return fmt.Errorf("DNS provider %s (setting acme_dns_provider): %w", m.o.Settings.ACMEDNSProvider, err)
	}
	return nil
}

// byDNS answers DNS-01 for one host. The record is noted before it is made, and until
// it is gone again, so that whoever writes next removes it.
func (m *Manager) byDNS(ctx context.Context, a *authority, j *job, q question) error {
	r := record{q.host, q.challenge.Token, q.answer}
	j.account.change(func() { j.account.records = append(j.account.records, r) })
	if err := m.save(ctx, j.account); err != nil {
		return err
	}
	defer m.unrecord(ctx, j.account, r)
	if err := m.withProvider(ctx, func(p challenge.Provider) error { return p.Present(r.Host, r.Token, r.KeyAuthorization) }); err != nil {
		return fmt.Errorf("host %s: its record can't be made: %w", q.host, err)
	}
	if err := m.seen(ctx, r); err != nil {
		return err
	}
	if err := m.mayGoOn(j.certificate); err != nil {
		return err
	}
	if err := q.challengeBy(a); err != nil {
		return err
	}
	return m.verified(ctx, a, j, q, "the certificate authority finds the TXT record of _acme-challenge."+q.host)
}

// unrecord removes a record, even if ctx has ended.
func (m *Manager) unrecord(ctx context.Context, a *account, r record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*requestTimeout)
	defer cancel()
	if err := m.withProvider(ctx, func(p challenge.Provider) error { return p.CleanUp(r.Host, r.Token, r.KeyAuthorization) }); err != nil {
		m.o.Log.Error("the record that answered a certificate authority can't be removed", "host", r.Host, "error", err)
		return // it is still noted
	}
	a.change(func() { a.records = slices.DeleteFunc(a.records, func(o record) bool { return o == r }) })
	// Whoever saves next writes that.
}

// seen waits until the name servers that may be asked have a record.
func (m *Manager) seen(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.Settings.ACMEDNSTimeout)
	defer cancel()
	sum := sha256.Sum256([]byte(r.KeyAuthorization))
	name, value := "_acme-challenge."+r.Host+".", base64.RawURLEncoding.EncodeToString(sum[:])
	servers := m.o.Settings.ACMEDNSResolvers
	if len(servers) == 0 {
		servers = []string{""} // the machine's
	}
	for _, server := range servers {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if server != "" {
				address = server
			}
			return m.o.World.Dial(ctx, m.o.Actor+"/dns/"+server, network, address)
		}}
		for {
			texts, err := resolver.LookupTXT(ctx, name)
			if slices.Contains(texts, value) {
				break
			}
			if m.sleep(ctx, seenPause) != nil {
				if err == nil {
					err = fmt.Errorf("it is not among its %d TXT records", len(texts))
				}
				if server == "" {
					server = "the name server of this machine"
				}
				return fmt.Errorf("host %s: its record was made, but %s does not have it after %s (settings acme_dns_resolvers, acme_dns_timeout): %w", r.Host, server, m.o.Settings.ACMEDNSTimeout, err)
			}
		}
	}
	return nil
}

// leftRecords are those that no order under way answers for.
func (m *Manager) leftRecords() []record {
	if len(m.running) > 0 {
		return nil
	}
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	return slices.Clone(m.account.records)
}

// removeLeft removes records that another instance has left behind, or that could not
// be removed, before orders begin.
func (m *Manager) removeLeft(ctx context.Context) {
	now := m.now()
	if m.account == nil || now.Before(m.nextLeft) || m.o.Settings.ACMEDNSProvider == "" {
		return
	}
	m.nextLeft = now.Add(lookAgain)
	left := m.leftRecords()
	for _, r := range left {
		m.unrecord(ctx, m.account, r)
	}
	if len(left) > 0 {
		m.keep(ctx, m.account)
	}
}
