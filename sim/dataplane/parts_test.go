package dataplane

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"vtm-ingress/sim/trafficscript"
)

func TestLocationRewriting(t *testing.T) {
	for _, c := range []struct {
		how, regex, replace string
		secure              bool
		host, location      string
		want                string
	}{
		{how: "if_host_matches", host: "shop.test", location: "http://shop.test:30080/a?b#c", want: "http://shop.test/a?b#c"},
		{how: "if_host_matches", host: "shop.test:81", location: "http://shop.test:30080/", want: "http://shop.test:81/"},
		{how: "if_host_matches", host: "shop.test", secure: true, location: "http://SHOP.test/", want: "https://SHOP.test/"},
		{how: "if_host_matches", host: "shop.test:8443", secure: true, location: "http://shop.test:8443/", want: "https://shop.test:8443/"},
		{how: "if_host_matches", host: "shop.test", location: "https://shop.test/", want: "https://shop.test/"},         // on purpose
		{how: "if_host_matches", host: "shop.test", location: "http://shop.test:9999/", want: "http://shop.test:9999/"}, // elsewhere
		{how: "if_host_matches", host: "shop.test", location: "http://other.test:30080/", want: "http://other.test:30080/"},
		{how: "if_host_matches", host: "[2001:db8::1]", location: "http://[2001:db8::1]:30080/", want: "http://[2001:db8::1]/"},
		{how: "if_host_matches", host: "shop.test", location: "/relative", want: "/relative"},
		{how: "if_host_matches", host: "shop.test", location: "http://%zz", want: "http://%zz"},
		{how: "always", host: "shop.test", location: "http://10.0.0.1:30080/x", want: "http://shop.test/x"},
		{how: "never", host: "shop.test", location: "http://shop.test:30080/", want: "http://shop.test:30080/"},
		{how: "if_host_matches", regex: "^http://in\\.(.*)$", replace: "https://out.$1", host: "h", location: "http://in.test/", want: "https://out.test/"},
		{how: "if_host_matches", regex: "^nothing$", replace: "x", host: "shop.test", location: "http://shop.test:30080/", want: "http://shop.test/"},
	} {
		conf, err := newServerConf(&VirtualServer{Protocol: "http", LocationRewrite: c.how, LocationRegex: c.regex, LocationReplace: c.replace})
		if err != nil {
			t.Fatal(err)
		}
		scheme := "http"
		if c.secure {
			scheme = "https"
		}
		r := httptest.NewRequest("GET", scheme+"://"+c.host+"/", nil)
		r.Host = c.host
		tx := &transaction{conf: conf, r: r, host: c.host, node: &node{address: "10.0.0.1:30080"}}
		res := &http.Response{Header: http.Header{"Location": {c.location}}}
		tx.rewriteLocation(res)
		if got := res.Header.Get("Location"); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

// Whatever a rule makes of the target, the request line stays one line of three
// words.
func FuzzTarget(f *testing.F) {
	for _, s := range targets {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) { checkTarget(t, target) })
}

var targets = []string{"/", "/a b", "/%zz?x", "//h/p", "*", "", "http://h/p?q", "/\r\nX: y", "/\x00\x7f\xff", "/a?b c#d"}

func checkTarget(t *testing.T, target string) {
	t.Helper()
	u, err := parseTarget(target)
	if err != nil {
		return
	}
	u.Scheme, u.Host = "http", "10.0.0.1:80"
	var line bytes.Buffer
	if err := (&http.Request{Method: "GET", URL: u, Host: "h", Header: http.Header{}}).Write(&line); err != nil {
		return // the transport refuses it: not sent at all
	}
	first, _, _ := strings.Cut(line.String(), "\r\n")
	if strings.Count(first, " ") != 2 || strings.ContainsAny(first, "\r\n\x00") {
		t.Errorf("%q became the request line %q", target, first)
	}
	if u.Opaque == "" {
		if again, err := url.ParseRequestURI(u.RequestURI()); err != nil || again.Path != u.Path && u.Path != "" {
			t.Errorf("%q became %q, which reads as %v, %v", target, u.RequestURI(), again, err)
		}
	}
}

// Every view of a body reads it from its beginning, or fails; none ever reads
// anything else.
func TestBodiesAreReadAgainFromTheBeginningOrNotAtAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(strings.Repeat("0123456789", rapid.IntRange(0, 30).Draw(t, "tens")))
		limit := rapid.IntRange(0, 200).Draw(t, "limit")
		var src io.Reader = bytes.NewReader(body)
		if rapid.Bool().Draw(t, "small reads") {
			src = iotest.OneByteReader(src)
		}
		s := newBodySource(src, limit)
		if n := rapid.IntRange(0, 300).Draw(t, "peek"); n > 0 {
			got, err := s.peek(context.Background(), n)
			if want := body[:min(n, len(body))]; err != nil || got != string(want) {
				t.Fatalf("peek %d: %q, %v", n, got, err)
			}
		}
		for try := range 4 {
			v := &bodyView{source: s}
			want := rapid.IntRange(0, 400).Draw(t, "read")
			got, err := io.ReadAll(io.LimitReader(v, int64(want)))
			if !bytes.HasPrefix(body, got) {
				t.Fatalf("try %d read %q", try, got)
			}
			if err != nil && (!errors.Is(err, errBodySpent) || s.replayable()) {
				t.Fatalf("try %d: %v, replayable %v", try, err, s.replayable())
			}
			if err == nil && len(got) != min(want, len(body)) {
				t.Fatalf("try %d read %d bytes of %d", try, len(got), len(body))
			}
			v.Close()
			if _, err := v.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Fatalf("a closed view reads: %v", err)
			}
		}
	})
}

