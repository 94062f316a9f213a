package dataplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// visitor is a client with cookies, from an address of its own.
type visitor struct {
	*http.Client
	name string
	node string // that it asks for, by header
	path string // what follows the path
}

func newVisitor(t *testing.T, name, from string) *visitor {
	jar, _ := cookiejar.New(nil)
	// A client that keeps its connection asks again when it is closed.
	tr := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	return &visitor{name: name, Client: &http.Client{
		Transport: tr, Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask returns what came: a node's name, "302 URL", another status, or "closed".
func (v *visitor) ask(port int) string {
	req, _ := http.NewRequest(http.MethodGet, at(port, "/app"+v.path), nil)
	req.Header.Set("X-User", v.name)
	req.Header.Set("X-Want", v.node)
	res, err := v.Do(req)
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

// persistent is a way to have a session.
type persistent struct {
	name  string
	class Persistence
	rule  string
	// login is what the application sends with its answers; node is its name.
	login func(w http.ResponseWriter, r *http.Request, node string)
	// after changes the visitor once it has its session on node.
	after func(v *visitor, node string)
	// client tells that the client keeps the session: nothing can forget it.
	client bool
}

func session1(name, value string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, node string) {
		if _, err := r.Cookie(name); err != nil {
			v := value
			if v == "" {
				v = node
			}
			http.SetCookie(w, &http.Cookie{Name: name, Value: v + "-" + r.Header.Get("X-User"), Path: "/"})
		}
	}
}

var persistences = []persistent{
	{name: "ip", class: Persistence{Type: "ip"}},
	{name: "ip of a subnet", class: Persistence{Type: "ip", PrefixV4: 31}},
	{name: "universal", class: Persistence{Type: "universal"}, rule: `connection.setPersistenceKey(http.getHeader("X-User"));`},
	{name: "named", class: Persistence{Type: "named"}, client: true,
		rule:  `$n = http.getHeader("X-Want"); if ($n != "") { connection.setPersistenceNode($n); }`,
		after: func(v *visitor, node string) { v.node = node }},
	{name: "transparent", class: Persistence{Type: "transparent", Directives: "; httponly"}, client: true},
	{name: "cookie", class: Persistence{Type: "cookie", Cookie: "app"}, login: session1("app", "x"), client: true},
	{name: "x_zeus", class: Persistence{Type: "x_zeus"}, client: true,
		login: func(w http.ResponseWriter, r *http.Request, node string) {
			http.SetCookie(w, &http.Cookie{Name: "X-Zeus-Backend", Value: node, Path: "/"})
		}},
	{name: "j2ee by cookie", class: Persistence{Type: "j2ee"}, login: session1("JSESSIONID", "")},
	{name: "j2ee by path", class: Persistence{Type: "j2ee"},
		login: func(w http.ResponseWriter, r *http.Request, node string) {
			if !strings.Contains(r.URL.Path, ";jsessionid=") {
				w.Header().Set("Location", "/app;jsessionid="+r.Header.Get("X-User")+"?next")
			}
		},
		after: func(v *visitor, _ string) { v.path = ";jsessionid=" + v.name }},
	{name: "asp by cookie", class: Persistence{Type: "asp"}, login: session1("ASPSESSIONIDQQGGBNMK", "")},
	{name: "asp.net by cookie", class: Persistence{Type: "asp"}, login: session1("ASP.NET_SessionId", "")},
	{name: "asp.net by path", class: Persistence{Type: "asp"},
		login: func(w http.ResponseWriter, r *http.Request, node string) {
			if !strings.Contains(r.URL.Path, "(S(") {
				w.Header().Set("Location", "/app/(S("+r.Header.Get("X-User")+"))/page")
			}
		},
		after: func(v *visitor, _ string) { v.path = "/(S(" + v.name + "))/page" }},
}

func TestSessionsStayOnTheirNodeUntilItIsGone(t *testing.T) {
	tried := map[string]bool{"ssl": true} // of passed-through TLS: below
	for _, kind := range persistences {
		tried[kind.class.Type] = true
		for _, mode := range valuesOf(t, "persistence", "basic", "failure_mode") {
			t.Run(kind.name+"/"+mode, func(t *testing.T) {
				p := newPlane(t)
				var nodes []string
				servers := make(map[string]*httptest.Server)
				for i := range 3 {
					s := httptest.NewUnstartedServer(nil)
					l, err := net.Listen("tcp", fmt.Sprintf("127.0.2.%d:0", i+1))
					if err != nil {
						t.Fatal(err)
					}
					s.Listener.Close()
					s.Listener = l
					s.Start()
					name := s.Listener.Addr().String()
					s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if kind.login != nil {
							kind.login(w, r, name)
						}
						fmt.Fprint(w, name)
					})
					t.Cleanup(s.Close)
					nodes = append(nodes, name)
					servers[name] = s
				}
				class := kind.class
				class.Delete, class.FailureMode, class.URL = true, mode, "http://sorry.test/"
				port := freePort(t)
				p.Apply(Update{
					Persistence: map[string]*Persistence{"class": &class},
					Rules:       map[string]*Rule{"rule": {Source: kind.rule}},
					Pools: map[string]*Pool{"app": with(aPool(nodes...), func(c *Pool) {
						c.PersistenceClass, c.NodeConnectionAttempts = "class", 1
					})},
					VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.RequestRules = []string{"rule"} })},
				})
				anna, other := newVisitor(t, "anna", "127.0.0.2"), newVisitor(t, "other", "127.0.0.5")
				home := anna.ask(port)
				if !slices.Contains(nodes, home) {
					t.Fatalf("got %s", home)
				}
				if kind.after != nil {
					kind.after(anna, home)
				}
				seen := make(map[string]bool)
				for range 4 {
					seen[newVisitor(t, "new", "127.0.0.9").ask(port)] = true
					other.path = ""
					other.ask(port)
					if got := anna.ask(port); got != home {
						t.Fatalf("the session is on %s, and went to %s", home, got)
					}
				}
				if strings.HasPrefix(kind.name, "ip") || kind.name == "universal" {
					if len(seen) != 1 {
						t.Errorf("visitors of one session were sent to %v", seen)
					}
				} else if len(seen) < 2 {
					t.Errorf("visitors without a session all went to %v", seen)
				}
				servers[home].Close()
				got := anna.ask(port)
				switch mode {
				case "new_node":
					if got == home || !slices.Contains(nodes, got) {
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
				again := anna.ask(port)
				if stays := mode == "new_node" || !kind.client; stays != slices.Contains(nodes, again) || again == home {
					t.Errorf("after that the session got %s", again)
				}
				if mode == "new_node" && kind.name != "named" && kind.login == nil && again != got {
					t.Errorf("the session moved to %s, and then to %s", got, again)
				}
			})
		}
	}
	wantAll(t, tried, "persistence", "basic", "type")
}

