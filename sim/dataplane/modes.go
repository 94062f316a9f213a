package dataplane

// mode is how a protocol is served. The schema has more protocols than there are
// ways to serve them: those that a traffic manager would look into (FTP's data
// connections, RTSP, SIP) are passed on as what they are on the wire.
type mode uint8

const (
	modeHTTP mode = iota
	// modeStream passes bytes both ways from the beginning.
	modeStream
	// modeClientFirst waits for the client's first bytes: rules see them, and
	// the node is chosen after.
	modeClientFirst
	// modeServerFirst connects to a node at once.
	modeServerFirst
	// modeTLS is modeClientFirst for TLS that is passed through: what the client
	// asks for by SNI and which session it resumes is seen.
	modeTLS
	modeUDP
)

// modeOf returns how a protocol of the schema is served, what of it is not
// emulated ("" if nothing), and false if there is no such protocol.
func modeOf(protocol string) (m mode, missing string, ok bool) {
	switch protocol {
	case "http":
		return modeHTTP, "", true
	case "https", "ssl", "imaps", "pop3s", "ldaps":
		return modeTLS, "", true
	case "client_first", "ldap", "dns_tcp":
		return modeClientFirst, "", true
	case "rtsp", "siptcp":
		return modeClientFirst, "streams and addresses inside are not followed", true
	case "server_first", "smtp", "pop3", "imapv2", "imapv3", "imapv4", "telnet":
		return modeServerFirst, "", true
	case "ftp":
		return modeServerFirst, "data connections are not followed", true
	case "stream":
		return modeStream, "", true
	case "udp", "udpstreaming", "dns":
		return modeUDP, "", true
	case "sipudp":
		return modeUDP, "streams and addresses inside are not followed", true
	}
	return 0, "", false
}
