package dataplane

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Counts are the counters of one object by the key that the REST API's status
// resources give them, such as "bytes_in". Only keys that something counts are
// there; CountedKeys lists them.
type Counts map[string]int64

// counterSet is a fixed set of counters that only grow. Each kind of object has
// its constants and, in their order, their keys.
type counterSet []atomic.Int64

func (s counterSet) into(out Counts, keys []string) {
	for i := range s {
		out[keys[i]] += s[i].Load()
	}
}

// Counters of a virtual server that only grow. The responses of each group stand
// in the order of their first digit.
const (
	vsBytesIn = iota
	vsBytesOut
	vsRequests // transactions: requests of HTTP, connections of other protocols
	vsHTTPRequests
	vsHTTP1Requests
	vsHTTP2Requests
	vsResponses1xx
	vsResponses2xx
	vsResponses3xx
	vsResponses4xx
	vsResponses5xx
	vsServer1xx
	vsServer2xx
	vsServer3xx
	vsServer4xx
	vsServer5xx
	vsGenerated2xx
	vsGenerated3xx
	vsGenerated4xx
	vsGenerated5xx
	vsCache2xx
	vsCache3xx
	vsCache4xx
	vsCache5xx
	vsCacheHits
	vsCacheLookups
	vsDirectReplies
	vsDiscard
	vsConnectTimedOut
	vsDataTimedOut
	vsKeepaliveTimedOut
	vsMaxDurationTimedOut
	vsConnectionErrors
	vsConnectionFailures
	vsGzip
	vsGzipSaved
	vsRewriteCookie
	vsRewriteLocation
	vsSSLNew
	vsTicketResumed
	vsDatagrams
	vsUDPTimedOut
	vsUDPDropped
	vsCounters // how many there are
)

var serverKeys = [vsCounters]string{
	vsBytesIn: "bytes_in", vsBytesOut: "bytes_out",
	vsRequests: "total_requests", vsHTTPRequests: "total_http_requests",
	vsHTTP1Requests: "total_http1_requests", vsHTTP2Requests: "total_http2_requests",
	vsResponses1xx: "http1xx_responses", vsResponses2xx: "http2xx_responses", vsResponses3xx: "http3xx_responses",
	vsResponses4xx: "http4xx_responses", vsResponses5xx: "http5xx_responses",
	vsServer1xx: "http_server1xx_responses", vsServer2xx: "http_server2xx_responses", vsServer3xx: "http_server3xx_responses",
	vsServer4xx: "http_server4xx_responses", vsServer5xx: "http_server5xx_responses",
	vsGenerated2xx: "http_generated2xx_responses", vsGenerated3xx: "http_generated3xx_responses",
	vsGenerated4xx: "http_generated4xx_responses", vsGenerated5xx: "http_generated5xx_responses",
	vsCache2xx: "http_cache2xx_responses", vsCache3xx: "http_cache3xx_responses",
	vsCache4xx: "http_cache4xx_responses", vsCache5xx: "http_cache5xx_responses",
	vsCacheHits: "http_cache_hits", vsCacheLookups: "http_cache_lookups",
	vsDirectReplies: "direct_replies", vsDiscard: "discard",
	vsConnectTimedOut: "connect_timed_out", vsDataTimedOut: "data_timed_out", vsKeepaliveTimedOut: "keepalive_timed_out",
	vsMaxDurationTimedOut: "max_duration_timed_out",
	vsConnectionErrors:    "connection_errors", vsConnectionFailures: "connection_failures",
	vsGzip: "gzip", vsGzipSaved: "gzip_bytes_saved",
	vsRewriteCookie: "http_rewrite_cookie", vsRewriteLocation: "http_rewrite_location",
	vsSSLNew: "ssl_new_session", vsTicketResumed: "ssl_ticket_resumed",
	vsDatagrams: "total_dgram", vsUDPTimedOut: "udp_timed_out", vsUDPDropped: "udp_bytes_in_dropped",
}

// serverStats counts what passes through a virtual server.
type serverStats struct {
	counts     [vsCounters]atomic.Int64
	conns      gauge
	throughput meter // bytes, both ways
}

func (s *serverStats) add(c int, n int64) { s.counts[c].Add(n) }
func (s *serverStats) inc(c int)          { s.counts[c].Add(1) }

// origin is who made a response.
type origin int

const (
	unknown   origin = iota
	byServer         // a node
	generated        // a rule, or an error page
	byCache
)