func TestASessionIsKeptWhenItsClassDoesNotDelete(t *testing.T) {
	p := newPlane(t)
	node, spare := newToggled(t, "node"), newToggled(t, "spare")
	node.up()
	port := freePort(t)
	p.Apply(Update{
		Persistence: map[string]*Persistence{"class": {Type: "ip", FailureMode: "close"}},
		Pools: map[string]*Pool{"app": with(aPool(node.address, spare.address), func(c *Pool) {
			c.PersistenceClass, c.NodeConnectionAttempts = "class", 1
			c.NodeRetryFailTime = 10 * time.Millisecond
		})},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	client := newVisitor(t, "", "127.0.0.1")
	for client.ask(port) != "node" {
		if t.Failed() {
			return
		}
	}
	node.down()
	spare.up()
	for range 3 {
		if got := client.ask(port); got != "closed" {
			t.Errorf("got %s", got)
		}
	}
	node.up()
	for deadline := time.Now().Add(10 * time.Second); client.ask(port) != "node"; {
		if time.Now().After(deadline) {
			t.Fatal("the session is gone")
		}
	}
}

func TestADrainingNodeKeepsItsSessions(t *testing.T) {
	p := newPlane(t)
	a, b := backend(t, "a"), backend(t, "b")
	port := freePort(t)
	pool := with(aPool(addr(a), addr(b)), func(c *Pool) { c.PersistenceClass = "class" })
	p.Apply(Update{
		Persistence:    map[string]*Persistence{"class": {Type: "ip"}},
		Pools:          map[string]*Pool{"app": pool},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	old := newVisitor(t, "", "127.0.0.2")
	home := old.ask(port)
	p.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(c *Pool) {
		c.Nodes = slices.Clone(c.Nodes)
		for i, n := range c.Nodes {
			if (n.Address == addr(a)) == (home == "a") {
				c.Nodes[i].State = "draining"
			}
		}
	})}})
	for i := range 4 {
		if got := old.ask(port); got != home {
			t.Errorf("the session moved from %s to %s", home, got)
		}
		if got := newVisitor(t, "", fmt.Sprintf("127.0.1.%d", i+1)).ask(port); got == home {
			t.Errorf("the draining node got a new session")
		}
	}
}

