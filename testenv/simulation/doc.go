// Package simulation runs the whole system for hours of fake time while
// everything fails, and says by a seed what went wrong.
//
// One run is a function of its seed: how many traffic managers, controllers and
// nodes there are, what users do and when (workload.go), and what fails and when
// (faults.go). Clients ask all the time (clients.go). What must always hold is
// looked at while it runs (check.go), and what must hold once everything is well
// again at its end (quiet.go). docs/simulation.md gives each invariant with its
// reason.
//
// It owns the run, never how a part behaves: the parts are those of production
// and of the sandbox, wired as testenv wires them. It imports testenv,
// sim, controller and internal. Only a test binary uses it, in one
// bubble at a time: what makes a run repeat is process-wide (testenv/bubble).
//
//	run.go            one run from beginning to end
//	system.go         the parts, and each controller's life
//	workload.go       what users do
//	objects.go        the manifests they apply
//	faults.go         what fails, as text
//	clients.go        who asks
//	model.go          what clients must be answered
//	judge.go          whether they are
//	configuration.go  whether what a writer wrote is allowed
//	check.go          what must always hold
//	quiet.go          what must hold once all is well
package simulation
