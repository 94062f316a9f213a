package dataplane

import (
	"slices"
	"sync/atomic"

	"vtm-ingress/sim/trafficscript"
)

// rule is one rule or rule library at run time.
type rule struct {
	name string

	stats    ruleStats
	compiled atomic.Pointer[trafficscript.Rule] // nil: it has errors, and is skipped

	// Under DataPlane.mu.

	conf *Rule
	// asked are the libraries that compiling it asked for, there or not: it is
	// compiled again when one of them changes.
	asked    []string
	problems trafficscript.Diagnostics // errors alone
}

func (d *DataPlane) rule(name string) *rule {
	r, _ := d.rules.Load(name)
	found, _ := r.(*rule)
	return found
}

// applyRules stores, compiles and deletes rules, and compiles those again that
// import one of them.
func (d *DataPlane) applyRules(changes map[string]*Rule) {
	if len(changes) == 0 {
		return
	}
	again := make(map[string]bool)
	for name, c := range changes {
		for importer := range d.importers[name] {
			again[importer] = true
		}
		r := d.rule(name)
		switch {
		case c == nil && r != nil:
			d.asks(r, nil)
			d.rules.Delete(name)
			d.libraries.Forget(name)
			d.uses.compiled(name, nil)
		case c != nil && r == nil:
			d.rules.Store(name, &rule{name: name, conf: c})
			again[name] = true
		case c != nil:
			r.conf = c
			again[name] = true
		}
	}
	for _, name := range sorted(again) {
		if r := d.rule(name); r != nil {
			d.compile(r)
		}
	}
	for _, name := range sorted(changes) {
		if changes[name] == nil && d.uses.rules[name] > 0 {
			d.missing("rules/"+name, "rule", name)
		}
	}
}

// compileAll compiles all rules again, when a setting changed what they may do.
func (d *DataPlane) compileAll() {
	all := make(map[string]*rule)
	d.rules.Range(func(name, r any) bool {
		all[name.(string)] = r.(*rule)
		return true
	})
	for _, name := range sorted(all) {
		d.compile(all[name])
	}
}

// compileSource compiles a rule, or takes what d.libraries remember of it. asked are
// the libraries that it asked for.
func (d *DataPlane) compileSource(r *rule) (compiled *trafficscript.Rule, found trafficscript.Diagnostics, asked []string) {
	options := []trafficscript.Option{trafficscript.RememberLibraries(d.libraries)}
	if d.global.Load().VariablePoolUse {
		options = append(options, trafficscript.VariablePoolUse())
	}
	compiled, found = trafficscript.Compile(r.name, r.conf.Source, func(lib string) (string, bool) {
		asked = append(asked, lib)
		if l := d.rule(lib); l != nil {
			return l.conf.Source, true
		}
		return "", false
	}, options...)
	return compiled, found, asked
}

func (d *DataPlane) compile(r *rule) {
	compiled, found, asked := d.compileSource(r)
	d.asks(r, asked)
	r.problems = found.Errors()
	r.compiled.Store(compiled)
	var parts []*trafficscript.Part
	if compiled != nil {
		parts = compiled.Parts()
	}
	d.uses.compiled(r.name, parts)
	for _, f := range found {
		e := Event{Level: "WARN", Section: "rules/" + r.name, Tag: "confmod", Text: "Rule " + f.Rule + ": " + f.String()}
		if f.Severity == trafficscript.Error {
			e.Level = "SERIOUS"
		}
		d.event(e)
	}
}

// asks keeps the index from libraries to the rules that import them.
func (d *DataPlane) asks(r *rule, libraries []string) {
	if slices.Equal(r.asked, libraries) {
		return
	}
	for _, lib := range r.asked {
		delete(d.importers[lib], r.name)
		if len(d.importers[lib]) == 0 {
			delete(d.importers, lib)
		}
	}
	r.asked = libraries
	for _, lib := range libraries {
		if d.importers[lib] == nil {
			d.importers[lib] = make(map[string]bool)
		}
		d.importers[lib][r.name] = true
	}
}
