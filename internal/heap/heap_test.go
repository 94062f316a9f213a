package heap_test

import (
	"runtime"
	"testing"

	"vtm-ingress/internal/heap"
)

// What is told of one collection may ask for the next, and keeps what it holds.
func TestEachCollectionIsTold(t *testing.T) {
	const times, size = 3, 16 << 20
	told := make(chan uint64, times)
	kept := make([]byte, size)
	var again func(left int)
	again = func(left int) {
		heap.AfterNext(func() {
			if left > 1 {
				again(left - 1)
			}
			told <- heap.Live()
			runtime.KeepAlive(kept)
		})
	}
	again(times)
	for range times {
		runtime.GC()
		if live := <-told; live < size {
			t.Errorf("%d bytes live, of which %d are kept by who waits", live, size)
		}
	}
}
