package simulation

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
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/sandbox"
	"vtm-ingress/testenv"
	"vtm-ingress/testenv/bubble"
)

// controllerUser is who the controllers are for Kubernetes.
const controllerUser = "vtm-ingress"

// Where the Lease is, as the settings' defaults have it.
const leasePath = "/apis/coordination.k8s.io/v1/namespaces/default/leases/vtm-ingress-k8s"

// system is everything that runs.
type system struct {
	run     *run
	network *network.Network
	box     *sandbox.Sandbox
	users   *kubeclient.Client // what users do
	log     testenv.Log

	controllers []*instance

	mu       sync.Mutex // guards all below
	settings map[string]string
	lease    *coordinationv1.Lease
	away     bool // the API server is: the Lease is as it was
	// renewals are when a renewal of the Lease was sent, by the time that it bears, which
	// may be older: others count from when they see it.
	renewals map[time.Time]time.Time
}

// instance is one controller: it may be killed and started again.
type instance struct {
	name   string // "a", "b" and so on
	member string // URL of its own traffic manager
	starts int
	actor  string // of the start that runs
	cancel context.CancelFunc
	done   chan struct{} // nil: it does not run
	status *controller.Status
	// metrics are those of the start that runs, or ran last.
	metrics *prometheus.Registry
	// skew is how far its clock is off.
	skew time.Duration
	// thawed is closed when it goes on; nil: it does not stand still.
	thawed chan struct{}
}

// start brings everything up: how much of it there is, the seed says.
func (r *run) start(ctx context.Context) error {
	members := 1 + r.below(5, "members", 0)
	controllers := 1 + r.below(5, "controllers", 0)
	if r.Only != "" { // another one is there to take over
		members, controllers = max(members, 3), max(controllers, 3)
	}
	nodes := 2 + r.below(2, "nodes", 0)
	s := &system{run: r, network: network.New(network.Options{Seed: r.Seed, Trace: r.Trace})}
	r.system = s
	late := r.below(2, "replicate-late", 0) == 1
	var err error
	s.box, err = sandbox.Start(ctx, sandbox.Options{
		World: s.network.World(), Log: slog.New(slog.DiscardHandler), Addresses: sandbox.DefaultAddresses(),
		Nodes: nodes, TrafficManagers: members, ReplicateLate: late, Strict: true, Simulated: true, ACME: &sandbox.ACMEOptions{},
	})
	if err != nil {
		return err
	}
	if s.users, err = kubeclient.New(s.network.World(), "users", s.box.KubernetesConfig("users")); err != nil {
		return err
	}
	s.settings = map[string]string{
		"enable_ingctrl": "true", "vtm_endpoints": strings.Join(s.box.RESTEndpoints(), ","),
		"vtm_username": sandbox.ControllerUser, "vtm_password": sandbox.Password, "vtm_verify_ssl_cert": "false",
		"vtm_verbose": "true", "event_log_relay": "false", "resync_period": "1m",
		"acme_directory": s.box.Certificates.DirectoryURL(), "acme_ca_file": authorityFile, "acme_terms_agreed": "true",
	}
	maps.Copy(s.settings, bubble.Settings())
	r.note("%d traffic managers (replication late: %v), %d controllers, %d nodes", members, late, controllers, nodes)
	for n := range controllers {
		c := &instance{name: string(rune('a' + n)), member: s.box.RESTEndpoints()[n%members]}
		if r.below(2, "skewed", n) == 1 {
			c.skew = r.between(-time.Minute, time.Minute, "skew", n)
			r.note("the clock of controller %s is off by %s", c.name, c.skew.Round(time.Millisecond))
		}
		s.controllers = append(s.controllers, c)
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	for _, c := range s.controllers {
		s.launch(c)
	}
	return nil
}

// launch starts a controller that does not run.
func (s *system) launch(c *instance) {
	c.starts++
	c.actor = fmt.Sprintf("controller/%s%d", c.name, c.starts)
	c.status, c.metrics = &controller.Status{}, prometheus.NewRegistry()
	member := c.member
	sources := s.sources(func(settings map[string]string) { settings["vtm_member"] = member })
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	done, status, metrics, actor := c.done, c.status, c.metrics, c.actor
	log := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelInfo})).With("instance", actor)
	go func() {
		defer close(done)
		err := controller.Serve(ctx, controller.Options{
			World: watchedWorld{s.network.World(), s, c}, Log: log,
			KubernetesConfig: s.box.KubernetesConfig(controllerUser), Actor: actor, Status: status, Metrics: metrics,
		}, sources)
		if err != nil {
			log.Error("controller ended", "error", err)
		}
	}()
}

