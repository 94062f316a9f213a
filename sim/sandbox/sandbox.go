package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/kube/controllers"
	"vtm-ingress/sim/node"
	"vtm-ingress/sim/vtm"
)

// Addresses say where the parts of a sandbox listen. The N-th traffic manager or
// node has the N-th address after the one given, from 1 on.
type Addresses struct {
	TrafficManagers netip.Addr     // REST on port 9070, control API on 9071, admin pages on 9090
	Nodes           netip.Addr     // node ports
	APIServer       netip.AddrPort // of Kubernetes; its control API on port 9071 of that address
	DNS             netip.AddrPort // the resolver of the sandbox's names
	ACME            netip.AddrPort // the certificate authority
	// Mapped is the block that stands for addresses which this machine does not have.
	Mapped netip.Prefix
}

// DefaultAddresses are those that the documentation names.
func DefaultAddresses() Addresses {
	return Addresses{
		TrafficManagers: netip.MustParseAddr("127.1.0.0"),
		Nodes:           netip.MustParseAddr("127.2.0.0"),
		APIServer:       netip.MustParseAddrPort("127.3.0.1:6443"),
		DNS:             netip.MustParseAddrPort("127.3.0.2:53"),
		ACME:            netip.MustParseAddrPort("127.3.0.3:14000"),
		Mapped:          netip.MustParsePrefix("127.64.0.0/10"),
	}
}

// AddressesIn are those of a sandbox beside others: all parts in 127.block.0.0/16,
// and mapped addresses in 127.mapped.0.0/16.
func AddressesIn(block, mapped byte) Addresses {
	at := func(third, fourth byte) netip.Addr { return netip.AddrFrom4([4]byte{127, block, third, fourth}) }
	return Addresses{
		TrafficManagers: at(1, 0),
		Nodes:           at(2, 0),
		APIServer:       netip.AddrPortFrom(at(3, 1), 6443),
		DNS:             netip.AddrPortFrom(at(3, 2), 53),
		ACME:            netip.AddrPortFrom(at(3, 3), 14000),
		Mapped:          netip.PrefixFrom(netip.AddrFrom4([4]byte{127, mapped, 0, 0}), 16),
	}
}

// nodesV6 is the address before the first node's where nodes have IPv6 addresses.
var nodesV6 = netip.MustParseAddr("fd00:2::")

func nth(base netip.Addr, n int) netip.Addr {
	for range n {
		base = base.Next()
	}
	return base
}

// The users of the emulated traffic managers. Both have all rights; writes are told
// apart by who made them.
const (
	// AdminUser is for whoever looks at the sandbox.
	AdminUser = "admin"
	// ControllerUser is for the controller.
	ControllerUser = "vtm-ingress"
	// Password of both: the sandbox listens on this machine's loopback addresses only.
	Password = "sandbox"
)

// Options of a sandbox.
type Options struct {
	World     outside.World
	Log       *slog.Logger
	Addresses Addresses
	// KubernetesVersion presented, as "1.20"; empty is the newest.
	KubernetesVersion string
	Nodes             int // at least 1
	// IPv6: nodes, pods and Services have addresses of that family alone. Nodes' stand
	// for addresses of this machine, by the AddressMap.
	IPv6 bool
	// DualStack: nodes and pods have addresses of both families, and Services may. The
	// first is IPv4, or with IPv6 the latter.
	DualStack bool
	// NodePorts of Services; none are those of an API server that is not told otherwise.
	NodePorts utilnet.PortRange
	// TrafficManagers of the one cluster, up to 16; 0: there is no such cluster.
	TrafficManagers int
	// ReplicateLate: they replicate as real ones do, 5 to 20 s after a change
	// (vtm/rest.md §5); otherwise a change is on all of them when it is answered.
	ReplicateLate bool
	// Images says which image is which program; nil: the built-in ones.
	Images *node.Images
	// Strict makes the traffic managers refuse what a real one accepts although it
	// cannot work.
	Strict bool
	// Simulated: HTTP instead of HTTPS between the parts, and connections named so
	// that runs repeat.
	Simulated bool
	// ACME starts a certificate authority and what resolves names for it; nil: none.
	ACME *ACMEOptions
	// Progress, if set, is told what has been started.
	Progress func(string)
}

