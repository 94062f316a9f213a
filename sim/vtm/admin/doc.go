// Package admin is the admin pages of an emulated traffic manager: what an
// administrator sees and changes with a browser, on port 9090 of each member.
//
// It owns sessions, forms and pages: login with the users of the REST API, the
// traffic map, the catalogs of all resource types, the event log with its live
// tail, the diagnosis, the cluster, and the settings of the ingress controller. It
// owns what a browser must be told to be safe: content security policy, cookies,
// CSRF tokens.
//
// It never keeps configuration, never decides who may do what, and never shows a
// secret: all it knows comes through View, which the traffic manager implements,
// and all it changes goes the way that a change over REST goes. Pages work without
// script; script adds the live tail of the event log. It imports
// internal/facts, internal/outside and the types of sim/dataplane; sim/vtm imports
// it.
//
// # Files
//
//	view.go       what the pages are told of a traffic manager
//	pages.go      the handler: addresses, headers, rendering
//	session.go    sessions, login, CSRF tokens
//	home.go       the traffic map
//	health.go     words for states, and which problem concerns which object
//	catalog.go    resource types, their resources, and one resource
//	log.go        the event log
//	cluster.go    the cluster with its Traffic IP Groups; the diagnosis
//	ingress.go    System > Ingress Controller
//	settings.go   the controller's settings, and what they accept
//	templates/    one page each, in the frame of layout.html
//	static/       style, script, icon
package admin
