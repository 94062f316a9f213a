package dataplane

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// serverKey is a server key at run time.
type serverKey struct {
	cert *tls.Certificate // nil: problem tells why
	err  error
}

func (d *DataPlane) key(name string) *serverKey {
	k, _ := d.keys.Load(name)
	found, _ := k.(*serverKey)
	return found
}

// applyServerKey takes a certificate and its key into use for new handshakes.
// Connections that exist keep the one they have.
func (d *DataPlane) applyServerKey(name string, k *ServerKey) {
	if k == nil {
		d.keys.Delete(name)
		return
	}
	key := &serverKey{}
	cert, err := tls.X509KeyPair([]byte(k.Public), []byte(k.Private))
	if err != nil {
		key.err = err
		d.event(Event{Level: "SERIOUS", Section: "ssl/server_keys/" + name, Tag: "confmod", Text: fmt.Sprintf("Server key cannot be used: %v", err)})
	} else {
		key.cert = &cert
	}
	d.keys.Store(name, key)
}

// sites says which server key a host name gets: the exact name first, then the
// wildcard with the longest suffix, then the default. Case does not matter. A
// wildcard covers one label or more. Where a mapping names an IP address, it is
// the one the client connected to, and counts when no name matched.
type sites struct {
	exact    map[string]HostMapping
	wildcard map[string]HostMapping // by suffix, ".example.com"
	standard []string
}

// siteChoice is what the handshake of a connection chose.
type siteChoice struct {
	host string // of the mapping; "": the default certificate
	key  string
}

func newSites(v *VirtualServer) *sites {
	s := &sites{exact: make(map[string]HostMapping), wildcard: make(map[string]HostMapping)}
	if v.ServerCertDefault != "" {
		s.standard = append([]string{v.ServerCertDefault}, v.ServerCertAlt...)
	}
	for _, m := range v.ServerCertHostMapping {
		host := strings.ToLower(m.Host)
		if suffix, ok := strings.CutPrefix(host, "*"); ok && strings.HasPrefix(suffix, ".") {
			s.wildcard[suffix] = m
		} else {
			s.exact[host] = m
		}
	}
	return s
}

// keys lists the server keys that the sites name and that are wanted, in order.
func (s *sites) keys(wanted func(name string) bool) (list []string) {
	if s == nil {
		return nil
	}
	add := func(names ...string) {
		for _, name := range names {
			if wanted(name) {
				list = append(list, name)
			}
		}
	}
	add(s.standard...)
	for _, table := range []map[string]HostMapping{s.exact, s.wildcard} {
		var hosts []string // mostly few are wanted of thousands
		for host, m := range table {
			if wanted(m.Certificate) || slices.ContainsFunc(m.AltCertificates, wanted) {
				hosts = append(hosts, host)
			}
		}
		slices.Sort(hosts)
		for _, host := range hosts {
			add(table[host].Certificate)
			add(table[host].AltCertificates...)
		}
	}
	return list
}

// find returns the mapping of a host, and false for the default.
func (s *sites) find(serverName, local string) (HostMapping, bool) {
	name := strings.TrimSuffix(strings.ToLower(serverName), ".")
	if m, ok := s.exact[name]; ok && name != "" {
		return m, true
	}
	for rest := name; ; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			break
		}
		if m, ok := s.wildcard[rest[dot:]]; ok && dot > 0 {
			return m, true
		}
		rest = rest[dot+1:]
	}
	m, ok := s.exact[local]
	return m, ok
}

var errNoCertificate = errors.New("the virtual server has no certificate for this connection")

// tlsConfig is what serverTLS begins with: which certificate a client gets.
func (v *vserver) tlsConfig(http2 bool) *tls.Config {
	config := &tls.Config{
		Time:       v.d.now,
		NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return v.handshake(hello)
		},
		VerifyConnection: v.countHandshake,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := clientOf(hello.Conn); c.cert != nil {
				return c.cert, nil
			}
			return nil, errNoCertificate
		},
	}
	if http2 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	return config
}

// choose finds the site that a client asks for, and of its certificates the first
// that the client can use; if it can use none, the first.
func (v *vserver) choose(c *client, hello *tls.ClientHelloInfo) {
	conf := v.conf.Load()
	if conf.sites == nil {
		return
	}
	names := conf.sites.standard
	host := ""
	if m, ok := conf.sites.find(hello.ServerName, c.at.Addr().String()); ok {
		host = m.Host
		names = append([]string{m.Certificate}, m.AltCertificates...)
	}
	for _, name := range names {
		k := v.d.key(name)
		if k == nil || k.cert == nil {
			continue
		}
		fits := hello.SupportsCertificate(k.cert) == nil
		if fits || c.cert == nil {
			c.site, c.cert = siteChoice{host, name}, k.cert
		}
		if fits {
			return
		}
	}
}
