package vtm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/vtm"
)

// fleet is a cluster in a bubble, with an administrator for each member.
type fleet struct {
	*vtm.Cluster
	t       *testing.T
	net     *network.Network
	clients map[string]*client
}

// inFleet runs test in a bubble with a cluster of n members.
func inFleet(t *testing.T, n int, change func(*vtm.ClusterOptions), test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, net: network.New(network.Options{Seed: 3}), clients: make(map[string]*client)}
		o := vtm.ClusterOptions{
			Options: vtm.Options{
				World: f.net.World(), Log: slog.New(slog.DiscardHandler), Users: map[string]string{"admin": "secret"},
				PlainHTTP: true, PerClientTransports: true, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
			},
			Members: n, Base: netip.MustParseAddr("127.1.0.0"),
		}
		if change != nil {
			change(&o)
		}
		var err error
		if f.Cluster, err = vtm.StartCluster(o); err != nil {
			t.Fatal(err)
		}
		defer func() { // also when test gives up
			for _, c := range f.clients {
				c.http.CloseIdleConnections()
			}
			f.Close()
			f.net.Close()
			time.Sleep(2 * time.Minute) // transports' dials end
		}()
		test(t, f)
	})
}

// on speaks to a member's REST API, now and after its restarts.
func (f *fleet) on(name string) *client {
	f.t.Helper()
	if c := f.clients[name]; c != nil {
		return c
	}
	tm := f.Member(name)
	if tm == nil {
		f.t.Fatalf("%s does not run", name)
	}
	h := f.net.World().HTTPClient("admin/"+name, nil)
	h.Timeout = 100 * time.Second
	f.clients[name] = &client{t: f.t, base: "http://" + tm.RESTAddress() + "/api/tm/8.3", http: h}
	return f.clients[name]
}

// fault sets faults by their text; "" heals.
func (f *fleet) fault(text string) {
	f.t.Helper()
	rules, err := vtm.ParseFaults(text)
	if err == nil {
		err = f.SetFaults(rules)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// has tells whether a member shows a resource, without a request to it, which
// would put off its own replication.
func (f *fleet) has(name, path string) bool {
	f.t.Helper()
	return f.on(name).do("GET", "/config/active/"+path, nil).status == 200
}

// eventTags are the tags of a member's event log.
func (f *fleet) eventTags(name string) []string {
	var tags []string
	for _, e := range f.Member(name).EventLog() {
		tags = append(tags, e.Tag)
	}
	return tags
}

// raised lists which member has raised which addresses.
func (f *fleet) raised() string {
	var parts []string
	for _, m := range f.Info() {
		parts = append(parts, m.Name+":"+strings.Join(m.Raised, ","))
	}
	return strings.Join(parts, " ")
}

const emptyPool = `{"properties":{"basic":{}}}`

func TestAMemberAnswersAfterItsOwnWriteAndReplicatesAfterTheLull(t *testing.T) {
	inFleet(t, 3, nil, func(t *testing.T, f *fleet) {
		f.on("vtm-2").want(201, "PUT", "/config/active/pools/web", emptyPool)
		f.on("vtm-2").want(200, "GET", "/config/active/pools/web", nil)
		time.Sleep(4900 * time.Millisecond)
		if f.has("vtm-1", "pools/web") || f.has("vtm-3", "pools/web") {
			t.Error("replicated before the lull of 5 s")
		}
		time.Sleep(200 * time.Millisecond)
		if !f.has("vtm-1", "pools/web") || !f.has("vtm-3", "pools/web") {
			t.Error("not replicated after the lull of 5 s")
		}
		f.on("vtm-3").want(204, "DELETE", "/config/active/pools/web", nil)
		time.Sleep(5100 * time.Millisecond)
		if f.has("vtm-1", "pools/web") || f.has("vtm-2", "pools/web") {
			t.Error("the deletion is not replicated")
		}
	})
}

func TestRequestsPutOffReplicationNoLongerThanReplicateAbsolute(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		began := time.Now()
		for time.Since(began) < 19*time.Second {
			time.Sleep(time.Second)
			f.on("vtm-1").want(200, "GET", "/config/active/pools/web", nil)
		}
		if f.has("vtm-2", "pools/web") {
			t.Error("requests did not put it off")
		}
		for time.Since(began) < 21*time.Second {
			time.Sleep(time.Second)
			f.on("vtm-1").want(200, "GET", "/config/active/pools/web", nil)
		}
		if !f.has("vtm-2", "pools/web") {
			t.Error("not replicated after replicate_absolute")
		}
	})
}

