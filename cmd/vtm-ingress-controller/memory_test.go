package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheHeapHasRoomWhileTheControllerStarts(t *testing.T) {
	for live, want := range map[uint64]int{
		0:                    12700, // nothing was collected yet
		10 << 20:             1180,
		50 << 20:             156,
		startingHeap - 1<<20: usualRoom,
		startingHeap:         usualRoom,
		10 * startingHeap:    usualRoom,
	} {
		if got := startingRoom(live); got != want {
			t.Errorf("room for %d MB live: %d, want %d", live>>20, got, want)
		}
	}

	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	percent := func() int {
		p := debug.SetGCPercent(1)
		debug.SetGCPercent(p)
		return p
	}
	c := &collector{}
	c.start()
	if got := percent(); got <= 100 {
		t.Errorf("while it starts, the heap may grow by %d percent", got)
	}
	c.usual()
	c.start() // as the next collection calls it
	runtime.GC()
	if got := percent(); got != usualRoom {
		t.Errorf("once it has started, the heap may grow by %d percent, want %d", got, usualRoom)
	}
}