// response counts a response to a client.
func (s *serverStats) response(code int, by origin) {
	class := code / 100
	if class < 1 || class > 5 {
		return
	}
	s.inc(vsResponses1xx + class - 1)
	switch {
	case by == byServer:
		s.inc(vsServer1xx + class - 1)
	case by == generated && class > 1:
		s.inc(vsGenerated2xx + class - 2)
	case by == byCache && class > 1:
		s.inc(vsCache2xx + class - 2)
	}
}

// Counters of the whole traffic manager that only grow.
const (
	gBytesIn = iota
	gBytesOut
	gConns
	gRequests
	gTransactions
	gBackendErrors
	gSSL
	gTLS10
	gTLS11
	gTLS12
	gTLS13
	gCounters // how many there are
)

var globalKeys = [gCounters]string{
	gBytesIn: "total_bytes_in", gBytesOut: "total_bytes_out", gConns: "total_conn",
	gRequests: "total_requests", gTransactions: "total_transactions", gBackendErrors: "total_backend_server_errors",
	gSSL: "ssl_connections", gTLS10: "ssl_handshake_tlsv1", gTLS11: "ssl_handshake_tlsv11",
	gTLS12: "ssl_handshake_tlsv12", gTLS13: "ssl_handshake_tlsv13",
}

// globalStats counts for the whole traffic manager, deleted virtual servers
// included.
type globalStats struct {
	counts                       [gCounters]atomic.Int64
	conns                        gauge
	bytesIn, bytesOut, reqs, ssl meter
	byIP                         sync.Map // netip.Addr -> *ipStats: where clients connect to
}

func (s *globalStats) add(c int, n int64) { s.counts[c].Add(n) }

// ipStats counts what comes to one address.
type ipStats struct {
	bytesIn, bytesOut, requests atomic.Int64
	conns                       gauge
}

func (s *globalStats) ip(a netip.Addr) *ipStats {
	if found, ok := s.byIP.Load(a); ok {
		return found.(*ipStats)
	}
	found, _ := s.byIP.LoadOrStore(a, &ipStats{})
	return found.(*ipStats)
}

// Counters of a pool that only grow.
const (
	poolBytesIn  = iota // from nodes
	poolBytesOut        // to nodes
	poolTries
	poolResponses1xx
	poolResponses2xx
	poolResponses3xx
	poolResponses4xx
	poolResponses5xx
	pool503Retries
	poolQueueTimeouts
	poolSessionMigrated
	poolCounters // how many there are
)

var poolKeys = [poolCounters]string{
	poolBytesIn: "bytes_in", poolBytesOut: "bytes_out", poolTries: "total_conn",
	poolResponses1xx: "http1xx_responses", poolResponses2xx: "http2xx_responses", poolResponses3xx: "http3xx_responses",
	poolResponses4xx: "http4xx_responses", poolResponses5xx: "http5xx_responses", pool503Retries: "http503_retries",
	poolQueueTimeouts: "queue_timeouts", poolSessionMigrated: "session_migrated",
}

// poolStats counts what passes through a pool, removed nodes included.
type poolStats struct {
	counts [poolCounters]atomic.Int64
	queued atomic.Int64
	queue  spread
}

func (s *poolStats) add(c int, n int64) { s.counts[c].Add(n) }

// response counts a node's response.
func (s *poolStats) response(code int) {
	if class := code / 100; class >= 1 && class <= 5 {
		s.add(poolResponses1xx+class-1, 1)
	}
}

// unqueued counts a connection that waited for a node for so long; entering is
// queued.Add(1).
func (s *poolStats) unqueued(now time.Time, waited time.Duration, timedOut bool) {
	s.queued.Add(-1)
	s.queue.measured(now, waited)
	if timedOut {
		s.add(poolQueueTimeouts, 1)
	}
}

// Counters of a node that only grow, besides those that choosing it needs.
const (
	nodeBytesFrom = iota
	nodeBytesTo
	nodeNewConn
	nodeErrors // time-outs, connections that failed or broke
	nodeConnectFailed
	nodeCounters // how many there are
)

type nodeStats struct {
	counts   [nodeCounters]atomic.Int64
	response spread // from the request to the response's headers
}

func (s *nodeStats) add(c int, n int64) { s.counts[c].Add(n) }

// Counters of a rule that only grow.
const (
	ruleExecutions = iota
	ruleAborts
	ruleDiscards
	rulePoolSelect
	ruleResponds
	ruleRetries
	ruleTimeWarnings
	ruleCounters // how many there are
)

