package trafficscript_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	ts "vtm-ingress/sim/trafficscript"
)

func compile(t testing.TB, source string) *ts.Rule {
	t.Helper()
	rule, diags := ts.Compile("r", source, nil)
	if rule == nil {
		t.Fatalf("%q: %v", source, diags)
	}
	return rule
}

// TestDecisions tries what a rule decides, and whether later rules still run.
func TestDecisions(t *testing.T) {
	answer := func(code int, reason, body string, headers ...string) func(*ts.Transaction) {
		return func(tx *ts.Transaction) {
			h := make(http.Header)
			for i := 0; i < len(headers); i += 2 {
				h.Add(headers[i], headers[i+1])
			}
			tx.Answer = &ts.Answer{Code: code, Reason: reason, Header: h, Body: body}
		}
	}
	yes, data := true, "bye"
	for _, test := range []struct {
		source   string
		response bool
		end      ts.End
		want     func(*ts.Transaction) // what changed
	}{
		{source: `$a = 1;`, want: func(*ts.Transaction) {}},
		{source: `pool.use("api"); log.warn("late");`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Pool = "api" }},
		{source: `$x = [pool.use("api"), http.setHeader("X", "late")];`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Pool = "api" }},
		{source: `sub f() { while (1) pool.use("api"); } http.setMethod(f());`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Pool = "api" }},
		{source: `pool.use("web", "10.9.9.9", 81);`, end: ts.Decided, want: func(tx *ts.Transaction) {
			tx.Pool, tx.PoolNode = "web", netip.MustParseAddrPort("10.9.9.9:81")
		}},
		{source: `pool.use("discard");`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Discard = true }},
		{source: `connection.discard();`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Discard = true }},
		{source: `pool.select("api"); pool.select("discard");`, want: func(tx *ts.Transaction) { tx.Pool = "discard" }},
		{source: `connection.close("bye");`, end: ts.Decided, want: func(tx *ts.Transaction) { tx.Close = &data }},
		{source: `http.sendResponse("403 Forbidden", "text/plain", "no", "X-A: 1\r\nX-A: 2\r\nContent-Length: 9\r\n");`, end: ts.Decided,
			want: answer(403, "Forbidden", "no", "Content-Type", "text/plain", "X-A", "1", "X-A", "2")},
		{source: `http.sendResponse(302, "", "", "Location: /\r\n");`, end: ts.Decided, want: answer(302, "", "", "Location", "/")},
		{source: `http.sendResponse("1", "t", "", "");`, end: ts.Decided, want: answer(500, "", "", "Content-Type", "t")},
		{source: `http.redirect("http://x/\r\nSet-Cookie: a=b");`, end: ts.Decided,
			want: answer(302, "Moved Temporarily", "", "Content-Type", "text/html", "Location", "http://x/  Set-Cookie: a=b")},
		{source: `http.changeSite("https://new.example");`, end: ts.Decided,
			want: answer(301, "Moved Permanently", "", "Content-Type", "text/html", "Location", "https://new.example/a%20b/c?x=1&y=%41&x=2")},
		{source: `http.changeSite("new.example/pre/");`, end: ts.Decided,
			want: answer(301, "Moved Permanently", "", "Content-Type", "text/html", "Location", "http://new.example:8080/pre/a%20b/c?x=1&y=%41&x=2")},
		{source: `http.changeSite("http://shop.example.com.:8080/a%20b");`, want: func(*ts.Transaction) {}},
		{source: `http.redirect("x");`, response: true, end: ts.Decided,
			want: answer(302, "Moved Temporarily", "", "Content-Type", "text/html", "Location", "x")},
		{source: `pool.use("api"); pool.select("api"); http.setPath("/late");`, response: true, want: func(*ts.Transaction) {}},
		{source: `lang.assert(request.retry() == 0, "cannot");`, response: true, want: func(*ts.Transaction) {}},
		{source: `request.sendResponse("HTTP/1.1 103 Early Hints\r\n\r\n"); request.avoidNode("10.0.0.1:80"); request.setIdempotent(1);
			request.setMaxReplyTime(3); request.setVirtualServerTimeout(4); request.setMaxConnectionAttempts(5); request.setMaxTimedOutConnectionAttempts(6);
			connection.setPersistence("p"); connection.setPersistenceKey("k"); connection.setPersistenceNode("n:1"); http.setResponseCookie("a", "b", "secure"); http.setResponseCookie("a", "c");`,
			want: func(tx *ts.Transaction) {
				tx.Interim = []string{"HTTP/1.1 103 Early Hints\r\n\r\n"}
				tx.Excluded = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}
				tx.Idempotent = &yes
				tx.Overrides = ts.Overrides{MaxReplyTime: 3 * time.Second, Timeout: 4 * time.Second, MaxConnectionAttempts: 5, MaxTimedOutAttempts: 6}
				tx.Persistence, tx.PersistenceKey, tx.PersistenceNode = "p", "k", "n:1"
				tx.SetCookies = []string{"a=c; secure"}
			}},
		{source: `while (1) {}`, end: ts.Aborted, want: func(*ts.Transaction) {}},
	} {
		h, want := newHost(), newHost()
		if test.response {
			h.respond()
			want.respond()
		}
		test.want(&want.tx)
		result := compile(t, test.source).Run(context.Background(), h, ts.Limits{})
		if result.End != test.end {
			t.Errorf("%s: ended %d, want %d: %v", test.source, result.End, test.end, result.Err)
		}
		for _, tx := range []*ts.Transaction{&h.tx, &want.tx} {
			tx.Data, tx.LocalData, tx.ConnectionData, tx.Machine = nil, nil, nil, nil
			tx.Streamer, tx.Sockets, tx.Cache = nil, nil, nil
		}
		addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		port := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
		if diff := cmp.Diff(want.tx, h.tx, addr, port, cmpopts.IgnoreUnexported(ts.Transaction{})); diff != "" {
			t.Errorf("%s: transaction (-want +got):\n%s", test.source, diff)
		}
	}
}

