// Command figures measures what the project promises in numbers and prints a line
// for each on standard output, tab-separated: "figure", GROUP/name, value, unit,
// limit (<= or >=), and "ok" or "SHORT". Everything else goes to standard error. It
// ends with status 1 if a figure falls short, after all were printed.
//
// Where memory or CPU is measured, what is measured runs as a process of its own:
// the programs are expected beside this one. What is compared is measured in one
// run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// group measures some figures and reports each.
type group func(ctx context.Context, report func(figure)) error

var groups = map[string]group{"certificates": certificatesGroup, "controller": controllerGroup, "dataplane": dataplaneGroup, "simulation": simulationGroup, "skeleton": skeleton, "vtm": vtmGroup}

// parts are what can be measured of a group by itself.
var parts = map[string]group{
	"controller/growth": growthFigures, "controller/starts": startFigures, "controller/tls": tlsFigures, "controller/late": lateFigures, "controller/writes": writeCounts,
	"dataplane/rule": ruleFigures, "dataplane/proxy": proxyFigures, "dataplane/idle": idleFigures, "dataplane/change": changeFigures,
}

// figure is one number and what it must reach.
type figure struct {
	name    string
	value   float64
	unit    string
	limit   float64
	atLeast bool // the limit is the least that the value may be, not the most
}

func atMost(name string, value float64, unit string, limit float64) figure {
	return figure{name: name, value: value, unit: unit, limit: limit}
}

func atLeast(name string, value float64, unit string, limit float64) figure {
	return figure{name: name, value: value, unit: unit, limit: limit, atLeast: true}
}

// line is what is printed of a figure, and whether it reaches its limit.
func (f figure) line(group string) (string, bool) {
	ok, relation, verdict := f.value <= f.limit, "<=", "SHORT"
	if f.atLeast {
		ok, relation = f.value >= f.limit, ">="
	}
	if ok {
		verdict = "ok"
	}
	return fmt.Sprintf("figure\t%s/%s\t%s\t%s\t%s%s\t%s", group, f.name, number(f.value), f.unit, relation, number(f.limit), verdict), ok
}

func main() {
	var flags struct {
		Measure struct {
			Run string `help:"The group to measure, or a part of it as GROUP/PART; empty: all." placeholder:"GROUP"`
		} `cmd:"" default:"withargs" help:"Measure (the default)."`
		Kubernetes kubernetesCommand `cmd:"" hidden:"" help:"Run the emulated Kubernetes that figures are measured with, as a process of its own."`
		Backend    backendCommand    `cmd:"" hidden:"" help:"Run a backend."`
		Reference  referenceCommand  `cmd:"" hidden:"" help:"Run the standard library's proxy."`
	}
	parsed := kong.Parse(&flags, kong.Name("figures"), kong.Description("Measures what the project promises in numbers."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	processes := map[string]func(context.Context, io.Writer) error{
		"kubernetes": flags.Kubernetes.run, "backend <name>": flags.Backend.run, "reference <to>": flags.Reference.run,
	}
	if process := processes[parsed.Command()]; process != nil {
		if err := process(ctx, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "figures:", err)
			os.Exit(1)
		}
		return
	}
	run := flags.Measure.Run
	if run != "" && groups[run] == nil && parts[run] == nil {
		fmt.Fprintf(os.Stderr, "figures: no group %q\n", run)
		os.Exit(2)
	}
	names := []string{run}
	if run == "" {
		names = names[:0]
		for name := range groups {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	short := false
	for _, name := range names {
		measure := groups[name]
		if measure == nil {
			measure = parts[name]
		}
		of, _, _ := strings.Cut(name, "/")
		err := perform(ctx, measure, func(f figure) {
			line, ok := f.line(of)
			short = short || !ok
			fmt.Println(line)
		})
		if err != nil {
			fmt.Fprintf(os.Stderr, "figures: %s: %v\n", name, err)
			short = true
		}
		if ctx.Err() != nil {
			break
		}
	}
	if short {
		os.Exit(1)
	}
}

// endWithin is what a program that is interrupted has to end; then it is killed.
const endWithin = 5 * time.Second

// perform measures a group until ctx ends. What the group does not end by itself then
// is left, a while after its programs must have ended: this program ends, too.
func perform(ctx context.Context, measure group, report func(figure)) error {
	measured := make(chan error, 1)
	go func() { measured <- measure(ctx, report) }()
	select {
	case err := <-measured:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-measured:
		return errors.Join(errors.New("interrupted"), err)
	case <-time.After(endWithin + time.Second):
		return errors.New("interrupted in the midst of it")
	}
}

// pause waits, or returns why it can't any more.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
