package trafficscript

import (
	"maps"
	"sync"
)

// Libraries remembers compiled rule libraries, so that a rule of many libraries is
// compiled again for the price of those that changed, and whole rules, so that several
// who have the same ones compile them once. The zero value remembers nothing yet. It
// may be used from several goroutines.
type Libraries struct {
	mu    sync.Mutex
	known map[string]*compiledLibrary // by name
	rules map[string]*compiledRule    // by name
}

// compiledLibrary is a library that imports none itself, and what compiling it
// brings to the rule. Immutable.
type compiledLibrary struct {
	text          string
	variablePools bool
	source        *source
	diags         Diagnostics
	pools         map[string]bool
	regexes       map[regexKey]*regex
}

// compiledRule is a rule as it was compiled, and of what. Immutable.
type compiledRule struct {
	text          string
	variablePools bool
	libraries     []namedLibrary // in the order in which they were asked for
	rule          *Rule
	diags         Diagnostics
}

type namedLibrary struct {
	name string
	*compiledLibrary
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

// rule returns a rule that was compiled of the same text and libraries; nil if there
// is none.
func (l *Libraries) rule(name string, text []byte, variablePools bool, load func(string) ([]byte, bool)) *compiledRule {
	l.mu.Lock()
	known := l.rules[name]
	l.mu.Unlock()
	if known == nil || known.variablePools != variablePools || known.text != string(text) {
		return nil
	}
	for _, used := range known.libraries {
		if now, found := load(used.name); !found || l.take(used.name, now, variablePools) != used.compiledLibrary {
			return nil
		}
	}
	return known
}

// remember keeps a rule for the next time.
func (l *Libraries) remember(name string, known *compiledRule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rules == nil {
		l.rules = map[string]*compiledRule{}
	}
	l.rules[name] = known
}

// take returns the library of this name if it can stand alone, compiled now or
// before; nil if it can't.
func (l *Libraries) take(name string, text []byte, variablePools bool) *compiledLibrary {
	l.mu.Lock()
	known := l.known[name]
	l.mu.Unlock()
	if known != nil && known.text == string(text) && known.variablePools == variablePools {
		return known
	}
	// As if it were a rule that imports it alone: what it brings is gathered apart.
	c := newCompiler(nil)
	c.variablePools = variablePools
	src := c.parse(name, text)
	if src == nil || len(src.file.imports) > 0 {
		l.mu.Lock()
		delete(l.known, name)
		l.mu.Unlock()
		return nil
	}
	c.finishLibrary(src)
	lib := &compiledLibrary{string(text), variablePools, src, c.diags, c.pools, c.regexes}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[string]*compiledLibrary{}
	}
	l.known[name] = lib
	return lib
}

// adopt makes a remembered library one of the rule that is compiled.
func (c *compiler) adopt(lib *compiledLibrary) *source {
	c.diags = append(c.diags, lib.diags...)
	maps.Copy(c.pools, lib.pools)
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
