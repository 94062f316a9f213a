package trafficscript_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	ts "vtm-ingress/sim/trafficscript"
)

// newMachine knows a little of everything.
func newMachine() *ts.Machine {
	return &ts.Machine{
		HostName: "vtm1.example.com", ProcessID: 42, RESTPort: 9070, Environment: map[string]string{"ZEUSHOME": "/opt/zeus"},
		Interfaces: []ts.Interface{
			{Name: "lo", Address: netip.MustParsePrefix("127.0.0.1/8"), Up: true, Loopback: true},
			{Name: "eth0", MAC: "02:00:00:00:00:01", Address: netip.MustParsePrefix("192.0.2.1/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Up: true},
			{Name: "eth1", Address: netip.MustParsePrefix("2001:db8::1/64")},
		},
		Location: "Cambridge", Coordinates: ts.Coordinates{Latitude: 52.2, Longitude: 0.125, Known: true},
		Counters: new(ts.Counters),
		File: func(name string) (ts.File, bool) {
			return ts.File{Content: "one\r\ntwo\n", Modified: time.Unix(1000, 0)}, name == "info"
		},
		ServiceLevel: func(class string) (ts.ServiceLevel, bool) {
			return ts.ServiceLevel{Conforming: 75, Threshold: 50}, class == "gold"
		},
		Place: func(a netip.Addr) (ts.Place, bool) {
			switch a.String() {
			case "192.0.2.1":
				return ts.Place{Country: "Germany", CountryCode: "DE", Region: "Berlin", RegionCode: "BE", City: "Berlin", Coordinates: ts.Coordinates{Latitude: 52.52, Longitude: 13.405, Known: true}}, true
			case "192.0.2.2":
				return ts.Place{Country: "France", CountryCode: "FR", Coordinates: ts.Coordinates{Latitude: 48.8566, Longitude: 2.3522, Known: true}}, true
			case "192.0.2.3":
				return ts.Place{Country: "Nowhere"}, true
			}
			return ts.Place{}, false
		},
		Authenticate: func(_ context.Context, authenticator, user string, password *string) map[string]string {
			if authenticator != "ldap" {
				return map[string]string{"Error": "no such authenticator"}
			}
			if user == "ada" && (password == nil || *password == "secret") {
				return map[string]string{"OK": "1", "group": "admin"}
			}
			return nil
		},
		BandwidthClass: func(class string) bool { return class == "gold" },
		PoolHasRoom:    func(pool string) (room, known bool) { return pool == "web", pool == "web" || pool == "api" },
		Dial:           dialEcho,
		Rates:          &rates{left: 2}, Resolver: resolver{}, Fetcher: fetcher{},
	}
}

// dialEcho connects 192.0.2.1:7 to an end that sends each piece back once, and
// then closes; nobody else answers.
func dialEcho(ctx context.Context, network, address string) (net.Conn, error) {
	switch address {
	case "192.0.2.1:7":
	case "192.0.2.1:9":
		return nil, context.DeadlineExceeded
	default:
		return nil, errors.New("connection\nrefused")
	}
	return &echo{}, nil
}

// echo is a connection to a peer that sends back what it gets; then a read times
// out, and then the peer has closed.
type echo struct {
	net.Conn // of which nothing else is asked
	back     []byte
	quiet    bool
}

func (e *echo) Write(b []byte) (int, error) {
	e.back = append(e.back, b...)
	return len(b), nil
}

func (e *echo) Read(b []byte) (int, error) {
	switch {
	case len(e.back) > 0:
		n := copy(b, e.back)
		e.back = e.back[n:]
		return n, nil
	case !e.quiet:
		e.quiet = true
		return 0, os.ErrDeadlineExceeded
	}
	return 0, io.EOF
}

func (e *echo) Close() error                     { return nil }
func (e *echo) SetDeadline(time.Time) error      { return nil }
func (e *echo) SetReadDeadline(time.Time) error  { return nil }
func (e *echo) SetWriteDeadline(time.Time) error { return nil }

// rates lets class "few" through twice; then it waits for ever.
type rates struct{ left int }

func (r *rates) Take(class, _ string) (taken, known bool) {
	if class != "few" {
		return false, false
	}
	r.left--
	return r.left >= 0, true
}

func (r *rates) Wait(ctx context.Context, class, key string) (bool, error) {
	taken, known := r.Take(class, key)
	if known && !taken {
		if ctx.Done() == nil { // nobody would ever end the wait
			return true, context.DeadlineExceeded
		}
		<-ctx.Done()
		return true, ctx.Err()
	}
	return known, nil
}

func (r *rates) Backlog(class, key string) int { return len(class) + len(key) }

type resolver struct{}

func (resolver) LookupHost(_ context.Context, host string, ipv6 bool) (netip.Addr, error) {
	switch {
	case host != "www.example.com":
		return netip.Addr{}, errors.New("no such host")
	case ipv6:
		return netip.MustParseAddr("2001:db8::80"), nil
	}
	return netip.MustParseAddr("198.51.100.80"), nil
}

func (resolver) LookupAddress(_ context.Context, address netip.Addr) (string, error) {
	if address.String() != "198.51.100.80" {
		return "", errors.New("no such address")
	}
	return "www.example.com.", nil
}

// fetcher answers with what it was asked.
type fetcher struct{}

func (fetcher) Fetch(_ context.Context, f *ts.Fetch, max int) (*ts.Response, error) {
	if strings.Contains(f.URL, "broken") {
		return nil, errors.New("connection\nrefused")
	}
	body := f.Method + " " + f.URL + " " + f.Header.Get("X-A") + strings.Join(f.Certificates, "")
	if f.Body != nil {
		body += " " + *f.Body
	}
	return &ts.Response{Proto: "HTTP/1.1", Code: 200, Reason: "OK", Header: http.Header{"Content-Type": {"text/plain"}, "X-B": {"1", "2"}}, Body: &body}, nil
}

// TestWithoutAMachineNothingIsThere: all that a rule may ask a Host that knows
// nothing has an answer.
func TestWithoutAMachineNothingIsThere(t *testing.T) {
	h := newHost()
	h.tx.Machine = nil
	rule := compile(t, `log.info(sys.hostname() . resource.get("x") . resource.exists("x") . net.dns.resolveHost("h") . net.dns.resolveIP("1.2.3.4") .
		geo.getCity("1.2.3.4") . geo.getIPDistanceKM("1.2.3.4", "1.2.3.5") . rate.getbacklog("c") . slm.isOK() . slm.conforming() . lang.dump(geo.getLocationLonLat()));
		counter.increment(1); $a = auth.query("x", "y"); log.info($a["OK"] . $a["Error"]); log.info(http.request.get("http://h/") . $1 . $2); log.info(rate.use("c") . rate.use.noQueue("c"));`)
	if result := rule.Run(context.Background(), h, ts.Limits{}); result.End != ts.Finished {
		t.Fatal(result.Err)
	}
	var got []string
	for _, e := range h.events {
		got = append(got, e.Message)
	}
	want := []string{"01.2.3.4-101100[ ]", "0authenticator 'x' does not exist", "0there is no way to other web servers",
		"WARNING: Rule r: Line 3: rate class 'c' does not exist", "WARNING: Rule r: Line 3: rate class 'c' does not exist", "0-1"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCountersCountAndWrap(t *testing.T) {
	h := newHost()
	compile(t, `counter.increment(1); counter.increment(1, 9); counter.increment(2, -1); counter64.increment(2, -1); counter64.increment(10, 2147483647);`).
		Run(context.Background(), h, ts.Limits{})
	c := h.tx.Machine.Counters
	if c.Value(1) != 10 || c.Value(2) != 1<<32-1 || c.Value64(2) != 1<<64-1 || c.Value64(10) != 1<<31-1 || c.Value(0) != 0 || c.Value64(11) != 0 {
		t.Errorf("counters %d %d %d %d", c.Value(1), c.Value(2), c.Value64(2), c.Value64(10))
	}
}

// TestWaitingEndsWithTheTransaction: a queue that never moves does not keep a
// rule for ever.
func TestWaitingEndsWithTheTransaction(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h := newHost()
	h.tx.Machine.Rates = &rates{}
	result := compile(t, `rate.use("few"); log.info("late");`).Run(ctx, h, ts.Limits{})
	if result.End != ts.Aborted || !strings.Contains(result.Err.Error(), "rate.use: the connection ended") {
		t.Errorf("result %+v", result)
	}
}

func TestVariablePoolUseLetsAnyExpressionNameAPool(t *testing.T) {
	source := `$p = "a" . "pi"; if (http.getPath() != "x") pool.use($p); pool.select("web");`
	if rule, _ := ts.Compile("r", source, nil); rule != nil {
		t.Error("a variable named a pool without the option")
	}
	rule, diags := ts.Compile("r", source, nil, ts.VariablePoolUse())
	if rule == nil {
		t.Fatal(diags)
	}
	h := newHost()
	if result := rule.Run(context.Background(), h, ts.Limits{}); result.End != ts.Decided || h.tx.Pool != "api" || strings.Join(rule.Pools(), " ") != "web" {
		t.Errorf("%+v, pool %q, pools %v", result, h.tx.Pool, rule.Pools())
	}
	rule, _ = ts.Compile("r", `pool.use(lang.toString("discard"));`, nil, ts.VariablePoolUse())
	h = newHost()
	if rule.Run(context.Background(), h, ts.Limits{}); !h.tx.Discard {
		t.Error("discard did not discard")
	}
}

// TestHostileCallsEnd: functions that look at large things, again and again or
// once for long, end by the limits of the run.
func TestHostileCallsEnd(t *testing.T) {
	for _, source := range []string{
		`xml.xpath.matchNodeSet("<a>" . $x . "</a>", "", "concat(` + strings.Repeat("/,", 2000) + `/)");`,
		`while (1) xml.xpath.matchNodeSet("<a>" . $x . "</a>", "", "normalize-space(/)");`,
		`while (1) xml.xpath.matchNodeSet("<a/>", "", "` + strings.Repeat("(", 8000) + `");`,
		`while (1) json.deserialize("[" . $x . "]");`,
		`$a = [$x]; for ($i = 0; $i < 60; $i++) $a = [$a, $a]; json.serialize($a);`,
		`while (1) string.regexmatch($x, '(?=a)a++b');`,
		`while (1) string.regexsub($x, '(?=a)a', "bb", "g");`,
		`while (1) string.regexmatch("a", "(?=a)" . $i++ . "(?:a{1000}){50}");`,
		`while (1) string.encrypt($x, $x);`,
		`while (1) http.request.get("http://h/", $x);`,
		`while (1) event.emit("e", $x);`,
	} {
		h := newHost()
		h.requestBody = strings.Repeat("a", 32<<10)
		limits := ts.Limits{Instructions: 5_000, Memory: 4 << 20}
		if result := compile(t, "$x = http.getBody(); "+source).Run(context.Background(), h, limits); result.End != ts.Aborted {
			t.Errorf("%.60s: %+v", source, result)
		}
	}
}
