// Package inspect answers what operators ask of the controller without running
// it: what would change on the traffic manager, why an Ingress is as it is,
// whether all that the controller needs is there. It also makes the two changes
// that are asked for by hand alone: removing all that a controller owns, and
// taking over what belongs to another Kubernetes cluster.
//
// It owns the forms of these answers. It decides nothing about Ingresses: what
// it shows comes from the same translation and comparison as the controller's
// writes. It writes only in Cleanup and Adopt, and only while it holds the Lease.
// It imports the other packages of controller/, but not controller itself, and
// internal/.
//
//	view.go       Kubernetes and the traffic manager, read once
//	manifests.go  manifest files, laid over what the cluster holds
//	plan.go       what would change
//	explain.go    one Ingress
//	check.go      the doctor
//	rights.go     what the controller must be allowed to in Kubernetes
//	byhand.go     Cleanup and Adopt
package inspect