var ruleKeys = [ruleCounters]string{
	ruleExecutions: "executions", ruleAborts: "aborts", ruleDiscards: "discards", rulePoolSelect: "pool_select",
	ruleResponds: "responds", ruleRetries: "retries", ruleTimeWarnings: "execution_time_warnings",
}

type ruleStats [ruleCounters]atomic.Int64

func (s *ruleStats) inc(c int) { s[c].Add(1) }

// ServerStatistics returns the counts of a virtual server since it was made;
// false if there is none or it is disabled. Bytes are those on the wire, those of
// TLS included.
func (d *DataPlane) ServerStatistics(name string) (Counts, bool) {
	d.mu.Lock()
	v := d.servers[name]
	d.mu.Unlock()
	if v == nil {
		return nil, false
	}
	if conf := v.conf.Load(); !conf.Enabled {
		return nil, false
	}
	out := make(Counts, vsCounters+3)
	counterSet(v.stats.counts[:]).into(out, serverKeys[:])
	out["current_conn"], out["max_conn"] = v.stats.conns.current.Load(), v.stats.conns.most.Load()
	out["http_cache_hit_rate"] = percent(out["http_cache_hits"], out["http_cache_lookups"])
	return out, true
}

func percent(part, whole int64) int64 {
	if whole == 0 {
		return 0
	}
	return part * 100 / whole
}

// GlobalStatistics returns the counts of the whole traffic manager since it
// started.
func (d *DataPlane) GlobalStatistics() Counts {
	s, now := &d.stats, d.now()
	out := make(Counts, gCounters+8)
	counterSet(s.counts[:]).into(out, globalKeys[:])
	out["total_current_conn"] = s.conns.current.Load()
	out["hourly_peak_bytes_in_per_second"] = s.bytesIn.peak(now)
	out["hourly_peak_bytes_out_per_second"] = s.bytesOut.peak(now)
	out["hourly_peak_requests_per_second"] = s.reqs.peak(now)
	out["hourly_peak_ssl_connections_per_second"] = s.ssl.peak(now)
	var idle int64
	d.pools.Range(func(_, found any) bool {
		p := found.(*pool)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, n := range p.nodes {
			idle += n.idle()
		}
		return true
	})
	out["num_idle_connections"] = idle
	entries, memory := d.data.Usage()
	out["data_entries"], out["data_memory_usage"] = int64(entries), int64(memory)
	return out
}

// ListenIPs lists the addresses that virtual servers listen on or have listened
// on, sorted.
func (d *DataPlane) ListenIPs() []netip.Addr {
	var list []netip.Addr
	d.stats.byIP.Range(func(a, _ any) bool {
		list = append(list, a.(netip.Addr))
		return true
	})
	d.mu.Lock()
	for at := range d.endpoints {
		list = append(list, at.Addr())
	}
	d.mu.Unlock()
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// ListenIPStatistics returns the counts of an address that ListenIPs lists;
// zeros for another one.
func (d *DataPlane) ListenIPStatistics(a netip.Addr) Counts {
	var s ipStats
	from := &s
	if found, ok := d.stats.byIP.Load(a); ok {
		from = found.(*ipStats)
	}
	return Counts{
		"bytes_in": from.bytesIn.Load(), "bytes_out": from.bytesOut.Load(), "total_requests": from.requests.Load(),
		"current_conn": from.conns.current.Load(), "max_conn": from.conns.most.Load(),
	}
}

// PoolStatistics are the counts of a pool and of its nodes, in configured order.
type PoolStatistics struct {
	InUse  bool // an enabled virtual server or its rules may send requests here
	Counts Counts
	Nodes  []NodeStatistics
}

// NodeStatistics are the counts of a node of a pool, since it is in the pool.
type NodeStatistics struct {
	Node   string // "host:port"
	State  string // as configured: active, draining, disabled
	Failed bool   // its monitors or failed tries found it dead
	Counts Counts
}

// PoolStatistics returns the counts of a pool and its nodes; false if there is no
// such pool.
func (d *DataPlane) PoolStatistics(name string) (PoolStatistics, bool) {
	p := d.pool(name)
	if p == nil {
		return PoolStatistics{}, false
	}
	d.mu.Lock()
	inUse := p.inUse
	d.mu.Unlock()
	now := d.now()
	out := PoolStatistics{InUse: inUse, Counts: make(Counts, poolCounters+4)}
	counterSet(p.stats.counts[:]).into(out.Counts, poolKeys[:])
	out.Counts["conns_queued"] = p.stats.queued.Load()
	p.stats.queue.into(out.Counts, now, "min_queue_time", "mean_queue_time", "max_queue_time")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		out.Nodes = append(out.Nodes, NodeStatistics{
			Node: n.address, State: n.state, Failed: n.failed() || len(p.poolwide) > 0, Counts: n.counts(now),
		})
	}
	return out, true
}

