package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	clientcmd "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube/kinds"
	"vtm-ingress/sim/kube/openapi"
	"vtm-ingress/sim/kube/store"
)

// defaultHistory is how many events of each resource are kept, at least.
const defaultHistory = 4096

// Options say how a server is to be.
type Options struct {
	World outside.World
	Log   *slog.Logger
	// Address is where to listen, "127.3.0.1:6443"; port 0 picks one.
	Address string
	// Version is the Kubernetes version that the server presents itself as,
	// from "1.18" to "1.37"; "" is the newest. It decides what is served.
	Version string
	// Name begins the names of the server's actors. "" is "kubernetes".
	Name string
	// PlainHTTP leaves out TLS, and with it client certificates.
	PlainHTTP bool
	// HistoryLimit is how many changes of each resource are kept for watches
	// and continued lists; what is older is 410 Gone. 0 is 4,096.
	HistoryLimit int
	// NodePorts are those that Services get; none are 30000-32767, as an API server
	// gives them that is not told otherwise.
	NodePorts utilnet.PortRange
	// IPv6 gives Services cluster IPs of that family.
	IPv6 bool
	// DualStack lets Services have cluster IPs of both families, as they can from 1.21
	// on; those that say nothing have one of the family that IPv6 says.
	DualStack bool
	// Logs serves pods/log. Nil: there are no logs (404).
	Logs LogsFunc
}

// Server is a running API server.
type Server struct {
	api      *api
	plain    bool
	address  string
	http     *http.Server
	dispatch http.Handler
	served   chan struct{} // closed when the listener's goroutine has ended

	mu          sync.Mutex
	closed      bool
	unavailable bool
	away        bool           // a fault says so
	requests    sync.WaitGroup // Add only with mu held and closed false
	// era ends the requests under way when the server becomes unavailable or is
	// closed.
	era    context.Context
	endEra context.CancelFunc
}

// Start makes a server that answers when Start returns. The caller ends it with
// Close.
func Start(o Options) (*Server, error) {
	if o.Name == "" {
		o.Name = "kubernetes"
	}
	a, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	listener, err := o.World.Listen(o.Name+"/api", "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("emulated API server: listen on %s: %w", o.Address, err)
	}
	s := &Server{api: a, plain: o.PlainHTTP, address: listener.Addr().String(), served: make(chan struct{})}
	s.era, s.endEra = context.WithCancel(context.Background())
	host, _, err := net.SplitHostPort(s.address)
	if err == nil {
		a.identity, err = newIdentity(a.clock, o.World.Rand(o.Name+"/keys"), !o.PlainHTTP,
			host, "localhost", a.services.kubernetesAddress(), "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	}
	var dispatch *dispatcher
	if err == nil {
		dispatch, err = newDispatcher(a)
	}
	if err == nil {
		err = a.bootstrap(s.address)
	}
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("emulated API server: %w", err)
	}
	s.dispatch = dispatch
	s.serve(listener)
	return s, nil
}

// newAPI makes all but the network side.
func newAPI(o Options) (*api, error) {
	version, err := parseVersion(o.Version)
	if err != nil {
		return nil, err
	}
	if o.DualStack && !version.atLeast(21) {
		return nil, fmt.Errorf("emulated API server: version %s has no dual-stack Services: they are there from 1.21 on", version)
	}
	limit := o.HistoryLimit
	if limit <= 0 {
		limit = defaultHistory
	}
	scheme := kinds.Scheme()
	for _, add := range []func(*runtime.Scheme) error{
		authenticationv1.AddToScheme, authorizationv1.AddToScheme, autoscalingv1.AddToScheme, addEvictions,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("emulated API server: types: %w", err)
		}
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &api{
		log:       log,
		clock:     o.World.Clock(),
		version:   version,
		scheme:    scheme,
		codecs:    serializer.NewCodecFactory(scheme),
		store:     store.New(limit),
		logs:      o.Logs,
		resources: map[schema.GroupVersionResource]*resource{},
		services:  newAllocations(o),
		events:    &expirations{},
	}
	if a.seed, err = newSeed(o.World.Rand(o.Name + "/identifiers")); err != nil {
		return nil, err
	}
	var served []kinds.Kind
	for _, kind := range kinds.AllOf(a.services.families()...) {
		if !kind.ServedBy(version.String()) {
			continue
		}
		served = append(served, kind)
		a.kinds = append(a.kinds, &kind)
		a.resources[kind.GroupVersionResource()] = newResource(a, &kind)
	}
	if a.converter, err = openapi.NewTypeConverter(served); err != nil {
		return nil, fmt.Errorf("emulated API server: schema: %w", err)
	}
	if a.openapi, err = openapi.New(served, version.String()); err != nil {
		return nil, fmt.Errorf("emulated API server: documents: %w", err)
	}
	a.namespaces = a.resources[corev1.SchemeGroupVersion.WithResource("namespaces")]
	return a, nil
}

func (s *Server) serve(listener net.Listener) {
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       3 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.api.log.Handler(), slog.LevelDebug),
	}
	if !s.plain {
		s.http.TLSConfig = s.api.identity.tlsConfig()
	}
	go func() {
		defer close(s.served)
		var err error
		if s.plain {
			err = s.http.Serve(listener)
		} else {
			err = s.http.ServeTLS(listener, "", "")
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.api.log.Error("emulated API server stopped serving", "error", err)
		}
	}()
}

