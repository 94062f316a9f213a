package scenarios

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/testenv"
)

func (s *scenario) clusterWithAuthority(ctx context.Context, nodes int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, Seed: 1, ACME: &testenv.ACMEOptions{Profiles: map[string]time.Duration{
		"default": 90 * 24 * time.Hour, "brief": 3 * time.Minute,
	}}})
}

// answeredWithIssued waits until the server shows a certificate that clients can
// verify who trust the certificate authority.
func (s *scenario) answeredWithIssued(ctx context.Context, target, address string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if len(a.chain) == 0 {
			return fmt.Errorf("%s at %s shows no certificate", target, address)
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AppendCertsFromPEM(s.env.Authority().RootsPEM())
		for _, c := range a.chain[1:] {
			between.AddCert(c)
		}
		_, err = a.chain[0].Verify(x509.VerifyOptions{
			DNSName: u.Hostname(), Roots: roots, Intermediates: between, CurrentTime: s.env.World().Clock().Now(),
		})
		if err != nil {
			return fmt.Errorf("%s at %s can't be verified: %w", target, address, err)
		}
		return nil
	})
}

// minutesGoBy is for lanes with fake time.
func (s *scenario) minutesGoBy(ctx context.Context, n int) error {
	timer := s.env.World().Clock().NewTimer(time.Duration(n) * time.Minute)
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
