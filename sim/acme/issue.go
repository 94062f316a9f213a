package acme

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vtm-ingress/internal/outside"
)

// issued is one certificate.
type issued struct {
	path     string
	account  *account
	leaf     *x509.Certificate
	replaced bool
	revoked  bool
	window   *window // of renewal; nil: what follows from its life
}

type window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// makeChain makes the root and the intermediate.
func (ca *CA) makeChain() (err error) {
	now := ca.o.World.Clock().Now()
	make := func(name string, years int, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
		serial, err := ca.serial()
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Sandbox"}},
			NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(years, 0, 0),
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(nil, template, parent, key.Public(), parentKey)
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(der)
	}
	if ca.rootKey, err = outside.NewKey(ca.random); err != nil {
		return err
	}
	if ca.intermediateKey, err = outside.NewKey(ca.random); err != nil {
		return err
	}
	if ca.root, err = make("Sandbox Root", 30, nil, ca.rootKey, ca.rootKey); err != nil {
		return err
	}
	if ca.intermediate, err = make("Sandbox Intermediate", 15, ca.root, ca.intermediateKey, ca.rootKey); err != nil {
		return err
	}
	otherKey, err := outside.NewKey(ca.random)
	if err != nil {
		return err
	}
	if ca.other, err = make("Sandbox Other Root", 30, nil, otherKey, otherKey); err != nil {
		return err
	}
	ca.crossed, err = make("Sandbox Intermediate", 15, ca.other, ca.intermediateKey, otherKey)
	return err
}

func (ca *CA) serial() (*big.Int, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(ca.random, serial); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x3f | 0x40 // positive, and always 16 bytes
	return new(big.Int).SetBytes(serial), nil
}

