package translate

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// usuallyMany are so many that goroutines bring more than they cost: a start has them,
// or another setting. Single changes are of fewer.
const usuallyMany = 100

// each calls f for 0 to n-1, and returns when all is done; on all processors, if these
// are many. What f changes belongs to its number alone.
func (t *Translator) each(n int, f func(int)) {
	if n < t.many {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				f(i - 1)
			}
		})
	}
	workers.Wait()
}
