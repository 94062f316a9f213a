package trafficscript

import (
	"fmt"
	"time"
)

// Severity tells an error, which keeps a rule from running, from a warning.
type Severity uint8

const (
	Error Severity = iota
	Warning
)

// Diagnostic is one finding of Compile.
type Diagnostic struct {
	Severity Severity
	Rule     string // the rule or library it was found in
	Line     int    // from 1
	Column   int    // from 1, in bytes
	Message  string // "expected ';' before 'if'"
}

// String returns "Line 3: expected ';' before 'if'".
func (d Diagnostic) String() string { return fmt.Sprintf("Line %d: %s", d.Line, d.Message) }

// Diagnostics are the findings about a rule, sorted by position.
type Diagnostics []Diagnostic

// Errors returns those that are errors.
func (ds Diagnostics) Errors() Diagnostics {
	var errs Diagnostics
	for _, d := range ds {
		if d.Severity == Error {
			errs = append(errs, d)
		}
	}
	return errs
}

// Limits bound one run. Zero values mean the traffic manager's defaults, but for
// warnings, of which there are then none.
type Limits struct {
	Instructions int // without waiting in between: global setting trafficscript!max_instr; default 100,000
	Depth        int // nested calls of subs; default 200
	RegexSteps   int // of the backtracking matcher in one call: trafficscript!regex_match_limit; default 10,000,000
	Memory       int // bytes a run may allocate for values, all together, freed ones too; default 64 MiB

	RegexWarnPercent int           // of RegexSteps: trafficscript!regex_match_warn_percentage; default 5
	MemoryWarning    int           // bytes of a message that a rule keeps in memory, before a warning: trafficscript!memory_warning
	TimeWarning      time.Duration // that a rule runs, waiting not counted, before a warning: trafficscript!execution_time_warning
}

// End tells how a run ended.
type End uint8

const (
	Finished End = iota // the later rules of the phase run
	Decided             // an action ended this rule and all later ones of the phase
	Aborted             // an error or a limit ended the rule; Result.Err tells which
)

// Result is how a run ended.
type Result struct {
	End          End
	Err          error // set when Aborted: "Rule web: Line 3: ..."; also logged as ruleabort
	Instructions int   // used
}
