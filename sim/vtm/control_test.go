package vtm_test

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vtm-ingress/sim/vtm"
)

func TestEveryKindOfFaultIsReadAndPrintedInOneSpelling(t *testing.T) {
	arguments := map[string]string{"duration": "150ms", "code": "503", "before|after": "after", "peer|clients|nodes": "nodes"}
	for _, k := range vtm.FaultKinds() {
		text := k.Name
		if k.Arg != "" {
			text += " " + arguments[k.Arg]
		}
		text += " member=vtm-1"
		if k.PerRequest {
			text += " method=PUT path=pools/* nth=2 chance=0.25"
		}
		rules, err := vtm.ParseFaults("# a comment\n\n  " + strings.ReplaceAll(text, " ", "  ") + " # why\n")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := vtm.FormatFaults(rules); got != text+"\n" {
			t.Errorf("%q is printed as %q", text, got)
		}
	}
}

func TestAFaultThatIsWronglyWrittenIsRefusedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"frieze":                         "line 1: there is no fault \"frieze\"",
		"hold\nstatus":                   "line 2: status needs a code",
		"status 200":                     "no status of 400 to 599",
		"latency soon":                   "no duration",
		"latency 2h":                     "no duration",
		"drop never":                     "neither before nor after",
		"garbage nth=x":                  "\"x\" is no number",
		"garbage nth=-1":                 "less than 1",
		"garbage chance=1.5":             "between 0 and 1",
		"garbage chance=NaN":             "between 0 and 1",
		"garbage where=here":             "no condition \"where\"",
		"garbage path=[":                 "no pattern",
		"freeze path=x":                  "takes the condition member only",
		strings.Repeat("garbage\n", 101): "101 rules are more than the 100 allowed",
	} {
		if _, err := vtm.ParseFaults(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzFaultsAreReadAsTheyArePrinted(f *testing.F) {
	f.Add("status 503 member=vtm-1 method=PUT path=pools/* nth=2")
	f.Add("latency 1.5s\ncut nodes member=vtm-2\n# x\n\ngarbage chance=0.1")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := vtm.ParseFaults(text)
		if err != nil {
			return
		}
		printed := vtm.FormatFaults(rules)
		again, err := vtm.ParseFaults(printed)
		if err != nil || vtm.FormatFaults(again) != printed {
			t.Errorf("%q is printed as %q, which is read as %q, %v", text, printed, vtm.FormatFaults(again), err)
		}
	})
}

// try sends a PUT and returns its status, 0 if there was no whole answer.
func (f *fleet) try(name, path string) (status int, body string) {
	c := f.on(name)
	req, _ := http.NewRequest("PUT", c.base+"/config/active/"+path, strings.NewReader(emptyPool))
	req.SetBasicAuth("admin", "secret")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(b)
}

func TestFaultsOfRequestsDoWhatTheirNameSays(t *testing.T) {
	for _, tc := range []struct {
		fault  string
		status int  // 0: no whole answer
		effect bool // the write took effect
	}{
		{"status 503", 503, false},
		{"unauthorised", 401, false},
		{"drop before", 0, false},
		{"drop after", 0, true},
		{"truncate", 0, true},
		{"garbage", 201, true},
		{"down", 0, false},
		{"status 500 method=GET", 201, true},
		{"status 500 path=rules/*", 201, true},
		{"status 500 path=pools/*", 500, false},
		{"status 500 path=/api/tm/*/config/active/pools/*", 500, false},
		{"status 500 nth=2", 201, true},
		{"status 500 nth=1", 500, false},
		{"status 500 member=vtm-2", 201, true},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
				f.on("vtm-1")
				f.fault(tc.fault)
				status, body := f.try("vtm-1", "pools/web")
				if status != tc.status {
					t.Errorf("status %d, want %d", status, tc.status)
				}
				if strings.HasPrefix(body, "{") != (tc.fault != "garbage") && status != 0 {
					t.Errorf("body %q", body)
				}
				f.fault("")
				if f.has("vtm-1", "pools/web") != tc.effect {
					t.Errorf("took effect: %t, want %t", !tc.effect, tc.effect)
				}
			})
		})
	}
}

func TestLatencyAndSlowBodiesTakeTheirTime(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.fault("latency 3s path=pools/*")
		began := time.Now()
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		if d := time.Since(began); d < 3*time.Second || d > 3100*time.Millisecond {
			t.Errorf("a latency of 3 s took %v", d)
		}
		f.fault("slow 1s")
		began = time.Now()
		body := f.on("vtm-1").want(200, "GET", "/config/active/pools/web", nil).body
		if d, want := time.Since(began), time.Duration(len(body)+1023)/1024*time.Second; d < want || d > want+100*time.Millisecond {
			t.Errorf("%d bytes took %v, want %v", len(body), d, want)
		}
	})
}

