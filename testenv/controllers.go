package testenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/internal/outside"
)

// Party is whom a controller asks.
type Party string

// The parties.
const (
	Kubernetes     Party = "Kubernetes"
	TrafficManager Party = "traffic manager"
	CertAuthority  Party = "certificate authority"
)

// Request is one that a controller is about to send.
type Request struct {
	To           Party
	Method, Path string
	Body         []byte
}

// running is a controller that was started.
type running struct {
	system *system
	cancel context.CancelFunc
	done   chan struct{}
	status *controller.Status
	actor  string
	links  *links      // nil: Surroundings.Cut
	dead   atomic.Bool // it was killed
}

// trap kills the first controller that is about to send a request which matches.
type trap struct {
	matches func(Request) bool
	sprung  atomic.Bool
	killed  chan struct{} // closed when it is dead
}

func (s *system) StartController(ctx context.Context) error { return s.StartControllers(ctx, 1) }

func (s *system) StartControllers(ctx context.Context, n int) error {
	if len(s.controllers) > 0 {
		return errors.New("the controller runs already")
	}
	members := s.sandbox.RESTEndpoints()
	for i := range n {
		member := ""
		if n > 1 {
			member = members[i%len(members)]
		}
		if err := s.launch(ctx, string(rune('a'+i)), member); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) StartInstance(ctx context.Context, name, trafficManager string) error {
	at := slices.Index(s.TrafficManagers(), trafficManager)
	if at < 0 {
		return fmt.Errorf("there is no traffic manager %s", trafficManager)
	}
	return s.launch(ctx, name, s.sandbox.RESTEndpoints()[at])
}

// launch starts a controller, whose own traffic manager has that REST URL; "" is the
// first.
func (s *system) launch(ctx context.Context, name, member string) error {
	if s.controllers[name] != nil {
		return fmt.Errorf("controller %s runs already", name)
	}
	files := map[string][]byte{"rubbish.pem": []byte("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")}
	if s.sandbox.Certificates != nil {
		files[authorityFile] = s.sandbox.Certificates.TrustPEM()
	}
	sources := MemorySettings(func() map[string]string {
		settings := s.Settings()
		if member != "" {
			settings["vtm_member"] = member
		}
		return settings
	}, files)
	if _, err := config.Load(sources); err != nil {
		return err
	}
	s.starts[name]++
	r := &running{system: s, done: make(chan struct{}), status: &controller.Status{}, actor: fmt.Sprintf("controller/%s%d", name, s.starts[name])}
	var world outside.World = s.world
	if s.around.Cut == nil {
		r.links = newLinks(world)
		world = r.links
	}
	// The controller outlives the step that starts it, and ends with StopInstance.
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	if member != "" {
		log = log.With("instance", r.actor)
	}
	go func() {
		defer close(r.done)
		err := controller.Serve(ctx, controller.Options{
			World: mortalWorld{world, r}, Log: log,
			KubernetesConfig: s.sandbox.KubernetesConfig("vtm-ingress"),
			Actor:            r.actor, Status: r.status, LookEvery: s.around.LookEvery,
		}, sources)
		if err != nil {
			log.Error("controller ended", "error", err)
		}
	}()
	s.controllers[name] = r
	return nil
}

func (s *system) StopController() {
	names := slices.Sorted(maps.Keys(s.controllers))
	for _, name := range names {
		s.controllers[name].cancel()
	}
	for _, name := range names {
		<-s.controllers[name].done
	}
	clear(s.controllers)
	s.killed.Wait()
}

func (s *system) StopInstance(name string) {
	if r := s.controllers[name]; r != nil {
		r.cancel()
		<-r.done
		delete(s.controllers, name)
	}
}

func (s *system) KillInstance(name string) {
	r := s.controllers[name]
	if r == nil {
		return
	}
	if r.links != nil {
		r.links.kill()
	} else {
		s.around.Cut(r.actor+"/", "")
	}
	// What is left of it can reach nobody.
	r.dead.Store(true)
	r.cancel()
	s.killed.Go(func() { <-r.done })
	delete(s.controllers, name)
}

func (s *system) Cut(name, party string, cut bool) {
	r := s.controllers[name]
	if r == nil {
		return
	}
	var hosts []string
	for i, member := range s.TrafficManagers() {
		if party == "vtm" || party == member {
			u, err := url.Parse(s.sandbox.RESTEndpoints()[i])
			if err == nil {
				hosts = append(hosts, u.Hostname())
			}
		}
	}
	switch party {
	case "everything":
		hosts = []string{""}
	case "kubernetes":
		hosts = []string{s.around.Addresses.APIServer.Addr().String()}
	}
	for _, host := range hosts {
		switch {
		case r.links != nil:
			r.links.set(host, cut)
		case cut:
			s.around.Cut(r.actor+"/", host)
		default:
			s.around.Heal(r.actor+"/", host)
		}
	}
}

func (s *system) CutNode(node string, cut bool) error {
	change := s.around.Cut
	if !cut {
		change = s.around.Heal
	}
	if change == nil {
		return errors.New("this lane can't cut nodes off: give the scenario the tag @needs-fake-time")
	}
	change(node, s.around.Addresses.APIServer.Addr().String())
	return nil
}

func (s *system) TrafficManagers() []string { return s.sandbox.TrafficManagers.Names() }

func (s *system) Raised(trafficManager string) []string {
	for _, m := range s.sandbox.TrafficManagers.Info() {
		if m.Name == trafficManager {
			return m.Raised
		}
	}
	return nil
}

func (s *system) LeaseTimes() (duration, retry time.Duration) {
	return s.around.LeaseDuration, s.around.RetryPeriod
}

func (s *system) ControllerReady() bool {
	for _, r := range s.controllers {
		if !r.dead.Load() && !r.status.Ready() {
			return false
		}
	}
	return len(s.controllers) > 0
}

func (s *system) KillBefore(matches func(Request) bool) {
	s.trap.Store(&trap{matches: matches, killed: make(chan struct{})})
}

func (s *system) Killed() bool {
	t := s.trap.Load()
	if t == nil {
		return false
	}
	select {
	case <-t.killed:
		return true
	default:
		return false
	}
}

// errKilled is what a process that was killed would not live to see.
var errKilled = errors.New("killed")

// mortalWorld is the World of one controller, which may be killed: from then on
// nothing leaves it.
type mortalWorld struct {
	outside.World
	r *running
}

func (w mortalWorld) HTTPClient(actor string, tlsConfig *tls.Config) *http.Client {
	c := w.World.HTTPClient(actor, tlsConfig)
	return &http.Client{Transport: mortalTransport{c.Transport, w.r}}
}

type mortalTransport struct {
	http.RoundTripper
	r *running
}

func (m mortalTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if m.r.dead.Load() {
		return nil, errKilled
	}
	t := m.r.system.trap.Load()
	if t != nil && !t.sprung.Load() && t.matches(m.r.system.seen(request)) && t.sprung.CompareAndSwap(false, true) {
		m.r.dead.Store(true)
		m.r.cancel()
		go func() { // ends with the controller, for which StopController waits
			<-m.r.done
			close(t.killed)
		}()
		return nil, errKilled
	}
	return m.RoundTripper.RoundTrip(request)
}

// CloseIdleConnections makes http.Client's method of that name reach the transport.
func (m mortalTransport) CloseIdleConnections() {
	if c, ok := m.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// seen is a request as a trap judges it.
func (s *system) seen(r *http.Request) Request {
	is := Request{To: TrafficManager, Method: r.Method, Path: r.URL.Path}
	if r.URL.Host == s.sandbox.Kubernetes.Address() {
		is.To = Kubernetes
	} else if a := s.sandbox.Certificates; a != nil {
		if directory, err := url.Parse(a.DirectoryURL()); err == nil && directory.Host == r.URL.Host {
			is.To = CertAuthority
		}
	}
	if r.GetBody != nil {
		if body, err := r.GetBody(); err == nil {
			var b bytes.Buffer
			_, _ = io.Copy(&b, body) // from memory
			_ = body.Close()
			is.Body = b.Bytes()
		}
	}
	return is
}
