package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// answered starts a virtual server whose request rule answers itself, and returns
// what a client gets for it.
func (p *plane) answered(rule string, change ...func(*VirtualServer)) string {
	p.t.Helper()
	port := freePort(p.t)
	p.Apply(Update{
		Rules: map[string]*Rule{"answer": {Source: rule}},
		VirtualServers: map[string]*VirtualServer{"answering": aServer(port, discard, append(change, func(v *VirtualServer) {
			v.RequestRules = []string{"answer"}
		})...)},
	})
	_, body := get(testClient(p.t), at(port, "/"))
	return body
}

const send = `http.sendResponse(200, "text/plain", $r, "");`

func TestRulesAskForWhatTheTrafficManagerKnows(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b")
	_, port, _ := net.SplitHostPort(addr(b))
	p.Apply(Update{
		ExtraFiles: map[string]*File{
			"banner":              {Content: "hello", Modified: time.Unix(77, 0)},
			"geo.csv":             {Content: "127.0.0.0/8,DE,Germany,BE,Berlin,Berlin,52.52,13.405\n"},
			"hosts":               {Content: "127.0.0.1 node.test\n"},
			"authenticators.json": {Content: `{"ldap": {"ada": {"password": "s", "attributes": {"group": "admin"}}}}`},
		},
		Authenticators:   map[string]*Authenticator{"ldap": {}, "other": {Host: "h"}},
		BandwidthClasses: map[string]*BandwidthClass{"gold": {}},
		Rates:            map[string]*Rate{"one": {PerMinute: 1}},
		ServiceLevels:    map[string]*ServiceLevel{"gold": {ResponseTime: time.Second, SeriousThreshold: 50}},
		Locations:        map[string]*Location{"Cambridge": {Latitude: 52.25, Longitude: 0.125}},
		TrafficManagers:  map[string]*TrafficManager{"vtm-1.test": {Location: "Cambridge"}},
		Pools:            map[string]*Pool{"app": aPool(addr(b), refusing(t))},
	})
	for rule, want := range map[string]string{
		`resource.get("banner") . resource.getMTime("banner") . resource.exists("none")`:                             "hello770",
		`geo.getCity(request.getRemoteIP()) . geo.getLocation()`:                                                     "BerlinCambridge",
		`sys.hostname() . sys.domainname() . sys.getRestApiPort()`:                                                   "vtm-1test9070",
		`net.dns.resolveHost("node.test") . net.dns.resolveIP("127.0.0.1")`:                                          "127.0.0.1node.test",
		`rate.use.noQueue("one") . rate.use.noQueue("one") . rate.use.noQueue("one", "other") . rate.use("none")`:    "1010",
		`slm.isOK("gold") . slm.conforming("gold") . slm.threshold("gold")`:                                          "110050",
		`response.setBandwidthClass("gold") . request.setBandwidthClass("gold") . request.setBandwidthClass("none")`: "110",
		`http.request.get("http://node.test:` + port + `/x") . $1`:                                                   "b200",
		`http.request.get("http://elsewhere.test/") . $1`:                                                            "0",
		`array.length(pool.listActiveNodes("app")) . pool.checkNode("app", "127.0.0.1", ` + port + `)`:               "2ACTIVE",
		`connection.getVirtualServer() . request.getLocalIP() . rule.getState()`:                                     "answering127.0.0.1REQUEST",
	} {
		if got := p.answered(`$r = ` + rule + ";\n" + send); got != want {
			t.Errorf("%s: got %q, want %q; events %v", rule, got, want, p.events)
		}
	}
	if got := p.answered(`$a = auth.query("ldap", "ada", "s"); $b = auth.query("other", "ada"); $c = auth.query("none", "x");
		$r = $a["OK"] . $a["group"] . ($b["Error"] != "") . $c["Error"]; ` + send); got != "1admin1authenticator 'none' does not exist" {
		t.Errorf("auth.query: %q", got)
	}
	p.answered(`counter.increment(3, 5); event.emit("told", "something"); $r = 1;` + send)
	if n := p.Counters().Value(3); n != 5 {
		t.Errorf("counter %d", n)
	}
	if e := p.await("customevent", "told: something", 1); e.Section != "rules/answer" {
		t.Errorf("event %+v", e)
	}
	if got := p.answered(`$r = data.set("k", [1, "two"]) . data.local.set("k", "v") . connection.data.set("a", "b");` + send); got != "111" {
		t.Errorf("stores: %q", got)
	}
	if got := p.answered(`$d = data.get("k"); $r = $d[1] . data.local.get("k") . connection.data.get("a");` + send); got != "twov" {
		t.Errorf("stores, later: %q", got)
	}
	p.Apply(Update{ExtraFiles: map[string]*File{"geo.csv": {Content: "x"}, "hosts": nil}})
	p.await("confmod", "extra file 'geo.csv': line 1", 1)
	if got := p.answered(`$r = net.dns.resolveHost("node.test") . "|";` + send); got != "|" {
		t.Errorf("a host of a deleted table: %q", got)
	}
}

