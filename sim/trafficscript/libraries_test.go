package trafficscript_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vtm-ingress/sim/trafficscript"
)

// rulesWithLibraries are sources, those of libraries included, and the same after
// one of these changed.
var libraryChanges = []struct{ name, before, after string }{
	{"another pool", `sub f() { pool.use( "one" ); }`, `sub f() { pool.use( "two" ); }`},
	{"another expression", `sub f() { $a = string.regexmatch( "x", "a+" ); }`, `sub f() { $a = string.regexmatch( "x", "b+" ); }`},
	{"a warning comes", `sub f() { }`, `sub f() { } $x = 1;`},
	{"an error comes", `sub f() { }`, `sub f() { `},
	{"an error goes", `sub f() { nosuch(); }`, `sub f() { }`},
	{"an import comes", `sub f() { }`, `import other; sub f() { other.f(); }`},
	{"the sub goes", `sub f() { }`, `sub g() { }`},
}

func TestRememberedLibrariesMakeNoDifferenceToARule(t *testing.T) {
	for _, test := range libraryChanges {
		t.Run(test.name, func(t *testing.T) {
			var remembered trafficscript.Libraries
			for i, text := range []string{test.before, test.before, test.after, test.before, test.after} {
				load := func(name string) (string, bool) {
					return map[string]string{"lib": text, "other": `sub f() { pool.use( "other" ); }`}[name], true
				}
				main := "import lib;\nlib.f();\n"
				want, wanted := trafficscript.Compile("main", main, load)
				got, told := trafficscript.Compile("main", main, load, trafficscript.RememberLibraries(&remembered))
				if d := cmp.Diff(wanted, told); d != "" {
					t.Errorf("step %d, what is told (-without +remembered):\n%s", i, d)
				}
				if (want == nil) != (got == nil) {
					t.Fatalf("step %d: compiles without: %t, remembered: %t", i, want != nil, got != nil)
				}
				if want == nil {
					continue
				}
				if d := cmp.Diff([][]string{want.Imports(), want.Pools()}, [][]string{got.Imports(), got.Pools()}); d != "" {
					t.Errorf("step %d (-without +remembered):\n%s", i, d)
				}
			}
		})
	}
}

// Who shares a memory shares the rules that are made of the same texts under the same
// options, and no others.
func TestARuleOfTheSameTextsIsCompiledOnce(t *testing.T) {
	var remembered trafficscript.Libraries
	texts := map[string]string{"main": "import lib;\nlib.f();\n", "lib": `sub f() { pool.use( "a" ); }`}
	compile := func(more ...trafficscript.Option) *trafficscript.Rule {
		t.Helper()
		rule, told := trafficscript.Compile("main", texts["main"], func(name string) (string, bool) {
			text, found := texts[name]
			return text, found
		}, append(more, trafficscript.RememberLibraries(&remembered))...)
		if rule == nil {
			t.Fatal(told)
		}
		return rule
	}
	last := compile()
	if compile() != last {
		t.Error("the same rule is compiled again")
	}
	for what, change := range map[string]func(){
		"its text":        func() { texts["main"] += "# more\n" },
		"a library":       func() { texts["lib"] = `sub f() { pool.use( "b" ); }` },
		"being forgotten": func() { remembered.Forget("main") },
	} {
		change()
		next := compile()
		if next == last {
			t.Errorf("%s changes, and the rule does not", what)
		}
		last = next
	}
	if compile(trafficscript.VariablePoolUse()) == last {
		t.Error("another option does not change the rule")
	}
	delete(texts, "lib")
	if rule, _ := trafficscript.Compile("main", texts["main"], nil, trafficscript.RememberLibraries(&remembered)); rule != nil {
		t.Error("the rule compiles without its library")
	}
}

// Members of a cluster share a memory while one has a change and another has not yet.
func TestVersionsThatAlternateAreCompiledOnce(t *testing.T) {
	var remembered trafficscript.Libraries
	compile := func(name, main, lib string) *trafficscript.Rule {
		t.Helper()
		texts := map[string]string{name: main, "lib": lib}
		rule, told := trafficscript.Compile(name, texts[name], func(name string) (string, bool) {
			text, found := texts[name]
			return text, found
		}, trafficscript.RememberLibraries(&remembered))
		if rule == nil {
			t.Fatal(told)
		}
		return rule
	}
	const first, second = "import lib;\nlib.f();\n", "import lib;\nlib.f(); # again\n"
	version := func(i int) string { return fmt.Sprintf("sub f() { pool.use( \"%d\" ); }", i) }
	a, b := compile("main", first, version(1)), compile("main", first, version(2))
	for i := range 3 {
		if compile("main", first, version(1)) != a || compile("main", first, version(2)) != b {
			t.Errorf("round %d: a rule whose library alternates is compiled again", i)
		}
	}
	c := compile("main", second, version(1))
	if c == a || c.Parts()[1] != a.Parts()[1] {
		t.Error("another rule of the same library does not have the same part")
	}
	lib := compile("lib", version(3), version(3))
	if compile("main", first, version(3)).Parts()[1] != lib.Parts()[0] {
		t.Error("the library that was compiled as a rule is compiled again")
	}
	for i := range 10 {
		if compile("main", first, version(1)) != a || compile(fmt.Sprint("rule ", i), first, version(1)).Parts()[1] != a.Parts()[1] {
			t.Error("a version that is in use is compiled again")
		}
		compile("main", first, version(i+10))
	}
	for i := range 10 {
		compile("main", first, version(i+20))
	}
	if again := compile("main", first, version(1)); again == a || again.Parts()[1] == a.Parts()[1] {
		t.Error("each version there ever was is remembered")
	}
}

