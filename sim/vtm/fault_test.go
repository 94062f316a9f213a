package vtm_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vtm-ingress/sim/vtm"
)

func TestFaultsReadBackAsTheyArePrinted(t *testing.T) {
	kinds := vtm.FaultKinds()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		r := vtm.FaultRule{Kind: kind.Name, Member: rapid.SampledFrom([]string{"", "vtm-1", "vtm-2"}).Draw(t, "member")}
		switch kind.Arg {
		case "duration":
			r.Arg = time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "duration")).String()
		case "code":
			r.Arg = fmt.Sprint(rapid.IntRange(400, 599).Draw(t, "code"))
		case "before|after":
			r.Arg = rapid.SampledFrom([]string{"before", "after"}).Draw(t, "when")
		case "peer|clients|nodes":
			r.Arg = rapid.SampledFrom([]string{"vtm-1", "clients", "nodes"}).Draw(t, "whom")
		}
		if kind.PerRequest {
			r.Method = rapid.SampledFrom([]string{"", "PUT", "GET"}).Draw(t, "method")
			r.Path = rapid.StringMatching(`|[a-z/]{1,8}\*?`).Draw(t, "path")
			r.Nth = rapid.IntRange(0, 9).Draw(t, "nth")
			r.Chance = rapid.Float64Range(0, 0.999).Draw(t, "chance")
		}
		got, err := vtm.ParseFaults(vtm.FormatFaults([]vtm.FaultRule{r}))
		if err != nil || len(got) != 1 || got[0] != r {
			t.Fatalf("%+v is printed as %q and read as %+v, %v", r, r, got, err)
		}
	})
}

// Each kind of fault is set by some test of this package that says what it does.
func TestEveryKindOfFaultHasATest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for _, k := range vtm.FaultKinds() {
		if !regexp.MustCompile(`"` + k.Name + `[ "\\]`).MatchString(all.String()) {
			t.Errorf("no test sets the fault %s", k.Name)
		}
	}
}

// node is a back end in the network of a fleet that sends size bytes.
func (f *fleet) node(at string, size int) (close func()) {
	f.t.Helper()
	l, err := f.net.World().Listen("node/"+at, "tcp", at)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	})}
	go s.Serve(l)
	return func() { s.Close() }
}

// fetch asks the virtual server on an address by HTTP and returns how many bytes
// came and how long that took; an error when there was no whole answer within
// limit.
func (f *fleet) fetch(actor, address string, limit time.Duration) (int, time.Duration, error) {
	f.t.Helper()
	h := f.net.World().HTTPClient(actor, nil)
	defer h.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(f.t.Context(), limit)
	defer cancel()
	to := netip.AddrPortFrom(f.AddressMap().Map(netip.MustParseAddr(address)), 80)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+to.String()+"/", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	began := time.Now()
	resp, err := h.Do(req)
	if err != nil {
		return 0, time.Since(began), err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return len(b), time.Since(began), err
}

// balance makes a virtual server on 192.0.2.1 whose pool has one node.
func (f *fleet) balance(node string) {
	f.t.Helper()
	c := f.on("vtm-1")
	c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[{"node":"`+node+`"}]}}}`)
	c.want(201, "PUT", "/config/active/traffic_ip_groups/edge", group([]string{"vtm-1"}, []string{"192.0.2.1"}, ""))
	c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"port":80,"pool":"app","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":["edge"]}}}`)
}

func TestAnExpiredLicenceLimitsTrafficAsInDeveloperMode(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		const size = 500_000
		defer f.node("127.9.0.1:8080", size)()
		f.balance("127.9.0.1:8080")
		if n, d, err := f.fetch("client", "192.0.2.1", time.Minute); n != size || err != nil || d > time.Second {
			t.Fatalf("%d bytes in %v, %v", n, d, err)
		}
		f.fault("licence-expired")
		if n, d, err := f.fetch("client", "192.0.2.1", time.Minute); n != size || err != nil || d < 3900*time.Millisecond || d > 4200*time.Millisecond {
			t.Errorf("with an expired licence %d bytes took %v, %v; at 125,000 a second they take 4 s", n, d, err)
		}
		state := f.on("vtm-1").want(200, "GET", "/status/local_tm/state", nil).json(t)["state"].(map[string]any)
		if state["license"] != "developer mode" {
			t.Errorf("license is %v", state["license"])
		}
		if n := f.on("vtm-1").counter("events/License%20Key%20Problem", "matched"); n != float64(1) {
			t.Errorf("the event type License Key Problem matched %v times", n)
		}
		f.fault("")
		if n, d, err := f.fetch("client", "192.0.2.1", time.Minute); n != size || err != nil || d > time.Second {
			t.Errorf("with a valid one %d bytes took %v, %v", n, d, err)
		}
		if n := f.on("vtm-1").counter("events/License%20Key%20Recovered", "matched"); n != float64(1) {
			t.Errorf("the event type License Key Recovered matched %v times", n)
		}
	})
}