func TestSocketsOfRules(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			closed <- err
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		line, _ := r.ReadString('\n')
		fmt.Fprint(c, "got "+line)
		_, err = r.ReadByte() // until the client's connection ends
		closed <- err
	}()
	p := newPlane(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	got := p.answered(`$s = tcp.connect("127.0.0.1", ` + port + `); $r = tcp.write($s, "ping\n") . tcp.read($s, 100) . tcp.read($s, 1, 20) . $1;
		$r .= udp.sendTo("127.0.0.1", ` + port + `, "x"); http.sendResponse(200, "text/plain", $r, "Connection: close");`)
	if got != "5got ping\ntimeout1" {
		t.Errorf("got %q", got)
	}
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"answering": nil}})
	if err := <-closed; err != io.EOF {
		t.Errorf("the socket did not end with the connection: %v", err)
	}
}

func TestRulesStreamResponses(t *testing.T) {
	for name, test := range map[string]struct{ request, response, want, header string }{
		"from a request rule": {
			request: `http.stream.startResponse("201 Fine", "text/plain", 6, "X-A: 1"); http.stream.writeResponse("one"); http.stream.finishResponse("two too much");`,
			want:    "201 onetwo", header: "1",
		},
		"changed on its way": {
			response: `http.stream.startResponse(200, "text/plain");
				while (($d = http.stream.readResponse(10, " ")) != "") http.stream.writeResponse(string.uppercase($d));
				http.stream.finishResponse("!");`,
			want: "200 GET 127.0.0.1:PORT /X !", header: "",
		},
		"to be continued by the node": {
			response: `http.stream.startResponse(200, "text/plain", "", "X-A: 2"); http.stream.readResponse(100, " "); http.stream.continueFromBackend("HEAD ");`,
			want:     "200 HEAD 127.0.0.1:PORT /x ", header: "2",
		},
		"left open": {
			request: `http.stream.startResponse(200, "text/plain", "", "X-A: 3"); http.stream.writeResponse("all");`,
			want:    "200 all", header: "3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, port := ruled(t, test.request, test.response)
			res, err := testClient(t).Get(at(port, "/x"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			got := fmt.Sprintf("%d %s", res.StatusCode, body)
			if err != nil || got != strings.ReplaceAll(test.want, "PORT", fmt.Sprint(port)) || res.Header.Get("X-A") != test.header {
				t.Errorf("got %q %q, %v", got, res.Header.Get("X-A"), err)
			}
		})
	}
}

func TestWhatRequestRulesSetReachesTheResponse(t *testing.T) {
	p, port := ruled(t, `
		http.setResponseCookie("seen", "yes", "path=/");
		request.setRemoteIP("192.0.2.9");
		if (http.getPath() == "/answer") http.sendResponse("403 Keep Out", "text/plain", "no", "");
		if (http.getPath() == "/none") pool.use("nowhere");
		if (http.getPath() == "/raw") request.sendResponse("raw bytes");`, "")
	client := testClient(t)
	for _, path := range []string{"/", "/answer", "/none"} {
		res, err := client.Get(at(port, path))
		if err != nil {
			t.Fatal(err)
		}
		if res.Header.Get("Set-Cookie") != "seen=yes; path=/" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
	p.await("pooluseunknown", "pool 'nowhere' does not exist", 1)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /raw HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, _ := io.ReadAll(conn); string(got) != "raw bytes" {
		t.Errorf("request.sendResponse: %q", got)
	}
}

func TestARuleSendsARequestAgain(t *testing.T) {
	p := newPlane(t)
	bad := backend(t, "bad", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	good := backend(t, "good")
	port := freePort(t)
	p.Apply(Update{
		Rules: map[string]*Rule{"again": {Source: `
			http.setResponseHeader("X-Retries", request.getRetries());
			if (http.getResponseCode() == 500 && request.getRetries() < 5) { request.avoidNode(connection.getNode()); request.retry(); }`}},
		Pools:          map[string]*Pool{"app": aPool(addr(bad), addr(good))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.ResponseRules = []string{"again"} })},
	})
	again := 0
	for range 4 {
		res, err := testClient(t).Post(at(port, "/"), "text/plain", strings.NewReader("small"))
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "good" {
			t.Errorf("got %q", body)
		}
		if res.Header.Get("X-Retries") == "1" {
			again++
		}
	}
	if again == 0 {
		t.Error("no request met the node that fails")
	}
}

func TestCompletionRulesSeeHowItEnded(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) })
	port := freePort(t)
	p.Apply(Update{
		Rules: map[string]*Rule{
			"in": {Source: `if (http.getPath() == "/drop") connection.discard(); if (http.getPath() == "/answer") http.redirect("/");
				if (http.getPath() == "/none") pool.use("none");`},
			"end": {Source: `log.info("ended " . http.getPath() . " " . http.getResponseCode() . " " . connection.getCompletionReasonCode() . " " . rule.getState());`},
		},
		Pools: map[string]*Pool{"app": aPool(addr(b)), "none": aPool(refusing(t))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
			v.RequestRules, v.CompletionRules = []string{"in"}, []string{"/disabled", "end"}
		})},
	})
	for path, want := range map[string]string{
		"/ok": "404 COMPLETE COMPLETION", "/answer": "302 COMPLETE COMPLETION",
		"/drop": " DISCARDED_BY_RULE COMPLETION", "/none": "503 NODE_LOST COMPLETION",
	} {
		get(testClient(t), at(port, path))
		p.await("rulelogmsginfo", "ended "+path+" "+want, 1)
	}
}

