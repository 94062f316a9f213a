package vtm_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vtm-ingress/sim/vtm"
)

// backends are nodes that answer with their address and begin sessions of every
// kind that an application begins.
func (f *fleet) backends(n int) (addresses []string, stop func(address string)) {
	f.t.Helper()
	servers := make(map[string]*http.Server)
	for i := range n {
		at := fmt.Sprintf("127.9.0.%d:8080", i+1)
		l, err := f.net.World().Listen("node/"+at, "tcp", at)
		if err != nil {
			f.t.Fatal(err)
		}
		servers[at] = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user := r.Header.Get("X-User")
			for name, value := range map[string]string{"app": user, "X-Zeus-Backend": at, "JSESSIONID": "j" + user, "ASPSESSIONIDQQGGBNMK": "a" + user} {
				if _, err := r.Cookie(name); err != nil {
					http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/"})
				}
			}
			io.WriteString(w, at)
		})}
		go servers[at].Serve(l)
		f.t.Cleanup(func() { servers[at].Close() })
		addresses = append(addresses, at)
	}
	return addresses, func(address string) { servers[address].Close() }
}

// user is a client with cookies and an address of its own.
type user struct {
	*http.Client
	fleet *fleet
	name  string
	node  string // asked for by header
}

func (f *fleet) user(name string) *user {
	c := f.net.World().HTTPClient("user/"+name, nil)
	c.Jar, _ = cookiejar.New(nil)
	c.Timeout = 20 * time.Second
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f.t.Cleanup(c.CloseIdleConnections)
	return &user{c, f, name, ""}
}

// ask returns the node that answered, "302 URL", another status, or "closed".
func (u *user) ask() string {
	at := netip.AddrPortFrom(u.fleet.AddressMap().Map(netip.MustParseAddr("192.0.2.1")), 80)
	// The jar keeps cookies for a host, and hosts are addresses in this network.
	req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://"+at.String()+"/", nil)
	req.Header.Set("X-User", u.name)
	req.Header.Set("X-Want", u.node)
	req.Close = true // the member that a kept connection goes to may be gone
	res, err := u.Do(req)
	if err != nil {
		return "closed"
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	switch res.StatusCode {
	case 200:
		return string(body)
	case 302:
		return "302 " + res.Header.Get("Location")
	}
	return fmt.Sprint(res.StatusCode)
}

// stick makes a virtual server on 192.0.2.1, raised by vtm-1 while it works, with a
// persistence class.
func (f *fleet) stick(nodes []string, class string) {
	f.t.Helper()
	table := ""
	for i, n := range nodes {
		if i > 0 {
			table += ","
		}
		table += `{"node":"` + n + `"}`
	}
	c := f.on("vtm-1")
	c.want(201, "PUT", "/config/active/persistence/class", `{"properties":{"basic":{`+class+`}}}`)
	c.want(201, "PUT", "/config/active/rules/who", []byte(`connection.setPersistenceKey(http.getHeader("X-User"));
$n = http.getHeader("X-Want"); if ($n != "") { connection.setPersistenceNode($n); }`))
	c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[`+table+`],"persistence_class":"class","node_connection_attempts":1}}}`)
	c.want(201, "PUT", "/config/active/traffic_ip_groups/edge", group([]string{"vtm-1", "vtm-2"}, []string{"192.0.2.1"}, `,"slaves":["vtm-2"]`))
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"port":80,"pool":"app","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":["edge"],"request_rules":["who"]}}}`)
}

func atOnce(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }

// TestSessionsGoOnAtTheMemberThatTakesOver: sessions that began at one member are
// honoured by another when the first is gone, and end there as the class says.
func TestSessionsGoOnAtTheMemberThatTakesOver(t *testing.T) {
	for _, kind := range []string{
		`"type":"ip"`, `"type":"universal"`, `"type":"named"`, `"type":"transparent"`, `"type":"cookie","cookie":"app"`,
		`"type":"x_zeus"`, `"type":"j2ee"`, `"type":"asp"`,
	} {
		for _, mode := range []string{"new_node", "close", "url"} {
			t.Run(kind+"/"+mode, func(t *testing.T) {
				inFleet(t, 2, atOnce, func(t *testing.T, f *fleet) {
					nodes, stop := f.backends(3)
					f.stick(nodes, kind+`,"failure_mode":"`+mode+`","url":"http://sorry.test/"`)
					var users []*user
					var homes []string
					for i := range 7 {
						u := f.user(fmt.Sprint(i))
						home := u.ask()
						if !slices.Contains(nodes, home) {
							t.Fatalf("user %d got %s", i, home)
						}
						u.node = home
						users, homes = append(users, u), append(homes, home)
					}
					time.Sleep(4 * time.Second) // state_sync_interval and a beat
					f.fault("stop member=vtm-1")
					time.Sleep(6 * time.Second)
					// In another order than they came, so that round robin cannot agree by itself.
					for _, i := range []int{3, 0, 6, 2, 5, 1, 4} {
						if got := users[i].ask(); got != homes[i] {
							t.Errorf("the session of user %d is on %s, and went to %s", i, homes[i], got)
						}
					}
					stop(homes[0])
					got := users[0].ask()
					switch mode {
					case "new_node":
						if got == homes[0] || !slices.Contains(nodes, got) {
							t.Errorf("with its node gone the session got %s", got)
						}
					case "close":
						if got != "closed" {
							t.Errorf("with its node gone the session got %s, want a closed connection", got)
						}
					case "url":
						if got != "302 http://sorry.test/" {
							t.Errorf("with its node gone the session got %s", got)
						}
					}
				})
			})
		}
	}
}

