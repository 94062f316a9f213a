// Command vtm-ingress-controller is the Kubernetes Ingress controller for a
// Virtual Traffic Manager: it watches Ingresses and programs the traffic manager
// by its REST API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"k8s.io/klog/v2"
)

// Exit statuses.
const (
	failed       = 1 // it could not do what it was asked
	wrongCommand = 2 // the command line or the settings are wrong
)

func main() {
	// What libraries log is no answer to a command; `run` gives it a place.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := command(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr, klog.SetSlogLogger)
	stop()
	os.Exit(status)
}

// commandLine is what can be written on the command line.
type commandLine struct {
	Run      runCommand      `cmd:"" help:"Run the controller until it is told to end (SIGTERM, SIGINT)."`
	Plan     planCommand     `cmd:"" help:"Show what would change on the traffic manager, and change nothing. Status 0: nothing, 1: something, 2: not found out."`
	Check    checkCommand    `cmd:"" help:"See whether all is there that the controller needs, and say what to do where it is not."`
	Explain  explainCommand  `cmd:"" help:"Say what becomes of an Ingress, and why."`
	Settings settingsCommand `cmd:"" help:"The settings that the traffic manager keeps."`
	Cleanup  cleanupCommand  `cmd:"" help:"Delete all that the controller owns on the traffic manager."`
	Adopt    adoptCommand    `cmd:"" help:"Take over what belongs to another Kubernetes cluster under the same controller_id."`
	Health   healthCommand   `cmd:"" help:"Ask the controller of this machine whether it lives."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// newCommandLine gives each command its own flags for the settings.
func newCommandLine() commandLine {
	var line commandLine
	for _, flags := range []*settingsFlags{
		&line.Run.settingsFlags, &line.Plan.settingsFlags, &line.Check.settingsFlags, &line.Explain.settingsFlags,
		&line.Settings.Get.settingsFlags, &line.Settings.Set.settingsFlags, &line.Settings.Unset.settingsFlags,
		&line.Cleanup.settingsFlags, &line.Adopt.settingsFlags, &line.Health.settingsFlags,
	} {
		*flags = newSettingsFlags()
	}
	return line
}

// surroundings is what a command gets of its process.
type surroundings struct {
	context        context.Context
	environment    []string
	stdout, stderr io.Writer
	libraries      func(*slog.Logger)
}

// command runs one command and returns the exit status. libraries gives what
// libraries log its place, for the whole process.
func command(ctx context.Context, args, environment []string, stdout, stderr io.Writer, libraries func(*slog.Logger)) int {
	line := newCommandLine()
	ended := false // --help
	parser, err := kong.New(&line,
		kong.Name("vtm-ingress-controller"),
		kong.Description("Kubernetes Ingress controller for a Virtual Traffic Manager."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { ended = true }),
	)
	if err != nil {
		fmt.Fprintln(stderr, "vtm-ingress-controller:", err)
		return failed
	}
	parsed, err := parser.Parse(args)
	if ended {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "vtm-ingress-controller: %v\nSee vtm-ingress-controller --help.\n", err)
		return wrongCommand
	}
	// Not parsed.Run: nothing of the parser, which is megabytes, stays while it runs.
	chosen := parsed.Selected().Target.Addr().Interface().(interface{ Run(*surroundings) error })
	err = chosen.Run(&surroundings{ctx, environment, stdout, stderr, libraries})
	var wrong *wrongSettings
	var special *statusError
	if errors.As(err, &special) {
		if special.error != nil {
			fmt.Fprintln(stderr, "vtm-ingress-controller:", special.error)
		}
		return special.status
	}
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, wrong)
		return wrongCommand
	case err != nil:
		fmt.Fprintln(stderr, "vtm-ingress-controller:", err)
		return failed
	}
	return 0
}

type versionCommand struct{}

// Run prints what the binary was built from.
func (versionCommand) Run(s *surroundings) error {
	version, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = " " + setting.Value
			}
		}
	}
	_, err := fmt.Fprintf(s.stdout, "vtm-ingress-controller %s%s\n", version, revision)
	return err
}
