// Command sandbox brings up an emulated Kubernetes cluster, a cluster of emulated
// traffic managers in front of it and a controller for each of these, in one
// process on loopback addresses, and prints commands to try them with.
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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"k8s.io/klog/v2"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/node"
	"vtm-ingress/sim/sandbox"
)

type flags struct {
	KubernetesVersion string `help:"Version that the emulated Kubernetes presents, 1.18 or newer; empty: the newest." placeholder:"1.20"`
	Nodes             int    `help:"Number of nodes." default:"3"`
	IPv6              bool   `name:"ipv6" help:"Give nodes, pods and Services IPv6 addresses."`
	DualStack         bool   `help:"Give nodes and pods addresses of both families, IPv4 first, or IPv6 with --ipv6; Services have what their ipFamilyPolicy and ipFamilies say."`
	TrafficManagers   int    `help:"Number of traffic managers. Each has a controller; one of these writes." default:"3"`
	ReplicateLate     bool   `help:"Let traffic managers replicate as real ones do, 5 to 20 s after a change; otherwise a change is on all of them at once."`
	Controller        bool   `help:"Run the controllers too." default:"true" negatable:""`
	Authority         bool   `help:"Run a certificate authority too, Pebble, for Ingresses with use-lets-encrypt." default:"true" negatable:""`
	Strict            bool   `help:"Let the traffic managers refuse what a real one accepts although it can't work (dangling references, rules that don't compile)." default:"true" negatable:""`
	Dir               string `help:"Folder for the kubeconfig and the controllers' log; empty: a new one, removed at the end." type:"path"`

	Image []string `help:"What containers of an image run: a pattern for the image without its tag, and a command of this machine. {PORT} in it is the port that it must listen on. May be repeated." placeholder:"PATTERN=COMMAND" sep:"none"`

	// Addresses are what the documentation names; tests have their own.
	Addresses sandbox.Addresses `kong:"-"`
}

