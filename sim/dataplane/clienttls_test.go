package dataplane

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert, key}
}

func (a *authority) pem() *File {
	return &File{Content: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))}
}

func (a *authority) client(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func rsaKey(t *testing.T, name string) *ServerKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	return &ServerKey{
		Public:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Private: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
}

// secure starts a virtual server that ends TLS; the node answers with the headers
// about it that it got.
func secure(t *testing.T, u Update, change ...func(*VirtualServer)) (*plane, int) {
	t.Helper()
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range sorted(r.Header) {
			if strings.HasPrefix(strings.ToLower(name), "ssl") {
				fmt.Fprintf(w, "%s: %s\n", name, r.Header.Get(name))
			}
		}
	})
	port := freePort(t)
	key, _ := selfSigned(t, "default")
	u.ServerKeys = map[string]*ServerKey{"default": key, "rsa": rsaKey(t, "rsa")}
	u.Pools = map[string]*Pool{"app": aPool(addr(b))}
	change = append([]func(*VirtualServer){func(v *VirtualServer) { v.SSLDecrypt, v.ServerCertDefault = true, "default" }}, change...)
	u.VirtualServers = map[string]*VirtualServer{"web": aServer(port, "app", change...)}
	p.Apply(u)
	return p, port
}

// shake makes a handshake, sends a request over HTTP/1.1 and returns what the node
// answered.
func shake(port int, c *tls.Config) (tls.ConnectionState, string, error) {
	c.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), c)
	if err != nil {
		return tls.ConnectionState{}, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nSSLClientCertStatus: OK\r\nSSLClientCertSubject: CN=admin\r\n\r\n")
	// In TLS 1.3 a client learns only now that its certificate is refused.
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn.ConnectionState(), "", err
	}
	body, err := io.ReadAll(res.Body)
	return conn.ConnectionState(), string(body), err
}

func TestTLSVersionsAndCiphersAreThoseSet(t *testing.T) {
	all := GlobalTLS{TLS10: true, TLS11: true, TLS12: true, TLS13: true, Tickets: true}
	for _, c := range []struct {
		what     string
		own      ServerTLS
		global   GlobalTLS
		min, max uint16 // the client's
		version  uint16 // 0: refused
		cipher   uint16
	}{
		{"the defaults", ServerTLS{}, all, tls.VersionTLS10, 0, tls.VersionTLS13, 0},
		{"an old client", ServerTLS{}, all, tls.VersionTLS10, tls.VersionTLS10, tls.VersionTLS10, 0},
		{"the global setting", ServerTLS{}, GlobalTLS{TLS12: true}, tls.VersionTLS10, 0, tls.VersionTLS12, 0},
		{"the server's own", ServerTLS{TLS13: "disabled", TLS10: "use_default"}, all, tls.VersionTLS10, 0, tls.VersionTLS12, 0},
		{"on against the global one", ServerTLS{TLS11: "enabled"}, GlobalTLS{TLS13: true}, tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS11, 0},
		{"a gap", ServerTLS{TLS12: "disabled"}, all, tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS11, 0},
		{"a gap, for a client in it", ServerTLS{TLS12: "disabled"}, all, tls.VersionTLS12, tls.VersionTLS12, 0, 0},
		{"nothing in common", ServerTLS{TLS10: "disabled", TLS11: "disabled"}, all, tls.VersionTLS10, tls.VersionTLS11, 0, 0},
		{"a cipher by the product's name", ServerTLS{CipherSuites: "SSL_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, all, tls.VersionTLS10, 0, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		{"a global cipher", ServerTLS{}, GlobalTLS{TLS12: true, CipherSuites: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305, NONSENSE"}, tls.VersionTLS12, 0, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		{"ciphers of TLS 1.3 alone", ServerTLS{CipherSuites: "TLS_AES_128_GCM_SHA256"}, all, tls.VersionTLS10, tls.VersionTLS12, 0, 0},
	} {
		p, port := secure(t, Update{Global: &Global{MaxInstructions: 1000, TLS: c.global}}, func(v *VirtualServer) { v.TLS = c.own })
		state, _, err := shake(port, &tls.Config{MinVersion: c.min, MaxVersion: c.max})
		switch {
		case c.version == 0 && err == nil:
			t.Errorf("%s: got %x", c.what, state.Version)
		case c.version == 0:
			p.await("sslfail", "SSL handshake failed", 1)
		case err != nil || state.Version != c.version || c.cipher != 0 && state.CipherSuite != c.cipher:
			t.Errorf("%s: got version %x, cipher %x, %v; want %x, %x", c.what, state.Version, state.CipherSuite, err, c.version, c.cipher)
		}
	}
	p, _ := secure(t, Update{}, func(v *VirtualServer) {
		v.TLS = ServerTLS{CipherSuites: "NONSENSE", Curves: []string{"P999"}, ClientCAs: []string{"nobody"}}
	})
	for _, what := range []string{"NONSENSE", "P999", "'nobody'"} {
		p.await("confmod", what, 1)
	}
}

func TestCurvesAndCertificatesFitTheClient(t *testing.T) {
	_, port := secure(t, Update{}, func(v *VirtualServer) {
		v.TLS.Curves, v.ServerCertAlt = []string{"P384"}, []string{"rsa"}
	})
	if _, _, err := shake(port, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}); err == nil {
		t.Error("a curve that is not listed is taken")
	}
	for cipher, want := range map[uint16]string{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "rsa", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "default"} {
		state, _, err := shake(port, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{cipher}})
		if err != nil || state.PeerCertificates[0].Subject.CommonName != want {
			t.Errorf("cipher %x: %v, certificates %v", cipher, err, state.PeerCertificates)
		}
	}
}

