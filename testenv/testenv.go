package testenv

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/acme"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/sandbox"
)

// Capability is something that not every lane can do. A scenario tagged
// @needs-CAPABILITY is skipped in a lane without it.
type Capability string

// The capabilities.
const (
	// FakeTime: hours pass in no time.
	FakeTime Capability = "fake-time"
	// RealSockets: other programs can connect.
	RealSockets Capability = "real-sockets"
)

// ACMEOptions of a system with a certificate authority.
type ACMEOptions = sandbox.ACMEOptions

// Refusal is what the certificate authority of a simulated system is told to refuse.
type Refusal = acme.Refusal

// Forbidden is a request of the controller that the API server refuses.
type Forbidden = kube.Refusal

// The faults of a certificate authority (Authority().Fault).
const (
	AuthorityDown    = acme.Down
	AuthorityGarbage = acme.Garbage
)

// Options of a system.
type Options struct {
	// KubernetesVersion presented by the API server, as "1.20"; empty is the newest.
	KubernetesVersion string
	// Nodes of the cluster; 0 means 3.
	Nodes int
	// IPv6 is the family of all addresses in the cluster.
	IPv6 bool
	// DualStack: it has both families; the first is IPv4, or with IPv6 the latter.
	DualStack bool
	// TrafficManagers of the cluster in front of it; 0 means 1.
	TrafficManagers int
	// ReplicateLate: they tell each other of changes seconds later, as real ones do.
	ReplicateLate bool
	// Lenient traffic managers accept, as real ones do, what cannot work; others refuse
	// it, so that no write in the wrong order passes unseen.
	Lenient bool
	// ACME starts a certificate authority too.
	ACME *ACMEOptions
	// Seed of a simulated system.
	Seed uint64
}

// Lane is one way to run systems.
type Lane interface {
	Name() string
	Has(Capability) bool
	// Test runs f as the subtest name, in the surroundings that systems of this lane
	// need. Start is called within.
	Test(t *testing.T, name string, f func(t *testing.T))
	// Start brings up Kubernetes and traffic managers, without a controller, ready
	// when it returns. The caller closes it.
	Start(ctx context.Context, o Options) (Env, error)
}

