package testenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/sandbox"
	"vtm-ingress/sim/vtm"
)

// Surroundings are what a lane gives to a system.
type Surroundings struct {
	World     outside.World
	Addresses sandbox.Addresses
	Simulated bool
	// PollEvery and GiveUpAfter are those of Eventually.
	PollEvery, GiveUpAfter time.Duration
	// Settings that differ from the defaults in this lane.
	Settings map[string]string
	// Cut breaks the link between the actors whose name begins with actor and host ("" is
	// every host), Heal mends it; nil: controllers get connections that can be broken.
	Cut, Heal func(actor, host string)
	// LeaseDuration and RetryPeriod are the controllers', as Settings or the defaults say.
	LeaseDuration, RetryPeriod time.Duration
	// LookEvery is how often controllers look at their settings again; 0: as in production.
	LookEvery time.Duration
	// Release is called at the end of Close; may be nil.
	Release func()
}

// system is the Env of lanes that run everything in this process.
type system struct {
	around  Surroundings
	sandbox *sandbox.Sandbox
	rest    *http.Client
	log     Log

	mu       sync.Mutex // guards settings: a controller that runs looks at them
	settings map[string]string

	world leapingWorld // of controllers, certificate authority and scenario

	controllers map[string]*running // those that run, by name
	starts      map[string]int
	killed      sync.WaitGroup // controllers that were killed and have not ended yet
	besides     besides
	trap        atomic.Pointer[trap]
}

// StartSystem brings up Kubernetes and traffic managers in this process.
func StartSystem(ctx context.Context, around Surroundings, o Options) (Env, error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.TrafficManagers == 0 {
		o.TrafficManagers = 1
	}
	s := &system{around: around, settings: map[string]string{}, controllers: map[string]*running{}, starts: map[string]int{}, world: leapingWorld{around.World, newLeapingClock(around.World.Clock())}}
	if o.ACME != nil {
		authority := *o.ACME
		authority.World = s.world
		o.ACME = &authority
	}
	box, err := sandbox.Start(ctx, sandbox.Options{
		World: around.World, Log: slog.New(slog.DiscardHandler), Addresses: around.Addresses,
		KubernetesVersion: o.KubernetesVersion, Nodes: o.Nodes, IPv6: o.IPv6, DualStack: o.DualStack,
		TrafficManagers: o.TrafficManagers, ReplicateLate: o.ReplicateLate,
		Strict: !o.Lenient, Simulated: around.Simulated, ACME: o.ACME,
	})
	if err != nil {
		if around.Release != nil {
			around.Release()
		}
		return nil, err
	}
	s.sandbox = box
	// The emulator's certificate is made anew each time and seen by nobody else.
	s.rest = around.World.HTTPClient("somebody", &tls.Config{InsecureSkipVerify: true})
	defaults := map[string]string{
		"enable_ingctrl":      "true",
		"vtm_endpoints":       strings.Join(box.RESTEndpoints(), ","),
		"vtm_username":        sandbox.ControllerUser,
		"vtm_password":        sandbox.Password,
		"vtm_verify_ssl_cert": "false",
		"vtm_verbose":         "true",
		"resync_period":       "1s",
		// Scenarios look at what there is for their Ingresses.
		"event_log_relay": "false",
	}
	if box.Certificates != nil {
		defaults["acme_directory"] = box.Certificates.DirectoryURL()
		defaults["acme_ca_file"] = authorityFile
		defaults["acme_terms_agreed"] = "true"
	}
	for _, settings := range []map[string]string{defaults, around.Settings} {
		for name, value := range settings {
			s.settings[name] = value
		}
	}
	return s, nil
}

func (s *system) KubernetesConfig() *rest.Config { return s.sandbox.KubernetesConfig("scenario") }

func (s *system) Kubeconfig() []byte { return s.sandbox.Kubernetes.Kubeconfig() }

func (s *system) World() outside.World { return s.world }

func (s *system) Leap(d time.Duration) { s.world.clock.leap(d) }

