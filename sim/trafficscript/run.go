package trafficscript

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	defaultInstructions = 100_000
	defaultDepth        = 200
	defaultMemory       = 64 << 20
	defaultRegexSteps   = 10_000_000

	// endedByBreak is the End of a rule left by a break outside of loops; Run
	// returns it as Finished.
	endedByBreak End = 255

	// maxWarnings is how many warnings one run writes to the event log; the
	// rest is counted as instructions alone.
	maxWarnings = 100
	// checkEvery is after how many instructions a run looks at its context.
	checkEvery = 1024
	// valueSize is what an element of an aggregate counts as memory.
	valueSize = 64
)

// run is one execution of a rule. It belongs to one goroutine.
type run struct {
	rule *Rule
	host Host
	tx   *Transaction
	ctx  context.Context

	limits    Limits
	steps     int // instructions since the rule last waited
	total     int // instructions before that
	nextCheck int // steps at which the limits are looked at again
	waited    time.Duration
	bigBuffer bool // rulebufferlarge was told
	memory    int
	depth     int
	warnings  int

	locals   []value   // of the running sub, or of the rule
	free     []value   // locals not in use, for the next calls
	args     []value   // stack of arguments of library calls
	result   value     // of the sub that returns
	captures [10]value // $1 to $9; 0 is not used

	line int   // of the call or statement that runs
	unit *unit // whose code runs: its strictness

	ended   End   // not Finished: unwind; nothing that has an effect runs any more
	err     error // why it was aborted
	regexes map[regexKey]*regex
	form    *formParams
}

// Run executes the rule for one transaction. It returns when the rule ended,
// with what that means for the later rules of the phase. It may be called from
// several goroutines, each with a Host of its own.
func (r *Rule) Run(ctx context.Context, h Host, limits Limits) Result {
	if limits.Instructions <= 0 {
		limits.Instructions = defaultInstructions
	}
	if limits.Depth <= 0 {
		limits.Depth = defaultDepth
	}
	if limits.Memory <= 0 {
		limits.Memory = defaultMemory
	}
	if limits.RegexSteps <= 0 {
		limits.RegexSteps = defaultRegexSteps
	}
	x := &run{rule: r, host: h, tx: h.Transaction(), ctx: ctx, limits: limits, unit: r.main, line: 1}
	if limits.RegexWarnPercent <= 0 {
		x.limits.RegexWarnPercent = regexWarnPercent
	}
	x.nextCheck = min(checkEvery, limits.Instructions)
	x.locals = x.frame(r.slots)
	var began time.Time
	if limits.TimeWarning > 0 {
		began = h.Now()
	}
	r.body(x)
	if x.ended == endedByBreak {
		x.ended = Finished
	}
	if limits.TimeWarning > 0 {
		x.tellTime(h.Now().Sub(began) - x.waited)
	}
	return Result{End: x.ended, Err: x.err, Instructions: x.total + min(x.steps, limits.Instructions)}
}

// tellTime warns of a rule that kept the processor for long.
func (r *run) tellTime(took time.Duration) {
	if took <= r.limits.TimeWarning {
		return
	}
	r.host.Log(Event{Level: LevelWarn, Tag: "ruleoverrun", Rule: r.rule.name, Line: 1, Message: printable(fmt.Sprintf(
		"WARNING: Rule %s: it ran for %d ms, more than trafficscript!execution_time_warning (%d ms)",
		r.rule.name, took.Milliseconds(), r.limits.TimeWarning.Milliseconds()))})
}

// waits begins a wait of the rule for something else, and returns what ends it.
// Time that passes in it is not the rule's, and after it the rule may use as many
// instructions again: the limit is on those without yielding.
func (r *run) waits() func() {
	r.host.Waiting()
	began := r.host.Now()
	return func() {
		passed := r.host.Now().Sub(began)
		if passed <= 0 {
			return
		}
		r.waited += passed
		r.total += r.steps
		r.steps = 0
		r.nextCheck = min(checkEvery, r.limits.Instructions)
	}
}

// buffered warns, once, that the rule made the traffic manager keep much of a
// message in memory.
func (r *run) buffered(n int) {
	if limit := r.limits.MemoryWarning; limit > 0 && n > limit && !r.bigBuffer {
		r.bigBuffer = true
		r.warn("rulebufferlarge", "the rule buffers %d bytes of data, more than trafficscript!memory_warning (%d)", n, limit)
	}
}

// frame returns n empty locals. release gives them back.
func (r *run) frame(n int) []value {
	if n > len(r.free) {
		size := max(n, 16)
		if !r.alloc(size * valueSize) {
			size = n // the run ends before it could take more
		}
		r.free = make([]value, size)
	}
	f := r.free[:n:n]
	r.free = r.free[n:]
	return f
}

// use counts instructions. It returns false when the run must end.
func (r *run) use(n int) bool {
	r.steps += n
	if r.steps > r.nextCheck {
		r.check()
	}
	return r.ended == Finished
}

func (r *run) check() {
	if r.steps > r.limits.Instructions {
		r.abort("the rule used more than %d instructions without an end: look for a loop that never ends", r.limits.Instructions)
		return
	}
	if err := r.ctx.Err(); err != nil {
		r.abort("%s", waitError(err))
		return
	}
	r.nextCheck = min(r.steps+checkEvery, r.limits.Instructions)
}

// waitError says why waiting or running ended early.
func waitError(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "the transaction timed out while the rule was running"
	}
	if errors.Is(err, context.Canceled) {
		return "the connection ended while the rule was running"
	}
	return err.Error()
}

