package dataplane

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// one starts a data plane with one virtual server before one node.
func one(t *testing.T, node http.HandlerFunc, change ...func(*VirtualServer)) (*plane, int) {
	t.Helper()
	p := newPlane(t)
	port := freePort(t)
	b := backend(t, "b", node)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", change...)},
	})
	return p, port
}

// ask sends a request with headers ("Name: value") and returns the response and
// its body as it came.
func ask(t *testing.T, c *http.Client, method, where string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, where, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestResponsesAreCompressedAsSet(t *testing.T) {
	text := strings.Repeat("all work and no play ", 200)
	var asked atomic.Value
	node := func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("If-None-Match"))
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if kind := q.Get("type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.Header().Set("ETag", `"v1"`)
		for _, h := range []string{"Content-Encoding", "Cache-Control", "Vary"} {
			if v := q.Get(h); v != "" {
				w.Header().Set(h, v)
			}
		}
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		if q.Get("status") != "" {
			w.WriteHeader(404)
		}
		body := text
		if q.Get("short") != "" {
			body = "short"
		}
		if q.Get("nosize") != "" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		fmt.Fprint(w, body)
	}
	enabled := func(v *VirtualServer) {
		v.Gzip = Gzip{Enabled: true, Level: 6, IncludeMime: []string{"text/html", "application/*"}, MinSize: 1000, MaxSize: 10000, NoSize: true}
	}
	p, port := one(t, node, enabled)
	c := testClient(t)
	for _, row := range []struct {
		what, query, accept string
		zipped              bool
	}{
		{"a page", "", "gzip", true},
		{"a page of unknown length", "nosize=1", "br, gzip;q=0.5", true},
		{"for anything", "", "*", true},
		{"a type by prefix", "type=application/json", "gzip", true},
		{"nobody asked", "", "", false},
		{"asked against", "", "gzip;q=0, *", false},
		{"something else asked", "", "br", false},
		{"another type", "type=image/png", "gzip", false},
		{"too small", "short=1", "gzip", false},
		{"compressed by the node", "Content-Encoding=br", "gzip", false},
		{"not to be changed", "Cache-Control=public, no-transform", "gzip", false},
		{"an error", "status=1", "gzip", false},
	} {
		headers := []string{"X: y"}
		if row.accept != "" {
			headers = append(headers, "Accept-Encoding: "+row.accept)
		}
		res, body := ask(t, c, "GET", at(port, "/?"+strings.ReplaceAll(row.query, " ", "%20")), headers...)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != row.zipped {
			t.Errorf("%s: compressed %v, want %v", row.what, got, row.zipped)
			continue
		}
		if !row.zipped {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", row.what, err)
			continue
		}
		plain, err := io.ReadAll(z)
		if err != nil || string(plain) != text || len(body) >= len(text) || res.Header.Get("Vary") != "Accept-Encoding" || res.Header.Get("Etag") != `"v1-gzip"` {
			t.Errorf("%s: %d bytes of %d, %v, headers %v", row.what, len(body), len(plain), err, res.Header)
		}
	}
	// What a client got compressed, it asks for by that tag.
	res, _ := ask(t, c, "GET", at(port, "/"), "Accept-Encoding: gzip", `If-None-Match: "v1-gzip"`)
	if res.StatusCode != 304 || asked.Load() != `"v1"` || res.Header.Get("Etag") != `"v1-gzip"` {
		t.Errorf("conditional: %d, the node was asked for %v, %v", res.StatusCode, asked.Load(), res.Header)
	}
	for how, want := range map[string]string{"weaken": `W/"v1"`, "delete": "", "ignore": `"v1"`} {
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", enabled, func(v *VirtualServer) { v.Gzip.ETag = how })}})
		res, _ := ask(t, c, "GET", at(port, "/"), "Accept-Encoding: gzip")
		if got := res.Header.Get("Etag"); got != want {
			t.Errorf("%s: ETag %q, want %q", how, got, want)
		}
	}
	if s, _ := p.ServerStatistics("web"); s["gzip"] == 0 || s["gzip_bytes_saved"] == 0 {
		t.Errorf("counted: %v", s)
	}
}

