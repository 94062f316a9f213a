// Package kube is an emulated Kubernetes API server: kubectl and client-go work
// against it as against a real one.
//
// It owns what an API server owns: listening and TLS, who a client is, the
// paths and verbs, discovery, the life of objects (creation, conflicts, patches,
// finalizers, grace, namespaces), lists and watches, and the addresses and node
// ports of Services. Requests are decoded, patched, converted and answered by
// k8s.io/apiserver's own handlers, so that details are those of a real server;
// what is ours lies below (storage) and above (dispatch) of them. What is known
// of single kinds is in package kinds, their documents in package openapi,
// objects and history in package store.
//
// It runs nothing else of a cluster: no controllers, no scheduler, no nodes.
// Those are clients (sim/kube/controllers, sim/node) and work with a real API
// server too. It never imports them, nor anything of controller/.
//
// Time, network and randomness come from outside.World alone. Identifiers,
// names and revisions come from counters, lists are sorted, and nothing is kept
// in package variables, so that in simulation equal requests in equal order give
// equal answers.
//
// The files: server.go (start, stop), faults.go (what it is told to do wrong), api.go (what all parts share),
// version.go, identity.go (certificates, tokens), dispatch.go (from path to
// endpoint), endpoints.go (what each path can do), discovery.go, resource.go (one
// kind's storage), read.go, watch.go, write.go, admission.go, delete.go, expire.go,
// strategy.go (rules by kind), subresources.go, pods.go, reviews.go, services.go (addresses
// and ports), bootstrap.go (what every cluster has).
package kube