func TestWithoutALullAWriteIsEverywhereWhenItIsAnswered(t *testing.T) {
	inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		if !f.has("vtm-2", "pools/web") || !f.has("vtm-3", "pools/web") {
			t.Error("not replicated")
		}
	})
}

func TestAMemberThatWasAwayCatchesUp(t *testing.T) {
	for _, fault := range []string{"stop member=vtm-3", "freeze member=vtm-3", "isolate member=vtm-3"} {
		t.Run(fault, func(t *testing.T) {
			inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
				f.on("vtm-1").want(201, "PUT", "/config/active/pools/old", emptyPool)
				f.on("vtm-3")
				f.fault(fault)
				f.on("vtm-1").want(201, "PUT", "/config/active/pools/new", emptyPool)
				f.on("vtm-2").want(204, "DELETE", "/config/active/pools/old", nil)
				if !slices.Contains(f.eventTags("vtm-1"), "confrepfailed") {
					t.Error("vtm-1 does not tell that replication failed")
				}
				time.Sleep(5 * time.Minute)
				f.fault("")
				time.Sleep(time.Second)
				if !f.has("vtm-3", "pools/new") || f.has("vtm-3", "pools/old") {
					t.Error("it did not catch up")
				}
			})
		})
	}
}

func TestTwoSidesThatBothChangedEndAlikeAndTellIt(t *testing.T) {
	inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		f.fault("cut vtm-1 member=vtm-3\ncut vtm-2 member=vtm-3")
		note := func(s string) string { return fmt.Sprintf(`{"properties":{"basic":{"note":%q}}}`, s) }
		f.on("vtm-3").want(200, "PUT", "/config/active/pools/web", note("earlier"))
		f.on("vtm-1").want(200, "PUT", "/config/active/pools/web", note("later"))
		f.on("vtm-3").want(201, "PUT", "/config/active/pools/three", emptyPool)
		f.on("vtm-2").want(201, "PUT", "/config/active/pools/two", emptyPool)
		f.fault("")
		time.Sleep(time.Second)
		for _, m := range f.Names() {
			if got := f.on(m).get("pools/web", "basic", "note"); got != "later" {
				t.Errorf("%s has the note %v", m, got)
			}
			if !f.has(m, "pools/two") || !f.has(m, "pools/three") {
				t.Errorf("%s lacks what one side made", m)
			}
		}
		if !slices.Contains(f.eventTags("vtm-3"), "confconflict") {
			t.Error("the member whose change is lost does not tell it")
		}
	})
}

func TestMembersAreListedWithTheirStatusJoinAndLeave(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		if _, err := f.Join(); err != nil {
			t.Fatal(err)
		}
		if !f.has("vtm-3", "pools/web") {
			t.Error("the member that joined lacks the configuration")
		}
		for _, m := range f.Names() {
			for _, list := range []string{"/config/active/traffic_managers", "/status"} {
				if got := string(f.on(m).want(200, "GET", list, nil).body); strings.Count(got, `"name"`) != 3 {
					t.Errorf("%s on %s shows %s", list, m, got)
				}
			}
		}
		uuids := map[string]bool{}
		for _, path := range []string{"/status/local_tm/information", "/status/vtm-1/information", "/status/vtm-2/information", "/status/vtm-3/information"} {
			information, _ := f.on("vtm-1").want(200, "GET", path, nil).json(t)["information"].(map[string]any)
			uuids[fmt.Sprint(information["uuid"])] = true
		}
		if len(uuids) != 3 {
			t.Errorf("three members have the UUIDs %v", uuids)
		}
		f.on("vtm-1").want(403, "DELETE", "/config/active/traffic_managers/vtm-2", nil)
		if err := f.Leave("vtm-2"); err != nil {
			t.Fatal(err)
		}
		if f.has("vtm-1", "traffic_managers/vtm-2") || f.has("vtm-3", "traffic_managers/vtm-2") {
			t.Error("the entry of the member that left is there")
		}
		f.fault("stop member=vtm-3")
		f.on("vtm-1").want(503, "GET", "/status/vtm-3/state", nil)
		f.on("vtm-1").want(404, "GET", "/status/vtm-2/state", nil)
	})
}

