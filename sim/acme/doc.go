// Package acme gives the sandbox a certificate authority that speaks ACME (RFC
// 8555) with renewal information (RFC 9773).
//
// There are two, with the same Server in front. Pebble is Let's Encrypt's own test
// server, run in this process over real sockets: it judges what a client sends as
// the real one does. CA is a small one of our own for simulation, since Pebble
// takes neither clock nor network from outside: it does what ACME clients use, and
// refuses on demand with any problem of RFC 8555. Both pass the same contract
// tests (contract_test.go).
//
// It owns the protocol's server side. It resolves no names itself: where a host is
// comes from whoever starts it (sim/dns, for Pebble over DNS itself). It never
// knows of Kubernetes or of traffic managers, and imports internal/ only.
//
//	server.go    what both have: the address, its certificate, start and end
//	pebble.go    Pebble in this process
//	ca.go        CA: its state, and the faults it is told to have
//	wire.go      CA: requests, nonces, signatures, problem documents
//	resources.go CA: accounts, orders, authorizations, challenges
//	issue.go     CA: certificates, chains and renewal information
package acme
