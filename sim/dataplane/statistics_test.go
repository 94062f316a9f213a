package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/network"
	"vtm-ingress/sim/trafficscript"
)

// counting is a data plane on an in-memory network with fake time, whose virtual
// server "web" is at 10.9.0.1:80 and sends to pool "app".
type counting struct {
	*DataPlane
	t   *testing.T
	net *network.Network
}

// counted runs one piece of traffic and then compares counters: "server",
// "pool", "node", "global", "ip" or "rule NAME", a blank, and the key. A wanted
// value of atLeast(n) is a lower bound.
func counted(t *testing.T, want map[string]int64, traffic func(c *counting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t)
		defer c.end()
		traffic(c)
		time.Sleep(time.Second) // what is on the network arrives
		synctest.Wait()
		for what, n := range want {
			got := c.value(what)
			if n < 0 && got < -n || n >= 0 && got != n {
				t.Errorf("%s is %d, want %s", what, got, strings.Replace(fmt.Sprint(n), "-", "at least ", 1))
			}
		}
	})
}

func atLeast(n int64) int64 { return -n }

func newCounting(t *testing.T) *counting {
	c := &counting{t: t, net: network.New(network.Options{Seed: 5})}
	c.DataPlane = New(Options{World: c.net.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "10.9.0.1"})
	return c
}

func (c *counting) end() {
	c.Close()
	c.net.Close()
	time.Sleep(2 * time.Minute) // transports' dials end
}

func (c *counting) value(what string) int64 {
	c.t.Helper()
	of, key, _ := strings.Cut(what, " ")
	var counts Counts
	switch of {
	case "server":
		counts, _ = c.ServerStatistics("web")
	case "pool":
		s, _ := c.PoolStatistics("app")
		counts = s.Counts
	case "node":
		s, _ := c.PoolStatistics("app")
		counts = s.Nodes[0].Counts
	case "global":
		counts = c.GlobalStatistics()
	case "protection":
		counts, _ = c.ProtectionStatistics("class")
	case "ip":
		counts = c.ListenIPStatistics(c.ListenIPs()[0])
	case "rule":
		counts, _ = c.RuleStatistics("in")
		if name, rest, two := strings.Cut(key, " "); two {
			counts, _ = c.RuleStatistics(name)
			key = rest
		}
	}
	if caches := c.CacheStatistics(); caches[of] != nil {
		counts = caches[of]
	}
	n, known := counts[key]
	if !known {
		c.t.Errorf("nothing counts %s", what)
	}
	return n
}

// node serves on 10.8.0.1:80 until the test ends.
func (c *counting) node(handler http.HandlerFunc) {
	c.t.Helper()
	l, err := c.net.World().Listen("node", "tcp", "10.8.0.1:80")
	if err != nil {
		c.t.Fatal(err)
	}
	s := &http.Server{Handler: handler}
	go func() { _ = s.Serve(l) }()
	c.t.Cleanup(func() { s.Close() })
}

// web makes the virtual server, with rules by name as source.
func (c *counting) web(rules map[string]string, change ...func(*VirtualServer)) {
	u := Update{
		Rules: make(map[string]*Rule),
		Pools: map[string]*Pool{"app": aPool("10.8.0.1:80")},
		VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", append([]func(*VirtualServer){func(v *VirtualServer) {
			v.Port = 80
			if rules["in"] != "" {
				v.RequestRules = []string{"in"}
			}
			if rules["out"] != "" {
				v.ResponseRules = []string{"out"}
			}
		}}, change...)...)},
	}
	for name, source := range rules {
		u.Rules[name] = &Rule{Source: source}
	}
	c.Apply(u)
}

