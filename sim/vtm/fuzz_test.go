package vtm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/network"
)

// FuzzRequests sends one request of any form. Whatever it is, nothing panics, no
// answer is a server's error, a refused write changes nothing, and what was
// written can be read, written again as read, and deleted.
func FuzzRequests(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"properties":{}}`, `{"properties":{"basic":{"port":80,"pool":"p","enabled":true}}}`, `{"properties":{"basic":{"nodes_table":[{"node":"[::1]:80","weight":1e2}]}}}`,
		`{"properties":{"basic":null}}`, `[`, `{"properties":{"basic":{"note":"\ud800"}}}`, "\xff", `{"properties":{"a":{},"a":{"b":[[[]]]}}}`,
		`{"properties":{"basic":{"public":"x","private":"y"}}}`, `{"properties":{"ssl":{"server_cert_host_mapping":[{"host":"h","certificate":"c"},{"host":"h","certificate":"d"}]}}}`,
		`{"properties":{"basic":{"latitude":-1e308,"string_lists":[{"name":"n","value":"v"}]}}}`,
	} {
		for _, target := range []string{
			"pools/p", "virtual_servers/v", "global_settings", "rules/r", "ssl/server_keys/k", "custom/%2e%2e", "pools/a%00b", "traffic_ip_groups/t",
			"monitors/Ping", "", "pools?expert_keys=,/,basic/x", "locations/%C3%BC%20%ff", "pools//", "ssl", "traffic_managers/vtm-1.sim",
		} {
			f.Add("PUT", "/api/tm/8.3/config/active/"+target, "application/json", body)
		}
	}
	f.Add("GET", "/api/tm/8.3/status/local_tm/statistics/nodes/per_pool_node/a-b-c", "", "")
	f.Add("OPTIONS", "*", "", "")
	f.Add("DELETE", "http://host/api/tm/8.3/config/active/pools/p", "", "")
	f.Add("PUT", "/api/tm/8.3/config/active/rules/r", "application/octet-stream", "pool.use( \"p\" );")

	f.Add("PUT", "/api/tm/8.3/status/local_tm/backups/full/b?restore", "application/json", `{"properties":{"backup":{"description":"x"}}}`)
	f.Add("POST", "/api/tm/8.3/status/local_tm/backups/full/b", "application/octet-stream", "backup.json")
	f.Add("GET", "/api/tm/8.3/config/active/virtual_servers?metadata", "", "")

	managers := hostileGround(f)
	f.Fuzz(func(t *testing.T, method, target, media, body string) {
		if strings.ContainsAny(method+target+media, " \r\n") {
			return // the request line's own parts: net/http reads those
		}
		for _, tm := range managers {
			checkRequest(t, tm, method, target, media, body)
		}
	})
}

// hostileGround is a traffic manager of each mode.
func hostileGround(tb testing.TB) []*TrafficManager {
	managers := make([]*TrafficManager, 2)
	for i := range managers {
		n := network.New(network.Options{Seed: 1})
		tb.Cleanup(n.Close)
		tm, err := Start(Options{
			World: n.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1.sim", Address: "127.1.0.1",
			Users: map[string]string{"admin": "secret"}, Strict: i == 1, PlainHTTP: true,
			AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(tm.Close)
		managers[i] = tm
	}
	return managers
}

// fataler is what testing.T and rapid.T have in common here.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkRequest sends a request and checks what FuzzRequests says.
func checkRequest(t fataler, tm *TrafficManager, method, target, media, body string) {
	t.Helper()
	send := func(method, media, body string) *httptest.ResponseRecorder {
		raw := method + " " + target + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + media + "\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return nil // never gets to a handler
		}
		r.SetBasicAuth("admin", "secret")
		w := httptest.NewRecorder()
		tm.serve(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %q: %d %s", method, target, w.Code, w.Body)
		}
		if method != "HEAD" && w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q answers what is no JSON: %q", method, target, w.Body)
		}
		return w
	}
	before := send("GET", "", "")
	w := send(method, media, body)
	if before == nil || w == nil {
		return
	}
	after := send("GET", "", "")
	defer tm.letIn()
	// Counters of time move by themselves.
	if w.Code >= 400 && !strings.Contains(target, "/status/") && (before.Code != after.Code || before.Body.String() != after.Body.String()) {
		t.Fatalf("refused with %d %s, and changed\n%s\nto\n%s", w.Code, w.Body, before.Body, after.Body)
	}
	if method != "PUT" || w.Code >= 300 {
		return
	}
	if after.Code == http.StatusForbidden && strings.Contains(target, "security") {
		return // the list of addresses shuts out who wrote it
	}
	if after.Code != 200 {
		t.Fatalf("%q: written with %d, and reads as %d", target, w.Code, after.Code)
	}
	// Private keys are shown as a hash, and metadata is no part of a resource.
	if again := after.Body.String(); !strings.Contains(again, `"private":`) && !strings.Contains(again, `"metadata":`) {
		if w := send("PUT", after.Header().Get("Content-Type"), again); w.Code >= 300 {
			t.Fatalf("what was read cannot be written: %d %s", w.Code, w.Body)
		}
		if w := send("GET", "", ""); w.Body.String() != again && !strings.Contains(target, "restore") {
			t.Fatalf("written as read, and reads\n%s\nbefore\n%s", w.Body, again)
		}
	}
	if w := send("DELETE", "", ""); w.Code != 204 && w.Code != 403 {
		t.Fatalf("cannot be deleted: %d %s", w.Code, w.Body)
	}
}

// letIn undoes what keeps the next requests out.
func (t *TrafficManager) letIn() {
	r := httptest.NewRequest("PUT", "/api/tm/8.3/config/active/security", strings.NewReader(`{"properties":{"basic":{"access":[]}}}`))
	_, _ = t.route(&request{Request: r, of: t, user: "admin"})
}
