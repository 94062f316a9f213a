// Package bubble is the lane in memory: the whole system inside one
// testing/synctest bubble, over sim/network, with fake time.
//
// It owns what has to be switched in a process so that a run repeats (see
// Prepare), and the network of each run. Hours pass in no time and nothing is
// listened on. It imports testenv, sim and internal only. Only test packages of
// their own use it: what it switches is process-wide.
package bubble

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/util/runtime"

	"vtm-ingress/sim/network"
	"vtm-ingress/sim/sandbox"
	"vtm-ingress/testenv"
)

// Repeats says whether a run with the same seed repeats in this build.
const Repeats = network.Repeats

// Prepare makes this process fit for bubbles; call it in TestMain. client-go
// remembers when it last saw an error, process-wide and in real time, and would
// sleep until that is past: for 26 years, in a bubble that begins in 2000.
func Prepare() {
	runtime.ErrorHandlers = runtime.ErrorHandlers[:1]
}

// Settings are those of controllers that differ from the defaults in a bubble:
// client-go's times let several deadlines fall on one instant.
func Settings() map[string]string {
	return map[string]string{"lease_duration": "15s", "renew_deadline": "9.700000013s", "retry_period": "2s"}
}

// Lane is the bubble lane. The zero value is ready.
type Lane struct {
	// Trace, if set, records the requests of the next system that is started.
	Trace *Trace
}

// Trace is what happened in a run, in a form that can be compared.
type Trace = network.Trace

// Name is "bubble".
func (Lane) Name() string { return "bubble" }

// Has says what the lane can do.
func (Lane) Has(c testenv.Capability) bool { return c == testenv.FakeTime }

// Test runs f in a bubble of its own.
func (Lane) Test(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// Start brings a system up on a network of its own.
func (l Lane) Start(ctx context.Context, o testenv.Options) (testenv.Env, error) {
	network.SeedChance(o.Seed)
	n := network.New(network.Options{Seed: o.Seed, Trace: l.Trace})
	return testenv.StartSystem(ctx, testenv.Surroundings{
		World: n.World(), Addresses: sandbox.DefaultAddresses(), Simulated: true,
		PollEvery: 100*time.Millisecond + 13*time.Nanosecond, GiveUpAfter: 5 * time.Minute,
		Settings: Settings(), LeaseDuration: 15 * time.Second, RetryPeriod: 2 * time.Second,
		Cut: n.Cut, Heal: n.Heal,
		Release: func() {
			n.Close()
			// Dials and unread bodies keep goroutines of net/http for up to 90 s.
			time.Sleep(2 * time.Minute)
		},
	}, o)
}
