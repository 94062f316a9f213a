// Package dataplane is the emulated traffic manager's data plane: it really
// listens, runs rules, chooses nodes, monitors them and proxies.
//
// It owns the runtime objects of one traffic manager: raised Traffic IP
// addresses, listeners, client connections, pools with their nodes, monitors,
// compiled rules, and the mapping of foreign addresses onto this machine
// (AddressMap). Configuration comes in as typed values through Apply, and what
// happens goes out as Events and as State.
//
// It never reads REST bodies, stores configuration, talks to other traffic
// managers, or decides who hosts an address beyond its own configuration. It
// may import sim/trafficscript and internal packages; sim/vtm imports it.
//
// What a setting does follows vtm/runtime.md; what is unknown there is decided
// here and said at the place. Of the load-balancing algorithms round robin is
// carried out; pools that ask for another are served round robin.
package dataplane