// alloc counts bytes of new values. It returns false when that is too much; the
// caller then allocates nothing.
func (r *run) alloc(n int) bool {
	if n < 0 || n > r.limits.Memory-r.memory {
		r.abort("the rule made values of more than %d bytes", r.limits.Memory)
		return false
	}
	r.memory += n
	return true
}

// work counts instructions for looking at n bytes, so that a few calls on large
// strings do not take unbounded time.
func (r *run) work(n int) bool {
	if n < 1024 {
		return true
	}
	return r.use(n >> 10)
}

// stop ends the rule, and by end tells if later rules run.
func (r *run) stop(end End) {
	if r.ended == Finished {
		r.ended = end
	}
}

func (r *run) where() string { return fmt.Sprintf("Rule %s: Line %d: ", r.unit.name, r.line) }

// abort ends the rule with an error, once.
func (r *run) abort(format string, args ...any) {
	if r.ended != Finished {
		return
	}
	r.ended = Aborted
	r.err = errors.New(printable(r.where() + fmt.Sprintf(format, args...)))
	r.host.Log(Event{Level: LevelSerious, Tag: "ruleabort", Rule: r.rule.name, Line: r.line, Message: r.err.Error()})
}

// warn writes a warning that names rule and line, and goes on.
func (r *run) warn(tag, format string, args ...any) {
	if r.ended != Finished {
		return
	}
	r.warnings++
	if r.warnings > maxWarnings || !r.use(1) {
		return
	}
	message := "WARNING: " + r.where() + fmt.Sprintf(format, args...)
	if r.warnings == maxWarnings {
		message += " (the last warning of this run)"
	}
	r.host.Log(Event{Level: LevelWarn, Tag: tag, Rule: r.rule.name, Line: r.line, Message: printable(message)})
}

// misuse is a wrong use of a value: a warning, or the rule's end after import
// strict.
func (r *run) misuse(format string, args ...any) {
	if r.unit.strict {
		r.abort(format, args...)
		return
	}
	r.warn("rulelogmsgwarn", format, args...)
}

// Conversions. Those that make no sense warn and give 0, or the empty aggregate.

func (r *run) cannotConvert(v value, to string) {
	from := "string"
	switch {
	case v.kind == kindInt:
		from = "integer"
	case v.kind == kindDouble:
		from = "double"
	case v.kind == kindAggregate && v.agg.isHash():
		from = "hash"
	case v.kind == kindAggregate:
		from = "array"
	}
	r.misuse("Cannot convert %s to %s value", from, to)
}

func (r *run) toString(v value) string {
	switch v.kind {
	case kindString:
		return v.str
	case kindInt:
		return strconv.FormatInt(v.int(), 10)
	case kindDouble:
		return formatDouble(v.double())
	}
	r.cannotConvert(v, "string")
	return "0"
}

// toNumber returns an int or a double; a string by its look.
func (r *run) toNumber(v value) value {
	switch v.kind {
	case kindInt, kindDouble:
		return v
	case kindString:
		return numberOf(v.str)
	}
	r.cannotConvert(v, "number")
	return intValue(0)
}

func (r *run) toInt(v value) int64 {
	switch v.kind {
	case kindInt:
		return v.int()
	case kindAggregate:
		r.cannotConvert(v, "integer")
		return 0
	}
	n := r.toNumber(v)
	if n.kind == kindDouble {
		return roundToInt(n.double())
	}
	return n.int()
}

func (r *run) toDouble(v value) float64 {
	switch v.kind {
	case kindDouble:
		return v.double()
	case kindInt:
		return float64(v.int())
	case kindAggregate:
		r.cannotConvert(v, "double")
		return 0
	}
	n := numberOf(v.str)
	if n.kind == kindInt {
		return float64(n.int())
	}
	return n.double()
}

// toArray returns the aggregate if it is an array, else warns and returns nil. A
// variable never set counts as an empty array when it is written to, which is
// the caller's business.
func (r *run) toArray(v value) *aggregate {
	if v.kind != kindAggregate || v.agg.isHash() {
		r.cannotConvert(v, "array")
		return nil
	}
	return v.agg
}

func (r *run) toHash(v value) *aggregate {
	if v.kind != kindAggregate || v.agg.len() > 0 && !v.agg.isHash() {
		r.cannotConvert(v, "hash")
		return nil
	}
	return v.agg
}

// owned makes the aggregate writable, with room for extra elements counted.
func (r *run) owned(a *aggregate, extra int) bool {
	size := extra
	if a.shared {
		size += a.len()
		if !r.work(a.len() * 16) {
			return false
		}
	}
	if !r.alloc(size * valueSize) {
		return false
	}
	a.own()
	return true
}

// compare returns x <=> y: one double makes both doubles, else one integer makes
// both integers, else they are strings. unordered is a comparison with NaN.
func (r *run) compare(x, y value) (order int, unordered bool) {
	switch {
	case x.kind == kindString && y.kind == kindString:
		r.work(min(len(x.str), len(y.str)))
		switch {
		case x.str < y.str:
			return -1, false
		case x.str > y.str:
			return 1, false
		}
		return 0, false
	case x.kind == kindDouble || y.kind == kindDouble:
		a, b := r.toDouble(x), r.toDouble(y)
		switch {
		case a < b:
			return -1, false
		case a > b:
			return 1, false
		}
		return 0, a != b
	}
	a, b := r.toInt(x), r.toInt(y)
	switch {
	case a < b:
		return -1, false
	case a > b:
		return 1, false
	}
	return 0, false
}

// equal is ==.
func (r *run) equal(x, y value) bool {
	if x.kind == kindString && y.kind == kindString {
		return len(x.str) == len(y.str) && r.work(len(x.str)) && x.str == y.str
	}
	order, unordered := r.compare(x, y)
	return order == 0 && !unordered
}
