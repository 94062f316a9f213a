package kubetest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/kube/controllers"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/node"
)

func init() {
	// One of them sleeps by the real clock, which lies decades after a bubble's; the
	// others print what a reflector survives.
	utilruntime.ErrorHandlers = nil
}

// Namespace is where a Cluster's own questions are asked.
const Namespace = "default"

// Options of a Cluster.
type Options struct {
	// Subnet is 127.N: the API server is 127.N.0.1, node-n 127.N.1.n. Test packages
	// that run at one time have different ones.
	Subnet byte
	// Nodes that are started, and ready, before the test begins.
	Nodes int
	// Version of Kubernetes; "" is the newest.
	Version string
	// DualStack: Services may have both families, and nodes and pods have.
	DualStack bool
	// Images that pods run; nil: node.DefaultImages.
	Images *node.Images
	// Seed and Trace are of the network in memory.
	Seed  uint64
	Trace *network.Trace
}

// Cluster is one that runs, and a client of it.
type Cluster struct {
	*kubeclient.Client
	T      *testing.T
	Ctx    context.Context // ends with the test
	World  outside.World
	Server *kube.Server
	Fabric *node.Fabric
	Net    *network.Network // nil over sockets
	Parts  sync.WaitGroup   // what is waited for once Ctx has ended

	o   Options
	log *slog.Logger
}

// InBubble runs a Cluster in memory, with fake time.
func InBubble(t *testing.T, o Options, run func(*Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: o.Seed, Trace: o.Trace})
		c := &Cluster{T: t, World: net.World(), Net: net, o: o}
		c.run(6443, true, run)
		net.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}

// OverSockets runs a Cluster on loopback addresses.
func OverSockets(t *testing.T, o Options, run func(*Cluster)) {
	t.Helper()
	c := &Cluster{T: t, World: outside.Real(), o: o}
	c.run(0, false, run)
}

func (c *Cluster) run(port uint16, plain bool, run func(*Cluster)) {
	ctx, cancel := context.WithCancel(c.T.Context())
	c.Ctx, c.Fabric = ctx, node.NewFabric()
	if c.o.Images == nil {
		c.o.Images = node.DefaultImages()
	}
	c.log = slog.New(slog.NewTextHandler(c.T.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, c.o.Subnet, 0, 1}), port).String()
	var err error
	c.Server, err = kube.Start(kube.Options{World: c.World, Log: c.log, Address: address, Version: c.o.Version, DualStack: c.o.DualStack, PlainHTTP: plain, Logs: c.Fabric.Logs})
	if err != nil {
		c.T.Fatal(err)
	}
	defer func() {
		cancel()
		c.Parts.Wait()
		c.Server.Close()
	}()
	if c.Client, err = kubeclient.New(c.World, "test", c.Server.Config("test")); err != nil {
		c.T.Fatal(err)
	}
	defer c.Close()
	c.Parts.Go(func() {
		err := controllers.Run(ctx, controllers.Options{
			World: c.World, Log: c.log, Config: c.Server.Config("controllers"), Actor: "controllers", KubernetesVersion: c.o.Version,
		})
		if err != nil {
			c.T.Error(err)
		}
	})
	for n := 1; n <= c.o.Nodes; n++ {
		c.StartNode(ctx, n)
	}
	run(c)
}

// stacks of node-n. Its IPv6 address is fd00:2::n, where 127.N.2.n listens.
func (c *Cluster) stacks(n int) []node.Stack {
	stacks := []node.Stack{{Address: c.NodeAddress(n), Listens: c.NodeAddress(n), PodCIDR: fmt.Sprintf("10.244.%d.0/24", n)}}
	if c.o.DualStack {
		stacks = append(stacks, node.Stack{
			Address: netip.MustParseAddr(fmt.Sprintf("fd00:2::%x", n)), Listens: c.NodeListensV6(n), PodCIDR: fmt.Sprintf("fd00:244:0:%x::/120", n),
		})
	}
	return stacks
}

// NodeListensV6 stands for the IPv6 address of node-n.
func (c *Cluster) NodeListensV6(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, c.o.Subnet, 2, byte(n)})
}

// NodeAddress is that of node-n.
func (c *Cluster) NodeAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, c.o.Subnet, 1, byte(n)})
}

// StartNode starts node-n and waits until it is ready. It runs until ctx ends.
func (c *Cluster) StartNode(ctx context.Context, n int) {
	c.T.Helper()
	name := fmt.Sprint("node-", n)
	c.Parts.Go(func() {
		err := node.Run(ctx, node.Options{
			World: c.World, Log: slog.New(slog.DiscardHandler), Config: c.Server.Config("system:node:" + name), Actor: name, Name: name,
			Stacks: c.stacks(n), Images: c.o.Images, Fabric: c.Fabric,
		})
		if err != nil {
			c.T.Error(err)
		}
	})
	c.Eventually(name+" is ready", func() (bool, any) {
		got, err := c.CoreV1().Nodes().Get(c.Ctx, name, metav1.GetOptions{})
		return err == nil && NodeReady(got) == corev1.ConditionTrue, err
	})
}

// NodeReady is the status of a node's condition Ready; "" if it has none.
func NodeReady(n *corev1.Node) corev1.ConditionStatus {
	for _, x := range n.Status.Conditions {
		if x.Type == corev1.NodeReady {
			return x.Status
		}
	}
	return ""
}

// PodReady reports whether a pod's condition Ready is true.
func PodReady(p *corev1.Pod) bool {
	for _, x := range p.Status.Conditions {
		if x.Type == corev1.PodReady {
			return x.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Within asks again and again until good, for d at most, of fake time in a bubble.
// What good saw is told if it never is.
func (c *Cluster) Within(d time.Duration, what string, good func() (bool, any)) {
	c.T.Helper()
	end := c.World.Clock().Now().Add(d)
	for {
		ok, last := good()
		if ok {
			return
		}
		if c.World.Clock().Now().After(end) {
			c.T.Fatalf("not within %s: %s; last: %+v", d, what, last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Eventually is Within a minute.
func (c *Cluster) Eventually(what string, good func() (bool, any)) {
	c.T.Helper()
	c.Within(time.Minute, what, good)
}

// Must ends the test if a request failed.
func Must[T any](c *Cluster) func(T, error) T {
	return func(v T, err error) T {
		c.T.Helper()
		if err != nil {
			c.T.Fatal(err)
		}
		return v
	}
}

// Event waits for an Event with this reason whose message contains text.
func (c *Cluster) Event(reason, text string) {
	c.T.Helper()
	c.Eventually("an Event "+reason, func() (bool, any) {
		list := Must[*corev1.EventList](c)(c.CoreV1().Events(Namespace).List(c.Ctx, metav1.ListOptions{}))
		var seen []string
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return true, nil
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return false, seen
	})
}
