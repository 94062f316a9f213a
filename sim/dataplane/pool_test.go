package dataplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// toggled is a node at a fixed address that can be up or down.
type toggled struct {
	t       *testing.T
	address string
	handler http.Handler
	server  *http.Server
}

func newToggled(t *testing.T, name string) *toggled {
	n := &toggled{t: t, address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	n.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) })
	t.Cleanup(n.down)
	return n
}

func (n *toggled) up() {
	n.t.Helper()
	l, err := net.Listen("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &http.Server{Handler: n.handler}
	n.server = s
	go func() { _ = s.Serve(l) }()
}

func (n *toggled) down() {
	if n.server != nil {
		n.server.Close()
		n.server = nil
	}
}

func TestAMonitorFailsANodeAndBringsItBack(t *testing.T) {
	p := newPlane(t)
	a := backend(t, "a")
	b := newToggled(t, "b")
	b.up()
	port := freePort(t)
	p.Apply(Update{
		Monitors:       map[string]*Monitor{"Connect": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 1}},
		Pools:          map[string]*Pool{"app": with(aPool(addr(a), b.address), func(p *Pool) { p.Monitors = []string{"Connect"} })},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	b.down()
	p.await("monitorfail", "nodes/"+b.address, 1)
	p.await("nodefail", "nodes/"+b.address, 1)
	client := testClient(t)
	for range 4 {
		p.want(client, at(port, "/"), 200, "a")
	}
	if s := p.State(); len(s.FailedNodes) != 1 || s.FailedNodes[0].Node != b.address || s.FailedNodes[0].Pools[0] != "app" {
		t.Errorf("failed nodes: %+v", s.FailedNodes)
	}
	b.up()
	p.await("nodeworking", "nodes/"+b.address, 1)
	seen := map[string]bool{}
	for range 2 {
		_, body := get(client, at(port, "/"))
		seen[body] = true
	}
	if !seen["a"] || !seen["b"] {
		t.Errorf("after the recovery only %v answer", seen)
	}
}

func TestANodeWhoseMonitorIsTakenAwayWorksAgain(t *testing.T) {
	p := newPlane(t)
	b := newToggled(t, "b")
	port := freePort(t)
	pool := with(aPool(b.address), func(p *Pool) { p.Monitors, p.PassiveMonitoring = []string{"node", "pool"}, false })
	p.Apply(Update{
		Monitors: map[string]*Monitor{
			"node": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 1},
			"pool": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 1, Scope: "poolwide", Machine: b.address},
		},
		Pools:          map[string]*Pool{"app": pool},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	p.await("monitorfail", "{WARN monitors/node", 1)
	p.await("monitorfail", "{WARN monitors/pool", 1)
	b.up()
	p.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(p *Pool) { p.Monitors = nil })}})
	p.await("poolok", "pools/app", 1)
	p.want(testClient(t), at(port, "/"), 200, "b")
}

func TestAnHTTPMonitorLooksAtStatusAndBody(t *testing.T) {
	p := newPlane(t)
	bad := map[string]string{}
	m := map[string]*Monitor{}
	pools := map[string]*Pool{}
	servers := map[string]*VirtualServer{}
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "probe" || password != "secret:1" || r.Host != "shop.test" || r.URL.RawQuery != "q=1" {
			w.WriteHeader(401)
			return
		}
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		fmt.Fprint(w, "all is well")
	})
	for name, conf := range map[string]Monitor{
		"ok":     {Path: "/?q=1", StatusRegex: "^200$", BodyRegex: "well$"},
		"moved":  {Path: "/moved?q=1", StatusRegex: "^302$"},
		"status": {Path: "/", StatusRegex: "^200$"},
		"body":   {Path: "/?q=1", StatusRegex: "^200$", BodyRegex: "ill"},
	} {
		conf.Type, conf.Delay, conf.Timeout, conf.Failures = "http", time.Second, 5*time.Second, 1
		conf.HostHeader, conf.Authorization = "shop.test", "probe:secret:1"
		m[name] = &conf
		pools[name] = with(aPool(addr(b)), func(p *Pool) { p.Monitors = []string{name} })
		servers[name] = aServer(freePort(t), name)
		bad[name] = ""
	}
	p.Apply(Update{Monitors: m, Pools: pools, VirtualServers: servers})
	p.await("monitorfail", "pools/status", 1)
	p.await("monitorfail", "pools/body", 1)
	for _, ps := range p.State().Pools {
		if want := ps.Name == "status" || ps.Name == "body"; (len(ps.Failed) > 0) != want {
			t.Errorf("pool %s: failed %v", ps.Name, ps.Failed)
		}
	}
}

