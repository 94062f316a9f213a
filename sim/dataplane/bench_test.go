package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

type bytesPool struct{ sync.Pool }

func (p *bytesPool) Get() []byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}
func (p *bytesPool) Put(b []byte) { p.Pool.Put(&b) }

// askUntilDone lets 32 connections ask without a pause. They cost as little as they
// can: what is compared is the proxy.
func askUntilDone(b *testing.B, address string, secure bool) {
	b.Helper()
	request := []byte("GET /shop/items?page=2 HTTP/1.1\r\nHost: host500.test\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n")
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		if secure {
			conn = tls.Client(conn, &tls.Config{ServerName: "host500.test", InsecureSkipVerify: true})
		}
		in := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Error(err)
				return
			}
			if n, err := io.Copy(io.Discard, res.Body); err != nil || n != 1024 || res.StatusCode != 200 {
				b.Error(res.Status, n, err)
				return
			}
		}
	})
}

// The same backend and clients through the standard library's proxy and through
// a virtual server: plain, with a rule that routes 1,000 hosts, and with TLS.
func BenchmarkProxy(b *testing.B) {
	body := strings.Repeat(".", 1024)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, body)
	}))
	defer node.Close()
	key, _ := selfSigned(b, "host500.test")
	pair, err := tls.X509KeyPair([]byte(key.Public), []byte(key.Private))
	if err != nil {
		b.Fatal(err)
	}
	reference := func(b *testing.B, secure bool) {
		u, _ := url.Parse(node.URL)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		if secure {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}})
		}
		front := &http.Server{Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u); r.SetXForwarded() }, BufferPool: &bytesPool{},
			Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true, ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10, ResponseHeaderTimeout: 30 * time.Second},
		}, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute}
		go func() { _ = front.Serve(l) }()
		defer front.Close()
		askUntilDone(b, l.Addr().String(), secure)
	}
	var rule strings.Builder
	rule.WriteString("$h = http.getHostHeader();\n$p = [")
	for i := range 1000 {
		fmt.Fprintf(&rule, "\"host%d.test\" => 1,\n", i)
	}
	rule.WriteString("];\nif ($p[$h]) { pool.use(\"app\"); }\n")
	ours := func(b *testing.B, rules []string, secure bool) {
		d := New(Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm", Address: "127.0.0.1"})
		defer d.Close()
		d.Apply(Update{
			ServerKeys: map[string]*ServerKey{"k": key},
			Rules:      map[string]*Rule{"route": {Source: rule.String()}},
			Pools:      map[string]*Pool{"app": aPool(node.Listener.Addr().String())},
			VirtualServers: map[string]*VirtualServer{"web": aServer(18080, "app", func(v *VirtualServer) {
				v.RequestRules = rules
				v.AddXForwardedFor, v.AddXForwardedProto = true, true
				v.SSLDecrypt, v.ServerCertDefault = secure, "k"
			})},
		})
		if errs := d.State().Errors; len(errs) > 0 {
			b.Fatal(errs)
		}
		askUntilDone(b, "127.0.0.1:18080", secure)
	}
	b.Run("plain-reference", func(b *testing.B) { reference(b, false) })
	b.Run("plain", func(b *testing.B) { ours(b, nil, false) })
	b.Run("rule1000", func(b *testing.B) { ours(b, []string{"route"}, false) })
	b.Run("tls-reference", func(b *testing.B) { reference(b, true) })
	b.Run("tls", func(b *testing.B) { ours(b, nil, true) })
}

// A change of one pool, and of one Traffic IP Group, among 5,000 virtual servers.
func BenchmarkApplyAmong5000(b *testing.B) {
	d := New(Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm", Address: "127.0.0.1"})
	defer d.Close()
	u := Update{Pools: map[string]*Pool{}, VirtualServers: map[string]*VirtualServer{}}
	for i := range 5000 {
		pool := fmt.Sprintf("pool%d", i)
		u.Pools[pool] = aPool("127.0.0.1:1")
		// No Traffic IP Group of this name: configured, but without a socket.
		u.VirtualServers[fmt.Sprintf("vs%d", i)] = aServer(80, pool, func(v *VirtualServer) {
			v.ListenOnAny, v.ListenOnTrafficIPs = false, []string{"none"}
		})
	}
	d.Apply(u)
	b.ReportAllocs()
	b.Run("pool", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			d.Apply(Update{Pools: map[string]*Pool{"pool77": aPool("127.0.0.1:1", fmt.Sprintf("127.0.0.1:%d", 2+i%2))}})
		}
	})
	b.Run("group", func(b *testing.B) {
		for b.Loop() {
			d.Apply(Update{TrafficIPGroups: map[string]*TrafficIPGroup{"new": {Enabled: true, IPAddresses: []string{"127.0.0.9"}}}})
		}
	})
}