// Env is one running system, as those who use it see it.
type Env interface {
	// KubernetesConfig is for a client with all rights.
	KubernetesConfig() *rest.Config
	// Kubeconfig is a kubeconfig file for the same, for programs that run beside.
	Kubeconfig() []byte
	// World is where the system lives; clients of a scenario reach it from there. Its
	// clock is the controllers', which may be ahead of that of traffic managers and
	// Kubernetes: see Leap.
	World() outside.World
	// Dial connects from outside the cluster to an address that traffic managers
	// serve, as written in an Ingress.
	Dial(ctx context.Context, actor string, address netip.AddrPort) (net.Conn, error)

	// REST sends one request to the first traffic manager's REST API as somebody who is not
	// the controller. path begins below /api/tm/8.3/config/active/. An empty body is
	// sent as none, one that is no JSON as a file.
	REST(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)
	// RESTOf is the same of another traffic manager, by its name.
	RESTOf(ctx context.Context, trafficManager, method, path string, body []byte) (status int, answer []byte, err error)
	// Writes are the configuration changes that the controller made so far.
	Writes() []Write
	// Fault makes the REST API of all traffic managers misbehave until the next Fault.
	Fault(f Fault)
	// Faults replaces what the traffic managers do wrong by what text says, one rule a
	// line, as `vtm-sim faults` lists them; "" heals. It returns when that is in effect.
	Faults(text string) error

	// Refuse replaces what the API server forbids the controller; without any, nothing.
	Refuse(refusals ...Forbidden)

	// Authority is the certificate authority; nil without Options.ACME.
	Authority() *sandbox.Authority

	// ProveWildcards sets the settings by which wildcard hosts are proved with lego's
	// provider rfc2136, httpreq or exec, and starts until Close what that needs. It takes
	// real sockets and a certificate authority.
	ProveWildcards(provider string) error
	// Set sets a setting of the controller, by its name in its settings file. One that
	// runs finds it when it looks at the file again.
	Set(name, value string)
	// Settings are all that were set, for programs that run beside.
	Settings() map[string]string
	// StartController starts the controller, StartControllers so many instances of
	// it, each beside a traffic manager in turn; StopController ends all in an orderly
	// way and waits until they have.
	StartController(ctx context.Context) error
	StartControllers(ctx context.Context, n int) error
	StopController()
	// StartInstance starts one more controller, by a name of small letters; its own traffic
	// manager is the one of that name. StopInstance ends it in an orderly way and waits;
	// KillInstance ends it as a process that is killed: nothing leaves it from then on.
	StartInstance(ctx context.Context, name, trafficManager string) error
	StopInstance(name string)
	KillInstance(name string)
	// Cut keeps that controller from reaching "kubernetes", a traffic manager by its name,
	// "vtm" (all of them) or "everything", or heals that. What is under way waits.
	Cut(name, party string, cut bool)
	// CutNode keeps a node of Kubernetes from reaching the API server, or heals that;
	// only a lane with FakeTime can.
	CutNode(node string, cut bool) error
	// KubernetesFaults replaces what the API server does wrong by what text says, one rule
	// a line, as docs/emulated-kubernetes.md lists them; "" heals.
	KubernetesFaults(text string) error
	// TrafficManagers are the members' names, in their order; Raised are the addresses
	// that one of them serves now.
	TrafficManagers() []string
	Raised(trafficManager string) []string
	// Join adds a traffic manager to the cluster; Leave takes one out of it, by its name.
	Join() error
	Leave(trafficManager string) error
	// LeaseTimes are those of the controllers: how long a dead writer holds the Lease, and
	// the pause between two attempts at it.
	LeaseTimes() (duration, retry time.Duration)

	// KillBefore kills the first instance that is about to send a request which
	// matches, as a process is killed: neither that request nor another one leaves it.
	// What it sent before arrives. matches may be called from several goroutines.
	// Killed says whether that has happened since.
	KillBefore(matches func(Request) bool)
	Killed() bool
	// StartBeside starts another controller of the same Kubernetes cluster on the same
	// traffic managers, whose settings differ so. It ends with Close.
	StartBeside(ctx context.Context, name string, settings map[string]string) error
	// OtherCluster starts the API server of another Kubernetes cluster, which has no
	// nodes, and a controller of it on the same traffic managers, whose settings differ
	// so. Both end with Close. The configuration is for a client with all rights.
	OtherCluster(ctx context.Context, settings map[string]string) (*rest.Config, error)
	// ByHand does what the controller's command adopt or cleanup does, for good, and
	// returns what that tells.
	ByHand(ctx context.Context, command string) (told string, err error)
	// ControllerReady says whether all that were not killed would answer their
	// readiness probe with yes.
	ControllerReady() bool
	// ControllerLog is what they have logged so far, over all starts. Of several
	// instances each line names one.
	ControllerLog() string
	// Leap lets so much time pass at once, or sets the clock back, for the controllers, the certificate
	// authority of a simulated system, and the World.
	Leap(d time.Duration)

	// EventLog is the traffic managers' event log, a line each, by member, oldest
	// first.
	EventLog() []string

	// Eventually waits until check succeeds, and returns its last error when that
	// takes longer than anything in this lane should.
	Eventually(ctx context.Context, check func(context.Context) error) error
	// Close ends everything that was started and waits for it.
	Close()
}

// Write is one accepted change of the traffic manager's configuration.
type Write struct {
	Method string // PUT or DELETE
	Path   string // below /api/tm/8.3/config/active/, e.g. "pools/web"
	Agent  string // who made it, as it says itself
	Member string // the traffic manager that it was made through
}

// Fault is a way in which a traffic manager's REST API misbehaves.
type Fault string

// The faults.
const (
	Healthy      Fault = "healthy"
	Away         Fault = "away"         // connections are refused
	Unauthorized Fault = "unauthorized" // every password is wrong
	Garbage      Fault = "garbage"      // 200 with a body that is no JSON
)
