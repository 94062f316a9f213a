package trafficscript_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	ts "vtm-ingress/sim/trafficscript"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:       big.NewInt(0xabc),
		Subject:            pkix.Name{Country: []string{"GB"}, Organization: []string{"Example, Ltd"}, CommonName: "foo.example.com"},
		NotBefore:          time.Unix(1000, 0),
		NotAfter:           time.Unix(2000, 0),
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateFacts(t *testing.T) {
	c := certificate(t)
	h := newHost()
	h.tx.TLS = &ts.TLS{ServerCert: c, ClientChain: []*x509.Certificate{c, c}}
	compile(t, `
		log.info(ssl.clientCertStatus() . " " . ssl.clientCertAlgorithm() . " " . ssl.clientCertCommonName() . " " . ssl.clientCertIssuer() . " " . ssl.clientCertSubject() . " " .
			ssl.clientCertPublicKey() . " " . ssl.clientCertSerial() . " " . ssl.clientCertSerialDec() . " " . ssl.clientCertVersion() . " " . ssl.clientCertStartDate() . " " . ssl.clientCertEndDate());
		log.info("OK " . ssl.serverCertAlgorithm() . " " . ssl.serverCertCommonName() . " " . ssl.serverCertIssuer() . " " . ssl.serverCertSubject() . " " .
			ssl.serverCertPublicKey() . " " . ssl.serverCertSerial() . " 2748 " . ssl.serverCertVersion() . " " . ssl.serverCertStartDate() . " " . ssl.serverCertEndDate());
		log.info(string.len(ssl.clientCertHash()) . string.len(ssl.serverCertHash()) . string.len(ssl.clientCertSHA1()) . string.len(ssl.serverCertSHA1()));
		log.info((ssl.clientCert() == ssl.serverCert()) . (ssl.clientCertChain() == ssl.clientCert() . ssl.serverCert()) . string.left(ssl.clientCert(), 27));
	`).Run(context.Background(), h, ts.Limits{})
	facts := `OK sha256withRSAEncryption foo.example.com C=GB, O=Example\, Ltd, CN=foo.example.com C=GB, O=Example\, Ltd, CN=foo.example.com RSA (2048 bit) ABC 2748 3 1000 2000`
	want := []string{facts, facts, "32324040", "11-----BEGIN CERTIFICATE-----"}
	var got []string
	for _, e := range h.events {
		got = append(got, e.Message)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNoClientCertificateIsTold(t *testing.T) {
	h := newHost()
	h.tx.TLS = &ts.TLS{}
	compile(t, `log.info(ssl.clientCertStatus() . ssl.clientCertEndDate() . ssl.clientCertSubject() . ssl.serverCertSubject());`).Run(context.Background(), h, ts.Limits{})
	if len(h.events) != 1 || h.events[0].Message != "NoClientCert0" {
		t.Errorf("events %v", h.events)
	}
}
