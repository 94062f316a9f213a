package dataplane

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// nodeTLS is how a pool encrypts. It is made anew when its settings change; the
// catalogs of authorities and client certificates are read at each handshake.
type nodeTLS struct {
	d      *DataPlane
	conf   NodeTLS
	global GlobalTLS
	config *tls.Config
	broken error // why no connection can be encrypted
}

// handshake encrypts a connection to a node. serverName is for SNI: a host name,
// with or without port; an address is not sent.
func (t *nodeTLS) handshake(ctx context.Context, conn net.Conn, address, serverName string) (net.Conn, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	config := t.config.Clone()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	// Resumption goes by this name; each host has its own sessions.
	config.ServerName = address
	name := ""
	if t.conf.ServerName {
		if h, _, err := net.SplitHostPort(serverName); err == nil {
			serverName = h
		}
		name = strings.Trim(serverName, "[]")
		if name == "" {
			name = host
		}
	}
	if name == "" {
		// A text that is no host name is not sent.
		config.ServerName = "[" + strings.Trim(host, "[]") + "]"
		if net.ParseIP(strings.Trim(host, "[]")) == nil {
			config.ServerName = ""
			config.ClientSessionCache = nil
		}
	} else {
		config.ServerName = name
	}
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if !t.conf.StrictVerify {
			return nil
		}
		return t.verify(s, host)
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("SSL handshake: %w", err)
	}
	if t.conf.SendCloseAlerts {
		return c, nil
	}
	return &silentTLS{c}, nil
}

// silentTLS ends without a close alert.
type silentTLS struct{ *tls.Conn }

func (c *silentTLS) Close() error { return c.NetConn().Close() }

// verify checks a node's certificate: strict_verify.
func (t *nodeTLS) verify(s tls.ConnectionState, host string) error {
	cert := s.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: t.d.authorities(), Intermediates: x509.NewCertPool(), CurrentTime: t.d.now()}
	for _, c := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := cert.Verify(options); err != nil {
		return err
	}
	for _, name := range append([]string{host}, t.conf.CommonNames...) {
		if cert.VerifyHostname(name) == nil || commonName(cert.Subject.CommonName, name) {
			return nil
		}
	}
	return fmt.Errorf("the certificate of '%s' names neither %s nor a name of ssl!common_name_match", cert.Subject.CommonName, host)
}

// authorities are all of the catalog, for certificates of nodes.
func (d *DataPlane) authorities() *x509.CertPool {
	pool := x509.NewCertPool()
	d.cas.Range(func(_, found any) bool {
		pool.AppendCertsFromPEM([]byte(found.(*File).Content))
		return true
	})
	return pool
}

// commonName compares a certificate's common name, which may begin with "*.",
// with a name.
func commonName(pattern, name string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok && strings.HasPrefix(suffix, ".") {
		dot := strings.IndexByte(name, '.')
		return dot > 0 && strings.EqualFold(name[dot:], suffix)
	}
	return pattern != "" && strings.EqualFold(pattern, name)
}

var errNoTLS = errors.New("no version of TLS is enabled that its cipher suites serve: enable one")

// newNodeTLS makes ready how a pool encrypts. What of it cannot be carried out is
// returned, each problem with its key.
func (d *DataPlane) newNodeTLS(conf NodeTLS, global GlobalTLS) (t *nodeTLS, problems []error) {
	t = &nodeTLS{d: d, conf: conf, global: global}
	t.config = &tls.Config{
		Time: d.now,
		// Whether to trust the node is decided by VerifyConnection.
		InsecureSkipVerify: true,
	}
	suites, unknown := cipherSuites(cmp.Or(conf.CipherSuites, global.CipherSuites))
	if len(unknown) > 0 {
		problems = append(problems, unknownNames("cipher_suites", unknown))
	}
	t.config.CipherSuites = suites.old
	curves := conf.Curves
	if len(curves) == 0 {
		curves = global.Curves
	}
	if t.config.CurvePreferences, unknown = curveIDs(curves); len(unknown) > 0 {
		problems = append(problems, unknownNames("elliptic_curves", unknown))
	}
	defaults := [4]bool{global.TLS10, global.TLS11, global.TLS12, global.TLS13}
	for i, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		if switched(conf.Versions[i], defaults[i]) && suites.serves(version) {
			if t.config.MinVersion == 0 {
				t.config.MinVersion = version
			}
			t.config.MaxVersion = version
		}
	}
	if t.config.MinVersion == 0 {
		problems = append(problems, errNoTLS)
		t.broken = errNoTLS
	}
	if conf.SessionCache != "disabled" && conf.Tickets != "disabled" {
		t.config.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	if conf.ClientAuth {
		t.config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return d.clientCertificate(conf.FixedCertificate, asked), nil
		}
	}
	return t, problems
}

// unknownNames is a problem with a list of a section ssl.
func unknownNames(key string, names []string) error {
	return fmt.Errorf("ssl!%s: not known and left out: %s", key, strings.Join(names, " "))
}

// clientCertificate is what a node gets that asks for a certificate; an empty one
// when the catalog has none that its authorities accept.
func (d *DataPlane) clientCertificate(fixed string, asked *tls.CertificateRequestInfo) *tls.Certificate {
	var names []string
	if fixed != "" {
		names = []string{fixed}
	} else {
		all := make(map[string]bool)
		d.clientKeys.Range(func(name, _ any) bool {
			all[name.(string)] = true
			return true
		})
		names = sorted(all)
	}
	for _, name := range names {
		found, _ := d.clientKeys.Load(name)
		if k, ok := found.(*serverKey); ok && k.cert != nil && (fixed != "" || asked.SupportsCertificate(k.cert) == nil) {
			return k.cert
		}
	}
	return &tls.Certificate{}
}

// applyClientKey takes a client certificate into use for new handshakes.
func (d *DataPlane) applyClientKey(name string, k *ServerKey) {
	if k == nil {
		d.clientKeys.Delete(name)
		return
	}
	key := &serverKey{}
	cert, err := tls.X509KeyPair([]byte(k.Public), []byte(k.Private))
	if err != nil {
		key.err = err
		d.event(Event{Level: "SERIOUS", Section: "ssl/client_keys/" + name, Tag: "confmod", Text: fmt.Sprintf("Client certificate cannot be used: %v", err)})
	} else {
		key.cert = &cert
	}
	d.clientKeys.Store(name, key)
}
