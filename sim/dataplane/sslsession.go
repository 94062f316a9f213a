package dataplane

import "encoding/hex"

// helloSession returns the session ID, in hex, of the ClientHello (kind 1) or
// ServerHello (kind 2) that a stream begins with (RFC 5246, 7.4.1): "" when it
// has none, or is no such thing. ok is false while more bytes are needed.
func helloSession(kind byte, b []byte) (id string, ok bool) {
	// Record: type, version, length; handshake: type, length, version, random.
	const fixed = 5 + 4 + 2 + 32
	if len(b) > 0 && b[0] != 22 || len(b) > 5 && b[5] != kind {
		return "", true
	}
	if len(b) <= fixed {
		return "", false
	}
	length := int(b[fixed])
	if length > 32 {
		return "", true
	}
	if len(b) < fixed+1+length {
		return "", false
	}
	return hex.EncodeToString(b[fixed+1 : fixed+1+length]), true
}

// learn watches for the session that a node begins with its ServerHello, where
// the pool's class asks for it. A node that repeats what the client sent resumes
// a session, or speaks TLS 1.3, which has no session IDs.
func (s *nodeStream) learn(r *route) *nodeStream {
	if r.session == nil || r.session.conf.Type != "ssl" {
		return s
	}
	session, d, node, client := *r.session, r.d, s.node, r.sslSession
	var head []byte
	s.sniff = func(b []byte) bool {
		head = append(head, b...)
		id, ok := helloSession(2, head)
		if id != "" && id != client {
			session.key = id
			session.keep(d, node)
		}
		return ok
	}
	return s
}

func (s *nodeStream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.sniff != nil && n > 0 && s.sniff(b[:n]) {
		s.sniff = nil
	}
	return n, err
}
