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
	return named(seed, name).number(n)
}

// chance is a Hash whose number is still to come. It is FNV-1a, here and not in
// hash/fnv, whose writers copy each text and do not go on from what is known: each
// message of the network asks.
type chance uint64

const fnvPrime = 1099511628211

func named(seed uint64, name string) chance {
	return chance(14695981039346656037).bytes(seed).text(name)
}

// text makes the name longer.
func (c chance) text(name string) chance {
	for i := range len(name) {
		c = (c ^ chance(name[i])) * fnvPrime
	}
	return c
}

func (c chance) bytes(n uint64) chance {
	for shift := 0; shift < 64; shift += 8 {
		c = (c ^ chance(n>>shift&0xff)) * fnvPrime
	}
	return c
}

// number is the Hash.
func (c chance) number(n uint64) uint64 {
	// FNV's low bits change too little between neighbours: finish as SplitMix64 does.
	x := uint64(c.bytes(n))
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// duration is the Hash as a duration in [0, d); 0 where d is not positive.
func (c chance) duration(n uint64, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.number(n) % uint64(d))
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
