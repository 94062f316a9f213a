package dataplane

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// How the load-balancing algorithms of pools choose (vtm/runtime.md, "Pools").
// What nothing says is decided in doc.go.

const (
	// slowStart is how long a node that has come back is given less than its share
	// by the algorithms that would otherwise flood it.
	slowStart = 10 * time.Second
	// sampleWeight is the share of the latest response time in a node's average.
	sampleWeight = 0.3
	// sampleHalf is after what time without an answer an average counts half, so
	// that a node once found slow is asked again.
	sampleHalf = 30 * time.Second
)

// tiers puts the nodes that get requests into the order of priority lists: the
// first tier has the highest priorities, as many as it takes to have
// priority_nodes nodes; each further tier is one priority lower, for requests
// that could not be served by those before. Without priority lists there is one.
func tiers(conf *Pool, usable []*node) [][]*node {
	if !conf.PriorityEnabled || len(usable) == 0 {
		return [][]*node{usable}
	}
	sorted := slices.Clone(usable)
	slices.SortStableFunc(sorted, func(a, b *node) int { return b.priority - a.priority })
	var list [][]*node
	for from := 0; from < len(sorted); {
		to := from + 1
		for to < len(sorted) && (sorted[to].priority == sorted[to-1].priority || len(list) == 0 && to < conf.PriorityNodes) {
			to++
		}
		list = append(list, sorted[from:to])
		from = to
	}
	return list
}

// choose returns the node for the next request among those that are not to be
// skipped, of the highest tier that has any; nil if none of these is free. random
// is used by the random algorithm alone.
func (p *pool) choose(skip, free func(*node) bool, random func() uint64) *node {
	for _, nodes := range *p.usable.Load() {
		if slices.ContainsFunc(nodes, func(n *node) bool { return !skip(n) }) {
			return p.among(nodes, func(n *node) bool { return !skip(n) && free(n) }, random)
		}
	}
	return nil
}

func (p *pool) among(nodes []*node, fits func(*node) bool, random func() uint64) *node {
	count := uint64(len(nodes))
	if count == 0 {
		return nil
	}
	switch algorithm := p.conf.Load().Algorithm; algorithm {
	case "weighted_round_robin":
		return p.weighted(nodes, fits)
	case "random":
		return rotate(nodes, random()%count, fits)
	case "least_connections", "weighted_least_connections", "fastest_response_time", "perceptive":
		return p.least(algorithm, nodes, fits)
	}
	return rotate(nodes, p.turn.Add(1)-1, fits)
}

// rotate returns the first node that fits, from start on.
func rotate(nodes []*node, start uint64, fits func(*node) bool) *node {
	for i := range uint64(len(nodes)) {
		if n := nodes[(start+i)%uint64(len(nodes))]; fits(n) {
			return n
		}
	}
	return nil
}

// weighted is smooth weighted round robin: of each run of as many requests as the
// weights add up to, every node gets its weight, spread evenly.
func (p *pool) weighted(nodes []*node, fits func(*node) bool) *node {
	p.shares.Lock()
	defer p.shares.Unlock()
	var best *node
	total := 0
	for _, n := range nodes {
		if !fits(n) {
			continue
		}
		w := n.weightOf()
		total += w
		n.share += w
		if best == nil || n.share > best.share {
			best = n
		}
	}
	if best != nil {
		best.share -= total
	}
	return best
}

// least returns the node of the lowest score; equal ones take turns. Nodes that
// have just come back are left out of a part of the choices.
func (p *pool) least(algorithm string, nodes []*node, fits func(*node) bool) *node {
	now := p.d.now()
	start := p.turn.Add(1) - 1
	var best, warming *node
	lowest := math.Inf(1)
	for i := range uint64(len(nodes)) {
		n := nodes[(start+i)%uint64(len(nodes))]
		if !fits(n) {
			continue
		}
		if !p.warm(n, now) {
			warming = n
			continue
		}
		if s := n.score(algorithm, now); s < lowest {
			best, lowest = n, s
		}
	}
	if best == nil {
		return warming
	}
	return best
}

func (n *node) score(algorithm string, now time.Time) float64 {
	requests := float64(n.requests.Load())
	switch algorithm {
	case "least_connections":
		return requests
	case "weighted_least_connections":
		return requests / float64(n.weightOf())
	}
	average, at := n.times.load()
	if at == 0 {
		// Not known yet: asked before all others, and not by all at once.
		return requests * 1e-9
	}
	score := average * math.Exp2(-max(float64(now.UnixNano()-at), 0)/float64(sampleHalf))
	if algorithm == "perceptive" {
		score *= requests + 1
	}
	return score
}

func (n *node) weightOf() int { return max(int(n.weight.Load()), 1) }

// warm tells whether a node takes part in a choice: always, but for the first
// while after it came back, when its part grows from none to all.
func (p *pool) warm(n *node, now time.Time) bool {
	back := n.backAt.Load()
	if back == 0 {
		return true
	}
	part := float64(now.UnixNano()-back) / float64(slowStart)
	if part >= 1 {
		n.backAt.CompareAndSwap(back, 0)
		return true
	}
	p.shares.Lock()
	defer p.shares.Unlock()
	n.credit += part
	if n.credit < 1 {
		return false
	}
	n.credit--
	return true
}

// responseTimes is a node's average response time.
type responseTimes struct {
	bits atomic.Uint64 // of a float64, nanoseconds
	at   atomic.Int64  // Unix time in ns of the latest sample; 0: none
}

func (t *responseTimes) add(now time.Time, took time.Duration) {
	average := float64(max(took, 1))
	if t.at.Load() != 0 {
		average = sampleWeight*average + (1-sampleWeight)*math.Float64frombits(t.bits.Load())
	}
	// Of two samples at the same moment one may be lost.
	t.bits.Store(math.Float64bits(average))
	t.at.Store(now.UnixNano())
}

func (t *responseTimes) load() (average float64, at int64) {
	at = t.at.Load()
	return math.Float64frombits(t.bits.Load()), at
}