func TestTransparentCookiesAreAsTheClassSays(t *testing.T) {
	p := newPlane(t)
	port := freePort(t)
	p.Apply(Update{
		Persistence: map[string]*Persistence{
			"once":   {Type: "transparent", Directives: "; secure; samesite=none"},
			"always": {Type: "transparent", AlwaysSet: true},
		},
		Rules:          map[string]*Rule{"always": {Source: `if (http.getPath() == "/always") { connection.setPersistence("always"); }`}},
		Pools:          map[string]*Pool{"app": with(aPool(addr(backend(t, "a"))), func(c *Pool) { c.PersistenceClass = "once" })},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) { v.RequestRules = []string{"always"} })},
	})
	ask := func(path, cookie string) string {
		req, _ := http.NewRequest(http.MethodGet, at(port, path), nil)
		if cookie != "" {
			req.Header.Set("Cookie", "x=1; "+cookie)
		}
		res, err := testClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.Header.Get("Set-Cookie")
	}
	first := ask("/", "")
	pair, directives, _ := strings.Cut(first, ";")
	if directives != " path=/; secure; samesite=none" || len(pair) != len("X-Mapping-abcdefgh=")+32 {
		t.Errorf("the cookie is %q", first)
	}
	if again := ask("/", pair); again != "" {
		t.Errorf("a client that has the cookie got %q", again)
	}
	if other := ask("/", strings.ToLower(pair)); other == "" {
		t.Error("a client with a cookie of no node got none")
	}
	always := ask("/always", "")
	pair, _, _ = strings.Cut(always, ";")
	if again := ask("/always", pair); again != always {
		t.Errorf("always: got %q, then %q", always, again)
	}
	if strings.HasPrefix(always, first[:18]) {
		t.Error("two classes have one cookie")
	}
}

func TestSessionCachesAreBoundedAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessionCaches(SessionCaches{IPSize: 3, IPExpiry: 10 * time.Second})
		put := func(key string) {
			s.keep(Session{Type: "ip", Class: "c", Key: key, Node: "n-" + key, Used: time.Now()})
		}
		has := func(want string) {
			t.Helper()
			var got []string
			for _, key := range []string{"a", "b", "c", "d"} {
				if _, ok := s.find("ip", "c", key, time.Now()); ok {
					got = append(got, key)
				}
			}
			if fmt.Sprint(got) != want {
				t.Errorf("got %v, want %s", got, want)
			}
		}
		put("a")
		put("b")
		put("c")
		has("[a b c]")
		s.find("ip", "c", "a", time.Now())
		put("d") // in the place of the one used longest ago
		has("[a c d]")
		time.Sleep(9 * time.Second)
		s.find("ip", "c", "d", time.Now())
		time.Sleep(time.Second)
		has("[d]")
		s.configure(SessionCaches{IPSize: 0})
		has("[]")
	})
}