func (s *system) Dial(ctx context.Context, actor string, address netip.AddrPort) (net.Conn, error) {
	return s.sandbox.Dial(ctx, actor, address)
}

func (s *system) REST(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	return s.RESTOf(ctx, s.TrafficManagers()[0], method, path, body)
}

func (s *system) RESTOf(ctx context.Context, trafficManager, method, path string, body []byte) (int, []byte, error) {
	at := slices.Index(s.TrafficManagers(), trafficManager)
	if at < 0 {
		return 0, nil, fmt.Errorf("there is no traffic manager %s", trafficManager)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var reader io.Reader
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	url := s.sandbox.RESTEndpoints()[at] + "/api/tm/8.3/config/active/" + path
	request, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return 0, nil, err
	}
	request.SetBasicAuth(sandbox.AdminUser, sandbox.Password)
	if json.Valid(body) {
		request.Header.Set("Content-Type", "application/json")
	} else {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	response, err := s.rest.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

func (s *system) Writes() []Write {
	var list []Write
	for _, w := range s.sandbox.TrafficManagers.Writes() {
		if w.User == sandbox.ControllerUser {
			list = append(list, Write{Method: w.Method, Path: w.Path, Agent: w.Agent, Member: w.Member})
		}
	}
	return list
}

func (s *system) Fault(f Fault) {
	fault := map[Fault]vtm.Fault{
		Healthy:      {},
		Away:         {Down: true},
		Unauthorized: {WrongPassword: true},
		Garbage:      {Garbage: true},
	}[f]
	for _, name := range s.sandbox.TrafficManagers.Names() {
		if tm := s.sandbox.TrafficManagers.Member(name); tm != nil {
			tm.SetFault(fault)
		}
	}
}

func (s *system) Faults(text string) error {
	rules, err := vtm.ParseFaults(text)
	if err != nil {
		return err
	}
	return s.sandbox.TrafficManagers.SetFaults(rules)
}

func (s *system) KubernetesFaults(text string) error {
	rules, err := kube.ParseFaults(text)
	if err != nil {
		return err
	}
	s.sandbox.Kubernetes.SetFaults(rules...)
	return nil
}

func (s *system) Refuse(refusals ...Forbidden) {
	for i := range refusals {
		refusals[i].User = "vtm-ingress"
	}
	s.sandbox.Kubernetes.Refuse(refusals...)
}

func (s *system) Authority() *sandbox.Authority { return s.sandbox.Certificates }

func (s *system) Set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings[name] = value
}

func (s *system) Settings() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.settings)
}

// authorityFile is where a controller finds what the certificate authority's
// directory is verified by.
const authorityFile = "authority.pem"

func (s *system) Join() error {
	_, err := s.sandbox.TrafficManagers.Join()
	return err
}

func (s *system) Leave(trafficManager string) error {
	return s.sandbox.TrafficManagers.Leave(trafficManager)
}

func (s *system) EventLog() []string {
	var lines []string
	for _, m := range s.sandbox.TrafficManagers.Info() {
		for _, e := range s.sandbox.TrafficManagers.Member(m.Name).EventLog() {
			lines = append(lines, e.String())
		}
	}
	return lines
}

func (s *system) ControllerLog() string { return s.log.String() }

func (s *system) Eventually(ctx context.Context, check func(context.Context) error) error {
	clock := s.around.World.Clock()
	deadline := clock.Now().Add(s.around.GiveUpAfter)
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if clock.Now().After(deadline) {
			return fmt.Errorf("still after %s: %w", s.around.GiveUpAfter, err)
		}
		select {
		case <-ctx.Done():
			return err
		case failure := <-s.sandbox.Failed():
			return fmt.Errorf("a part of the sandbox ended: %w", failure)
		case <-clock.After(s.around.PollEvery):
		}
	}
}

func (s *system) Close() {
	s.StopController()
	s.besides.close()
	s.rest.CloseIdleConnections()
	s.sandbox.Close()
	if s.around.Release != nil {
		s.around.Release()
	}
}
