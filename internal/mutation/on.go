//go:build mutations

package mutation

import "sync/atomic"

var chosen atomic.Int32

// On says whether a fault is the one that is chosen.
func On(f Fault) bool { return Fault(chosen.Load()) == f }

// Choose makes f the one that is on; 0: none is.
func Choose(f Fault) { chosen.Store(int32(f)) }

// Without calls do while no fault is on.
func Without(do func()) {
	defer chosen.Store(chosen.Swap(0))
	do()
}
