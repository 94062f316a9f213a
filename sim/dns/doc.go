// Package dns answers for the names of the sandbox: each host of an Ingress is at
// the Ingress's address, as if its owner had made the record.
//
// It owns the zone (what is said of a name), the server that answers for it, and
// the watch of the Ingresses from which names come, as an ordinary API client. It
// never resolves any other name, and asks nobody. It imports internal/ only.
//
//	zone.go      names and what they are
//	server.go    DNS over TCP and UDP; dynamic updates (RFC 2136) of TXT records
//	recorder.go  TXT records over HTTP, and by a program
//	ingresses.go the hosts of Ingresses, watched
package dns