// Whoever shares a memory, in whatever order they compile which versions, gets what he
// would get without it.
func TestAMemoryChangesNothingOfWhatIsCompiled(t *testing.T) {
	texts := map[string][]string{
		"main": {
			"import lib;\nlib.f();\n", "import lib;\nimport other;\nlib.f();\nother.f();\n", "import other as pool;\npool.use( \"a\" );\npool.f();\n",
			"import lib;\nimport main;\n", "pool.use( \"b\" );\n", "import lib;\nlib.g( 1 );\n", "import lib;\n",
		},
		"lib": {
			"sub f() { pool.use( \"a\" ); }\n", "sub f() { pool.use( \"b\" ); }\n", "sub f() { pool.use( \"b\" ); }\n$outside = 1;\n",
			"import other;\nsub f() { other.f(); }\n", "import main;\nsub f() { }\n", "sub f() { if( string.regexmatch( \"x\", \"a|x\" ) ) pool.use( \"c\" ); }\n",
			"", "sub f() {\n", "sub g( $x ) { pool.use( $x ); }\n", "sub f() { string.append( \"\\q\" ); }\n",
		},
		"other": {
			"sub f() { pool.use( \"d\" ); }\n", "sub use( $name ) { }\nsub f() { }\n", "import lib;\nsub f() { lib.f(); }\n", "pool.use( \"a\" );\n", "sub f() { if( string.regexmatch( \"x\", \"a|b\" ) ) pool.use( \"a\" ); }\n",
		},
	}
	names := []string{"lib", "main", "other"}
	rapid.Check(t, func(t *rapid.T) {
		var remembered trafficscript.Libraries
		members := [2]map[string]string{{}, {}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			has := members[rapid.IntRange(0, len(members)-1).Draw(t, "member")]
			name := rapid.SampledFrom(names).Draw(t, "rule")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				delete(has, name)
				remembered.Forget(name)
			case 1, 2, 3, 4:
				has[name] = rapid.SampledFrom(texts[name]).Draw(t, "text")
			}
			load := func(name string) (string, bool) {
				text, found := has[name]
				return text, found
			}
			var options []trafficscript.Option
			if rapid.IntRange(0, 5).Draw(t, "variable pools") == 0 {
				options = append(options, trafficscript.VariablePoolUse())
			}
			want, wanted := trafficscript.Compile(name, has[name], load, options...)
			got, told := trafficscript.Compile(name, has[name], load, append(options, trafficscript.RememberLibraries(&remembered))...)
			if d := cmp.Diff(wanted, told); d != "" {
				t.Fatalf("what is told of %s (-without +remembered):\n%s", name, d)
			}
			if (want == nil) != (got == nil) {
				t.Fatalf("%s compiles without: %t, remembered: %t", name, want != nil, got != nil)
			}
			if want == nil {
				continue
			}
			if d := cmp.Diff(want.Parts(), got.Parts()); d != "" {
				t.Fatalf("parts of %s (-without +remembered):\n%s", name, d)
			}
			h, other := newHost(), newHost()
			for _, h := range []*memoryHost{h, other} {
				for _, pool := range []string{"a", "b", "c", "d"} {
					h.pools[pool] = nil
				}
			}
			ended, endedOther := want.Run(t.Context(), h, trafficscript.Limits{}), got.Run(t.Context(), other, trafficscript.Limits{})
			if ended.End != endedOther.End || ended.Instructions != endedOther.Instructions || h.tx.Pool != other.tx.Pool {
				t.Fatalf("%s without: %+v, pool %q; remembered: %+v, pool %q", name, ended, h.tx.Pool, endedOther, other.tx.Pool)
			}
		}
	})
}

// A library is asked for once, whatever is remembered.
func TestALibraryIsAskedForOnce(t *testing.T) {
	var remembered trafficscript.Libraries
	texts := map[string]string{"a": "import b; import c; sub f() { b.f(); c.f(); }", "b": "import c; sub f() { c.f(); }", "c": "sub f() { }"}
	for _, version := range []string{"", "# 1", "# 2", "# 1", "# 2", ""} {
		asked := ""
		rule, told := trafficscript.Compile("main", "import a; import c; import b; a.f();", func(name string) (string, bool) {
			asked += name
			text := texts[name]
			if name == "b" {
				text += version
			}
			return text, true
		}, trafficscript.RememberLibraries(&remembered))
		if rule == nil {
			t.Fatal(told)
		}
		if asked != "abc" {
			t.Errorf("%q: asked for %s, not abc", version, asked)
		}
	}
}

func BenchmarkChangeOfOneLibraryOfMany(b *testing.B) {
	libraries := map[string]string{}
	main := ""
	for i := range 128 {
		text := "sub route( $host ) {\n"
		for k := range 20 {
			text += fmt.Sprintf("  if( $host == \"host-%d-%d.example\" ) { pool.use( \"pool-%d-%d\" ); }\n", i, k, i, k)
		}
		name := fmt.Sprintf("lib%d", i)
		libraries[name] = text + "}\n"
		main += "import " + name + ";\n" + name + ".route( http.getHostHeader() );\n"
	}
	for name, options := range map[string][]trafficscript.Option{"remembered": {trafficscript.RememberLibraries(&trafficscript.Libraries{})}, "not": nil} {
		b.Run(name, func(b *testing.B) {
			before := libraries["lib7"]
			for i := 0; b.Loop(); i++ {
				libraries["lib7"] = before + fmt.Sprintf("# %d\n", i)
				if rule, told := trafficscript.Compile("main", main, func(name string) (string, bool) { return libraries[name], true }, options...); rule == nil {
					b.Fatal(told)
				}
			}
			libraries["lib7"] = before
		})
	}
}
