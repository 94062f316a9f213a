// Package loopback_test runs the features over real sockets.
package loopback_test

import (
	"testing"

	"vtm-ingress/scenarios"
	"vtm-ingress/testenv/loopback"
)

func TestFeatures(t *testing.T) {
	scenarios.Run(t, loopback.Lane{}, "../../features")
}
