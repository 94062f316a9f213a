package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// The times of the controllers' Leases in the simulation.
const (
	simulatedLease = 15 * time.Second
	simulatedRetry = 2 * time.Second
)

// simulated is what a run of the simulation tells, as JSON.
type simulated struct {
	Seed                    uint64
	Violations              []struct{ Text string }
	Simulated, LongestLoss  time.Duration
	Faults, Failed, Excused int
	Requests, Elsewhere     int
	TakeOvers, HandOvers    []time.Duration
	cpu                     time.Duration // that the run took
}

// operated is how much of a run counts as operation: at most a minute for each fault.
func (r simulated) operated() time.Duration {
	return min(r.Simulated, time.Duration(r.Faults)*time.Minute)
}

// simulationGroup measures the simulation, which is a test binary beside this program,
// as `make simulate` runs it: a process a core.
func simulationGroup(ctx context.Context, report func(figure)) error {
	const seeds = 60
	begin := time.Now()
	all, err := simulate(ctx, 1, seeds, "")
	if err != nil {
		return err
	}
	took := time.Since(begin)
	var operated, whole, cpu time.Duration
	var takeOvers, handOvers []time.Duration
	violations := 0
	add := func(runs []simulated) {
		for _, r := range runs {
			violations += len(r.Violations)
			takeOvers, handOvers = append(takeOvers, r.TakeOvers...), append(handOvers, r.HandOvers...)
		}
	}
	add(all)
	for _, r := range all {
		operated, whole, cpu = operated+r.operated(), whole+r.Simulated, cpu+r.cpu
	}
	fmt.Fprintf(os.Stderr, "%d runs within %.0f s: %.1f hours with a fault a minute, of %.1f simulated ones; an hour of processor time is %.0f with a fault a minute\n",
		len(all), took.Seconds(), operated.Hours(), whole.Hours(), operated.Hours()/cpu.Hours())
	writers, err := simulate(ctx, 1001, 1010, "writers")
	if err != nil {
		return err
	}
	add(writers)
	members, err := simulate(ctx, 2001, 2010, "members")
	if err != nil {
		return err
	}
	add(members)
	failed, elsewhere, loss := 0, 0, time.Duration(0)
	for _, r := range writers {
		failed += r.Failed
	}
	for _, r := range members {
		elsewhere, loss = elsewhere+r.Elsewhere, max(loss, r.LongestLoss)
	}
	slices.Sort(takeOvers)
	slices.Sort(handOvers)
	if len(takeOvers) == 0 || len(handOvers) == 0 {
		return fmt.Errorf("no writer was replaced (%d kills, %d stops): nothing to measure", len(takeOvers), len(handOvers))
	}
	fmt.Fprintf(os.Stderr, "%d runs; a new writer after a kill: median %s of %d; after a stop: median %s of %d\n",
		len(all)+len(writers)+len(members), takeOvers[len(takeOvers)/2], len(takeOvers), handOvers[len(handOvers)/2], len(handOvers))
	report(atLeast("simulated_hours_per_hour", round(operated.Hours()/took.Hours(), 0), "hours", 150))
	report(atMost("60_seeds", round(took.Seconds(), 0), "s", 300))
	report(atMost("violations", float64(violations), "violations", 0))
	report(atMost("new_writer_after_kill", round(slices.Max(takeOvers).Seconds(), 2), "s", (simulatedLease + simulatedRetry*44/10 + time.Second).Seconds()))
	report(atMost("new_writer_after_stop", round(slices.Max(handOvers).Seconds(), 2), "s", 1))
	report(atMost("requests_failed_by_failover_of_writer", float64(failed), "requests", 0))
	report(atMost("requests_failed_elsewhere_by_loss_of_member", float64(elsewhere), "requests", 0))
	report(atMost("loss_of_member", round(loss.Seconds(), 2), "s", faultTolerance.Seconds()+1))
	return nil
}

// faultTolerance is how long traffic managers wait for each other by default
// (fault_tolerance monitor_timeout).
const faultTolerance = 5 * time.Second

// simulate runs seeds in as many processes as there are cores.
func simulate(ctx context.Context, first, last int, alone string) ([]simulated, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(filepath.Dir(self), "simulation")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	go func() {
		defer close(next)
		for seed := first; seed <= last && ctx.Err() == nil; seed++ {
			select {
			case next <- seed:
			case <-ctx.Done():
			}
		}
	}()
	var mu sync.Mutex
	var results []simulated
	var running sync.WaitGroup
	for range runtime.NumCPU() {
		running.Go(func() {
			for seed := range next {
				r, err := simulateOne(ctx, binary, seed, alone)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				results = append(results, r)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return results, context.Cause(ctx)
}

func simulateOne(ctx context.Context, binary string, seed int, alone string) (r simulated, err error) {
	command := exec.CommandContext(ctx, binary, "-test.run=^TestSeed$", "-json", fmt.Sprint("-seed=", seed), "-alone="+alone)
	// Goroutines begin with stacks of the size that others came to need: they are many and
	// short-lived, and growing took a twentieth of the time.
	command.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=adaptivestackstart=1")
	output, ended := command.CombinedOutput()
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if text, is := strings.CutPrefix(lines.Text(), "result "); is {
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return r, err
			}
			if len(r.Violations) > 0 {
				fmt.Fprintf(os.Stderr, "seed %d: %s\n", seed, r.Violations[0].Text)
			}
			r.cpu = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
			return r, nil
		}
	}
	return r, fmt.Errorf("seed %d gave no result: %v: %s", seed, ended, output[max(0, len(output)-500):])
}
