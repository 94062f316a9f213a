package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"vtm-ingress/controller/config"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// Where the parts of the group controller are: blocks beside those of a sandbox.
const (
	benchFleet   = "127.13.1.1"
	benchMetrics = "127.13.4.1:9100"
	plainPort    = 8080 // needs no right of its own
	tlsPort      = 8443
)

// setup is a system whose parts are processes of their own: Kubernetes, three
// traffic managers, and the controller.
type setup struct {
	dir        string
	world      outside.World
	kubernetes *program
	client     *kubeclient.Client
	fleet      *fleet
	late       bool              // the traffic managers replicate as real ones do
	controller *program          // nil: it does not run
	settings   map[string]string // besides those that every run has
}

// newSetup starts Kubernetes and the traffic managers, and makes the IngressClass
// and one pod.
func newSetup(ctx context.Context, late bool) (_ *setup, err error) {
	s := &setup{world: outside.Real(), late: late, settings: map[string]string{"resync-period": "10m", "debug-address": "127.13.4.1:6060"}}
	if s.dir, err = os.MkdirTemp("", "vtm-ingress-figures-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.WriteFile(s.file("password"), []byte("vtm-sim\n"), 0o600); err != nil {
		return nil, err
	}
	var table strings.Builder
	for n := range 256 * 256 {
		fmt.Fprintf(&table, "10.20.%[1]d.%[2]d 127.14.%[1]d.%[2]d\n", n/256, n%256)
	}
	if err := os.WriteFile(s.file("addresses"), []byte(table.String()), 0o600); err != nil {
		return nil, err
	}
	if s.kubernetes, err = startProgram(ctx, "figures", "kubernetes", "--dir="+s.dir); err != nil {
		return nil, err
	}
	if err := s.kubernetes.says("ready"); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.file("kubeconfig"))
	if err != nil {
		return nil, err
	}
	if s.client, err = kubeclient.New(s.world, "figures", config); err != nil {
		return nil, err
	}
	if err := s.startFleet(ctx); err != nil {
		return nil, err
	}
	return s, s.pod(ctx)
}

func (s *setup) file(name string) string { return filepath.Join(s.dir, name) }

// startFleet starts traffic managers that hold nothing yet.
func (s *setup) startFleet(ctx context.Context) (err error) {
	args := []string{"--strict", "--address-map=" + s.file("addresses")}
	if s.late {
		args = append(args, "--replicate-late")
	}
	if s.fleet, err = startFleetAt(ctx, benchFleet, args...); err != nil {
		return err
	}
	// Three members that each try thousands of pools every three seconds would leave
	// nothing of this machine for what is measured.
	if err := s.fleet.clients[0].put(ctx, s.fleet.members[0], "monitors/Connect", `{"properties":{"basic":{"delay":999990}}}`); err != nil {
		return err
	}
	// Nor kept connections to thousands of pods of its file descriptors.
	return s.fleet.clients[0].put(ctx, s.fleet.members[0], "global_settings", `{"properties":{"connection":{"idle_timeout":1}}}`)
}

// emptyFleet lets the traffic managers forget all.
func (s *setup) emptyFleet(ctx context.Context) error {
	if err := s.fleet.stop(); err != nil {
		return fmt.Errorf("vtm-sim: %w", err)
	}
	return s.startFleet(ctx)
}

