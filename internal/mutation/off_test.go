//go:build !mutations

package mutation_test

import (
	"testing"

	"vtm-ingress/internal/mutation"
)

func TestNoFaultIsOnInAProductionBuild(t *testing.T) {
	for f := mutation.GateStaysOpen; f <= mutation.KeyLogged; f++ {
		if mutation.On(f) {
			t.Errorf("fault %d is on", f)
		}
	}
}
