package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/klog/v2"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/sandbox"
)

// kubernetesCommand is the emulated Kubernetes of the group controller, alone in
// its process: what the controller takes is then the controller's.
type kubernetesCommand struct {
	Dir   string `help:"Folder for the kubeconfig." required:"" type:"path"`
	Nodes int    `default:"2"`
}

// The addresses of its parts: a block beside that of a sandbox.
var (
	clusterAddress = netip.MustParseAddrPort("127.13.3.1:6443")
	clusterNodes   = netip.MustParseAddr("127.13.2.0")
)

func (c *kubernetesCommand) kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig") }

// run prints "ready" when the nodes are, and ends with ctx.
func (c *kubernetesCommand) run(ctx context.Context, out io.Writer) error {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	box, err := sandbox.Start(ctx, sandbox.Options{
		World: outside.Real(), Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Addresses: sandbox.Addresses{APIServer: clusterAddress, Nodes: clusterNodes, Mapped: sandbox.DefaultAddresses().Mapped},
		Nodes:     c.Nodes,
		// Each Service of thousands has one.
		NodePorts: utilnet.PortRange{Base: 10_000, Size: 20_000},
	})
	if err != nil {
		return err
	}
	defer box.Close()
	if err := os.WriteFile(c.kubeconfig(), box.Kubernetes.Kubeconfig(), 0o600); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	select {
	case <-ctx.Done():
		return nil
	case err := <-box.Failed():
		return err
	}
}
