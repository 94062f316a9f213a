package trafficscript

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"vtm-ingress/sim/trafficscript/pcre"
)

// regexFunctions work on bytes: \xe9 and . match one byte. A pattern runs on RE2,
// in linear time, where RE2 means the same as PCRE by it; else on the backtracking
// matcher of package pcre, within a budget of steps.
var regexFunctions = []function{
	fn("string.regexmatch", 2, 3, regexMatch).checked(func(c *compiler, x *callExpr) { checkRegex(c, x, 2) }),
	fn("string.regexsub", 3, 4, regexSub).checked(func(c *compiler, x *callExpr) { checkRegex(c, x, 3) }),
	textFn("string.regexescape", regexEscape),
}

// regex is a compiled pattern. It is immutable.
type regex struct {
	re    *regexp.Regexp // nil: back alone
	back  *pcre.Regexp   // nil: re alone; with re, for subjects that end with a newline, where $ differs
	bytes bool           // the pattern has bytes above 127, so that subjects are always widened
	size  int            // instructions of the matcher, which RE2 takes for each byte at worst
	err   error
}

// regexKey is what a regex is made of.
type regexKey struct {
	pattern string
	fold    bool
}

const (
	maxPattern = 64 << 10
	// maxRegexes bounds the patterns that one run keeps compiled, as
	// trafficscript!regex_cache_size does.
	maxRegexes = 57
	// maxRuleRegexes bounds the instructions of all literal patterns of one rule
	// with its libraries.
	maxRuleRegexes = 1 << 20
)

