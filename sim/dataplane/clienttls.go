package dataplane

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serverTLS is what a virtual server's configuration makes of clients' handshakes.
// It is made again when something that it depends on has changed; connections keep
// the one they began with.
type serverTLS struct {
	epoch    int64 // DataPlane.tlsEpoch when it was made
	base     *tls.Config
	versions []uint16 // in use, the best first
	auth     clientAuth
	sites    map[string]clientAuth // ca_sites by host or address

	mu       sync.Mutex
	variants map[tlsVariant]*tls.Config
}

// tlsVariant names a tls.Config beside the base: for clients with which only one
// version is common, as the enabled ones have a gap, and for those of one CA site.
type tlsVariant struct {
	version uint16
	site    string
}

// clientAuth is what is asked of clients about themselves.
type clientAuth struct {
	site    string // of ca_sites; "": the virtual server's own
	mode    tls.ClientAuthType
	cas     *x509.CertPool
	headers string // none, simple, all
}

// errNoVersion ends handshakes in which no version is left.
var errNoVersion = errors.New("client and virtual server have no SSL/TLS version in common")

// tlsFor returns what conf means now.
func (v *vserver) tlsFor(conf *serverConf) *serverTLS {
	epoch := v.d.tlsEpoch.Load()
	if s := conf.tls.Load(); s != nil && s.epoch == epoch {
		return s
	}
	s := v.newServerTLS(conf, epoch)
	conf.tls.Store(s)
	return s
}

func (v *vserver) newServerTLS(conf *serverConf, epoch int64) *serverTLS {
	global, own := v.d.global.Load().TLS, conf.TLS
	suites, curves := own.CipherSuites, own.Curves
	if suites == "" {
		suites = global.CipherSuites
	}
	if len(curves) == 0 {
		curves = global.Curves
	}
	s := &serverTLS{epoch: epoch, variants: make(map[tlsVariant]*tls.Config), sites: make(map[string]clientAuth)}
	chosen, _ := cipherSuites(suites)
	for _, o := range []struct {
		version uint16
		own     string
		global  bool
	}{
		{tls.VersionTLS13, own.TLS13, global.TLS13}, {tls.VersionTLS12, own.TLS12, global.TLS12},
		{tls.VersionTLS11, own.TLS11, global.TLS11}, {tls.VersionTLS10, own.TLS10, global.TLS10},
	} {
		if switched(o.own, o.global) && chosen.serves(o.version) {
			s.versions = append(s.versions, o.version)
		}
	}
	s.base = v.tlsConfig(conf.mode == modeHTTP && conf.HTTP2.Enabled)
	if conf.mode != modeHTTP {
		s.base.NextProtos = nil
	}
	s.base.CipherSuites = chosen.old
	s.base.CurvePreferences, _ = curveIDs(curves)
	s.base.SessionTicketsDisabled = !switched(own.Tickets, global.Tickets)
	if !s.base.SessionTicketsDisabled {
		s.base.SetSessionTicketKeys(v.d.tickets.keys(v.d, v.name))
	}
	if n := len(s.versions); n > 0 {
		s.base.MaxVersion, s.base.MinVersion = s.versions[0], s.versions[n-1]
	}
	s.auth = v.clientAuth("", own.ClientCert, own.ClientCAs, own.CertHeaders)
	s.auth.apply(s.base)
	for _, site := range own.CASites {
		host := strings.ToLower(site.Host)
		s.sites[host] = v.clientAuth(host, site.RequestCert, site.ClientCAs, site.CertHeaders)
	}
	return s
}

// switched resolves a switch that may leave it to the global setting.
func switched(own string, global bool) bool {
	switch own {
	case "enabled":
		return true
	case "disabled":
		return false
	}
	return global
}

// clientAuth makes ready what is asked of clients. Without authorities every
// certificate is accepted.
func (v *vserver) clientAuth(site, mode string, cas []string, headers string) clientAuth {
	a := clientAuth{site: site, headers: headers}
	if len(cas) > 0 {
		a.cas = x509.NewCertPool()
		for _, name := range cas {
			content, _ := file(&v.d.cas, name)
			a.cas.AppendCertsFromPEM([]byte(content))
		}
	}
	switch {
	case mode == "request" && a.cas == nil:
		a.mode = tls.RequestClientCert
	case mode == "request":
		a.mode = tls.VerifyClientCertIfGiven
	case mode == "require" && a.cas == nil:
		a.mode = tls.RequireAnyClientCert
	case mode == "require":
		a.mode = tls.RequireAndVerifyClientCert
	}
	return a
}

func (a clientAuth) apply(c *tls.Config) { c.ClientAuth, c.ClientCAs = a.mode, a.cas }

