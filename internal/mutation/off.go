//go:build !mutations

package mutation

// On says whether a fault is chosen: never.
func On(Fault) bool { return false }

// Without calls do while no fault is on.
func Without(do func()) { do() }
