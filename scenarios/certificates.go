package scenarios

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/testenv"
)

// addCertificateSteps adds the words about certificates that are issued.
func (s *scenario) addCertificateSteps(steps map[string]any) {
	maps.Copy(steps, map[string]any{
		`^a cluster with (\d+) nodes, a traffic manager and a certificate authority$`:                                             s.clusterWithAuthority,
		`^a cluster with (\d+) nodes, a traffic manager and a certificate authority that refuses (\d+) of a hundred good nonces$`: s.clusterWithFussyAuthority,
		`^(\d+) controllers run$`:                               s.controllersRun,
		`^the controller that writes is killed before it (.+)$`: s.killedBefore,
		`^it has been killed$`:                                  s.hasBeenKilled,
		`^"([^"]*)" at (\S+) is answered with a certificate of the certificate authority$`:                   s.answeredWithIssued,
		`^I note the certificate of "([^"]*)" at (\S+)$`:                                                     s.noteCertificate,
		`^"([^"]*)" at (\S+) is answered with (the noted|another) certificate of the certificate authority$`: s.answeredWithNoted,
		`^the certificate of "([^"]*)" at (\S+) is not for "([^"]*)"$`:                                       s.certificateIsNotFor,
		`^the certificate of "([^"]*)" at (\S+) is that of Secret "([^"]*)", and the only one for it$`:       s.onlyCertificate,
		`^steady requests to "([^"]*)" at (\S+) by clients that verify the certificate$`:                     s.steadyVerified,
		`^steady requests to "([^"]*)" at (\S+) that are redirected$`:                                        s.steadyRedirects,
		`^each of these clients saw (\d+) certificates, the last of them that of Secret "([^"]*)"$`:          s.sawCertificates,
		`^the controller's clock is (\d+) days ahead$`:                                                       s.clockAhead,
		`^the controller's clock is right again$`:                                                            s.clockRight,
		`^(\d+) seconds go by$`:                                                         s.secondsGoBy,
		`^(\d+) minutes? (?:go|goes) by$`:                                               s.minutesGoBy,
		`^(\d+) minutes? (?:go|goes) by for all$`:                                       s.wholeMinutesGoBy,
		`^(\d+) days? (?:go|goes) by$`:                                                  s.daysGoBy,
		`^(\d+) certificates? (?:was|were) issued$`:                                     s.issued,
		`^(\d+) certificates were issued, all of them by one controller$`:               s.issuedByOne,
		`^wildcard hosts are proved by (rfc2136|httpreq|exec)$`:                         s.wildcardsBy,
		`^no record is left in DNS for "([^"]*)"$`:                                      s.noRecordLeft,
		`^no challenge is left on the traffic manager$`:                                 s.noChallengeLeft,
		`^DNS (points|does not point) "([^"]*)" at the traffic manager$`:                s.dnsPoints,
		`^the certificate authority refuses new orders (\d+) times with (\S+)$`:         s.ordersRefused,
		`^the certificate authority says nothing of renewals$`:                          s.noRenewalInformation,
		`^the certificate authority wants the noted certificate renewed in (\d+) days$`: s.renewalWanted,
		`^the certificate authority (is down|answers with garbage|is well)$`:            s.authorityIs,
		`^the API server (refuses|takes) what the controller writes into Secrets$`:      s.secretsAre,
		`^the traffic manager (refuses|takes) server keys$`:                             s.keysAre,
		`^the traffic manager takes (\d+) seconds for a rule$`:                          s.rulesTake,
		`^somebody writes rubbish into Secret "([^"]*)"$`:                               s.rubbish,
		`^there is no Secret "([^"]*)" in Namespace "([^"]*)"$`:                         s.noSecret,
	})
}

func (s *scenario) clusterWithAuthority(ctx context.Context, nodes int) error {
	return s.clusterWithFussyAuthority(ctx, nodes, 0)
}

func (s *scenario) clusterWithFussyAuthority(ctx context.Context, nodes, badNonces int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, Seed: 1, ACME: &testenv.ACMEOptions{
		BadNonces: badNonces,
		Profiles:  map[string]time.Duration{"default": 90 * 24 * time.Hour, "minute": time.Minute},
	}})
}

// controllersRun starts several, of which another one writes a few seconds after the
// one that did so is gone.
func (s *scenario) controllersRun(ctx context.Context, n int) error {
	s.env.Set("lease_duration", "3s")
	s.env.Set("renew_deadline", "1.900000013s")
	s.env.Set("retry_period", "600ms")
	return s.env.StartControllers(ctx, n)
}