func TestOnlyPoolsInUseAreMonitored(t *testing.T) {
	p := newPlane(t)
	watched := func(failure string) *Pool {
		return with(aPool("127.0.0.1:1"), func(p *Pool) { p.Monitors, p.FailurePool = []string{"Connect"}, failure })
	}
	inUse := func() string {
		var names []string
		for _, ps := range p.State().Pools {
			if ps.InUse {
				names = append(names, ps.Name)
			}
		}
		return strings.Join(names, " ")
	}
	step := func(what string, u Update, want string) {
		t.Helper()
		p.Apply(u)
		if got := inUse(); got != want {
			t.Errorf("%s: in use are %q, want %q", what, got, want)
		}
		p.pools.Range(func(name, v any) bool {
			pool := v.(*pool)
			pool.mu.Lock()
			defer pool.mu.Unlock()
			if running := len(pool.runs) > 0; running != pool.inUse {
				t.Errorf("%s: pool %s: in use %v, monitors run %v", what, name, pool.inUse, running)
			}
			return true
		})
	}
	port := freePort(t)
	step("pools alone", Update{
		Monitors: map[string]*Monitor{"Connect": {Type: "connect", Delay: time.Hour, Timeout: time.Second, Failures: 1}},
		Pools:    map[string]*Pool{"app": watched("spare"), "spare": watched("app"), "literal": watched(""), "other": watched("")},
	}, "")
	rules := []string{"route", "/off"}
	step("a server", Update{VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.RequestRules = rules })}}, "app spare")
	step("its rule", Update{Rules: map[string]*Rule{"route": {Source: `pool.use("literal");`}, "off": {Source: `pool.use("other");`}}}, "app literal spare")
	step("a changed rule", Update{Rules: map[string]*Rule{"route": {Source: `pool.use("other");`}}}, "app other spare")
	step("a rule with an error", Update{Rules: map[string]*Rule{"route": {Source: `pool.use(`}}}, "app spare")
	step("variable pools", Update{Global: &Global{VariablePoolUse: true}}, "app literal other spare")
	step("and not", Update{Global: &Global{}}, "app spare")
	step("another failure pool", Update{Pools: map[string]*Pool{"app": watched("other")}}, "app other")
	step("the server disabled", Update{VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.Enabled = false })}}, "")
	step("the server deleted", Update{VirtualServers: map[string]*VirtualServer{"web": nil}}, "")
}

func TestThreeFailedTriesFailANodeUntilATrialSucceeds(t *testing.T) {
	p := newPlane(t)
	a := backend(t, "a")
	b := newToggled(t, "b")
	port := freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{"app": with(aPool(addr(a), b.address), func(p *Pool) { p.NodeRetryFailTime = 100 * time.Millisecond })},
		VirtualServers: map[string]*VirtualServer{
			"web": aServer(port, "app"),
		},
	})
	client := testClient(t)
	for range 6 {
		p.want(client, at(port, "/"), 200, "a") // retried: the client never notices
	}
	if e := p.await("nodefail", b.address, 1); e.Level != "SERIOUS" || e.Section != "pools/app" {
		t.Errorf("event: %+v", e)
	}
	b.up()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, body := get(client, at(port, "/")); body == "b" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the node never came back")
		}
	}
	p.await("nodeworking", b.address, 1)
}

