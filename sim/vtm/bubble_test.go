package vtm_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
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

// bubble runs a traffic manager and four clients for ten fake seconds and
// returns what each was answered, and the event log.
func bubble(t *testing.T, seed uint64) string {
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: seed})
		tm, err := vtm.Start(vtm.Options{
			World: n.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "127.1.0.1",
			Users: map[string]string{"admin": "secret"}, PerClientTransports: true,
			AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback), PlainHTTP: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		lines := make([]string, 4)
		var wg sync.WaitGroup
		for i := range lines {
			wg.Go(func() {
				actor := fmt.Sprintf("client-%d", i)
				c := n.World().HTTPClient(actor, nil)
				defer c.CloseIdleConnections()
				for round := range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second+17)
					req, _ := http.NewRequestWithContext(ctx, "PUT", fmt.Sprintf("http://%s/api/tm/8.3/config/active/virtual_servers/%s", tm.RESTAddress(), actor),
						strings.NewReader(fmt.Sprintf(`{"properties":{"basic":{"port":%d,"pool":"discard","enabled":%t}}}`, 8000+i%2, round%2 == 0)))
					req.SetBasicAuth("admin", "secret")
					resp, err := c.Do(req)
					if err != nil {
						t.Error(err)
					} else {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						lines[i] += fmt.Sprintf("%s %d %d\n", time.Now().Format(time.RFC3339Nano), round, resp.StatusCode)
					}
					cancel()
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		for _, e := range tm.EventLog() {
			fmt.Fprintln(&out, e.Time.Format(time.RFC3339Nano), e)
		}
		out.WriteString(strings.Join(lines, ""))
		// An idle connection must not outlive the traffic manager.
		conn, err := n.World().Dial(t.Context(), "idler", "tcp", tm.RESTAddress())
		if err != nil {
			t.Fatal(err)
		}
		tm.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is open after Close")
		}
		_ = conn.Close()
		n.Close()
		time.Sleep(2 * time.Minute) // transports' dials end
	})
	return out.String()
}

func TestARunInABubbleRepeatsByItsSeedAndLeavesNothingBehind(t *testing.T) {
	first := bubble(t, 7)
	if !strings.Contains(first, "200") || !strings.Contains(first, "vsstart") {
		t.Fatalf("nothing happened:\n%s", first)
	}
	for range 5 {
		if again := bubble(t, 7); again != first {
			t.Fatalf("first run:\n%s\nanother:\n%s", first, again)
		}
	}
}

func TestConcurrentWritesAllTakeEffect(t *testing.T) {
	tm, c := start(t, nil)
	const clients, each = 8, 25
	shared := [clients][2]string{
		{"rest_api", "auth_timeout"}, {"rest_api", "http_max_header_length"}, {"rest_api", "maxfds"}, {"rest_api", "replicate_lull"},
		{"rest_api", "replicate_absolute"}, {"rest_api", "replicate_timeout"}, {"trafficscript", "max_instr"}, {"trafficscript", "regex_cache_size"},
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := range each {
				body := fmt.Sprintf(`{"properties":{"basic":{"nodes_table":[{"node":"127.0.0.1:%d"}]}}}`, n+1)
				if r := c.do("PUT", fmt.Sprintf("/config/active/pools/p%d", i), body); r.status >= 300 {
					t.Errorf("%d %s", r.status, r.body)
				}
				// One key of a shared resource each: a merge must not lose another's.
				if r := c.do("PUT", "/config/active/global_settings", fmt.Sprintf(`{"properties":{"%s":{"%s":%d}}}`, shared[i][0], shared[i][1], 500+n)); r.status >= 300 {
					t.Errorf("%d %s", r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
	if _, total := tm.Writes(); total != clients*each*2 {
		t.Errorf("%d writes, want %d", total, clients*each*2)
	}
	for i := range clients {
		if got := fmt.Sprint(c.get(fmt.Sprintf("pools/p%d", i), "basic", "nodes_table")); !strings.Contains(got, fmt.Sprintf("127.0.0.1:%d ", each)) {
			t.Errorf("p%d has %s", i, got)
		}
		if got := c.get("global_settings", shared[i][0], shared[i][1]); got != float64(500+each-1) {
			t.Errorf("%s is %v", shared[i], got)
		}
	}
}
