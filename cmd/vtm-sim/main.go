// Command vtm-sim is an emulated traffic manager cluster for whoever automates
// traffic managers over their REST API: without Kubernetes, and without owning
// one. Its other commands list the faults that it can be given, and check and try
// TrafficScript rules.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/trafficscript/tsrun"
	"vtm-ingress/sim/vtm"
)

type commands struct {
	Run    runCommand    `cmd:"" default:"withargs" help:"Run a cluster until it is interrupted (the default)."`
	Faults faultsCommand `cmd:"" help:"List the faults that the control API can set."`
	TS     struct {
		Check tsrun.Check `cmd:"" help:"Compile rules and say what is wrong with them."`
		Run   tsrun.Run   `cmd:"" help:"Try rules against one request."`
	} `cmd:"" name:"ts" help:"Check and try TrafficScript rules."`
}

func main() {
	var c commands
	parsed := kong.Parse(&c, kong.Name("vtm-sim"), kong.Description("An emulated traffic manager cluster with REST API 8.3 and a data plane that really proxies."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	switch command, _, _ := strings.Cut(parsed.Command(), " <"); command {
	case "ts check":
		code = c.TS.Check.Execute(os.Stdout)
	case "ts run":
		code = c.TS.Run.Execute(ctx, os.Stdout, outside.Real().Clock().Now)
	case "faults":
		c.Faults.print(os.Stdout)
	default:
		collectRarely()
		if err := c.Run.run(ctx, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "vtm-sim:", explain(err))
			code = 1
		}
	}
	stop()
	os.Exit(code)
}

// explain adds to an error what its reader can do about it.
func explain(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return err.Error() + "\n(another one may be running: end it, or choose --address, --rest-port or --admin-port)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return err.Error() + "\n(this machine does not have that address: choose another --address)"
	}
	return err.Error()
}

// passwordVariable is where the password may be; a flag would show it to everyone
// who may list processes.
const (
	passwordVariable = "VTM_SIM_PASSWORD"
	loopbackPassword = "vtm-sim" // of a cluster that only this machine reaches
)

type runCommand struct {
	Cluster       int        `help:"Number of traffic managers." default:"1" placeholder:"N"`
	Data          string     `help:"Folder that keeps the configuration; without it, it is lost at the end." type:"path" placeholder:"DIR"`
	AddressMap    string     `help:"Where Traffic IP addresses and nodes are on this machine: 'none' (as they are), 'loopback' (each gets one of 127.64.0.0/10), or a file with two addresses a line." default:"none" placeholder:"loopback|none|FILE"`
	Strict        bool       `help:"Refuse what a real one accepts although it can't work (dangling references, rules that don't compile)."`
	Address       netip.Addr `help:"Address of the first traffic manager; the others have those that follow." default:"127.1.0.1"`
	RESTPort      int        `name:"rest-port" help:"Port of the REST API; 0 picks a free one." default:"9070"`
	AdminPort     int        `help:"Port of the admin pages; 0 picks a free one." default:"9090"`
	ControlPort   int        `help:"Port of the control API, on loopback addresses only; 0 picks a free one." default:"9071"`
	User          string     `help:"User of the REST API." default:"admin"`
	PasswordFile  string     `help:"File with the user's password; else it is in the environment as VTM_SIM_PASSWORD. On loopback addresses it may be left away." type:"existingfile" placeholder:"FILE"`
	ReplicateLate bool       `help:"Replicate as a real cluster does, 5 to 20 s after a change; otherwise a new configuration has replicate_lull 0, and changes are everywhere at once."`
	AllowPrograms bool       `help:"Let actions of the type program run on this machine, as the user of this command. Whoever may write over REST chooses what runs."`
	EventLog      bool       `help:"Print the event logs."`
}

func (r *runCommand) password() (string, error) {
	if r.PasswordFile != "" {
		b, err := os.ReadFile(r.PasswordFile)
		if err != nil {
			return "", err
		}
		if p := strings.TrimRight(string(b), "\r\n"); p != "" {
			return p, nil
		}
		return "", fmt.Errorf("--password-file=%s is empty", r.PasswordFile)
	}
	if p := os.Getenv(passwordVariable); p != "" {
		return p, nil
	}
	if !r.Address.IsLoopback() {
		return "", fmt.Errorf("others may reach %s: give a password in --password-file or %s", r.Address, passwordVariable)
	}
	return loopbackPassword, nil
}

