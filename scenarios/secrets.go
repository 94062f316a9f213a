package scenarios

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tlsSecret makes a Secret with a new self-signed certificate for hosts, separated
// by commas, that is good for a day.
func (s *scenario) tlsSecret(ctx context.Context, name, hosts string) error {
	return s.labelledTLSSecret(ctx, name, hosts, "")
}

func (s *scenario) labelledTLSSecret(ctx context.Context, name, hosts, label string) error {
	s.requests++ // so that no two certificates are drawn alike
	random := s.env.World().Rand(fmt.Sprint("scenario/certificate/", s.requests))
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return err
	}
	now := s.env.World().Clock().Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(s.requests)), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), DNSNames: strings.Split(hosts, ","),
	}
	certificate, err := x509.CreateCertificate(random, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	encode := func(kind string, der []byte) string {
		var b bytes.Buffer
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a Buffer never fails
		return base64.StdEncoding.EncodeToString(b.Bytes())
	}
	labels := strings.Replace(label, "=", ": ", 1)
	s.certificates[name] = certificate
	return s.apply(ctx, fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: %s, labels: {%s}}\ndata: {tls.crt: %s, tls.key: %s}\n",
		name, labels, encode("CERTIFICATE", certificate), encode("PRIVATE KEY", private)))
}

func (s *scenario) deleteSecret(ctx context.Context, name string) error {
	return s.kubernetes.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

// answeredWithCertificate waits until the server shows what the Secret held when
// the scenario made it last.
func (s *scenario) answeredWithCertificate(ctx context.Context, target, address, secret string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		if !bytes.Equal(a.certificate, s.certificates[secret]) {
			shown, err := x509.ParseCertificate(a.certificate)
			if err != nil {
				return fmt.Errorf("%s at %s shows no certificate", target, address)
			}
			return fmt.Errorf("%s at %s shows the certificate of %s, serial number %s", target, address, shown.Subject.CommonName, shown.SerialNumber)
		}
		return nil
	})
}
