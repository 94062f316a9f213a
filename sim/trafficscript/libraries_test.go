package trafficscript_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

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
				load := func(name string) ([]byte, bool) {
					return []byte(map[string]string{"lib": text, "other": `sub f() { pool.use( "other" ); }`}[name]), true
				}
				main := []byte("import lib;\nlib.f();\n")
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
		rule, told := trafficscript.Compile("main", []byte(texts["main"]), func(name string) ([]byte, bool) {
			text, found := texts[name]
			return []byte(text), found
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
	if rule, _ := trafficscript.Compile("main", []byte(texts["main"]), nil, trafficscript.RememberLibraries(&remembered)); rule != nil {
		t.Error("the rule compiles without its library")
	}
}

func BenchmarkChangeOfOneLibraryOfMany(b *testing.B) {
	libraries := map[string][]byte{}
	main := ""
	for i := range 128 {
		text := "sub route( $host ) {\n"
		for k := range 20 {
			text += fmt.Sprintf("  if( $host == \"host-%d-%d.example\" ) { pool.use( \"pool-%d-%d\" ); }\n", i, k, i, k)
		}
		name := fmt.Sprintf("lib%d", i)
		libraries[name] = []byte(text + "}\n")
		main += "import " + name + ";\n" + name + ".route( http.getHostHeader() );\n"
	}
	for name, options := range map[string][]trafficscript.Option{"remembered": {trafficscript.RememberLibraries(&trafficscript.Libraries{})}, "not": nil} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				libraries["lib7"] = append(libraries["lib7"][:len(libraries["lib7"]):len(libraries["lib7"])], fmt.Sprintf("# %d\n", i%10)...)[:len(libraries["lib7"])+4]
				if rule, told := trafficscript.Compile("main", []byte(main), func(name string) ([]byte, bool) { return libraries[name], true }, options...); rule == nil {
					b.Fatal(told)
				}
				libraries["lib7"] = libraries["lib7"][:len(libraries["lib7"])-4]
			}
		})
	}
}
