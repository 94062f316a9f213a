// Package tsrun checks TrafficScript rules and tries them against a request,
// without a traffic manager: for whoever keeps rules in a repository and wants
// them tested. Check and Run are commands, with their flags as field tags for
// the flag parser; a program only has to name them.
//
// It reads the files that it is given, and nothing else: no network, no name
// servers. The clock comes from its caller. It never decides what a rule means;
// that is package trafficscript, beside which it imports nothing of the project.
package tsrun
