package network

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"io"
	mathrand "math/rand/v2"
	"time"
)

// Hash maps a seed, a name and a number to 64 bits that look random. It is the
// only source of chance in a simulation.
func Hash(seed uint64, name string, n uint64) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	h.Write(b[:])
	io.WriteString(h, name)
	binary.LittleEndian.PutUint64(b[:], n)
	h.Write(b[:])
	// FNV's low bits change too little between neighbours: finish as SplitMix64 does.
	x := h.Sum64()
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
