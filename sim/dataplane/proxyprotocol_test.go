package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// dialPort opens a connection that ends with the test.
func dialPort(t *testing.T, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

const binary4 = proxySignature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x04\xd2\x01\xbb"

var proxyHeaders = []struct{ header, client string }{
	{"PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\n", "192.0.2.1"},
	{"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "2001:db8::1"},
	{"PROXY UNKNOWN\r\n", "127.0.0.1"},
	{"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.1"},
	{binary4, "192.0.2.1"},
	{proxySignature + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x01\x04\xd2\x01\xbb\x04\x00\x01x", "192.0.2.1"},
	{proxySignature + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 15) + "\x02" + "\x04\xd2\x01\xbb", "2001:db8::1"},
	{proxySignature + "\x20\x00\x00\x00", "127.0.0.1"},
	{"", ""}, // none
	{"PROXY TCP4 192.0.2.1 198.51.100.1 1234\r\n", ""},
	{"PROXY TCP4 2001:db8::1 2001:db8::2 1234 443\r\n", ""},
	{"PROXY TCP4 192.0.2.1 198.51.100.1 1234 99999\r\n", ""},
	{"PROXY " + strings.Repeat("x", 200) + "\r\n", ""},
	{proxySignature + "\x31\x11\x00\x0c", ""},
	{proxySignature + "\x21\x11\x00\x01\x00", ""},
	{proxySignature + "\x21\x11\xff\xff", ""},
}

func TestTheProxyProtocolTellsWhoTheClientIs(t *testing.T) {
	for _, optional := range []bool{false, true} {
		p, port := one(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Cluster-Client-Ip")) },
			func(v *VirtualServer) { v.ProxyProtocol, v.ProxyProtocolOptional = true, optional })
		refused := 0
		for _, c := range proxyHeaders {
			for _, slow := range []bool{false, true} {
				conn := dialPort(t, port)
				text := c.header + "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
				if slow {
					for i := range len(text) {
						_, _ = conn.Write([]byte{text[i]})
					}
				} else {
					fmt.Fprint(conn, text)
				}
				want := c.client
				if c.header == "" && optional {
					want = "127.0.0.1"
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if want == "" {
					refused++
					if err == nil {
						t.Errorf("%q: got %d", c.header, res.StatusCode)
					}
					p.await("connfail", "PROXY protocol", refused)
					continue
				}
				if err != nil {
					t.Errorf("%q: %v", c.header, err)
					continue
				}
				if body, _ := io.ReadAll(res.Body); string(body) != want {
					t.Errorf("%q: the node was told of %q", c.header, body)
				}
			}
		}
	}
}

// Whatever comes, a header is found within its bounds, and the same with what
// follows it.
func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkProxyHeader(t, b) })
}

func checkProxyHeader(t *testing.T, b []byte) {
	t.Helper()
	h, size, more := parseProxyHeader(b)
	if size < 0 || size > len(b) || size > 0 && more || size == 0 && h != (proxyHeader{}) {
		t.Fatalf("%q: size %d, more %v, %v", b, size, more, h)
	}
	if size == 0 {
		if more && len(b) > maxProxyBinary {
			t.Fatalf("%q asks for more and more", b)
		}
		return
	}
	again, size2, _ := parseProxyHeader(append(b[:size:size], "GET /"...))
	if again != h || size2 != size {
		t.Fatalf("%q: %v then %v", b, h, again)
	}
	if h.source.IsValid() && (h.source == netip.AddrPort{}) {
		t.Fatalf("%q: %v", b, h)
	}
}
