// Package trafficscript runs TrafficScript, the rule language of the traffic
// manager: scanner, parser, compiler to closures, and function library.
//
// A Rule is compiled once and is immutable; any number of transactions run it at
// the same time. Everything a run sees or changes is in the Transaction of its
// Host. The package owns no clock, no network and no goroutine: time, randomness,
// bodies and pools come from the Host.
//
// It never decides what a decision means: choosing nodes, sending answers and
// writing the event log belong to the data plane. It imports internal/facts and
// nothing else of the project.
//
// Files: scan.go, ast.go, parse.go and grammar.txt the syntax; value.go the
// values and their conversions; compile*.go from syntax to closures; run.go the
// limits of a run; library.go the table of functions, lib_*.go their
// implementations, by family; host.go what the data plane implements.
package trafficscript
