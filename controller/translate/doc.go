// Package translate says what the traffic manager should hold for what
// Kubernetes holds, and what becomes of each Ingress.
//
// It is pure: no clock, no input or output, no randomness, no order of maps. The
// same input gives byte-identical output, and one bad Ingress changes nothing for
// the others. It never talks to anyone. It imports translate/model,
// controller/kube (for Snapshot), controller/config (for Settings),
// controller/vtm (for Resource) and internal/.
//
//	translator.go     what is remembered, and what a change makes anew
//	parallel.go       work on all processors at once
//	types.go          what goes in and comes out
//	environment.go    what concerns all Ingresses; where one may listen
//	class.go          which Ingresses are ours
//	allowed.go        what a namespace may use
//	wish.go           what one Ingress asks for
//	annotations.go    their names and spellings
//	customization.go  annotations with customization JSON, what they may set
//	tls.go            how clients are met: plain, TLS, passed through
//	keys.go           server keys of Secrets
//	standard.go       the certificate for hosts without one
//	entry.go          what is remembered of one Ingress; its verdict
//	findings.go       what is found out about one, and how texts are shown
//	backends.go       a backend's nodes
//	nodes.go          the Nodes and their addresses
//	listener.go       what is remembered of one virtual server
//	rule.go           the rule of a handful of Ingresses
//	libraries.go      the rules of more
//	routing.go        routes as data, for people
//	quote.go          texts in rules
//	document.go       reading that JSON
//	resources.go      the resources' shape
//	names.go          their names
//	relay.go          what takes log lines
package translate