// killedBefore lets the controller be killed when it is about to do something.
func (s *scenario) killedBefore(moment string) error {
	moments := map[string]func(testenv.Request) bool{
		"tells the certificate authority to look": func(r testenv.Request) bool {
			return r.To == testenv.CertAuthority && r.Method == "POST" && strings.Contains(strings.ToLower(r.Path), "/chal")
		},
		"asks for the certificate": func(r testenv.Request) bool {
			return r.To == testenv.CertAuthority && strings.Contains(r.Path, "finalize")
		},
		"stores the certificate": func(r testenv.Request) bool {
			return r.To == testenv.Kubernetes && r.Method != "GET" && strings.Contains(r.Path, "/secrets") && bytes.Contains(r.Body, []byte(corev1.TLSCertKey))
		},
		"sends the certificate to the traffic manager": func(r testenv.Request) bool {
			return r.To == testenv.TrafficManager && r.Method == "PUT" && strings.Contains(r.Path, "ssl/server_keys/") && strings.Contains(r.Path, "issued")
		},
	}
	matches := moments[moment]
	if matches == nil {
		return fmt.Errorf("nobody knows when a controller %q", moment)
	}
	s.env.KillBefore(matches)
	return nil
}

func (s *scenario) hasBeenKilled(ctx context.Context) error {
	return s.env.Eventually(ctx, func(context.Context) error {
		if !s.env.Killed() {
			return errors.New("no controller was killed")
		}
		return nil
	})
}

// verify checks that a client of the internet would take what a server showed.
func (s *scenario) verify(a answer, host string) error {
	if len(a.chain) == 0 {
		return errors.New("no certificate is shown")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(s.env.Authority().RootsPEM())
	for _, c := range a.chain[1:] {
		between.AddCert(c)
	}
	_, err := a.chain[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: roots, Intermediates: between, CurrentTime: s.env.World().Clock().Now(),
	})
	return err
}

// issuedCertificate waits until the server shows a certificate that clients verify who
// trust the certificate authority, and that fits.
func (s *scenario) issuedCertificate(ctx context.Context, target, address string, fits func(*x509.Certificate) error) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if err := s.verify(a, u.Hostname()); err != nil {
			return fmt.Errorf("%s at %s can't be verified: %w", target, address, err)
		}
		return fits(a.chain[0])
	})
}

func (s *scenario) answeredWithIssued(ctx context.Context, target, address string) error {
	return s.issuedCertificate(ctx, target, address, func(*x509.Certificate) error { return nil })
}

func (s *scenario) noteCertificate(ctx context.Context, target, address string) error {
	return s.issuedCertificate(ctx, target, address, func(c *x509.Certificate) error {
		s.noted = c
		return nil
	})
}

func (s *scenario) answeredWithNoted(ctx context.Context, target, address, which string) error {
	return s.issuedCertificate(ctx, target, address, func(c *x509.Certificate) error {
		if c.Equal(s.noted) != (which == "the noted") {
			return fmt.Errorf("%s at %s shows the certificate with the serial number %x, good until %s; noted was %x", target, address, c.SerialNumber, c.NotAfter, s.noted.SerialNumber)
		}
		return nil
	})
}

func (s *scenario) certificateIsNotFor(ctx context.Context, target, address, host string) error {
	return s.issuedCertificate(ctx, target, address, func(c *x509.Certificate) error {
		if c.VerifyHostname(host) == nil {
			return fmt.Errorf("the certificate of %s is for %q", target, c.DNSNames)
		}
		return nil
	})
}

// certificateOf is the one in a Secret.
func (s *scenario) certificateOf(ctx context.Context, secret string) (*x509.Certificate, error) {
	is, err := s.kubernetes.CoreV1().Secrets(namespace).Get(ctx, secret, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return firstCertificate(is.Data[corev1.TLSCertKey])
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// onlyCertificate waits until clients, Kubernetes and the traffic manager agree.
func (s *scenario) onlyCertificate(ctx context.Context, target, address, secret string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		held, err := s.certificateOf(ctx, secret)
		if err != nil {
			return fmt.Errorf("Secret %s: %w", secret, err)
		}
		u, err := url.Parse(target)
		if err != nil {
			return err
		}
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if err := s.verify(a, u.Hostname()); err != nil {
			return err
		}
		if !a.chain[0].Equal(held) {
			return fmt.Errorf("%s shows the serial number %x, Secret %s holds %x", target, a.chain[0].SerialNumber, secret, held.SerialNumber)
		}
		ours, err := s.ours(ctx)
		if err != nil {
			return err
		}
		var names []string
		for _, name := range ours {
			if !strings.HasPrefix(name, "ssl/server_keys/") {
				continue
			}
			var key struct {
				Properties struct{ Basic struct{ Public string } }
			}
			if err := s.rest(ctx, "GET", name, "", &key); err != nil {
				return err
			}
			if c, err := firstCertificate([]byte(key.Properties.Basic.Public)); err == nil && c.VerifyHostname(u.Hostname()) == nil {
				names = append(names, name)
				if !c.Equal(held) {
					return fmt.Errorf("%s has the serial number %x, Secret %s %x", name, c.SerialNumber, secret, held.SerialNumber)
				}
			}
		}
		if len(names) != 1 {
			return fmt.Errorf("for %s there are the server keys %q", u.Hostname(), names)
		}
		return nil
	})
}

