//go:build !mutations

package mutation_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vtm-ingress/internal/mutation"
)

func TestNoFaultIsOnInAProductionBuild(t *testing.T) {
	for f := range mutation.All() {
		if mutation.On(f) {
			t.Errorf("fault %d is on", f)
		}
	}
}

// TestTheControllerHoldsNoFault looks into the program as production has it: the
// package has no function and no variable there, so that nothing chooses a fault, and
// what faults guard is left out.
func TestTheControllerHoldsNoFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "controller")
	// Symbols stay, what debuggers read does not: it names constants.
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace", "-ldflags", "-w", "-o", file, "vtm-ingress/cmd/vtm-ingress-controller")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := elf.Open(file)
	if err != nil {
		t.Skipf("this platform's programs are no ELF files: %v", err)
	}
	defer program.Close()
	symbols, err := program.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	translates := false
	for _, s := range symbols {
		translates = translates || strings.HasPrefix(s.Name, "vtm-ingress/controller/translate.")
		if strings.HasPrefix(s.Name, "vtm-ingress/internal/mutation.") {
			t.Errorf("the controller has the symbol %s", s.Name)
		}
	}
	if !translates {
		t.Error("the controller's own symbols are not there: nothing was looked at")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	guarded := []string{"sending a server key", ".elsewhere"} // by KeyLogged and RedirectElsewhere
	for _, d := range mutation.All() {
		guarded = append(guarded, d.Name, d.Text)
	}
	for _, s := range guarded {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("the controller holds the text %q", s)
		}
	}
}