// TestRulesWithoutEndEndAlone: what a rule does to itself ends that rule, or the
// request it waits in, and nothing else.
func TestRulesWithoutEndEndAlone(t *testing.T) {
	for name, test := range map[string]struct{ rule, event, want string }{
		"a loop":               {`while (1) { $i++; }`, "used more than 100000 instructions", "200 "},
		"a recursion":          {`f(1);`, "deep", "200 "},
		"memory":               {`$a = "0123456789abcdef"; while (1) { $a = $a . $a; }`, "made values of more than", "200 "},
		"a regular expression": {`string.regexmatch(string.replaceAll(http.getQueryString(), "b", "") . "` + strings.Repeat("a", 200) + `", '(?=a)(a+)+$x');`, "regex_match_limit", "200 "},
		"a sleep":              {`while (1) { connection.sleep(50); }`, "connection.sleep: no data was received in time", "408 "},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			b := backend(t, "b")
			port := freePort(t)
			p.Apply(Update{
				Rules: map[string]*Rule{"in": {Source: `if (http.getPath() == "/bad") { ` + test.rule + ` } sub f($n) { return f($n + 1); }`}},
				Pools: map[string]*Pool{"app": aPool(addr(b))},
				VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
					v.RequestRules, v.Timeout = []string{"in"}, time.Second
				})},
			})
			status, _ := get(testClient(t), at(port, "/bad"))
			if got := fmt.Sprintf("%d ", status); got != test.want {
				t.Errorf("the client got %s", got)
			}
			if e := p.await("ruleabort", test.event, 1); e.Level != "SERIOUS" {
				t.Errorf("event %+v", e)
			}
			p.want(testClient(t), at(port, "/"), 200, "b")
		})
	}
}

func TestRulesThatBufferMuchAreTold(t *testing.T) {
	p, port := ruled(t, `http.getBody();`, "")
	p.Apply(Update{Global: &Global{MaxInstructions: 100_000, Script: ScriptSettings{MemoryWarning: 1000}}})
	if _, err := testClient(t).Post(at(port, "/"), "text/plain", strings.NewReader(strings.Repeat("x", 2000))); err != nil {
		t.Fatal(err)
	}
	p.await("rulebufferlarge", "buffers 2000 bytes", 1)
}