// handshake begins each handshake, resumed ones too: it chooses site and
// certificate of the client, and which tls.Config goes on.
func (v *vserver) handshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := clientOf(hello.Conn)
	v.choose(c, hello)
	s := v.tlsFor(v.conf.Load())
	c.asked = s.auth
	if len(s.sites) > 0 {
		a, ok := s.sites[strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")]
		if !ok {
			a, ok = s.sites[c.at.Addr().String()]
		}
		if ok {
			c.asked = a
		}
	}
	best := slices.IndexFunc(s.versions, func(version uint16) bool { return slices.Contains(hello.SupportedVersions, version) })
	if best < 0 {
		return nil, errNoVersion
	}
	key := tlsVariant{site: c.asked.site}
	if gap := int(s.versions[0]-s.versions[len(s.versions)-1]) + 1; gap > len(s.versions) {
		key.version = s.versions[best]
	}
	if !s.base.SessionTicketsDisabled && v.d.tickets.due(v.d) {
		v.d.tlsEpoch.Add(1) // the next handshake takes the new key
	}
	if key == (tlsVariant{}) {
		return s.base, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.variants[key]
	if config == nil {
		config = s.base.Clone()
		if key.version != 0 {
			config.MinVersion, config.MaxVersion = key.version, key.version
		}
		c.asked.apply(config)
		s.variants[key] = config
	}
	return config, nil
}

// suiteList are the cipher suites that a setting names.
type suiteList struct {
	any  bool     // the setting names none: all that Go has by default
	old  []uint16 // up to TLS 1.2, in order
	best bool     // some of TLS 1.3
}

// serves tells whether the list leaves a version anything to agree on.
func (l suiteList) serves(version uint16) bool {
	if version == tls.VersionTLS13 {
		return l.any || l.best
	}
	return l.any || len(l.old) > 0
}

// cipherSuites reads a list of names, the traffic manager's (SSL_RSA_WITH_…) or
// IANA's (TLS_RSA_WITH_…), and returns those it does not know.
func cipherSuites(setting string) (l suiteList, unknown []string) {
	names := strings.FieldsFunc(setting, func(r rune) bool { return r == ' ' || r == ',' || r == ':' || r == '\t' || r == '\n' })
	l.any = len(names) == 0
	for _, name := range names {
		plain := "TLS_" + strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(name), "SSL_"), "TLS_")
		found := false
		for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			if s.Name != plain && s.Name != plain+"_SHA256" { // Go's names of ChaCha20 suites are longer
				continue
			}
			found = true
			if slices.Equal(s.SupportedVersions, []uint16{tls.VersionTLS13}) {
				l.best = true
			} else {
				l.old = append(l.old, s.ID)
			}
			break
		}
		if !found {
			unknown = append(unknown, name)
		}
	}
	return l, unknown
}

// curveIDs reads a list of curves and returns those it does not know.
func curveIDs(names []string) (ids []tls.CurveID, unknown []string) {
	for _, name := range names {
		switch strings.ToUpper(name) {
		case "P256":
			ids = append(ids, tls.CurveP256)
		case "P384":
			ids = append(ids, tls.CurveP384)
		case "P521":
			ids = append(ids, tls.CurveP521)
		case "X25519":
			ids = append(ids, tls.X25519)
		default:
			unknown = append(unknown, name)
		}
	}
	return ids, unknown
}

// tlsProblems lists what of a virtual server's TLS settings cannot be carried out.
func (d *DataPlane) tlsProblems(conf *serverConf) []string {
	if !conf.SSLDecrypt {
		return nil
	}
	var list []string
	if _, unknown := cipherSuites(conf.TLS.CipherSuites); len(unknown) > 0 {
		list = append(list, unknownNames("cipher_suites", unknown).Error())
	}
	if _, unknown := curveIDs(conf.TLS.Curves); len(unknown) > 0 {
		list = append(list, unknownNames("elliptic_curves", unknown).Error())
	}
	cas := slices.Clone(conf.TLS.ClientCAs)
	for _, s := range conf.TLS.CASites {
		cas = append(cas, s.ClientCAs...)
	}
	for _, name := range cas {
		if _, ok := file(&d.cas, name); !ok {
			list = append(list, "the certificate authority '"+name+"' is used but does not exist: upload it")
		}
	}
	return list
}

// ticketKeys are the keys of TLS session tickets: those of ssl/ticket_keys that
// are valid now or, if there are none, one of the traffic manager's own, which
// changes every ticketRotation and opens tickets for ticketExpiry.
type ticketKeys struct {
	mu       sync.Mutex
	uploaded map[string]*TicketKey
	own      [][32]byte // the newest first
	made     time.Time  // of the newest
	drawn    int
}

// Defaults of ssl!tickets_ticket_key_rotation and ssl!tickets_ticket_key_expiry.
const (
	ticketRotation = 4 * time.Hour
	ticketExpiry   = 24 * time.Hour
)

// apply takes changes of ssl/ticket_keys.
func (t *ticketKeys) apply(changes map[string]*TicketKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range changes {
		if t.uploaded == nil {
			t.uploaded = make(map[string]*TicketKey)
		}
		if k == nil {
			delete(t.uploaded, name)
		} else {
			t.uploaded[name] = k
		}
	}
}