func TestReplicationIsHeldBackWhileTheFaultIsSet(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		f.fault("hold member=vtm-1")
		f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
		time.Sleep(time.Hour)
		if f.has("vtm-2", "pools/web") {
			t.Error("it is replicated")
		}
		f.fault("")
		time.Sleep(time.Second)
		if !f.has("vtm-2", "pools/web") {
			t.Error("it is not replicated afterwards")
		}
	})
}

func TestAnExpiredLicenceIsTold(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.fault("licence-expired")
		if got := string(f.on("vtm-1").want(200, "GET", "/status/local_tm/state", nil).body); !strings.Contains(got, `"error_level":"error"`) || !strings.Contains(got, "licence key has expired") {
			t.Errorf("state is %s", got)
		}
		f.fault("")
		if got := string(f.on("vtm-1").want(200, "GET", "/status/local_tm/state", nil).body); !strings.Contains(got, `"error_level":"ok"`) {
			t.Errorf("healed, state is %s", got)
		}
	})
}

func TestTheControlAPISetsListsAndHealsFaults(t *testing.T) {
	c, err := vtm.StartCluster(realCluster("", 2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	base := "http://" + c.Info()[0].Control
	do := func(method, url, body string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Host" {
				req.Host = header[i+1]
			}
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	want := func(status int, contains, method, path, body string, header ...string) {
		t.Helper()
		got, text := do(method, base+path, body, header...)
		if got != status || !strings.Contains(text, contains) {
			t.Errorf("%s %s: %d %s, want %d and %q", method, path, got, text, status, contains)
		}
	}
	want(400, "no fault", "PUT", "/faults", "burn")
	want(400, "no member vtm-9", "PUT", "/faults", "stop member=vtm-9")
	want(200, "stop member=vtm-1", "PUT", "/faults", "stop  member=vtm-1")
	want(200, "stop member=vtm-1", "GET", "/faults", "")
	// The control API of the member that is stopped answers, and knows it.
	if !strings.HasPrefix(base, "http://127.1.201.1:") || c.Member("vtm-1") != nil {
		t.Error("vtm-1 runs, or this is not its control API")
	}
	want(200, `"running": false`, "GET", "/", "")
	before := c.Info()[1].REST
	want(204, "", "DELETE", "/faults", "")
	want(200, `"faults": []`, "GET", "/", "")
	if c.Member("vtm-1") == nil || c.Info()[1].REST != before {
		t.Error("vtm-1 does not run again, or vtm-2 has moved")
	}
	c.AddressMap().Map(netip.MustParseAddr("192.0.2.1"))
	want(200, `"from": "192.0.2.1"`, "GET", "/", "")
	want(200, `"name": "vtm-3"`, "POST", "/members", "")
	want(409, "ask another member", "DELETE", "/members/vtm-1", "")
	want(200, "vtm-2", "DELETE", "/members/vtm-3", "")
	want(204, "", "POST", "/members/vtm-2/reactivate", "")
	want(404, "", "POST", "/members/vtm-3/reactivate", "")
	want(403, "browser", "GET", "/", "", "Origin", "http://evil.example")
	want(403, "browser", "DELETE", "/faults", "", "Host", "evil.example:9071")
}

func TestTheControlAPIListensOnLoopbackOnly(t *testing.T) {
	o := realCluster("", 1)
	o.Base = netip.MustParseAddr("192.0.2.0")
	c, err := vtm.StartCluster(o)
	if err == nil {
		c.Close()
		t.Fatal("it starts")
	}
	if !strings.Contains(err.Error(), "loopback") {
		t.Error(errors.Unwrap(err), err)
	}
}

func TestARunOfAClusterWithFaultsRepeats(t *testing.T) {
	run := func() string {
		var out strings.Builder
		inFleet(t, 3, nil, func(t *testing.T, f *fleet) {
			f.serve(group(three, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, ""))
			for i, fault := range []string{"stop member=vtm-2", "freeze member=vtm-1", "cut vtm-1 member=vtm-3\nstatus 503 chance=0.5", ""} {
				f.fault(fault)
				for j := range 20 {
					for _, m := range []string{"vtm-2", "vtm-3"} {
						if f.Member(m) != nil {
							f.try(m, "pools/p"+string(rune('a'+(i+j)%5)))
						}
					}
					time.Sleep(time.Second)
				}
			}
			time.Sleep(time.Minute)
			for _, m := range f.Names() {
				for _, e := range f.Member(m).EventLog() {
					out.WriteString(m + " " + e.Time.Format(time.RFC3339Nano) + " " + e.String() + "\n")
				}
			}
			out.WriteString(f.raised())
		})
		return out.String()
	}
	first := run()
	if !strings.Contains(first, "machinefail") || !strings.Contains(first, "confreplicat") && !strings.Contains(first, "confrepfailed") {
		t.Fatalf("nothing happened:\n%s", first)
	}
	for range 5 {
		if again := run(); again != first {
			t.Fatalf("first run:\n%s\nanother:\n%s", first, again)
		}
	}
}
