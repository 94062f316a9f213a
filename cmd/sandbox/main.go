// Command sandbox brings up an emulated Kubernetes cluster, an emulated traffic
// manager in front of it and the controller between them, in one process on
// loopback addresses, and prints commands to try them with.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/sandbox"
)

type flags struct {
	KubernetesVersion string `help:"Version that the emulated Kubernetes presents, 1.18 or newer; empty: the newest." placeholder:"1.20"`
	Nodes             int    `help:"Number of nodes." default:"3"`
	Controller        bool   `help:"Run the controller too." default:"true" negatable:""`
	Strict            bool   `help:"Let the traffic manager refuse what a real one accepts although it can't work (dangling references, rules that don't compile)." default:"true" negatable:""`
	Dir               string `help:"Folder for the kubeconfig and the controller's log; empty: a new one, removed at the end." type:"path"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("sandbox"), kong.Description("Emulated Kubernetes, emulated traffic manager, and the controller between them."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", explain(err))
		os.Exit(1)
	}
}

// explain adds to an error what its reader can do about it.
func explain(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return err.Error() + "\n(another sandbox may be running: end it first)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return err.Error() + "\n(the sandbox needs all of 127.0.0.0/8 on the loopback interface, as Linux has it)"
	}
	return err.Error()
}

func run(ctx context.Context, f flags, out io.Writer) (err error) {
	begin := time.Now()
	if f.Nodes < 1 || f.Nodes > 200 {
		return fmt.Errorf("--nodes=%d: between 1 and 200", f.Nodes)
	}
	dir := f.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "vtm-ingress-sandbox-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}

	progress := func(text string) {
		fmt.Fprintf(out, "  %5.2f s  %s\n", time.Since(begin).Seconds(), text)
	}
	fmt.Fprintln(out, "vtm-ingress sandbox: starting")
	box, err := sandbox.Start(ctx, sandbox.Options{
		World: outside.Real(), Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Addresses:         sandbox.DefaultAddresses(),
		KubernetesVersion: f.KubernetesVersion, Nodes: f.Nodes, Strict: f.Strict, Progress: progress,
	})
	if err != nil {
		return err
	}
	defer box.Close()

	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, box.Kubernetes.Kubeconfig(), 0o600); err != nil {
		return err
	}
	if f.Dir != "" {
		defer os.Remove(kubeconfig)
	}

	var ended <-chan error
	if f.Controller {
		log := filepath.Join(dir, "controller.log")
		stop, done, err := startController(ctx, box, log)
		if err != nil {
			return err
		}
		defer stop()
		ended = done
		progress("controller, its log in " + log)
	}
	fmt.Fprintf(out, "ready after %.2f s\n", time.Since(begin).Seconds())
	printCommands(out, box, kubeconfig)

	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nending")
		return nil
	case err := <-box.Failed():
		return err
	case err := <-ended:
		return fmt.Errorf("the controller ended: %w", err)
	}
}

// startController runs the controller in this process, as it would run beside it.
// It returns when the controller is ready; stop ends it and waits.
func startController(ctx context.Context, box *sandbox.Sandbox, logPath string) (stop func(), ended <-chan error, err error) {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	settings, err := config.Load(config.Sources{Environment: []string{
		"VTM_INGRESS_ENABLE_INGCTRL=true",
		"VTM_INGRESS_VTM_ENDPOINTS=" + strings.Join(box.RESTEndpoints(), ","),
		"VTM_INGRESS_VTM_USERNAME=" + sandbox.ControllerUser,
		"VTM_INGRESS_VTM_PASSWORD=" + sandbox.Password,
		"VTM_INGRESS_VTM_FINGERPRINT=" + box.TrafficManager.Fingerprint(),
		"VTM_INGRESS_VTM_VERBOSE=true",
	}})
	if err != nil {
		logFile.Close()
		return nil, nil, fmt.Errorf("settings of the controller: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	status := &controller.Status{}
	done := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer logFile.Close()
		err := controller.Run(ctx, controller.Options{
			World: outside.Real(), Log: slog.New(slog.NewTextHandler(logFile, nil)), Settings: settings,
			KubernetesConfig: box.KubernetesConfig("vtm-ingress"), Actor: "controller", Status: status,
		})
		if err == nil {
			err = context.Canceled
		}
		done <- err
	}()
	stop = func() { cancel(); <-finished }
	for deadline := time.Now().Add(20 * time.Second); !status.Ready(); {
		select {
		case err := <-done:
			stop()
			return nil, nil, fmt.Errorf("the controller ended: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			stop()
			return nil, nil, fmt.Errorf("the controller is not ready after 20 s: see %s", logPath)
		}
	}
	return stop, done, nil
}

// printCommands prints what to try, so that each line works when it is copied.
func printCommands(out io.Writer, box *sandbox.Sandbox, kubeconfig string) {
	kubectl := "kubectl"
	if _, err := exec.LookPath(kubectl); err != nil {
		if path, err := filepath.Abs("bin/kubectl"); err == nil {
			kubectl = path
		}
	}
	hello := box.AddressMap.Map(netip.MustParseAddr("10.0.2.223"))
	fmt.Fprintf(out, `
  export KUBECONFIG=%[1]s
  %[2]s get nodes
  %[2]s apply -f examples/hello.yaml
  %[2]s rollout status deployment/hello
  %[2]s get ingress hello
  curl -s --resolve hello.example:80:%[3]s http://hello.example/
  %[2]s describe ingress hello
  %[2]s scale deployment/hello --replicas=3
  %[2]s delete -f examples/hello.yaml

  The traffic manager's REST API, user %[4]s, password %[5]s:
  curl -sk -u %[4]s:%[5]s %[6]s/api/tm/8.3/config/active/virtual_servers

  Addresses that this machine does not have are mapped into 127.64.0.0/10:
  10.0.2.223 is %[3]s here.

Ctrl-C ends everything and leaves nothing behind.
`, kubeconfig, kubectl, hello, sandbox.AdminUser, sandbox.Password, box.RESTEndpoints()[0])
}