// due tells whether an own key must be made.
func (t *ticketKeys) due(d *DataPlane) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.uploaded) == 0 && d.now().Sub(t.made) >= ticketRotation
}

// keys returns the keys of one virtual server, the one that makes tickets first.
// No virtual server opens tickets of another, whose clients may not have had to
// show a certificate.
func (t *ticketKeys) keys(d *DataPlane, server string) [][32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := d.now()
	var seeds [][]byte
	for _, name := range sorted(t.uploaded) {
		if k := t.uploaded[name]; !now.Before(k.Begin) && (k.End.IsZero() || now.Before(k.End)) {
			seeds = append(seeds, []byte(k.Key))
		}
	}
	if len(seeds) == 0 {
		if len(t.own) == 0 || now.Sub(t.made) >= ticketRotation {
			var key [32]byte
			t.drawn++
			if _, err := io.ReadFull(d.options.World.Rand(d.actor("tickets/"+itoa(t.drawn))), key[:]); err == nil {
				t.own = append([][32]byte{key}, t.own...)
				t.made = now
			}
			if most := int(ticketExpiry / ticketRotation); len(t.own) > most {
				t.own = t.own[:most]
			}
		}
		for i := range t.own {
			seeds = append(seeds, t.own[i][:])
		}
	}
	keys := make([][32]byte, len(seeds))
	for i, seed := range seeds {
		keys[i] = sha256.Sum256([]byte(server + "\x00" + string(seed)))
	}
	return keys
}

// sslHeaders are the headers that tell nodes of the client's TLS connection. What
// a client sends under these names never reaches a node that trusts them.
var sslHeaders = []string{
	"Sslclientcipher", "Sslsessionid", "Sslclientcertstatus", "Sslclientcertversion", "Sslclientcertserialnumber",
	"Sslclientcertissuer", "Sslclientcertsubject", "Sslclientcertnotvalidbefore", "Sslclientcertnotvalidafter",
	"Sslclientcerthash", "Sslclientcert",
}

// addSSLHeaders adds what ssl!add_http_headers and ssl!client_cert_headers ask
// for. SSLClientCipher and SSLClientCertStatus are in the wild as written here;
// the other names are inferred.
func (t *transaction) addSSLHeaders(out http.Header) {
	s := t.r.TLS
	certs := ""
	if s != nil {
		certs = t.client.asked.headers
	}
	if !t.conf.TLS.AddHeaders && (certs == "" || certs == "none") {
		return
	}
	for _, name := range sslHeaders {
		delete(out, name)
	}
	if s == nil {
		return
	}
	if t.conf.TLS.AddHeaders {
		out["SSLClientCipher"] = []string{describeCipher(s)}
		out["SSLSessionID"] = []string{tlsSessionID(s)}
	}
	if certs == "" || certs == "none" {
		return
	}
	if len(s.PeerCertificates) == 0 {
		out["SSLClientCertStatus"] = []string{"NoClientCert"}
		return
	}
	cert := s.PeerCertificates[0]
	hash := sha256.Sum256(cert.Raw)
	for _, h := range [][2]string{
		{"SSLClientCertStatus", "OK"},
		{"SSLClientCertVersion", strconv.Itoa(cert.Version)},
		{"SSLClientCertSerialNumber", cert.SerialNumber.Text(16)},
		{"SSLClientCertIssuer", cert.Issuer.String()},
		{"SSLClientCertSubject", cert.Subject.String()},
		{"SSLClientCertNotValidBefore", cert.NotBefore.UTC().Format(time.RFC1123)},
		{"SSLClientCertNotValidAfter", cert.NotAfter.UTC().Format(time.RFC1123)},
		{"SSLClientCertHash", hex.EncodeToString(hash[:])},
	} {
		out[h[0]] = []string{printable(h[1])}
	}
	if certs == "all" {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		out["SSLClientCert"] = []string{strings.ReplaceAll(strings.TrimSpace(text), "\n", " ")}
	}
}

// describeCipher tells of a connection as "name, version=…, bits=…".
func describeCipher(s *tls.ConnectionState) string {
	name := tls.CipherSuiteName(s.CipherSuite)
	bits := 128
	switch {
	case strings.Contains(name, "256_") || strings.Contains(name, "CHACHA20"):
		bits = 256
	case strings.Contains(name, "3DES"):
		bits = 168
	}
	if s.Version < tls.VersionTLS13 {
		name = "SSL_" + strings.TrimPrefix(name, "TLS_")
	}
	version := map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[s.Version]
	return fmt.Sprintf("%s, version=%s, bits=%d", name, version, bits)
}

// tlsSessionID names a TLS session. Go does not tell the ID on the wire: it is
// derived from what both ends know of the connection.
func tlsSessionID(s *tls.ConnectionState) string {
	if len(s.TLSUnique) > 0 {
		sum := sha256.Sum256(s.TLSUnique)
		return hex.EncodeToString(sum[:])
	}
	id, err := s.ExportKeyingMaterial("EXPORTER-session-id", nil, 32)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(id)
}