func TestRetryEndsTheRules(t *testing.T) {
	h := newHost().respond()
	h.tx.Resendable = true
	if result := compile(t, `request.retry(); log.info("late");`).Run(context.Background(), h, ts.Limits{}); result.End != ts.Decided || !h.tx.Retry || len(h.events) != 0 {
		t.Errorf("result %+v, retry %v, events %v", result, h.tx.Retry, h.events)
	}
}

func TestTLSFacts(t *testing.T) {
	h := newHost()
	h.tx.TLS = &ts.TLS{ServerName: "sni", SiteName: "site", CertName: "cert", SessionID: "id", Cipher: "cipher"}
	compile(t, `log.info(ssl.isSSL() . ssl.getTLSServerName() . ssl.serverSiteName() . ssl.serverCertName() . ssl.sslSessionID() . ssl.clientCipher());`).
		Run(context.Background(), h, ts.Limits{})
	if got := h.events[0].Message; got != "1snisitecertidcipher" {
		t.Errorf("logged %q", got)
	}
}

func TestLogLinesNameRuleAndLine(t *testing.T) {
	h := newHost()
	compile(t, "\nlog.error(\"a\nb\");").Run(context.Background(), h, ts.Limits{})
	want := []ts.Event{{Level: ts.LevelSerious, Tag: "rulelogmsgserious", Rule: "r", Line: 2, Message: "a b"}}
	if diff := cmp.Diff(want, h.events); diff != "" {
		t.Error(diff)
	}
}

func TestWarningsAreBounded(t *testing.T) {
	h := newHost()
	compile(t, `while (1) $x = 1 / 0;`).Run(context.Background(), h, ts.Limits{})
	if len(h.events) > 102 {
		t.Errorf("%d events", len(h.events))
	}
}

