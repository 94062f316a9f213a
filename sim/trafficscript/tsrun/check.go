package tsrun

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"vtm-ingress/sim/trafficscript"
)

// Exit codes of the commands.
const (
	ExitOK     = 0
	ExitFailed = 1 // a rule has errors, or was aborted
	ExitUsage  = 2 // a file cannot be read, or a flag makes no sense
)

// Sources are what both commands know about where rules are.
type Sources struct {
	Libraries       []string `name:"library" placeholder:"DIR" help:"Folder of rule libraries, beside each rule's own folder. A library's file has its name, with or without .ts."`
	VariablePoolUse bool     `help:"Let rules name pools by any expression, as trafficscript!variable_pool_use does."`
}

// Check is the command that compiles rules and prints what is wrong with them.
type Check struct {
	Sources
	Files []string `arg:"" placeholder:"FILE" help:"Rules to check."`
	Quiet bool     `short:"q" help:"Print errors alone, no warnings."`
}

// Execute writes a line "FILE:LINE:COLUMN: error: MESSAGE" for each finding and
// returns the exit code. Warnings do not change it.
func (c *Check) Execute(out io.Writer) int {
	code := ExitOK
	for _, path := range c.Files {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(out, err)
			code = ExitUsage
			continue
		}
		rule, diags := c.compile(path, text)
		for _, d := range diags {
			if d.Severity == trafficscript.Error || !c.Quiet {
				fmt.Fprintln(out, describe(path, d))
			}
		}
		if rule == nil && code == ExitOK {
			code = ExitFailed
		}
	}
	return code
}

// compile compiles a file; the rule has the file's name without .ts.
func (s *Sources) compile(path string, text []byte) (*trafficscript.Rule, trafficscript.Diagnostics) {
	folders := append([]string{filepath.Dir(path)}, s.Libraries...)
	load := func(name string) (string, bool) {
		if name != filepath.Base(name) { // a library is a name, no path
			return "", false
		}
		for _, folder := range folders {
			for _, file := range []string{name, name + ".ts"} {
				if text, err := os.ReadFile(filepath.Join(folder, file)); err == nil {
					return string(text), true
				}
			}
		}
		return "", false
	}
	var options []trafficscript.Option
	if s.VariablePoolUse {
		options = append(options, trafficscript.VariablePoolUse())
	}
	return trafficscript.Compile(ruleName(path), string(text), load, options...)
}

func ruleName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".ts") }

// describe gives the line of a finding; one in a library names the library.
func describe(path string, d trafficscript.Diagnostic) string {
	severity, where := "error", path
	if d.Severity == trafficscript.Warning {
		severity = "warning"
	}
	if d.Rule != ruleName(path) {
		where = path + ": rule library " + d.Rule
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", where, d.Line, d.Column, severity, d.Message)
}
