// Package translate says what the traffic manager should hold for what
// Kubernetes holds, and what becomes of each Ingress.
//
// It is pure: no clock, no input or output, no randomness, no order of maps. The
// same input gives byte-identical output, and one bad Ingress changes nothing for
// the others. It never talks to anyone. It imports translate/model,
// controller/kube (for Snapshot), controller/config (for Settings),
// controller/vtm (for Resource) and internal/.
package translate
