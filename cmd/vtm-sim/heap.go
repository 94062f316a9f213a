package main

import (
	"runtime"

	"vtm-ingress/internal/heap"
)

// The collector begins when the heap is twice what was live. Traffic leaves a lot
// behind and keeps little, so that a traffic manager of a few resources would collect
// a dozen times a second, which takes a tenth of its requests.
const (
	// heapFloor, in bytes, is by how much the collector takes a small heap for larger
	// than it is.
	heapFloor = 32 << 20
	// heapLarge is from when on, in bytes live, the heap is as large as it says: there
	// the floor would cost memory and gain nothing.
	heapLarge = 96 << 20
)

// collectRarely lays a floor under the heap until that is large. It is never written
// to, so that it takes no memory.
func collectRarely() { keep(make([]byte, heapFloor)) }

// keep keeps the floor until the heap is large.
func keep(floor []byte) {
	heap.AfterNext(func() {
		if heap.Live() < heapLarge+heapFloor {
			keep(floor)
		}
		runtime.KeepAlive(floor)
	})
}
