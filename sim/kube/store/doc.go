// Package store keeps the objects of the emulated Kubernetes API server: in
// memory, one revision a change, with enough history to watch from a revision
// and to list as of one, as etcd and the API server's watch cache do together.
//
// It owns objects, revisions, order and history. It never looks into an object
// but for its resourceVersion, knows no kinds, no HTTP and no clock. It imports
// apimachinery only.
//
// One writer at a time: Write gives the right to change and holds it until its
// function returns, so that what was read stays true until it is committed.
// Readers are never held up by a writer for longer than a map operation.
package store
