package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/testenv"
)

const (
	renewedCertificates = 500
	renewalRounds       = 2
	// certificateLife is long enough that all are issued while none is due.
	certificateLife = 4 * time.Minute
	// renewedFrom is how old a certificate of that life is at least when it is renewed
	// because the certificate authority says so.
	renewedFrom    = certificateLife / 3
	issuingMetrics = "127.13.4.1:9101"
)

// issuingAddress is shared by all Ingresses whose certificates are renewed together.
var issuingAddress = netip.MustParseAddr("10.20.254.1")

// certificatesGroup measures how certificates are issued and renewed: by Pebble, whose
// validation waits for nothing, with a controller that is a process of its own.
func certificatesGroup(ctx context.Context, report func(figure)) error {
	b, err := newIssuing(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.startController(ctx); err != nil {
		return err
	}
	if err := b.issueOne(ctx, report); err != nil {
		return err
	}
	return b.renewMany(ctx, report)
}

// issuing is a bench with a certificate authority and a controller beside it.
type issuing struct {
	*bench
	dir        string
	controller *program // nil: it does not run
	roots      *x509.CertPool
}

func newIssuing(ctx context.Context) (_ *issuing, err error) {
	b := &issuing{roots: x509.NewCertPool()}
	if b.bench, err = newBenchOf(ctx, testenv.Options{Nodes: 3, ACME: &testenv.ACMEOptions{
		Profiles: map[string]time.Duration{"default": certificateLife},
	}}, quiet); err != nil {
		return nil, err
	}
	b.roots.AppendCertsFromPEM(b.Authority().RootsPEM())
	if b.dir, err = os.MkdirTemp("", "vtm-ingress-figures-"); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *issuing) close() {
	if b.controller != nil {
		b.controller.stop()
	}
	os.RemoveAll(b.dir)
	b.bench.close()
}

func (b *issuing) startController(ctx context.Context) error {
	kubeconfig, authority, settings := filepath.Join(b.dir, "kubeconfig"), filepath.Join(b.dir, "authority.pem"), filepath.Join(b.dir, "settings.yaml")
	given := b.Settings()
	given["k8s_config_path"], given["acme_ca_file"], given["metrics_address"] = kubeconfig, authority, issuingMetrics
	// Pebble has no limits, and this is about how fast it goes.
	for _, limit := range []string{"acme_orders_per_account", "acme_orders_per_namespace", "acme_certificates_per_domain", "acme_certificates_per_hosts"} {
		given[limit] = "100000/1h"
	}
	var text strings.Builder
	for name, value := range given {
		fmt.Fprintf(&text, "%s: %q\n", name, value)
	}
	for path, content := range map[string][]byte{kubeconfig: b.Kubeconfig(), authority: b.Authority().TrustPEM(), settings: []byte(text.String())} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	var err error
	if b.controller, err = startProgram(ctx, "vtm-ingress-controller", "run", "--config="+settings); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if status, _ := ask(ctx, "/readyz"); status == http.StatusOK {
			return nil
		}
		if ctx.Err() != nil {
			return errors.New("the controller is not ready after a minute")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *issuing) stopController() error {
	err := b.controller.stop()
	b.controller = nil
	return err
}

func securedHost(n int) string { return fmt.Sprintf("secured-%d.example", n) }

// secured is the n-th Ingress whose certificate is issued, on an address.
func secured(n int, annotation string, at netip.Addr) *networkingv1.Ingress {
	i := ingress(n)
	i.Name = fmt.Sprintf("secured-%d", n)
	i.Annotations = map[string]string{annotation: at.String(), "vtm.pulsesecure.net/use-lets-encrypt": "true"}
	i.Spec.Rules[0].Host = securedHost(n)
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{securedHost(n)}, SecretName: fmt.Sprintf("secured-%d", n)}}
	return i
}

// verified asks a host over HTTPS, and returns the certificate that it shows.
func (b *issuing) verified(ctx context.Context, n int, at netip.Addr) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: b.roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.Dial(ctx, "figures", netip.AddrPortFrom(at, 443))
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+securedHost(n)+"/", nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return response.TLS.PeerCertificates[0], nil
}

