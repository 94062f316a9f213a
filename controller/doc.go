// Package controller puts the parts of the Ingress controller together and runs
// them.
//
// It owns the order of starting and stopping, liveness, readiness and metrics. It decides
// nothing about Ingresses: that is translate, and reconcile after it. It imports
// all packages of controller/ and internal/; programs and testenv import it.
package controller
