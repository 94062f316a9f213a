// Package report tells what became of each Ingress: in its status, by Kubernetes
// Events and in the log; and what concerns no single Ingress by Events of the
// controller's Lease (self.go).
//
// It owns how a verdict is told, and what of it was told already. It never
// decides about an Ingress, and never writes to the traffic manager. It imports
// controller/translate (for Verdict), controller/kube (for what marks our writes)
// and internal/. Only the instance that writes reports.
//
// An address is in an Ingress's status from the moment it is served there until
// it is not meant to be any more; trouble meanwhile does not remove it, since
// what serves goes on serving.
package report