// steadyVerified notes the serial numbers that each client sees.
func (s *scenario) steadyVerified(ctx context.Context, target, address string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	seen := make([][]string, 2)
	return s.loadOn(ctx, target, address, s.loadPause, func(a answer, client int) error {
		if err := errors.Join(succeeded(a, client), s.verify(a, u.Hostname())); err != nil {
			return err
		}
		if serial := a.chain[0].SerialNumber.Text(16); len(seen[client]) == 0 || seen[client][len(seen[client])-1] != serial {
			seen[client] = append(seen[client], serial)
		}
		s.load.verified = seen
		return nil
	})
}

// sawCertificates waits until each client that verifies has seen so many certificates,
// none of them again after the next one.
func (s *scenario) sawCertificates(ctx context.Context, n int, secret string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		held, err := s.certificateOf(ctx, secret)
		if err != nil {
			return fmt.Errorf("Secret %s: %w", secret, err)
		}
		s.load.mu.Lock()
		defer s.load.mu.Unlock()
		if len(s.load.verified) == 0 {
			return errors.New("no client has verified a certificate")
		}
		for _, serials := range s.load.verified {
			if len(serials) != n || serials[n-1] != held.SerialNumber.Text(16) {
				return fmt.Errorf("clients saw the serial numbers %q, Secret %s holds %x", s.load.verified, secret, held.SerialNumber)
			}
		}
		return nil
	})
}

func (s *scenario) secondsGoBy(ctx context.Context, n int) error {
	return s.goesBy(ctx, time.Duration(n)*time.Second)
}

// while is the end of each step of leapsOf: in it controllers find that the Lease is
// still theirs, and what has become due is done.
const while = 7 * time.Second

// clockAhead is for lanes where the certificate authority has a clock of its own.
func (s *scenario) clockAhead(days int) {
	s.ahead = time.Duration(days) * 24 * time.Hour
	s.env.Leap(s.ahead)
}

func (s *scenario) clockRight() { s.env.Leap(-s.ahead) }

// minutesGoBy and daysGoBy are for lanes with fake time, and for what controllers and
// certificate authorities wait for: others' clocks stand still between the steps.
func (s *scenario) minutesGoBy(ctx context.Context, n int) error {
	return s.leapsOf(ctx, n, time.Minute)
}

// daysGoBy lets the last days pass one after the other, and those before by weeks.
func (s *scenario) daysGoBy(ctx context.Context, n int) error {
	const week = 7
	for ; n > week; n -= week {
		if err := s.leapsOf(ctx, 1, week*24*time.Hour); err != nil {
			return err
		}
	}
	return s.leapsOf(ctx, n, 24*time.Hour)
}

func (s *scenario) leapsOf(ctx context.Context, n int, d time.Duration) error {
	for range n {
		s.env.Leap(d - while)
		if err := s.goesBy(ctx, while); err != nil {
			return err
		}
	}
	return nil
}

// wholeMinutesGoBy lets them pass for everybody.
func (s *scenario) wholeMinutesGoBy(ctx context.Context, n int) error {
	return s.goesBy(ctx, time.Duration(n)*time.Minute)
}