// Sandbox is a running one.
type Sandbox struct {
	Kubernetes      *kube.Server
	TrafficManagers *vtm.Cluster
	AddressMap      *dataplane.AddressMap
	Certificates    *Authority // nil without Options.ACME

	control      *controlServer // of the API server; nil if simulated
	rest         []string       // URLs, by member
	certificates []byte

	options Options
	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  chan error // capacity 1: the first part that ended by itself
}

// Start brings everything up and returns when all nodes are ready, or with an
// error that names the part which can't start; then nothing is left running.
func Start(ctx context.Context, o Options) (_ *Sandbox, err error) {
	partsContext, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Sandbox{options: o, cancel: cancel, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	s.AddressMap, err = dataplane.NewAddressMapIn(o.Addresses.Mapped)
	if err != nil {
		return nil, err
	}

	if o.Images == nil {
		o.Images = node.DefaultImages()
	}
	fabric := node.NewFabric()
	s.Kubernetes, err = kube.Start(kube.Options{
		World: o.World, Log: o.Log, Name: "kube-apiserver",
		Address: o.Addresses.APIServer.String(), Version: o.KubernetesVersion,
		PlainHTTP: o.Simulated, Logs: fabric.Logs, NodePorts: o.NodePorts, IPv6: o.IPv6, DualStack: o.DualStack,
	})
	if err != nil {
		return nil, fmt.Errorf("emulated Kubernetes API at %s: %w", o.Addresses.APIServer, err)
	}
	s.progress("Kubernetes API at " + s.Kubernetes.Address())
	if !o.Simulated {
		if s.control, err = serveControl(o, s.Kubernetes); err != nil {
			return nil, err
		}
	}

	if o.TrafficManagers > 0 {
		if err := s.startTrafficManagers(); err != nil {
			return nil, err
		}
	}
	s.run("the cluster's controllers", func() error {
		return controllers.Run(partsContext, controllers.Options{
			World: o.World, Log: o.Log, Actor: "kube-controllers",
			Config: s.config("system:kube-controller-manager", "kube-controller-manager"), KubernetesVersion: o.KubernetesVersion,
		})
	})
	for n := 1; n <= o.Nodes; n++ {
		name, stacks := "node-"+strconv.Itoa(n), s.stacks(n)
		s.run(name, func() error {
			return node.Run(partsContext, node.Options{
				World: o.World, Log: o.Log, Actor: name, Name: name,
				Config: s.config("system:node:"+name, "kubelet"),
				Stacks: stacks, Images: o.Images, Fabric: fabric,
			})
		})
	}
	if o.ACME != nil {
		if err := s.startAuthority(partsContext, o); err != nil {
			return nil, err
		}
	}
	if err := s.waitForNodes(ctx); err != nil {
		return nil, err
	}
	s.progress(fmt.Sprintf("%d nodes ready", o.Nodes))
	return s, nil
}

// stacks are those of the n-th node.
func (s *Sandbox) stacks(n int) []node.Stack {
	v4, v6 := nth(s.options.Addresses.Nodes, n), nth(nodesV6, n)
	stacks := []node.Stack{
		{Address: v4, PodCIDR: fmt.Sprintf("10.244.%d.0/24", n)},
		{Address: v6, PodCIDR: fmt.Sprintf("fd00:244:0:%x::/120", n)},
	}
	if s.options.IPv6 {
		slices.Reverse(stacks)
	}
	if !s.options.DualStack {
		stacks = stacks[:1]
	}
	for i := range stacks {
		stacks[i].Listens = s.AddressMap.Map(stacks[i].Address)
	}
	return stacks
}

func (s *Sandbox) startTrafficManagers() (err error) {
	o := &s.options
	adminPort := vtm.DefaultAdminPort
	if o.Simulated {
		adminPort = 0 // the pages need TLS, and nobody is there to look
	}
	s.TrafficManagers, err = vtm.StartCluster(vtm.ClusterOptions{
		Options: vtm.Options{
			World: o.World, Log: o.Log,
			Users:      map[string]string{AdminUser: Password, ControllerUser: Password},
			Strict:     o.Strict,
			AddressMap: s.AddressMap,
			PlainHTTP:  o.Simulated, PerClientTransports: o.Simulated, AdminPort: adminPort,
			ReplicateAtOnce: !o.ReplicateLate,
		},
		Members: o.TrafficManagers, Base: o.Addresses.TrafficManagers, NoControl: o.Simulated,
	})
	if err != nil {
		return fmt.Errorf("emulated traffic managers: %w", err)
	}
	scheme := "https://"
	if o.Simulated {
		scheme = "http://"
	}
	for _, m := range s.TrafficManagers.Info() {
		s.rest = append(s.rest, scheme+m.REST)
		s.certificates = append(s.certificates, s.TrafficManagers.Member(m.Name).CertificatePEM()...)
		told := "traffic manager " + m.Name + ", REST at " + m.REST
		if m.Admin != "" {
			told += ", admin pages at " + m.Admin
		}
		s.progress(told)
	}
	return nil
}

// config is that of a part: the user it is, and the program, by whose name the API
// server tells who manages a field.
func (s *Sandbox) config(user, program string) *rest.Config {
	c := s.Kubernetes.Config(user)
	c.UserAgent = program
	return c
}

func (s *Sandbox) progress(text string) {
	if s.options.Progress != nil {
		s.options.Progress(text)
	}
}

// run owns a part that works until it is cancelled.
func (s *Sandbox) run(name string, part func() error) {
	s.running.Go(func() {
		err := part()
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// Failed gives the error of a part that ended by itself.
func (s *Sandbox) Failed() <-chan error { return s.failed }

func (s *Sandbox) waitForNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := kubeclient.New(s.options.World, "sandbox", s.Kubernetes.Config("sandbox"))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil && readyNodes(list.Items) == s.options.Nodes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes are not ready in time (last answer: %v)", err)
		case err := <-s.failed:
			return err
		case <-s.options.World.Clock().After(10 * time.Millisecond):
		}
	}
}

func readyNodes(nodes []corev1.Node) int {
	ready := 0
	for _, n := range nodes {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return ready
}

// KubernetesConfig is for the controller or a user, by the user's name.
func (s *Sandbox) KubernetesConfig(user string) *rest.Config { return s.Kubernetes.Config(user) }

// RESTEndpoints are the URLs of the traffic managers' REST APIs, in the order of
// their names, whether they run at the moment or not.
func (s *Sandbox) RESTEndpoints() []string { return s.rest }

// RESTCertificates are those of the REST APIs, in PEM; empty if simulated.
func (s *Sandbox) RESTCertificates() []byte { return s.certificates }

// Dial connects from outside to an address that the traffic managers serve, as
// configured there, wherever it is on this machine.
func (s *Sandbox) Dial(ctx context.Context, actor string, address netip.AddrPort) (net.Conn, error) {
	mapped := s.AddressMap.MapPort(netip.AddrPortFrom(s.AddressMap.Map(address.Addr()), address.Port()))
	return s.options.World.Dial(ctx, actor, "tcp", mapped.String())
}

// Close ends all parts and waits for them: those that use others before those
// that are used.
func (s *Sandbox) Close() {
	s.cancel()
	s.running.Wait()
	if s.Certificates != nil {
		s.Certificates.close()
	}
	if s.TrafficManagers != nil {
		s.TrafficManagers.Close()
	}
	if s.control != nil {
		s.control.close()
	}
	if s.Kubernetes != nil {
		s.Kubernetes.Close()
	}
}
