package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process runs a command of this machine as a container.
type process struct{ command []string }

// Run ends with the command. Stop sends SIGTERM, the end of ctx SIGKILL.
func (p process) Run(ctx context.Context, c *Container) int {
	replace := strings.NewReplacer()
	environment := append(os.Environ(), c.Env...)
	for i, port := range c.Ports {
		// The command opens the port itself: find one that is free now.
		l, err := c.Listen(port)
		if err != nil {
			fmt.Fprintln(c.Output, err)
			return 1
		}
		at := l.Addr().String()
		l.Close()
		environment = append(environment, fmt.Sprintf("LISTEN_%d=%s", port, at))
		if i == 0 {
			replace = strings.NewReplacer("{PORT}", at[strings.LastIndex(at, ":")+1:])
		}
	}
	var arguments []string
	for _, a := range append(append([]string(nil), p.command[1:]...), c.Args...) {
		arguments = append(arguments, replace.Replace(a))
	}
	command := exec.CommandContext(ctx, p.command[0], arguments...)
	command.Env, command.Stdout, command.Stderr = environment, c.Output, c.Output
	// A group of its own: a Ctrl-C at the terminal is for who started us.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	// Children that outlive the command may hold its output open.
	command.WaitDelay = 2 * time.Second
	if err := command.Start(); err != nil {
		fmt.Fprintln(c.Output, err)
		return 127
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-c.Stop:
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM) // it may have ended just now
		err = <-ended
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	}
	return 0
}
