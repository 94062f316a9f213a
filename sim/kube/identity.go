package kube

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"vtm-ingress/internal/outside"
)

const (
	certificateLife = 10 * 365 * 24 * time.Hour
	masters         = "system:masters"
	authenticated   = "system:authenticated"
)

// identity knows who clients are: it issues certificates and tokens, and
// recognises them.
type identity struct {
	clock  clock.WithTicker
	random io.Reader // used with mu held
	secret [32]byte  // tokens are derived from it

	authority *x509.Certificate // nil: no TLS
	key       *ecdsa.PrivateKey
	server    tls.Certificate

	mu     sync.Mutex
	tokens map[[sha256.Size]byte]credential // by hash, so that a look-up tells nothing by its duration
	serial int64
}

type credential struct {
	user    *user.DefaultInfo
	expires time.Time // zero: never
}

// newIdentity makes keys from random; with TLS also a certificate authority and
// the server's certificate, valid for hosts.
func newIdentity(clock clock.WithTicker, random io.Reader, withTLS bool, hosts ...string) (*identity, error) {
	id := &identity{clock: clock, random: random, tokens: map[[sha256.Size]byte]credential{}}
	if _, err := io.ReadFull(random, id.secret[:]); err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}
	if !withTLS {
		return id, nil
	}
	key, err := outside.NewKey(random)
	if err != nil {
		return nil, err
	}
	now := clock.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "emulated Kubernetes CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if id.authority, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	id.key, id.serial = key, 1
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	certificate, serverKey, err := id.issue(server)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	id.server = tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: serverKey}
	return id, nil
}

// issue signs template, completed with serial number and validity.
func (id *identity) issue(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	key, err := outside.NewKey(id.random)
	if err != nil {
		return nil, nil, err
	}
	id.serial++
	now := id.clock.Now()
	template.SerialNumber = big.NewInt(id.serial)
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(certificateLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(id.random, template, id.authority, key.Public(), id.key)
	return der, key, err
}

// authorityPEM is the authority's certificate, nil without TLS.
func (id *identity) authorityPEM() []byte {
	if id.authority == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.authority.Raw})
}

// tlsConfig serves with the server's certificate and accepts those that the
// authority signed.
func (id *identity) tlsConfig() *tls.Config {
	clients := x509.NewCertPool()
	clients.AddCert(id.authority)
	return &tls.Config{
		Certificates: []tls.Certificate{id.server},
		ClientCAs:    clients,
		ClientAuth:   tls.VerifyClientCertIfGiven,
		MinVersion:   tls.VersionTLS12,
		Time:         id.clock.Now,
	}
}

// clientCertificate makes a certificate by which a client is user.
func (id *identity) clientCertificate(name string, groups ...string) (certPEM, keyPEM []byte, err error) {
	der, key, err := id.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("client certificate of %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("client certificate of %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// derive is a token for what it names: the same each time.
func (id *identity) derive(purpose string) string {
	sum := sha256.Sum256(append(id.secret[:len(id.secret):len(id.secret)], purpose...))
	return hex.EncodeToString(sum[:])
}

func (id *identity) remember(token string, c credential) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.tokens[sha256.Sum256([]byte(token))] = c
}

// userToken is a lasting token by which a client is user name, an
// administrator.
func (id *identity) userToken(name string) string {
	token := id.derive("user/" + name)
	id.remember(token, credential{user: &user.DefaultInfo{Name: name, Groups: []string{masters, authenticated}}})
	return token
}

func serviceAccount(namespace, name string) *user.DefaultInfo {
	return &user.DefaultInfo{
		Name:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, authenticated},
	}
}

// accountToken is a lasting token of a service account.
func (id *identity) accountToken(namespace, name string) string {
	token := id.derive("serviceaccount/" + namespace + "/" + name)
	id.remember(token, credential{user: serviceAccount(namespace, name)})
	return token
}

// temporaryToken is a token of a service account that ends after life. Those
// that have ended are forgotten here, so that they never pile up.
func (id *identity) temporaryToken(namespace, name string, life time.Duration) (token string, expires time.Time) {
	now := id.clock.Now()
	expires = now.Add(life).Truncate(time.Second)
	id.mu.Lock()
	defer id.mu.Unlock()
	maps.DeleteFunc(id.tokens, func(_ [sha256.Size]byte, c credential) bool {
		return !c.expires.IsZero() && now.After(c.expires)
	})
	id.serial++
	token = id.derive(fmt.Sprintf("temporary/%d", id.serial))
	id.tokens[sha256.Sum256([]byte(token))] = credential{user: serviceAccount(namespace, name), expires: expires}
	return token, expires
}

// authenticate tells who sent req; nil for nobody in particular (no credentials
// at all), false for credentials that are wrong.
func (id *identity) authenticate(req *http.Request) (*user.DefaultInfo, bool) {
	if req.TLS != nil && len(req.TLS.VerifiedChains) > 0 {
		subject := req.TLS.VerifiedChains[0][0].Subject
		return &user.DefaultInfo{Name: subject.CommonName, Groups: append(subject.Organization, authenticated)}, true
	}
	header := req.Header.Get("Authorization")
	if header == "" {
		return nil, true
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return nil, false
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	c, known := id.tokens[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	if !known || !c.expires.IsZero() && id.clock.Now().After(c.expires) {
		return nil, false
	}
	return c.user, true
}