func (s *setup) close() {
	if s.controller != nil {
		s.controller.stop()
	}
	if s.fleet != nil {
		s.fleet.stop()
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.kubernetes != nil {
		s.kubernetes.stop()
	}
	os.RemoveAll(s.dir)
}

// flags are the controller's settings.
func (s *setup) flags() []string {
	var endpoints []string
	for _, m := range s.fleet.members {
		endpoints = append(endpoints, "https://"+m)
	}
	flags := []string{
		"--k8s-config-path=" + s.file("kubeconfig"), "--vtm-endpoints=" + strings.Join(endpoints, ","),
		"--vtm-password-file=" + s.file("password"), "--vtm-verify-ssl-cert=false", "--metrics-address=" + benchMetrics,
	}
	for name, value := range s.settings {
		flags = append(flags, "--"+name+"="+value)
	}
	return flags
}

// loaded are the same settings, for what looks as the controller does.
func (s *setup) loaded() (*config.Settings, error) {
	given := map[string]string{}
	for _, flag := range s.flags() {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		given[strings.ReplaceAll(name, "-", "_")] = value
	}
	return config.Load(config.Sources{Flags: given})
}

// startController starts the controller and returns when it is ready.
func (s *setup) startController(ctx context.Context) (err error) {
	if s.controller, err = startProgram(ctx, "vtm-ingress-controller", append([]string{"run"}, s.flags()...)...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		status, _, err := s.ask(ctx, "/readyz")
		switch {
		case status == http.StatusOK:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("the controller is not ready: %w", err)
		}
		select {
		case <-s.controller.ended:
			return fmt.Errorf("the controller ended: %w", s.controller.err)
		case <-time.After(50 * time.Millisecond): // asking takes work of what is measured: each 10 ms, a tenth of a core
		}
	}
}

func (s *setup) stopController() error {
	err := s.controller.stop()
	s.controller = nil
	return err
}

func (s *setup) ask(ctx context.Context, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+benchMetrics+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// writes is how many changes the controller has sent since its start.
func (s *setup) writes(ctx context.Context) (int, error) {
	_, text, err := s.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "vtm_ingress_rest_requests_total{") || strings.Contains(line, `method="GET"`) {
			continue
		}
		fields := strings.Fields(line)
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
		total += n
	}
	return total, nil
}

// quiet waits until the controller has neither written nor worked for a second.
// Answering the question is work, too, with thousands of certificates: so it is
// asked rarely, and a tenth of a processor is nothing.
func (s *setup) quiet(ctx context.Context) error {
	last, busy, since := -1, 0.0, time.Now()
	for {
		n, err := s.writes(ctx)
		if err != nil {
			return err
		}
		cpu, err := s.controller.cpuSeconds()
		if err != nil {
			return err
		}
		switch {
		case n != last || cpu-busy > 0.1:
			last, busy, since = n, cpu, time.Now()
		case time.Since(since) > time.Second:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(350 * time.Millisecond):
		}
	}
}

// visitor asks the data plane. It keeps connections: the traffic manager hosts
// one address for thousands of Ingresses.
type visitor struct{ http *http.Client }

// newVisitor makes one that takes whatever certificate it is shown.
func newVisitor() *visitor {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &visitor{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 16, MaxIdleConns: 16,
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, strings.Replace(at, "10.20.", "127.14.", 1))
		},
	}}}
}

// served reports whether a pod answers at address for host.
func (v *visitor) served(ctx context.Context, at netip.AddrPort, host string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/", nil)
	if err != nil {
		return false
	}
	request.Host = host
	answer, err := v.http.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// servedTLS reports whether a pod answers behind the certificate of host.
func (v *visitor) servedTLS(ctx context.Context, at netip.AddrPort, host string) bool {
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	c, err := dialer.DialContext(ctx, "tcp", strings.Replace(at.String(), "10.20.", "127.14.", 1))
	if err != nil {
		return false
	}
	defer c.Close()
	if c.(*tls.Conn).ConnectionState().PeerCertificates[0].VerifyHostname(host) != nil {
		return false
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return false
	}
	answer := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(c, answer)
	return err == nil && string(answer) == "HTTP/1.1 200"
}

var errNotServed = errors.New("not so after three minutes")

// until asks again and again, and returns how long it took.
func until(ctx context.Context, served func(context.Context) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	begin := time.Now()
	for !served(ctx) {
		select {
		case <-ctx.Done():
			return 0, errNotServed
		case <-time.After(time.Millisecond):
		}
	}
	return time.Since(begin), nil
}

// each calls do for from..to-1, eight at a time, until one fails.
func each(ctx context.Context, from, to int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var working sync.WaitGroup
	for i := range 8 {
		working.Go(func() {
			for n := from + i; n < to && ctx.Err() == nil; n += 8 {
				if err := do(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	working.Wait()
	return context.Cause(ctx)
}

func percentile(times []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
