package dataplane

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// rewriteLocation makes redirects of nodes fit what the client asked. A
// location_regex that matches replaces it by location_replace. Otherwise, as
// location_rewrite says, protocol and port become those of the client's request:
// if the host is the one requested (if_host_matches), or for every host, which
// becomes the one requested (always).
//
// A node that sends a client from HTTP to HTTPS on purpose must not be undone:
// only what names the node's own protocol, with the node's port or the one in the
// Host header that the node got, is rewritten.
func (t *transaction) rewriteLocation(res *http.Response) {
	location := res.Header.Get("Location")
	if location == "" {
		return
	}
	if re := t.conf.location; re != nil && re.MatchString(location) {
		res.Header.Set("Location", re.ReplaceAllString(location, t.conf.locationReplace))
		return
	}
	always := t.conf.LocationRewrite == "always"
	if !always && t.conf.LocationRewrite != "if_host_matches" {
		return
	}
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "http" {
		return
	}
	askedHost, askedPort := splitHost(t.host, t.scheme())
	_, sentPort := splitHost(t.r.Host, "http")
	host, port := splitHost(u.Host, u.Scheme)
	nodePort := ""
	if t.node != nil {
		_, nodePort, _ = net.SplitHostPort(t.node.address)
	}
	if !always && !strings.EqualFold(host, askedHost) || port != nodePort && port != sentPort {
		return
	}
	if always {
		host = askedHost
	}
	u.Scheme = t.scheme()
	u.Host = host
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if _, standard := splitHost("", u.Scheme); askedPort != standard {
		u.Host = net.JoinHostPort(host, askedPort)
	}
	res.Header.Set("Location", u.String())
}

// splitHost returns host and port of a Host header; the port is the scheme's own
// when it has none.
func splitHost(hostport, scheme string) (host, port string) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || port == "" {
		host = strings.Trim(strings.TrimSuffix(hostport, ":"), "[]")
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	return host, port
}