// widen turns each byte into the rune of its number, by which RE2, which knows
// runes, works on bytes.
func widen(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// narrow undoes widen.
func narrow(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range s {
		b = append(b, byte(c))
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func compileRegex(pattern string, fold bool) *regex {
	if len(pattern) > maxPattern {
		return &regex{err: fmt.Errorf("a regular expression longer than %d bytes", maxPattern)}
	}
	x := &regex{bytes: !isASCII(pattern), size: len(pattern)}
	text := pattern
	if x.bytes {
		text = widen(pattern)
	}
	if fold {
		text = "(?i)" + text
	}
	re, err := regexp.Compile(text)
	differs := err != nil || unlikeRE2.MatchString(pattern)
	if differs || strings.Contains(pattern, "$") {
		if x.back, x.err = pcre.Compile(pattern, fold); x.err == nil {
			x.size = x.back.Size()
		}
	}
	if differs || x.err != nil {
		return x
	}
	x.re = re
	if tree, err := syntax.Parse(text, syntax.Perl); err == nil {
		if prog, err := syntax.Compile(tree.Simplify()); err == nil {
			x.size += len(prog.Inst)
		}
	}
	return x
}

// unlikeRE2 finds what RE2 takes and means otherwise than PCRE: \v, numbers that
// may be backreferences, (?m), whose ^ matches after a final newline, and numbers
// in {} that begin with 0.
var unlikeRE2 = regexp.MustCompile(`\\[1-9v]|\(\?[a-zA-Z]*m|\{[0-9,]*0[0-9]`)

// checkRegex compiles a literal pattern once for all runs.
func checkRegex(c *compiler, x *callExpr, flagArg int) {
	pattern, ok := x.args[1].(*literal)
	if !ok || pattern.val.kind != kindString {
		return
	}
	fold := false
	if len(x.args) > flagArg {
		flags, ok := x.args[flagArg].(*literal)
		if !ok || flags.val.kind != kindString {
			return
		}
		fold = strings.Contains(flags.val.str, "i")
	}
	key := regexKey{pattern.val.str, fold}
	if c.regexes[key] != nil || c.regexSize > maxRuleRegexes {
		return
	}
	re := compileRegex(key.pattern, fold)
	if re.err != nil {
		c.errorf(pattern.pos, "%s", re.err)
	}
	if c.regexSize += re.size; c.regexSize > maxRuleRegexes {
		c.errorf(pattern.pos, "the regular expressions of the rule are too large together")
	}
	c.regexes[key] = re
}

// regex returns the compiled pattern, or nil after telling what is wrong with
// it: what is not emulated aborts the rule, since a wrong answer would be
// silent; what PCRE refuses too is a warning.
func (r *run) regex(pattern string, fold bool) *regex {
	key := regexKey{pattern, fold}
	re := r.rule.regexes[key]
	if re == nil {
		re = r.regexes[key]
	}
	if re == nil {
		if !r.work(len(pattern) * 64) {
			return nil
		}
		re = compileRegex(pattern, fold)
		r.work(re.size * 64)
		if r.regexes == nil {
			r.regexes = make(map[regexKey]*regex)
		}
		if len(r.regexes) < maxRegexes {
			r.regexes[key] = re
		}
	}
	switch {
	case re.err == nil:
		return re
	case errors.Is(re.err, pcre.ErrNotEmulated):
		r.abort("%s", re.err)
	default:
		r.misuse("%s", re.err)
	}
	return nil
}

// matches are places in a subject.
type matches struct {
	subject string
	widened bool
	at      [][]int // of each match: bounds, and those of each group, -1 for none
}

// part returns a piece of the original subject.
func (m *matches) part(from, to int) string {
	if m.widened {
		return narrow(m.subject[from:to])
	}
	return m.subject[from:to]
}

// find returns up to limit matches of x in s, and counts its work. An empty match
// does not directly follow another match.
func (r *run) find(x *regex, s string, limit int) *matches {
	m := &matches{subject: s}
	if x.re != nil && (x.back == nil || !strings.HasSuffix(s, "\n")) {
		if !r.work(len(s) * x.size) {
			return m
		}
		if m.widened = x.bytes || !isASCII(s); m.widened {
			m.subject = widen(s)
		}
		m.at = x.re.FindAllStringSubmatchIndex(m.subject, limit)
		return m
	}
	// A run's instructions bound the steps of all its matches together.
	steps := min(r.limits.RegexSteps, (r.limits.Instructions-r.steps+1)*stepsPerInstruction)
	left := steps
	for from, last := 0, -1; len(m.at) < limit && from <= len(s); {
		loc, err := x.back.Match(s, from, &left)
		if err != nil {
			r.abort("matching a regular expression took more than %d steps (trafficscript!regex_match_limit)", steps)
			break
		}
		if loc == nil {
			break
		}
		if loc[1] > loc[0] || loc[0] != last {
			m.at = append(m.at, loc)
			if !r.alloc(len(loc) * 8) {
				break
			}
		}
		if last = loc[1]; last > from {
			from = last
		} else {
			from++
		}
	}
	used := steps - max(left, 0)
	if warn := r.limits.RegexSteps / 100 * r.limits.RegexWarnPercent; used > warn && r.ended == Finished {
		r.warn("rulelogmsgwarn", "matching a regular expression took %d steps, more than %d%% of trafficscript!regex_match_limit", used, r.limits.RegexWarnPercent)
	}
	r.use(used / stepsPerInstruction)
	return m
}

const (
	// stepsPerInstruction is how many steps of the backtracking matcher count as
	// one instruction.
	stepsPerInstruction = 128
	// regexWarnPercent is the default of trafficscript!regex_match_warn_percentage.
	regexWarnPercent = 5
)

// regexMatch sets $1 to $9 when it matches: groups that took no part are "".
// A failed match leaves them.
func regexMatch(r *run, a []value) value {
	s, pattern := r.toString(a[0]), r.toString(a[1])
	re := r.regex(pattern, strings.Contains(r.stringArg(a, 2), "i"))
	if re == nil {
		return intValue(0)
	}
	found := r.find(re, s, 1)
	if len(found.at) == 0 {
		return intValue(0)
	}
	m := found.at[0]
	for i := 1; i < len(r.captures); i++ {
		r.captures[i] = value{}
		if 2*i < len(m) && m[2*i] >= 0 {
			r.captures[i] = stringValue(found.part(m[2*i], m[2*i+1]))
		}
	}
	return intValue(1)
}

// regexSub replaces the first match, or all with flag g. $1 to $9 in the
// replacement are groups, and a backslash takes its meaning from the next
// character.
func regexSub(r *run, a []value) value {
	s, pattern, replacement, flags := r.toString(a[0]), r.toString(a[1]), r.toString(a[2]), r.stringArg(a, 3)
	re := r.regex(pattern, strings.Contains(flags, "i"))
	if re == nil {
		return stringValue(s)
	}
	limit := 1
	if strings.Contains(flags, "g") {
		limit = max(1, (r.limits.Memory-r.memory)/valueSize)
	}
	found := r.find(re, s, limit)
	if !r.alloc(len(found.at) * valueSize) {
		return value{}
	}
	var b strings.Builder
	at := 0
	for _, m := range found.at {
		b.WriteString(found.part(at, m[0]))
		for i := 0; i < len(replacement); i++ {
			c := replacement[i]
			next := byte(0)
			if i+1 < len(replacement) {
				next = replacement[i+1]
			}
			switch {
			case c == '\\' && next != 0:
				b.WriteByte(next)
				i++
			case c == '$' && next >= '1' && next <= '9':
				if g := int(next - '0'); 2*g < len(m) && m[2*g] >= 0 {
					b.WriteString(found.part(m[2*g], m[2*g+1]))
				}
				i++
			default:
				b.WriteByte(c)
			}
		}
		at = m[1]
		if b.Len() > r.limits.Memory {
			break
		}
	}
	b.WriteString(found.part(at, len(found.subject)))
	return r.text(b.String())
}

// regexEscape puts a backslash before all but letters, digits and _.
func regexEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && s[i] < 0x80 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
