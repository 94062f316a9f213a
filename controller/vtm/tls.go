package vtm

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// TLS says how the traffic managers' certificates are verified: against the CA
// certificates, by fingerprint, not at all, or, when empty, against the system's.
type TLS struct {
	// CA holds PEM certificates.
	CA []byte
	// Fingerprint is the SHA-256 of the certificate itself, in hexadecimal, with or
	// without colons: for the self-signed certificate that a traffic manager has by
	// default. Names and validity are then not looked at.
	Fingerprint string
	// Insecure switches verification off: whoever is in between can read the
	// password. Ignored with Fingerprint.
	Insecure bool
}

func (t TLS) config() (*tls.Config, error) {
	switch {
	case t.Fingerprint != "":
		want, err := hex.DecodeString(strings.ReplaceAll(t.Fingerprint, ":", ""))
		if err != nil || len(want) != sha256.Size {
			return nil, errors.New("fingerprint: want the 64 hexadecimal digits of the certificate's SHA-256")
		}
		return &tls.Config{
			// The fingerprint replaces the usual verification. VerifyConnection, unlike
			// VerifyPeerCertificate, also runs for resumed sessions.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if len(state.PeerCertificates) == 0 {
					return errors.New("no certificate")
				}
				if got := sha256.Sum256(state.PeerCertificates[0].Raw); string(got[:]) != string(want) {
					return fmt.Errorf("certificate's fingerprint is %x, want %x: if the certificate was replaced, set vtm_fingerprint anew", got, want)
				}
				return nil
			},
		}, nil
	case t.Insecure:
		return &tls.Config{InsecureSkipVerify: true}, nil
	case len(t.CA) > 0:
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("CA: no PEM certificate in it")
		}
		return &tls.Config{RootCAs: pool}, nil
	default:
		return &tls.Config{}, nil
	}
}
