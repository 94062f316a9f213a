//go:build !hashedrand

package controllers_test

const repeats = false

func seedChance(uint64) {}
