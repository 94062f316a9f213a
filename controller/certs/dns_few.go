//go:build !alldns

package certs

import (
	"errors"

	"github.com/go-acme/lego/v4/challenge"
)

// otherProvider is one that this build hasn't.
func otherProvider(string) (challenge.Provider, error) {
	return nil, errors.New("this program was built without it: build one with -tags alldns")
}