func (s *scenario) goesBy(ctx context.Context, d time.Duration) error {
	timer := s.env.World().Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// issued checks how many certificates there were so far.
func (s *scenario) issued(n int) error {
	if small := s.env.Authority().Small; small == nil || small.Issued() != n {
		return fmt.Errorf("not %d certificates were issued", n)
	}
	return nil
}

// issuedByOne counts what several controllers tell of.
func (s *scenario) issuedByOne(n int) error {
	by := map[string]int{}
	for line := range strings.Lines(s.env.ControllerLog()) {
		if strings.Contains(line, "certificate issued") {
			_, after, _ := strings.Cut(line, "instance=")
			instance, _, _ := strings.Cut(after, " ")
			by[instance]++
		}
	}
	if len(by) != 1 || !slices.Contains(slices.Collect(maps.Values(by)), n) {
		return fmt.Errorf("certificates by controller: %v", by)
	}
	return nil
}

// noRenewalInformation leaves the time of renewals to the controller.
func (s *scenario) noRenewalInformation() error {
	small := s.env.Authority().Small
	if small == nil {
		return errors.New("this lane's certificate authority can't be told to refuse")
	}
	small.Refuse(testenv.Refusal{Request: "renewalInfo", Problem: "malformed", Status: http.StatusNotFound})
	return nil
}

func (s *scenario) renewalWanted(days int) error {
	at := s.env.World().Clock().Now().AddDate(0, 0, days)
	return s.env.Authority().SuggestRenewal(s.noted.SerialNumber, at, at.Add(time.Hour))
}

// authorityIs gives the certificate authority faults, or takes them away.
func (s *scenario) authorityIs(how string) error {
	s.env.Authority().Fault(map[string]string{"is down": testenv.AuthorityDown, "answers with garbage": testenv.AuthorityGarbage, "is well": ""}[how])
	return nil
}

func (s *scenario) secretsAre(how string) error {
	if how == "takes" {
		s.env.Refuse()
		return nil
	}
	s.env.Refuse(testenv.Forbidden{Verb: "create", Resource: "secrets"}, testenv.Forbidden{Verb: "update", Resource: "secrets"}, testenv.Forbidden{Verb: "patch", Resource: "secrets"})
	return nil
}

func (s *scenario) keysAre(how string) error {
	if how == "takes" {
		return s.env.Faults("")
	}
	return s.env.Faults("status 500 method=PUT path=ssl/server_keys/*")
}

func (s *scenario) rulesTake(seconds int) error {
	return s.env.Faults(fmt.Sprintf("latency %ds method=PUT path=rules/*", seconds))
}

// rubbish replaces the certificate in a Secret, or the key of an account.
func (s *scenario) rubbish(ctx context.Context, name string) error {
	secret, err := s.kubernetes.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for key := range secret.Data {
		secret.Data[key] = []byte("rubbish")
	}
	_, err = s.kubernetes.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

// noChallengeLeft waits until no rule answers a certificate authority.
func (s *scenario) noChallengeLeft(ctx context.Context) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		found, err := s.ours(ctx)
		if err != nil {
			return err
		}
		for _, name := range found {
			if !strings.HasPrefix(name, "rules/") {
				continue
			}
			_, rule, err := s.env.REST(ctx, "GET", name, nil)
			if err != nil {
				return err
			}
			if strings.Contains(string(rule), "acme-challenge") {
				return fmt.Errorf("%s answers a challenge", name)
			}
		}
		return nil
	})
}

func (s *scenario) wildcardsBy(provider string) error { return s.env.ProveWildcards(provider) }

// noRecordLeft waits until no record proves who owns a host.
func (s *scenario) noRecordLeft(ctx context.Context, host string) error {
	return s.env.Eventually(ctx, func(context.Context) error {
		if left := s.env.Authority().Names.Text("_acme-challenge." + host); len(left) > 0 {
			return fmt.Errorf("records are left: %q", left)
		}
		return nil
	})
}

// dnsPoints says whether a host is where its Ingress is, or nowhere near.
func (s *scenario) dnsPoints(whether, host string) error {
	if whether == "points" {
		s.env.Authority().Names.Forget(host)
	} else {
		s.env.Authority().Names.Set(host, netip.MustParseAddr("10.0.2.250"))
	}
	return nil
}

// ordersRefused lets the next orders fail with a problem of RFC 8555 §6.7. The
// authority wants three minutes until the next.
func (s *scenario) ordersRefused(times int, problem string) error {
	small := s.env.Authority().Small
	if small == nil {
		return errors.New("this lane's certificate authority can't be told to refuse")
	}
	small.Refuse(testenv.Refusal{Request: "newOrder", Problem: problem, Times: times, RetryAfter: 3 * time.Minute})
	return nil
}

// ingressOfHasWarning is for Ingresses of other namespaces.
func (s *scenario) ingressOfHasWarning(ctx context.Context, name, namespace, words string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		list, err := s.kubernetes.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name == name && e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("none of %d Events of Namespace %s is a warning for Ingress %s with these words", len(list.Items), namespace, name)
	})
}

func (s *scenario) noSecret(ctx context.Context, name, namespace string) error {
	_, err := s.kubernetes.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("Secret %s/%s is there (%v)", namespace, name, err)
}
