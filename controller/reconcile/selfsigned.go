package reconcile

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"

	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/outside"
)

// selfSignedLife is how long a self-signed certificate is good for: nobody can
// verify it anyway, so that there is no use in renewing it.
const selfSignedLife = 20 * 365 * 24 * time.Hour

// NewSelfSigned makes the certificate that clients of shared addresses get who name
// a host that no Ingress has one for. All chance in it is the World's.
func NewSelfSigned(world outside.World, name string) (*translate.KeyPair, error) {
	random := world.Rand(name)
	key, err := outside.NewKey(random)
	if err != nil {
		return nil, fmt.Errorf("key for the self-signed certificate: %w", err)
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(random, serial); err != nil {
		return nil, fmt.Errorf("random serial number of the self-signed certificate: %w", err)
	}
	serial[0] = serial[0]&0x7f | 1 // positive, as RFC 5280 §4.1.2.2 wants it
	now := world.Clock().Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: "vtm-ingress-controller"},
		DNSNames:     []string{"vtm-ingress-controller.invalid"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	// Without a source of chance the signature is deterministic (RFC 6979).
	certificate, err := x509.CreateCertificate(nil, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of the self-signed certificate: %w", err)
	}
	encode := func(kind string, der []byte) []byte {
		var b bytes.Buffer
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a Buffer never fails
		return b.Bytes()
	}
	return &translate.KeyPair{Certificate: encode("CERTIFICATE", certificate), PrivateKey: encode("PRIVATE KEY", private)}, nil
}
