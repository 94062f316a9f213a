package dataplane

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func selfSigned(t testing.TB, name string) (*ServerKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &ServerKey{
		Public:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Private: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}, der
}

// ruled starts a virtual server with a request rule and a response rule before a
// node that answers with what it got.
func ruled(t *testing.T, request, response string) (*plane, int) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			fmt.Fprint(z, "packed")
			return
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
	})
	other := backend(t, "other")
	port := freePort(t)
	p.Apply(Update{
		Rules: map[string]*Rule{"in": {Source: request}, "out": {Source: response}},
		Pools: map[string]*Pool{"app": aPool(addr(b)), "other": aPool(addr(other))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
			v.RequestRules, v.ResponseRules = []string{"in"}, []string{"out"}
		})},
	})
	return p, port
}

func TestRulesRouteByHostAndPath(t *testing.T) {
	p, port := ruled(t, `
		if (http.getHostHeader() == "shop.test" && string.startsWith(http.getPath(), "/other")) { pool.use("other"); }
		http.setHeader("X", "not reached for others");`, "")
	for path, want := range map[string]string{"/other/x": "other", "/": "GET shop.test / "} {
		req, _ := http.NewRequest("GET", at(port, path), nil)
		req.Host = "shop.test"
		res, err := testClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != want {
			t.Errorf("%s: got %q, want %q", path, body, want)
		}
	}
	p.Apply(Update{Rules: map[string]*Rule{"in": {Source: `pool.use("other");`}}})
	p.want(testClient(t), at(port, "/"), 200, "other")
	p.Apply(Update{Rules: map[string]*Rule{"in": nil}})
	p.await("confmod", "rule 'in' is used but does not exist", 1)
	p.want(testClient(t), at(port, "/"), 200, fmt.Sprintf("GET 127.0.0.1:%d / ", port))
}

func TestRulesChangeTheRequest(t *testing.T) {
	_, port := ruled(t, `
		http.setBody(string.uppercase(http.getBody(0)) . "!");
		http.setMethod("PUT");
		http.setPath("/new path");
		http.setHeader("Host", "inner.test");`, "")
	res, err := testClient(t).Post(at(port, "/old?q=1"), "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "PUT inner.test /new%20path?q=1 HELLO!" {
		t.Errorf("the node got %q", body)
	}
}

func TestARuleMayReadTheBodyWithoutTakingIt(t *testing.T) {
	p, port := ruled(t, `if (string.startsWith(http.getBody(4), "pick")) { pool.use("app"); } else { pool.use("other"); }`, "")
	body := "pick" + strings.Repeat("x", 200<<10)
	res, err := testClient(t).Post(at(port, "/"), "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(res.Body); !strings.HasSuffix(string(got), " "+body) {
		t.Errorf("the node got %d bytes; events %v", len(got), p.events)
	}
}

func TestRulesAnswerForTheNode(t *testing.T) {
	p, port := ruled(t, `
		$p = http.getPath();
		if ($p == "/send") { http.sendResponse("403 Forbidden", "text/plain", "no", "X-Why: because\r\nX-More: 2"); }
		if ($p == "/move") { http.redirect("http://elsewhere.test/"); }
		if ($p == "/drop") { connection.discard(); }
		if ($p == "/raw") { connection.close("bye"); }
		log.info("passed " . $p);`, "")
	client := testClient(t)
	res, err := client.Get(at(port, "/send"))
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 403 || string(body) != "no" || res.Header.Get("X-Why") != "because" || res.Header.Get("X-More") != "2" || res.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("sendResponse: %v %q", res, body)
	}
	if res, err = client.Get(at(port, "/move")); err != nil || res.StatusCode != 302 || res.Header.Get("Location") != "http://elsewhere.test/" {
		t.Errorf("redirect: %v, %v", res, err)
	}
	if status, text := get(client, at(port, "/drop")); status != 0 {
		t.Errorf("discard: %d %q", status, text)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /raw HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, _ := io.ReadAll(conn); string(got) != "bye" {
		t.Errorf("close: %q", got)
	}
	p.want(client, at(port, "/node"), 200, "")
	if e := p.await("rulelogmsginfo", "passed /node", 1); e.Section != "rules/in" || e.Level != "INFO" {
		t.Errorf("event: %+v", e)
	}
}