// TestMembersThatExchangeSessionsAgree: whatever happens on which member, after
// each has told the others all know the same.
func TestMembersThatExchangeSessionsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		var members []*DataPlane
		for range 3 {
			members = append(members, &DataPlane{sessions: newSessionCaches(defaultSessionCaches)})
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			m := members[rapid.IntRange(0, 2).Draw(t, "member")]
			key := rapid.StringMatching("[a-d]").Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				m.sessions.forget("ip", "c", key, now)
			case 1:
				told := m.TakeSessions()
				for _, other := range members {
					if other != m {
						other.MergeSessions(told)
					}
				}
			default:
				m.sessions.keep(Session{Type: "ip", Class: "c", Key: key, Node: rapid.StringMatching("n[12]").Draw(t, "node"), Used: now})
			}
		}
		for range 3 {
			for _, m := range members {
				told := m.TakeSessions()
				for _, other := range members {
					other.MergeSessions(told)
				}
			}
		}
		for _, m := range members[1:] {
			a, b := members[0].Sessions(), m.Sessions()
			for i := range a {
				a[i].Used = time.Time{}
			}
			for i := range b {
				b[i].Used = time.Time{}
			}
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("they differ:\n%v\n%v", a, b)
			}
		}
	})
}

func TestSessionsOfPassedThroughTLSStay(t *testing.T) {
	p := newPlane(t)
	// A node that answers every connection with a ServerHello of this session.
	hello := func(id string) string {
		return "\x16\x03\x03\x00\x4a\x02\x00\x00\x46\x03\x03" + strings.Repeat("r", 32) + string(rune(len(id))) + id + "\x00\x2f\x00"
	}
	node := func(id string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, hello(id)[:20])
				_, _ = io.WriteString(c, hello(id)[20:])
				c.Close()
			}
		}()
		return l.Addr().String()
	}
	nodes := map[string]string{node("session of a"): "session of a", node("session of b"): "session of b"}
	p.Apply(Update{
		Persistence: map[string]*Persistence{"class": {Type: "ssl"}},
		Pools:       map[string]*Pool{"app": with(aPool(sorted(nodes)...), func(c *Pool) { c.PersistenceClass = "class" })},
	})
	connect := func(id string) string {
		s, err := p.connect(contextFor(t), "app", &route{d: p.DataPlane, client: netip.MustParseAddrPort("10.0.0.1:1"), sslSession: id}, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, _ = io.Copy(io.Discard, s)
		return s.node.address
	}
	for range 2 {
		connect("")
	}
	for address, id := range nodes {
		for range 3 {
			if got := connect(fmt.Sprintf("%x", id)); got != address {
				t.Errorf("session %q went to %s", id, got)
			}
		}
	}
}

// clientHello is what a client sends that resumes a session of this ID, of 32 bytes.
func clientHello(t *testing.T, id string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: "shop.test"}).Handshake() // ends with the pipe
		ours.Close()
	}()
	defer theirs.Close()
	b := make([]byte, 16<<10)
	n, err := theirs.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	const at = 5 + 4 + 2 + 32 + 1 // behind headers, version, random and length
	return string(b[:at]) + id + string(b[at+32:n])
}