// ServeHTTP answers a request, unless the server is unavailable.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	if s.closed || s.unavailable || s.away {
		s.mu.Unlock()
		s.answerStatus(w, http.StatusServiceUnavailable)
		return
	}
	s.requests.Add(1)
	era := s.era
	s.mu.Unlock()
	defer s.requests.Done()
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(era, cancel)()
	if req = req.WithContext(ctx); !s.befall(w, req, s.dispatch) {
		s.dispatch.ServeHTTP(w, req)
	}
}

// Unavailable, while true, lets every request be answered 503 and cuts the open
// watches.
func (s *Server) Unavailable(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unavailable = is
	if is {
		s.cutWatches()
	}
}

func (s *Server) setAway(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is && !s.away {
		s.cutWatches()
	}
	s.away = is
}

// cutWatches ends all requests that are under way. s.mu is held.
func (s *Server) cutWatches() {
	if !s.closed {
		s.endEra()
		s.era, s.endEra = context.WithCancel(context.Background())
	}
}

// Refusal is a fault: requests that are answered 403, as if their user lacked the
// right to make them. What is empty means any.
type Refusal struct {
	User      string // as Config names it
	Verb      string // create, update, patch, delete, get, list, watch
	Resource  string // as "secrets"
	Namespace string
	Name      string // of one that exists: a create has none
}

// Refuse replaces what is refused; without any, all is well again.
func (s *Server) Refuse(refusals ...Refusal) { s.api.refusals.Store(&refusals) }

// refused reports whether a request is to be refused.
func (a *api) refused(info *request.RequestInfo, who user.Info) bool {
	refusals := a.refusals.Load()
	return refusals != nil && slices.ContainsFunc(*refusals, func(r Refusal) bool {
		fits := func(wanted, is string) bool { return wanted == "" || wanted == is }
		return fits(r.User, who.GetName()) && fits(r.Verb, info.Verb) && fits(r.Resource, info.Resource) &&
			fits(r.Namespace, info.Namespace) && fits(r.Name, info.Name)
	})
}

// ForgetHistory drops all history: the next watch or continued list from before
// now is told 410 Gone, and so is a watch from the last revision. Open watches go on if
// they have seen all.
func (s *Server) ForgetHistory() { s.api.store.Forget() }

// Changed is the revision of the last change of any object of these resources; 0 if
// there was none. It is there for who looks often, even while the server is away.
func (s *Server) Changed(resources ...schema.GroupResource) (revision uint64) {
	for _, resource := range resources {
		revision = max(revision, s.api.store.Table(resource).Changed())
	}
	return revision
}

// Address is where the server listens, "127.3.0.1:6443".
func (s *Server) Address() string { return s.address }

// Config returns the client configuration of user, an administrator: the same
// token each time.
func (s *Server) Config(user string) *rest.Config {
	c := &rest.Config{Host: "https://" + s.address, BearerToken: s.api.identity.userToken(user)}
	if s.plain {
		c.Host = "http://" + s.address
	} else {
		c.CAData = s.api.identity.authorityPEM()
	}
	return c
}

// ServiceAccountToken returns a lasting bearer token of the service account,
// whether it exists or not.
func (s *Server) ServiceAccountToken(namespace, name string) string {
	return s.api.identity.accountToken(namespace, name)
}

// ClientCertificate returns a new certificate by which a client is user, an
// administrator, and its key (PKCS #8), both as PEM. There is none without TLS.
func (s *Server) ClientCertificate(user string) (certPEM, keyPEM []byte, err error) {
	if s.plain {
		return nil, nil, errors.New("emulated API server: no client certificates without TLS: leave PlainHTTP out")
	}
	return s.api.identity.clientCertificate(user, masters)
}

// Kubeconfig returns a configuration file for kubectl, with the context
// "sandbox".
func (s *Server) Kubeconfig() []byte {
	config := s.Config("admin")
	const name = "sandbox"
	file, err := yaml.Marshal(clientcmd.Config{
		APIVersion: "v1", Kind: "Config", CurrentContext: name,
		Clusters:  []clientcmd.NamedCluster{{Name: name, Cluster: clientcmd.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}}},
		AuthInfos: []clientcmd.NamedAuthInfo{{Name: name, AuthInfo: clientcmd.AuthInfo{Token: config.BearerToken}}},
		Contexts:  []clientcmd.NamedContext{{Name: name, Context: clientcmd.Context{Cluster: name, AuthInfo: name}}},
	})
	if err != nil {
		panic(err) // plain data: cannot fail
	}
	return file
}

// CertificateAuthority returns the certificate (PEM) that clients trust the
// server by; nil without TLS.
func (s *Server) CertificateAuthority() []byte { return s.api.identity.authorityPEM() }

// Close ends all watches and requests and waits for them. Calling it again does
// nothing.
func (s *Server) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return
	}
	s.endEra()
	if err := s.http.Close(); err != nil {
		s.api.log.Debug("closing the API server's listener", "error", err)
	}
	<-s.served
	s.requests.Wait()
}
