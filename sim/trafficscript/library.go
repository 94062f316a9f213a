package trafficscript

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"vtm-ingress/internal/facts"
	"vtm-ingress/internal/spell"
)

// function is a built-in function. All of it is constant.
type function struct {
	name       string // as the reference spells it; calls ignore case
	min, max   int    // arguments; max -1: any number
	phases     phases // outside of these a call does nothing and gives ""
	inPlace    bool   // changes its first argument, an array or hash
	deprecated string // what to use instead; "" for a current function

	// check looks at a call when it is compiled.
	check func(c *compiler, x *callExpr)

	// call runs it. args belongs to the caller; aggregates in it may be
	// variables, so that only inPlace functions may change the first, and what
	// is kept must be detached.
	call func(r *run, args []value) value
}

// phases is a set of Phase.
type phases uint8

const (
	inRequest  phases = 1 << RequestPhase
	inResponse phases = 1 << ResponsePhase
	afterNode  phases = inResponse | 1<<CompletionPhase // where there is a response
	anyPhase   phases = inRequest | afterNode
)

func fn(name string, min, max int, call func(*run, []value) value) function {
	return function{name: name, min: min, max: max, phases: anyPhase, call: call}
}

func (f function) in(p phases) function                              { f.phases = p; return f }
func (f function) changing() function                                { f.inPlace = true; return f }
func (f function) replacedBy(name string) function                   { f.deprecated = name; return f }
func (f function) checked(check func(*compiler, *callExpr)) function { f.check = check; return f }

// arity returns "2 arguments" or "1 to 3 arguments".
func (f *function) arity() string {
	switch {
	case f.max < 0:
		return fmt.Sprintf("at least %s", plural(f.min, "argument"))
	case f.min == f.max:
		return plural(f.min, "argument")
	}
	return fmt.Sprintf("%d to %s", f.min, plural(f.max, "argument"))
}

// signature returns "string.split(string, [separator])".
func (f *function) signature() string {
	return f.name + "(" + knownFunctions()[strings.ToLower(f.name)] + ")"
}

// library holds the built-in functions by lower-case name.
var library = func() map[string]*function {
	all := make(map[string]*function)
	for _, family := range [][]function{
		arrayFunctions, connectionFunctions, dataFunctions, httpRequestFunctions, httpResponseFunctions,
		formFunctions, cookieFunctions, langFunctions, mathFunctions, poolFunctions, requestFunctions,
		sslFunctions, stringFunctions, encodingFunctions, numberFunctions, regexFunctions, timeFunctions,
		machineFunctions, classFunctions, jsonFunctions, xmlFunctions, networkFunctions, certificateFunctions,
		recordFunctions, cipherFunctions, multipartFunctions, rawFunctions, streamFunctions, socketFunctions,
		contentFunctions, qualityFunctions, kerberosFunctions,
	} {
		for _, f := range family {
			all[strings.ToLower(f.name)] = &f
		}
	}
	return all
}()

// knownFunctions returns the functions of the traffic manager, emulated or not:
// lower-case name to parameters.
var knownFunctions = sync.OnceValue(func() map[string]string {
	known := make(map[string]string)
	for line := range strings.Lines(string(facts.TrafficScriptFunctions)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, params, _ := strings.Cut(line, "\t")
		known[strings.ToLower(name)] = params
	}
	return known
})

// isKnown tells if the traffic manager has a function of this lower-case name.
func isKnown(key string) bool {
	if _, ok := knownFunctions()[key]; ok {
		return true
	}
	return library[key] != nil
}

// suggest returns ": did you mean x?" with the known name nearest to key, or "".
func (c *compiler) suggest(key string) string {
	const maxName = 64
	if len(key) > maxName || len(c.diags) > 20 {
		return ""
	}
	names := make([]string, 0, len(library)+len(c.src.subs))
	for _, f := range library {
		names = append(names, f.name)
	}
	for _, s := range c.src.subs {
		names = append(names, s.name)
	}
	slices.Sort(names)
	best, bestDistance := "", max(2, len(key)/4)+1
	for _, name := range names {
		if d := spell.Distance(key, strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// Arguments. A missing optional one is "".

func (r *run) stringArg(args []value, i int) string {
	if i >= len(args) {
		return ""
	}
	return r.toString(args[i])
}

// intArg gives otherwise when the argument is missing.
func (r *run) intArg(args []value, i int, otherwise int64) int64 {
	if i >= len(args) {
		return otherwise
	}
	return r.toInt(args[i])
}

// text returns a new string, counted as memory.
func (r *run) text(s string) value {
	if !r.alloc(len(s)) {
		return value{}
	}
	return stringValue(s)
}

// list returns a new array of strings, counted as memory.
func (r *run) list(items []string) value {
	if !r.alloc(len(items) * valueSize) {
		return value{}
	}
	return stringsValue(items)
}

// Shapes of functions, for the tables.

// textFn is a function of one string that gives a string.
func textFn(name string, f func(string) string) function {
	return fn(name, 1, 1, func(r *run, a []value) value { return r.text(f(r.toString(a[0]))) })
}

// predicate is a function of two strings that gives 1 or 0.
func predicate(name string, f func(a, b string) bool) function {
	return fn(name, 2, 2, func(r *run, a []value) value {
		return boolValue(f(r.toString(a[0]), r.toString(a[1])))
	})
}

// fact is a function without arguments.
func fact(name string, f func(r *run) value) function {
	return fn(name, 0, 0, func(r *run, _ []value) value { return f(r) })
}
