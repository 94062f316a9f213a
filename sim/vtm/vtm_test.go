package vtm_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

// client speaks to one traffic manager as an administrator does.
type client struct {
	t    *testing.T
	base string // up to the API version, without a final slash
	http *http.Client
}

// reply is what an answer was.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// json decodes the body, and fails the test if it is none.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("answer %d is not JSON: %v\n%s", r.status, err, r.body)
	}
	return v
}

// start runs a traffic manager on a free port and returns it with a client.
func start(t *testing.T, change func(*vtm.Options)) (*vtm.TrafficManager, *client) {
	t.Helper()
	o := vtm.Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler),
		Name: "vtm-1.sim", Address: "127.0.0.1", RESTPort: vtm.AnyPort,
		Users:      map[string]string{"admin": "secret"},
		AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
	}
	if change != nil {
		change(&o)
	}
	tm, err := vtm.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tm.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(tm.CertificatePEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	c := &client{t: t, base: "https://" + tm.RESTAddress() + "/api/tm/8.3", http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
	if o.PlainHTTP {
		c.base = "http://" + tm.RESTAddress() + "/api/tm/8.3"
	}
	return tm, c
}

// do sends a request as admin; path is below the API version. A body of type
// []byte is sent as a file, a string as JSON.
func (c *client) do(method, path string, body any) reply {
	c.t.Helper()
	var reader io.Reader
	media := ""
	switch body := body.(type) {
	case string:
		reader, media = bytes.NewReader([]byte(body)), "application/json"
	case []byte:
		reader, media = bytes.NewReader(body), "application/octet-stream"
	}
	req, err := http.NewRequest(method, c.base+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth("admin", "secret")
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) reply {
	c.t.Helper()
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// want does a request and fails the test unless it has that status.
func (c *client) want(status int, method, path string, body any) reply {
	c.t.Helper()
	r := c.do(method, path, body)
	if r.status != status {
		c.t.Fatalf("%s %s: status %d, want %d\n%.2000s", method, path, r.status, status, r.body)
	}
	return r
}

// get reads a key of a stored resource.
func (c *client) get(path, section, key string) any {
	c.t.Helper()
	properties, _ := c.want(http.StatusOK, "GET", "/config/active/"+path, nil).json(c.t)["properties"].(map[string]any)
	keys, _ := properties[section].(map[string]any)
	return keys[key]
}

func TestAPoolIsCreatedChangedReadAndDeleted(t *testing.T) {
	_, c := start(t, nil)
	const pool = "/config/active/pools/shop%20pool"
	c.want(404, "GET", pool, nil)
	made := c.want(201, "PUT", pool, `{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.1:80"}]}}}`)
	if got := string(c.want(200, "GET", pool, nil).body); got != string(made.body) {
		t.Errorf("GET after creation shows\n%s\nthe creation answered\n%s", got, made.body)
	}
	c.want(200, "PUT", pool, `{"properties":{"load_balancing":{"algorithm":"random"}}}`)
	if got := c.get("pools/shop%20pool", "load_balancing", "algorithm"); got != "random" {
		t.Errorf("algorithm is %v", got)
	}
	nodes, _ := json.Marshal(c.get("pools/shop%20pool", "basic", "nodes_table"))
	if want := `[{"node":"127.2.0.1:80","priority":1,"state":"active","weight":1}]`; string(nodes) != want {
		t.Errorf("nodes_table is %s, want %s", nodes, want)
	}
	list := c.want(200, "GET", "/config/active/pools", nil)
	if want := `{"children":[{"name":"shop pool","href":"/api/tm/8.3/config/active/pools/shop%20pool"}]}`; string(list.body) != want {
		t.Errorf("list is %s, want %s", list.body, want)
	}
	c.want(204, "DELETE", pool, nil)
	c.want(404, "DELETE", pool, nil)
}
