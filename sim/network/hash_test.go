package network

import (
	"encoding/binary"
	"hash/fnv"
	"testing"

	"pgregory.net/rapid"
)

// Another Hash would make another run of each seed.
func TestHashIsFNVFinishedAsSplitMix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, name, more, n := rapid.Uint64().Draw(t, "seed"), rapid.String().Draw(t, "name"), rapid.String().Draw(t, "more"), rapid.Uint64().Draw(t, "n")
		h := fnv.New64a()
		h.Write(binary.LittleEndian.AppendUint64(nil, seed))
		h.Write([]byte(name + more))
		h.Write(binary.LittleEndian.AppendUint64(nil, n))
		want := h.Sum64()
		want = (want ^ want>>30) * 0xbf58476d1ce4e5b9
		want = (want ^ want>>27) * 0x94d049bb133111eb
		want ^= want >> 31
		if got := Hash(seed, name+more, n); got != want {
			t.Errorf("Hash is %x, want %x", got, want)
		}
		if got := named(seed, name).text(more).number(n); got != want {
			t.Errorf("%x of a name in two parts, want %x", got, want)
		}
	})
}
