// Package vtm is an emulated traffic manager: its REST API, its configuration
// store, its event log, and the data plane that serves what is configured.
//
// It owns what a client sees on the wire of the REST API 8.3: the tree of
// folders, resource types with their keys, defaults and checks (all read from
// internal/facts, none written here), methods, statuses, error bodies, users. It
// owns the configuration of a traffic manager, and gives each change of it to
// sim/dataplane before it answers. It owns the cluster: who has told whom which
// change, who hears whom, and who hosts which Traffic IP address. What the real product accepts, it accepts;
// with Options.Strict it refuses what would not work.
//
// It never proxies traffic (sim/dataplane does), never runs rules
// (sim/trafficscript does), and knows nothing of Kubernetes or of the controller.
// It imports internal/, sim/dataplane and sim/trafficscript.
//
// Where to change what:
//
//	schema.go     resource types, read from the schema; what we know better than it
//	value.go      values of keys: from JSON, checks, to JSON
//	body.go       a PUT body: merge into a resource, all errors of it together
//	store.go      the configuration of this traffic manager
//	metadata.go   what ?metadata adds to an answer
//	strict.go     references between resources; what Options.Strict refuses
//	apply.go      stored resources to the data plane's typed configuration
//	reads.go      which keys take effect: docs/vtm-fidelity.md is made of it
//	builtin.go    what a new traffic manager has; the long lists are in builtin_more.go
//	rest.go       limits, path to target
//	restlisten.go where the REST API listens
//	admission.go  how many connections may be open that send nothing
//	login.go      who may come in: passwords, login delay, suspension, addresses
//	permission.go which page of the admin server a resource belongs to, and who may use it
//	config.go     GET, PUT and DELETE below config/active
//	backup.go     status/NAME/backups; restore.go puts one into effect
//	status.go     status/: which traffic manager is asked, and information
//	state.go      status/NAME/state: what is wrong now
//	counters.go   status/NAME/statistics; nodecounters.go: of nodes
//	apierror.go   one constructor for each error body
//	eventlog.go   the event log and the record of writes; eventfile.go: log files
//	eventtype.go  which event types an event matches, and those that are built in
//	action.go     what event types set off
//	fault.go      one traffic manager misbehaves on demand
//
// The cluster:
//
//	cluster.go    members start, stop, join and leave
//	version.go    version vectors; which of two concurrent changes is kept
//	replicate.go  changes to the other members, and theirs taken in
//	health.go     heartbeats: which machines work, and what this one raises
//	sessions.go   sessions of clients, told to the other members
//	place.go      who hosts which address: pure
//	wire.go       the network segment: two machines that raise one address;
//	              wirepacket.go: for datagrams
//	gate.go       what a member that stands still or is cut off holds back
//	faultrule.go  faults as text
//	faultset.go   which faults are set, and what they do
//	control.go    the control API
//	disk.go       the configuration in files
//
// The admin pages, which sim/vtm/admin makes:
//
//	adminserver.go  where they are served
//	adminview.go    what they are told, and how they change something
//
// # Locks
//
// A change holds TrafficManager.writing, a channel, until it is in effect; with
// it held nothing waits for another member. Mutexes are held for look-ups and
// never over a wait: replication.mu and health.mu before Cluster.mu and wire.mu.
// Cluster.changing is held while members start and stop.
package vtm
