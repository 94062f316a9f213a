//go:build hashedrand

package controllers_test

import (
	"math/rand"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"vtm-ingress/sim/network"
)

// repeats says whether client-go's jitter repeats in this build.
const repeats = true

// client-go draws jitter from the global generator of math/rand, from several
// goroutines at one instant. A source that is a function of seed and fake time gives
// all of them the same.
//
//go:linkname globalRandGenerator math/rand.globalRandGenerator
var globalRandGenerator atomic.Pointer[rand.Rand]

type hashedSource struct{ seed uint64 }

func (s hashedSource) Uint64() uint64 {
	return network.Hash(s.seed, "math/rand", uint64(time.Now().UnixNano()))
}
func (s hashedSource) Int63() int64 { return int64(s.Uint64() >> 1) }
func (s hashedSource) Seed(int64)   {}

func seedChance(seed uint64) { globalRandGenerator.Store(rand.New(hashedSource{seed})) }
