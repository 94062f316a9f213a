// Package loopback is the lane with real sockets on this machine's loopback
// addresses and real time.
//
// It owns the choice of addresses, so that several test processes and a sandbox
// can run beside each other. What it starts can be reached by any program on this
// machine. It imports testenv, sim/sandbox and internal only.
package loopback

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/sandbox"
	"vtm-ingress/testenv"
)

// Lane is the loopback lane. The zero value is ready.
type Lane struct{}

// Name is "loopback".
func (Lane) Name() string { return "loopback" }

// Has says what the lane can do.
func (Lane) Has(c testenv.Capability) bool { return c == testenv.RealSockets }

// Test runs f as it is.
func (Lane) Test(t *testing.T, name string, f func(*testing.T)) { t.Run(name, f) }

// Start brings a system up in a block of addresses that nobody else has.
func (Lane) Start(ctx context.Context, o testenv.Options) (testenv.Env, error) {
	addresses, release, err := claim()
	if err != nil {
		return nil, err
	}
	return testenv.StartSystem(ctx, testenv.Surroundings{
		World: outside.Real(), Addresses: addresses, Release: release,
		PollEvery: 20 * time.Millisecond, GiveUpAfter: 30 * time.Second,
		// Scaled down: who waits for a dead writer waits for real.
		Settings:      map[string]string{"lease_duration": "5s", "renew_deadline": "3s", "retry_period": "500ms"},
		LeaseDuration: 5 * time.Second, RetryPeriod: 500 * time.Millisecond, LookEvery: time.Second,
	}, o)
}

// blocks is how many systems may run on one machine at one time.
const blocks = 48

// claim takes the first free block: 127.(16+n).0.0/16 for the parts, and
// 127.(68+n).0.0/16 for mapped addresses. A socket in it is the lock, which the
// kernel gives back when a process dies.
func claim() (sandbox.Addresses, func(), error) {
	for n := range blocks {
		part := byte(16 + n)
		lock, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:9999", part))
		if err != nil {
			continue
		}
		// Somebody may be there who doesn't know of locks.
		probe, err := net.Listen("tcp", fmt.Sprintf("127.%d.3.1:6443", part))
		if err != nil {
			lock.Close()
			continue
		}
		probe.Close()
		return sandbox.AddressesIn(part, byte(68+n)), func() { lock.Close() }, nil
	}
	return sandbox.Addresses{}, nil, fmt.Errorf("all %d blocks of loopback addresses are in use", blocks)
}