func TestAFullDiskRefusesWritesAndChangesNothing(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.fault("disk-full member=vtm-2")
		f.on("vtm-2").want(507, "PUT", "/config/active/pools/a", emptyPool)
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/b", emptyPool)
		if f.has("vtm-2", "pools/a") || f.has("vtm-2", "pools/b") {
			t.Error("something was stored")
		}
		f.fault("")
		time.Sleep(6 * time.Second)
		if !f.has("vtm-2", "pools/b") {
			t.Error("what was refused is not made up for")
		}
	})
}

// group is a Traffic IP Group of these addresses on the members named.
func group(machines []string, addresses []string, more string) string {
	a, _ := json.Marshal(addresses)
	m, _ := json.Marshal(machines)
	return fmt.Sprintf(`{"properties":{"basic":{"ipaddresses":%s,"machines":%s%s}}}`, a, m, more)
}

// answers asks a virtual server on an address and says which member served it;
// "" if nobody answers.
func (f *fleet) answers(actor, address string) string {
	f.t.Helper()
	served := func() map[string]int64 {
		counts := make(map[string]int64)
		for _, m := range f.Names() {
			if tm := f.Member(m); tm != nil {
				s, _ := tm.DataPlane().ServerStatistics("web")
				counts[m] = s["total_requests"]
			}
		}
		return counts
	}
	before := served()
	at := netip.MustParseAddr(address)
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	conn, err := f.net.World().Dial(ctx, actor, "tcp", netip.AddrPortFrom(f.AddressMap().Map(at), 80).String())
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(conn)
	if !strings.HasSuffix(string(b), "\r\n\r\nhere") {
		return ""
	}
	for m, n := range served() {
		if n > before[m] {
			return m
		}
	}
	return ""
}

