// Package model says in neutral words what is to be served: listeners, the
// shares that owners have in them, routes and backends, each with its owner.
//
// It owns the rank of owners, the order of routes, the allotment of addresses
// and what covers what. It knows neither Ingress nor traffic manager, so that
// another source of routes or another target needs no change here. Values are
// immutable once made. It imports the standard library only.
//
//	model.go  owners, sites, shares and backends
//	route.go  hosts, paths, the order of routes and what covers what
//	allot.go  who gets an address and a port
package model
