package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

func TestTrafficIPsAreRaisedAndMapped(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b")
	port := freePort(t)
	group := func(change func(*TrafficIPGroup)) *TrafficIPGroup {
		g := &TrafficIPGroup{Enabled: true, IPAddresses: []string{"192.0.2.77", "2001:db8::4d01"}, Machines: []string{"vtm-1.test", "vtm-2.test"}}
		change(g)
		return g
	}
	onGroup := func(v *VirtualServer) { v.ListenOnAny, v.ListenOnTrafficIPs = false, []string{"tip"} }
	p.Apply(Update{
		Pools:           map[string]*Pool{"app": aPool(addr(b))},
		TrafficIPGroups: map[string]*TrafficIPGroup{"tip": group(func(*TrafficIPGroup) {})},
		VirtualServers:  map[string]*VirtualServer{"web": aServer(port, "app", onGroup)},
	})
	client := testClient(t)
	for _, ip := range []string{"192.0.2.77", "2001:db8::4d01"} {
		to := p.options.AddressMap.Map(netip.MustParseAddr(ip))
		if !to.IsLoopback() {
			t.Fatalf("%s is mapped to %s", ip, to)
		}
		p.want(client, fmt.Sprintf("http://%s:%d/", to, port), 200, "b")
	}
	if got := p.State().VirtualServers[0].Listening; fmt.Sprint(got) != fmt.Sprintf("[192.0.2.77:%d [2001:db8::4d01]:%d]", port, port) {
		t.Errorf("listening on %v", got)
	}
	for i, lowered := range []func(*TrafficIPGroup){
		func(g *TrafficIPGroup) { g.Enabled = false },
		func(g *TrafficIPGroup) { g.Machines = []string{"vtm-2.test"} },
		func(g *TrafficIPGroup) { g.Slaves = []string{"vtm-1.test"} },
		nil,
	} {
		var g *TrafficIPGroup
		if lowered != nil {
			g = group(lowered)
		}
		p.Apply(Update{TrafficIPGroups: map[string]*TrafficIPGroup{"tip": g}})
		p.await("vsstop", "vservers/web", i+1)
		p.Apply(Update{TrafficIPGroups: map[string]*TrafficIPGroup{"tip": group(func(g *TrafficIPGroup) { g.Slaves = []string{"vtm-1.test", "vtm-2.test"} })}})
		p.await("vsstart", "vservers/web", i+2)
	}
}

func TestASpecificAddressGoesBeforeAnyAndTheFirstBeforeItsEqual(t *testing.T) {
	p := newPlane(t)
	pools := map[string]*Pool{}
	for _, n := range []string{"any", "first", "second"} {
		pools[n] = aPool(addr(backend(t, n)))
	}
	port := freePort(t)
	specific := func(v *VirtualServer) { v.ListenOnAny, v.ListenOnHosts = false, []string{"vtm-1.test"} }
	ask := func(want string) {
		t.Helper()
		p.want(testClient(t), at(port, "/"), 200, want)
	}
	set := func(name string, vs *VirtualServer) {
		p.Apply(Update{VirtualServers: map[string]*VirtualServer{name: vs}})
	}
	p.Apply(Update{Pools: pools, VirtualServers: map[string]*VirtualServer{"any": aServer(port, "any")}})
	ask("any")
	set("first", aServer(port, "first", specific))
	ask("first")
	set("second", aServer(port, "second", specific))
	ask("first")
	e := p.await("confmod", "vservers/second", 1)
	if want := fmt.Sprintf("Cannot listen on 127.0.0.1:%d: virtual server 'first' has this address and port", port); e.Level != "SERIOUS" || e.Text != want {
		t.Errorf("event %+v, want %q", e, want)
	}
	if errs := p.State().Errors; len(errs) != 1 || !strings.Contains(errs[0], "'second' cannot listen") {
		t.Errorf("errors: %q", errs)
	}
	set("first", nil)
	ask("second")
	p.await("vsstart", "vservers/second", 1)
	set("second", aServer(port, "second", specific, func(v *VirtualServer) { v.Enabled = false }))
	ask("any")
	p.await("vsstop", "vservers/second", 1)
}

// picky refuses to bind some addresses.
type picky struct {
	outside.World
	refuse func(address string) error
}

func (p picky) Listen(actor, network, address string) (net.Listener, error) {
	if err := p.refuse(address); err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return p.World.Listen(actor, network, address)
}

func TestALowPortThatMayNotBeBoundMoves(t *testing.T) {
	p := newPlane(t, func(o *Options) {
		o.World = picky{o.World, func(address string) error {
			if strings.HasSuffix(address, ":80") {
				return syscall.EACCES
			}
			return nil
		}}
	})
	p.Apply(Update{
		Pools:           map[string]*Pool{"app": aPool(addr(backend(t, "b")))},
		TrafficIPGroups: map[string]*TrafficIPGroup{"tip": {Enabled: true, IPAddresses: []string{"198.18.91.92"}, Machines: []string{"vtm-1.test"}}},
		VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", func(v *VirtualServer) {
			v.ListenOnAny, v.ListenOnTrafficIPs = false, []string{"tip"}
		})},
	})
	m := p.options.AddressMap
	to := m.MapPort(netip.MustParseAddrPort("198.18.91.92:80"))
	if to.Port() != 8080 {
		t.Fatalf("port 80 became %s; events %v", to, p.events)
	}
	p.want(testClient(t), "http://"+to.String()+"/", 200, "b")
	if got := fmt.Sprint(m.Entries()); got != fmt.Sprintf("[{198.18.91.92 %s [{80 8080}]}]", to.Addr()) {
		t.Errorf("entries: %s", got)
	}
}