// serve makes a virtual server on a group, whose rule answers.
func (f *fleet) serve(groupBody string) {
	f.t.Helper()
	c := f.on("vtm-1")
	c.want(201, "PUT", "/config/active/traffic_ip_groups/edge", groupBody)
	c.want(201, "PUT", "/config/active/rules/who", []byte(`http.sendResponse("200", "text/plain", "here", "");`))
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"port":80,"pool":"discard","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":["edge"],"request_rules":["who"]}}}`)
}

var three = []string{"vtm-1", "vtm-2", "vtm-3"}

func TestAddressesOfAMachineThatDiesAnswerElsewhereAndFailBack(t *testing.T) {
	atOnce := func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }
	for _, fault := range []string{"stop", "freeze", "isolate"} {
		t.Run(fault, func(t *testing.T) {
			inFleet(t, 3, atOnce, func(t *testing.T, f *fleet) {
				addresses := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
				f.serve(group(three, addresses, ""))
				before := f.raised()
				for _, m := range f.Info() {
					if len(m.Raised) != 1 {
						t.Fatalf("not spread evenly: %s", before)
					}
				}
				victim := f.Info()[1].Raised[0] // of vtm-2
				if got := f.answers("client/a", victim); got != "vtm-2" {
					t.Fatalf("%s is answered by %q", victim, got)
				}
				f.fault(fault + " member=vtm-2")
				time.Sleep(6 * time.Second) // monitor_timeout and one more
				got := f.answers("client/b", victim)
				if got != "vtm-1" && got != "vtm-3" {
					t.Errorf("%s is answered by %q", victim, got)
				}
				if tags := f.eventTags("vtm-1"); !slices.Contains(tags, "machinefail") {
					t.Errorf("vtm-1 does not tell that a machine failed: %v", tags)
				}
				for _, other := range addresses {
					if other != victim && !strings.Contains(before, f.answers("client/c", other)+":"+other) {
						t.Errorf("%s moved without need: %s, before %s", other, f.raised(), before)
					}
				}
				f.fault("")
				time.Sleep(9 * time.Second)
				if got := f.answers("client/d", victim); got == "vtm-2" || got == "" {
					t.Errorf("before autofailback_delay %s is answered by %q", victim, got)
				}
				time.Sleep(3 * time.Second)
				if f.raised() != before {
					t.Errorf("after autofailback_delay: %s, want %s", f.raised(), before)
				}
				if got := f.answers("client/e", victim); got != "vtm-2" {
					t.Errorf("after autofailback_delay %s is answered by %q", victim, got)
				}
			})
		})
	}
}

func TestWithoutAutoFailbackAMachineWaitsUntilItIsReactivated(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.on("vtm-1").want(200, "PUT", "/config/active/global_settings", `{"properties":{"fault_tolerance":{"auto_failback":false}}}`)
		f.on("vtm-1").want(201, "PUT", "/config/active/traffic_ip_groups/edge", group(three[:2], []string{"192.0.2.1", "192.0.2.2"}, ""))
		before := f.raised()
		f.fault("stop member=vtm-2")
		time.Sleep(6 * time.Second)
		f.fault("")
		time.Sleep(10 * time.Minute)
		if f.raised() == before {
			t.Error("it took its address back by itself")
		}
		f.Member("vtm-2").Reactivate()
		time.Sleep(2 * time.Second)
		if f.raised() != before {
			t.Errorf("reactivated: %s, want %s", f.raised(), before)
		}
		// If all others fail, one that waits hosts.
		f.fault("stop member=vtm-2")
		time.Sleep(6 * time.Second)
		f.fault("stop member=vtm-1")
		time.Sleep(6 * time.Second)
		if got := f.raised(); got != "vtm-1: vtm-2:192.0.2.1,192.0.2.2" {
			t.Errorf("alone: %s", got)
		}
	})
}

func TestOfASplitClusterBothSidesServeAndAgreeAfterwards(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.serve(group(three[:2], []string{"192.0.2.1", "192.0.2.2"}, ""))
		before := f.raised()
		f.fault("cut vtm-1 member=vtm-2")
		time.Sleep(7 * time.Second)
		if got := f.raised(); got != "vtm-1:192.0.2.1,192.0.2.2 vtm-2:192.0.2.1,192.0.2.2" {
			t.Errorf("split: %s", got)
		}
		if f.answers("client/a", "192.0.2.1") == "" || f.answers("client/b", "192.0.2.2") == "" {
			t.Error("an address does not answer")
		}
		f.fault("")
		time.Sleep(2 * time.Second)
		if f.raised() != before {
			t.Errorf("healed: %s, want %s", f.raised(), before)
		}
		for i, a := range []string{"192.0.2.1", "192.0.2.2"} {
			if got := f.answers(fmt.Sprint("client/c", i), a); !strings.Contains(before, got+":"+a) || got == "" {
				t.Errorf("%s is answered by %q, before: %s", a, got, before)
			}
		}
	})
}

func TestASharedAddressIsServedByAllOfItsMachines(t *testing.T) {
	inFleet(t, 3, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.serve(group(three, []string{"192.0.2.1"}, `,"mode":"multihosted","multicast":"239.1.1.1","slaves":["vtm-3"]`))
		by := map[string]int{}
		for i := range 60 {
			by[f.answers(fmt.Sprint("client/", i), "192.0.2.1")]++
		}
		if by["vtm-1"] < 10 || by["vtm-2"] < 10 || by["vtm-1"]+by["vtm-2"] != 60 {
			t.Errorf("served by %v", by)
		}
		first := f.answers("client/7", "192.0.2.1")
		if again := f.answers("client/7", "192.0.2.1"); again != first {
			t.Error("one client is served by two machines")
		}
	})
}

func TestADisabledGroupRaisesNothing(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.serve(group(three[:2], []string{"192.0.2.1"}, ""))
		if f.answers("client/a", "192.0.2.1") == "" {
			t.Error("nobody answers")
		}
		f.on("vtm-2").want(200, "PUT", "/config/active/traffic_ip_groups/edge", `{"properties":{"basic":{"enabled":false}}}`)
		if got := f.raised(); got != "vtm-1: vtm-2:" || f.answers("client/b", "192.0.2.1") != "" {
			t.Errorf("disabled: %s", got)
		}
		state := f.on("vtm-1").want(200, "GET", "/status/local_tm/statistics/traffic_ips/traffic_ip/192.0.2.1", nil)
		if !strings.Contains(string(state.body), `"state":"lowered"`) {
			t.Errorf("statistics show %s", state.body)
		}
	})
}
