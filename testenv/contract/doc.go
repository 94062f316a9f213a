// Package contract holds the checks that need both sides: what the controller
// emits, put into the emulated traffic manager and read as its users read it.
//
// It owns tests alone. Neither controller nor sim may import the other, not even
// in tests; here both may be imported.
package contract
