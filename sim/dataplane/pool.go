package dataplane

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// pool is one pool at run time. It lives from its creation to its deletion;
// changes of configuration keep the nodes that stay, with all that is known
// about them.
type pool struct {
	d     *DataPlane
	name  string
	stats poolStats

	// For requests, without a lock.

	conf    atomic.Pointer[Pool]
	usable  atomic.Pointer[[][]*node] // nodes that get requests, in configured order, by tiers; at least one
	bound   atomic.Pointer[[]*node]   // nodes that get requests of their sessions: those that drain too
	trialAt atomic.Int64              // Unix time in ns when a failed node is due for a trial request; 0: none
	turn    atomic.Uint64             // round robin
	shares  sync.Mutex                // guards what algorithms remember of nodes; a leaf
	queue   queue

	mu       sync.Mutex
	nodes    []*node // configured, in order
	retired  map[*node]struct{}
	poolwide map[string]bool // poolwide monitors that fail
	died     bool            // told by a pooldied event
	runs     map[monitorKey]*monitorRun

	// Under DataPlane.mu.

	inUse bool
	tls   *nodeTLS // of the present configuration
}

func newPool(d *DataPlane, name string) *pool {
	p := &pool{
		d: d, name: name,
		retired:  make(map[*node]struct{}),
		poolwide: make(map[string]bool),
		runs:     make(map[monitorKey]*monitorRun),
	}
	p.unusable()
	return p
}

// unusable takes all nodes out of use.
func (p *pool) unusable() {
	p.usable.Store(&[][]*node{nil})
	p.bound.Store(new([]*node))
	p.trialAt.Store(0)
	p.queue.recheck(0)
}

// encryption returns how the pool encrypts, nil if it does not: the same value as
// long as nothing changes. The caller holds DataPlane.mu.
func (p *pool) encryption(conf *Pool) *nodeTLS {
	global := p.d.global.Load().TLS
	switch {
	case !conf.TLS.Enabled:
		p.tls = nil
	case p.tls == nil || !reflect.DeepEqual(p.tls.conf, conf.TLS) || !reflect.DeepEqual(p.tls.global, global):
		var problems []error
		p.tls, problems = p.d.newNodeTLS(conf.TLS, global)
		for _, why := range problems {
			p.d.event(Event{Level: "SERIOUS", Section: "pools/" + p.name, Tag: "confmod", Text: "SSL to nodes: " + why.Error()})
		}
	}
	return p.tls
}

func (p *pool) spec(conf *Pool) transportSpec {
	return transportSpec{
		tls:         p.tls,
		closeRST:    conf.CloseWithRST,
		connectTime: conf.MaxConnectTime,
		replyTime:   conf.MaxReplyTime,
		keepalive:   conf.Keepalive,
		maxIdle:     conf.MaxIdlePerNode,
		idleTimeout: p.d.global.Load().IdleTimeout,
	}
}

func (p *pool) newNode(address string, spec transportSpec) *node {
	n := &node{pool: p, address: address, mapped: mappingValue(address), conns: make(map[*nodeConn]struct{}), monitoring: make(map[string]bool)}
	n.transports.Store(newNodeTransports(n, spec, p.d.actor("pools/"+p.name+"/"+address)))
	return n
}

// update puts conf into effect. The caller holds DataPlane.mu.
func (p *pool) update(conf *Pool) {
	p.encryption(conf)
	p.checkAnswers(conf)
	spec := p.spec(conf)
	p.mu.Lock()
	defer p.mu.Unlock()
	old := make(map[string]*node, len(p.nodes))
	for _, n := range p.nodes {
		old[n.address] = n
	}
	nodes := make([]*node, 0, len(conf.Nodes))
	for _, c := range conf.Nodes {
		n := old[c.Address]
		if n == nil {
			n = p.newNode(c.Address, spec)
		} else if t := n.transports.Load(); t.spec != spec {
			n.transports.Store(newNodeTransports(n, spec, p.d.actor("pools/"+p.name+"/"+c.Address)))
			t.closeIdle()
		}
		delete(old, c.Address)
		n.state, n.priority = c.State, c.Priority
		n.weight.Store(int64(c.Weight))
		nodes = append(nodes, n)
	}
	p.nodes = nodes
	p.conf.Store(conf)
	p.refresh()
	for _, n := range old {
		p.retire(n, conf)
	}
	if len(nodes) == 0 {
		p.d.event(Event{Level: "WARN", Section: "pools/" + p.name, Tag: "poolnonodes", Text: "Pool has no back-end nodes configured"})
	}
}

// retire lets a node that the pool no longer names go: at once, or after what it
// serves. The caller holds p.mu, and usable no longer has the node.
func (p *pool) retire(n *node, conf *Pool) {
	n.removed.Store(true)
	if conf == nil || !conf.DeleteDrain || n.requests.Load() == 0 {
		n.closeAll()
		return
	}
	n.transports.Load().closeIdle()
	p.retired[n] = struct{}{}
	if conf.DrainTimeout > 0 {
		p.d.tasks.spawn(func() {
			if sleep(p.d.ctx, p.d.options.World.Clock(), conf.DrainTimeout) {
				n.closeAll()
			}
		})
	}
}