// What the node has sent reaches the client before the node sends more.
func TestCompressionHoldsNothingBack(t *testing.T) {
	more := make(chan bool)
	_, port := one(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for range 3 {
			fmt.Fprint(w, "a piece\n")
			w.(http.Flusher).Flush()
			<-more
		}
	}, func(v *VirtualServer) { v.Gzip = Gzip{Enabled: true, IncludeMime: []string{"text/*"}, NoSize: true} })
	req, _ := http.NewRequest("GET", at(port, "/"), nil)
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := testClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(z)
	for range 3 {
		if line, err := lines.ReadString('\n'); line != "a piece\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		more <- true
	}
}

func TestCookiesOfNodesAreRewritten(t *testing.T) {
	const cookie = "id=a=b; Path=/app/x; Domain=in.test; HttpOnly; Secure"
	for _, c := range []struct {
		what   string
		change Cookie
		want   string
	}{
		{"nothing set", Cookie{}, cookie},
		{"a named domain", Cookie{Domain: "set_to_named", NewDomain: "out.test"}, "id=a=b; Path=/app/x; Domain=out.test; HttpOnly; Secure"},
		{"the request's domain", Cookie{Domain: "set_to_request"}, "id=a=b; Path=/app/x; Domain=127.0.0.1; HttpOnly; Secure"},
		{"a path", Cookie{PathRegex: "^/app(.*)", PathReplace: "/y$1z"}, "id=a=b; Path=/y/xz; Domain=in.test; HttpOnly; Secure"},
		{"not secure", Cookie{Secure: "unset_secure"}, "id=a=b; Path=/app/x; Domain=in.test; HttpOnly"},
		{"secure already", Cookie{Secure: "set_secure"}, cookie},
	} {
		_, port := one(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Set-Cookie", cookie) },
			func(v *VirtualServer) { v.Cookie = c.change })
		if res, _ := ask(t, testClient(t), "GET", at(port, "/")); res.Header.Get("Set-Cookie") != c.want {
			t.Errorf("%s: got %q, want %q", c.what, res.Header.Get("Set-Cookie"), c.want)
		}
	}
	_, port := one(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Set-Cookie", "a=b") },
		func(v *VirtualServer) { v.Cookie = Cookie{Secure: "set_secure", Domain: "set_to_request"} })
	if res, _ := ask(t, testClient(t), "GET", at(port, "/")); res.Header.Get("Set-Cookie") != "a=b; secure" {
		t.Errorf("got %q", res.Header.Get("Set-Cookie"))
	}
}

func TestTypesAreDetectedByTheEndingOfThePath(t *testing.T) {
	_, port := one(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if kind := r.URL.Query().Get("type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		fmt.Fprint(w, "<html>")
	}, func(v *VirtualServer) { v.MimeDetect, v.MimeDefault = true, "text/plain" })
	for target, want := range map[string]string{
		"/a.css": "text/css", "/a.PNG?type=text/plain": "image/png", "/a.png?type=text/html": "text/html", "/a.unknown": "", "/": "",
	} {
		if res, _ := ask(t, testClient(t), "GET", at(port, target)); res.Header.Get("Content-Type") != want {
			t.Errorf("%s: got %q, want %q", target, res.Header.Get("Content-Type"), want)
		}
	}
}

func TestReasonPhrasesReachTheClient(t *testing.T) {
	p := newPlane(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil && r.URL.Path == "/early" {
				fmt.Fprint(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
			}
			fmt.Fprint(conn, "HTTP/1.1 200 Splendid: all of it\r\nContent-Length: 20\r\nConnection: close\r\n\r\nHTTP/1.1 404 Nothing\n")
			conn.Close()
		}
	}()
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(l.Addr().String())},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, path := range []string{"/", "/early", "/"} {
		if res, body := ask(t, testClient(t), "GET", at(port, path)); res.Status != "200 Splendid: all of it" || body != "HTTP/1.1 404 Nothing" {
			t.Errorf("%s: got %q %q", path, res.Status, body)
		}
	}
}