// untilVerified waits until a host shows a certificate that is good for longer than
// another; nil: for any. It asks again after pause.
func (b *issuing) untilVerified(ctx context.Context, n int, at netip.Addr, than *x509.Certificate, pause time.Duration) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateLife)
	defer cancel()
	for {
		certificate, err := b.verified(ctx, n, at)
		if err == nil && (than == nil || certificate.NotAfter.After(than.NotAfter)) {
			return certificate, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("host %s has no new certificate: %w", securedHost(n), err)
		}
		time.Sleep(pause)
	}
}

func (b *issuing) make(ctx context.Context, i *networkingv1.Ingress) error {
	_, err := b.client.NetworkingV1().Ingresses("default").Create(ctx, i, metav1.CreateOptions{})
	return err
}

// issueOne measures one certificate after the other.
func (b *issuing) issueOne(ctx context.Context, report func(figure)) error {
	const few = 21
	var times []float64
	for n := 9000; n < 9000+few; n++ {
		at := address(n)
		if err := b.make(ctx, secured(n, "vtm.pulsesecure.net/ip-address", at)); err != nil {
			return err
		}
		begin := time.Now()
		if _, err := b.untilVerified(ctx, n, at, nil, 2*time.Millisecond); err != nil {
			return err
		}
		times = append(times, milliseconds(time.Since(begin)))
		if err := b.client.NetworkingV1().Ingresses("default").Delete(ctx, fmt.Sprintf("secured-%d", n), metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "from Ingress to verified HTTPS: %v to %v ms\n", slices.Min(times), slices.Max(times))
	report(atMost("issue_p50", median(times), "ms", 1000))
	return nil
}

// renewMany lets many certificates be due at once, twice, under load.
func (b *issuing) renewMany(ctx context.Context, report func(figure)) error {
	begin := time.Now()
	for n := range renewedCertificates {
		if err := b.make(ctx, secured(n, "vtm.pulsesecure.net/shared-ip-address", issuingAddress)); err != nil {
			return err
		}
	}
	var shown [renewedCertificates]*x509.Certificate
	for n := range shown {
		var err error
		if shown[n], err = b.untilVerified(ctx, n, issuingAddress, nil, 2*time.Millisecond); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "%d certificates were issued within %.1f s\n", len(shown), time.Since(begin).Seconds())
	load := b.steadily(ctx)
	defer load.end()
	var seen watched
	calm, enough := context.WithTimeout(ctx, 15*time.Second)
	var watching sync.WaitGroup
	watching.Go(func() { b.watch(calm, &seen) })
	idle, err := b.plainOnes(ctx, calm, 5000)
	enough()
	watching.Wait()
	if err != nil {
		return err
	}
	var busy []float64
	for round := range renewalRounds {
		if err := b.stopController(); err != nil {
			return err
		}
		var last time.Time
		for n := range shown {
			// What it shows by now: one may have been renewed since it was looked at.
			certificate, err := b.untilVerified(ctx, n, issuingAddress, nil, 2*time.Millisecond)
			if err != nil {
				return err
			}
			shown[n] = certificate
			if certificate.NotBefore.After(last) {
				last = certificate.NotBefore
			}
			if err := b.Authority().SuggestRenewal(certificate.SerialNumber, certificate.NotBefore, certificate.NotBefore.Add(time.Second)); err != nil {
				return err
			}
		}
		if err := pause(ctx, time.Until(last.Add(renewedFrom))); err != nil {
			return err
		}
		begin := time.Now()
		if err := b.startController(ctx); err != nil {
			return err
		}
		while, stop := context.WithCancel(ctx)
		watching.Go(func() { b.watch(while, &seen) })
		var beside float64
		var sampled error
		watching.Go(func() { beside, sampled = b.plainOnes(ctx, while, 6000+1000*round) })
		var err error
		for n, before := range shown {
			// Gently: what is measured beside it shall not wait for this.
			if shown[n], err = b.untilVerified(ctx, n, issuingAddress, before, 100*time.Millisecond); err != nil {
				break
			}
		}
		stop()
		watching.Wait()
		if err := errors.Join(err, sampled); err != nil {
			return err
		}
		busy = append(busy, beside)
		fmt.Fprintf(os.Stderr, "%d certificates that were due at once were renewed within %.1f s\n", len(shown), time.Since(begin).Seconds())
	}
	asked, failed, late := load.end()
	fmt.Fprintf(os.Stderr, "one more Ingress live: %.2f ms without orders, %v ms beside them; %d HTTPS requests on new connections\n", idle, busy, asked)
	report(atMost("renewed_after_expiry", round(max(late.Seconds(), 0), 1), "s", 0))
	report(atMost("orders_under_way", seen.orders, "orders", 20))
	report(atMost("rss_of_500_renewals", round(seen.rss, 1), "MB", 200))
	report(atMost("one_more_ingress_beside_renewals_to_idle", round(slices.Max(busy)/idle, 2), "times", 2))
	report(atMost("handshakes_failed_by_1000_renewals", float64(failed), "requests", 0))
	return nil
}

// watched is the most that was seen of a controller.
type watched struct {
	orders float64 // under way at a time
	rss    float64 // MB
}

// watch looks ten times a second, beside renewals and without them alike: to tell what
// the metrics are takes a controller time, too.
func (b *issuing) watch(while context.Context, seen *watched) {
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for {
		seen.orders = max(seen.orders, underWay(while))
		if now, err := b.controller.rssMegabytes(); err == nil {
			seen.rss = max(seen.rss, now)
		}
		select {
		case <-while.Done():
			return
		case <-pace.C:
		}
	}
}

// plainOnes is the median, in ms, of the time until one more Ingress without TLS is
// live, of one about every 300 ms until while ends. None is left after.
func (b *issuing) plainOnes(ctx, while context.Context, first int) (float64, error) {
	var times []float64
	for n := first; while.Err() == nil; n++ {
		if err := b.create(ctx, n); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := b.untilServed(ctx, n); err != nil {
			return 0, err
		}
		times = append(times, milliseconds(time.Since(begin)))
		if err := b.client.NetworkingV1().Ingresses("default").Delete(ctx, ingress(n).Name, metav1.DeleteOptions{}); err != nil {
			return 0, err
		}
		time.Sleep(200*time.Millisecond + rand.N(200*time.Millisecond))
	}
	if len(times) == 0 {
		return 0, errors.New("there was no time to measure anything")
	}
	slices.Sort(times)
	fmt.Fprintf(os.Stderr, "one more Ingress live: min %.1f, median %.1f, nine of ten below %.1f, max %.1f ms, of %d\n",
		times[0], median(times), times[len(times)*9/10], times[len(times)-1], len(times))
	return median(times), nil
}

// underWay is what the controller says of its orders; 0 if it can't be asked.
func underWay(ctx context.Context) float64 {
	_, text := ask(ctx, "/metrics")
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(line, "vtm_ingress_certificate_orders_under_way "); is {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return n
		}
	}
	return 0
}

