package scenarios

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cucumber/godog"
)

// answer is what a client saw.
type answer struct {
	status   int
	pod      string // the pod that answered, if it was one
	location string // where to it redirects
	body     string
	cookies  []*http.Cookie // that it sets
	header   http.Header
	// certificate that the server showed, DER; nil in the clear.
	certificate []byte
	chain       []*x509.Certificate // certificate first
}

// get requests a URL from the traffic manager that serves address, whatever the
// URL's host resolves to elsewhere. Each request is a connection of its own.
func (s *scenario) get(ctx context.Context, actor, address, target string) (answer, error) {
	return s.request(ctx, actor, address, http.MethodGet, target, nil)
}

// request is get with another method, and cookies to send.
func (s *scenario) request(ctx context.Context, actor, address, method, target string, cookies []*http.Cookie) (answer, error) {
	at, err := netip.ParseAddr(address)
	if err != nil {
		return answer{}, err
	}
	u, err := url.Parse(target)
	if err != nil {
		return answer{}, err
	}
	port := 80
	switch {
	case u.Port() != "":
		port, _ = strconv.Atoi(u.Port())
	case u.Scheme == "https":
		port = 443
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		// Which certificate it is, is compared where a scenario asks for it.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Time: s.env.World().Clock().Now},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.env.Dial(ctx, actor, netip.AddrPortFrom(at, uint16(port)))
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return answer{}, err
	}
	for _, c := range cookies {
		request.AddCookie(c)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, location: response.Header.Get("Location"), body: string(body), cookies: response.Cookies(), header: response.Header}
	if response.TLS != nil {
		a.chain = response.TLS.PeerCertificates
		a.certificate = a.chain[0].Raw
	}
	var echo struct {
		Pod string `json:"pod"`
	}
	if json.Unmarshal(body, &echo) == nil {
		a.pod = echo.Pod
	}
	return a, nil
}

// ask is get with an actor of its own.
func (s *scenario) ask(ctx context.Context, address, target string) (answer, error) {
	s.requests++
	return s.get(ctx, fmt.Sprint("client/", s.requests), address, target)
}

func (s *scenario) answeredByPod(ctx context.Context, target, address, deployment string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || !strings.HasPrefix(a.pod, deployment+"-") {
			return fmt.Errorf("%s at %s is answered with status %d by pod %q: %.200s", target, address, a.status, a.pod, a.body)
		}
		return nil
	})
}

// answeredAtOnce asks once.
func (s *scenario) answeredAtOnce(ctx context.Context, target, address string) error {
	a, err := s.ask(ctx, address, target)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s at %s is answered with status %d: %.200s", target, address, a.status, a.body)
	}
	return err
}

func (s *scenario) answeredWithStatus(ctx context.Context, target, address string, status int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if a.status != status {
			return fmt.Errorf("%s at %s is answered with status %d by pod %q: %.200s", target, address, a.status, a.pod, a.body)
		}
		return nil
	})
}

func (s *scenario) answeredWithText(ctx context.Context, target, address, how, text string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || strings.Contains(a.body, text) != (how == "holds") {
			return fmt.Errorf("%s at %s is answered with status %d: %.2000s", target, address, a.status, a.body)
		}
		return nil
	})
}

func (s *scenario) answeredWithHeader(ctx context.Context, target, address, key, value string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || a.header.Get(key) != value {
			return fmt.Errorf("%s at %s is answered with status %d, header %q", target, address, a.status, a.header)
		}
		return nil
	})
}

func (s *scenario) redirectedTo(ctx context.Context, target, address, location string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if a.status < 301 || a.status > 308 || a.location != location {
			return fmt.Errorf("%s at %s is answered with status %d, Location %q: %.200s", target, address, a.status, a.location, a.body)
		}
		return nil
	})
}

func (s *scenario) answeredByDifferentPods(ctx context.Context, target, address string, pods int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		seen := map[string]bool{}
		for range 4 * pods {
			a, err := s.ask(ctx, address, target)
			if err != nil {
				return err
			}
			if a.status != http.StatusOK {
				return fmt.Errorf("%s at %s is answered with status %d", target, address, a.status)
			}
			seen[a.pod] = true
		}
		if len(seen) != pods {
			return fmt.Errorf("%d pods answer: %v", len(seen), seen)
		}
		return nil
	})
}

func (s *scenario) theseAreAnswered(ctx context.Context, address string, table *godog.Table) error {
	for _, row := range table.Rows[1:] {
		if err := s.answeredByPod(ctx, row.Cells[0].Value, address, row.Cells[1].Value); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) nobodyListens(ctx context.Context, address string, port int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		_, err := s.ask(ctx, address, fmt.Sprintf("http://nobody.example:%d/", port))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		return fmt.Errorf("a connection to %s port %d is not refused: %v", address, port, err)
	})
}

const (
	// loadPause is between two steady requests of a client.
	loadPause = 20 * time.Millisecond
	// Around writes, clients look each loadTick whether one was made, ask loadBurst
	// times after each, and at least once in loadIdle.
	loadTick  = 10 * time.Millisecond
	loadBurst = 10
	loadIdle  = time.Second
)

// failed is a steady request that failed.
type failed struct {
	address, text string
	at            time.Time // when it began
	answered      bool      // wrongly
}

