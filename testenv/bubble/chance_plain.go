//go:build !hashedrand

package bubble

// Repeats says whether a run with the same seed repeats in this build.
const Repeats = false

func seedChance(uint64) {}
