package simulation_test

import (
	"testing"

	"vtm-ingress/testenv/simulation"
)

func TestFaultsAreReadAsTheyArePrinted(t *testing.T) {
	for _, text := range []string{
		"vtm stop member=vtm-1", "vtm latency 2.3s member=vtm-2 chance=0.3", "vtm cut vtm-2 member=vtm-1", "kubernetes away", "kubernetes forgets", "vtm repeat 7s method=PUT chance=0.3", "kubernetes delay 7s path=nodes", "authority down", "settings resync_period=soon",
		"controller a killed", "controller b cut kubernetes", "controller c cut vtm", "controller c cut vtm-1", "controller c cut everything",
		"controller a stopped", "controller a frozen", "node node-1 cut kubernetes", "node all cut kubernetes",
		"kubernetes status 409 user=vtm-ingress method=PUT path=*/leases/* chance=0.5", "kubernetes drop after chance=0.3", "kubernetes stale user=x",
		"kubernetes delay 2.3s", "kubernetes empty", "kubernetes without Secret steady/five",
	} {
		f, err := simulation.ParseFault(text)
		if err != nil || f.String() != text {
			t.Errorf("%q is read as %q, %v", text, f, err)
		}
	}
	for _, text := range []string{
		"", "vtm", "vtm explode", "kubernetes", "kubernetes rests", "controller a", "controller a cut", "controller a killed twice", "sun shines",
		"kubernetes status 200", "kubernetes drop sideways", "kubernetes latency", "kubernetes stale chance=2", "kubernetes without", "kubernetes without Moon x", "authority rests", "settings", "settings x", "node a",
	} {
		if f, err := simulation.ParseFault(text); err == nil {
			t.Errorf("%q is read as %q", text, f)
		}
	}
}