// get asks the virtual server with one kept connection.
func (c *counting) get(paths ...string) {
	c.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.net.World().Dial(ctx, "client", network, address)
	}}
	defer tr.CloseIdleConnections()
	h := http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, p := range paths {
		res, err := h.Get("http://10.9.0.1" + p)
		if err != nil {
			continue // some are dropped on purpose
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}

// raw sends text on a connection of its own, and returns what comes until it ends.
func (c *counting) raw(text string) string {
	c.t.Helper()
	conn := c.dial()
	defer conn.Close()
	fmt.Fprint(conn, text)
	b, _ := io.ReadAll(conn)
	return string(b)
}

func (c *counting) dial() net.Conn {
	c.t.Helper()
	conn, err := c.net.World().Dial(c.t.Context(), "client", "tcp", "10.9.0.1:80")
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// status answers with the status in the path, and redirects to itself.
func status(w http.ResponseWriter, r *http.Request) {
	code := 200
	fmt.Sscanf(r.URL.Path, "/%d", &code)
	if code == 302 {
		w.Header().Set("Location", "http://"+r.Host+"/moved")
	}
	w.WriteHeader(code)
}

func TestRequestsAndResponsesAreCountedEverywhere(t *testing.T) {
	counted(t, map[string]int64{
		"server total_requests": 7, "server total_http_requests": 7, "server total_http1_requests": 7,
		"server http2xx_responses": 4, "server http_server2xx_responses": 4,
		"server http3xx_responses": 1, "server http_server3xx_responses": 1, "server http_rewrite_location": 0,
		"server http4xx_responses": 1, "server http_server4xx_responses": 1,
		"server http5xx_responses": 1, "server http_server5xx_responses": 1,
		"server max_conn": 1, "server current_conn": 0,
		"server bytes_in": atLeast(7 * 40), "server bytes_out": atLeast(7 * 40),
		"ip total_requests": 7, "ip max_conn": 1, "ip current_conn": 0, "ip bytes_in": atLeast(7 * 40), "ip bytes_out": atLeast(7 * 40),
		"global total_requests": 7, "global total_transactions": 7, "global total_conn": 1, "global total_current_conn": 0,
		"global total_bytes_in": atLeast(7 * 40), "global total_bytes_out": atLeast(7 * 40), "global total_backend_server_errors": 1,
		"global num_idle_connections": 1,
		"pool total_conn":             7, "pool http2xx_responses": 4, "pool http3xx_responses": 1, "pool http4xx_responses": 1, "pool http5xx_responses": 1,
		"pool bytes_in": atLeast(7 * 40), "pool bytes_out": atLeast(7 * 40),
		"node total_conn": 7, "node new_conn": 1, "node pooled_conn": 6, "node current_conn": 1, "node idle_conns": 1, "node current_requests": 0,
		"node bytes_from_node": atLeast(7 * 40), "node bytes_to_node": atLeast(7 * 40), "node errors": 0, "node failures": 0,
	}, func(c *counting) {
		c.node(status)
		c.web(nil)
		c.get("/200", "/200", "/200", "/204", "/302", "/404", "/500")
	})
}

func TestWhatTheTrafficManagerAnswersItselfIsCountedApart(t *testing.T) {
	counted(t, map[string]int64{
		"server direct_replies": 3, "server http_generated2xx_responses": 1, "server http_generated3xx_responses": 1,
		"server http_generated4xx_responses": 1, "server http_generated5xx_responses": 1, "server http_server2xx_responses": 0,
		"server http5xx_responses": 1, "server discard": 1, "server connection_failures": 1,
		"rule executions": 5, "rule responds": 3, "rule discards": 1, "rule pool_select": 1, "rule aborts": 0,
	}, func(c *counting) {
		c.web(map[string]string{"in": `
			$p = http.getPath();
			if ($p == "/ok") { http.sendResponse("200", "text/plain", "x", ""); }
			if ($p == "/away") { http.redirect("http://example.com/"); }
			if ($p == "/no") { http.sendResponse("403", "text/plain", "x", ""); }
			if ($p == "/drop") { connection.discard(); }
			if ($p == "/none") { pool.use("app"); }`})
		c.get("/ok", "/away", "/no", "/none")
		c.get("/drop") // on a connection of its own: clients repeat what fails on a kept one
	})
}

func TestRulesThatRetryOrAreAbortedAreCounted(t *testing.T) {
	counted(t, map[string]int64{
		"rule in executions": 1, "rule in aborts": 1, "rule out executions": 2, "rule out retries": 1,
		"pool total_conn": 2, "server http2xx_responses": 1, "server total_requests": 1,
	}, func(c *counting) {
		c.node(status)
		c.web(map[string]string{
			"in":  `while (1) { $x = 1; }`,
			"out": `if (request.getRetries() < 1) { request.retry(); }`,
		})
		c.get("/200")
	})
}

func TestTimeoutsOfClientsAreCountedByTheirKind(t *testing.T) {
	t.Run("no complete header", func(t *testing.T) {
		counted(t, map[string]int64{"server connect_timed_out": 1, "server keepalive_timed_out": 0, "server data_timed_out": 0}, func(c *counting) {
			c.web(nil)
			c.raw("GET / HTTP/1.1\r\n")
		})
	})
	t.Run("nothing at all", func(t *testing.T) {
		counted(t, map[string]int64{"server connect_timed_out": 1, "server keepalive_timed_out": 0}, func(c *counting) {
			c.web(nil)
			c.raw("")
		})
	})
	t.Run("no other request", func(t *testing.T) {
		counted(t, map[string]int64{"server connect_timed_out": 0, "server keepalive_timed_out": 1, "server http2xx_responses": 1}, func(c *counting) {
			c.node(status)
			c.web(nil)
			c.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		})
	})
	t.Run("an orderly end is none", func(t *testing.T) {
		counted(t, map[string]int64{"server connect_timed_out": 0, "server keepalive_timed_out": 0, "server data_timed_out": 0}, func(c *counting) {
			c.node(status)
			c.web(nil)
			c.get("/200", "/200")
			time.Sleep(time.Minute)
		})
	})
	t.Run("a body that stalls", func(t *testing.T) {
		counted(t, map[string]int64{"server data_timed_out": 1, "server connect_timed_out": 0}, func(c *counting) {
			c.node(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			c.web(nil, func(v *VirtualServer) { v.Timeout = 20 * time.Second })
			c.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		})
	})
	t.Run("max_transaction_duration", func(t *testing.T) {
		counted(t, map[string]int64{"server max_duration_timed_out": 1, "server connection_failures": 1}, func(c *counting) {
			c.node(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			c.web(nil, func(v *VirtualServer) { v.MaxTransactionDuration = 5 * time.Second })
			c.get("/")
		})
	})
}

func TestTriesThatFailAreCounted(t *testing.T) {
	counted(t, map[string]int64{
		"node failures": 1, "node errors": 1, "node total_conn": 1, "node new_conn": 0, "node pooled_conn": 0,
		"server connection_failures": 1, "server http5xx_responses": 1, "pool total_conn": 1,
	}, func(c *counting) {
		c.web(nil)
		c.get("/")
	})
	t.Run("503", func(t *testing.T) {
		counted(t, map[string]int64{"pool http503_retries": 1, "pool http5xx_responses": 2, "pool total_conn": 2}, func(c *counting) {
			c.node(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
			l, err := c.net.World().Listen("node", "tcp", "10.8.0.2:80")
			if err != nil {
				c.t.Fatal(err)
			}
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })}
			go func() { _ = s.Serve(l) }()
			c.t.Cleanup(func() { s.Close() })
			c.web(nil)
			c.Apply(Update{Pools: map[string]*Pool{"app": aPool("10.8.0.1:80", "10.8.0.2:80")}})
			c.get("/")
		})
	})
}

func TestResponseTimesAreThoseOfTheLastSecond(t *testing.T) {
	counted(t, map[string]int64{"node response_min": 0, "node response_max": 0, "node response_mean": 0}, func(c *counting) {
		c.node(func(w http.ResponseWriter, r *http.Request) {
			var ms int
			fmt.Sscanf(r.URL.Path, "/%d", &ms)
			time.Sleep(time.Duration(ms) * time.Millisecond)
		})
		c.web(nil)
		c.get("/10", "/30", "/50")
		least, mean, most := c.value("node response_min"), c.value("node response_mean"), c.value("node response_max")
		if least < 10 || least > 15 || most < 50 || most > 55 || mean < 30 || mean > 35 {
			t.Errorf("response times are %d, %d, %d ms; the node took 10, 30 and 50", least, mean, most)
		}
		time.Sleep(5 * time.Second)
	})
}

func TestPeaksAreThoseOfThePastHour(t *testing.T) {
	counted(t, map[string]int64{"global hourly_peak_requests_per_second": 1}, func(c *counting) {
		c.node(status)
		c.web(nil)
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the requests are within one second
		c.get(slices.Repeat([]string{"/200"}, 5)...)
		time.Sleep(time.Second)
		if s := c.State().VirtualServers[0]; s.Throughput < 5*80 {
			t.Errorf("throughput is %d", s.Throughput)
		}
		c.get("/200")
		time.Sleep(30 * time.Minute)
		if s := c.State().VirtualServers[0]; s.Throughput != 0 {
			t.Errorf("throughput of an idle virtual server is %d", s.Throughput)
		}
		if n := c.value("global hourly_peak_requests_per_second"); n != 5 {
			t.Errorf("the peak is %d requests, want 5", n)
		}
		for _, key := range []string{"hourly_peak_bytes_in_per_second", "hourly_peak_bytes_out_per_second"} {
			if n := c.value("global " + key); n < 5*40 {
				t.Errorf("%s is %d", key, n)
			}
		}
		c.get("/200")
		time.Sleep(50 * time.Minute)
	})
}

func TestConnectionsUnderWayAreCounted(t *testing.T) {
	counted(t, map[string]int64{"server current_conn": 0, "server max_conn": 3, "ip max_conn": 3, "global total_current_conn": 0}, func(c *counting) {
		release := make(chan struct{})
		c.node(func(http.ResponseWriter, *http.Request) { <-release })
		c.web(nil)
		var clients sync.WaitGroup
		for range 3 {
			clients.Go(func() { c.get("/") })
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		for what, want := range map[string]int64{
			"server current_conn": 3, "ip current_conn": 3, "global total_current_conn": 3, "node current_requests": 3, "node current_conn": 3, "node idle_conns": 0,
		} {
			if n := c.value(what); n != want {
				t.Errorf("%s is %d, want %d", what, n, want)
			}
		}
		close(release)
		clients.Wait()
	})
}

func TestUpgradesAreCountedAsInformational(t *testing.T) {
	counted(t, map[string]int64{"server http1xx_responses": 1, "server http_server1xx_responses": 1, "pool http1xx_responses": 1, "server data_timed_out": 1}, func(c *counting) {
		c.node(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			_, _ = io.Copy(conn, conn)
		})
		c.web(nil, func(v *VirtualServer) { v.Timeout = 20 * time.Second })
		conn := c.dial()
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "101") {
			t.Errorf("got %q, %v", line, err)
		}
		_, _ = io.ReadAll(conn) // until the time-out
	})
}

func TestDataOfRulesIsCounted(t *testing.T) {
	counted(t, map[string]int64{"global data_entries": 2, "global data_memory_usage": atLeast(10)}, func(c *counting) {
		c.web(map[string]string{"in": `data.set("one", "first"); data.set("two", "second"); http.sendResponse("200", "text/plain", "", "");`})
		c.get("/", "/")
	})
}

func TestHandshakesAreCounted(t *testing.T) {
	p := newPlane(t)
	webKey, _ := selfSigned(t, "web")
	port := freePort(t)
	p.Apply(Update{
		ServerKeys: map[string]*ServerKey{"web": webKey},
		Rules:      map[string]*Rule{"in": {Source: `http.sendResponse("200", "text/plain", "x", "");`}},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "discard", func(v *VirtualServer) {
			v.SSLDecrypt, v.ServerCertDefault, v.RequestRules = true, "web", []string{"in"}
			v.TLS.TLS10, v.TLS.TLS11 = "enabled", "enabled"
		})},
	})
	shared := tls.NewLRUClientSessionCache(4)
	ask := func(version uint16, name string, cache tls.ClientSessionCache, http2 bool) {
		t.Helper()
		tr := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, ServerName: name, MinVersion: version, MaxVersion: version, ClientSessionCache: cache,
		}}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	ask(tls.VersionTLS10, "web", nil, false)
	ask(tls.VersionTLS11, "web", nil, false)
	ask(tls.VersionTLS13, "web", nil, true)
	ask(tls.VersionTLS12, "web", nil, false)
	ask(tls.VersionTLS12, "web", shared, false)
	ask(tls.VersionTLS12, "web", shared, false) // resumed
	server, _ := p.ServerStatistics("web")
	for key, want := range map[string]int64{
		"ssl_new_session": 5, "ssl_ticket_resumed": 1, "total_http2_requests": 1, "total_http1_requests": 5,
	} {
		if server[key] != want {
			t.Errorf("server %s is %d, want %d", key, server[key], want)
		}
	}
	global := p.GlobalStatistics()
	for key, want := range map[string]int64{
		"ssl_connections": 6, "ssl_handshake_tlsv1": 1, "ssl_handshake_tlsv11": 1, "ssl_handshake_tlsv13": 1, "ssl_handshake_tlsv12": 3,
	} {
		if global[key] != want {
			t.Errorf("global %s is %d, want %d", key, global[key], want)
		}
	}
}

