//go:build hashedrand

package bubble

import (
	"math/rand"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"vtm-ingress/sim/network"
)

// Repeats says whether a run with the same seed repeats in this build.
const Repeats = true

// client-go draws jitter from the global generator of math/rand, from several
// goroutines at one instant; who gets which draw is the scheduler's. A source that
// is a function of seed and fake time gives all of them the same.
//
//go:linkname globalRandGenerator math/rand.globalRandGenerator
var globalRandGenerator atomic.Pointer[rand.Rand]

type hashedSource struct{ seed uint64 }

func (s hashedSource) Uint64() uint64 {
	return network.Hash(s.seed, "math/rand", uint64(time.Now().UnixNano()))
}
func (s hashedSource) Int63() int64 { return int64(s.Uint64() >> 1) }
func (s hashedSource) Seed(int64)   {}

// seedChance must be called before anything of a run draws.
func seedChance(seed uint64) {
	globalRandGenerator.Store(rand.New(hashedSource{seed}))
}
