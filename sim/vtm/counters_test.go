package vtm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/vtm"
)

// statusSchema are the resources below status/ with their keys.
func statusSchema(t *testing.T) map[string]map[string]any {
	t.Helper()
	var raw struct {
		Status map[string]struct {
			Fields map[string]any `json:"fields"`
		} `json:"status"`
	}
	if err := json.Unmarshal(facts.RESTSchema, &raw); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[string]any)
	for path, r := range raw.Status {
		if rest, ok := strings.CutPrefix(path, "statistics/"); ok {
			out[rest] = r.Fields
		}
	}
	return out
}

func TestEveryStatisticsResourceOfTheSchemaIsServedAndCountsKeysThatExist(t *testing.T) {
	schema, counted := statusSchema(t), vtm.CountedStatistics()
	if got, want := slices.Sorted(maps.Keys(counted)), slices.Sorted(maps.Keys(schema)); !slices.Equal(got, want) {
		t.Errorf("served are\n%v\nthe schema has\n%v", got, want)
	}
	for path, keys := range counted {
		for _, key := range keys {
			if _, known := schema[path][key]; !known {
				t.Errorf("statistics/%s counts %s, which the schema does not have", path, key)
			}
		}
	}
}

// Whatever a listing shows can be read, and has the schema's keys and no others.
func TestTheTreeOfStatisticsCanBeWalked(t *testing.T) {
	schema := statusSchema(t)
	_, c := start(t, nil)
	port := freePort(t, "127.0.0.1")
	for path, body := range map[string]any{
		"pools/app":                  `{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.1:80"},{"node":"[::1]:81"},{"node":"127.2.0.3:80","state":"disabled"}]}}}`,
		"pools/unused":               `{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.9:80"}]}}}`,
		"rules/r":                    []byte("# nothing"),
		"virtual_servers/web":        `{"properties":{"basic":{"enabled":true,"port":` + port + `,"pool":"app","request_rules":["r"]}}}`,
		"virtual_servers/off":        `{"properties":{"basic":{"port":80,"pool":"app"}}}`,
		"traffic_ip_groups/tip":      `{"properties":{"basic":{"ipaddresses":["192.0.2.7","2001:db8::7"],"machines":["vtm-1.sim"]}}}`,
		"bandwidth/b":                `{"properties":{"basic":{"maximum":4000}}}`,
		"rate/r":                     `{"properties":{"basic":{"max_rate_per_minute":60}}}`,
		"protection/p":               `{"properties":{"basic":{}}}`,
		"service_level_monitors/s":   `{"properties":{"basic":{}}}`,
		"glb_services/g":             `{"properties":{"basic":{}}}`,
		"locations/l":                `{"properties":{"basic":{}}}`,
		"rule_authenticators/a":      `{"properties":{"basic":{}}}`,
		"cloud_api_credentials/c":    `{"properties":{"basic":{}}}`,
		"actions/act":                `{"properties":{"basic":{"type":"log"}}}`,
		"event_types/my%20event%20t": `{"properties":{"basic":{}}}`,
	} {
		if r := c.do("PUT", "/config/active/"+path, body); r.status != 201 {
			t.Fatalf("PUT %s: %d %s", path, r.status, r.body)
		}
	}
	read := make(map[string]int)
	var walk func(path string)
	walk = func(path string) {
		r := c.do("GET", "/status/local_tm/statistics"+path, nil)
		v := r.json(t)
		children, folder := v["children"].([]any)
		if folder {
			for _, child := range children {
				name := child.(map[string]any)["name"].(string)
				walk(path + "/" + url.PathEscape(name))
			}
			return
		}
		plain, _ := url.PathUnescape(strings.TrimPrefix(path, "/"))
		at := plain
		for at != "" && schema[at] == nil {
			at = at[:max(0, strings.LastIndex(at, "/"))]
		}
		read[at]++
		if strings.HasSuffix(plain, "127.2.0.3:80") || strings.HasSuffix(plain, "127.2.0.9:80") {
			if r.status != 400 || v["error_id"] != "statistics.no_counters" {
				t.Errorf("%s: %d %s, want statistics.no_counters", plain, r.status, r.body)
			}
			return
		}
		counts, _ := v["statistics"].(map[string]any)
		if r.status != 200 || !slices.Equal(slices.Sorted(maps.Keys(counts)), slices.Sorted(maps.Keys(schema[at]))) {
			t.Errorf("%s: %d %s", plain, r.status, r.body)
		}
	}
	walk("")
	for path := range schema {
		switch path {
		case "network_interface", "per_location_service", "per_node_slm/per_node_service_level", "per_node_slm/per_node_service_level_inet46":
			continue // of which there are none
		}
		if read[path] == 0 {
			t.Errorf("nothing of statistics/%s is listed", path)
		}
	}
	for path, want := range map[string]int{"virtual_servers": 1, "pools": 2, "nodes/node": 3, "nodes/node_inet46": 4, "nodes/per_pool_node": 4, "traffic_ips/traffic_ip": 1, "traffic_ips/traffic_ip_inet46": 2} {
		if read[path] != want {
			t.Errorf("%d of statistics/%s are listed, want %d", read[path], path, want)
		}
	}
	for _, path := range []string{"virtual_servers/off", "virtual_servers/none", "pools/none", "nodes/node/[::1]:81", "nodes/per_pool_node/app-127.2.0.9:80", "rules/none", "listen_ips/192.0.2.99", "none", "globals/x", "cache"} {
		if status := c.do("GET", "/status/local_tm/statistics/"+path, nil).status; status != 404 && path != "cache" || path == "cache" && status != 200 {
			t.Errorf("GET statistics/%s: %d", path, status)
		}
	}
	for path, want := range map[string]string{
		"pools/app state": "active", "pools/unused state": "unused", "pools/app nodes": "3", "pools/app disabled": "1", "pools/app algorithm": "roundrobin",
		"bandwidth/b maximum": "4000", "rate/r max_rate_per_min": "60",
		"traffic_ips/ip_gateway number_inet46": "2", "traffic_ips/ip_gateway number_raised_inet46": "2",
		"traffic_ips/traffic_ip/192.0.2.7 state": "raised", "nodes/node_inet46/%5B::1%5D:81 port": "81",
		"virtual_servers/web protocol": "http", "virtual_servers/web port": port, "globals number_child_processes": "1",
	} {
		at, key, _ := strings.Cut(path, " ")
		at = strings.Replace(at, "rate/", "connection_rate_limit/", 1)
		if got := fmt.Sprint(c.counter(at, key)); got != want {
			t.Errorf("statistics/%s is %s, want %s", path, got, want)
		}
	}
}

