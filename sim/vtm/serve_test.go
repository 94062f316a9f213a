package vtm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/vtm"
)

// fetch gets a page through the data plane.
func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// freePort is a port that nothing listens on now.
func freePort(t *testing.T, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestAConfigurationIsServedWhenItsWriteIsAnswered sets up a site over REST and
// takes it away again; after each answer the data plane is as it says.
func TestAConfigurationIsServedWhenItsWriteIsAnswered(t *testing.T) {
	tm, c := start(t, func(o *vtm.Options) { o.Strict = true })
	page := func(text string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, text) }))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	app, shop := page("app"), page("shop")
	const ip = "127.77.1.9"
	port := freePort(t, ip)
	url := "http://" + ip + ":" + port

	c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[{"node":"`+app+`"}],"monitors":["Connect"]}}}`)
	c.want(201, "PUT", "/config/active/pools/shop", `{"properties":{"basic":{"nodes_table":[{"node":"`+shop+`"}]}}}`)
	c.want(201, "PUT", "/config/active/rules/route", []byte(`if( http.getPath() == "/shop" ) { pool.use( "shop" ); }`))
	c.want(201, "PUT", "/config/active/traffic_ip_groups/tip", `{"properties":{"basic":{"ipaddresses":["`+ip+`"],"machines":["vtm-1.sim"]}}}`)
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":true,"port":`+port+`,"pool":"app",
		"listen_on_any":false,"listen_on_traffic_ips":["tip"],"request_rules":["route"]}}}`)
	if status, body := fetch(t, url+"/"); status != 200 || body != "app" {
		t.Errorf("/: %d %s", status, body)
	}
	if status, body := fetch(t, url+"/shop"); status != 200 || body != "shop" {
		t.Errorf("/shop: %d %s", status, body)
	}
	c.want(200, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[{"node":"`+shop+`"}]}}}`)
	if status, body := fetch(t, url+"/"); status != 200 || body != "shop" {
		t.Errorf("after the change, /: %d %s", status, body)
	}
	c.want(200, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[]}}}`)
	if status, _ := fetch(t, url+"/"); status != 503 {
		t.Errorf("without nodes: %d", status)
	}

	state := c.want(200, "GET", "/status/local_tm/state", nil).json(t)["state"].(map[string]any)
	for _, v := range state["virtual_servers"].([]any) {
		delete(v.(map[string]any), "throughput") // of the last second
	}
	servers, _ := json.Marshal(state["virtual_servers"])
	if want := `[{"name":"web","pool":"app","port":` + port + `,"ts_redirect_pools":["shop"]}]`; string(servers) != want {
		t.Errorf("virtual_servers %s, want %s", servers, want)
	}
	counters := c.want(200, "GET", "/status/vtm-1.sim/statistics/virtual_servers/web", nil).json(t)["statistics"].(map[string]any)
	if counters["total_requests"] != float64(4) || counters["http2xx_responses"] != float64(3) || counters["http5xx_responses"] != float64(1) {
		t.Errorf("counters %v", counters)
	}
	if got := c.want(200, "GET", "/status/local_tm/statistics/traffic_ips/traffic_ip/"+ip, nil).json(t)["statistics"].(map[string]any)["state"]; got != "raised" {
		t.Errorf("the traffic IP is %v", got)
	}
	if got := c.want(200, "GET", "/status/local_tm/statistics/nodes/per_pool_node/shop-"+shop, nil).json(t)["statistics"].(map[string]any)["state"]; got != "alive" {
		t.Errorf("the node is %v", got)
	}

	c.want(200, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":false}}}`)
	if status, body := fetch(t, url+"/"); status != 0 {
		t.Errorf("disabled, and answers %d %s", status, body)
	}
	c.want(404, "GET", "/status/local_tm/statistics/virtual_servers/web", nil)
	c.want(204, "DELETE", "/config/active/virtual_servers/web", nil)
	var tags []string
	for _, e := range tm.EventLog() {
		tags = append(tags, e.Tag)
	}
	for _, want := range []string{"running", "vsstart", "vsstop"} {
		if !slices.Contains(tags, want) {
			t.Errorf("the event log lacks %s: %v", want, tags)
		}
	}
}

