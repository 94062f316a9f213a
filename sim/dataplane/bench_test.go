package dataplane

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

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

// The same backend and clients through the standard library's proxy and through
// a virtual server, plain and with a rule that routes 1,000 hosts.
func BenchmarkProxy(b *testing.B) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer node.Close()
	load := func(b *testing.B, address string) {
		b.Helper()
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for pb.Next() {
				req, _ := http.NewRequest("GET", address, nil)
				req.Host = "host500.test"
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					b.Error(res.Status)
					return
				}
			}
		})
	}
	b.Run("reference", func(b *testing.B) {
		u, _ := url.Parse(node.URL)
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, BufferPool: &bytesPool{},
			Transport: &http.Transport{MaxIdleConnsPerHost: 50, DisableCompression: true},
		})
		defer front.Close()
		load(b, front.URL)
	})
	var rule strings.Builder
	rule.WriteString("$h = http.getHostHeader();\n$p = [")
	for i := range 1000 {
		fmt.Fprintf(&rule, "\"host%d.test\" => 1,\n", i)
	}
	rule.WriteString("];\nif ($p[$h]) { pool.use(\"app\"); }\n")
	for name, rules := range map[string][]string{"plain": nil, "rule1000": {"route"}} {
		b.Run(name, func(b *testing.B) {
			d := New(Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm", Address: "127.0.0.1"})
			defer d.Close()
			port := 18080
			d.Apply(Update{
				Rules: map[string]*Rule{"route": {Source: rule.String()}},
				Pools: map[string]*Pool{"app": aPool(node.Listener.Addr().String())},
				VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
					v.RequestRules = rules
				})},
			})
			if errs := d.State().Errors; len(errs) > 0 {
				b.Fatal(errs)
			}
			load(b, fmt.Sprintf("http://127.0.0.1:%d/", port))
		})
	}
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
