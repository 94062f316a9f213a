package vtm_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// speak makes a node that talks to each connection.
func (f *fleet) speak(at string, talk func(net.Conn)) {
	f.t.Helper()
	l, err := f.net.World().Listen("node/"+at, "tcp", at)
	if err != nil {
		f.t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	f.t.Cleanup(func() { l.Close() })
}

func httpOnce(c net.Conn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// TestTheBuiltInMonitorsWatchByTheirNames: each of them passes where its protocol is
// spoken, and fails a node where nobody answers, after its three failures; those
// that are stored only fail nothing.
func TestTheBuiltInMonitorsWatchByTheirNames(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := func(talk func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			talk(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
		}
	}
	greet := func(line string) func(net.Conn) {
		return func(c net.Conn) { fmt.Fprint(c, line+"\r\n"); _, _ = bufio.NewReader(c).ReadString('\n') }
	}
	talks := map[string]func(net.Conn){
		"Ping": greet("x"), "Connect": greet("x"), "Server First": greet("hello"), "Client First": greet("hello"),
		"Simple HTTP": httpOnce, "Full HTTP": httpOnce, "Simple HTTPS": secure(httpOnce), "Full HTTPS": secure(httpOnce),
		"FTP": greet("220 ftp"), "SMTP": greet("220 smtp"), "POP": greet("+OK pop3"),
		// Stored only.
		"DNS": nil, "RTSP": nil, "SIP UDP": nil, "SIP TCP": nil, "SIP TLS": nil,
	}
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		c := f.on("vtm-1")
		var built []string
		for _, child := range c.want(200, "GET", "/config/active/monitors", nil).json(t)["children"].([]any) {
			built = append(built, child.(map[string]any)["name"].(string))
		}
		i := 0
		for _, name := range built {
			talk, known := talks[name]
			if !known {
				t.Errorf("no node speaks to the monitor %s", name)
				continue
			}
			i++
			good, bad := fmt.Sprintf("127.9.0.%d:80", i), fmt.Sprintf("127.9.1.%d:80", i)
			if talk != nil {
				f.speak(good, talk)
			}
			for pool, node := range map[string]string{"good " + name: good, "bad " + name: bad} {
				c.want(201, "PUT", "/config/active/pools/"+url.PathEscape(pool), fmt.Sprintf(`{"properties":{"basic":{"nodes_table":[{"node":%q}],"monitors":[%q]}}}`, node, name))
				c.want(201, "PUT", "/config/active/virtual_servers/"+url.PathEscape(pool), fmt.Sprintf(`{"properties":{"basic":{"port":%d,"pool":%q,"enabled":true}}}`, 1000+2*i+len(pool)%2, pool))
			}
		}
		time.Sleep(2 * time.Minute)
		var failed []string
		for _, p := range f.Member("vtm-1").DataPlane().State().Pools {
			if len(p.Failed) > 0 {
				failed = append(failed, p.Name)
			}
		}
		var want []string
		for name, talk := range talks {
			// A machine that refuses a port is there: ping is content.
			if talk != nil && name != "Ping" {
				want = append(want, "bad "+name)
			}
		}
		slices.Sort(want)
		if slices.Sort(failed); !slices.Equal(failed, want) {
			t.Errorf("failed are %q, want %q", failed, want)
		}
		said := fmt.Sprint(c.want(200, "GET", "/status/local_tm/state", nil).json(t))
		for name, talk := range talks {
			if told := strings.Contains(said, "monitor '"+name+"'"); told != (talk == nil) {
				t.Errorf("%s: the state says that it is not carried out: %v", name, told)
			}
		}
	})
}
