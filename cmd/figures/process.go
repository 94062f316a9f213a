package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// program is one of the project's programs, run as a process of its own.
type program struct {
	name    string
	command *exec.Cmd
	out     output
	ended   chan struct{} // closed when the process has ended
	err     error         // its end; read when ended is closed
}

// output is what a program has printed so far: a few lines.
type output struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
	more chan struct{}   // capacity 1: something was added
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) has(begin string) bool { return o.line(begin) != "" }

// line returns the first whole line that begins like this; "" if there is none.
func (o *output) line(begin string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.text.String()) {
		if strings.HasPrefix(line, begin) && strings.HasSuffix(line, "\n") {
			return line
		}
	}
	return ""
}

// startProgram runs a program that lies beside this one, until stop. It is
// interrupted when ctx ends.
func startProgram(ctx context.Context, name string, args ...string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &program{name: name, ended: make(chan struct{}), out: output{more: make(chan struct{}, 1)}}
	p.command = exec.CommandContext(ctx, filepath.Join(filepath.Dir(self), name), args...)
	p.command.Stdout, p.command.Stderr = &p.out, os.Stderr
	p.command.Cancel = func() error { return p.command.Process.Signal(os.Interrupt) }
	p.command.WaitDelay = endWithin
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	}
	go func() { // stop waits for it
		defer close(p.ended)
		p.err = p.command.Wait()
	}()
	return p, nil
}

// says waits for a line that begins like this.
func (p *program) says(begin string) error {
	for !p.out.has(begin) {
		select {
		case <-p.out.more:
		case <-p.ended:
			return fmt.Errorf("%s ended before it said %q: %w", p.name, begin, p.err)
		}
	}
	return nil
}

// stop ends the program in an orderly way and waits for it. A second call does
// nothing.
func (p *program) stop() error {
	_ = p.command.Process.Signal(os.Interrupt) // it may have ended by itself
	<-p.ended
	return p.err
}

// cpuSeconds is what the process has used so far (proc(5), stat, fields 14 and 15,
// in ticks of 10 ms).
func (p *program) cpuSeconds() (float64, error) {
	path := fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	var user, system float64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return (user + system) / 100, nil
}

// rssMegabytes is the memory that the process has resident now.
func (p *program) rssMegabytes() (float64, error) {
	path := fmt.Sprintf("/proc/%d/status", p.command.Process.Pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kilobytes float64
			fmt.Sscan(value, &kilobytes)
			return kilobytes / 1024, nil
		}
	}
	return 0, fmt.Errorf("%s has no VmRSS", path)
}
