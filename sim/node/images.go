package node

import (
	"path"
	"strings"
)

// Images says what a container of an image runs. The first pattern that matches
// decides.
type Images struct {
	rows []imageRow
}

type imageRow struct {
	pattern string
	program Program
}

// DefaultImages knows the built-in echo server, under the names that examples and
// test suites use for such servers.
func DefaultImages() *Images {
	images := &Images{}
	for _, pattern := range []string{"echo", "*-echo", "hello", "hello-*", "echoserver", "echo-server", "http-echo", "agnhost"} {
		images.rows = append(images.rows, imageRow{pattern, echo{}})
	}
	return images
}

// BuiltinEcho, as a command, stands for the built-in echo server.
const BuiltinEcho = "builtin:echo"

// WithCommand returns a table in which images that match pattern run a command of
// this machine, before everything that the table said so far. pattern is of
// path.Match form and is held against the image without its tag, and against its
// last element. In the command's arguments {PORT} stands for the port that the
// container must listen on for its first containerPort; its environment has
// LISTEN_<containerPort> with "host:port" for each.
func (i *Images) WithCommand(pattern string, command ...string) (*Images, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	var program Program = process{command}
	if len(command) == 1 && command[0] == BuiltinEcho {
		program = echo{}
	}
	rows := append([]imageRow{{pattern, program}}, i.rows...)
	return &Images{rows: rows}, nil
}

// find returns the program of an image, or nil if no pattern matches.
func (i *Images) find(image string) Program {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	for _, row := range i.rows {
		for _, candidate := range []string{name, path.Base(name)} {
			if ok, _ := path.Match(row.pattern, candidate); ok {
				return row.program
			}
		}
	}
	return nil
}
