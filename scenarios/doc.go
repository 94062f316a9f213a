// Package scenarios holds the steps behind features/ and runs them in a lane.
//
// It owns the words that features may use. It knows the system from outside only:
// Kubernetes objects in; answers of the data plane, REST configuration, status,
// Events and log lines out; it imports testenv and internal, never controller or
// sim. Each lane has a test package below, since what a lane switches in the
// process is process-wide.
package scenarios
