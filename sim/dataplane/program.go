package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// programTest runs a script of the user's on this machine; only with
// Options.AllowPrograms. Its exit status is the verdict, what it prints the
// reason.
type programTest struct {
	d    *DataPlane
	conf *Monitor
}

func (t *programTest) end() {}

// run gives the program what the real one gives it, in the form of the vendor's
// monitor library: --ipaddr, --port, --failures_left, then the monitor's own
// arguments.
func (t *programTest) run(ctx context.Context, to target) error {
	script, ok := file(&t.d.scripts, t.conf.Program)
	if !ok {
		return fmt.Errorf("there is no program '%s' among monitor_scripts", t.conf.Program)
	}
	host, port, err := net.SplitHostPort(to.at)
	if err != nil {
		return err
	}
	args := []string{"--ipaddr=" + host, "--port=" + port, "--failures_left=" + strconv.Itoa(to.failuresLeft)}
	if t.conf.Verbose {
		args = append(args, "--verbose=1")
	}
	for _, a := range t.conf.Arguments {
		args = append(args, "--"+a.Name+"="+a.Value)
	}
	output, err := RunProgram(ctx, []byte(script), args...)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the program did not end in time")
	case err != nil && output != "":
		line, _, _ := strings.Cut(output, "\n")
		return fmt.Errorf("the program says: %s", line)
	case err != nil:
		return fmt.Errorf("the program failed: %w", err)
	}
	return nil
}

const (
	// maxProgramOutput is how much of a program's output is kept, in bytes.
	maxProgramOutput = 4 << 10
	// programKillDelay is how long one may keep its output open when it was killed.
	programKillDelay = time.Second
	// busyTries are how often one is started that cannot yet be.
	busyTries = 1000
)

// RunProgram runs a file's content as a program of its own, with a bare
// environment, in an empty folder, until ctx ends: then it is killed, with all that
// it has started. It returns the beginning of what the program printed, trimmed and
// in valid UTF-8, and an error if that could not be started, was killed or failed.
func RunProgram(ctx context.Context, content []byte, args ...string) (output string, err error) {
	dir, err := os.MkdirTemp("", "vtm-program-")
	if err != nil {
		return "", fmt.Errorf("no place for the program: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		return "", fmt.Errorf("no place for the program: %w", err)
	}
	out := &boundedOutput{}
	// Another program that starts at this moment may still have the new file open for
	// writing, for as long as its exec takes: then it is busy.
	for range busyTries {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
		cmd.Stdout, cmd.Stderr = out, out
		// With all that it has started: they would keep its output open.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = programKillDelay
		if err = cmd.Run(); !errors.Is(err, syscall.ETXTBSY) {
			break
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out.kept), "?")), err
}

// boundedOutput keeps the beginning of what is written.
type boundedOutput struct{ kept []byte }

func (o *boundedOutput) Write(b []byte) (int, error) {
	o.kept = append(o.kept, b[:min(len(b), maxProgramOutput-len(o.kept))]...)
	return len(b), nil
}
