package reconcile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"vtm-ingress/controller/vtm"
)

// Action is what a Step does.
type Action int

// The actions.
const (
	Create Action = iota
	Update
	Delete
)

func (a Action) String() string { return [...]string{"create", "update", "delete"}[a] }

// Stage is a step's place in a Plan. All steps of a stage are independent of each
// other; a stage begins when the one before has ended. The order is such that
// what is referred to exists as long as something refers to it.
type Stage int

// The stages in their order.
const (
	// stageNodes changes the nodes of pools that exist and will not be empty. It
	// is first: it needs nothing, and where a Pod is gone, users wait for it.
	stageNodes Stage = iota
	stageKeys
	stageMonitors
	stagePersistence
	stageFailurePools
	stagePools
	stageLibraries
	stageRules
	stageGroups
	stageServers
	// Deletion is in the reverse order, after all else.
	stageDeleteServers
	stageDeleteGroups
	stageDeleteRules
	stageDeleteLibraries
	stageDeletePools
	stageDeleteFailurePools
	stageDeletePersistence
	stageDeleteMonitors
	stageDeleteKeys
)

func (s Stage) String() string {
	return [...]string{
		"nodes", "server keys", "monitors", "persistence", "failure pools", "pools",
		"rule libraries", "rules", "traffic IP groups", "virtual servers",
		"delete virtual servers", "delete traffic IP groups", "delete rules",
		"delete rule libraries", "delete pools", "delete failure pools",
		"delete persistence", "delete monitors", "delete server keys",
	}[s]
}

// Step is one request of a Plan.
type Step struct {
	Stage  Stage
	Action Action
	ID     vtm.ID
	// Before is the resource as it is on the traffic manager, nil for Create.
	Before *vtm.Resource
	// After is the desired resource, nil for Delete.
	After *vtm.Resource
	// Send is what is sent: only what differs. Nil for Delete.
	Send *vtm.Resource
	// MakeWay are virtual servers that hold an address and port which this one
	// takes over: those that still do are disabled right before.
	MakeWay []vtm.ID
}

// Held is a change that is not made now, and why.
type Held struct {
	ID     vtm.ID
	Reason string
	// keeps are virtual servers that go on serving in the place of this one until it
	// can be made.
	keeps []vtm.ID
}

// Plan is what has to be done, in its order, so that at no moment a resource
// refers to one that does not exist.
type Plan struct {
	Steps []Step // by stage, then by name
	Held  []Held // by name
	// Same are desired resources that were compared and are there already.
	Same []*vtm.Resource
}

func (p *Plan) sort() {
	slices.SortFunc(p.Steps, func(a, b Step) int {
		if a.Stage != b.Stage {
			return int(a.Stage) - int(b.Stage)
		}
		return compareIDs(a.ID, b.ID)
	})
	slices.SortFunc(p.Held, func(a, b Held) int { return compareIDs(a.ID, b.ID) })
}

// filter keeps the steps for which keep gives no reason, and holds the others.
func (p *Plan) filter(keep func(*Step) (reason string)) *Plan {
	out := &Plan{Held: slices.Clone(p.Held), Same: p.Same}
	for i := range p.Steps {
		if reason := keep(&p.Steps[i]); reason != "" {
			out.Held = append(out.Held, Held{p.Steps[i].ID, reason, p.Steps[i].MakeWay})
		} else {
			out.Steps = append(out.Steps, p.Steps[i])
		}
	}
	out.sort()
	return out
}

// String shows the plan for people: a line for each step and each key that
// changes, with its value before and after. An empty plan is "no changes\n".
func (p *Plan) String() string {
	if len(p.Steps) == 0 && len(p.Held) == 0 {
		return "no changes\n"
	}
	var b strings.Builder
	stage := Stage(-1)
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Stage != stage {
			stage = s.Stage
			fmt.Fprintf(&b, "%s:\n", stage)
		}
		for _, id := range s.MakeWay {
			fmt.Fprintf(&b, "  disable %s, right before:\n", id)
		}
		fmt.Fprintf(&b, "  %s %s\n", s.Action, s.ID)
		if s.Send == nil {
			continue
		}
		if s.ID.Type.IsFile() {
			writeLines(&b, s)
			continue
		}
		for _, c := range changesOf(s) {
			if s.Action == Create {
				fmt.Fprintf(&b, "    %s: %s\n", c.key, c.after)
			} else {
				fmt.Fprintf(&b, "    %s: %s -> %s\n", c.key, c.before, c.after)
			}
		}
	}
	if len(p.Held) > 0 {
		b.WriteString("held:\n")
		for _, h := range p.Held {
			fmt.Fprintf(&b, "  %s: %s\n", h.ID, h.Reason)
		}
	}
	return b.String()
}

type change struct{ key, before, after string }

// changesOf lists the keys that a step sets, sorted.
func changesOf(s *Step) []change {
	var out []change
	for _, sent := range s.Send.Settings() {
		var before any
		if s.Before != nil {
			before = s.Before.Value(sent.Section, sent.Key)
		}
		out = append(out, change{
			key:    sent.Section + "/" + sent.Key,
			before: show(s.ID.Type, sent.Key, before),
			after:  show(s.ID.Type, sent.Key, sent.Value),
		})
	}
	return out
}

// show gives a value as JSON; a private key is never shown.
func show(t vtm.Type, key string, value any) string {
	if t == vtm.ServerKeys && key == "private" {
		return "[hidden]"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// writeLines shows the lines by which a rule differs: those at its beginning and
// its end that stay are left out.
func writeLines(b *strings.Builder, s *Step) {
	var before []string
	if s.Before != nil {
		before = lines(s.Before.Content)
	}
	after := lines(s.Send.Content)
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	for _, line := range before {
		fmt.Fprintf(b, "    - %s\n", line)
	}
	for _, line := range after {
		fmt.Fprintf(b, "    + %s\n", line)
	}
}

func lines(content []byte) []string {
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}
