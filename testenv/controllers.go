package testenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"

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
	files := map[string][]byte{}
	if s.sandbox.Certificates != nil {
		files[authorityFile] = s.sandbox.Certificates.TrustPEM()
	}
	members := s.sandbox.RESTEndpoints()
	var all []config.Sources
	for i := range n {
		settings := s.Settings
		if n > 1 {
			settings = func() map[string]string {
				own := s.Settings()
				own["vtm_member"] = members[i%len(members)]
				return own
			}
		}
		sources := MemorySettings(settings, files)
		if _, err := config.Load(sources); err != nil {
			return err
		}
		all = append(all, sources)
	}
	for i, sources := range all {
		s.starts++
		actor := fmt.Sprintf("controller/%c%d", 'a'+i, s.starts)
		// The controller outlives the step that starts it, and ends with StopController.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{system: s, cancel: cancel, done: make(chan struct{}), status: &controller.Status{}}
		log := slog.New(slog.NewTextHandler(&s.log, nil))
		if n > 1 {
			log = log.With("instance", actor)
		}
		go func() {
			defer close(r.done)
			err := controller.Serve(ctx, controller.Options{
				World: mortalWorld{s.world, r}, Log: log,
				KubernetesConfig: s.sandbox.KubernetesConfig("vtm-ingress"),
				Actor:            actor, Status: r.status,
			}, sources)
			if err != nil {
				log.Error("controller ended", "error", err)
			}
		}()
		s.controllers = append(s.controllers, r)
	}
	return nil
}

func (s *system) StopController() {
	for _, r := range s.controllers {
		r.cancel()
	}
	for _, r := range s.controllers {
		<-r.done
	}
	s.controllers = nil
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
