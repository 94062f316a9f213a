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
// What a setting does follows vtm/runtime.md. Of the load-balancing algorithms
// round robin is carried out; pools that ask for another are served round robin.
// Every TCP protocol is served (modes.go). UDP is not: its virtual servers stay down
// and say so.
//
// # Decided here, since nothing says it
//
//   - A server that asks for an address goes before one that listens on any; of
//     equals the first comes up, the other waits with a SERIOUS event.
//   - No node: 503. No reply in time: 504. A body that stalls: 408. What a rule
//     made unsendable: 500. CONNECT: 405.
//   - A try that never reached its node goes to another whatever the method; one
//     that did, only if the request is idempotent and its body is still there.
//   - Three failed tries fail a node; after node_retry_fail_time one request is its
//     trial, and a good answer brings it back. A 503 of a node is retried, and
//     does not fail it.
//   - back_off doubles a monitor's delay with each failure, up to four times.
//   - Draining nodes get no requests, as there are no sessions yet.
//   - A rule that is aborted ends alone; the next one runs.
//   - Rate classes let their number through at once, and then one each time a
//     period's n-th part has passed. A service level class counts the responses of
//     the last ten seconds. Bandwidth classes and DSCP slow and mark nothing.
//   - Rules ask nobody outside but nodes and addresses: places, names and users are
//     in extra files (trafficscript.PlacesFile, HostsFile, UsersFile).
//   - Requests that two servers might read in two ways are refused (framing.go).
//   - What fails with a client is an event always: WARN where section log asks for
//     it, else INFO.
//   - Of passed-through TLS, request rules see the ClientHello alone.
//   - Deleted and disabled virtual servers let requests end within 30 s.
//
// # Files
//
// config.go what comes in, dataplane.go Apply and Close, endpoint.go addresses and
// sockets, vserver.go virtual servers and their connections, certificates.go TLS,
// transaction.go a request's life, script.go what its rules see, machine.go
// with rate.go, servicelevel.go and fetch.go what they ask for, streamed.go
// responses that they send themselves, completion.go the end, forward.go the
// tries on nodes, body.go request bodies that can be sent again, location.go
// redirects, pool.go, node.go and monitor.go the nodes, usage.go which pools are
// in use, rules.go compiled rules, state.go what goes out, statistics.go,
// clientstats.go, cachestats.go and meter.go what is counted, expiry.go certificates that
// end, bandwidth.go the limit of an expired licence,
// addressmap.go foreign addresses on this machine, group.go waiting for the end.
package dataplane