func TestSessionsOfPassedThroughTLSEndAsTheirClassSays(t *testing.T) {
	for _, mode := range []string{"new_node", "close", "url"} {
		p := newPlane(t)
		// Nodes that give each client their own session, and say who they are behind that.
		own := func(name string) string { return (name + strings.Repeat("=", 32))[:32] }
		listeners := make(map[string]net.Listener)
		for range 3 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			name := l.Addr().String()
			listeners[name] = l
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					b := make([]byte, 16<<10)
					if n, _ := c.Read(b); n > 0 {
						_, _ = io.WriteString(c, "\x16\x03\x03\x00\x4a\x02\x00\x00\x46\x03\x03"+strings.Repeat("r", 32)+"\x20"+own(name)+"\x00\x2f\x00"+name)
					}
					c.Close()
				}
			}()
		}
		port := freePort(t)
		p.Apply(Update{
			Persistence: map[string]*Persistence{"class": {Type: "ssl", Delete: true, FailureMode: mode, URL: "http://sorry.test/"}},
			Pools: map[string]*Pool{"app": with(aPool(sorted(listeners)...), func(c *Pool) {
				c.PersistenceClass, c.NodeConnectionAttempts = "class", 1
			})},
			VirtualServers: map[string]*VirtualServer{"v": aServer(port, "app", func(v *VirtualServer) { v.Protocol = "ssl" })},
		})
		connect := func(id string) string {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(c, clientHello(t, id))
			b, _ := io.ReadAll(c)
			if len(b) < 79 {
				return "closed"
			}
			return string(b[79:])
		}
		home := connect(strings.Repeat("a", 32))
		if listeners[home] == nil {
			t.Fatalf("got %q", home)
		}
		anna := own(home)
		seen := make(map[string]bool)
		for i := range 4 {
			seen[connect(strings.Repeat(fmt.Sprint(i), 32))] = true
			if got := connect(anna); got != home {
				t.Fatalf("the session is on %s, and went to %q", home, got)
			}
		}
		if len(seen) < 2 {
			t.Errorf("other sessions all went to %v", seen)
		}
		listeners[home].Close()
		got := connect(anna)
		if mode == "new_node" && (got == home || listeners[got] == nil) || mode != "new_node" && got != "closed" {
			t.Errorf("%s: with its node gone the session got %q", mode, got)
		}
		if again := connect(anna); listeners[again] == nil || again == home {
			t.Errorf("%s: after that the session got %q", mode, again)
		}
	}
}

func FuzzHelloSession(f *testing.F) {
	for _, hello := range hellos {
		f.Add([]byte(hello))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkHelloSession(t, b) })
}

var hellos = []string{"\x16\x03\x01\x00\x50\x01\x00\x00\x4c\x03\x03" + strings.Repeat("r", 32) + "\x04abcd", "GET / HTTP/1.1\r\n"}

func checkHelloSession(t *testing.T, b []byte) {
	t.Helper()
	for _, kind := range []byte{1, 2} {
		id, ok := helloSession(kind, b)
		if !ok && (id != "" || len(b) > 100) {
			t.Errorf("%q: waits for more after %d bytes", b, len(b))
		}
	}
}

func TestAQueuedSessionWaitsForItsOwnNode(t *testing.T) {
	inBubble(t, func(d *bubble) {
		for _, address := range []string{"10.8.0.1:80", "10.8.0.2:80"} {
			defer d.serve(address, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Second)
				fmt.Fprint(w, address)
			})()
		}
		d.Apply(Update{
			Persistence: map[string]*Persistence{"class": {Type: "named"}},
			Rules:       map[string]*Rule{"name": {Source: `connection.setPersistenceNode("10.8.0.1:80");`}},
			Pools: map[string]*Pool{"app": with(aPool("10.8.0.1:80", "10.8.0.2:80"), func(p *Pool) {
				p.PersistenceClass, p.MaxConnectionsPerNode = "class", 1
			})},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", func(v *VirtualServer) { v.RequestRules = []string{"name"} })},
		})
		begin := time.Now()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan string, 2)
		for i := range 2 {
			go func() {
				client := d.world.HTTPClient(fmt.Sprintf("client/%d", i), nil)
				defer client.CloseIdleConnections()
				_, body := d.get(client, "/")
				select {
				case done <- body:
				case <-ctx.Done():
				}
			}()
		}
		for range 2 {
			if body := <-done; body != "10.8.0.1:80" {
				t.Errorf("got %s", body)
			}
		}
		if took := time.Since(begin); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("two requests of one second each took %v", took)
		}
	})
}
