package trafficscript

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// regexFunctions work on bytes: \xe9 and . match one byte. Patterns run on RE2,
// which has no backtracking; what it lacks of PCRE is refused by name.
var regexFunctions = []function{
	fn("string.regexmatch", 2, 3, regexMatch).checked(func(c *compiler, x *callExpr) { checkRegex(c, x, 2) }),
	fn("string.regexsub", 3, 4, regexSub).checked(func(c *compiler, x *callExpr) { checkRegex(c, x, 3) }),
	textFn("string.regexescape", regexEscape),
}

// regex is a compiled pattern. It is immutable.
type regex struct {
	re    *regexp.Regexp
	bytes bool // the pattern has bytes above 127, so that subjects are always widened
	size  int  // instructions of the matcher, which matching takes for each byte at worst
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
	x := &regex{bytes: !isASCII(pattern)}
	text := pattern
	if x.bytes {
		text = widen(pattern)
	}
	if fold {
		text = "(?i)" + text
	}
	re, err := regexp.Compile(text)
	if err != nil {
		x.err = regexError(pattern, err)
		return x
	}
	x.re = re
	x.size = len(text)
	if tree, err := syntax.Parse(text, syntax.Perl); err == nil {
		if prog, err := syntax.Compile(tree.Simplify()); err == nil {
			x.size = len(prog.Inst)
		}
	}
	return x
}

// errNotEmulated marks patterns that PCRE knows and RE2 does not.
var errNotEmulated = errors.New("not emulated")

// regexError tells what is wrong with a pattern, or what of PCRE is missing
// here.
func regexError(pattern string, err error) error {
	var bad *syntax.Error
	if !errors.As(err, &bad) {
		return err
	}
	missing := ""
	switch {
	case strings.HasPrefix(bad.Expr, "(?<=") || strings.HasPrefix(bad.Expr, "(?<!"):
		missing = "lookbehind"
	case bad.Code == syntax.ErrInvalidPerlOp && (strings.HasPrefix(bad.Expr, "(?=") || strings.HasPrefix(bad.Expr, "(?!")):
		missing = "lookahead"
	case bad.Code == syntax.ErrInvalidPerlOp || bad.Code == syntax.ErrInvalidNamedCapture:
		missing = "the group"
	case bad.Code == syntax.ErrInvalidEscape && len(bad.Expr) == 2 && isDigit(bad.Expr[1]) || bad.Code == syntax.ErrInvalidEscape && strings.HasPrefix(bad.Expr, `\k`):
		missing = "the backreference"
	case bad.Code == syntax.ErrInvalidEscape && len(bad.Expr) == 2 && strings.ContainsRune("ZGKRXhHvVNg", rune(bad.Expr[1])):
		missing = "the escape"
	case bad.Code == syntax.ErrInvalidRepeatOp && strings.HasSuffix(bad.Expr, "+"):
		missing = "the possessive quantifier"
	case bad.Code == syntax.ErrInvalidRepeatSize, bad.Code == syntax.ErrLarge:
		missing = "so large a repetition"
	}
	if missing == "" {
		return fmt.Errorf("'%s' is no regular expression: %s: %s", pattern, bad.Code, bad.Expr)
	}
	return fmt.Errorf("%w: %s %s in the regular expression '%s'", errNotEmulated, missing, bad.Expr, pattern)
}

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
	case errors.Is(re.err, errNotEmulated):
		r.abort("%s", re.err)
	default:
		r.misuse("%s", re.err)
	}
	return nil
}

// subject returns s as the pattern needs it, and how to turn matches back.
func (x *regex) subject(s string) (string, func(string) string) {
	if !x.bytes && isASCII(s) {
		return s, func(m string) string { return m }
	}
	return widen(s), narrow
}

// charge counts the work of matching: at worst the matcher's size for each byte
// of the subject.
func (r *run) charge(x *regex, subject string) bool {
	return r.work(len(subject) * x.size)
}

// regexMatch sets $1 to $9 when it matches: groups that took no part are "".
// A failed match leaves them.
func regexMatch(r *run, a []value) value {
	s, pattern := r.toString(a[0]), r.toString(a[1])
	re := r.regex(pattern, strings.Contains(r.stringArg(a, 2), "i"))
	if re == nil || !r.charge(re, s) {
		return intValue(0)
	}
	subject, back := re.subject(s)
	m := re.re.FindStringSubmatchIndex(subject)
	if m == nil {
		return intValue(0)
	}
	for i := 1; i < len(r.captures); i++ {
		r.captures[i] = value{}
		if 2*i < len(m) && m[2*i] >= 0 {
			r.captures[i] = stringValue(back(subject[m[2*i]:m[2*i+1]]))
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
	if re == nil || !r.charge(re, s) {
		return stringValue(s)
	}
	subject, back := re.subject(s)
	limit := 1
	if strings.Contains(flags, "g") {
		limit = max(1, (r.limits.Memory-r.memory)/valueSize)
	}
	var b strings.Builder
	at := 0
	matches := re.re.FindAllStringSubmatchIndex(subject, limit)
	if !r.alloc(len(matches) * valueSize) {
		return value{}
	}
	for _, m := range matches {
		b.WriteString(back(subject[at:m[0]]))
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
					b.WriteString(back(subject[m[2*g]:m[2*g+1]]))
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
	b.WriteString(back(subject[at:]))
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