// All keys are in the counts, and no others.
func TestCountedKeysAreThoseOfTheCounts(t *testing.T) {
	p := newPlane(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool("127.0.0.1:1")},
		Rules:          map[string]*Rule{"in": {Source: ""}},
		Protection:     map[string]*Protection{"class": {}},
		VirtualServers: map[string]*VirtualServer{"web": aServer(freePort(t), "app")},
	})
	server, _ := p.ServerStatistics("web")
	pool, _ := p.PoolStatistics("app")
	rule, _ := p.RuleStatistics("in")
	protection, _ := p.ProtectionStatistics("class")
	for kind, counts := range map[string]Counts{
		"virtual_servers": server, "pools": pool.Counts, "nodes": pool.Nodes[0].Counts, "rules": rule,
		"protection": protection, "session cache": p.CacheStatistics()["ip_session_cache"], "session cache kept": p.CacheStatistics()["ssl_session_cache"],
		"web_cache": p.CacheStatistics()["web_cache"], "globals": p.GlobalStatistics(), "listen_ips": p.ListenIPStatistics(p.ListenIPs()[0]),
	} {
		keys := CountedKeys()[kind]
		if got, want := sorted(counts), slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) {
			t.Errorf("%s: the counts have\n%v\nCountedKeys\n%v", kind, got, want)
		}
	}
}

