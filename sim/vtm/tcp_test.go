package vtm_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

// accepted hands over the sockets of clients.
type accepted struct {
	outside.World
	conns chan *net.TCPConn
}

func (a accepted) Listen(actor, network, address string) (net.Listener, error) {
	l, err := a.World.Listen(actor, network, address)
	return acceptedListener{l, a.conns}, err
}

type acceptedListener struct {
	net.Listener
	conns chan *net.TCPConn
}

func (l acceptedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		select {
		case l.conns <- tcp:
		default:
		}
	}
	return c, err
}

// What section tcp of a virtual server says reaches the sockets of a cluster's member,
// through the gate that faults shut.
func TestSectionTCPReachesTheSockets(t *testing.T) {
	for _, on := range []bool{true, false} {
		conns := make(chan *net.TCPConn, 100)
		cluster, err := vtm.StartCluster(vtm.ClusterOptions{
			Options: vtm.Options{
				World: accepted{outside.Real(), conns}, Log: slog.New(slog.DiscardHandler), Users: map[string]string{"admin": "secret"},
				RESTPort: vtm.AnyPort, ReplicateAtOnce: true, PlainHTTP: true, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
			},
			Members: 1, Base: netip.MustParseAddr("127.1.45.0"), NoControl: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		c := &client{t: t, http: http.DefaultClient, base: "http://" + cluster.Member("vtm-1").RESTAddress() + "/api/tm/8.3"}
		port := freePort(t, "127.1.45.1")
		c.want(201, "PUT", "/config/active/rules/answer", []byte(`http.sendResponse("200 OK", "text/plain", "x", "");`))
		c.want(201, "PUT", "/config/active/virtual_servers/web", fmt.Sprintf(`{"properties":{"basic":{"enabled":true,"port":%s,"pool":"discard","request_rules":["answer"]},
			"tcp":{"nagle":%t,"close_with_rst":%t}}}`, port, on, on))
		client, err := net.Dial("tcp", "127.1.45.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_ = client.SetDeadline(time.Now().Add(20 * time.Second))
		const request = "GET / HTTP/1.1\r\nHost: h\r\n"
		fmt.Fprint(client, request+"\r\n")
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		var noDelay int
		for server := range conns {
			if server.RemoteAddr().String() != client.LocalAddr().String() {
				continue // of the REST API
			}
			raw, err := server.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			if err := raw.Control(func(fd uintptr) {
				noDelay, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
			}); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			break
		}
		fmt.Fprint(client, request+"Connection: close\r\n\r\n")
		_, err = io.Copy(io.Discard, client)
		if rst := errors.Is(err, syscall.ECONNRESET); rst != on {
			t.Errorf("close_with_rst %t: the connection ended with %v", on, err)
		}
		if nagle := noDelay == 0; nagle != on {
			t.Errorf("nagle %t: TCP_NODELAY is %d", on, noDelay)
		}
	}
}