func (r *runCommand) addressMap() (*dataplane.AddressMap, error) {
	switch r.AddressMap {
	case "none", "loopback":
		return dataplane.NewAddressMap(dataplane.MapMode(r.AddressMap)), nil
	}
	f, err := os.Open(r.AddressMap)
	if err != nil {
		return nil, fmt.Errorf("--address-map is neither none nor loopback nor a file: %w", err)
	}
	defer f.Close()
	return dataplane.ReadAddressMap(f)
}

// freePort turns a flag's port into the options' one.
func freePort(port int) int {
	if port == 0 {
		return vtm.AnyPort
	}
	return port
}

func (r *runCommand) run(ctx context.Context, out, logTo io.Writer) error {
	password, err := r.password()
	if err != nil {
		return err
	}
	addresses, err := r.addressMap()
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if r.EventLog {
		level = slog.LevelDebug
	}
	world := outside.Real()
	began := world.Clock().Now()
	cluster, err := vtm.StartCluster(vtm.ClusterOptions{
		Options: vtm.Options{
			World: world, Log: slog.New(slog.NewTextHandler(logTo, &slog.HandlerOptions{Level: level})),
			Users: map[string]string{r.User: password}, Strict: r.Strict, AddressMap: addresses,
			RESTPort: freePort(r.RESTPort), AdminPort: freePort(r.AdminPort), ReplicateAtOnce: !r.ReplicateLate, AllowPrograms: r.AllowPrograms,
		},
		Members: r.Cluster, Base: r.Address.Prev(), Data: r.Data,
		ControlPort: freePort(r.ControlPort), NoControl: !r.Address.IsLoopback(),
	})
	if err != nil {
		return err
	}
	defer cluster.Close()
	fmt.Fprintf(out, "vtm-sim: %d traffic manager(s) ready after %.2f s\n\n", r.Cluster, world.Clock().Since(began).Seconds())
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, m := range cluster.Info() {
		tm := cluster.Member(m.Name)
		fmt.Fprintf(table, "  %s\thttps://%s/api/tm/8.3\tSHA-256 %s\n", m.Name, m.REST, tm.Fingerprint())
		fmt.Fprintf(table, "  \thttps://%s\tadmin pages\n", m.Admin)
		if m.Control != "" {
			fmt.Fprintf(table, "  \thttp://%s\tcontrol: members, addresses, faults\n", m.Control)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	shown := password
	if password != loopbackPassword {
		shown = "the one you gave"
	}
	fmt.Fprintf(out, "\n  user %s, password: %s\n", r.User, shown)
	first := cluster.Info()[0]
	fmt.Fprintf(out, "  curl -k -u %s https://%s/api/tm/8.3/config/active/\n", r.User, first.REST)
	if first.Control != "" {
		fmt.Fprintf(out, "  curl -X PUT --data-binary 'status 503 method=PUT nth=2' http://%s/faults    # vtm-sim faults lists them\n", first.Control)
	}
	if r.Data == "" {
		fmt.Fprintln(out, "  the configuration is in memory only: --data DIR keeps it")
	}
	<-ctx.Done()
	return nil
}

type faultsCommand struct{}

func (faultsCommand) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, k := range vtm.FaultKinds() {
		name := k.Name
		if k.Arg != "" {
			name += " <" + k.Arg + ">"
		}
		conditions := "member"
		if k.PerRequest {
			conditions = "member method path nth chance"
		}
		fmt.Fprintf(table, "%s\t%s\t[%s]\n", name, k.Help, conditions)
	}
	_ = table.Flush() // a pipe that is closed
	fmt.Fprint(out, `
One fault a line, with its conditions as condition=value, and '#' before a comment:

    curl -X PUT --data-binary 'latency 200ms path=pools/*' http://127.1.0.1:9071/faults
    curl -X PUT --data-binary 'stop member=vtm-2'          http://127.1.0.1:9071/faults
    curl -X DELETE                                         http://127.1.0.1:9071/faults    # heal
`)
}
