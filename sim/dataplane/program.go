package dataplane

import (
	"context"
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

// maxProgramOutput is how much of a program's output is kept.
const maxProgramOutput = 1 << 10

// run gives the program what the real one gives it, in the form of the vendor's
// monitor library: --ipaddr, --port, --failures_left, then the monitor's own
// arguments.
func (t *programTest) run(ctx context.Context, to target) error {
	script, ok := file(&t.d.scripts, t.conf.Program)
	if !ok {
		return fmt.Errorf("there is no program '%s' among monitor_scripts", t.conf.Program)
	}
	dir, err := os.MkdirTemp("", "monitor-")
	if err != nil {
		return fmt.Errorf("no place for the program: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return fmt.Errorf("no place for the program: %w", err)
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
	out := &boundedOutput{}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C"}
	cmd.Stdout, cmd.Stderr = out, out
	// With all it has started: they would keep its output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the program did not end in time")
	case err != nil:
		if text := strings.TrimSpace(strings.ToValidUTF8(string(out.kept), "?")); text != "" {
			line, _, _ := strings.Cut(text, "\n")
			return fmt.Errorf("the program says: %s", line)
		}
		return fmt.Errorf("the program failed: %w", err)
	}
	return nil
}

// boundedOutput keeps the beginning of what is written.
type boundedOutput struct{ kept []byte }

func (o *boundedOutput) Write(b []byte) (int, error) {
	o.kept = append(o.kept, b[:min(len(b), maxProgramOutput-len(o.kept))]...)
	return len(b), nil
}