func TestAPoolWithoutWorkingNodesUsesItsFailurePool(t *testing.T) {
	p := newPlane(t)
	spare := backend(t, "spare")
	port := freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{
			"app":    with(aPool(refusing(t)), func(p *Pool) { p.FailurePool = "second"; p.NodeConnectionAttempts = 1 }),
			"second": with(aPool(), func(p *Pool) { p.FailurePool = "spare" }),
			"spare":  with(aPool(addr(spare)), func(p *Pool) { p.FailurePool = "app" }),
		},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	client := testClient(t)
	for range 3 {
		p.want(client, at(port, "/"), 200, "spare")
	}
	p.await("pooldied", "pools/app", 1)
	p.await("poolnonodes", "pools/second", 1)
	p.Apply(Update{Pools: map[string]*Pool{"spare": aPool()}})
	p.want(client, at(port, "/"), 503, "")
}

// rude answers a connection by reading a request and closing.
func rude(t *testing.T) (address string, requests *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [4096]byte
				if n, _ := c.Read(b[:]); n > 0 {
					requests.Add(1)
				}
			}()
		}
	}()
	return l.Addr().String(), requests
}

func TestAFailedTryGoesToAnotherNodeOnlyIfThatIsSafe(t *testing.T) {
	p := newPlane(t)
	received := make(chan string, 1)
	good := backend(t, "good", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		received <- string(b)
	})
	busy := backend(t, "busy", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(503)
	})
	closes, requests := rude(t)
	small, large := strings.Repeat("s", 60<<10), strings.Repeat("l", 1<<20)
	for _, c := range []struct {
		node, method, body string
		want               int
	}{
		{closes, "GET", "", 200},
		{closes, "PUT", small, 200},
		{closes, "DELETE", "", 200},
		{closes, "POST", small, 503}, // it may have been carried out
		{addr(busy), "GET", "", 200},
		{addr(busy), "PUT", small, 200},
		{addr(busy), "PUT", large, 503}, // its beginning is no longer there
		{addr(busy), "POST", small, 503},
		{refusing(t), "POST", large, 200}, // no node has seen it
	} {
		port := freePort(t)
		p.Apply(Update{
			Pools:          map[string]*Pool{"app": nil},
			VirtualServers: map[string]*VirtualServer{"web": nil},
		})
		p.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool(c.node, addr(good))},
			VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
		})
		req, _ := http.NewRequest(c.method, at(port, "/"), strings.NewReader(c.body))
		res, err := testClient(t).Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.method, err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s of %d bytes with a bad node: got %d, want %d", c.method, len(c.body), res.StatusCode, c.want)
		}
		if res.StatusCode == 200 {
			if got := <-received; got != c.body {
				t.Errorf("%s: the second node got %d bytes, want %d", c.method, len(got), len(c.body))
			}
		}
	}
	if n := requests.Load(); n < 4 {
		t.Errorf("only %d requests met the node that closes", n)
	}
	// With nowhere else to go the node's own 503 is the answer.
	port := freePort(t)
	p.Apply(Update{Pools: map[string]*Pool{"busy": aPool(addr(busy))}, VirtualServers: map[string]*VirtualServer{"busy": aServer(port, "busy")}})
	res, err := testClient(t).Get(at(port, "/"))
	if err != nil || res.Header.Get("X-Node") != "busy" {
		t.Errorf("got %v, %v; want the node's answer", res, err)
	}
}