func TestWhatALenientTrafficManagerAcceptsShowsInItsState(t *testing.T) {
	_, c := start(t, nil)
	port := freePort(t, "127.0.0.1")
	c.want(201, "PUT", "/config/active/rules/broken", []byte("TEST_TEXT"))
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":true,"port":`+port+`,"pool":"TEST_TEXT","request_rules":["broken","gone"]}}}`)
	state := c.want(200, "GET", "/status/local_tm/state", nil).json(t)["state"].(map[string]any)
	if state["error_level"] != "error" {
		t.Errorf("error_level %v", state["error_level"])
	}
	errors := fmt.Sprint(state["errors"])
	for _, want := range []string{"TEST_TEXT", "broken", "gone"} {
		if !strings.Contains(errors, want) {
			t.Errorf("errors do not name %s: %s", want, errors)
		}
	}
	c.want(204, "DELETE", "/config/active/virtual_servers/web", nil)
	state = c.want(200, "GET", "/status/local_tm/state", nil).json(t)["state"].(map[string]any)
	if strings.Contains(fmt.Sprint(state["errors"]), "gone") {
		t.Errorf("errors remain: %v", state["errors"])
	}
}

// TestStatusResourcesHaveTheMembersOfTheSchema walks what status/ offers.
func TestStatusResourcesHaveTheMembersOfTheSchema(t *testing.T) {
	var s struct {
		Status map[string]struct {
			Root    string
			Fields  map[string]any
			PerName bool `json:"per_name"`
		}
	}
	if err := json.Unmarshal(facts.RESTSchema, &s); err != nil {
		t.Fatal(err)
	}
	_, c := start(t, nil)
	port := freePort(t, "127.77.1.8")
	c.want(201, "PUT", "/config/active/traffic_ip_groups/t", `{"properties":{"basic":{"ipaddresses":["127.77.1.8"],"machines":["vtm-1.sim"]}}}`)
	c.want(201, "PUT", "/config/active/pools/p", `{"properties":{"basic":{"nodes_table":[{"node":"127.0.0.1:1"},{"node":"127.0.0.1:2","state":"disabled"}]}}}`)
	c.want(201, "PUT", "/config/active/virtual_servers/v", `{"properties":{"basic":{"enabled":true,"port":`+port+`,"pool":"p","listen_on_any":false,"listen_on_traffic_ips":["t"]}}}`)
	for path, name := range map[string]string{
		"information": "", "state": "", "statistics/globals": "", "statistics/pools": "p", "statistics/virtual_servers": "v",
		"statistics/nodes/per_pool_node": "p-127.0.0.1:1", "statistics/traffic_ips/traffic_ip": "127.77.1.8",
	} {
		at := "/status/local_tm/" + path
		if name != "" {
			if list := c.want(200, "GET", at, nil); !strings.Contains(string(list.body), `"name":"`+name+`"`) {
				t.Errorf("%s lacks %s: %s", at, name, list.body)
			}
			at += "/" + name
			c.want(404, "GET", "/status/local_tm/"+path+"/nobody", nil)
		}
		body := c.want(200, "GET", at, nil).json(t)
		members, _ := body[s.Status[path].Root].(map[string]any)
		got, want := map[string]string{}, map[string]string{}
		for k, v := range members {
			got[k] = map[string]string{"float64": "int", "string": "string"}[fmt.Sprintf("%T", v)]
		}
		for k, v := range s.Status[path].Fields {
			want[k], _ = v.(string)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s has %v, want %v", at, got, want)
		}
	}
	if r := c.want(400, "GET", "/status/local_tm/statistics/nodes/per_pool_node/p-127.0.0.1:2", nil); r.json(t)["error_id"] != "statistics.no_counters" {
		t.Errorf("a disabled node answers %s", r.body)
	}
	c.want(403, "PUT", "/status/local_tm/state", `{}`)
	c.want(404, "GET", "/status/vtm-9.sim/state", nil)
}
