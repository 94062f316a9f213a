package vtm

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultRule is one way in which members misbehave while it is set. Its text,
// which ParseFaults reads and String prints, is a kind, the kind's argument if it
// has one, and conditions:
//
//	status 503 member=vtm-1 method=PUT path=pools/* nth=2
type FaultRule struct {
	Kind string // one of FaultKinds
	Arg  string // as FaultKind.Arg says; "" where it says nothing

	// Member limits the fault to one member; "" is every member.
	Member string
	// Conditions on a REST request, for kinds with PerRequest; all must hold.
	Method string  // "" is any
	Path   string  // path.Match pattern below config/active or of the whole path; "" is any
	Nth    int     // only the Nth request that fits, from 1; 0 is all
	Chance float64 // of each that fits, 0 < Chance < 1; 0 is all
}

// FaultKind describes a kind of fault.
type FaultKind struct {
	Name       string
	Arg        string // what its argument is; "" if it takes none
	PerRequest bool   // takes the conditions method, path, nth and chance
	Help       string
}

// FaultKinds lists all kinds of faults, sorted by name.
func FaultKinds() []FaultKind {
	return []FaultKind{
		{"certificate", "", false, "the REST API presents another certificate, self-signed too; without effect on plain HTTP"},
		{"cut", "peer|clients|nodes", false, "lose what goes between the member and another member (its name), the clients of virtual servers, or the nodes"},
		{"disk-full", "", false, "refuse every change with 507, also those replicated from others"},
		{"down", "", false, "close the REST API's connections, those that are open and those that come"},
		{"drop", "before|after", true, "close the connection instead of answering, before or after the request took effect"},
		{"freeze", "", false, "the process stands still: nothing is answered, proxied or sent to other members"},
		{"garbage", "", true, "answer with a body that is not JSON; the request takes effect"},
		{"hold", "", false, "hold back the replication of the member's changes"},
		{"isolate", "", false, "lose the network: peers, clients, nodes and REST API"},
		{"latency", "duration", true, "wait before the request is handled, such as 200ms"},
		{"licence-expired", "", false, "the licence key has expired: told in status/state and the event log, and clients of virtual servers together get 1 Mbit/s"},
		{"repeat", "duration", true, "a request that changes something takes effect once more after this time, such as 7s, as if it had been delivered twice"},
		{"restart", "", false, "the process is killed and started again, once: it is not listed afterwards"},
		{"slow", "duration", true, "wait before each 1024 bytes of the answer's body"},
		{"status", "code", true, "answer with this status, 400 to 599, and do nothing"},
		{"stop", "", false, "the process is killed, and started again when the fault is taken away"},
		{"truncate", "", true, "close the connection in the middle of the answer; the request takes effect"},
		{"unauthorised", "", true, "refuse every user and password with 401"},
	}
}

func faultKind(name string) (FaultKind, bool) {
	for _, k := range FaultKinds() {
		if k.Name == name {
			return k, true
		}
	}
	return FaultKind{}, false
}

// ParseFaults reads one rule a line; '#' begins a comment. Errors name the line
// and what to write instead.
func ParseFaults(text string) ([]FaultRule, error) {
	var rules []FaultRule
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		r, err := parseFault(words)
		if err != nil {
			return nil, fmt.Errorf("faults, line %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	if len(rules) > maxFaults {
		return nil, fmt.Errorf("faults: %d rules are more than the %d allowed", len(rules), maxFaults)
	}
	return rules, nil
}

// maxFaults bounds the rules that each request is held against.
const maxFaults = 100

func parseFault(words []string) (FaultRule, error) {
	kind, known := faultKind(words[0])
	if !known {
		return FaultRule{}, fmt.Errorf("there is no fault %q: `vtm-sim faults` lists them", words[0])
	}
	r := FaultRule{Kind: kind.Name}
	rest := words[1:]
	if kind.Arg != "" {
		if len(rest) == 0 || strings.Contains(rest[0], "=") {
			return FaultRule{}, fmt.Errorf("%s needs a %s", kind.Name, kind.Arg)
		}
		r.Arg, rest = rest[0], rest[1:]
	}
	for _, word := range rest {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return FaultRule{}, fmt.Errorf("%q is not condition=value", word)
		}
		var err error
		switch name {
		case "member":
			r.Member = value
		case "method":
			r.Method = value
		case "path":
			r.Path = value
		case "nth":
			r.Nth, err = strconv.Atoi(value)
		case "chance":
			r.Chance, err = strconv.ParseFloat(value, 64)
		default:
			return FaultRule{}, fmt.Errorf("there is no condition %q: member, method, path, nth and chance are", name)
		}
		if err != nil {
			return FaultRule{}, fmt.Errorf("%s: %q is no number", name, value)
		}
	}
	return r, r.check()
}

// check says what is wrong with a rule.
func (r FaultRule) check() error {
	kind, known := faultKind(r.Kind)
	switch {
	case !known:
		return fmt.Errorf("there is no fault %q", r.Kind)
	case !kind.PerRequest && (r.Method != "" || r.Path != "" || r.Nth != 0 || r.Chance != 0):
		return fmt.Errorf("%s takes the condition member only", r.Kind)
	case r.Nth < 0:
		return fmt.Errorf("nth=%d is less than 1", r.Nth)
	case r.Chance < 0 || r.Chance >= 1 || r.Chance != r.Chance:
		return fmt.Errorf("chance=%v is not between 0 and 1", r.Chance)
	}
	for _, word := range []string{r.Arg, r.Member, r.Method, r.Path} {
		if strings.ContainsAny(word, " \t\r\n#\v\f") {
			return fmt.Errorf("%q holds a blank or '#'", word)
		}
	}
	if _, err := path.Match(r.Path, ""); err != nil {
		return fmt.Errorf("path=%s is no pattern: %w", r.Path, err)
	}
	switch r.Kind {
	case "latency", "slow", "repeat":
		if d, err := time.ParseDuration(r.Arg); err != nil || d <= 0 || d > time.Hour {
			return fmt.Errorf("%s: %q is no duration of up to an hour, such as 200ms", r.Kind, r.Arg)
		}
	case "status":
		if n, err := strconv.Atoi(r.Arg); err != nil || n < 400 || n > 599 {
			return fmt.Errorf("status: %q is no status of 400 to 599", r.Arg)
		}
	case "drop":
		if r.Arg != "before" && r.Arg != "after" {
			return fmt.Errorf("drop: %q is neither before nor after", r.Arg)
		}
	}
	return nil
}

// String is the text of the rule, in one spelling.
func (r FaultRule) String() string {
	words := []string{r.Kind}
	if r.Arg != "" {
		words = append(words, r.Arg)
	}
	for _, c := range []struct{ name, value string }{{"member", r.Member}, {"method", r.Method}, {"path", r.Path}} {
		if c.value != "" {
			words = append(words, c.name+"="+c.value)
		}
	}
	if r.Nth != 0 {
		words = append(words, "nth="+strconv.Itoa(r.Nth))
	}
	if r.Chance != 0 {
		words = append(words, "chance="+strconv.FormatFloat(r.Chance, 'g', -1, 64))
	}
	return strings.Join(words, " ")
}

// FormatFaults prints rules as ParseFaults reads them.
func FormatFaults(rules []FaultRule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

// concerns tells whether a rule of one of these kinds is set for a member.
func concerns(rules []FaultRule, member string, kinds ...string) bool {
	return slices.ContainsFunc(rules, func(r FaultRule) bool {
		return slices.Contains(kinds, r.Kind) && (r.Member == "" || r.Member == member)
	})
}
