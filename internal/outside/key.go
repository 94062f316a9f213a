package outside

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
)

// NewKey draws a P-256 key from random, such as World.Rand gives it: ecdsa.GenerateKey
// ignores the source that it is given, and then a seed would not repeat the key.
func NewKey(random io.Reader) (*ecdsa.PrivateKey, error) {
	scalar := make([]byte, 32)
	for range 100 { // a scalar is out of range once in 2^32
		if _, err := io.ReadFull(random, scalar); err != nil {
			return nil, fmt.Errorf("random bytes: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("random bytes: none of them makes a key")
}
