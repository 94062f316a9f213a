package vtm

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestWhoHostsWhat(t *testing.T) {
	all := func(s machineState) map[string]machineState {
		return map[string]machineState{"a": s, "b": s, "c": s}
	}
	but := func(changes ...any) map[string]machineState {
		m := all(working)
		for i := 0; i < len(changes); i += 2 {
			m[changes[i].(string)] = changes[i+1].(machineState)
		}
		return m
	}
	base := placing{group: "g", assignment: "alphabetic", addresses: []string{"10.0.0.10", "10.0.0.9", "10.0.0.11"}, machines: []string{"c", "a", "b"}}
	with := func(change func(*placing)) placing {
		p := base
		change(&p)
		return p
	}
	for name, tc := range map[string]struct {
		p      placing
		states map[string]machineState
		want   string
	}{
		"sorted by number, one each":         {base, all(working), "map[10.0.0.10:b 10.0.0.11:c 10.0.0.9:a]"},
		"only the address of the lost moves": {base, but("b", failed), "map[10.0.0.10:a 10.0.0.11:c 10.0.0.9:a]"},
		"a machine that waits is passed by":  {base, but("b", pending), "map[10.0.0.10:a 10.0.0.11:c 10.0.0.9:a]"},
		"unless nobody else works":           {base, but("a", failed, "b", pending, "c", failed), "map[10.0.0.10:b 10.0.0.11:b 10.0.0.9:b]"},
		"nobody works":                       {base, all(failed), "map[]"},
		"slaves host nothing":                {with(func(p *placing) { p.passive = []string{"b"} }), all(working), "map[10.0.0.10:c 10.0.0.11:a 10.0.0.9:a]"},
		"while others work":                  {with(func(p *placing) { p.passive = []string{"b"} }), but("a", failed, "c", pending), "map[10.0.0.10:b 10.0.0.11:b 10.0.0.9:b]"},
		"all slaves":                         {with(func(p *placing) { p.passive = p.machines }), all(working), "map[10.0.0.10:b 10.0.0.11:c 10.0.0.9:a]"},
		"kept together":                      {with(func(p *placing) { p.together = true }), but("a", failed), "map[10.0.0.10:b 10.0.0.11:b 10.0.0.9:b]"},
		"mapped":                             {with(func(p *placing) { p.mapping = map[string]string{"10.0.0.9": "c"} }), all(working), "map[10.0.0.10:a 10.0.0.11:b 10.0.0.9:c]"},
		"mapped to one that failed":          {with(func(p *placing) { p.mapping = map[string]string{"10.0.0.9": "c"} }), but("c", failed), "map[10.0.0.10:a 10.0.0.11:b 10.0.0.9:a]"},
		"mapped to a stranger":               {with(func(p *placing) { p.mapping = map[string]string{"10.0.0.9": "x"} }), all(working), "map[10.0.0.10:b 10.0.0.11:c 10.0.0.9:a]"},
	} {
		if got := fmt.Sprint(tc.p.hosts(tc.states)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestAddressesAreSpreadAndMoveOnlyWhenTheyMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := placing{group: rapid.String().Draw(t, "group"), assignment: rapid.SampledFrom([]string{"balanced", "alphabetic"}).Draw(t, "assignment")}
		states := map[string]machineState{}
		for i := range rapid.IntRange(1, 5).Draw(t, "machines") {
			m := fmt.Sprint("m", i)
			p.machines = append(p.machines, m)
			states[m] = working
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "addresses") {
			p.addresses = append(p.addresses, fmt.Sprint("10.0.0.", i))
		}
		before := p.hosts(states)
		load := map[string]int{}
		for _, m := range before {
			load[m]++
		}
		for _, m := range p.machines {
			if fair := len(p.addresses) / len(p.machines); load[m] < fair || load[m] > fair+1 {
				t.Errorf("%d addresses on %d machines: %v", len(p.addresses), len(p.machines), load)
			}
		}
		dead := rapid.SampledFrom(p.machines).Draw(t, "dead")
		states[dead] = failed
		after := p.hosts(states)
		if len(p.machines) > 1 && len(after) != len(p.addresses) {
			t.Errorf("of %d addresses %d are hosted", len(p.addresses), len(after))
		}
		for address, m := range after {
			if m == dead || before[address] != dead && before[address] != m {
				t.Errorf("%s was on %s and is on %s, %s failed", address, before[address], m, dead)
			}
		}
		// Every machine computes alike, in whatever order it reads the group.
		shuffled := p
		shuffled.addresses, shuffled.machines = slices.Clone(p.addresses), slices.Clone(p.machines)
		slices.Reverse(shuffled.addresses)
		slices.Reverse(shuffled.machines)
		if fmt.Sprint(shuffled.hosts(states)) != fmt.Sprint(after) {
			t.Errorf("the order of the group's lists matters: %v, %v", shuffled.hosts(states), after)
		}
	})
}