func TestTheErrorFileIsSentInsteadOfTheOwnPage(t *testing.T) {
	p := newPlane(t)
	port := freePort(t)
	server := func(name string) *VirtualServer {
		return aServer(port, "none", func(v *VirtualServer) { v.ErrorFile = name })
	}
	p.Apply(Update{
		ExtraFiles:     map[string]*File{"sorry.html": {Content: "<p>Sorry</p>"}, "sorry.txt": {Content: "Sorry"}, "sorry": {Content: "<p>"}},
		VirtualServers: map[string]*VirtualServer{"web": server("sorry.html")},
	})
	for name, want := range map[string]string{"sorry.html": "text/html <p>Sorry</p>", "sorry.txt": "text/plain Sorry", "sorry": "text/html <p>"} {
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": server(name)}})
		if res, body := ask(t, testClient(t), "GET", at(port, "/")); res.StatusCode != 503 || res.Header.Get("Content-Type")+" "+body != want {
			t.Errorf("%s: got %d %s %q", name, res.StatusCode, res.Header.Get("Content-Type"), body)
		}
	}
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": server("lost.html")}})
	p.await("confmod", "error file 'lost.html'", 1)
	if _, body := ask(t, testClient(t), "GET", at(port, "/")); !strings.Contains(body, "Service Unavailable") {
		t.Errorf("got %q", body)
	}
}

func TestOnlyListedProtocolsAreUpgradedTo(t *testing.T) {
	_, port := one(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "[%s]", r.Header.Get("Upgrade")) },
		func(v *VirtualServer) { v.UpgradeProtocols = []string{"WebSocket"} })
	for asked, want := range map[string]string{"websocket": "[websocket]", "h2c": "[]"} {
		if _, body := ask(t, testClient(t), "GET", at(port, "/"), "Connection: Upgrade", "Upgrade: "+asked); body != want {
			t.Errorf("%s: the node was asked for %s, want %s", asked, body, want)
		}
	}
}

// cached runs requests against a virtual server with a cache, in fake time. The
// node counts its requests in the body.
func cached(t *testing.T, conf WebCache, run func(get func(path string, headers ...string) (int, string, http.Header))) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		count := 0
		w.node("10.8.0.1:80", func(w http.ResponseWriter, r *http.Request) {
			count++
			for name, values := range r.URL.Query() {
				if name == "status" {
					continue
				}
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
			if r.URL.Query().Get("status") != "" {
				w.WriteHeader(404)
			}
			fmt.Fprint(w, count)
		})
		conf.Enabled = true
		w.d.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool("10.8.0.1:80")},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", func(v *VirtualServer) { v.WebCache = conf })},
		})
		n := 0
		run(func(path string, headers ...string) (int, string, http.Header) {
			n++
			method := "GET"
			if len(headers) > 0 && !strings.Contains(headers[0], ":") {
				method, headers = headers[0], headers[1:]
			}
			res, body := ask(t, w.client(fmt.Sprint("client", n)), method, "http://10.9.0.1"+path, headers...)
			return res.StatusCode, body, res.Header
		})
		w.close()
	})
}

