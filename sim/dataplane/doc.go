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
// What a setting does follows vtm/runtime.md. Every protocol of the schema is
// served (modes.go); of those that carry addresses or further streams inside (FTP,
// RTSP, SIP) these are not followed. Every load-balancing algorithm, persistence
// type and monitor type is carried out but monitors of RTSP and SIP, which are
// stored only.
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
//   - Draining nodes get the requests of their sessions alone.
//   - A client's datagrams are a flow until it has as many answers as are expected, or
//     nothing moves for udp!timeout. Each is a request that the rules see; of
//     udpstreaming the first alone.
//   - A rule that is aborted ends alone; the next one runs.
//   - Each use of a rule runs every time: the REST API's lists tell no frequency.
//   - Rate classes let their number through at once, and then one each time a
//     period's n-th part has passed. A service level class counts the responses of
//     the last ten seconds. Bandwidth classes and DSCP slow and mark nothing.
//   - Rules ask nobody outside but nodes and addresses: places, names and users are
//     in extra files (trafficscript.PlacesFile, HostsFile, UsersFile).
//   - Requests that two servers might read in two ways are refused (framing.go).
//   - What fails with a client is an event always: WARN where section log asks for
//     it, else INFO.
//   - Of passed-through TLS, request rules see the ClientHello alone.
//   - send_close_alerts of a virtual server is for HTTP/1 and streams: HTTP/2 always
//     ends with an alert.
//   - Deleted and disabled virtual servers let requests and flows end within 30 s. A
//     socket of UDP stays bound for its flows until another virtual server needs the
//     port, or another machine the address.
//
// # Files
//
// What comes in and goes out: config.go, config_pool.go, settings.go and
// rulesettings.go the configuration, dataplane.go Apply and Close, state.go what is
// wrong, statistics.go, clientstats.go, cachestats.go and meter.go what is counted,
// expiry.go certificates that end, usage.go which pools are in use.
//
// Clients: endpoint.go addresses and sockets, addressmap.go foreign addresses on this
// machine, vserver.go virtual servers, modes.go their protocols, generation.go what
// of them cannot change under their connections, client.go connections,
// proxyprotocol.go their PROXY header, certificates.go and clienttls.go TLS,
// protection.go whom a service protection class refuses, bandwidth.go the limit of
// an expired licence.
//
// HTTP: httpconn.go and framing.go what a request may look like, transaction.go its
// life, watchdog.go its time-out, body.go bodies that can be sent again, pass.go what
// passes from one side to the other, forward.go the tries on nodes, failure.go what
// went wrong, errorpage.go, location.go, cookies.go and gzip.go the response, cache.go
// the web cache.
//
// Other protocols: stream.go connections, udp.go datagrams, udpanswers.go who may
// answer them, sslsession.go the sessions
// of passed-through TLS.
//
// Nodes: pool.go, node.go, nodetls.go, balance.go the algorithms, queue.go limits,
// route.go the way of one request to its node, persistence.go and sessions.go
// sessions, monitor.go, probe.go and program.go monitors.
//
// Rules: rules.go what is compiled, script.go what they see, machine.go with rate.go,
// servicelevel.go and fetch.go what they ask for, streamed.go responses that they
// send themselves, completion.go the end.
//
// group.go waits for the end of goroutines.
package dataplane
