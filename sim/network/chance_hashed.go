//go:build hashedrand

package network

import (
	"math/rand"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

// Repeats says whether a run with the same seed repeats in this build, whatever
// draws from math/rand.
const Repeats = true

// client-go draws jitter from the global generator of math/rand, from several
// goroutines at one instant; who gets which draw is the scheduler's. A source that
// is a function of seed and fake time gives all of them the same.
//
//go:linkname globalRandGenerator math/rand.globalRandGenerator
var globalRandGenerator atomic.Pointer[rand.Rand]

type hashedSource struct{ seed uint64 }

func (s hashedSource) Uint64() uint64 {
	return Hash(s.seed, "math/rand", uint64(time.Now().UnixNano()))
}
func (s hashedSource) Int63() int64 { return int64(s.Uint64() >> 1) }
func (s hashedSource) Seed(int64)   {}

// SeedChance makes all that math/rand gives a function of seed and fake time. It
// changes the whole process: call it in test binaries alone, before anything of a
// run draws.
func SeedChance(seed uint64) {
	globalRandGenerator.Store(rand.New(hashedSource{seed}))
}