// counts are those of statistics/nodes/per_pool_node.
func (n *node) counts(now time.Time) Counts {
	s := &n.stats
	total, fresh := n.total.Load(), s.counts[nodeNewConn].Load()
	n.mu.Lock()
	open := int64(len(n.conns))
	n.mu.Unlock()
	out := Counts{
		"bytes_from_node": s.counts[nodeBytesFrom].Load(), "bytes_to_node": s.counts[nodeBytesTo].Load(),
		"current_conn": open, "current_requests": n.requests.Load(), "idle_conns": n.idle(),
		"errors": s.counts[nodeErrors].Load(), "failures": n.failures.Load(),
		"new_conn": fresh, "total_conn": total,
		// A try either made a connection, or failed to, or used one that was there.
		"pooled_conn": max(0, total-fresh-s.counts[nodeConnectFailed].Load()),
	}
	s.response.into(out, now, "response_min", "response_mean", "response_max")
	return out
}

// idle is how many connections to the node serve no request.
func (n *node) idle() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(0, int64(len(n.conns))-n.requests.Load())
}

// RuleStatistics returns the counts of a rule since it was made; false if there
// is none.
func (d *DataPlane) RuleStatistics(name string) (Counts, bool) {
	r := d.rule(name)
	if r == nil {
		return nil, false
	}
	out := make(Counts, ruleCounters)
	counterSet(r.stats[:]).into(out, ruleKeys[:])
	return out, true
}

// ran counts a run of a rule; before is the pool that was chosen when it began.
func (s *ruleStats) ran(end trafficscript.End, t *trafficscript.Transaction, before string) {
	s.inc(ruleExecutions)
	if end == trafficscript.Aborted {
		s.inc(ruleAborts)
		return
	}
	decided := end == trafficscript.Decided
	switch {
	case t.Discard || t.Close != nil || t.Pool == discard:
		s.inc(ruleDiscards)
	case decided && t.Answer != nil:
		s.inc(ruleResponds)
	case decided && t.Retry:
		s.inc(ruleRetries)
	case t.Pool != before || decided && t.Phase == trafficscript.RequestPhase && t.Pool != "":
		s.inc(rulePoolSelect)
	}
}

// CountedKeys lists the keys of each kind of Counts: "globals", "listen_ips",
// "nodes", "pools", "protection", "rules", "session cache" (with those that expire
// and those that are kept), "virtual_servers" and "web_cache".
func CountedKeys() map[string][]string {
	return map[string][]string{
		"virtual_servers": append(serverKeys[:len(serverKeys):len(serverKeys)], "current_conn", "max_conn", "http_cache_hit_rate"),
		"pools":           append(poolKeys[:len(poolKeys):len(poolKeys)], "conns_queued", "min_queue_time", "mean_queue_time", "max_queue_time"),
		"nodes": {"bytes_from_node", "bytes_to_node", "current_conn", "current_requests", "idle_conns", "errors", "failures",
			"new_conn", "total_conn", "pooled_conn", "response_min", "response_mean", "response_max"},
		"rules": ruleKeys[:len(ruleKeys):len(ruleKeys)],
		"globals": append(globalKeys[:len(globalKeys):len(globalKeys)], "total_current_conn", "num_idle_connections", "data_entries", "data_memory_usage",
			"hourly_peak_bytes_in_per_second", "hourly_peak_bytes_out_per_second", "hourly_peak_requests_per_second", "hourly_peak_ssl_connections_per_second"),
		"protection":         append(refusalKeys[:len(refusalKeys):len(refusalKeys)], "total_refusal", "last_refusal_time"),
		"session cache":      {"entries", "entries_max", "expiries", "hit_rate", "hits", "lookups", "misses", "oldest"},
		"session cache kept": {"entries", "entries_max", "hit_rate", "hits", "lookups", "misses", "oldest"},
		"web_cache":          {"entries", "hit_rate", "hits", "lookups", "max_entries", "mem_maximum", "mem_used", "misses", "oldest"},
		"listen_ips":         {"bytes_in", "bytes_out", "current_conn", "max_conn", "total_requests"},
	}
}