func TestSessionsAreResumedWhateverElseIsChanged(t *testing.T) {
	p, port := secure(t, Update{})
	resumed := func(c *tls.Config) bool {
		state, _, err := shake(port, c)
		if err != nil {
			t.Fatal(err)
		}
		return state.DidResume
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := &tls.Config{ServerName: "h", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if resumed(c) || !resumed(c) {
			t.Errorf("version %x is not resumed", version)
		}
		next := *p.servers["web"].conf.Load().VirtualServer
		next.AddXForwardedFor = !next.AddXForwardedFor
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": &next}})
		if !resumed(c) {
			t.Errorf("version %x is not resumed after a change", version)
		}
		now := time.Now()
		p.Apply(Update{TicketKeys: map[string]*TicketKey{"k": {Key: "secret", Begin: now.Add(-time.Hour), End: now.Add(time.Hour)}}})
		if resumed(c) || !resumed(c) {
			t.Errorf("version %x: an uploaded ticket key is not used", version)
		}
		next.TLS.Tickets = "disabled"
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": &next}, TicketKeys: map[string]*TicketKey{"k": nil}})
		if first, second := resumed(c), resumed(c); first || second {
			t.Errorf("version %x is resumed without tickets", version)
		}
		again := next
		again.TLS.Tickets = ""
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": &again}})
	}
}

func TestClientsAreAskedForCertificatesAsSet(t *testing.T) {
	good, bad := newAuthority(t, "good"), newAuthority(t, "bad")
	ours, theirs := good.client(t, "alice"), bad.client(t, "mallory")
	for _, c := range []struct {
		mode    string
		cas     []string
		certs   []tls.Certificate
		refused bool
		status  string // of SSLClientCertStatus
	}{
		{"dont_request", []string{"good"}, []tls.Certificate{ours}, false, "NoClientCert"},
		{"request", []string{"good"}, nil, false, "NoClientCert"},
		{"request", []string{"good"}, []tls.Certificate{ours}, false, "OK"},
		{"request", []string{"good"}, []tls.Certificate{theirs}, true, ""},
		{"request", nil, []tls.Certificate{theirs}, false, "OK"},
		{"require", []string{"good"}, nil, true, ""},
		{"require", []string{"good"}, []tls.Certificate{ours}, false, "OK"},
		{"require", []string{"good"}, []tls.Certificate{theirs}, true, ""},
		{"require", nil, []tls.Certificate{theirs}, false, "OK"},
		{"require", nil, nil, true, ""},
		{"require", []string{"nobody"}, []tls.Certificate{ours}, true, ""},
	} {
		what := fmt.Sprintf("%s by %v of %d", c.mode, c.cas, len(c.certs))
		p, port := secure(t, Update{CAs: map[string]*File{"good": good.pem()}}, func(v *VirtualServer) {
			v.TLS = ServerTLS{ClientCert: c.mode, ClientCAs: c.cas, CertHeaders: "simple"}
		})
		_, body, err := shake(port, &tls.Config{
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(c.certs) == 0 {
					return &tls.Certificate{}, nil
				}
				return &c.certs[0], nil
			},
		})
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", what, err)
		}
		if c.refused {
			p.await("sslfail", "SSL handshake failed", 1)
		} else if !strings.Contains(body, "Sslclientcertstatus: "+c.status+"\n") || strings.Contains(body, "CN=admin") {
			t.Errorf("%s: the node got\n%s", what, body)
		}
	}
}

func TestNodesAreToldOfTheClientsTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	p, port := secure(t, Update{}, func(v *VirtualServer) {
		v.TLS = ServerTLS{ClientCert: "request", CertHeaders: "all", AddHeaders: true,
			CASites: []CASite{{Host: "Private.test", RequestCert: "require", CertHeaders: "none"}}}
	})
	_, body, err := shake(port, &tls.Config{Certificates: []tls.Certificate{ca.client(t, "alice")}, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Sslclientcipher: SSL_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, version=TLSv1.2, bits=128\n", "Sslsessionid: ",
		"Sslclientcertsubject: CN=alice\n", "Sslclientcertissuer: CN=ca\n", "Sslclientcertserialnumber: ff\n", "Sslclientcert: -----BEGIN CERTIFICATE----- ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if _, _, err := shake(port, &tls.Config{ServerName: "private.test"}); err == nil {
		t.Error("a site that requires certificates does without")
	}
	_, body, err = shake(port, &tls.Config{ServerName: "private.test", Certificates: []tls.Certificate{ca.client(t, "alice")}})
	if err != nil || strings.Contains(body, "alice") || !strings.Contains(body, "version=TLSv1.3") {
		t.Errorf("private.test: %v\n%s", err, body)
	}
	_ = p
}

// A handshake that is none ends that connection alone.
func TestWhatIsNoHandshakeIsRefused(t *testing.T) {
	p, port := secure(t, Update{}, func(v *VirtualServer) { v.ConnectTimeout = 300 * time.Millisecond })
	for i, text := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\x16\x03\x01\x00\x05hello", strings.Repeat("\xff", 100), "\x16\x03\x01"} {
		conn := dialPort(t, port)
		fmt.Fprint(conn, text)
		_, _ = io.ReadAll(conn)
		p.await("sslfail", "SSL handshake failed", i+1)
	}
	if _, _, err := shake(port, &tls.Config{}); err != nil {
		t.Error(err)
	}
}
