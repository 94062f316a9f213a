package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// say opens a connection from an address, sends raw bytes and returns the status of
// the answer, or "closed". The connection stays open until the test ends.
func say(t *testing.T, from string, port int, raw string) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, raw)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "closed"
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return fmt.Sprint(res.StatusCode)
}

func TestServiceProtectionRefusesWhatItsClassSays(t *testing.T) {
	const plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	type sent struct{ from, raw, want string }
	ok := func(from string) sent { return sent{from, plain, "200"} }
	for _, c := range []struct {
		name  string
		class Protection
		sent  []sent
		told  string // in the event log; "": nothing
	}{
		{"nothing set", Protection{}, []sent{ok("127.0.0.1"), {"127.0.0.1", "GET /%01|a HTTP/1.1\r\nHost: x\r\n\r\n", "200"}}, ""},
		{"banned addresses", Protection{Banned: []string{"127.0.0.2", "127.0.3.0/24", "127.0.4.0/255.255.255.0"}},
			[]sent{ok("127.0.0.1"), {"127.0.0.2", plain, "403"}, {"127.0.3.9", plain, "403"}, {"127.0.4.9", plain, "403"}, ok("127.0.5.1")}, "refused"},
		{"allowed goes before banned", Protection{Banned: []string{"all"}, Allowed: []string{"127.0.0.3"}}, []sent{{"127.0.0.1", plain, "403"}, ok("127.0.0.3")}, "refused"},
		{"allowed goes before limits", Protection{Max1: 1, Allowed: []string{"127.0.0.3"}}, []sent{ok("127.0.0.1"), {"127.0.0.1", plain, "503"}, ok("127.0.0.3"), ok("127.0.0.3")}, "refused"},
		{"connections of one address", Protection{Max1: 2}, []sent{ok("127.0.0.1"), ok("127.0.0.1"), {"127.0.0.1", plain, "503"}, ok("127.0.0.2")}, "refused"},
		{"connections of the busiest", Protection{Max1: 10, Max10: 3, PerProcess: true, MinConnections: 1},
			[]sent{ok("127.0.0.1"), ok("127.0.0.1"), ok("127.0.0.2"), {"127.0.0.1", plain, "503"}, ok("127.0.0.3")}, "refused"},
		{"rate", Protection{MaxRate: 2, RateTimer: time.Hour}, []sent{ok("127.0.0.1"), ok("127.0.0.1"), {"127.0.0.1", plain, "503"}, ok("127.0.0.2")}, "refused"},
		{"length of the URL", Protection{MaxURLLength: 5}, []sent{{"127.0.0.1", "GET /1234 HTTP/1.1\r\nHost: x\r\n\r\n", "200"}, {"127.0.0.1", "GET /12345 HTTP/1.1\r\nHost: x\r\n\r\n", "414"}}, "refused"},
		{"length of a header", Protection{MaxHeaderLength: 10}, []sent{{"127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nA: 1234567\r\n\r\n", "200"}, {"127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nA: 12345678\r\n\r\n", "431"}}, "refused"},
		{"length of all headers", Protection{MaxRequestLength: 30}, []sent{ok("127.0.0.1"), {"127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nA: 12345678\r\nB: 12345678\r\n\r\n", "431"}}, "refused"},
		{"length of the body", Protection{MaxBodyLength: 3}, []sent{
			{"127.0.0.1", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "200"},
			{"127.0.0.1", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd", "413"},
			{"127.0.0.1", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200"},
			{"127.0.0.1", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", "400"},
		}, "refused"},
		{"RFC 2396", Protection{CheckRFC2396: true}, []sent{{"127.0.0.1", "GET /a%20b?c=~ HTTP/1.1\r\nHost: x\r\n\r\n", "200"}, {"127.0.0.1", "GET /a|b HTTP/1.1\r\nHost: x\r\n\r\n", "400"}, {"127.0.0.1", "GET /a?{b} HTTP/1.1\r\nHost: x\r\n\r\n", "400"}}, "refused"},
		{"binary", Protection{RejectBinary: true}, []sent{ok("127.0.0.1"), {"127.0.0.1", "GET /%07 HTTP/1.1\r\nHost: x\r\n\r\n", "400"}, {"127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n", "400"}}, "refused"},
		{"a rule", Protection{Rule: "guard"}, []sent{ok("127.0.0.1"), {"127.0.0.1", "GET /bad HTTP/1.1\r\nHost: x\r\n\r\n", "418"}}, ""},
	} {
		for _, how := range []string{"page", "closed", "testing", "disabled"} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				p := newPlane(t)
				class := c.class
				class.Enabled, class.LogTime = how != "disabled", time.Hour
				class.SendErrorPage, class.Testing = how == "page", how == "testing"
				port := freePort(t)
				p.Apply(Update{
					Protection: map[string]*Protection{"class": &class},
					Rules:      map[string]*Rule{"guard": {Source: `if (http.getPath() == "/bad") { http.sendResponse("418", "text/plain", "no", ""); }`}},
					Pools:      map[string]*Pool{"app": aPool(addr(backend(t, "b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })))},
					VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app", func(v *VirtualServer) {
						v.ProtectionClass = "class"
					})},
				})
				for i, s := range c.sent {
					want := s.want
					switch {
					case s.want == "418" && how == "disabled":
						want = "200"
					case s.want == "200" || s.want == "418":
					case how == "testing" || how == "disabled":
						want = "200"
					case how == "closed" && !(s.want == "400" && strings.Contains(s.raw, "chunked")):
						want = "closed"
					}
					if got := say(t, s.from, port, s.raw); got != want {
						t.Errorf("%d: %q from %s: got %s, want %s", i, s.raw, s.from, got, want)
					}
				}
				events, _ := p.list()
				told := 0
				for _, e := range events {
					if e.Tag == "triggersummary" {
						told++
						if (how == "testing") != strings.Contains(e.Text, "would have refused") {
							t.Errorf("told: %s", e.Text)
						}
					}
				}
				if want := c.told != "" && how != "disabled"; want != (told > 0) {
					t.Errorf("told %d times of refusals", told)
				}
			})
		}
	}
}

// A class tells of its refusals once in log_time, and how many there were.
func TestRefusalsAreSummedUpWithinTheLogTime(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.Apply(Update{
			Protection:     map[string]*Protection{"class": {Enabled: true, LogTime: time.Minute, Banned: []string{"all"}}},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "discard", func(v *VirtualServer) { v.ProtectionClass = "class" })},
		})
		ask := func() {
			c := b.world.HTTPClient("client", nil)
			defer c.CloseIdleConnections()
			b.get(c, "/")
		}
		for range 5 {
			ask()
		}
		if n := b.count("triggersummary"); n != 1 {
			t.Errorf("told %d times within log_time, want once", n)
		}
		time.Sleep(time.Minute)
		ask()
		b.mu.Lock()
		last := b.events[len(b.events)-1]
		b.mu.Unlock()
		if n := b.count("triggersummary"); n != 2 || !strings.Contains(last.Text, "refused 5 connections") {
			t.Errorf("told %d times; the last: %s", n, last.Text)
		}
	})
}