func main() {
	f := flags{Addresses: sandbox.DefaultAddresses()}
	kong.Parse(&f, kong.Name("sandbox"), kong.Description("Emulated Kubernetes, emulated traffic managers, and the controllers between them."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The libraries' own words are about clients that go away and requests that
	// are tried again; what matters of it is in the parts' logs.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
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

// run is the whole sandbox, until ctx ends or a part fails. It has ended all and
// removed what it wrote when it returns.
func run(ctx context.Context, f flags, out io.Writer) (err error) {
	defer func() {
		if ctx.Err() != nil { // whatever was under way did not fail by itself
			fmt.Fprintln(out, "\nended")
			err = nil
		}
	}()
	begin := time.Now()
	if f.Nodes < 1 || f.Nodes > 200 {
		return fmt.Errorf("--nodes=%d: between 1 and 200", f.Nodes)
	}
	if f.TrafficManagers < 1 || f.TrafficManagers > 16 {
		return fmt.Errorf("--traffic-managers=%d: between 1 and 16", f.TrafficManagers)
	}
	images, err := imageTable(f.Image)
	if err != nil {
		return err
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
	var authority *sandbox.ACMEOptions
	if f.Authority {
		authority = &sandbox.ACMEOptions{}
	}
	box, err := sandbox.Start(ctx, sandbox.Options{
		World: outside.Real(), Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Addresses:         f.Addresses,
		KubernetesVersion: f.KubernetesVersion, Nodes: f.Nodes, IPv6: f.IPv6, DualStack: f.DualStack,
		Strict: f.Strict, Images: images, Progress: progress,
		TrafficManagers: f.TrafficManagers, ReplicateLate: f.ReplicateLate, ACME: authority,
	})
	if err != nil {
		return err
	}
	defer box.Close()

	for _, file := range files(box) {
		path := filepath.Join(dir, file.name)
		if err := os.WriteFile(path, file.content, 0o600); err != nil {
			return err
		}
		if f.Dir != "" {
			defer os.Remove(path)
		}
	}

	var ended <-chan error
	if f.Controller {
		log := filepath.Join(dir, "controller.log")
		started, err := startControllers(ctx, box, dir, log)
		if err != nil {
			return err
		}
		defer started.stop()
		ended = started.ended
		progress(fmt.Sprintf("%d controller(s), their log in %s", f.TrafficManagers, log))
	}
	fmt.Fprintf(out, "ready after %.2f s\n", time.Since(begin).Seconds())
	printCommands(out, f, box, dir)

	mappings := time.NewTicker(200 * time.Millisecond)
	defer mappings.Stop()
	told := map[netip.Addr]bool{helloAddress: true, secureAddress: true}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-box.Failed():
			return err
		case err := <-ended:
			return err
		case <-mappings.C:
			tellMappings(out, box, told)
		}
	}
}

// The files that the sandbox makes in its folder.
const (
	kubeconfigFile = "kubeconfig"
	restFile       = "vtm-ca.pem"    // by which the REST API's certificates are verified
	directoryFile  = "acme-ca.pem"   // by which the certificate authority's own is
	rootsFile      = "acme-root.pem" // by which clients verify what it issues
)

type file struct {
	name    string
	content []byte
}

func files(box *sandbox.Sandbox) []file {
	all := []file{{kubeconfigFile, box.Kubernetes.Kubeconfig()}, {restFile, box.RESTCertificates()}}
	if a := box.Certificates; a != nil {
		all = append(all, file{directoryFile, a.TrustPEM()}, file{rootsFile, a.RootsPEM()})
	}
	return all
}

// tellMappings prints the addresses that have come into use and are not told yet.
func tellMappings(out io.Writer, box *sandbox.Sandbox, told map[netip.Addr]bool) {
	for _, e := range box.AddressMap.Entries() {
		if told[e.From] {
			continue
		}
		told[e.From] = true
		fmt.Fprintf(out, "  %s is %s here", e.From, e.To)
		for _, p := range e.Ports {
			fmt.Fprintf(out, ", its port %d is %d", p.From, p.To)
		}
		fmt.Fprintln(out)
	}
}

// imageTable adds rows to the built-in table: "PATTERN=COMMAND", the command's words
// separated by spaces.
func imageTable(rows []string) (*node.Images, error) {
	images := node.DefaultImages()
	for _, row := range rows {
		pattern, command, _ := strings.Cut(row, "=")
		words := strings.Fields(command)
		if pattern == "" || len(words) == 0 {
			return nil, fmt.Errorf("--image=%q: want PATTERN=COMMAND, such as 'shop/*=/usr/local/bin/shop --port {PORT}', or PATTERN=builtin:echo", row)
		}
		var err error
		if images, err = images.WithCommand(pattern, words...); err != nil {
			return nil, fmt.Errorf("--image=%q: pattern: %w", row, err)
		}
	}
	return images, nil
}

// controllers are those that run in this process, one for each traffic manager.
type controllers struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	ended   chan error // of those that ended by themselves; room for all
	log     *os.File
}

// startControllers runs the controllers as they would run beside this process. It
// returns when all are ready: one writes, the others stand by.
func startControllers(ctx context.Context, box *sandbox.Sandbox, dir, logPath string) (_ *controllers, err error) {
	endpoints := box.RESTEndpoints()
	c := &controllers{ended: make(chan error, len(endpoints))}
	if c.log, err = os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	log := slog.New(slog.NewTextHandler(c.log, nil))
	var statuses []*controller.Status
	for i, member := range endpoints {
		environment := []string{
			"VTM_INGRESS_ENABLE_INGCTRL=true",
			"VTM_INGRESS_VTM_ENDPOINTS=" + strings.Join(endpoints, ","),
			"VTM_INGRESS_VTM_MEMBER=" + member,
			"VTM_INGRESS_VTM_USERNAME=" + sandbox.ControllerUser,
			"VTM_INGRESS_VTM_PASSWORD=" + sandbox.Password,
			"VTM_INGRESS_VTM_CA_FILE=" + filepath.Join(dir, restFile),
			"VTM_INGRESS_VTM_VERBOSE=true",
		}
		if box.Certificates != nil {
			environment = append(environment,
				"VTM_INGRESS_ACME_DIRECTORY="+box.Certificates.DirectoryURL(),
				"VTM_INGRESS_ACME_CA_FILE="+filepath.Join(dir, directoryFile),
				"VTM_INGRESS_ACME_TERMS_AGREED=true",
			)
		}
		settings, err := config.Load(config.Sources{Environment: environment})
		if err != nil {
			return nil, fmt.Errorf("settings of the controllers: %w", err)
		}
		kubernetes := box.KubernetesConfig("vtm-ingress")
		kubernetes.UserAgent = "vtm-ingress-controller"
		name, status := fmt.Sprintf("controller-%d", i+1), &controller.Status{}
		statuses = append(statuses, status)
		c.running.Go(func() {
			err := controller.Run(running, controller.Options{
				World: outside.Real(), Log: log.With("instance", name), Settings: settings,
				KubernetesConfig: kubernetes, Actor: name, Status: status,
			})
			if err != nil {
				c.ended <- fmt.Errorf("%s ended: %w", name, err)
			}
		})
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if !slices.ContainsFunc(statuses, func(s *controller.Status) bool { return !s.Ready() }) {
			return c, nil
		}
		select {
		case err := <-c.ended:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the controllers are not ready after 20 s: see %s", logPath)
		}
	}
}

// stop ends all and waits for them.
func (c *controllers) stop() {
	c.cancel()
	c.running.Wait()
	c.log.Close()
}

// The Ingresses' addresses in examples/hello.yaml and examples/certificate.yaml.
var (
	helloAddress  = netip.MustParseAddr("10.0.2.223")
	secureAddress = netip.MustParseAddr("10.0.2.224")
)

// printCommands prints what to try, so that each line works when it is copied into
// a terminal in whatever folder.
func printCommands(out io.Writer, f flags, box *sandbox.Sandbox, dir string) {
	kubectl, hint := "kubectl", ""
	if _, err := exec.LookPath(kubectl); err != nil {
		kubectl = absolute("bin/kubectl")
		if _, err := os.Stat(kubectl); err != nil {
			hint = "\n  (There is no kubectl on this machine yet: `make kubectl` builds it.)\n"
		}
	}
	hello := box.AddressMap.Map(helloAddress)
	secure := ""
	if at := box.AddressMap.Map(secureAddress); box.Certificates != nil && f.Controller {
		secure = fmt.Sprintf(`  %[1]s apply -f %[2]s
  curl -s --retry 10 --retry-delay 1 --retry-all-errors --cacert %[3]s --connect-to secure.example:443:%[4]s https://secure.example/
  %[1]s describe secret secure-certificate
  %[1]s delete -f %[2]s
`, kubectl, absolute("examples/certificate.yaml"), filepath.Join(dir, rootsFile), netip.AddrPortFrom(at, bindablePort(at, 443)))
	}
	fmt.Fprintf(out, `%[7]s
  export KUBECONFIG=%[1]s
  %[2]s get nodes
  %[2]s apply -f %[8]s
  %[2]s rollout status deployment/hello
  %[2]s get ingress hello
  curl -s --connect-to hello.example:80:%[9]s http://hello.example/
  %[2]s describe ingress hello
  %[2]s scale deployment/hello --replicas=3
  %[2]s rollout restart deployment/hello
%[14]s  %[2]s delete -f %[8]s

  The traffic managers' REST API, user %[4]s, password %[5]s:
  curl -sk -u %[4]s:%[5]s %[6]s/api/tm/8.3/config/active/virtual_servers

  Their admin pages, for the same user, with what is served and why not:
%[13]s
  Who of them hosts which address, and faults to give them (bin/vtm-sim faults) and
  the Kubernetes API (docs/emulated-kubernetes.md):
  curl -s http://%[12]s/
  curl -s http://%[15]s/faults

  Addresses that this machine does not have are mapped into %[10]s:
  %[11]s is %[3]s here. Others are told when they come into use.

Ctrl-C ends everything and leaves nothing behind.
`, filepath.Join(dir, kubeconfigFile), kubectl, hello, sandbox.AdminUser, sandbox.Password, box.RESTEndpoints()[0], hint,
		absolute("examples/hello.yaml"), netip.AddrPortFrom(hello, bindablePort(hello, 80)), f.Addresses.Mapped, helloAddress,
		box.TrafficManagers.Info()[0].Control, adminPages(box), secure, box.KubernetesControl())
}

// adminPages lists the URLs of all members' admin pages, a line for each.
func adminPages(box *sandbox.Sandbox) string {
	var lines strings.Builder
	for _, m := range box.TrafficManagers.Info() {
		fmt.Fprintf(&lines, "  https://%s/\n", m.Admin)
	}
	return lines.String()
}

func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}

// bindablePort is where the traffic manager will listen for port, which only root
// may bind on some machines.
func bindablePort(address netip.Addr, port uint16) uint16 {
	listener, err := outside.Real().Listen("sandbox", "tcp", netip.AddrPortFrom(address, port).String())
	if errors.Is(err, syscall.EACCES) {
		return dataplane.MovedPort(port)
	}
	if err == nil {
		listener.Close()
	}
	return port
}