func TestTheWebCacheAnswersWhatIsFresh(t *testing.T) {
	times := WebCache{MaxTime: 600 * time.Second, ErrorPageTime: 30 * time.Second}
	cached(t, times, func(get func(string, ...string) (int, string, http.Header)) {
		want := func(what, path, body string, headers ...string) {
			t.Helper()
			if _, got, h := get(path, headers...); got != body {
				t.Errorf("%s: got the node's answer %s, want %s (%v)", what, got, body, h)
			}
		}
		want("first", "/a?cache-control=max-age=60", "1")
		time.Sleep(59 * time.Second)
		want("fresh", "/a?cache-control=max-age=60", "1")
		if _, _, h := get("/a?cache-control=max-age=60"); h.Get("Age") != "59" {
			t.Errorf("Age is %q, want 59", h.Get("Age"))
		}
		want("asked not to", "/a?cache-control=max-age=60", "2", "Cache-Control: no-cache")
		time.Sleep(2 * time.Second)
		want("stale", "/a?cache-control=max-age=60", "3")
		want("another URL", "/b?cache-control=max-age=60", "4")
		want("order of the query", "/q?x=1&cache-control=max-age=60", "5")
		want("order of the query", "/q?cache-control=max-age=60&x=1", "5")
		want("private", "/p?cache-control=private,max-age=60", "6")
		want("private", "/p?cache-control=private,max-age=60", "7")
		want("no word of freshness", "/n", "8")
		want("no word of freshness", "/n", "9")
		want("a cookie", "/c?cache-control=max-age=60&set-cookie=a=b", "10")
		want("a cookie", "/c?cache-control=max-age=60&set-cookie=a=b", "11")
		want("authorised", "/s?cache-control=max-age=60", "12", "Authorization: Basic x")
		want("authorised", "/s?cache-control=max-age=60", "13", "Authorization: Basic x")
		want("an error page", "/e?status=404", "14")
		want("an error page", "/e?status=404", "14")
		time.Sleep(31 * time.Second)
		want("an error page", "/e?status=404", "15")
		want("German", "/v?cache-control=max-age=60&vary=Accept-Language", "16", "Accept-Language: de")
		want("French", "/v?cache-control=max-age=60&vary=Accept-Language", "17", "Accept-Language: fr")
		want("German", "/v?cache-control=max-age=60&vary=Accept-Language", "16", "Accept-Language: de")
		want("for very long", "/l?cache-control=max-age=99999", "18")
		time.Sleep(601 * time.Second)
		want("for very long", "/l?cache-control=max-age=99999", "19")
		if code, body, _ := get("/l?cache-control=max-age=99999", "HEAD"); code != 200 || body != "" {
			t.Errorf("HEAD: %d %q", code, body)
		}
		want("written to", "/l?cache-control=max-age=99999", "20", "POST")
		want("after that", "/l?cache-control=max-age=99999", "21")
		want("tagged", "/t?cache-control=max-age=60&etag=%22x%22", "22")
		if code, body, _ := get("/t?cache-control=max-age=60&etag=%22x%22", `If-None-Match: "y", W/"x"`); code != 304 || body != "" {
			t.Errorf("conditional: %d %q", code, body)
		}
		want("another tag", "/t?cache-control=max-age=60&etag=%22x%22", "22", `If-None-Match: "y"`)
	})
}

func TestTheWebCacheRefreshesOncePerSecondBeforeItExpires(t *testing.T) {
	cached(t, WebCache{MaxTime: 10 * time.Second, RefreshTime: 3 * time.Second, ControlOut: "no-cache"}, func(get func(string, ...string) (int, string, http.Header)) {
		const path = "/?cache-control=max-age=10"
		var got []string
		step := func(wait time.Duration) {
			time.Sleep(wait)
			_, body, _ := get(path)
			got = append(got, body)
		}
		step(0)
		step(5 * time.Second)
		step(2500 * time.Millisecond) // 7.5 s: one goes to the node
		step(100 * time.Millisecond)  // which renews the page
		if want := "1 1 2 2"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if _, _, h := get(path); h.Get("Cache-Control") != "no-cache" {
			t.Errorf("Cache-Control is %q", h.Get("Cache-Control"))
		}
	})
}

func TestTheWebCacheStaysWithinItsSize(t *testing.T) {
	var c webCache
	limits := cacheLimits{size: 1000, file: 500, files: 3}
	for i := range 10 {
		c.store(fmt.Sprint(i), &cacheEntry{body: make([]byte, 400), stored: time.Unix(int64(i), 0), expires: time.Unix(1000, 0)}, limits)
		if c.size > limits.size || c.entries > limits.files || c.entries != len(c.byKey) || int64(c.entries)*400 != c.size {
			t.Fatalf("after %d: %d bytes in %d entries of %d", i, c.size, c.entries, len(c.byKey))
		}
	}
	r, _ := http.NewRequest("GET", "/", nil)
	if c.find("9", r, time.Unix(20, 0)) == nil || c.find("1", r, time.Unix(20, 0)) != nil {
		t.Error("not the oldest ones are gone")
	}
	for text, want := range map[string]int64{"20%": 200, "10MB": 10 << 20, "1 GB": 1 << 30, "5": 5, "": 0, "x": 0, "-1": 0, "99999999999GB": 1 << 62} {
		if got := byteSize(text, 1000); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