func TestVariablePoolUseCompilesRulesAgain(t *testing.T) {
	p, port := ruled(t, `$p = "oth" . "er"; pool.use($p);`, "")
	p.await("confmod", "variable_pool_use", 1)
	p.Apply(Update{Global: &Global{MaxInstructions: 100_000, VariablePoolUse: true}})
	p.want(testClient(t), at(port, "/"), 200, "other")
}

func TestRulesSeeTheClientsTLS(t *testing.T) {
	key, _ := selfSigned(t, "shop.test")
	p := newPlane(t)
	port := freePort(t)
	p.Apply(Update{
		ServerKeys: map[string]*ServerKey{"shop": key},
		Rules: map[string]*Rule{"in": {Source: `$r = ssl.isSSL() . ssl.getTLSServerName() . "|" . ssl.serverCertName() . "|" . ssl.serverCertCommonName() . "|" .
			ssl.clientCipher() . "|" . string.len(ssl.sslSessionID()) . "|" . ssl.clientCertStatus() . "|" . ssl.getClientCloseAlert(); ` + send}},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, discard, func(v *VirtualServer) {
			v.SSLDecrypt, v.ServerCertDefault, v.RequestRules, v.TLS.SendCloseAlerts = true, "shop", []string{"in"}, true
		})},
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "shop.test", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}}}
	defer client.CloseIdleConnections()
	_, got := get(client, strings.Replace(at(port, "/"), "http:", "https:", 1))
	if want := "1shop.test|shop|shop.test|SSL_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, version=TLSv1.2, bits=128|64|NoClientCert|1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRateClassesLetThroughWhatTheyAllow(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1000, 0))
	var none *rateClass
	c := none.with(clock, &Rate{PerSecond: 2})
	take := func() bool { _, ok := c.claim("", true); return ok }
	if first, second, third := take(), take(), take(); !first || !second || third {
		t.Error("two at once are allowed in a second, not three")
	}
	clock.Step(500 * time.Millisecond)
	if !take() || take() {
		t.Error("half a second allows one more")
	}
	if wait, _ := c.claim("", false); wait != 500*time.Millisecond {
		t.Errorf("the next waits %s", wait)
	}
	if wait, _ := c.claim("", false); wait != time.Second {
		t.Errorf("the one after waits %s", wait)
	}
	if wait, _ := c.claim("other", false); wait != 0 || c.contexts[""].waiting != 2 {
		t.Errorf("another context waits %s; %d wait", wait, c.contexts[""].waiting)
	}
	c = c.with(clock, &Rate{PerMinute: 1})
	clock.Step(time.Hour)
	if !take() || take() {
		t.Error("one a minute")
	}
	for i := range maxContexts + 10 {
		c.claim(fmt.Sprint(i), true)
		clock.Step(time.Minute)
	}
	if len(c.contexts) > maxContexts {
		t.Errorf("%d contexts are kept", len(c.contexts))
	}
}

func TestServiceLevelsCountTheLastSeconds(t *testing.T) {
	var none *levelClass
	c := none.with(&ServiceLevel{ResponseTime: time.Second, SeriousThreshold: 50})
	now := time.Unix(1000, 0)
	for i := range 4 {
		c.count(now, time.Duration(i)*500*time.Millisecond)
	}
	if s := c.state(now); s.Conforming != 75 || s.Threshold != 50 {
		t.Errorf("%+v", s)
	}
	if s := c.state(now.Add(10 * time.Second)); s.Conforming != 100 {
		t.Errorf("after ten seconds: %+v", s)
	}
}

func TestStoresHaveTheSizesThatAreSet(t *testing.T) {
	p := newPlane(t)
	p.Apply(Update{Global: &Global{MaxInstructions: 100_000, Script: ScriptSettings{DataSize: "1KB"}}})
	if got := p.answered(`$r = data.getMemoryFree() . "," . data.local.getMemoryFree();` + send); got != "1024,53687090" {
		t.Errorf("free: %s", got)
	}
}