func TestResponseRulesChangeTheResponse(t *testing.T) {
	p, port := ruled(t, "", `
		http.setResponseCode(201);
		http.setResponseHeader("X-Rule", connection.getNode());
		http.setResponseBody(string.uppercase(http.getResponseBody()));`)
	res, err := testClient(t).Get(at(port, "/low"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 201 || !strings.HasSuffix(string(body), "/LOW ") || !strings.HasPrefix(res.Header.Get("X-Rule"), "127.0.0.1:") {
		t.Errorf("got %v %q", res, body)
	}
	// A body that is only looked at passes as it came, encoding and all.
	p.Apply(Update{Rules: map[string]*Rule{"out": {Source: `if (http.getResponseBody() == "packed") { http.setResponseHeader("X-Seen", "yes"); }`}}})
	req, _ := http.NewRequest("GET", at(port, "/"), nil)
	req.Header.Set("Accept-Encoding", "gzip")
	if res, err = testClient(t).Do(req); err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(res.Body)
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil || res.Header.Get("X-Seen") != "yes" {
		t.Fatalf("got %v, %v", res, err)
	}
	if plain, _ := io.ReadAll(z); string(plain) != "packed" {
		t.Errorf("got %q", plain)
	}
}

func TestABrokenRuleIsSkippedAndTold(t *testing.T) {
	p, port := ruled(t, `if (`, `while (1) { $i++; }`)
	if e := p.await("confmod", "rules/in", 1); e.Level != "SERIOUS" || !strings.Contains(e.Text, "Line 1: ") {
		t.Errorf("event: %+v", e)
	}
	if errs := p.State().Errors; len(errs) != 1 || !strings.HasPrefix(errs[0], "Rule 'in': Line 1: ") {
		t.Errorf("errors: %q", errs)
	}
	p.want(testClient(t), at(port, "/"), 200, fmt.Sprintf("GET 127.0.0.1:%d / ", port))
	p.await("ruleabort", "rules/out", 1)
}

func TestARuleIsCompiledAgainWhenItsLibraryChanges(t *testing.T) {
	p, port := ruled(t, `import lib; http.sendResponse(200, "text/plain", lib.word(), "");`, "")
	client := testClient(t)
	p.want(client, at(port, "/"), 200, fmt.Sprintf("GET 127.0.0.1:%d / ", port)) // no library yet: skipped
	for _, word := range []string{"one", "two"} {
		p.Apply(Update{Rules: map[string]*Rule{"lib": {Source: `sub word() { return "` + word + `"; }`}}})
		p.want(client, at(port, "/"), 200, word)
	}
	p.Apply(Update{Rules: map[string]*Rule{"lib": nil}})
	p.want(client, at(port, "/"), 200, fmt.Sprintf("GET 127.0.0.1:%d / ", port))
}

func TestWhatARuleMakesInvalidIsNotSent(t *testing.T) {
	for _, rule := range []string{
		`http.setMethod("GET /x HTTP/1.1\r\nX: y\r\n\r\nGET");`,
		`http.setHeader("X", "a\r\nSmuggled: b");`,
		`http.setRawPath("/a b HTTP/1.1\r\nSmuggled: b\r\n\r\n");`,
	} {
		p, port := ruled(t, rule, "")
		if status, body := get(testClient(t), at(port, "/")); strings.Contains(body, "muggled: b") {
			t.Errorf("%s: got %d %q", rule, status, body)
		}
		if s, _ := p.PoolStatistics("app"); s.Nodes[0].Counts["failures"] != 0 {
			t.Errorf("%s: the node is blamed", rule)
		}
	}
}
