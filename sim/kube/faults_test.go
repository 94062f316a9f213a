package kube_test

import (
	"testing"

	"vtm-ingress/sim/kube"
)

func TestFaultsAreReadAsTheyArePrinted(t *testing.T) {
	for _, text := range []string{
		"status 409 user=vtm-ingress method=PUT path=*/leases/* chance=0.5", "drop before", "drop after chance=0.25", "latency 1.7s", "delay 200ms user=a", "stale", "empty user=b", "away", "forgets",
	} {
		if r, err := kube.ParseFault(text); err != nil || r.String() != text {
			t.Errorf("%q is read as %q, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "explode", "status", "status 200", "drop sideways", "latency soon", "delay -1s", "stale chance=1", "stale moon=full", "empty user=", "away chance=0.5"} {
		if r, err := kube.ParseFault(text); err == nil {
			t.Errorf("%q is read as %q", text, r)
		}
	}
}
