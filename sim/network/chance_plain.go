//go:build !hashedrand

package network

// Repeats says whether a run with the same seed repeats in this build, whatever
// draws from math/rand.
const Repeats = false

// SeedChance does nothing in this build.
func SeedChance(uint64) {}