// TestAbort: what ends a rule names rule and line, and is logged.
func TestAbort(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, test := range []struct {
		source, want string
		ctx          context.Context
		bodyErr      error
		limits       ts.Limits
	}{
		{source: `while (1) {}`, limits: ts.Limits{Instructions: 50}, want: "Rule r: Line 1: the rule used more than 50 instructions without an end: look for a loop that never ends"},
		{source: "sub f() { f(); }\nf();", limits: ts.Limits{Depth: 3}, want: "Rule r: Line 1: sub f: calls are nested more than 3 deep"},
		{source: `$a = string.sprintf("%1500d", 1);`, limits: ts.Limits{Memory: 1400}, want: "Rule r: Line 1: the rule made values of more than 1400 bytes"},
		{source: `while (1) {}`, ctx: canceled, want: "Rule r: Line 1: the connection ended while the rule was running"},
		{source: `connection.sleep(5);`, ctx: canceled, want: "Rule r: Line 1: connection.sleep: the connection ended while the rule was running"},
		{source: "\nhttp.getBody();", bodyErr: errors.New("reset"), want: "Rule r: Line 2: the request's body cannot be read: reset"},
		{source: "\nhttp.getBody();", bodyErr: context.DeadlineExceeded, want: "Rule r: Line 2: the request's body cannot be read: the transaction timed out while the rule was running"},
	} {
		h := newHost()
		h.bodyErr = test.bodyErr
		if test.ctx == nil {
			test.ctx = context.Background()
		}
		result := compile(t, test.source).Run(test.ctx, h, test.limits)
		if result.End != ts.Aborted || result.Err == nil || result.Err.Error() != test.want {
			t.Errorf("%s: %+v, want %q", test.source, result, test.want)
		}
		if len(h.events) != 1 || h.events[0].Tag != "ruleabort" || h.events[0].Level != ts.LevelSerious || h.events[0].Message != test.want {
			t.Errorf("%s: events %+v", test.source, h.events)
		}
	}
}

func TestSleepUsesTheHost(t *testing.T) {
	h := newHost()
	compile(t, `connection.sleep(1500); connection.sleep(-1);`).Run(context.Background(), h, ts.Limits{})
	if h.slept != 1500*time.Millisecond {
		t.Errorf("slept %v", h.slept)
	}
}

func TestPoolsAndImports(t *testing.T) {
	libs := map[string]string{
		"a":   `import "b c" as b; sub f() { pool.use("from a"); b.f(); }`,
		"b c": `sub f() { pool.select("from b"); }`,
	}
	rule, diags := ts.Compile("r", `import strict; import a; if (0) { pool.use("x"); pool.use("discard"); pool.use("x", "1.2.3.4", 5); } a.f();`,
		func(name string) (string, bool) { s, ok := libs[name]; return s, ok })
	if rule == nil {
		t.Fatal(diags)
	}
	if diff := cmp.Diff([]string{"from a", "from b", "x"}, rule.Pools()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b c"}, rule.Imports()); diff != "" {
		t.Error(diff)
	}
}

