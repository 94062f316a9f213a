package vtm

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"time"

	"vtm-ingress/internal/outside"
)

// selfSigned makes the certificate that a traffic manager has before an
// administrator gives it another. Its key comes from World.Rand, and it is
// signed without randomness, so that in simulation a seed repeats it. which tells
// a machine's certificates apart.
func selfSigned(o Options, which string) (*tls.Certificate, error) {
	random := o.World.Rand("vtm/" + o.Name + "/" + which)
	key, err := outside.NewKey(random)
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(random, serial); err != nil {
		return nil, err
	}
	serial[0] &= 0x7f
	now := o.World.Clock().Now()
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: o.Name, Organization: []string{"Emulated traffic manager"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can name it as its CA file
		DNSNames:              []string{o.Name, "localhost"},
	}
	for _, s := range []string{o.Address, o.Name} {
		if ip := net.ParseIP(s); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