func TestThePeakOfHandshakesIsCounted(t *testing.T) {
	counted(t, map[string]int64{"global hourly_peak_ssl_connections_per_second": 2}, func(c *counting) {
		key, _ := selfSigned(t, "web")
		c.Apply(Update{ServerKeys: map[string]*ServerKey{"web": key}})
		c.web(nil, func(v *VirtualServer) { v.SSLDecrypt, v.ServerCertDefault = true, "web" })
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		for range 2 {
			conn := tls.Client(c.dial(), &tls.Config{InsecureSkipVerify: true})
			if err := conn.HandshakeContext(c.t.Context()); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		time.Sleep(time.Second)
	})
}

func TestWarningsOfSlowRulesAreCounted(t *testing.T) {
	counted(t, map[string]int64{"rule execution_time_warnings": 1}, func(c *counting) {
		c.web(map[string]string{"in": "# nothing"})
		(&transaction{v: c.servers["web"]}).Log(trafficscript.Event{Level: trafficscript.LevelWarn, Tag: "ruleoverrun", Rule: "in"})
	})
}

// Whoever adds a counter adds its proof: a test that drives traffic and names it.
func TestEveryCountedKeyIsNamedByATest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for kind, keys := range CountedKeys() {
		for _, key := range keys {
			if !strings.Contains(all.String(), key+`"`) {
				t.Errorf("no test names %s of %s", key, kind)
			}
		}
	}
}
