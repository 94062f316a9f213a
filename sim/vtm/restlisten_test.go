package vtm_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

// errorsOf are the errors of a traffic manager's status/state.
func (c *client) errorsOf(name string) string {
	c.t.Helper()
	return fmt.Sprint(c.want(200, "GET", "/status/"+name+"/state", nil).json(c.t)["state"].(map[string]any)["errors"])
}

// at is the same client for another address.
func (c *client) at(base string) *client {
	other := *c
	other.base = base + "/api/tm/8.3"
	return &other
}

func TestTheRESTAPIMovesWhereItsEntrySaysAndTheAnswerStillArrives(t *testing.T) {
	addresses := dataplane.NewAddressMap(dataplane.MapLoopback)
	data := t.TempDir()
	tm, c := start(t, func(o *vtm.Options) { o.Data, o.AddressMap, o.Name = data, addresses, "vtm-1" })
	home := tm.RESTAddress()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(taken.Addr().String()).Port()
	entry := "/config/active/traffic_managers/vtm-1"

	// Where somebody else listens: told, and all stays.
	c.want(200, "PUT", entry, fmt.Sprintf(`{"properties":{"rest_api":{"port":%d}}}`, port))
	if got := c.errorsOf("vtm-1"); !strings.Contains(got, fmt.Sprintf("Traffic manager 'vtm-1': the REST API cannot listen on 127.0.0.1:%d", port)) {
		t.Errorf("a port that is in use: errors are %s", got)
	}
	taken.Close()

	c.want(200, "PUT", entry, fmt.Sprintf(`{"properties":{"rest_api":{"port":%d,"bind_ips":["127.0.0.1","192.0.2.7"]}}}`, port))
	moved := []string{fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("%s:%d", addresses.Map(netip.MustParseAddr("192.0.2.7")), port)}
	for _, address := range moved { // the certificate names the machine's own address only
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatalf("nothing listens on %s: %v", address, err)
		}
		conn.Close()
	}
	if tm.RESTAddress() != moved[0] {
		t.Errorf("the REST API is at %s, want %s", tm.RESTAddress(), moved[0])
	}
	if got := c.at("https://" + moved[0]).errorsOf("vtm-1"); got != "[]" {
		t.Errorf("after the move errors are %s", got)
	}
	if conn, err := net.DialTimeout("tcp", home, 10*time.Second); err == nil {
		conn.Close()
		t.Error("the old port still answers")
	}

	// It is there again after a restart, wherever the program was told to listen.
	tm.Close()
	tm, _ = start(t, func(o *vtm.Options) { o.Data, o.AddressMap, o.Name = data, addresses, "vtm-1" })
	if tm.RESTAddress() != moved[0] {
		t.Errorf("after a restart the REST API is at %s, want %s", tm.RESTAddress(), moved[0])
	}
}

func TestOpenConnectionsEndWithTheirAnswerWhenTheRESTAPIMoves(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		one, two := f.on("vtm-1"), f.on("vtm-2")
		two.want(200, "GET", "/config/active/pools", nil)
		// Any member takes the change, and it is replicated to the one concerned.
		one.want(200, "PUT", "/config/active/traffic_managers/vtm-2", `{"properties":{"rest_api":{"port":9443}}}`)
		if got := f.Member("vtm-2").RESTAddress(); got != "127.1.0.2:9443" {
			t.Errorf("vtm-2 is at %s", got)
		}
		two.want(200, "GET", "/config/active/pools", nil) // the connection that is open
		if _, err := two.http.Get(two.base + "/config/active/pools"); err == nil {
			t.Error("the open connection goes on, or the old port still answers")
		}
		moved := two.at("http://127.1.0.2:9443")
		moved.want(200, "GET", "/config/active/pools", nil)
		if !slices.Contains(f.eventTags("vtm-2"), "restlisten") {
			t.Error("the event log does not tell it")
		}
		// An entry that is written back as it was read moves nothing.
		before := one.want(200, "GET", "/config/active/traffic_managers/vtm-1", nil).body
		one.want(200, "PUT", "/config/active/traffic_managers/vtm-1", string(before))
		one.want(200, "PUT", "/config/active/traffic_managers/vtm-1", `{"properties":{"rest_api":{"bind_ips":["0.0.0.0","::"]}}}`)
		if got := f.Member("vtm-1").RESTAddress(); got != "127.1.0.1:9070" {
			t.Errorf("for all of its addresses vtm-1 is at %s", got)
		}
		for address, told := range map[string]string{"here": `the REST API cannot listen on "here": that is no IP address`, "127.1.0.2": "that is another traffic manager's address"} {
			one.want(200, "PUT", "/config/active/traffic_managers/vtm-1", `{"properties":{"rest_api":{"bind_ips":["`+address+`"]}}}`)
			if got := one.errorsOf("vtm-1"); !strings.Contains(got, told) {
				t.Errorf("for %s errors are %s", address, got)
			}
		}
		// A member that was stopped comes back where it was, and knows its home.
		f.fault("stop member=vtm-2")
		f.fault("")
		moved.want(200, "PUT", "/config/active/traffic_managers/vtm-2", `{"properties":{"rest_api":{"port":9070}}}`)
		if got := f.Member("vtm-2").RESTAddress(); got != "127.1.0.2:9070" {
			t.Errorf("back home vtm-2 is at %s", got)
		}
	})
}
