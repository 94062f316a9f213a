package main

import (
	"runtime/debug"
	"sync"

	"vtm-ingress/internal/heap"
)

const (
	// usualRoom is how much garbage the collector lets lie, in percent of what is live:
	// the controller remembers much and makes little garbage, so that less than half of
	// what Go leaves by default saves a quarter of the memory and more.
	usualRoom = 40
	// startingHeap, in bytes, is how large the heap gets before it is collected while the
	// controller starts. A heap that grows from nothing is collected at each step of the
	// way else, two dozen times until thousands of Ingresses are programmed.
	startingHeap = 128 << 20
)

// collector sets how often the heap is collected.
type collector struct {
	mu      sync.Mutex
	started bool // guarded by mu
}

// start leaves room for a heap that grows, until usual is called.
func (c *collector) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return
	}
	debug.SetGCPercent(startingRoom(heap.Live()))
	heap.AfterNext(c.start)
}

// usual is for a controller that has started.
func (c *collector) usual() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = true
	debug.SetGCPercent(usualRoom)
}

// startingRoom is the percentage with which a heap of which that many bytes are live
// grows to startingHeap, or by usualRoom if that is more.
func startingRoom(live uint64) int {
	live = max(live, 1<<20)
	if live >= startingHeap {
		return usualRoom
	}
	return max(usualRoom, int((startingHeap-live)*100/live))
}