// ask asks the controller that issues; status is 0 if it does not answer.
func ask(ctx context.Context, path string) (status int, text string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+issuingMetrics+path, nil)
	if err != nil {
		return 0, ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(all)
}

// handshakes are steady HTTPS requests, each on a connection of its own.
type handshakes struct {
	stop          context.CancelFunc
	clients       sync.WaitGroup
	asked, failed atomic.Int64

	mu   sync.Mutex
	late time.Duration // the most by which a certificate was issued after the end of the one before
}

// steadily asks all hosts in turn, 100 times a second.
func (b *issuing) steadily(ctx context.Context) *handshakes {
	ctx, stop := context.WithCancel(ctx)
	h := &handshakes{stop: stop}
	const clients = 4
	for c := range clients {
		h.clients.Go(func() {
			pace := time.NewTicker(clients * 10 * time.Millisecond)
			defer pace.Stop()
			var last [renewedCertificates]*x509.Certificate
			for n := c; ; n = (n + clients) % renewedCertificates {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				certificate, err := b.verified(context.WithoutCancel(ctx), n, issuingAddress)
				h.asked.Add(1)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s: %v\n", securedHost(n), err)
					h.failed.Add(1)
					continue
				}
				if before := last[n]; before != nil {
					h.mu.Lock()
					h.late = max(h.late, certificate.NotBefore.Sub(before.NotAfter))
					h.mu.Unlock()
				}
				last[n] = certificate
			}
		})
	}
	return h
}

// end may be called more than once.
func (h *handshakes) end() (asked, failed int64, late time.Duration) {
	h.stop()
	h.clients.Wait()
	return h.asked.Load(), h.failed.Load(), h.late
}
