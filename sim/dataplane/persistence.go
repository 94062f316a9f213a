package dataplane

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A persistence class says what of a client makes its session, and where the
// node of a session is kept (vtm/runtime.md, "Session persistence").

// mappingCookie is the name of the cookie that the traffic manager sets for a
// class: "X-Mapping-" and eight letters from a to p, as seen in the wild.
func mappingCookie(class string) string {
	sum := sha256.Sum256([]byte("persistence class\x00" + class))
	name := []byte("X-Mapping-")
	for _, b := range sum[:4] {
		name = append(name, 'a'+b>>4, 'a'+b&15)
	}
	return string(name)
}

// mappingValue is a node in such a cookie: 32 hex digits, the same on every
// member of a cluster.
func mappingValue(node string) string {
	sum := sha256.Sum256([]byte("node\x00" + node))
	return strings.ToUpper(hex.EncodeToString(sum[:16]))
}

// session is the session of one request or stream, as far as it has one.
type session struct {
	class string
	conf  *Persistence
	// cache and key are where the session is kept; cache "": in the client.
	cache, key string
	// What the client's session says of its node; both "": there is none yet.
	name   string // "host:port"
	mapped string // as in a cookie of the traffic manager
	loose  bool   // another port of the same host will do
	// held tells that the client already has the cookie of the node it is sent to.
	held bool
}

// session finds out the session of r in a pool; nil when there is no class.
func (d *DataPlane) session(r *route, conf *Pool) *session {
	class := conf.PersistenceClass
	if r.script != nil && r.script.Persistence != "" {
		class = r.script.Persistence
	}
	if class == "" {
		return nil
	}
	found, _ := d.persistence.Load(class)
	p, _ := found.(*Persistence)
	if p == nil {
		return nil
	}
	s := &session{class: class, conf: p}
	switch p.Type {
	case "ip":
		s.kept(d, "ip", subnet(r.client.Addr(), p))
	case "universal":
		if r.script != nil {
			s.kept(d, "universal", r.script.PersistenceKey)
		}
	case "ssl":
		s.kept(d, "ssl", r.sslSession)
	case "named":
		if r.script != nil && r.script.PersistenceNode != "" {
			s.name, s.loose = r.script.PersistenceNode, true
		}
	case "transparent", "cookie":
		s.mapped = r.cookie(mappingCookie(class))
		s.held = s.mapped != ""
	case "x_zeus":
		s.name, s.loose = r.cookie("X-Zeus-Backend"), true
	case "j2ee":
		s.kept(d, "j2ee", r.j2eeSession())
	case "asp":
		s.kept(d, "asp", r.aspSession())
	}
	return s
}

// kept looks up a session that a cache holds.
func (s *session) kept(d *DataPlane, cache, key string) {
	s.cache, s.key = cache, key
	if key == "" {
		return
	}
	s.name, _ = d.sessions.find(cache, s.class, key, d.now())
}

// subnet is the part of a client's address that makes its session.
func subnet(a netip.Addr, p *Persistence) string {
	a = a.Unmap().WithZone("")
	bits := p.PrefixV6
	if a.Is4() {
		bits = p.PrefixV4
	}
	if bits == 0 {
		return a.String()
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return a.String()
	}
	return prefix.String()
}

// chosen records the node that a session is on from now on. That of TLS begins
// with the node's answer only.
func (s *session) chosen(d *DataPlane, n *node) {
	if s.cache != "ssl" {
		s.keep(d, n)
	}
}

func (s *session) keep(d *DataPlane, n *node) {
	if s.cache != "" && s.key != "" && !n.guest {
		d.sessions.keep(Session{Type: s.cache, Class: s.class, Key: s.key, Node: n.address, Used: d.now()})
	}
}

// lost forgets a session whose node is gone, as its class says.
func (s *session) lost(d *DataPlane) {
	if s.cache != "" && s.key != "" && (s.conf.Delete || s.conf.FailureMode == "new_node") {
		d.sessions.forget(s.cache, s.class, s.key, d.now())
	}
	s.name, s.mapped, s.held = "", "", false
}

