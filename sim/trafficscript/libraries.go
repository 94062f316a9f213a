package trafficscript

import (
	"slices"
	"sync"
)

// maxVersions is how many versions of a rule are remembered: a change is tried before
// it is made, and traffic managers that share a memory have it one after the other.
const maxVersions = 4

// Libraries remembers compiled rule libraries, so that a rule of many libraries is
// compiled again for the price of those that changed, and whole rules, so that several
// who have the same ones compile them once: of each the last few versions. The zero
// value remembers nothing yet. It may be used from several goroutines.
type Libraries struct {
	mu    sync.Mutex
	known map[string][]*compiledLibrary // by name, the one used last first; replaced, never changed
	rules map[string][]*compiledRule    // by name, as known
}

// compiledLibrary is a library that imports none itself, and what compiling it
// brings to the rule. Immutable.
type compiledLibrary struct {
	text          string
	variablePools bool
	source        *source
	diags         Diagnostics
	part          *Part
	regexes       map[regexKey]*regex
}

// compiledRule is a rule as it was compiled, and of what. Immutable.
type compiledRule struct {
	text          string
	variablePools bool
	libraries     []loaded // in the order in which they were asked for
	rule          *Rule
	diags         Diagnostics
}

// RememberLibraries makes Compile take libraries from l, and add to it those that it
// compiles.
func RememberLibraries(l *Libraries) Option { return func(c *compiler) { c.remembered = l } }

// Forget drops a library that is no more.
func (l *Libraries) Forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, name)
	delete(l.rules, name)
}

// usedNow returns the versions with one at the front, and without that which was not
// used for longest if they are too many.
func usedNow[T any](versions []*T, now *T) []*T {
	if len(versions) > 0 && versions[0] == now {
		return versions
	}
	next := append(make([]*T, 0, maxVersions), now)
	for _, v := range versions {
		if v != now && len(next) < maxVersions {
			next = append(next, v)
		}
	}
	return next
}

// rule returns a rule that was compiled of the same text and libraries; nil if there
// is none.
func (l *Libraries) rule(name, text string, variablePools bool, load *loader) *compiledRule {
	l.mu.Lock()
	versions := l.rules[name]
	l.mu.Unlock()
	for _, v := range versions {
		if v.text == text && v.variablePools == variablePools && v.madeOf(load) {
			l.remember(v)
			return v
		}
	}
	return nil
}

// madeOf tells whether the libraries of a rule are what load gives.
func (r *compiledRule) madeOf(load *loader) bool {
	load.asked = slices.Grow(load.asked, max(0, len(r.libraries)-len(load.asked)))
	for i, lib := range r.libraries {
		if text, found := load.text(i, lib.name); !found || text != lib.text {
			return false
		}
	}
	return true
}

// remember keeps a rule for the next time.
func (l *Libraries) remember(used *compiledRule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rules == nil {
		l.rules = make(map[string][]*compiledRule)
	}
	l.rules[used.rule.name] = usedNow(l.rules[used.rule.name], used)
}

// take returns the library of this name if it can stand alone, compiled now or
// before; nil if it can't.
func (l *Libraries) take(name, text string, variablePools bool) *compiledLibrary {
	l.mu.Lock()
	versions := l.known[name]
	l.mu.Unlock()
	for _, v := range versions {
		if v.text == text && v.variablePools == variablePools {
			l.keep(v)
			return v
		}
	}
	// As if it were a rule that imports it alone: what it brings is gathered apart.
	c := newCompiler(&loader{})
	c.variablePools = variablePools
	src := c.parse(name, text)
	if src == nil || len(src.file.imports) > 0 {
		return nil
	}
	c.finishLibrary(src)
	lib := c.asLibrary(src, text, c.parts[0])
	l.keep(lib)
	return lib
}

// asLibrary is what c has compiled, to be remembered: without the syntax tree.
func (c *compiler) asLibrary(src *source, text string, part *Part) *compiledLibrary {
	return &compiledLibrary{text, c.variablePools, &source{unit: src.unit, subs: src.subs}, c.diags, part, c.regexes}
}

// keep keeps a library for the next time.
func (l *Libraries) keep(used *compiledLibrary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = make(map[string][]*compiledLibrary)
	}
	l.known[used.part.Name] = usedNow(l.known[used.part.Name], used)
}

// adopt makes a remembered library one of the rule that is compiled.
func (c *compiler) adopt(lib *compiledLibrary) *source {
	c.diags = append(c.diags, lib.diags...)
	c.parts = append(c.parts, lib.part)
	for key, re := range lib.regexes {
		if c.regexes[key] == nil {
			c.regexes[key] = re
			c.regexSize += re.size
		}
	}
	if c.regexSize > maxRuleRegexes {
		c.report(Error, lib.source.unit, pos{1, 1}, "the regular expressions of the rule are too large together")
	}
	return lib.source
}
