package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is of one connection stays there, all else passes as it is, in both
// directions. The heads are compared line by line, as they are on the wire.
func TestFieldsOfOneConnectionDoNotPass(t *testing.T) {
	p := newPlane(t)
	node, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	port := freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{"app": aPool(node.Addr().String())},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
			v.AddXForwardedFor = true
		})},
	})
	const cluster = "X-Cluster-Client-Ip: 127.0.0.1"
	for _, c := range []struct {
		name, asks, sent, answers, got string // lines, apart from Host and Date, separated by "|"
	}{
		{
			"nothing is added", "GET /a HTTP/1.1", "GET /a HTTP/1.1|X-Forwarded-For: 127.0.0.1|" + cluster,
			"HTTP/1.1 200 OK|Content-Length: 2||ok", "HTTP/1.1 200 OK|Content-Length: 2||ok",
		},
		{
			"what Connection names", "GET / HTTP/1.1|Connection: keep-alive, x-one ,,X-Two|Keep-Alive: 5|X-One: 1|X-Two: 2|X-Three: 3|X-Three: 4",
			"GET / HTTP/1.1|X-Forwarded-For: 127.0.0.1|X-Three: 3|X-Three: 4|" + cluster,
			"HTTP/1.1 200 OK|Connection: X-One|X-One: 1|Keep-Alive: timeout=5|X-Three: 3|X-Three: 4|Content-Length: 0||", "HTTP/1.1 200 OK|Content-Length: 0|X-Three: 3|X-Three: 4||",
		},
		{
			"fields for proxies", "GET / HTTP/1.1|Proxy-Authorization: Basic eA==|Proxy-Connection: close|Te: trailers, deflate|Upgrade: h2c",
			"GET / HTTP/1.1|Te: trailers|X-Forwarded-For: 127.0.0.1|" + cluster,
			"HTTP/1.1 200 OK|Proxy-Authenticate: Basic|Upgrade: h2c|Content-Length: 0||", "HTTP/1.1 200 OK|Content-Length: 0||",
		},
		{
			"who came before", "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.1|X-Forwarded-For: 192.0.2.2|X-Forwarded-Proto: https|X-Forwarded-Host: h|X-Cluster-Client-Ip: 192.0.2.3|Forwarded: for=x",
			"GET / HTTP/1.1|Forwarded: for=x|X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1|X-Forwarded-Host: h|" + cluster,
			"HTTP/1.1 204 No Content||", "HTTP/1.1 204 No Content||",
		},
		{
			"interim responses", "GET / HTTP/1.1|User-Agent: me", "GET / HTTP/1.1|User-Agent: me|X-Forwarded-For: 127.0.0.1|" + cluster,
			"HTTP/1.1 103 Early Hints|Link: </a>||HTTP/1.1 200 OK|Content-Length: 2|X-A: b||ok", "HTTP/1.1 103 Early Hints|Link: </a>||HTTP/1.1 200 OK|Content-Length: 2|X-A: b||ok",
		},
		{
			"an announced trailer", "GET / HTTP/1.1", "GET / HTTP/1.1|X-Forwarded-For: 127.0.0.1|" + cluster,
			"HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: X-Sum||2|ok|0|X-Sum: 5||", "HTTP/1.1 200 OK|Trailer: X-Sum|Transfer-Encoding: chunked||2|ok|0|X-Sum: 5||",
		},
		{
			"a trailer that is not announced", "GET / HTTP/1.1", "GET / HTTP/1.1|X-Forwarded-For: 127.0.0.1|" + cluster,
			"HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|0|X-Sum: 5||", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|0|X-Sum: 5||",
		},
	} {
		exchange := func() error {
			client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return err
			}
			defer client.Close()
			_ = client.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(client, strings.ReplaceAll(c.asks, "|", "\r\n")+"\r\nHost: h\r\n\r\n")
			at, err := node.Accept()
			if err != nil {
				return err
			}
			defer at.Close()
			_ = at.SetDeadline(time.Now().Add(20 * time.Second))
			var head []string
			for in := bufio.NewReader(at); ; {
				line, err := in.ReadString('\n')
				if err != nil {
					return err
				}
				if line = strings.TrimRight(line, "\r\n"); line == "" {
					break
				} else if !strings.HasPrefix(line, "Host: ") {
					head = append(head, line)
				}
			}
			want := strings.Split(c.sent, "|")
			slices.Sort(head[1:])
			slices.Sort(want[1:])
			if !slices.Equal(head, want) {
				t.Errorf("%s: the node got %q, want %q", c.name, head, want)
			}
			fmt.Fprint(at, strings.ReplaceAll(c.answers, "|", "\r\n"))
			var all []byte
			piece := make([]byte, 4096)
			for {
				n, err := client.Read(piece)
				all = append(all, piece[:n]...)
				got := strings.Join(slices.DeleteFunc(strings.Split(string(all), "\r\n"), func(line string) bool {
					return strings.HasPrefix(line, "Date: ")
				}), "|")
				if got == c.got {
					return nil
				}
				if err != nil || len(got) > len(c.got) {
					return fmt.Errorf("the client got %q, %v, want %q", got, err, c.got)
				}
			}
		}
		if err := exchange(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whoever is answered with another protocol has asked for it.
func TestANodeDoesNotSwitchProtocolsUnasked(t *testing.T) {
	for _, asks := range []string{"", "Connection: Upgrade\r\nUpgrade: other\r\n"} {
		p := newPlane(t)
		node, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		go func() {
			if conn, err := node.Accept(); err == nil {
				defer conn.Close()
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			}
		}()
		port := freePort(t)
		p.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool(node.Addr().String())},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
		})
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", asks)
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 500 ") {
			t.Errorf("asked with %q: got %q, %v; want 500", asks, line, err)
		}
	}
}