// answered looks at a node's response: sessions that begin with it are kept, and
// the cookie that holds a session is set.
func (s *session) answered(d *DataPlane, n *node, h http.Header) {
	if n.guest {
		return
	}
	set := false
	directives := "; path=/"
	switch s.conf.Type {
	case "transparent":
		set = !s.held || s.conf.AlwaysSet
		directives += s.conf.Directives
	case "cookie":
		// The application's cookie begins its session: another one holds the node.
		_, set = setCookie(h, func(name string) bool { return name == s.conf.Cookie })
		set = set && s.conf.Cookie != ""
	case "j2ee":
		if v, ok := setCookie(h, isJ2EECookie); ok {
			s.key = v
		} else if v := pathSession(h.Get("Location")); v != "" {
			s.key = v
		}
	case "asp":
		if v, ok := setCookie(h, isASPCookie); ok {
			s.key = v
		} else if v := aspPath(h.Get("Location")); v != "" {
			s.key = v
		}
	}
	if set {
		h.Add("Set-Cookie", mappingCookie(s.class)+"="+n.mapped+directives)
	}
	s.chosen(d, n)
}

// setCookie returns the value of the first cookie that a response sets under a
// name that fits; an empty one ends a session and is none.
func setCookie(h http.Header, fits func(string) bool) (string, bool) {
	for _, line := range h["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if value = strings.Trim(strings.TrimSpace(value), `"`); value != "" && fits(strings.TrimSpace(name)) {
			return sessionID(strings.TrimSpace(name), value), true
		}
	}
	return "", false
}

// sessionID is a cookie as the key of a session. Names of ASP cookies are part of
// it: there is one for each application.
func sessionID(name, value string) string {
	if strings.HasPrefix(name, "ASPSESSIONID") {
		return name + "=" + value
	}
	return value
}

// requestCookie returns the value of the first cookie of the request that fits.
func (r *route) requestCookie(fits func(string) bool) string {
	if r.request == nil {
		return ""
	}
	for _, line := range r.request.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if value = strings.Trim(value, `"`); value != "" && fits(name) {
				return sessionID(name, value)
			}
		}
	}
	return ""
}

func (r *route) cookie(name string) string {
	return r.requestCookie(func(n string) bool { return n == name })
}

func isJ2EECookie(name string) bool { return strings.EqualFold(name, "JSESSIONID") }

func isASPCookie(name string) bool {
	return strings.HasPrefix(name, "ASPSESSIONID") || name == "ASP.NET_SessionId"
}

func (r *route) j2eeSession() string {
	if v := r.requestCookie(isJ2EECookie); v != "" || r.request == nil {
		return v
	}
	return pathSession(r.request.URL.EscapedPath())
}

func (r *route) aspSession() string {
	if v := r.requestCookie(isASPCookie); v != "" || r.request == nil {
		return v
	}
	return aspPath(r.request.URL.EscapedPath())
}

// pathSession is the ";jsessionid=" of a path or URL.
func pathSession(path string) string {
	at := strings.Index(strings.ToLower(path), ";jsessionid=")
	if at < 0 {
		return ""
	}
	id := path[at+len(";jsessionid="):]
	if end := strings.IndexAny(id, ";/?#"); end >= 0 {
		id = id[:end]
	}
	return id
}

// aspPath is the session of an ASP.NET path: "/app/(S(abc))/page".
func aspPath(path string) string {
	_, rest, ok := strings.Cut(path, "/(S(")
	if !ok {
		return ""
	}
	id, _, ok := strings.Cut(rest, "))")
	if !ok {
		return ""
	}
	return id
}

// begun tells whether the client has a session already.
func (s *session) begun() bool { return s != nil && (s.name != "" || s.mapped != "") }

// among returns the session's node of these.
func (s *session) among(nodes []*node) *node {
	host := s.name
	if h, _, err := net.SplitHostPort(s.name); err == nil {
		host = h
	}
	var found *node
	for _, n := range nodes {
		switch {
		case s.mapped != "":
			if n.mapped == s.mapped {
				return n
			}
		case n.address == s.name:
			return n
		case s.loose && found == nil:
			if h, _, err := net.SplitHostPort(n.address); err == nil && h == host {
				found = n
			}
		}
	}
	return found
}
