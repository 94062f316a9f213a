// Package mutation puts deliberate faults into the controller, one at a time, so
// that the simulation can show that it would find them (docs/mutations.md).
//
// A build without the tag mutations has none of it: On is a constant there, and the
// compiler leaves out what it guards; a test looks into a binary. It imports nothing of
// this module.
//
//	faults.go  their names
//	off.go     builds for production: nothing is ever on
//	on.go      builds with the tag: which one is on is chosen at run time
package mutation
