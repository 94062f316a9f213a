package admin_test

import (
	"regexp"
	"strings"
	"testing"
)

// state is what a page says of a virtual server's own state.
func (p page) state(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`(?s)<div role="cell" class="cell server">.*?<span class="status ([a-z]+)">.*?([a-z ]+)</span>`).FindStringSubmatch(p.text)
	if m == nil {
		t.Fatalf("no virtual server in the map:\n%s", p.text)
	}
	return m[1] + " " + strings.TrimSpace(m[2])
}

func TestAVirtualServerThatAnotherMemberHostsIsNotShownAsFailed(t *testing.T) {
	s := start(t, 2, "127.9.1.0")
	s.rest("vtm-1", "PUT", "traffic_ip_groups/web", `{"properties":{"basic":{"ipaddresses":["192.0.2.10"],"machines":["vtm-1","vtm-2"]}}}`)
	s.rest("vtm-1", "PUT", "virtual_servers/shop", `{"properties":{"basic":{"enabled":true,"port":8080,"pool":"discard","listen_on_any":false,"listen_on_traffic_ips":["web"]}}}`)
	hosted := regexp.MustCompile(`hosted by (vtm-\d)`)
	for _, member := range []string{"vtm-1", "vtm-2"} {
		p := s.browser(member).logIn("admin").want(200, "/")
		if got := p.state(t); got != "ok working" {
			t.Errorf("%s shows the virtual server as %q", member, got)
		}
		if !hosted.MatchString(p.text) {
			t.Errorf("%s does not say who hosts the address", member)
		}
	}

	// One own address of another machine, and one that nobody has.
	s.rest("vtm-1", "PUT", "virtual_servers/shop", `{"properties":{"basic":{"listen_on_traffic_ips":[],"listen_on_hosts":["127.9.1.2"]}}}`)
	if got := s.browser("vtm-1").logIn("admin").want(200, "/").state(t); got != "ok working" {
		t.Errorf("with an address of vtm-2 the virtual server is %q", got)
	}
	s.rest("vtm-1", "PUT", "virtual_servers/shop", `{"properties":{"basic":{"listen_on_hosts":[],"listen_on_traffic_ips":["no such"]}}}`)
	p := s.browser("vtm-1").logIn("admin").want(200, "/")
	if got := p.state(t); got != "bad not listening" {
		t.Errorf("without an address the virtual server is %q", got)
	}
	if !strings.Contains(p.text, ">1</span><span>problem now<") {
		t.Errorf("one problem is not told as one: %s", regexp.MustCompile(`[^>]*</span><span>problems? now`).FindString(p.text))
	}
}