func TestAMemberThatIsCutOffFromItsClientsOrNodesServesNothingAndKeepsItsREST(t *testing.T) {
	for _, fault := range []string{"cut clients", "cut nodes"} {
		t.Run(fault, func(t *testing.T) {
			inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
				defer f.node("127.9.0.1:8080", 10)()
				f.balance("127.9.0.1:8080")
				if _, _, err := f.fetch("client", "192.0.2.1", time.Second); err != nil {
					t.Fatal(err)
				}
				f.fault(fault)
				if n, _, err := f.fetch("client", "192.0.2.1", 20*time.Second); err == nil {
					t.Errorf("%d bytes came", n)
				}
				f.on("vtm-1").want(200, "GET", "/config/active/pools/app", nil)
				f.fault("")
				if _, _, err := f.fetch("client", "192.0.2.1", time.Minute); err != nil {
					t.Errorf("healed: %v", err)
				}
			})
		})
	}
}

func TestARequestThatIsRepeatedTakesEffectTwice(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		c := f.on("vtm-1")
		note := func(text string) string { return `{"properties":{"basic":{"note":"` + text + `"}}}` }
		is := func(when, want string) {
			t.Helper()
			got := c.want(200, "GET", "/config/active/pools/web", nil).json(t)["properties"].(map[string]any)["basic"].(map[string]any)["note"]
			if got != want {
				t.Errorf("%s: the note is %v, want %s", when, got, want)
			}
		}
		f.fault("repeat 7s method=PUT nth=1")
		c.want(201, "PUT", "/config/active/pools/web", `{"properties":{"basic":{"nodes_table":[],"note":"old"}}}`)
		c.want(200, "PUT", "/config/active/pools/web", note("new"))
		time.Sleep(6 * time.Second)
		is("before the first request comes again", "new")
		time.Sleep(2 * time.Second)
		is("after it", "old")
		if w := f.Writes(); len(w) != 3 || w[0].Repeated || w[1].Repeated || !w[2].Repeated || w[0].Holds == w[1].Holds || w[0].Holds != w[2].Holds {
			t.Errorf("the writes are recorded as %+v", w)
		}
	})
}

func TestARestartHappensOnceAndKeepsTheConfiguration(t *testing.T) {
	for _, kept := range []string{"in memory", "in files"} {
		t.Run(kept, func(t *testing.T) {
			dir := ""
			if kept == "in files" {
				dir = t.TempDir()
			}
			inFleet(t, 2, func(o *vtm.ClusterOptions) { o.Data = dir }, func(t *testing.T, f *fleet) {
				f.on("vtm-1").want(201, "PUT", "/config/active/pools/web", emptyPool)
				time.Sleep(time.Minute)
				was := f.Member("vtm-1")
				f.fault("restart member=vtm-1\nlatency 1s path=nothing")
				if f.Member("vtm-1") == was || f.Member("vtm-2") == nil {
					t.Error("vtm-1 was not restarted, or vtm-2 is gone")
				}
				if got := vtm.FormatFaults(f.Faults()); got != "latency 1s path=nothing\n" {
					t.Errorf("afterwards these faults are set: %s", got)
				}
				if n := len(inLog(f.Member("vtm-1"), "running")); n != 2 {
					t.Errorf("the event log tells of %d starts, want 2", n)
				}
				if !f.has("vtm-1", "pools/web") {
					t.Error("the configuration is lost")
				}
				if up, _ := f.on("vtm-1").counter("globals", "up_time").(float64); up > 1000 {
					t.Errorf("up_time is %v hundredths of a second", up)
				}
				f.on("vtm-2").want(201, "PUT", "/config/active/pools/later", emptyPool)
				time.Sleep(time.Minute)
				if !f.has("vtm-1", "pools/later") {
					t.Error("it is not replicated to any more")
				}
			})
		})
	}
}

func TestTheCertificateChangesWhileTheFaultIsSet(t *testing.T) {
	o := realCluster("", 1)
	o.PlainHTTP = false
	c, err := vtm.StartCluster(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", c.Info()[0].REST, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw)
		return hex.EncodeToString(sum[:])
	}
	own := c.Member("vtm-1").Fingerprint()
	if got := shown(); got != own {
		t.Fatalf("it presents %s, its fingerprint is %s", got, own)
	}
	held, err := tls.Dial("tcp", c.Info()[0].REST, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := c.SetFaults([]vtm.FaultRule{{Kind: "certificate"}}); err != nil {
		t.Fatal(err)
	}
	if n, err := held.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection from before goes on: %d bytes", n)
	}
	first, second := shown(), shown()
	if first == own || first != second {
		t.Errorf("with the fault it presents %s, then %s; its own is %s", first, second, own)
	}
	if err := c.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != own {
		t.Errorf("healed it presents %s, want %s", got, own)
	}
}
