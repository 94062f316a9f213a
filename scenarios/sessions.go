package scenarios

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// stickyClients waits until each of several clients is answered by one pod alone as
// long as it sends back the cookies that it got, and not all by the same. <client>
// in target stands for the client's number.
func (s *scenario) stickyClients(ctx context.Context, target, address string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		pods := map[string]bool{}
		for client := range 4 {
			url, jar, first := strings.ReplaceAll(target, "<client>", fmt.Sprint(client)), map[string]*http.Cookie{}, ""
			for n := range 5 {
				s.requests++
				var cookies []*http.Cookie
				for _, name := range slices.Sorted(keys(jar)) {
					cookies = append(cookies, jar[name])
				}
				a, err := s.request(ctx, fmt.Sprint("client/", s.requests), address, http.MethodGet, url, cookies)
				if err != nil {
					return err
				}
				if a.status != http.StatusOK {
					return fmt.Errorf("%s is answered with status %d", url, a.status)
				}
				for _, c := range a.cookies {
					jar[c.Name] = c
				}
				if n == 0 {
					first = a.pod
				} else if a.pod != first {
					return fmt.Errorf("client %d got an answer of pod %s first, and later one of %s", client, first, a.pod)
				}
			}
			pods[first] = true
		}
		if len(pods) < 2 {
			return fmt.Errorf("all clients got answers of one pod: %v", slices.Sorted(keys(pods)))
		}
		return nil
	})
}

// answeredAgain waits until a URL asked for twice is answered by pods once (kept) or
// each time (anew): a pod's answer names the connection that it came over.
func (s *scenario) answeredAgain(ctx context.Context, target, address, how string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		var bodies [2]string
		for i := range bodies {
			a, err := s.ask(ctx, address, target)
			if err != nil {
				return err
			}
			if a.status != http.StatusOK || a.pod == "" {
				return fmt.Errorf("%s at %s is answered with status %d: %.200s", target, address, a.status, a.body)
			}
			bodies[i] = a.body
		}
		if kept := bodies[0] == bodies[1]; kept != (how == "from the cache") {
			return fmt.Errorf("%s at %s is answered twice: kept is %v", target, address, kept)
		}
		return nil
	})
}

// answeredOverTLSToPod waits until a pod answers to whom the request came over TLS.
func (s *scenario) answeredOverTLSToPod(ctx context.Context, target, address, deployment string) error {
	_, err := s.answerOverTLS(ctx, target, address, deployment)
	return err
}

func (s *scenario) answerOverTLS(ctx context.Context, target, address, deployment string) (last answer, err error) {
	err = s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		var echo struct {
			TLS bool `json:"tls"`
		}
		if err := json.Unmarshal([]byte(a.body), &echo); err != nil || !strings.HasPrefix(a.pod, deployment+"-") || !echo.TLS {
			return fmt.Errorf("%s at %s is answered with status %d by pod %q, over TLS: %v", target, address, a.status, a.pod, echo.TLS)
		}
		last = a
		return nil
	})
	return last, err
}

// answeredWithPodsOwn waits until the pod that answers has shown the certificate
// itself.
func (s *scenario) answeredWithPodsOwn(ctx context.Context, target, address, deployment string) error {
	a, err := s.answerOverTLS(ctx, target, address, deployment)
	if err != nil {
		return err
	}
	shown, err := x509.ParseCertificate(a.certificate)
	if err != nil {
		return err
	}
	if shown.Subject.CommonName != a.pod {
		return fmt.Errorf("pod %s answers, the certificate is that of %s", a.pod, shown.Subject.CommonName)
	}
	return nil
}

// nobodySpeaksTLS waits until connections are taken and no handshake succeeds.
func (s *scenario) nobodySpeaksTLS(ctx context.Context, address string, port int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, fmt.Sprintf("https://nobody.example:%d/", port))
		var record tls.RecordHeaderError
		switch {
		case err == nil:
			return fmt.Errorf("%s port %d answers over TLS with status %d", address, port, a.status)
		case !errors.As(err, &record):
			return fmt.Errorf("%s port %d: %w", address, port, err)
		}
		return nil
	})
}
