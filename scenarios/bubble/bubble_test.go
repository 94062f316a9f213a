// Package bubble_test runs the features in memory, with fake time.
package bubble_test

import (
	"os"
	"testing"

	"vtm-ingress/scenarios"
	"vtm-ingress/testenv/bubble"
)

func TestMain(m *testing.M) {
	bubble.Prepare()
	os.Exit(m.Run())
}

func TestFeatures(t *testing.T) {
	scenarios.Run(t, bubble.Lane{}, "../../features")
}
