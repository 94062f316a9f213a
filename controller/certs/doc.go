// Package certs gets certificates for Ingresses from a certificate authority that
// speaks ACME (RFC 8555), and renews them.
//
// It owns the account, the orders, when what is tried again, and the Secrets that
// it made. It never writes to the traffic manager: which challenges are to be
// answered there is an input of translation (Manager.State), and what is in a
// Secret gets there like any other Secret. Only the instance that may write
// orders. It imports controller/translate (for Certificate and Challenge),
// controller/kube (for Snapshot), controller/reconcile
// (for Permit), controller/config (for Settings), controller/vtm
// (to see what members hold) and internal/.
//
//	plan.go      what is due when: no clock, no input or output
//	budget.go    how much is asked of the authority: likewise
//	manager.go   the Manager: who orders, how many at a time, what is told
//	order.go     one order, from the first request to the certificate
//	authority.go the authority's client, and what its answers say besides
//	renewal.go   when the authority wants certificates renewed (RFC 9773)
//	account.go   the account, and what is kept of orders, in a Secret
//	secrets.go   the Secrets with certificates
//	tidy.go      those that nobody uses any more, and others that end
package certs