func TestDiagnosticsHavePositions(t *testing.T) {
	_, diags := ts.Compile("r", "$a = 1;\n  nosuch($a, \"\\q\");\n$b = nosuch();", nil)
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%d:%d:%d %s", d.Severity, d.Line, d.Column, d))
	}
	want := []string{
		"0:2:3 Line 2: unknown function nosuch",
		`1:2:15 Line 2: unknown escape '\q' is 'q': write '\\q' for a backslash`,
		"0:3:6 Line 3: unknown function nosuch",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSizesAreBounded(t *testing.T) {
	for name, test := range map[string]struct{ source, want string }{
		"parentheses": {strings.Repeat("(", 100000), "nested more than 250 deep"},
		"unary":       {"$a = " + strings.Repeat("!", 100000) + "1;", "nested more than 250 deep"},
		"blocks":      {strings.Repeat("{", 100000), "nested more than 250 deep"},
		"arrays":      {"$a = " + strings.Repeat("[", 100000), "nested more than 250 deep"},
		"indices":     {"$a" + strings.Repeat("[0]", 100000) + " = 1;", "more than 250 indices"},
		"operators":   {"$a = 1" + strings.Repeat(" + 1", 100000) + ";", "more than 1000 operators nested"},
		"source":      {strings.Repeat(" ", 5<<20), "longer than 4194304 bytes"},
	} {
		rule, diags := ts.Compile("r", test.source, nil)
		if rule != nil || !strings.Contains(diags[0].Message, test.want) {
			t.Errorf("%s: %v", name, diags)
		}
	}
	long := "if ($a == 0) $b = 0;" + strings.Repeat(" else if ($a == 1) $b = 1;", 20000)
	compile(t, long)
}

// TestHostileRulesEnd: each would run for hours, or take all memory, if only
// its statements were counted. All end by a limit.
func TestHostileRulesEnd(t *testing.T) {
	var wide strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&wide, "$v%d = 1; ", i)
	}
	long := `$s = string.sprintf("%60000d", 1); `
	for _, source := range []string{
		`while (1) string.regexmatch("` + strings.Repeat("a", 1000) + `", "(a?){500}(a?){500}b");`,
		`while (1) { $n++; string.regexmatch("a", "(a?){500}" . $n); }`,
		long + `while (1) string.wildmatch($s, "*1*1*1*1*1*1*1*1*2");`,
		long + `while (1) string.wildmatch($s, $s);`,
		long + `while (1) $x = $s + 1; `,
		long + `while (1) $x = $s == ($s . 1);`,
		long + `while (1) switch ($s) { case "a": break; }`,
		long + `$h[$s] = 1; while (1) $x = $h[$s];`,
		long + `while (1) http.setHeader("Cookie", $s . ";" . http.getHeader("Cookie"));`,
		long + `http.setHeader("Cookie", $s); while (1) http.getCookie("x");`,
		long + `http.setHeader("Host", $s); while (1) http.getHostHeader();`,
		long + `while (1) request.sendResponse($s);`,
		long + `while (1) log.info($s);`,
		long + `while (1) string.regexsub($s, "", $s, "g");`,
		`for ($i = 0; $i < 70; $i++) $a = [$a, $a]; lang.dump($a);`,
		`for ($i = 0; $i < 70; $i++) $a = [$a, $a]; data.set("a", $a);`,
		`for ($i = 0; $i < 3000; $i++) data.set($i, 1); while (1) data.reset("x");`,
		`sub f($n) { return f($n) + 1; ` + wide.String() + `} f(1);`,
		`sub f() { ` + wide.String() + `} while (1) f();`,
		`while (1) { array.push($a = [], $a); $b = array.create(1000, $a); }`,
		`$a = array.create(100000); while (1) { $b = $a; $b[0] = 1; }`,
		`$a = array.create(100000); while (1) array.contains($a, 1);`,
		`$a = array.create(100000); while (1) array.sort($a);`,
		`$a = array.create(100000); while (1) array.unshift($a, 1);`,
		`$a = array.create(100000); while (1) array.join($a, "x");`,
		`while (1) foreach ($x in [1]) continue;`,
		`while (1) string.randomBytes(100000);`,
		`while (1) $l .= http.getRequest();`,
	} {
		t.Run(fmt.Sprintf("%.80s", strings.TrimPrefix(source, long)), func(t *testing.T) {
			h := newHost()
			h.tx.Data = ts.NewStore(10 << 20)
			limits := ts.Limits{Instructions: 20_000, Memory: 16 << 20} // a fraction of the defaults, for the test's time
			if result := compile(t, source).Run(context.Background(), h, limits); result.End != ts.Aborted {
				t.Errorf("ended %d", result.End)
			}
		})
	}
}

func TestRulesShareNothing(t *testing.T) {
	rule := compile(t, `$h = ["list" => [1, 2], "n" => 1]; $h["n"]++; array.push($h["list"], 3); $c["x"] .= "y";
		string.regexmatch("ab", "(a)(b)"); lang.assert(lang.dump($h) == '[ "list" => [ 1, 2, 3 ], "n" => 2 ]' && $c["x"] == "y" && $1 == "a", lang.dump($h));`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if result := rule.Run(context.Background(), newHost(), ts.Limits{}); result.End != ts.Finished {
					t.Error(result.Err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStoreIsBounded(t *testing.T) {
	h := newHost()
	h.tx.Data = ts.NewStore(30)
	compile(t, `for ($i = 0; $i < 10; $i++) { $ok .= data.set("k" . $i, "12345678"); } lang.assert($ok == "1100000000", $ok);
		lang.assert(data.set("k0", "") == 1 && data.set("k9", "1234") == 1, "room again");`).Run(context.Background(), h, ts.Limits{})
	for _, e := range h.events {
		if e.Tag != "datastorefull" {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"k0", "k1", "k9"}, h.tx.Data.Keys()); diff != "" {
		t.Error(diff)
	}
	var none *ts.Store
	h.tx.Data = none
	if r := compile(t, `lang.assert(data.set("k", 1) == 0 && data.get("k") == "" && data.getMemoryFree() == 0, "full and empty"); data.remove("k"); data.reset();`).
		Run(context.Background(), h, ts.Limits{}); r.End != ts.Finished {
		t.Error(r.Err)
	}
}