// load are clients that go on asking, two for each URL.
type load struct {
	running context.Context // until cancel
	cancel  context.CancelFunc
	clients int
	done    sync.WaitGroup

	mu      sync.Mutex
	total   int
	failed  []failed // all
	written int      // writes seen by who looks for them
	looking bool     // somebody does
	// verified are the serial numbers that each client that verifies saw, one after the
	// other.
	verified [][]string
}

func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

func (s *scenario) steadyRequests(ctx context.Context, target, address string) error {
	return s.loadOn(ctx, target, address, s.loadPause, succeeded)
}

// steadyRedirects is for URLs that redirect.
func (s *scenario) steadyRedirects(ctx context.Context, target, address string) error {
	return s.loadOn(ctx, target, address, s.loadPause, func(a answer, _ int) error {
		if a.status < 301 || a.status > 308 {
			return fmt.Errorf("status %d", a.status)
		}
		return nil
	})
}

func succeeded(a answer, _ int) error {
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d", a.status)
	}
	return nil
}

func (s *scenario) loadPause(ctx context.Context, actor string) {
	select {
	case <-ctx.Done():
	case <-s.env.World().Clock().After(loadPause + s.env.World().Jitter(actor, 0, time.Millisecond)):
	}
}

// requestsAroundWrites asks as often as steadyRequests while the controller writes, and
// now and then while it does not: what is served can't change then, as long as Pods and
// nodes stay as they are.
func (s *scenario) requestsAroundWrites(ctx context.Context, target, address string) error {
	clock := s.env.World().Clock()
	burst, seen := map[string]int{}, map[string]int{} // by client
	var mu sync.Mutex
	err := s.loadOn(ctx, target, address, func(ctx context.Context, actor string) {
		client, _, _ := strings.Cut(strings.TrimPrefix(actor, "load/"), "/")
		idle := clock.Now().Add(loadIdle)
		for n := uint64(0); ctx.Err() == nil; n++ {
			select {
			case <-ctx.Done():
				return
			case <-clock.After(loadTick + s.env.World().Jitter(actor, n, time.Millisecond)):
			}
			s.load.mu.Lock()
			written := s.load.written
			s.load.mu.Unlock()
			mu.Lock()
			if seen[client] != written {
				seen[client], burst[client] = written, loadBurst
			}
			ask := burst[client] > 0
			burst[client]--
			mu.Unlock()
			if ask || clock.Now().After(idle) {
				return
			}
		}
	}, succeeded)
	if err != nil || s.load.looking {
		return err
	}
	s.load.looking = true
	s.load.done.Go(func() {
		for n := uint64(0); s.load.running.Err() == nil; n++ {
			written := len(s.env.Writes())
			s.load.mu.Lock()
			s.load.written = written
			s.load.mu.Unlock()
			select {
			case <-s.load.running.Done():
			case <-clock.After(loadTick + s.env.World().Jitter("load/writes", n, time.Millisecond)):
			}
		}
	})
	return nil
}

// loadOn lets two clients ask; pause is called between two requests of one, with the
// actor of the former. check judges an answer of client 0 or 1; it is called by one of
// all clients at a time.
func (s *scenario) loadOn(ctx context.Context, target, address string, pause func(ctx context.Context, actor string), check func(a answer, client int) error) error {
	if s.load == nil {
		running, cancel := context.WithCancel(ctx)
		s.load = &load{running: running, cancel: cancel}
	}
	ctx = s.load.running
	for i := range 2 {
		s.load.clients++
		client := s.load.clients
		s.load.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				actor := fmt.Sprintf("load/%d/%d", client, n)
				began := s.env.World().Clock().Now()
				a, err := s.get(ctx, actor, address, target)
				if ctx.Err() != nil {
					return
				}
				s.load.mu.Lock()
				s.load.total++
				answered := err == nil
				if answered {
					err = check(a, i)
				}
				if err != nil {
					s.load.failed = append(s.load.failed, failed{address, fmt.Sprintf("request %d to %s: %v", n, target, err), began, answered})
				}
				s.load.mu.Unlock()
				pause(ctx, actor)
			}
		})
	}
	return nil
}

// noRequestHasFailed ends the steady requests once there were enough to tell.
func (s *scenario) noRequestHasFailed(ctx context.Context) error {
	return s.noneFailed(ctx, func(failed) bool { return true })
}

// answeredWell lets requests fail that nobody took.
func (s *scenario) answeredWell(ctx context.Context) error {
	return s.noneFailed(ctx, func(f failed) bool { return f.answered })
}

// noneFailed ends the steady requests once there were enough to tell; of those that
// failed the ones count for which counts holds.
func (s *scenario) noneFailed(ctx context.Context, counts func(failed) bool) error {
	err := s.env.Eventually(ctx, func(context.Context) error {
		s.load.mu.Lock()
		defer s.load.mu.Unlock()
		if s.load.total < 20 {
			return fmt.Errorf("only %d requests were made", s.load.total)
		}
		return nil
	})
	s.load.stop()
	if err != nil {
		return err
	}
	var texts []string
	for _, f := range s.load.failed {
		if counts(f) {
			texts = append(texts, f.text)
		}
	}
	if n := len(texts); n > 0 {
		return fmt.Errorf("of %d requests %d failed: %s", s.load.total, n, strings.Join(texts[:min(n, 10)], "; "))
	}
	return nil
}