// drained forgets a removed node whose last request has ended.
func (p *pool) drained(n *node) {
	n.closeAll()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.retired, n)
}

// close ends the pool: monitors first, then its connections. With drain, as when
// the pool is deleted, requests under way may end where the pool says so.
func (p *pool) close(drain bool) {
	p.stopMonitors()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unusable()
	conf := p.conf.Load()
	if !drain {
		conf = nil
		for n := range p.retired {
			n.closeAll()
		}
	}
	for _, n := range p.nodes {
		p.retire(n, conf)
	}
	p.nodes = nil
}

// has tells whether a working node is left that skip does not name.
func (p *pool) has(skip func(*node) bool) bool {
	for _, nodes := range *p.usable.Load() {
		if slices.ContainsFunc(nodes, func(n *node) bool { return !skip(n) }) {
			return true
		}
	}
	return false
}

// dueTrial returns a failed node that is due for a trial request, nil for none.
func (p *pool) dueTrial(skip func(*node) bool) *node {
	at := p.trialAt.Load()
	if at == 0 {
		return nil
	}
	now := p.d.now()
	if now.UnixNano() < at {
		return nil
	}
	return p.trial(now, skip)
}

// trial gives a node that failed by failed tries one request each
// node_retry_fail_time: a good answer brings it back.
func (p *pool) trial(now time.Time, skip func(*node) bool) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if p.onTrial(n) && !n.retryAt.After(now) && !skip(n) {
			n.retryAt = now.Add(p.conf.Load().NodeRetryFailTime)
			p.refresh()
			return n
		}
	}
	return nil
}

func (p *pool) onTrial(n *node) bool {
	return n.state == "active" && n.passive && len(n.monitoring) == 0 && len(p.poolwide) == 0
}

// tried tells the pool how a try on a node ended; why is for the event log.
func (p *pool) tried(n *node, ok bool, why string) {
	if ok {
		if !n.suspect.Load() {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		n.suspect.Store(false)
		n.inARow = 0
		if n.passive {
			n.passive = false
			p.announce(n, "")
			p.refresh()
		}
		return
	}
	n.failures.Add(1)
	conf := p.conf.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	n.suspect.Store(true)
	n.inARow++
	if !conf.PassiveMonitoring || n.passive || n.inARow < conf.NodeConnectionAttempts || n.removed.Load() {
		return
	}
	n.passive = true
	n.retryAt = p.d.now().Add(conf.NodeRetryFailTime)
	p.announce(n, why)
	p.refresh()
}

// announce writes the event of a node's failure or recovery when its state
// changed. The caller holds p.mu.
func (p *pool) announce(n *node, why string) {
	if n.failed() == n.announced {
		return
	}
	n.announced = n.failed()
	e := Event{Level: "INFO", Section: "pools/" + p.name, Tag: "nodeworking", More: []string{"nodes/" + n.address},
		Text: fmt.Sprintf("Node %s is working again", n.address)}
	if !n.announced {
		n.backAt.Store(p.d.now().UnixNano())
	} else {
		if p.conf.Load().CloseOnDeath {
			n.cut()
		}
		e.Level, e.Tag = "SERIOUS", "nodefail"
		e.Text = fmt.Sprintf("Node %s has failed - %s", n.address, why)
	}
	p.d.event(e)
}

// refresh derives what requests look at from the nodes' states. The caller holds
// p.mu.
func (p *pool) refresh() {
	usable, bound := make([]*node, 0, len(p.nodes)), make([]*node, 0, len(p.nodes))
	var trialAt int64
	active := 0
	for _, n := range p.nodes {
		if n.state != "disabled" && !n.failed() && len(p.poolwide) == 0 {
			bound = append(bound, n)
		}
		if n.state != "active" {
			continue
		}
		active++
		if !n.failed() && len(p.poolwide) == 0 {
			usable = append(usable, n)
		} else if at := n.retryAt.UnixNano(); p.onTrial(n) && (trialAt == 0 || at < trialAt) {
			trialAt = at
		}
	}
	ordered := tiers(p.conf.Load(), usable)
	p.usable.Store(&ordered)
	p.bound.Store(&bound)
	p.trialAt.Store(trialAt)
	p.queue.recheck(p.conf.Load().limit())
	if died := active > 0 && len(usable) == 0; died != p.died {
		p.died = died
		e := Event{Level: "INFO", Section: "pools/" + p.name, Tag: "poolok", Text: "Pool now has working nodes"}
		if died {
			e.Level, e.Tag, e.Text = "SERIOUS", "pooldied", "Pool has no back-end nodes responding"
		}
		p.d.event(e)
	}
}

// nodeStates lists the nodes for rules, sorted by address.
func (p *pool) nodeStates() []trafficscript.PoolNode {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]trafficscript.PoolNode, len(p.nodes))
	for i, n := range p.nodes {
		state := trafficscript.NodeActive
		switch {
		case n.state == "disabled":
			state = trafficscript.NodeDisabled
		case n.failed() || len(p.poolwide) > 0:
			state = trafficscript.NodeFailed
		case n.state == "draining":
			state = trafficscript.NodeDraining
		}
		list[i] = trafficscript.PoolNode{Address: n.address, State: state}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Address < list[j].Address })
	return list
}
