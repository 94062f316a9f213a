package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

// lineServer accepts connections and gives each to talk.
func lineServer(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				talk(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
	return l.Addr().String()
}

// silence lets no dial to some addresses come to an end before its context does.
type silence struct {
	outside.World
	addresses []string
}

func (s silence) Dial(ctx context.Context, actor, network, address string) (net.Conn, error) {
	if slices.Contains(s.addresses, address) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.World.Dial(ctx, actor, network, address)
}

// TestEachTypeOfMonitorFindsWhatIsWrong runs a monitor of each kind against a real
// node: what it says of its test, by its line in the event log.
func TestEachTypeOfMonitorFindsWhatIsWrong(t *testing.T) {
	t.Parallel() // it waits for its delays
	closed := make(chan string, 100)
	dialogue := lineServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		switch line, _ := r.ReadString('\n'); line {
		case "PING\r\n":
			fmt.Fprint(c, "+PO")
			fmt.Fprint(c, "NG\r\n")
			bye, _ := r.ReadString('\n')
			closed <- bye
		case "LONG\r\n":
			io.WriteString(c, strings.Repeat("x", 100)+"+PONG")
		case "WRONG\r\n":
			fmt.Fprint(c, "-ERR\r\n")
		default: // says nothing
			_, _ = io.Copy(io.Discard, r)
		}
	})
	greeting := lineServer(t, func(c net.Conn) { fmt.Fprint(c, "220 ready\r\n"); _, _ = io.Copy(io.Discard, c) })
	// It waits for the request: what comes before it is an error of another kind.
	noHTTP := lineServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		_, _ = r.ReadString('\n')
		fmt.Fprint(c, "220 ready\r\n")
		_, _ = io.Copy(io.Discard, r)
	})
	web := addr(backend(t, "web", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sick" {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, "body of "+r.URL.Path+" for "+r.Host)
	}))
	secure := addr(secureBackend(t, &tls.Config{Certificates: []tls.Certificate{newAuthority(t, "a").server(t, "x")}}))
	refuses, silent := "127.0.0.1:1", "127.0.0.1:9"
	program := func(args ...ProgramArgument) Monitor {
		return Monitor{Type: "program", Program: "check", Arguments: args}
	}
	cases := []struct {
		name, node string
		m          Monitor
		wrong      string // in the line of the test; "": it passes
	}{
		{"ping of a node that listens", web, Monitor{Type: "ping"}, ""},
		{"ping of a machine that refuses the port", refuses, Monitor{Type: "ping"}, ""},
		{"ping of a machine that is not there", silent, Monitor{Type: "ping"}, "deadline exceeded"},

		{"connect", web, Monitor{Type: "connect"}, ""},
		{"connect refused", refuses, Monitor{Type: "connect"}, "connection refused"},
		{"connect to nobody", silent, Monitor{Type: "connect"}, "deadline exceeded"},
		{"connect with SSL", secure, Monitor{Type: "connect", UseSSL: true}, ""},
		{"connect with SSL to a plain node", web, Monitor{Type: "connect", UseSSL: true}, "SSL handshake"},

		{"http", web, Monitor{Type: "http", Path: "/a", StatusRegex: "^200$", BodyRegex: "of /a for shop", HostHeader: "shop.test"}, ""},
		{"http status", web, Monitor{Type: "http", Path: "/sick", StatusRegex: "^[234][0-9][0-9]$"}, "status 500 does not match"},
		{"http body", web, Monitor{Type: "http", Path: "/a", BodyRegex: "^nothing$"}, "the body does not match"},
		{"http body by what only PCRE has", web, Monitor{Type: "http", Path: "/a", BodyRegex: `^(?!sorry)(b)ody.*\S$`}, ""},
		{"http refused", refuses, Monitor{Type: "http", Path: "/"}, "connection refused"},
		{"http of a node that says nothing", dialogue, Monitor{Type: "http", Path: "/"}, "deadline exceeded"},
		{"http of what is no HTTP", noHTTP, Monitor{Type: "http", Path: "/"}, "malformed HTTP"},
		{"https", secure, Monitor{Type: "http", Path: "/", UseSSL: true, StatusRegex: "^200$", BodyRegex: "TLS 1.3"}, ""},
		{"https of a plain node", web, Monitor{Type: "http", Path: "/", UseSSL: true}, "HTTPS"},

		{"tcp_transaction", dialogue, Monitor{Type: "tcp_transaction", WriteString: `PING\r\n`, ResponseRegex: `^\+PONG\r\n$`, CloseString: `BYE\x0a`}, ""},
		{"tcp_transaction, server first", greeting, Monitor{Type: "tcp_transaction", ResponseRegex: `^220`}, ""},
		{"tcp_transaction, wrong response", dialogue, Monitor{Type: "tcp_transaction", WriteString: `WRONG\r\n`, ResponseRegex: `^\+PONG`}, "does not match"},
		{"tcp_transaction, no response", dialogue, Monitor{Type: "tcp_transaction", WriteString: `MUTE\r\n`, ResponseRegex: `.+`}, "no response that matches"},
		{"tcp_transaction, response too long", dialogue, Monitor{Type: "tcp_transaction", WriteString: `LONG\r\n`, ResponseRegex: `PONG`, MaxResponseLen: 50}, "the first 50 bytes"},
		{"tcp_transaction, response just in", dialogue, Monitor{Type: "tcp_transaction", WriteString: `LONG\r\n`, ResponseRegex: `PONG`, MaxResponseLen: 105}, ""},
		{"tcp_transaction refused", refuses, Monitor{Type: "tcp_transaction"}, "connection refused"},

		{"program", web, program(ProgramArgument{"mode", "ok"}, ProgramArgument{"text", "two words; $(x)"}), ""},
		{"program that complains", web, program(ProgramArgument{"mode", "bad"}), "the program says: it is bad"},
		{"program that ends badly without a word", web, program(ProgramArgument{"mode", "mute"}), "the program failed: exit status 3"},
		{"program that never ends", web, program(ProgramArgument{"mode", "hang"}), "did not end in time"},
	}
	script := `#!/bin/sh
for a; do case "$a" in
--ipaddr=127.0.0.1|--port=*|--failures_left=*|--verbose=1) seen="$seen${a%%=*}" ;;
--text=*) [ "$a" = '--text=two words; $(x)' ] || { echo "text is $a"; exit 1; } ;;
--mode=*) mode="${a#*=}" ;;
*) echo "argument $a"; exit 1 ;;
esac; done
[ "$seen" = "--ipaddr--port--failures_left--verbose" ] || { echo "told $seen"; exit 1; }
case "$mode" in
bad) echo "it is bad"; echo more; exit 1 ;;
mute) exit 3 ;;
hang) sleep 60 & wait ;;
esac
`
	p := newPlane(t, func(o *Options) {
		o.AllowPrograms = true
		o.World = silence{o.World, []string{silent}}
	})
	u := Update{
		MonitorScripts: map[string]*File{"check": {Content: script}},
		Monitors:       make(map[string]*Monitor), Pools: make(map[string]*Pool), VirtualServers: make(map[string]*VirtualServer),
	}
	tried := map[string]bool{"rtsp": true, "sip": true} // not carried out: below
	for _, c := range cases {
		tried[c.m.Type] = true
		m := c.m
		m.Delay, m.Timeout, m.Failures, m.Verbose = time.Second, 2*time.Second, 1, true
		u.Monitors[c.name] = &m
		u.Pools[c.name] = with(aPool(c.node), func(p *Pool) { p.Monitors, p.PassiveMonitoring = []string{c.name}, false })
		u.VirtualServers[c.name] = aServer(freePort(t), c.name)
	}
	wantAll(t, tried, "monitors", "basic", "type")
	p.Apply(u)
	for _, c := range cases {
		e := p.await("monitortest", "monitors/"+c.name+" monitortest", 1)
		passed := e.Text == "Test of "+c.node+" passed"
		if passed != (c.wrong == "") || !strings.Contains(e.Text, c.wrong) {
			t.Errorf("%s: %s; want %q", c.name, e.Text, c.wrong)
		}
		if c.wrong != "" {
			p.await("nodefail", "pools/"+c.name+" nodefail", 1)
		}
	}
	for _, ps := range p.State().Pools {
		for _, c := range cases {
			if c.name == ps.Name && (len(ps.Failed) > 0) != (c.wrong != "") {
				t.Errorf("%s: failed nodes %v", c.name, ps.Failed)
			}
		}
	}
	if bye := <-closed; bye != "BYE\n" {
		t.Errorf("close_string came as %q", bye)
	}
}

