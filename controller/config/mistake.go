package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong with the settings. It never holds a secret.
type Mistake struct {
	// Where it is: "settings.yaml:12", "traffic manager", "environment
	// VTM_INGRESS_X", "flag --x";
	// "" for what is given nowhere.
	Where string
	// Key of the setting concerned; "" if none is.
	Key string
	// Text says what is wrong and what to do.
	Text string

	order order
}

// order sorts mistakes as a user goes through them: file by line, traffic
// manager, environment, flags, then what is missing.
type order struct {
	source source
	line   int
	where  string
}

type source int

const (
	ofFile source = iota
	ofTrafficManager
	ofEnvironment
	ofFlag
	ofNowhere
)

func (m Mistake) String() string {
	var parts []string
	for _, part := range []string{m.Where, m.Key, m.Text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Mistakes are all that is wrong with the settings, at least one.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(
			cmp.Compare(a.order.source, b.order.source),
			cmp.Compare(a.order.line, b.order.line),
			cmp.Compare(a.order.where, b.order.where),
		)
	})
}

// origin says where a value was given.
type origin struct {
	source source
	where  string
	line   int
}

func (o origin) mistake(key, format string, args ...any) Mistake {
	return Mistake{
		Where: o.where, Key: key, Text: fmt.Sprintf(format, args...),
		order: order{o.source, o.line, o.where},
	}
}