// finalize issues the certificate of an order that is ready (RFC 8555, section
// 7.4).
func (ca *CA) finalize(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	var wish struct {
		CSR string `json:"csr"`
	}
	if p := s.read(&wish); p != nil {
		return p
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o := ca.orders[pathOrder+r.PathValue("n")]
	if o == nil || o.account != s.account {
		return notFound("order")
	}
	if state := o.status(ca.o.World.Clock().Now()); state != ready {
		return problem("orderNotReady", "the order is %s", state)
	}
	der, err := base64.RawURLEncoding.DecodeString(wish.CSR)
	if err != nil {
		return problem("badCSR", "not base64url: %v", err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return problem("badCSR", "%v", err)
	}
	if err := request.CheckSignature(); err != nil {
		return problem("badCSR", "%v", err)
	}
	if p := checkKey(request, o.account); p != nil {
		return p
	}
	names := slices.Clone(request.DNSNames)
	if cn := request.Subject.CommonName; cn != "" {
		names = append(names, cn)
	}
	var wanted []string
	for _, id := range o.identifiers {
		wanted = append(wanted, id.Value)
	}
	if names, wanted = sorted(names), sorted(wanted); !slices.Equal(names, wanted) ||
		len(request.IPAddresses)+len(request.EmailAddresses)+len(request.URIs) > 0 {
		return problem("badCSR", "it names %s, the order %s", strings.Join(names, ", "), strings.Join(wanted, ", "))
	}
	serial, err := ca.serial()
	if err != nil {
		return problem("serverInternal", "%v", err)
	}
	now := ca.o.World.Clock().Now()
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: wanted, NotBefore: now, NotAfter: now.Add(ca.o.Profiles[o.profile] - time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	signedDER, err := x509.CreateCertificate(nil, template, ca.intermediate, request.PublicKey, ca.intermediateKey)
	if err != nil {
		return problem("serverInternal", "%v", err)
	}
	leaf, err := x509.ParseCertificate(signedDER)
	if err != nil {
		return problem("serverInternal", "%v", err)
	}
	c := &issued{path: pathCertificate + strconv.Itoa(ca.name()), account: s.account, leaf: leaf}
	ca.certificates[c.path] = c
	ca.bySerial[string(serial.Bytes())] = c
	o.state, o.certificate = valid, c
	if o.replaces != "" {
		if old, p := ca.byID(o.replaces); p == nil {
			old.replaced = true
		}
	}
	ca.showOrder(w, o, http.StatusOK)
	return nil
}

// checkKey refuses what a public CA refuses.
func checkKey(request *x509.CertificateRequest, a *account) *Problem {
	switch key := request.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return problem("badCSR", "an RSA key of %d bits is too short", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if accountKey, ok := a.key.Key.(*ecdsa.PublicKey); ok && key.Equal(accountKey) {
			return problem("badCSR", "the key is the account's")
		}
	default:
		return problem("badCSR", "keys of this kind are not supported")
	}
	return nil
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// otherChain is after the path of a certificate with the chain to the other root.
const otherChain = "/other"

func (ca *CA) serveCertificate(w http.ResponseWriter, r *http.Request, s *signed) *Problem {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	path, other := strings.CutSuffix(r.URL.Path, otherChain)
	c := ca.certificates[path]
	if c == nil || c.account != s.account {
		return notFound("certificate")
	}
	between := ca.intermediate
	if other {
		between = ca.crossed
	} else {
		w.Header().Add("Link", "<"+ca.url(path+otherChain)+`>;rel="alternate"`)
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(append(toPEM(c.leaf.Raw), toPEM(between.Raw)...))
	return nil
}

// revoke is RFC 8555, section 7.6, by the account that ordered.
func (ca *CA) revoke(w http.ResponseWriter, _ *http.Request, s *signed) *Problem {
	var wish struct {
		Certificate string `json:"certificate"`
	}
	if p := s.read(&wish); p != nil {
		return p
	}
	der, err := base64.RawURLEncoding.DecodeString(wish.Certificate)
	if err != nil {
		return problem("malformed", "not base64url: %v", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return problem("malformed", "%v", err)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c := ca.bySerial[string(certificate.SerialNumber.Bytes())]
	switch {
	case c == nil || !c.leaf.Equal(certificate):
		return notFound("certificate")
	case c.account != s.account:
		return problem("unauthorized", "another account ordered it")
	case c.revoked:
		return problem("alreadyRevoked", "it was revoked already")
	}
	c.revoked = true
	w.WriteHeader(http.StatusOK)
	return nil
}

// byID finds a certificate by its identifier of RFC 9773, section 4.1: key
// identifier of the issuer and serial number. The caller holds the lock.
func (ca *CA) byID(id string) (*issued, *Problem) {
	issuer, number, found := strings.Cut(id, ".")
	key, err := base64.RawURLEncoding.DecodeString(issuer)
	if !found || err != nil || string(key) != string(ca.intermediate.SubjectKeyId) {
		return nil, problem("malformed", "%q names no certificate of this authority", id)
	}
	serial, err := base64.RawURLEncoding.DecodeString(number)
	if err != nil {
		return nil, problem("malformed", "%q has no serial number", id)
	}
	if c := ca.bySerial[string(new(big.Int).SetBytes(serial).Bytes())]; c != nil {
		return c, nil
	}
	return nil, notFound("certificate")
}

// serveRenewalInfo is RFC 9773, section 4.2: two days around two thirds of a
// certificate's life, within it; at once if it was revoked.
func (ca *CA) serveRenewalInfo(w http.ResponseWriter, r *http.Request) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c, p := ca.byID(r.PathValue("id"))
	if p != nil {
		send(w, p)
		return
	}
	from, to := c.leaf.NotBefore, c.leaf.NotAfter
	life := to.Sub(from)
	spread := min(24*time.Hour, life/12)
	suggested := window{Start: to.Add(-life/3 - spread), End: to.Add(-life/3 + spread)}
	if c.revoked {
		now := ca.o.World.Clock().Now()
		suggested = window{Start: now.Add(-time.Hour), End: now.Add(-time.Hour + time.Second)}
	}
	if c.window != nil {
		suggested = *c.window
	}
	suggested.Start, suggested.End = suggested.Start.UTC(), suggested.End.UTC()
	w.Header().Set("Retry-After", strconv.Itoa(int(min(6*time.Hour, life/6+time.Second)/time.Second)))
	reply(w, http.StatusOK, map[string]any{"suggestedWindow": suggested})
}
