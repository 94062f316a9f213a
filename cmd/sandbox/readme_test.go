package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README's commands for operators give, by how they begin, in its order.
// plan ends with 1 where something would change, as kubectl diff does.
var operators = []struct {
	begins string
	status int
	gives  *regexp.Regexp
	again  bool
}{
	{"bin/vtm-ingress-controller check", 0, regexp.MustCompile(`(?m)^ok `), true},
	{"bin/vtm-ingress-controller plan -f", 1, regexp.MustCompile(`(?s)"hello\.example".*create virtual_servers/k8s_10\.0\.2\.223_80_http.*4 to create, 0 to change, 0 to delete`), true},
	{"kubectl apply", 0, regexp.MustCompile(`ingress.networking.k8s.io/hello created`), false},
	{"bin/vtm-ingress-controller explain", 0, regexp.MustCompile(`(?s)Ingress default/hello: programmed.*10\.0\.2\.223.*hello\.example`), true},
}

// readmeCommands are those that are shown to be tried beside `make sim`.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nTo try them, with `make sim` in another terminal:\n\n```\n")
	block, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatal("the README has no commands to try beside make sim")
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

func TestTheREADMEsCommandsForOperatorsWork(t *testing.T) {
	tools := kubectls(t)
	kubectl := tools["current"]
	if kubectl == "" {
		kubectl = tools["old"]
	}
	if kubectl == "" {
		t.Skip("no kubectl: set KUBECTL or KUBECTL_1_20 to the path of one")
	}
	t.Chdir("../..")
	bin := t.TempDir()
	if err := os.Symlink(kubectl, filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "vtm-ingress-controller")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/vtm-ingress-controller").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	at := addresses(t)
	box := startSandbox(t, flags{Nodes: 3, TrafficManagers: 3, Controller: true, Strict: true, Addresses: at})
	// The README's addresses may be in use here by what runs beside this test.
	here := regexp.MustCompile(`127\.1\.0\.`)
	members := strings.TrimSuffix(at.TrafficManagers.String(), "0")

	exports := []string{box.commands[0]} // KUBECONFIG
	sh := &shell{t: t, env: append(os.Environ(), "HOME="+t.TempDir())}
	n := 0
	for _, command := range readmeCommands(t) {
		command = here.ReplaceAllString(command, members)
		if strings.HasPrefix(command, "export ") {
			exports = append(exports, command)
			continue
		}
		if n == len(operators) || !strings.HasPrefix(command, operators[n].begins) {
			t.Fatalf("nobody knows what %q promises", command)
		}
		promise := operators[n]
		n++
		command = strings.Replace(command, "bin/vtm-ingress-controller", program, 1)
		for attempt := 0; ; attempt++ {
			out, err := sh.run(strings.Join(exports, "\n") + "\n" + command)
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status, err = exit.ExitCode(), nil
			}
			if err == nil && status == promise.status && promise.gives.MatchString(out) {
				break
			}
			if !promise.again || attempt == 100 {
				t.Fatalf("%s\n%s(status %d, %v)\nwant status %d and %s", command, out, status, err, promise.status, promise.gives)
			}
		}
	}
	if n != len(operators) {
		t.Errorf("%d commands are shown, want %d", n, len(operators))
	}
	if err := box.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
