package dataplane

import (
	"strconv"
	"sync/atomic"
)

func itoa(n int) string { return strconv.Itoa(n) }

// serverStats counts what passes through a virtual server.
type serverStats struct {
	current, most, total atomic.Int64 // connections
	requests             atomic.Int64
	responses            [6]atomic.Int64 // by the status's first digit
	bytesIn, bytesOut    atomic.Int64
	direct, discarded    atomic.Int64
}

func (s *serverStats) opened() {
	s.total.Add(1)
	now := s.current.Add(1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
}

func (s *serverStats) closed() { s.current.Add(-1) }

func (s *serverStats) response(code int) {
	if class := code / 100; class < len(s.responses) {
		s.responses[class].Add(1)
	}
}

// ServerStatistics are counts since the virtual server was made. Bytes are those
// on the wire, those of TLS included.
type ServerStatistics struct {
	CurrentConnections, MaxConnections, TotalConnections int64
	Requests                                             int64
	// Responses to clients by the first digit of their status, 1 to 5.
	Responses         [6]int64
	BytesIn, BytesOut int64
	DirectReplies     int64 // made by request rules
	Discarded         int64 // connections dropped by rule or pool
}

// NodeStatistics are counts of a node of a pool, since it is in the pool.
type NodeStatistics struct {
	Node            string // "host:port"
	CurrentRequests int64
	Tries           int64 // requests sent or tried
	Failures        int64 // tries that failed
}

// ServerStatistics returns the counts of a virtual server; false if there is none
// or it is disabled.
func (d *DataPlane) ServerStatistics(name string) (ServerStatistics, bool) {
	d.mu.Lock()
	v := d.servers[name]
	d.mu.Unlock()
	if v == nil {
		return ServerStatistics{}, false
	}
	if conf := v.conf.Load(); !conf.Enabled {
		return ServerStatistics{}, false
	}
	s := &v.stats
	out := ServerStatistics{
		CurrentConnections: s.current.Load(), MaxConnections: s.most.Load(), TotalConnections: s.total.Load(),
		Requests: s.requests.Load(), BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		DirectReplies: s.direct.Load(), Discarded: s.discarded.Load(),
	}
	for i := range out.Responses {
		out.Responses[i] = s.responses[i].Load()
	}
	return out, true
}

// PoolStatistics returns the counts of a pool's nodes in configured order; false
// if there is no such pool.
func (d *DataPlane) PoolStatistics(name string) ([]NodeStatistics, bool) {
	p := d.pool(name)
	if p == nil {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]NodeStatistics, len(p.nodes))
	for i, n := range p.nodes {
		list[i] = NodeStatistics{n.address, n.requests.Load(), n.total.Load(), n.failures.Load()}
	}
	return list, true
}
