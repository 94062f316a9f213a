package vtm_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/vtm"
)

func TestTheTreeLeadsFromTheRootToEveryFolder(t *testing.T) {
	_, c := start(t, nil)
	root := strings.TrimSuffix(c.base, "/api/tm/8.3")
	seen := 0
	var walk func(path string)
	walk = func(path string) {
		c.base = root
		r := c.want(200, "GET", path, nil)
		children, ok := r.json(t)["children"].([]any)
		if !ok {
			return
		}
		last := ""
		for _, child := range children {
			child := child.(map[string]any)
			name, href := child["name"].(string), child["href"].(string)
			if !strings.Contains(path, "/api/tm/") || strings.Count(path, "/") > 3 {
				if name <= last {
					t.Errorf("%s is not sorted: %q after %q", path, name, last)
				}
			}
			last = name
			if !strings.HasPrefix(href, path) {
				t.Errorf("%s has a child at %s", path, href)
			}
			seen++
			// A folder is known by the final slash of its href, and answers without it too.
			if strings.HasSuffix(href, "/") {
				if got := c.want(200, "GET", strings.TrimSuffix(href, "/"), nil); !strings.HasPrefix(string(got.body), `{"children":`) {
					t.Errorf("%s is no folder", href)
				}
			} else if strings.Contains(string(c.want(200, "GET", href, nil).body), `{"children":`) {
				t.Errorf("%s is a folder", href)
			}
			if strings.HasSuffix(href, "/") && (len(href) <= len("/api/tm/") || strings.HasPrefix(href, "/api/tm/8.3/")) {
				walk(href)
			}
		}
	}
	walk("/")
	if seen < 100 {
		t.Errorf("only %d children", seen)
	}
}

func TestOlderVersionsAnswerTheSameTree(t *testing.T) {
	_, c := start(t, nil)
	for _, version := range []string{"5.2", "7.0", "8.3"} {
		c.base = c.base[:strings.LastIndexByte(c.base, '/')+1] + version
		r := c.want(200, "GET", "/config/active/monitors/", nil)
		if want := `"href":"/api/tm/` + version + `/config/active/monitors/Simple%20HTTP"`; !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %s lacks %s", version, r.body, want)
		}
		c.want(200, "GET", "/config/active/monitors/Simple%20HTTP/", nil)
	}
	c.base = strings.Replace(c.base, "/8.3", "/9.9", 1)
	c.want(404, "GET", "/config/active/monitors", nil)
}

func TestWithoutARightPasswordNothingIsAnswered(t *testing.T) {
	tm, c := start(t, nil)
	c.want(200, "PUT", "/config/active/global_settings", `{"properties":{"security":{"login_delay":0}}}`)
	_, before := tm.Writes()
	for _, login := range [][2]string{{}, {"admin", ""}, {"admin", "Secret"}, {"root", "secret"}, {"", ""}, {"nobody", ""}} {
		req, _ := http.NewRequest("PUT", c.base+"/config/active/pools/p", strings.NewReader(`{}`))
		if login != [2]string{} {
			req.SetBasicAuth(login[0], login[1])
		}
		r := c.send(req)
		if r.status != 401 || r.header.Get("WWW-Authenticate") == "" || r.json(t)["error_id"] != "auth.invalid" {
			t.Errorf("%q: %d %s", login, r.status, r.body)
		}
	}
	if _, total := tm.Writes(); total != before {
		t.Errorf("%d writes", total-before)
	}
	for _, e := range tm.EventLog() {
		if strings.Contains(e.String(), "Secret") {
			t.Errorf("a password is in the event log: %s", e)
		}
	}
	c.want(404, "GET", "/config/active/pools/p", nil)
}

