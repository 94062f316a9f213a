// Package kinds is what the emulated Kubernetes API server knows of each kind
// it serves: one table row a kind, with its types, defaulting, validation,
// what a client may not set, printed columns and selectable fields.
//
// The rows say what a real API server of the newest emulated version does,
// with its texts; they are written after the published behaviour of
// pkg/apis and pkg/registry of k8s.io/kubernetes, which is not imported.
//
// It never stores, serves, allocates or remembers anything: rows are functions
// of the objects they are given, and the table is made anew by each call of
// All. It imports k8s.io/api, k8s.io/apimachinery and, for the built-in scheme,
// nothing else of Kubernetes; sim/kube and sim/kube/openapi import it.
package kinds
