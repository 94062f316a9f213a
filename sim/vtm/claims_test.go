package vtm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vtm-ingress/sim/vtm"
)

func TestAnAddressThatTwoGroupsClaimIsHostedOnceAndTold(t *testing.T) {
	inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		c := f.on("vtm-1")
		f.serve(group([]string{"vtm-2"}, []string{"192.0.2.1"}, ""))
		// The later one has another machine, and a virtual server of its own.
		c.want(201, "PUT", "/config/active/traffic_ip_groups/other", group([]string{"vtm-3"}, []string{"192.0.2.1", "192.0.2.9"}, ""))
		c.want(201, "PUT", "/config/active/virtual_servers/more", `{"properties":{"basic":{"port":81,"pool":"discard","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":["other"],"request_rules":["who"]}}}`)
		if got := f.raised(); got != "vtm-1: vtm-2:192.0.2.1 vtm-3:192.0.2.9" {
			t.Errorf("raised are %s", got)
		}
		for _, server := range []string{"web", "more"} { // of either group
			if _, _, err := f.fetch("client/"+server, "192.0.2.1", time.Minute); err != nil {
				t.Errorf("%s does not answer: %v", server, err)
			}
			c.want(200, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":false}}}`)
			c.want(200, "PUT", "/config/active/virtual_servers/more", `{"properties":{"basic":{"port":80}}}`)
		}
		told := func() string {
			return fmt.Sprint(c.want(200, "GET", "/status/vtm-1/state", nil).json(t)["state"].(map[string]any)["tip_errors"])
		}
		if got := told(); !strings.Contains(got, "Traffic IP Group 'other': 192.0.2.1 is also in Traffic IP Group 'edge', which decides who hosts it") {
			t.Errorf("tip_errors are %s", got)
		}
		// It goes with the machine, and to the other group when the first lets go.
		f.fault("stop member=vtm-2")
		time.Sleep(10 * time.Second)
		if got := f.raised(); got != "vtm-1: vtm-2: vtm-3:192.0.2.9" {
			t.Errorf("without vtm-2 raised are %s", got)
		}
		c.want(200, "PUT", "/config/active/traffic_ip_groups/edge", `{"properties":{"basic":{"enabled":false}}}`)
		if got := f.raised(); got != "vtm-1: vtm-2: vtm-3:192.0.2.1,192.0.2.9" {
			t.Errorf("with the first group disabled raised are %s", got)
		}
		c.want(200, "PUT", "/config/active/traffic_ip_groups/edge", `{"properties":{"basic":{"enabled":true,"machines":["vtm-1"]}}}`)
		if got := f.raised(); got != "vtm-1:192.0.2.1 vtm-2: vtm-3:192.0.2.9" {
			t.Errorf("with the first group on vtm-1 raised are %s", got)
		}
		c.want(200, "PUT", "/config/active/traffic_ip_groups/edge", `{"properties":{"basic":{"ipaddresses":["192.0.2.5"]}}}`)
		if got := f.raised(); got != "vtm-1:192.0.2.5 vtm-2: vtm-3:192.0.2.1,192.0.2.9" {
			t.Errorf("with another address in the first group raised are %s", got)
		}
		if got := told(); strings.Contains(got, "is also in") {
			t.Errorf("tip_errors are %s", got)
		}
		c.want(204, "DELETE", "/config/active/traffic_ip_groups/other", nil)
		if got := f.raised(); got != "vtm-1:192.0.2.5 vtm-2: vtm-3:" {
			t.Errorf("without the other group raised are %s", got)
		}
	})
}
