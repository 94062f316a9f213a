package vtm_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/vtm"
)

// TestTwoThousandSilentConnectionsKeepNobodyOut opens connections that send no
// complete header. At most 1,000 stay open, and who asks is answered meanwhile.
func TestTwoThousandSilentConnectionsKeepNobodyOut(t *testing.T) {
	for _, what := range []string{"REST by HTTP", "REST", "admin pages"} {
		plain := what == "REST by HTTP"
		tm, c := start(t, func(o *vtm.Options) {
			if o.PlainHTTP = plain; !plain {
				o.AdminPort = vtm.AnyPort
			}
		})
		address, path := tm.RESTAddress(), "/config/active"
		if what == "admin pages" {
			address, path = tm.AdminAddress(), "/login"
			c.base = "https://" + address
		}
		const many, most = 2000, 1000
		conns := make([]net.Conn, many)
		for i := range conns {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if i%2 == 0 && plain {
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nX: half a hea")
			}
			conns[i] = conn
		}
		// It is accepted after all those before it.
		c.want(200, "GET", path, nil)
		open := 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, conn := range conns {
			wg.Go(func() {
				// Those that were closed tell at once; a deadline ends the wait for others.
				_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				_, err := conn.Read(make([]byte, 1))
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					mu.Lock()
					open++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if open > most || open < most-10 {
			t.Errorf("%s: %d connections without a header are open, want at most %d", what, open, most)
		}
		c.want(200, "GET", path, nil)
	}
}

func TestAnIdleConnectionIsClosedAfterTheKeepAliveTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: 1})
		tm, err := vtm.Start(vtm.Options{
			World: n.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "127.1.0.1", PlainHTTP: true,
			Users: map[string]string{"admin": "secret"}, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
		})
		if err != nil {
			t.Fatal(err)
		}
		idle := func(actor, body string) time.Duration {
			conn, err := n.World().Dial(t.Context(), actor, "tcp", tm.RESTAddress())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			in := bufio.NewReader(conn)
			for range 2 { // the second request finds the connection open
				_, _ = fmt.Fprintf(conn, "PUT /api/tm/8.3/config/active/global_settings?expert_keys=rest_api/http_keep_alive_timeout HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				resp, err := http.ReadResponse(in, nil)
				if err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			began := time.Now()
			_, _ = in.ReadByte()
			return time.Since(began).Round(time.Second)
		}
		if got := idle("a", `{}`); got != 60*time.Second {
			t.Errorf("without a setting closed after %v", got)
		}
		for i, want := range []int{7, 90} {
			if got := idle(fmt.Sprint("b", i), fmt.Sprintf(`{"properties":{"rest_api":{"http_keep_alive_timeout":%d}}}`, want)); got != time.Duration(want)*time.Second {
				t.Errorf("set to %d s, closed after %v", want, got)
			}
		}
		tm.Close()
		n.Close()
		time.Sleep(2 * time.Minute)
	})
}

func TestHeadersAndBodiesAreLimitedAsSet(t *testing.T) {
	_, c := start(t, nil)
	get := func(header int) int {
		req, _ := http.NewRequest("GET", c.base+"/config/active/pools", nil)
		req.SetBasicAuth("admin", "secret")
		req.Header.Set("X", strings.Repeat("x", header))
		return c.send(req).status
	}
	limits := func(key string, v int) {
		t.Helper()
		c.want(200, "PUT", "/config/active/global_settings?expert_keys=rest_api/http_max_resource_body_length", fmt.Sprintf(`{"properties":{"rest_api":{"%s":%d}}}`, key, v))
	}
	for _, step := range []struct{ limit, header, want int }{
		{4096, 3500, 200}, {4096, 4100, 431}, {9000, 4100, 200}, {9000, 9000, 431}, {0, 9000, 200}, {1, 500, 200}, {1, 1100, 431}, {1 << 30, 50_000, 200},
	} {
		limits("http_max_header_length", step.limit)
		if got := get(step.header); got != step.want {
			t.Errorf("limit %d, header of %d bytes: %d, want %d", step.limit, step.header, got, step.want)
		}
	}
	limits("http_max_header_length", 4096)
	note := func(n int) string { return `{"properties":{"basic":{"note":"` + strings.Repeat("x", n) + `"}}}` }
	c.want(201, "PUT", "/config/active/pools/p", note(100_000))
	limits("http_max_resource_body_length", 50_000)
	if r := c.want(413, "PUT", "/config/active/pools/p", note(50_000)); r.json(t)["error_id"] != "resource.too_large" {
		t.Errorf("%s", r.body)
	}
	c.want(200, "PUT", "/config/active/pools/p", note(40_000))
	c.want(201, "PUT", "/config/active/rules/r", []byte(strings.Repeat("x", 60_000))) // of JSON only
	limits("http_max_resource_body_length", 1)
	c.want(200, "PUT", "/config/active/pools/p", note(900))
}

func TestJSONMayBeNestedAsDeepAsTheSchemaNeedsAndNotMuchDeeper(t *testing.T) {
	_, c := start(t, nil)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for body, want := range map[string]string{
		`{"properties":{"basic":{"note":` + deep(29) + `}}}`:                     "json.wrong_type",
		`{"properties":{"basic":{"note":` + deep(30) + `}}}`:                     "json.parse_error",
		`{"properties":{"basic":{"note":` + deep(100_000) + `}}}`:                "json.parse_error",
		`{"properties":{"basic":{"note":"` + deep(1000) + `\\\"[","x":` + `1}}}`: "json.unknown_property",
	} {
		if r := c.want(400, "PUT", "/config/active/pools/p", body); !strings.Contains(string(r.body), want) {
			t.Errorf("%.80s: %.200s, want %s", body, r.body, want)
		}
	}
}
