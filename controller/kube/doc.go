// Package kube watches Kubernetes and gives immutable, self-consistent Snapshots
// of what the controller needs to know.
//
// It owns informers, caches and the API server's version; nothing downstream
// reads a lister. It never decides what an object means (that is translate) and
// never writes. It imports internal/ and controller/config only.
package kube
