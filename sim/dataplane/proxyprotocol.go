package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// The PROXY protocol, versions 1 and 2, from clients
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). What a header
// says is believed: a virtual server with proxy_protocol stands behind something
// that sets it.

var errProxyHeader = errors.New("the connection does not begin with a valid PROXY protocol header")

// proxySignature begins version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// The longest headers: a line of 107 bytes; 16 bytes and what they announce, of
// which addresses and additional values fit into this.
const (
	maxProxyLine   = 107
	maxProxyBinary = 16 + 4096
)

// readProxyHeader takes the header off the connection. Without one it fails, or
// leaves the connection as it is where the header is optional.
func (c *client) readProxyHeader(optional bool) error {
	buf := make([]byte, 0, 512)
	for {
		h, size, more := parseProxyHeader(buf)
		switch {
		case size > 0:
			c.early = append([]byte(nil), buf[size:]...)
			if h.source.IsValid() {
				c.remote, c.dest = net.TCPAddrFromAddrPort(h.source), h.dest
			}
			return nil
		case !more && optional && !proxyBegins(buf):
			c.early = buf
			return nil
		case !more:
			return errProxyHeader
		}
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, maxProxyBinary-len(buf))...)[:len(buf)]
		}
		n, err := c.read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			if optional && !proxyBegins(buf) {
				c.early = buf
				return nil
			}
			return errors.Join(errProxyHeader, err)
		}
	}
}

// proxyBegins tells whether a connection began with more than a byte of a header:
// what is broken then is no other protocol.
func proxyBegins(b []byte) bool {
	return bytes.HasPrefix(b, []byte("PROXY ")) || bytes.HasPrefix(b, []byte(proxySignature))
}

// proxyHeader says who connected to what; both are invalid where the header says
// that it does not know (UNKNOWN, LOCAL).
type proxyHeader struct{ source, dest netip.AddrPort }

// parseProxyHeader reads the header at the beginning of b and returns its size; 0
// if there is none, and more tells whether more bytes could change that.
func parseProxyHeader(b []byte) (h proxyHeader, size int, more bool) {
	if short := min(len(b), len(proxySignature)); string(b[:short]) == proxySignature[:short] {
		return parseProxyBinary(b)
	}
	if short := min(len(b), len("PROXY ")); string(b[:short]) != "PROXY "[:short] {
		return h, 0, false
	}
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return h, 0, len(b) < maxProxyLine
	}
	if end+2 > maxProxyLine {
		return h, 0, false
	}
	words := strings.Split(string(b[:end]), " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return h, end + 2, false
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, 0, false
	}
	var err, err2 error
	h.source, err = netip.ParseAddrPort(net.JoinHostPort(words[2], words[4]))
	h.dest, err2 = netip.ParseAddrPort(net.JoinHostPort(words[3], words[5]))
	four := words[1] == "TCP4"
	if err != nil || err2 != nil || h.source.Addr().Is4() != four || h.dest.Addr().Is4() != four || h.source.Addr().Zone() != "" {
		return proxyHeader{}, 0, false
	}
	return h, end + 2, false
}

func parseProxyBinary(b []byte) (h proxyHeader, size int, more bool) {
	if len(b) < 16 {
		return h, 0, true
	}
	size = 16 + int(binary.BigEndian.Uint16(b[14:]))
	if b[12]>>4 != 2 || b[12]&15 > 1 || size > maxProxyBinary {
		return h, 0, false
	}
	if len(b) < size {
		return h, 0, true
	}
	body := b[16:size]
	if b[12]&15 == 0 { // LOCAL: the sender's own, as a health check
		return h, size, false
	}
	length := 0
	switch b[13] {
	case 0x11:
		length = 4
	case 0x21:
		length = 16
	default: // UDP, Unix sockets, unspecified: accepted, and nothing is known
		return h, size, false
	}
	if len(body) < 2*length+4 {
		return h, 0, false
	}
	source, _ := netip.AddrFromSlice(body[:length])
	dest, _ := netip.AddrFromSlice(body[length : 2*length])
	ports := body[2*length:]
	h.source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports))
	h.dest = netip.AddrPortFrom(dest.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, size, false
}