func TestStatisticsOfOtherMembersAreReadThroughOne(t *testing.T) {
	inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.serve(group(three, []string{"192.0.2.1"}, ""))
		// Whoever has raised the address serves.
		served := f.answers("client", "192.0.2.1")
		if served == "" {
			t.Fatal("nobody answers")
		}
		for _, through := range three {
			for _, of := range three {
				v := f.on(through).want(200, "GET", "/status/"+of+"/statistics/virtual_servers/web", nil).json(t)["statistics"].(map[string]any)
				want := float64(0)
				if of == served {
					want = 1
				}
				if v["total_requests"] != want {
					t.Errorf("%s says that %s served %v requests, want %v", through, of, v["total_requests"], want)
				}
			}
		}
	})
}

func TestTheTimeOfATrafficIPIsSinceItsLastChange(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.serve(group([]string{"vtm-1", "vtm-2"}, []string{"192.0.2.1", "192.0.2.2"}, ""))
		f.fault("isolate member=vtm-2")
		time.Sleep(time.Minute)
		f.on("vtm-1").want(200, "GET", "/status/local_tm/state", nil)
		for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
			since, _ := f.on("vtm-1").counter("traffic_ips/traffic_ip/"+ip, "time").(float64)
			state := f.on("vtm-1").counter("traffic_ips/traffic_ip_inet46/"+ip, "state")
			if state != "raised" || since < 5000 || since > 6500 {
				t.Errorf("%s is %v since %v hundredths of a second", ip, state, since)
			}
		}
	})
}

func TestStateTellsWhatDanglesAndWhatHasExpired(t *testing.T) {
	_, c := start(t, nil)
	port := freePort(t, "127.0.0.1")
	c.want(201, "PUT", "/config/active/ssl/server_keys/old", expiredKey(t))
	c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"persistence_class":"gone","monitors":["gone"],"bandwidth_class":"gone"}}}`)
	c.want(201, "PUT", "/config/active/traffic_ip_groups/tip", `{"properties":{"basic":{"ipaddresses":["192.0.2.7"],"machines":["gone"]}}}`)
	c.want(201, "PUT", "/config/active/event_types/e", `{"properties":{"basic":{"actions":["gone"]}}}`)
	c.want(201, "PUT", "/config/active/virtual_servers/off", `{"properties":{"basic":{"port":80,"pool":"app","protection_class":"gone"}}}`)
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":true,"port":`+port+`,"pool":"app","ssl_decrypt":true,"protection_class":"gone"},
		"ssl":{"server_cert_default":"old"},"connection_errors":{"error_file":"gone.html"}}}`)
	state := c.want(200, "GET", "/status/local_tm/state", nil).json(t)["state"].(map[string]any)
	errors, _ := json.Marshal(state["errors"])
	for _, want := range []string{
		"Event type 'e': action 'gone' does not exist",
		"Pool 'app': session persistence class 'gone' does not exist",
		"Pool 'app': monitor 'gone' does not exist",
		"Pool 'app': bandwidth class 'gone' does not exist",
		"Virtual server 'web': service protection class 'gone' does not exist",
		"Virtual server 'web': extra file 'gone.html' does not exist",
		"Virtual server 'web': certificate 'old' has expired on ",
	} {
		if !strings.Contains(string(errors), want) {
			t.Errorf("errors lack %q", want)
		}
	}
	if strings.Contains(string(errors), "'off'") {
		t.Error("a virtual server that is switched off is told")
	}
	if tips, _ := json.Marshal(state["tip_errors"]); string(tips) != `["Traffic IP Group 'tip': traffic manager 'gone' does not exist"]` {
		t.Errorf("tip_errors are %s", tips)
	}
	if state["error_level"] != "error" || state["license"] != "licensed" {
		t.Errorf("error_level %v, license %v", state["error_level"], state["license"])
	}
	if t.Failed() {
		t.Logf("errors: %s", errors)
	}
	if n := c.counter("events/SSL%20Certificate%20Expiry", "matched"); n != float64(1) {
		t.Errorf("the event type SSL Certificate Expiry matched %v times", n)
	}
}
