package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vtm-ingress/sim/dataplane"
)

// promises are what the commands in the README's section on vtm-sim give, by how
// they begin; in the order of the README.
var promises = []struct {
	begins string
	gives  *regexp.Regexp
}{
	{"put() {", regexp.MustCompile(`^$`)},
	{"echo 'http.sendResponse", regexp.MustCompile(`^$`)},
	{`echo '{"properties":{"basic":{"ipaddresses"`, regexp.MustCompile(`"192\.0\.2\.10"`)},
	{`echo '{"properties":{"basic":{"enabled":true`, regexp.MustCompile(`"listen_on_traffic_ips":\["web"\]`)},
	{"curl -sk -u", regexp.MustCompile(`^{"children":\[{"name":"web"`)}, // on another member
	{"curl -s http://127.64.2.10:8080/", regexp.MustCompile(`^Hello from vtm-2$`)},
	{"curl -s http://127.1.0.1:9071/", regexp.MustCompile(`(?s)"name": "vtm-2".*"192\.0\.2\.10"`)},
	{"curl -X PUT", regexp.MustCompile(`(?s)stop`)},
	{"curl -s --retry", regexp.MustCompile(`^Hello from vtm-[13]$`)},
	{"curl -X DELETE", regexp.MustCompile(``)},
	{"bin/vtm-sim faults", regexp.MustCompile(`(?m)^latency `)},
	{"curl -sk -u", regexp.MustCompile(`^$`)},
	{"bin/vtm-sim ts check", regexp.MustCompile(`^$`)},
	{"bin/vtm-sim ts run", regexp.MustCompile(`(?m)^answer +200 OK$`)},
}

// readmeCommands are those of the section on vtm-sim, each of one or more lines,
// without comments.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## vtm-sim alone\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var commands []string
	for i, block := range strings.Split(section, "```\n") {
		if i%2 == 0 {
			continue
		}
		block = regexp.MustCompile(` +# .*`).ReplaceAllString(strings.ReplaceAll(block, "\n  ", " "), "")
		commands = append(commands, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	return commands
}

// terminal is a shell that keeps its state from one command to the next.
type terminal struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

const ended = "-- ended with "

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	sh := exec.Command("sh")
	sh.Env = program().Env
	in, err := sh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := sh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	sh.Stderr = os.Stderr
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = sh.Wait() })
	return &terminal{t, in, bufio.NewReader(out)}
}

// run returns what a command prints, and fails the test if the command fails.
func (s *terminal) run(command string) string {
	s.t.Helper()
	fmt.Fprintf(s.in, "%s\nstatus=$?; echo; echo '%s'$status\n", command, ended)
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s\n%s(%v)", command, printed.String(), err)
		}
		if status, is := strings.CutPrefix(line, ended); is {
			if status != "0\n" {
				s.t.Fatalf("%s\n%sended with %s", command, printed.String(), status)
			}
			return strings.TrimSpace(printed.String())
		}
		printed.WriteString(line)
	}
}

func TestTheREADMEsCommandsWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no curl: %v", err)
	}
	// The README's addresses may be in use here by what runs beside this test.
	if got := dataplane.NewAddressMap(dataplane.MapLoopback).Map(netip.MustParseAddr("192.0.2.10")).String(); got != "127.64.2.10" {
		t.Errorf("the README says that 192.0.2.10 is 127.64.2.10 here, and it is %s", got)
	}
	dir := t.TempDir()
	addresses := filepath.Join(dir, "addresses")
	if err := os.WriteFile(addresses, []byte("192.0.2.10 127.1.205.200\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(
		"127.1.0.", "127.1.205.", "127.64.2.10", "127.1.205.200", "/tmp/", dir+"/",
		"--address-map loopback", "--address=127.1.205.1 --address-map="+addresses, "bin/vtm-sim", os.Args[0],
	).Replace

	commands := readmeCommands(t)
	if len(commands) < 2 || commands[0] != "make build" || !strings.HasPrefix(commands[1], "bin/vtm-sim --cluster 3") {
		t.Fatalf("the README does not begin with building and starting: %q", commands)
	}
	startSim(t, strings.Fields(here(commands[1]))[1:]...)
	if got := len(commands) - 2; got != len(promises) {
		t.Fatalf("the README has %d commands, want %d: %q", got, len(promises), commands)
	}
	sh := newTerminal(t)
	for i, command := range commands[2:] {
		promise := promises[i]
		if !strings.HasPrefix(command, promise.begins) {
			t.Fatalf("nobody knows what %q promises", command)
		}
		if got := sh.run(here(command)); !promise.gives.MatchString(got) {
			t.Fatalf("%s\n%s\nwant: %s", command, got, promise.gives)
		}
	}
}
