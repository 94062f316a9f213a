// Package sandbox puts the emulated parts together: a Kubernetes cluster with its
// small controllers and nodes, and a cluster of traffic managers in front of it.
//
// It owns which part runs at which address, the order in which they start and
// end, and nothing of what they do. It never starts the controller: who wants one
// wires it to what the sandbox tells (cmd/sandbox, testenv). It imports sim and
// internal only.
package sandbox