func TestAnAddressInUseIsTriedAgain(t *testing.T) {
	p := newPlane(t)
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := foreign.Addr().(*net.TCPAddr).Port
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(backend(t, "b")))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	p.await("confmod", "address already in use", 1)
	foreign.Close()
	p.await("vsstart", "vservers/web", 1)
	p.want(testClient(t), at(port, "/"), 200, "b")
}

func TestADeletedServerFinishesWhatIsUnderWay(t *testing.T) {
	p := newPlane(t)
	inside, goOn := make(chan bool), make(chan bool)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		inside <- true
		<-goOn
		fmt.Fprint(w, "finished")
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	answer := make(chan string, 1)
	go func() {
		_, body := get(testClient(t), at(port, "/"))
		answer <- body
	}()
	<-inside
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": nil}})
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		conn.Close()
		t.Error("a deleted virtual server still accepts")
	}
	// The same address and port are free for another one meanwhile.
	p.Apply(Update{
		Pools:          map[string]*Pool{"new": aPool(addr(backend(t, "new")))},
		VirtualServers: map[string]*VirtualServer{"next": aServer(port, "new")},
	})
	p.want(testClient(t), at(port, "/"), 200, "new")
	close(goOn)
	if got := <-answer; got != "finished" {
		t.Errorf("the request under way got %q", got)
	}
}

func TestADeletedServerEndsItsIdleConnections(t *testing.T) {
	p := newPlane(t)
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(backend(t, "b")))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // sooner than keepalive_timeout
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": nil}})
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v, want its end", err)
	}
}

func TestUnemulatedProtocolsStayDownAndSaySo(t *testing.T) {
	p := newPlane(t)
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"gopher": aServer(freePort(t), "discard", func(v *VirtualServer) { v.Protocol = "gopher" })}})
	p.await("confmod", "protocol 'gopher' is not emulated", 1)
	if s := p.State(); len(s.Errors) != 1 || len(s.VirtualServers[0].Listening) != 0 {
		t.Errorf("state: %+v", s)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	p := newPlane(t)
	inside := make(chan bool, 3)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		inside <- true
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			<-r.Context().Done()
		}
	})
	port := freePort(t)
	p.Apply(Update{
		Monitors:       map[string]*Monitor{"Connect": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 1}},
		Pools:          map[string]*Pool{"app": with(aPool(addr(b)), func(p *Pool) { p.Monitors = []string{"Connect"} })},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx",
		"GET / HTT", // never complete
	} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, request)
	}
	<-inside
	<-inside
	closed := make(chan bool)
	go func() { p.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close hangs")
	}
	p.Apply(Update{VirtualServers: map[string]*VirtualServer{"late": aServer(port, "app")}}) // does nothing
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		t.Error("it still listens")
	}
}

func TestTLSIsEndedWithTheCertificateOfTheSite(t *testing.T) {
	p := newPlane(t)
	keys := map[string]*ServerKey{}
	certs := map[string][]byte{}
	for _, n := range []string{"default", "shop", "wild", "deep", "renewed"} {
		keys[n], certs[n] = selfSigned(t, n)
	}
	renewed := keys["renewed"]
	delete(keys, "renewed")
	keys["bad"] = &ServerKey{Public: keys["shop"].Public, Private: keys["wild"].Private}
	port := freePort(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	p.Apply(Update{
		ServerKeys: keys,
		Pools:      map[string]*Pool{"app": aPool(addr(b))},
		Rules:      map[string]*Rule{"site": {Source: `http.setHeader("X-Site", ssl.serverSiteName());`}},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
			v.SSLDecrypt, v.AddXForwardedProto, v.ServerCertDefault = true, true, "default"
			v.RequestRules = []string{"site"}
			v.ServerCertHostMapping = []HostMapping{
				{Host: "Shop.example", Certificate: "shop"}, {Host: "*.example", Certificate: "wild"},
				{Host: "*.deep.example", Certificate: "deep"}, {Host: "bad.example", Certificate: "bad"},
			}
		})},
	})
	dial := func(name string, protocols ...string) (*tls.Conn, error) {
		return tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	}
	for name, want := range map[string]string{
		"shop.example": "shop", "SHOP.example": "shop", "a.example": "wild", "a.b.example": "wild",
		"x.deep.example": "deep", "deep.example": "wild", "example": "default", "": "default", "other.test": "default",
	} {
		conn, err := dial(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := conn.ConnectionState().PeerCertificates[0].Raw; string(got) != string(certs[want]) {
			t.Errorf("%q does not get the certificate of %s", name, want)
		}
		conn.Close()
	}
	if _, err := dial("bad.example"); err == nil {
		t.Error("a handshake without a usable certificate succeeds")
	}
	p.await("sslfail", "vservers/web", 1)

	// A new key is for new handshakes; connections go on.
	conn, err := dial("shop.example", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.Apply(Update{ServerKeys: map[string]*ServerKey{"shop": renewed}})
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "https" {
		t.Errorf("the node was told protocol %q", body)
	}
	if again, err := dial("shop.example"); err != nil || string(again.ConnectionState().PeerCertificates[0].Raw) != string(certs["renewed"]) {
		t.Errorf("the renewed certificate is not served: %v", err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	res, err = (&http.Client{Transport: tr}).Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
	if err != nil || res.ProtoMajor != 2 || res.StatusCode != 200 {
		t.Errorf("HTTP/2: %v, %v", res, err)
	}
}