// The incremental count of what is in use agrees with looking at everything.
func TestUseIsWhatFollowsFromTheConfiguration(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		u := newUsage()
		inUse := map[string]bool{}
		type server struct {
			pool  string
			rules []string
		}
		servers := map[string]server{}
		rules := map[string][]*trafficscript.Part{}
		libraries := map[string]*trafficscript.Part{} // as rules have them that import them anew
		next := map[string]string{}
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID[string])
		one := rapid.SampledFrom(names)
		count := func(s server, by int) {
			if s.pool != "" {
				u.pool(s.pool, by)
			}
			for _, r := range s.rules {
				u.rule(r, by)
			}
		}
		every := false
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				name := one.Draw(t, "server")
				count(servers[name], -1)
				servers[name] = server{rapid.SampledFrom(append([]string{""}, names...)).Draw(t, "pool"), some.Draw(t, "rules")}
				count(servers[name], 1)
			case 1:
				name := one.Draw(t, "rule")
				rules[name] = nil
				for _, library := range some.Draw(t, "libraries") {
					if libraries[library] == nil || rapid.Bool().Draw(t, "changed") {
						libraries[library] = &trafficscript.Part{Name: library, Pools: slices.Sorted(slices.Values(some.Draw(t, "literals")))}
					}
					rules[name] = append(rules[name], libraries[library])
				}
				u.compiled(name, rules[name])
			case 2:
				name := one.Draw(t, "from")
				next[name] = rapid.SampledFrom(append([]string{""}, names...)).Draw(t, "to")
				u.failover(name, next[name])
			}
			for name := range u.settle(every) {
				inUse[name] = u.inUse(name)
			}
			want := map[string]bool{}
			for _, s := range servers {
				want[s.pool] = true
				for _, r := range s.rules {
					for _, part := range rules[r] {
						for _, p := range part.Pools {
							want[p] = true
						}
					}
				}
			}
			for range names {
				for from, to := range next {
					if want[from] {
						want[to] = true
					}
				}
			}
			for _, n := range names {
				if inUse[n] != want[n] {
					t.Fatalf("pool %s: in use %v, want %v; servers %v, rules %v, next %v", n, inUse[n], want[n], servers, rules, next)
				}
			}
		}
	})
}

func TestSitesAreFoundByName(t *testing.T) {
	s := newSites(&VirtualServer{ServerCertDefault: "d", ServerCertAlt: []string{"d2"}, ServerCertHostMapping: []HostMapping{
		{Host: "10.0.0.1", Certificate: "ip"}, {Host: "a.test", Certificate: "a"}, {Host: "*.test", Certificate: "w"},
	}})
	for _, c := range [][3]string{{"a.test", "", "a"}, {"A.TEST.", "", "a"}, {"b.test", "10.0.0.1", "w"}, {"", "10.0.0.1", "ip"}, {".test", "", ""}, {"test", "", ""}} {
		m, _ := s.find(c[0], c[1])
		if m.Certificate != c[2] {
			t.Errorf("%q at %q: got %q, want %q", c[0], c[1], m.Certificate, c[2])
		}
	}
	all := func(string) bool { return true }
	if got := s.keys(all); !slices.Equal(got, []string{"d", "d2", "ip", "a", "w"}) {
		t.Errorf("keys: %v", got)
	}
	if got := s.keys(func(name string) bool { return name != "d" && name != "ip" }); !slices.Equal(got, []string{"d2", "a", "w"}) {
		t.Errorf("keys: %v", got)
	}
}