// authorityFile is what verifies the certificate authority's directory.
const authorityFile = "authority.pem"

// sources are the settings as they are whenever they are read, with a change.
func (s *system) sources(change func(map[string]string)) config.Sources {
	return testenv.MemorySettings(func() map[string]string {
		s.mu.Lock()
		defer s.mu.Unlock()
		settings := maps.Clone(s.settings)
		change(settings)
		return settings
	}, map[string][]byte{authorityFile: s.box.Certificates.TrustPEM()})
}

// set changes a setting of all controllers, which find it when they look again; "" is
// the default. It returns what it was.
func (s *system) set(name, value string) (before string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.settings[name]
	if value == "" {
		delete(s.settings, name)
	} else {
		s.settings[name] = value
	}
	return before
}

// modelled are the settings that the model must know.
func (s *system) modelled() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return settings{redirect: s.settings["default_ssl_redirect"] == "true", restricted: s.settings["allowed_addresses"] != ""}
}

// stop ends a controller in an orderly way.
func (s *system) stop(c *instance) {
	if c.done == nil {
		return
	}
	s.run.noSecretIsInMetrics(c)
	c.cancel()
	<-c.done
	c.done = nil
}

// kill ends a controller as a process that is killed: from this moment on nothing
// leaves it and nothing reaches it. What is on its way arrives.
func (s *system) kill(c *instance) {
	if c.done == nil {
		return
	}
	s.run.noSecretIsInMetrics(c)
	s.network.Cut(c.actor+"/", "")
	c.cancel()
	<-c.done
	c.done = nil
}

func (s *system) close() {
	for _, c := range s.controllers {
		s.stop(c)
	}
	if s.users != nil {
		s.users.Close()
	}
	if s.box != nil {
		s.box.Close()
	}
	s.network.Close()
}

// get asks the API server without a network, as if at this very instant: status 0
// while it is away.
func (s *system) get(path string, into any) (status int, err error) {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	request.Header.Set("Authorization", "Bearer "+s.box.KubernetesConfig("users").BearerToken)
	request.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	s.box.Kubernetes.ServeHTTP(w, request)
	if w.Code != http.StatusOK {
		return w.Code, nil
	}
	return w.Code, json.Unmarshal(w.Body.Bytes(), into)
}

// currentLease is the Lease as the API server holds it now; nil: there is none.
func (s *system) currentLease() *coordinationv1.Lease {
	s.mu.Lock()
	away, lease := s.away, s.lease
	s.mu.Unlock()
	if away {
		return lease
	}
	lease = &coordinationv1.Lease{}
	if status, err := s.get(leasePath, lease); err != nil || status != http.StatusOK {
		return nil
	}
	return lease
}

// setFaults replaces what the API server does wrong.
func (s *system) setFaults(rules ...kube.FaultRule) {
	lease := s.currentLease()
	s.mu.Lock()
	s.away, s.lease = slices.ContainsFunc(rules, isAway), lease
	s.mu.Unlock()
	s.box.Kubernetes.SetFaults(rules...)
}

func isAway(r kube.FaultRule) bool { return r.Kind == "away" }

// bringBack ends that the API server is away.
func (s *system) bringBack() {
	s.setFaults(slices.DeleteFunc(s.box.Kubernetes.Faults(), isAway)...)
}

// writer is the instance that holds the Lease; nil: nobody that runs.
func (s *system) writer() *instance {
	lease := s.currentLease()
	if lease == nil || lease.Spec.HolderIdentity == nil {
		return nil
	}
	for _, c := range s.controllers {
		if c.done != nil && strings.HasPrefix(*lease.Spec.HolderIdentity, c.actor+"_") {
			return c
		}
	}
	return nil
}

// watchedWorld sees each write that a controller starts.
type watchedWorld struct {
	outside.World
	s *system
	c *instance
}

// Clock is one that is off.
func (w watchedWorld) Clock() outside.Clock { return skewedClock{w.World.Clock(), w.c.skew} }

type skewedClock struct {
	outside.Clock
	by time.Duration
}

