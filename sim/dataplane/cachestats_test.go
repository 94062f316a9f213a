package dataplane

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCompressionCookiesAndTheCacheAreCounted(t *testing.T) {
	counted(t, map[string]int64{
		"server gzip": 1, "server gzip_bytes_saved": atLeast(4000), "server http_rewrite_cookie": 1,
		"server http_cache_lookups": 3, "server http_cache_hits": 1, "server http_cache_hit_rate": 33,
		"server http_cache2xx_responses": 1, "server http_server2xx_responses": 2, "server http2xx_responses": 3,
		"web_cache lookups": 3, "web_cache hits": 1, "web_cache misses": 2, "web_cache hit_rate": 33, "web_cache entries": 1,
		"web_cache mem_used": 5000, "web_cache mem_maximum": atLeast(1), "web_cache max_entries": 10000, "web_cache oldest": 1,
	}, func(c *counting) {
		c.node(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if r.URL.Path == "/kept" {
				w.Header().Set("Cache-Control", "max-age=60")
			} else {
				w.Header().Set("Set-Cookie", "a=b")
				w.Header().Set("Cache-Control", "no-store")
			}
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write(make([]byte, 5000))
		})
		c.web(nil, func(v *VirtualServer) {
			v.Gzip = Gzip{Enabled: true, Level: 6, IncludeMime: []string{"text/plain"}}
			v.Cookie = Cookie{Secure: "set_secure"}
			v.WebCache = WebCache{Enabled: true, MaxTime: 600 * time.Second}
		})
		head := "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
		c.raw(fmt.Sprintf(head, "/kept", ""))
		c.raw(fmt.Sprintf(head, "/kept", ""))
		c.raw(fmt.Sprintf(head, "/other", "Accept-Encoding: gzip\r\n"))
	})
}

func TestCachedResponsesOfEveryClassAreCounted(t *testing.T) {
	counted(t, map[string]int64{
		"server http_cache3xx_responses": 1, "server http_cache4xx_responses": 1, "server http_cache5xx_responses": 1, "server http_cache_hits": 3,
	}, func(c *counting) {
		c.node(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			status(w, r)
		})
		c.web(nil, func(v *VirtualServer) {
			v.WebCache = WebCache{Enabled: true, MaxTime: 600 * time.Second, ErrorPageTime: 600 * time.Second}
		})
		c.get("/301", "/301", "/404", "/404", "/501", "/501")
	})
}

func TestRequestsThatAreRefusedAreConnectionErrors(t *testing.T) {
	counted(t, map[string]int64{"server connection_errors": 1, "server http_generated4xx_responses": 1, "server http4xx_responses": 1}, func(c *counting) {
		c.web(nil)
		c.raw("GET / HTTP/1.1\r\nHost : x\r\n\r\n")
	})
}

func TestQueuesAreCounted(t *testing.T) {
	counted(t, map[string]int64{"pool conns_queued": 0, "pool queue_timeouts": 1, "pool total_conn": 2}, func(c *counting) {
		c.node(func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) })
		c.web(nil)
		c.Apply(Update{Pools: map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) {
			p.MaxConnectionsPerNode, p.QueueTimeout = 1, 4*time.Second
		})}})
		var clients sync.WaitGroup
		for range 3 {
			clients.Go(func() { c.get("/") })
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := c.value("pool conns_queued"); n != 2 {
			t.Errorf("%d wait, want 2", n)
		}
		time.Sleep(2500 * time.Millisecond) // the second has its turn after 3 s
		for _, key := range []string{"min_queue_time", "mean_queue_time", "max_queue_time"} {
			if n := c.value("pool " + key); n < 2900 || n > 3100 {
				t.Errorf("%s is %d ms, want 3 s", key, n)
			}
		}
		clients.Wait()
	})
}

func TestSessionsThatMoveToAnotherNodeAreCounted(t *testing.T) {
	counted(t, map[string]int64{"pool session_migrated": 1}, func(c *counting) {
		c.node(status)
		c.web(nil)
		pool := with(aPool("10.8.0.9:80"), func(p *Pool) { p.PersistenceClass, p.NodeConnectionAttempts = "class", 1 })
		c.Apply(Update{
			Persistence: map[string]*Persistence{"class": {Type: "ip", Delete: true, FailureMode: "new_node"}},
			Pools:       map[string]*Pool{"app": with(pool, func(p *Pool) { p.Nodes = aPool("10.8.0.1:80").Nodes })},
		})
		c.get("/200") // the session's node
		l, err := c.net.World().Listen("node", "tcp", "10.8.0.9:80")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(status)}
		go func() { _ = s.Serve(l) }()
		c.t.Cleanup(func() { s.Close() })
		c.Apply(Update{Pools: map[string]*Pool{"app": pool}}) // it is gone
		c.get("/200")
	})
}

func TestSessionCachesAreCounted(t *testing.T) {
	counted(t, map[string]int64{
		"ip_session_cache lookups": 4, "ip_session_cache hits": 2, "ip_session_cache misses": 2, "ip_session_cache hit_rate": 50,
		"ip_session_cache entries": 1, "ip_session_cache entries_max": 32768, "ip_session_cache expiries": 1, "ip_session_cache oldest": 1,
		"uni_session_cache lookups": 0, "j2ee_session_cache entries": 0, "asp_session_cache entries_max": 32768, "ssl_session_cache hits": 0,
	}, func(c *counting) {
		c.node(status)
		c.web(nil)
		sessions := defaultSessionCaches
		sessions.IPExpiry = time.Minute
		c.Apply(Update{
			Global:      &Global{IdleTimeout: 10 * time.Second, MaxInstructions: 100_000, Sessions: sessions},
			Persistence: map[string]*Persistence{"class": {Type: "ip", Delete: true, FailureMode: "new_node"}},
			Pools:       map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) { p.PersistenceClass = "class" })},
		})
		c.get("/200", "/200", "/200")
		time.Sleep(2 * time.Minute)
		c.get("/200")
	})
}

func TestRefusalsOfServiceProtectionAreCountedByTheirReason(t *testing.T) {
	for name, tc := range map[string]struct {
		class   Protection
		request string
	}{
		"refusal_ip":        {Protection{Banned: []string{"all"}}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_conc1_ip":  {Protection{Max1: 1}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_conc10_ip": {Protection{Max1: 100, Max10: 1, PerProcess: true, MinConnections: 1}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_conn_rate": {Protection{MaxRate: 1, RateTimer: time.Minute}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_size":      {Protection{MaxURLLength: 10}, "GET /long/long/long HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_rfc2396":   {Protection{CheckRFC2396: true}, "GET /a|b HTTP/1.1\r\nHost: x\r\n\r\n"},
		"refusal_binary":    {Protection{RejectBinary: true}, "GET /%01 HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			counted(t, map[string]int64{"protection " + name: 1, "protection total_refusal": 1, "protection last_refusal_time": atLeast(90)}, func(c *counting) {
				tc.class.Enabled, tc.class.SendErrorPage = true, true
				c.node(status)
				c.web(nil, func(v *VirtualServer) { v.ProtectionClass = "class" })
				c.Apply(Update{Protection: map[string]*Protection{"class": &tc.class}})
				if strings.Contains(name, "conc") || strings.Contains(name, "rate") { // the second is too many
					held := c.dial()
					defer held.Close()
					fmt.Fprint(held, tc.request)
					time.Sleep(100 * time.Millisecond)
				}
				conn := c.dial()
				defer conn.Close()
				fmt.Fprint(conn, tc.request)
				time.Sleep(100 * time.Millisecond)
			})
		})
	}
}
