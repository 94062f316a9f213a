// Package trafficscript runs TrafficScript, the rule language of the traffic
// manager: scanner, parser, compiler to closures, and function library.
//
// A Rule is compiled once and is immutable; any number of transactions run it at
// the same time. Everything a run sees or changes is in the Transaction of its
// Host. The package owns no clock, no network and no goroutine: time, randomness,
// bodies and pools come from the Host.
//
// It never decides what a decision means: choosing nodes, sending answers and
// writing the event log belong to the data plane. It imports internal/ and its
// own package pcre, and nothing else of the project.
//
// # Files
//
// scan.go, ast.go, parse.go and grammar.txt are the syntax; value.go the values;
// libraries.go remembers compiled rule libraries;
// compile.go (statements), compile_expr.go and operators.go turn syntax into
// closures; run.go holds one run, its limits and its conversions; library.go the
// table of functions, lib_*.go their implementations by family, headers.go what
// those of requests and responses share; host.go is what the data plane
// implements, machine.go what it may know beyond the transaction, tables.go what
// users say of the world outside. A new function
// is a row in the table of its family and a call in testdata; the page
// docs/trafficscript-functions.md is then written anew by its test. The page
// docs/trafficscript.md describes the language; its examples are run by a test.
//
// Package pcre below is the backtracking matcher, package tsrun tries rules
// without a data plane.
//
// # What the vendor does not say
//
// Where the traffic manager's documents are silent, this package does:
//
//   - Integers have 64 bits and wrap. Rounding is half away from zero. Doubles
//     print with up to 15 digits. Division by zero warns and gives 0.
//
//   - An index out of range reads "". Writing beyond the end grows the array;
//     a negative index warns.
//
//   - Hashes list their keys sorted; foreach goes over a hash's keys, and over a
//     copy of an array.
//
//   - In '...' a backslash is always itself, in "..." an unknown escape is the
//     character, with a compile warning. Nothing is interpolated.
//
//   - break in a switch leaves the switch. return outside of subs ends the rule.
//
//   - An aborted rule ends alone; what it changed before stays.
//
//   - A failed match leaves $1 to $9 as they were.
//
//   - getHeader joins repeated lines with ", "; addResponseHeader makes a line.
//     Response headers cannot be set in request rules, cookies can.
//
//   - Rules cannot change the lines that frame a message (Content-Length and its
//     kin), and nothing they write begins a new line.
//
//   - A rule library's statements outside of subs do not run.
//
//   - string.encrypt has a format of its own. JSON's true, false and null become
//     1, 0 and "". xml.xpath.matchNodeSet gives elements as XML, without
//     prefixes. User counters are numbered 1 to 10.
//
// Regular expressions are PCRE's on bytes. They run on RE2, in linear time, where
// RE2 means the same, and on package pcre where it lacks the words or means
// something else.
//
// # Limits
//
// Instructions are statements, operators and calls; looking at large values
// counts in proportion, so that the time of a run is bounded by its instructions.
// The limit is on those without waiting: when time passed in a wait, the count
// begins anew, and the Host's context bounds the whole.
// Memory is all that a run ever allocated for values.
package trafficscript
