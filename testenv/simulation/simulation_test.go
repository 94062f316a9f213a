package simulation_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/klog/v2"

	"vtm-ingress/testenv/bubble"
	"vtm-ingress/testenv/simulation"
)

var (
	seed    = flag.Uint64("seed", 0, "simulate this seed alone")
	steps   = flag.Int("steps", 0, "steps of a run; 0: as many as a run has by default")
	budget  = flag.Duration("budget", 0, "simulate new seeds for this long, in as many processes as there are cores")
	alone   = flag.String("alone", "", "what fails alone: writers, members or late; empty: everything")
	asJSON  = flag.Bool("json", false, "print the result as one line of JSON")
	repeats = flag.Int("repeats", 3, "how often a seed is repeated to compare traces")
)

func init() {
	bubble.Prepare()
	// Runs are many and short: memory is cheaper than collecting it.
	debug.SetGCPercent(800)
	// client-go's own words are about API servers that are away.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
}

// prepare completes what a run is made with, when flags are known.
var prepare = func(*simulation.Options) {}

// simulate makes one run.
func simulate(t *testing.T, o simulation.Options) *simulation.Result {
	t.Helper()
	if !bubble.Repeats {
		t.Skip("this build lacks -tags hashedrand -ldflags=-checklinkname=0, which make test passes")
	}
	prepare(&o)
	var result *simulation.Result
	synctest.Test(t, func(*testing.T) { result = simulation.Run(o) })
	return result
}

// TestSeed is one run, of the seed that is given.
func TestSeed(t *testing.T) {
	if *seed == 0 {
		t.Skip("no -seed is given; TestSeedsHold has its own")
	}
	result := simulate(t, simulation.Options{Seed: *seed, Steps: *steps, Only: *alone})
	if *asJSON {
		text, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("result %s\n", text)
	} else {
		fmt.Println(result)
	}
	if len(result.Violations) > 0 {
		t.Errorf("seed %d: %s", *seed, result.Violations[0])
	}
}

// TestSeedsHold makes a few runs, which are the same each time.
func TestSeedsHold(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			result := simulate(t, simulation.Options{Seed: seed})
			if len(result.Violations) > 0 {
				t.Errorf("%s\nagain: go test -tags hashedrand -ldflags=-checklinkname=0 ./testenv/simulation -run TestSeed$ -seed %d", result, seed)
			}
			if result.Faults < 3 || result.Writes < 20 || result.Requests < 1000 || result.Failed > result.Requests/2 {
				t.Errorf("hardly anything happened:\n%s", result)
			}
		})
	}
}

// TestLateWritesArePutRight makes runs in which writes land late, or twice.
func TestLateWritesArePutRight(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			result := simulate(t, simulation.Options{Seed: seed, Only: simulation.Late})
			if len(result.Violations) > 0 || result.Drifts == 0 {
				t.Errorf("%s\nagain: go test -tags hashedrand -ldflags=-checklinkname=0 ./testenv/simulation -run TestSeed$ -seed %d -alone late", result, seed)
			}
		})
	}
}

// TestOneSeedGivesOneTrace makes a run several times.
func TestOneSeedGivesOneTrace(t *testing.T) {
	bubble.RepeatsItself(t, *repeats, 2000, func(trace *bubble.Trace) {
		simulate(t, simulation.Options{Seed: max(*seed, 7), Steps: max(*steps, 16), Trace: trace})
	})
}

// TestSimulate is `make simulate`: new seeds until the budget is used up or
// something is found. Each run is a process of its own, since what makes it repeat
// is process-wide.
func TestSimulate(t *testing.T) {
	if *budget == 0 {
		t.Skip("no -budget is given: make simulate gives one")
	}
	ctx, cancel := context.WithTimeout(t.Context(), *budget)
	defer cancel()
	var next atomic.Uint64
	next.Store(uint64(time.Now().UnixNano()) / 1000 * 1000)
	if *seed != 0 {
		next.Store(*seed - 1)
	}
	var runs atomic.Int64
	var processes sync.WaitGroup
	for range runtime.NumCPU() {
		processes.Go(func() {
			for ctx.Err() == nil {
				number := next.Add(1)
				output, err := process(ctx, number, *steps)
				if ctx.Err() != nil {
					return
				}
				runs.Add(1)
				if err != nil {
					cancel()
					t.Errorf("seed %d: %v\n%s\n%s", number, err, output, shortest(t, number, output))
				}
			}
		})
	}
	processes.Wait()
	t.Logf("%d seeds, each of them 10 minutes of operation and then until all was quiet", runs.Load())
}

// process makes one run in a process of its own.
func process(ctx context.Context, seed uint64, steps int, more ...string) (string, error) {
	command := exec.CommandContext(ctx, os.Args[0], append([]string{"-test.run=^TestSeed$", fmt.Sprint("-seed=", seed), fmt.Sprint("-steps=", steps)}, more...)...)
	// Goroutines begin with stacks of the size that others came to need: they are many and
	// short-lived, and growing took a twentieth of the time.
	command.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=adaptivestackstart=1")
	output, err := command.CombinedOutput()
	return string(output), err
}

// shortest finds the shortest prefix of a run that fails too, and says how to make
// it again; output is that of the whole run. A longer prefix may hold where a shorter
// one fails; then it is one that fails, if not the shortest.
func shortest(t *testing.T, seed uint64, output string) string {
	low, high := 0, 40
	if *steps != 0 {
		high = *steps
	}
	timeline := output
	for low+1 < high {
		middle := (low + high) / 2
		output, err := process(t.Context(), seed, middle)
		if err != nil {
			high, timeline = middle, output
		} else {
			low = middle
		}
	}
	return fmt.Sprintf("%d steps are enough:\n%s\nagain: make simulate SEED=%d STEPS=%d", high, timeline, seed, high)
}
