package trafficscript

import (
	"maps"
	"sync"
)

// Libraries remembers compiled rule libraries, so that a rule of many libraries is
// compiled again for the price of those that changed. The zero value remembers
// nothing yet. It may be used from several goroutines.
type Libraries struct {
	mu    sync.Mutex
	known map[string]*compiledLibrary // by name
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

// RememberLibraries makes Compile take libraries from l, and add to it those that it
// compiles.
func RememberLibraries(l *Libraries) Option { return func(c *compiler) { c.remembered = l } }

// Forget drops a library that is no more.
func (l *Libraries) Forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, name)
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
		l.Forget(name)
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