func TestHEADAnswersAsGETWithoutBody(t *testing.T) {
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/rules/r", []byte("log.info( \"x\" );"))
	for _, path := range []string{"/", "/config/active/pools", "/config/active/monitors/Ping", "/config/active/rules/r", "/config/active/pools/none"} {
		get, head := c.do("GET", path, nil), c.do("HEAD", path, nil)
		if head.status != get.status || len(head.body) != 0 || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("%s: GET %d %v, HEAD %d %v", path, get.status, get.header, head.status, head.header)
		}
	}
}

func TestNamesOfAnyLegalKindAreKept(t *testing.T) {
	_, c := start(t, nil)
	for _, name := range []string{
		"k8s_192.0.2.1_443_vs", "a b", "a:443", "100%", "what?", "a#b", "a+b", "ünï cödé", "日本", `quo"te\`, "a&b=c;d,e",
		"<script>", strings.Repeat("x", 255), "a..b", "%2F", "~", "'",
	} {
		path := "/config/active/pools/" + url.PathEscape(name)
		body := `{"properties":{"basic":{"note":"mine"}}}`
		c.want(201, "PUT", path, body)
		list := c.want(200, "GET", "/config/active/pools", nil).json(t)["children"].([]any)
		if len(list) != 1 || list[0].(map[string]any)["name"] != name {
			t.Errorf("%q is listed as %v", name, list)
		}
		href := list[0].(map[string]any)["href"].(string)
		c2 := *c
		c2.base = strings.TrimSuffix(c.base, "/api/tm/8.3")
		if got := read(t, c2.want(200, "GET", href, nil))["basic"]["note"]; got != "mine" {
			t.Errorf("%q read back at %s: %v", name, href, got)
		}
		c2.want(204, "DELETE", href, nil)
	}
	c.want(400, "PUT", "/config/active/pools/"+strings.Repeat("x", 256), `{}`)
	c.want(404, "GET", "/config/active/pools//a", nil)
	c.want(404, "DELETE", "/config/active/pools/..%2fmonitors%2fPing", nil)
}

func TestListsKeepTheirOrderAndSetsHoldEachOnce(t *testing.T) {
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/virtual_servers/v", `{"properties":{"basic":{"port":80,"pool":"nowhere",
		"request_rules":["b","a","b"],"listen_on_traffic_ips":["y","x","y"]}}}`)
	if got := fmt.Sprint(c.get("virtual_servers/v", "basic", "request_rules")); got != "[b a b]" {
		t.Errorf("request_rules %s", got)
	}
	if got := fmt.Sprint(c.get("virtual_servers/v", "basic", "listen_on_traffic_ips")); got != "[y x]" {
		t.Errorf("listen_on_traffic_ips %s", got)
	}
}

func TestABareStringIsAListInCustom(t *testing.T) {
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/custom/c", `{"properties":{"basic":{"string_lists":[{"name":"a","value":"one"},{"name":"b","value":["x","y"]}]}}}`)
	if got := fmt.Sprint(c.get("custom/c", "basic", "string_lists")); got != "[map[name:a value:[one]] map[name:b value:[x y]]]" {
		t.Errorf("string_lists %s", got)
	}
}

func TestBodiesMayHaveNoContentTypeButNoOther(t *testing.T) {
	_, c := start(t, nil)
	send := func(path, media, body string) int {
		req, _ := http.NewRequest("PUT", c.base+path, strings.NewReader(body))
		req.SetBasicAuth("admin", "secret")
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		return c.send(req).status
	}
	for media, want := range map[string]int{
		"": 200, "application/json": 200, "application/json; charset=utf-8": 200, "application/octet-stream": 200,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, ";": 415,
	} {
		send("/config/active/pools/p", "", `{}`)
		if got := send("/config/active/pools/p", media, `{}`); got != want {
			t.Errorf("pool as %q: %d, want %d", media, got, want)
		}
	}
	for media, want := range map[string]int{"": 204, "application/octet-stream": 204, "text/plain": 204, "application/json": 415} {
		send("/config/active/rules/r", "", "x")
		if got := send("/config/active/rules/r", media, "x"); got != want {
			t.Errorf("rule as %q: %d, want %d", media, got, want)
		}
	}
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '['
	}
	return len(b), nil
}

func TestHugeAndDeepBodiesAreRefused(t *testing.T) {
	tm, c := start(t, nil)
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	c.want(400, "PUT", "/config/active/pools/p", deep)
	c.want(400, "PUT", "/config/active/pools/p", `{"properties":{"basic":{"nodes_table":[{"node":`+deep[:9000]+strings.Repeat("]", 4500)+`}]}}}`)
	for _, size := range []int64{100 << 20, -1} { // told in advance, and not
		req, _ := http.NewRequest("PUT", c.base+"/config/active/pools/p", io.LimitReader(zeros{}, 100<<20))
		req.ContentLength = size
		req.SetBasicAuth("admin", "secret")
		resp, err := c.http.Do(req)
		if err != nil {
			continue // the connection was closed while the body was on its way
		}
		if resp.StatusCode != 413 {
			t.Errorf("size %d: %d", size, resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
	c.want(404, "GET", "/config/active/pools/p", nil)
	if _, total := tm.Writes(); total != 0 {
		t.Errorf("%d writes", total)
	}
}

func TestABodyThatEndsEarlyChangesNothing(t *testing.T) {
	tm, _ := start(t, func(o *vtm.Options) { o.PlainHTTP = true })
	conn, err := net.Dial("tcp", tm.RESTAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "PUT /api/tm/8.3/config/active/rules/r HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\nContent-Length: 100\r\n\r\nhalf")
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("answered %q", answer)
	}
	if _, total := tm.Writes(); total != 0 {
		t.Errorf("%d writes", total)
	}
}

func TestWritesAndEventLogTellWhatWasChanged(t *testing.T) {
	tm, c := start(t, nil)
	c.want(201, "PUT", "/config/active/pools/a%20b", `{}`)
	c.want(200, "PUT", "/config/active/pools/a%20b", `{}`)
	c.want(400, "PUT", "/config/active/pools/a%20b", `{"x":1}`)
	c.want(200, "PUT", "/config/active/global_settings", `{}`)
	c.want(201, "PUT", "/config/active/rules/r", []byte("x"))
	c.want(204, "PUT", "/config/active/rules/r", []byte("y"))
	c.want(204, "DELETE", "/config/active/pools/a%20b", nil)
	writes, total := tm.Writes()
	got := ""
	for _, w := range writes {
		if w.User != "admin" || w.Time.IsZero() {
			t.Errorf("%+v", w)
		}
		got += fmt.Sprintf("%s %s %d\n", w.Method, w.Path, w.Status)
	}
	want := "PUT pools/a b 201\nPUT pools/a b 200\nPUT global_settings 200\nPUT rules/r 201\nPUT rules/r 204\nDELETE pools/a b 204\n"
	if got != want || total != 6 {
		t.Errorf("%d writes:\n%s", total, got)
	}
	var lines string
	for _, e := range tm.EventLog() {
		if strings.HasPrefix(e.Tag, "conf") {
			lines += strings.SplitN(e.String(), "\t", 2)[1] + "\n"
		}
	}
	for _, want := range []string{
		"INFO\tpools/a b\tconfadd\tConfiguration file added\n", "INFO\tpools/a b\tconfmod\tConfiguration file modified\n",
		"INFO\tpools/a b\tconfdel\tConfiguration file deleted\n",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the event log lacks %q:\n%s", want, lines)
		}
	}
}

func TestFaultsMisbehaveAndHeal(t *testing.T) {
	tm, c := start(t, nil)
	c.want(200, "GET", "/config/active", nil)
	tm.SetFault(vtm.Fault{Down: true})
	req, _ := http.NewRequest("GET", c.base, nil)
	if resp, err := c.http.Do(req); err == nil {
		t.Errorf("down, and answers %d", resp.StatusCode)
		_ = resp.Body.Close()
	}
	tm.SetFault(vtm.Fault{Status: 503})
	if r := c.want(503, "PUT", "/config/active/pools/p", `{}`); r.json(t)["error_id"] == nil {
		t.Errorf("answered %s", r.body)
	}
	tm.SetFault(vtm.Fault{WrongPassword: true})
	c.want(401, "GET", "/config/active", nil)
	tm.SetFault(vtm.Fault{Garbage: true})
	if r := c.want(201, "PUT", "/config/active/pools/p", `{}`); strings.HasPrefix(string(r.body), "{") {
		t.Errorf("answered %s", r.body)
	}
	tm.SetFault(vtm.Fault{})
	c.want(200, "GET", "/config/active/pools/p", nil)
}

func TestOnlyTLSWithoutHTTP2IsSpoken(t *testing.T) {
	tm, _ := start(t, nil)
	conn, err := tls.Dial("tcp", tm.RESTAddress(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err == nil {
		if p := conn.ConnectionState().NegotiatedProtocol; p == "h2" {
			t.Errorf("negotiated %s", p)
		}
		_ = conn.Close()
	}
	resp, err := http.Get("http://" + tm.RESTAddress() + "/")
	if err == nil {
		if resp.StatusCode != 400 {
			t.Errorf("plain HTTP answers %d", resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
}

func TestAnAddressInUseIsAnErrorThatNamesIt(t *testing.T) {
	tm, _ := start(t, nil)
	_, port, _ := net.SplitHostPort(tm.RESTAddress())
	n := 0
	_, _ = fmt.Sscan(port, &n)
	_, err := vtm.Start(vtm.Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm-2.sim", Address: "127.0.0.1", RESTPort: n})
	if err == nil || !strings.Contains(err.Error(), tm.RESTAddress()) {
		t.Errorf("error %v", err)
	}
}

// fixedRand is a World whose randomness repeats.
type fixedRand struct{ outside.World }

func (fixedRand) Rand(name string) io.Reader { return strings.NewReader(strings.Repeat(name, 20)) }

func TestCertificateAndUUIDAreFunctionsOfTheRandomness(t *testing.T) {
	world := func(o *vtm.Options) { o.World = fixedRand{o.World} }
	a, ca := start(t, world)
	b, cb := start(t, world)
	uuid := func(c *client) string { return string(c.want(200, "GET", "/status/local_tm/information", nil).body) }
	if uuid(ca) != uuid(cb) {
		t.Errorf("%s and %s", uuid(ca), uuid(cb))
	}
	if len(a.Fingerprint()) != 64 || len(b.CertificatePEM()) == 0 {
		t.Errorf("fingerprint %q", a.Fingerprint())
	}
}

func TestANewTrafficManagerHasItsBuiltInResources(t *testing.T) {
	_, c := start(t, nil)
	for path, want := range map[string]string{
		"monitors":    "Client First,Connect,DNS,FTP,Full HTTP,Full HTTPS,POP,Ping,RTSP,SIP TCP,SIP TLS,SIP UDP,SMTP,Server First,Simple HTTP,Simple HTTPS",
		"user_groups": "Admin,Demo,Guest,Monitoring", "traffic_managers": "vtm-1.sim", "pools": "", "virtual_servers": "", "rules": "",
	} {
		var names []string
		for _, child := range c.want(200, "GET", "/config/active/"+path, nil).json(t)["children"].([]any) {
			names = append(names, child.(map[string]any)["name"].(string))
		}
		if got := strings.Join(names, ","); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := fmt.Sprint(c.get("monitors/SIP%20TLS", "basic", "type"), c.get("monitors/SIP%20TLS", "basic", "use_ssl"), c.get("monitors/SIP%20TLS", "basic", "failures")); got != "siptrue 5" {
		t.Errorf("SIP TLS is %s", got)
	}
	c.want(200, "PUT", "/config/active/monitors/Ping", `{"properties":{"basic":{"delay":9}}}`)
	c.want(403, "DELETE", "/config/active/monitors/Ping", nil)
}