// TestMonitorsThatAreNotCarriedOutFailNothingAndAreTold: rtsp and sip always,
// programs unless they are allowed; and monitors that cannot be understood.
func TestMonitorsThatAreNotCarriedOutFailNothingAndAreTold(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b")
	u := Update{Monitors: map[string]*Monitor{}, Pools: map[string]*Pool{}, VirtualServers: map[string]*VirtualServer{}}
	for name, m := range map[string]Monitor{
		"rtsp": {Type: "rtsp"}, "sip": {Type: "sip"}, "program": {Type: "program", Program: "none"},
		"regex": {Type: "tcp_transaction", ResponseRegex: "("},
	} {
		m.Delay, m.Timeout, m.Failures = time.Second, time.Second, 1
		u.Monitors[name] = &m
		u.Pools[name] = with(aPool(addr(b)), func(p *Pool) { p.Monitors = []string{name} })
		u.VirtualServers[name] = aServer(freePort(t), name)
	}
	p.Apply(u)
	p.await("confmod", "Monitor 'rtsp' of type rtsp is not emulated", 1)
	p.await("confmod", "Monitor 'sip' of type sip is not emulated", 1)
	p.await("confmod", "Monitor 'program' of type program does not run, since programs are not allowed here", 1)
	p.await("monitorfail", "Monitor does not run: tcp!response_regex", 1)
	for name, v := range u.VirtualServers {
		p.want(testClient(t), at(v.Port, "/"), 200, "b")
		if s := strings.Join(p.State().Errors, "\n"); name != "regex" && !strings.Contains(s, "Pool '"+name+"': monitor '"+name+"'") {
			t.Errorf("the state does not tell of %s: %s", name, s)
		}
	}
}

