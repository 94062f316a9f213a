package network

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"
	"time"
)

// Hash maps a seed, a name and a number to 64 bits that look random. It is the
// only source of chance in a simulation.
func Hash(seed uint64, name string, n uint64) uint64 {
	// FNV-1a, here and not in hash/fnv, whose writers copy each text: each message of the
	// network asks.
	const offset, prime = 14695981039346656037, 1099511628211
	x := uint64(offset)
	for shift := 0; shift < 64; shift += 8 {
		x = (x ^ seed>>shift&0xff) * prime
	}
	for i := range len(name) {
		x = (x ^ uint64(name[i])) * prime
	}
	for shift := 0; shift < 64; shift += 8 {
		x = (x ^ n>>shift&0xff) * prime
	}
	// FNV's low bits change too little between neighbours: finish as SplitMix64 does.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashDuration is a duration in [0, d); 0 where d is not positive.
func hashDuration(seed uint64, name string, n uint64, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(Hash(seed, name, n) % uint64(d))
}

// stream is an endless reader of bytes that depend on its arguments alone.
func stream(seed uint64, name string, n uint64) io.Reader {
	h := sha256.New()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], seed)
	binary.LittleEndian.PutUint64(b[8:], n)
	h.Write(b[:])
	io.WriteString(h, name)
	return mathrand.NewChaCha8([32]byte(h.Sum(nil)))
}
