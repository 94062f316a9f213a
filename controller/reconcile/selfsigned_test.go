package reconcile

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

func TestASelfSignedCertificateIsOneThatServersCanUse(t *testing.T) {
	pair, err := NewSelfSigned(outside.Real(), "test")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.X509KeyPair(pair.Certificate, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(loaded.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		t.Error(err)
	}
	if left := leaf.NotAfter.Sub(leaf.NotBefore); left < 10*365*24*time.Hour || leaf.SerialNumber.Sign() <= 0 {
		t.Errorf("good for %s, serial number %s", left, leaf.SerialNumber)
	}
}
