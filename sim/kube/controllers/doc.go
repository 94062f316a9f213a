// Package controllers holds the small controllers that make an API server a
// cluster: Deployment, ReplicaSet, scheduler, Endpoints and EndpointSlices,
// garbage collection, namespace deletion and the node lifecycle.
//
// They are ordinary API clients that know client-go only, so they serve a real API
// server as well as the emulated one. They do what the real ones do for the fields
// that matter to what runs here; each file says what it leaves out. They never run
// a pod (sim/node does). The package imports internal/ and client-go only.
//
// Each controller has one queue and one worker, so that what it does follows from
// the order of its keys; every list is sorted before anything is done with it.
// Informers are shared. Caches lag behind what a controller has just written: what
// must not be done twice is remembered until it shows (ReplicaSet, scheduler).
package controllers