// A poolwide monitor asks its machine, and fails all nodes of the pool or none.
func TestAPoolwideMonitorFailsThePoolAsAWhole(t *testing.T) {
	t.Parallel() // it waits for its delays
	p := newPlane(t)
	a, b, machine := backend(t, "a"), backend(t, "b"), newToggled(t, "machine")
	machine.up()
	port := freePort(t)
	p.Apply(Update{
		Monitors: map[string]*Monitor{"m": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 2, Scope: "poolwide", Machine: machine.address, Verbose: true}},
		Pools: map[string]*Pool{
			"app":   with(aPool(addr(a), addr(b)), func(p *Pool) { p.Monitors, p.FailurePool = []string{"m"}, "spare" }),
			"spare": aPool(addr(backend(t, "spare"))),
		},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	client := testClient(t)
	p.await("monitortest", "Test of "+machine.address+" passed", 1)
	for _, want := range []string{"a", "b"} {
		p.want(client, at(port, "/"), 200, want)
	}
	machine.down()
	p.await("pooldied", "pools/app", 1)
	p.want(client, at(port, "/"), 200, "spare")
	failedTests := 0
	for _, e := range p.events {
		if e.Tag == "monitortest" && strings.Contains(e.Text, "failed") {
			failedTests++
		}
	}
	if failedTests != 2 {
		t.Errorf("it failed after %d tests, want 2", failedTests)
	}
	machine.up()
	p.await("poolok", "pools/app", 1)
	if _, got := get(client, at(port, "/")); got != "a" && got != "b" {
		t.Errorf("after the recovery %s answers", got)
	}
}

// With back_off the pause after a failure doubles up to four times the delay; a
// good test ends that.
func TestBackOffAsksAFailedNodeLessOften(t *testing.T) {
	for _, backOff := range []bool{false, true} {
		inBubble(t, func(b *bubble) {
			tests := 0
			m := &Monitor{Type: "connect", Delay: 4 * time.Second, Timeout: time.Second, Failures: 2, BackOff: backOff, Verbose: true}
			b.Apply(Update{
				Monitors:       map[string]*Monitor{"m": m},
				Pools:          map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) { p.Monitors = []string{"m"} })},
				VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")},
			})
			time.Sleep(4 * time.Second) // the first test is somewhere within
			tests = b.count("monitortest")
			time.Sleep(100 * time.Second)
			tests = b.count("monitortest") - tests
			// Every 4 s; or after 4, 4, 8 and then every 16.
			low, high := 24, 26
			if backOff {
				low, high = 6, 10
			}
			if tests < low || tests > high {
				t.Errorf("back_off %v: %d tests in 100 s, want %d to %d", backOff, tests, low, high)
			}
			stop := b.serve("10.8.0.1:80", func(w http.ResponseWriter, r *http.Request) {})
			defer stop()
			time.Sleep(17 * time.Second)
			if b.count("nodeworking") != 1 {
				t.Errorf("back_off %v: not found working within 17 s", backOff)
			}
			tests = b.count("monitortest")
			time.Sleep(40 * time.Second)
			if n := b.count("monitortest") - tests; n < 9 || n > 11 {
				t.Errorf("back_off %v: a node that works was tested %d times in 40 s, want 10", backOff, n)
			}
		})
	}
}