func (c skewedClock) Now() time.Time                  { return c.Clock.Now().Add(c.by) }
func (c skewedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (w watchedWorld) HTTPClient(actor string, tlsConfig *tls.Config) *http.Client {
	c := w.World.HTTPClient(actor, tlsConfig)
	instance, _, writes := strings.Cut(actor, "/vtm/")
	return &http.Client{Transport: watchedTransport{c.Transport, w.s, w.c, instance, writes}}
}

type watchedTransport struct {
	http.RoundTripper
	s        *system
	c        *instance
	instance string
	writes   bool // to the traffic managers
}

func (t watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.s.stand(r.Context(), t.c); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPut && r.URL.Path == leasePath {
		t.s.noteRenewal(r)
	}
	write := t.writes && (r.Method == http.MethodPut || r.Method == http.MethodDelete)
	if write {
		t.s.checkLease(t.instance, r)
	}
	response, err := t.RoundTripper.RoundTrip(r)
	if write && err == nil {
		t.s.checkAnswer(t.instance, r, response)
		t.s.judgeConfiguration(r)
	}
	return response, err
}

// noteRenewal notes when a renewal of the Lease is sent.
func (s *system) noteRenewal(r *http.Request) {
	if r.GetBody == nil {
		return
	}
	body, err := r.GetBody()
	if err != nil {
		return
	}
	text, err := io.ReadAll(body) // from memory
	body.Close()
	if err != nil {
		return
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
	lease, ok := object.(*coordinationv1.Lease)
	if err != nil || !ok || lease.Spec.RenewTime == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewals == nil {
		s.renewals = map[time.Time]time.Time{}
	}
	s.renewals[lease.Spec.RenewTime.UTC()] = time.Now()
}

// renewed is when the Lease was renewed, not later than others count from.
func (s *system) renewed(lease *coordinationv1.Lease) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, known := s.renewals[lease.Spec.RenewTime.UTC()]; known {
		return at
	}
	return lease.Spec.RenewTime.Time
}

// CloseIdleConnections makes http.Client's method of that name reach the transport.
func (t watchedTransport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// freeze lets a controller stand still: what it would send waits, and nothing reaches
// it. Its timers go on, as those of a machine that was suspended are all due when it
// wakes up.
func (s *system) freeze(c *instance, frozen bool) {
	if frozen == (c.thawed != nil) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if frozen {
		c.thawed = make(chan struct{})
		s.network.Cut("controller/"+c.name, "")
		return
	}
	close(c.thawed)
	c.thawed = nil
	s.network.Heal("controller/"+c.name, "")
}

// stand waits while a controller stands still.
func (s *system) stand(ctx context.Context, c *instance) error {
	s.mu.Lock()
	thawed := c.thawed
	s.mu.Unlock()
	if thawed == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-thawed:
		return ctx.Err()
	}
}

// listAgain makes all who watch the API server list anew.
func (s *system) listAgain() {
	s.box.Kubernetes.ForgetHistory()
	s.box.Kubernetes.Unavailable(true)
	s.box.Kubernetes.Unavailable(false)
}

func (s *system) apiHost() string {
	host, _, _ := net.SplitHostPort(s.box.Kubernetes.Address())
	return host
}

// checkLease is invariant 1: who starts a write holds the Lease at that instant.
func (s *system) checkLease(instance string, r *http.Request) {
	lease := s.currentLease()
	holder, until := "nobody", time.Time{}
	if lease != nil && lease.Spec.HolderIdentity != nil && lease.Spec.RenewTime != nil && lease.Spec.LeaseDurationSeconds != nil {
		holder = *lease.Spec.HolderIdentity
		until = s.renewed(lease).Add(time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second)
	}
	if !strings.HasPrefix(holder, instance+"_") || !time.Now().Before(until) {
		s.run.violate(1, "%s starts %s %s while %s holds the Lease until %s", instance, r.Method, r.URL.Path, holder, until.UTC().Format("15:04:05.000"))
	} else if says, want := r.Header.Get("User-Agent"), fmt.Sprintf("vtm-ingress-controller (%s; term %s)", holder, lease.Annotations[reconcile.TermAnnotation]); says != want {
		s.run.violate(1, "%s starts %s %s as %q, and is %q", instance, r.Method, r.URL.Path, says, want)
	} // What the client does not bound, the network may deliver much later.
	if ends, bounded := r.Context().Deadline(); !bounded || ends.After(until.Add(time.Millisecond)) {
		s.run.violate(1, "%s starts %s %s, which may go on after its Lease, until %s", instance, r.Method, r.URL.Path, ends.UTC().Format("15:04:05.000"))
	}
}

// checkAnswer is invariant 5: a strict traffic manager refuses a reference that
// dangles, a rule that does not compile and a key that does not match.
func (s *system) checkAnswer(instance string, r *http.Request, response *http.Response) {
	if response.StatusCode != http.StatusBadRequest {
		return
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil && bytes.Contains(body, []byte("strict.")) {
		s.run.violate(5, "%s sends %s %s, which is refused: %.500s", instance, r.Method, r.URL.Path, body)
	}
}
