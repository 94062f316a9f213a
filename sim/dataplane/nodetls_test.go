package dataplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// server is a certificate for servers of these names; the first is its common name,
// the others are alternative names, addresses too.
func (a *authority) server(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, name := range names[1:] {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// asKey is a certificate as an entry of ssl/client_keys.
func asKey(t *testing.T, c tls.Certificate) *ServerKey {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &ServerKey{
		Public:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		Private: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
}

// secureBackend is a node with TLS that answers with what the handshake told it:
// version, cipher, curve, server name, client's common name.
func secureBackend(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "-"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s %s %s sni=%s client=%s resumed=%v", tls.VersionName(r.TLS.Version), tls.CipherSuiteName(r.TLS.CipherSuite), r.TLS.CurveID, r.TLS.ServerName, client, r.TLS.DidResume)
	}))
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestPoolsEncryptAsTheirSettingsSay goes through the section ssl of a pool with
// real handshakes: what the node saw, or that there was none.
func TestPoolsEncryptAsTheirSettingsSay(t *testing.T) {
	good, other := newAuthority(t, "good"), newAuthority(t, "other")
	named := good.server(t, "shop.test", "shop.test", "127.0.0.1")
	nameless := good.server(t, "*.nodes.test")
	anna, bert := good.client(t, "anna"), other.client(t, "bert")
	pool := x509.NewCertPool()
	pool.AddCert(good.cert)
	ask := &tls.Config{Certificates: []tls.Certificate{named}, ClientAuth: tls.RequestClientCert, ClientCAs: pool}
	asking := func(m tls.ClientAuthType) *tls.Config {
		c := ask.Clone()
		c.ClientAuth = m
		return c
	}
	plain := &tls.Config{Certificates: []tls.Certificate{named}}
	strict := func(names ...string) NodeTLS { return NodeTLS{StrictVerify: true, CommonNames: names} }
	for _, c := range []struct {
		name   string
		node   *tls.Config
		conf   NodeTLS
		global func(*GlobalTLS)
		want   []string // each part of what the node saw; none: the handshake fails
	}{
		{name: "any certificate will do", node: &tls.Config{Certificates: []tls.Certificate{other.server(t, "nobody")}}, want: []string{"TLS 1.3", "sni= "}},
		{name: "strict: by address", node: plain, conf: strict(), want: []string{"TLS 1.3"}},
		{name: "strict: another authority", node: &tls.Config{Certificates: []tls.Certificate{other.server(t, "x", "127.0.0.1")}}, conf: strict()},
		{name: "strict: another name", node: &tls.Config{Certificates: []tls.Certificate{nameless}}, conf: strict()},
		{name: "strict: common_name_match", node: &tls.Config{Certificates: []tls.Certificate{nameless}}, conf: strict("other.test", "a.nodes.test"), want: []string{"TLS 1.3"}},
		{name: "strict: common_name_match does not", node: &tls.Config{Certificates: []tls.Certificate{nameless}}, conf: strict("a.b.nodes.test")},

		{name: "SNI", node: plain, conf: NodeTLS{ServerName: true}, want: []string{"sni=asked.test "}},
		{name: "no SNI", node: plain, want: []string{"sni= "}},

		{name: "version by the pool", node: plain, conf: NodeTLS{Versions: [4]string{"disabled", "disabled", "enabled", "disabled"}}, want: []string{"TLS 1.2 "}},
		{name: "version by the global settings", node: plain, global: func(g *GlobalTLS) { g.TLS13 = false }, want: []string{"TLS 1.2 "}},
		{name: "the pool's goes before the global one", node: plain, conf: NodeTLS{Versions: [4]string{3: "enabled"}}, global: func(g *GlobalTLS) { g.TLS13 = false }, want: []string{"TLS 1.3 "}},
		{name: "an old node", node: &tls.Config{Certificates: []tls.Certificate{named}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, want: []string{"TLS 1.0 "}},
		{name: "an old node that is refused", node: &tls.Config{Certificates: []tls.Certificate{named}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, conf: NodeTLS{Versions: [4]string{"disabled", "disabled"}}},
		{name: "no version at all", node: plain, conf: NodeTLS{Versions: [4]string{"disabled", "disabled", "disabled", "disabled"}}},

		{name: "cipher by the pool", node: plain, conf: NodeTLS{CipherSuites: "SSL_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, global: func(g *GlobalTLS) { g.CipherSuites = "SSL_ECDHE_ECDSA_WITH_AES_128_CBC_SHA" }, want: []string{"TLS 1.2 ", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
		{name: "cipher by the global settings", node: plain, global: func(g *GlobalTLS) { g.CipherSuites = "SSL_ECDHE_ECDSA_WITH_AES_128_CBC_SHA" }, want: []string{"TLS 1.2 ", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA "}},
		{name: "a cipher that the node has not", node: plain, conf: NodeTLS{CipherSuites: "SSL_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}},

		{name: "curve by the pool", node: plain, conf: NodeTLS{Curves: []string{"P384"}}, global: func(g *GlobalTLS) { g.Curves = []string{"P521"} }, want: []string{"CurveP384"}},
		{name: "curve by the global settings", node: plain, global: func(g *GlobalTLS) { g.Curves = []string{"P521"} }, want: []string{"CurveP521"}},

		{name: "no client certificate", node: ask, want: []string{"client=- "}},
		{name: "a client certificate of the node's authority", node: ask, conf: NodeTLS{ClientAuth: true}, want: []string{"client=anna "}},
		{name: "the fixed one", node: asking(tls.RequestClientCert), conf: NodeTLS{ClientAuth: true, FixedCertificate: "bert"}, want: []string{"client=bert "}},
		{name: "required and there", node: asking(tls.RequireAndVerifyClientCert), conf: NodeTLS{ClientAuth: true}, want: []string{"client=anna "}},
		{name: "required and none", node: asking(tls.RequireAndVerifyClientCert)},
		{name: "required and a wrong one", node: asking(tls.RequireAndVerifyClientCert), conf: NodeTLS{ClientAuth: true, FixedCertificate: "bert"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlane(t)
			global := *defaultGlobal()
			if c.global != nil {
				c.global(&global.TLS)
			}
			c.conf.Enabled = true
			port := freePort(t)
			p.Apply(Update{
				Global:         &global,
				CAs:            map[string]*File{"good": good.pem()},
				ClientKeys:     map[string]*ServerKey{"anna": asKey(t, anna), "bert": asKey(t, bert)},
				Pools:          map[string]*Pool{"app": with(aPool(addr(secureBackend(t, c.node))), func(p *Pool) { p.TLS = c.conf })},
				VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
			})
			req, _ := http.NewRequest("GET", at(port, "/"), nil)
			req.Host = "asked.test:8080"
			res, err := testClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if len(c.want) == 0 {
				if res.StatusCode != 503 {
					t.Errorf("got %d %s, want 503: the handshake must fail", res.StatusCode, body)
				}
				return
			}
			for _, part := range c.want {
				if res.StatusCode != 200 || !strings.Contains(string(body), part) {
					t.Errorf("got %d %q, want %q in it", res.StatusCode, body, part)
				}
			}
		})
	}
}

func TestWhatOfAPoolsTLSIsNotKnownIsTold(t *testing.T) {
	p := newPlane(t)
	p.Apply(Update{Pools: map[string]*Pool{"app": with(aPool("127.0.0.1:1"), func(p *Pool) {
		p.TLS = NodeTLS{Enabled: true, CipherSuites: "SSL_RSA_WITH_NOTHING SSL_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Curves: []string{"P999"}, Versions: [4]string{"disabled", "disabled", "disabled"}}
	})}})
	p.await("confmod", "ssl!cipher_suites: not known and left out: SSL_RSA_WITH_NOTHING", 1)
	p.await("confmod", "ssl!elliptic_curves: not known and left out: P999", 1)
	p.await("confmod", "no version of TLS is enabled", 1) // TLS 1.3 has no suite in the list
}

func TestSessionsWithNodesAreResumedUnlessThatIsOff(t *testing.T) {
	for setting, want := range map[string]string{"use_default": "resumed=true", "disabled": "resumed=false"} {
		p := newPlane(t)
		port := freePort(t)
		node := secureBackend(t, &tls.Config{Certificates: []tls.Certificate{newAuthority(t, "a").server(t, "x")}})
		p.Apply(Update{
			Pools: map[string]*Pool{"app": with(aPool(addr(node)), func(p *Pool) {
				p.Keepalive = false
				p.TLS = NodeTLS{Enabled: true, SessionCache: setting, Tickets: "use_default"}
			})},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
		})
		client := testClient(t)
		last := ""
		for range 3 {
			_, last = get(client, at(port, "/"))
		}
		if !strings.Contains(last, want) {
			t.Errorf("session_cache_enabled %s: the node saw %q, want %s", setting, last, want)
		}
	}
}

// TestConnectionsToNodesEndAsThePoolSays: with a close alert or without, by FIN or
// by RST.
func TestConnectionsToNodesEndAsThePoolSays(t *testing.T) {
	cert := newAuthority(t, "a").server(t, "x")
	for _, c := range []struct {
		alerts, rst, secure bool
		want                string
	}{
		{secure: true, alerts: true, want: "close alert"},
		{secure: true, want: "FIN"},
		{want: "FIN"},
		{rst: true, want: "RST"},
	} {
		t.Run(c.want, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ended := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				wire := &endingConn{Conn: conn}
				var data net.Conn = wire
				if c.secure {
					// Tickets that nobody has read when the connection ends would reset it.
					data = tls.Server(wire, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
				}
				_, err = io.Copy(io.Discard, data)
				switch {
				case err == nil && c.secure && wire.err == nil:
					ended <- "close alert"
				case wire.err == io.EOF:
					ended <- "FIN"
				default:
					ended <- "RST"
				}
			}()
			p := newPlane(t)
			port := freePort(t)
			p.Apply(Update{
				Pools: map[string]*Pool{"app": with(aPool(l.Addr().String()), func(p *Pool) {
					p.CloseWithRST = c.rst
					p.TLS = NodeTLS{Enabled: c.secure, SendCloseAlerts: c.alerts}
				})},
				VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Protocol = "client_first" })},
			})
			client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(client, "hello")
			client.Close()
			if got := <-ended; got != c.want {
				t.Errorf("the connection ended by %s, want %s", got, c.want)
			}
		})
	}
}

// endingConn keeps how reading ended.
type endingConn struct {
	net.Conn
	err error
}

func (c *endingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.err = err
	}
	return n, err
}