func TestDrainingAndDisabledNodesGetNoNewRequests(t *testing.T) {
	p := newPlane(t)
	a, b, c := backend(t, "a"), backend(t, "b"), backend(t, "c")
	port := freePort(t)
	p.Apply(Update{
		Pools: map[string]*Pool{"app": with(aPool(addr(a), addr(b), addr(c)), func(p *Pool) {
			p.Nodes[1].State, p.Nodes[2].State = "draining", "disabled"
		})},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	client := testClient(t)
	for range 4 {
		p.want(client, at(port, "/"), 200, "a")
	}
	s := p.State().Pools[0]
	if fmt.Sprint(s.Active, s.Draining, s.Disabled) != fmt.Sprintf("[%s] [%s] [%s]", addr(a), addr(b), addr(c)) {
		t.Errorf("state: %+v", s)
	}
}

func TestARemovedNodeFinishesOrIsCutAsThePoolSays(t *testing.T) {
	for _, drain := range []bool{true, false} {
		p := newPlane(t)
		inside, goOn := make(chan bool), make(chan bool)
		slow := backend(t, "slow", func(w http.ResponseWriter, r *http.Request) {
			inside <- true
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
			fmt.Fprint(w, "slow")
		})
		other := backend(t, "other")
		port := freePort(t)
		pool := with(aPool(addr(slow)), func(p *Pool) { p.DeleteDrain = drain })
		p.Apply(Update{Pools: map[string]*Pool{"app": pool}, VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")}})
		answer := make(chan string, 1)
		go func() {
			_, body := get(testClient(t), at(port, "/"))
			answer <- body
		}()
		<-inside
		p.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(c *Pool) { c.Nodes = aPool(addr(other)).Nodes })}})
		p.want(testClient(t), at(port, "/"), 200, "other")
		want := "other" // cut off, and tried on the node that is there now
		if drain {
			want = "slow"
			close(goOn)
		}
		if got := <-answer; got != want {
			t.Errorf("drain %v: the request under way got %q, want %q", drain, got, want)
		}
	}
}

func TestNoRequestIsLostWhileNodesAreReplaced(t *testing.T) {
	p := newPlane(t)
	nodes := []string{addr(backend(t, "ok")), addr(backend(t, "ok")), addr(backend(t, "ok")), addr(backend(t, "ok"))}
	port := freePort(t)
	pool := func(i int) *Pool {
		return with(aPool(nodes[i%4], nodes[(i+1)%4]), func(p *Pool) { p.DeleteDrain = true })
	}
	server := func(i int) *VirtualServer {
		// Changes what a listener, a generation and a request look at.
		return aServer(port, "app", func(v *VirtualServer) {
			v.KeepaliveTimeout = time.Duration(10+i%3) * time.Second
			v.AddXForwardedFor = i%2 == 0
		})
	}
	p.Apply(Update{Pools: map[string]*Pool{"app": pool(0)}, VirtualServers: map[string]*VirtualServer{"web": server(0)}})
	ctx, cancel := context.WithCancel(contextFor(t))
	var load sync.WaitGroup
	var done atomic.Int32
	for i := range 4 {
		load.Go(func() {
			client := testClient(t)
			for ctx.Err() == nil {
				method := http.MethodGet
				if i%2 == 1 {
					method = http.MethodPost
				}
				req, _ := http.NewRequest(method, at(port, "/"), strings.NewReader("body"))
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 {
					t.Errorf("%s: got %d, %v", method, res.StatusCode, err)
					return
				}
				done.Add(1)
			}
		})
	}
	probe := testClient(t)
	for i := 1; i <= 200; i++ {
		before := done.Load()
		p.Apply(Update{Pools: map[string]*Pool{"app": pool(i)}, VirtualServers: map[string]*VirtualServer{"web": server(i)}})
		for done.Load() == before && !t.Failed() {
			p.want(probe, at(port, "/"), 200, "ok")
		}
	}
	cancel()
	load.Wait()
	if starts, _ := p.list(); len(starts) != 1 {
		t.Errorf("the listener was disturbed: %v", starts)
	}
}

func TestAPoolChangeKeepsWhatIsKnownAboutNodes(t *testing.T) {
	p := newPlane(t)
	a := backend(t, "a")
	port := freePort(t)
	pool := with(aPool(refusing(t), addr(a)), func(p *Pool) { p.NodeConnectionAttempts = 1 })
	p.Apply(Update{Pools: map[string]*Pool{"app": pool}, VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")}})
	p.want(testClient(t), at(port, "/"), 200, "a")
	p.await("nodefail", "", 1)
	p.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(c *Pool) { c.MaxReplyTime = time.Second })}})
	if s := p.State().Pools[0]; len(s.Failed) != 1 {
		t.Errorf("the failed node is forgotten: %+v", s)
	}
	stats, _ := p.PoolStatistics("app")
	if stats.Nodes[0].Counts["total_conn"] != 1 || stats.Nodes[1].Counts["total_conn"] != 1 {
		t.Errorf("counts are forgotten: %+v", stats)
	}
}