// TestSessionsReachAMemberThatHadMissedThem: by a partition, by a stop, or since it
// has just joined.
func TestSessionsReachAMemberThatHadMissedThem(t *testing.T) {
	for _, missed := range []string{"cut vtm-2 member=vtm-1", "stop member=vtm-2", "join"} {
		t.Run(missed, func(t *testing.T) {
			inFleet(t, 2, atOnce, func(t *testing.T, f *fleet) {
				nodes, _ := f.backends(3)
				f.stick(nodes, `"type":"universal"`)
				if missed != "join" {
					f.fault(missed)
				}
				var users []*user
				var homes []string
				for i := range 7 {
					users = append(users, f.user(fmt.Sprint(i)))
					homes = append(homes, users[i].ask())
				}
				time.Sleep(10 * time.Second)
				heir := "vtm-2"
				if missed == "join" {
					if _, err := f.Join(); err != nil {
						t.Fatal(err)
					}
					heir = "vtm-3"
				} else {
					if n := sessionsOf(f, heir); n != 0 {
						t.Errorf("%d sessions reached %s meanwhile", n, heir)
					}
					f.fault("")
				}
				time.Sleep(4 * time.Second)
				if n := sessionsOf(f, heir); n != len(users) {
					t.Errorf("%s knows %d sessions, want %d", heir, n, len(users))
				}
				if heir != "vtm-2" {
					return
				}
				f.fault("stop member=vtm-1")
				time.Sleep(6 * time.Second)
				for _, i := range []int{3, 0, 6, 2, 5, 1, 4} {
					if got := users[i].ask(); got != homes[i] {
						t.Errorf("the session of user %d is on %s, and went to %s", i, homes[i], got)
					}
				}
			})
		})
	}
}

func sessionsOf(f *fleet, name string) int {
	tm := f.Member(name)
	if tm == nil {
		return 0
	}
	return len(tm.DataPlane().Sessions())
}

func TestSessionsAreToldEachStateSyncInterval(t *testing.T) {
	inFleet(t, 2, atOnce, func(t *testing.T, f *fleet) {
		nodes, _ := f.backends(2)
		f.stick(nodes, `"type":"universal"`)
		sync := func(seconds int) {
			f.on("vtm-1").want(200, "PUT", "/config/active/global_settings", fmt.Sprintf(`{"properties":{"cluster_comms":{"state_sync_interval":%d}}}`, seconds))
		}
		sync(0)
		f.user("a").ask()
		time.Sleep(5 * time.Minute)
		if n := sessionsOf(f, "vtm-2"); n != 0 {
			t.Errorf("%d sessions were told with an interval of 0", n)
		}
		sync(60)
		time.Sleep(time.Second) // it is due at once: the last time is long ago
		if n := sessionsOf(f, "vtm-2"); n != 1 {
			t.Fatalf("vtm-2 knows %d sessions, want the one from before", n)
		}
		f.user("b").ask()
		time.Sleep(50 * time.Second)
		if n := sessionsOf(f, "vtm-2"); n != 1 {
			t.Errorf("after 50 s of 60 vtm-2 knows %d sessions", n)
		}
		time.Sleep(11 * time.Second)
		if n := sessionsOf(f, "vtm-2"); n != 2 {
			t.Errorf("after 61 s of 60 vtm-2 knows %d sessions", n)
		}
	})
}

func TestDatagramsGoToTheMemberThatRaisedTheAddress(t *testing.T) {
	inFleet(t, 2, atOnce, func(t *testing.T, f *fleet) {
		node, err := f.net.World().ListenPacket("node", "udp", "127.9.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 2048)
			for {
				n, from, err := node.ReadFrom(b)
				if err != nil {
					return
				}
				node.WriteTo(b[:n], from)
			}
		}()
		defer node.Close()
		c := f.on("vtm-1")
		c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[{"node":"127.9.0.1:53"}]}}}`)
		c.want(201, "PUT", "/config/active/traffic_ip_groups/edge", group([]string{"vtm-1", "vtm-2"}, []string{"192.0.2.1"}, `,"slaves":["vtm-2"]`))
		c.want(201, "PUT", "/config/active/virtual_servers/dns", `{"properties":{"basic":{"port":53,"protocol":"dns","pool":"app","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":["edge"]}}}`)
		at := netip.AddrPortFrom(f.AddressMap().Map(netip.MustParseAddr("192.0.2.1")), 53).String()
		conn, err := f.net.World().Dial(t.Context(), "client", "udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask := func(text string) bool {
			io.WriteString(conn, text)
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			b := make([]byte, 100)
			n, err := conn.Read(b)
			return err == nil && string(b[:n]) == text
		}
		served := func(name string) any { return f.on(name).counter("virtual_servers/dns", "total_dgram") }
		if !ask("1") || served("vtm-1") != 1.0 {
			t.Errorf("vtm-1 served %v datagrams, want 1", served("vtm-1"))
		}
		f.fault("cut clients member=vtm-1")
		if ask("2") {
			t.Error("a datagram crossed the cut")
		}
		f.fault("")
		if !ask("3") {
			t.Error("not served after the cut")
		}
		f.fault("stop member=vtm-1")
		time.Sleep(6 * time.Second)
		if !ask("4") || served("vtm-2") != 1.0 {
			t.Errorf("vtm-2 served %v datagrams, want 1", served("vtm-2"))
		}
	})
}
