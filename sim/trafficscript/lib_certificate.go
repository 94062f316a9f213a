package trafficscript

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
)

// certificateFunctions are the ssl.* facts about the certificates of the server
// and of the client; "" when there is none.
var certificateFunctions = append(append([]function{
	fact("ssl.clientCertStatus", func(r *run) value {
		switch {
		case !r.decrypted():
			return value{}
		case clientCertificate(r.tx.TLS) == nil:
			return stringValue("NoClientCert")
		}
		return stringValue("OK")
	}),
	fact("ssl.clientCertChain", func(r *run) value {
		var b strings.Builder
		if r.tx.TLS != nil {
			for _, c := range r.tx.TLS.ClientChain {
				b.WriteString(pemText(c))
			}
		}
		return r.text(b.String())
	}),
	certificateFact("ssl.clientCertSerialDec", clientCertificate, value{}, func(c *x509.Certificate) value {
		return stringValue(c.SerialNumber.String())
	}),
}, factsOf("ssl.clientCert", clientCertificate, intValue(0))...), factsOf("ssl.serverCert", serverCertificate, value{})...)

func serverCertificate(t *TLS) *x509.Certificate { return t.ServerCert }

func clientCertificate(t *TLS) *x509.Certificate {
	if len(t.ClientChain) == 0 {
		return nil
	}
	return t.ClientChain[0]
}

// factsOf are what both certificates have. A missing one has the date noDate.
func factsOf(prefix string, of func(*TLS) *x509.Certificate, noDate value) []function {
	text := func(name string, f func(*x509.Certificate) string) function {
		return certificateFact(prefix+name, of, value{}, func(c *x509.Certificate) value { return stringValue(f(c)) })
	}
	return []function{
		text("", pemText),
		text("Algorithm", signatureName),
		text("CommonName", func(c *x509.Certificate) string { return c.Subject.CommonName }),
		text("Hash", func(c *x509.Certificate) string { h := md5.Sum(c.Raw); return hex.EncodeToString(h[:]) }),
		text("SHA1", func(c *x509.Certificate) string { h := sha1.Sum(c.Raw); return hex.EncodeToString(h[:]) }),
		text("Issuer", func(c *x509.Certificate) string { return distinguishedName(c.Issuer.ToRDNSequence().String()) }),
		text("Subject", func(c *x509.Certificate) string { return distinguishedName(c.Subject.ToRDNSequence().String()) }),
		text("PublicKey", publicKeyName),
		text("Serial", func(c *x509.Certificate) string { return strings.ToUpper(c.SerialNumber.Text(16)) }),
		text("Version", func(c *x509.Certificate) string { return strconv.Itoa(c.Version) }),
		certificateFact(prefix+"StartDate", of, noDate, func(c *x509.Certificate) value { return intValue(c.NotBefore.Unix()) }),
		certificateFact(prefix+"EndDate", of, noDate, func(c *x509.Certificate) value { return intValue(c.NotAfter.Unix()) }),
	}
}

func certificateFact(name string, of func(*TLS) *x509.Certificate, none value, f func(*x509.Certificate) value) function {
	return fact(name, func(r *run) value {
		if r.tx.TLS == nil {
			return none
		}
		c := of(r.tx.TLS)
		if c == nil || !r.work(len(c.Raw)) {
			return none
		}
		return f(c)
	})
}

func pemText(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// distinguishedName turns RFC 2253's order around: "C=GB, O=Example, CN=foo".
func distinguishedName(reversed string) string {
	var parts []string
	start := 0
	for i := 0; i < len(reversed); i++ {
		switch reversed[i] {
		case '\\':
			i++
		case ',', '+':
			parts = append([]string{reversed[start:i]}, parts...)
			start = i + 1
		}
	}
	return strings.Join(append([]string{reversed[start:]}, parts...), ", ")
}

// signatureName spells algorithms as the traffic manager does; "" for one that it
// does not know.
func signatureName(c *x509.Certificate) string {
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA:
		return "sha1withRSAEncryption"
	case x509.SHA256WithRSA:
		return "sha256withRSAEncryption"
	case x509.SHA384WithRSA:
		return "sha384withRSAEncryption"
	case x509.SHA512WithRSA:
		return "sha512withRSAEncryption"
	}
	return ""
}

func publicKeyName(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA (%d bit)", k.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA (%d bit)", k.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "Ed25519 (256 bit)"
	}
	return ""
}
