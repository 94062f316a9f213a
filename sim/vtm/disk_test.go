package vtm_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

func kept(dir string) func(*vtm.ClusterOptions) {
	return func(o *vtm.ClusterOptions) { o.ReplicateAtOnce, o.Data = true, dir }
}

func TestWhatIsStoredIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	paths := []string{"rules/a%20rule%3A%20%C3%BC%25", "rules/empty", "ssl/server_keys/web", "pools/web", "global_settings", "monitors/Ping"}
	shown := map[string]string{}
	var information string
	inFleet(t, 2, kept(dir), func(t *testing.T, f *fleet) {
		c := f.on("vtm-1")
		c.want(201, "PUT", "/config/active/"+paths[0], []byte("one\ntwo\x00\r\n"))
		c.want(201, "PUT", "/config/active/"+paths[1], []byte{})
		c.want(201, "PUT", "/config/active/"+paths[2], `{"properties":{"basic":{"public":"P","private":"very \"secret\"","note":"ü\n"}}}`)
		c.want(201, "PUT", "/config/active/"+paths[3], `{"properties":{"basic":{"note":"","monitors":["Ping"],"nodes_table":[{"node":"127.0.0.1:80"},{"node":"127.0.0.2:80","weight":7,"state":"disabled"}]}}}`)
		c.want(200, "PUT", "/config/active/"+paths[4]+"?expert_keys=rest_api/http_compress_min", `{"properties":{"rest_api":{"auth_timeout":7,"http_compress_min":9}}}`)
		c.want(200, "PUT", "/config/active/"+paths[5], `{"properties":{"basic":{"delay":9}}}`)
		c.want(201, "PUT", "/config/active/pools/gone", emptyPool)
		c.want(204, "DELETE", "/config/active/pools/gone", nil)
		for _, p := range paths {
			shown[p] = string(c.want(200, "GET", "/config/active/"+p+"?expert_keys=rest_api/http_compress_min", nil).body)
		}
		information = string(c.want(200, "GET", "/status/local_tm/information", nil).body)
	})
	// As a process that was killed between two steps leaves them.
	if err := os.WriteFile(filepath.Join(dir, "vtm-1", "new"), []byte(`{"vers`), 0o600); err != nil {
		t.Fatal(err)
	}
	tomb, err := os.ReadFile(filepath.Join(dir, "vtm-1", "deleted", "pools", "gone"))
	if err != nil {
		t.Fatal("the deletion is not remembered for members that are away: ", err)
	}
	older := strings.NewReplacer(`"n":2`, `"n":1`, `,"deleted":true`, ``).Replace(string(tomb)) + `{"properties":{}}`
	if err := os.WriteFile(filepath.Join(dir, "vtm-1", "conf", "pools", "gone"), []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	inFleet(t, 2, kept(dir), func(t *testing.T, f *fleet) {
		for _, m := range f.Names() {
			for _, p := range paths {
				if got := string(f.on(m).want(200, "GET", "/config/active/"+p+"?expert_keys=rest_api/http_compress_min", nil).body); got != shown[p] {
					t.Errorf("%s shows for %s\n%s\nbefore the restart\n%s", m, p, got, shown[p])
				}
			}
			if f.has(m, "pools/gone") {
				t.Errorf("%s has what was deleted", m)
			}
			f.on(m).want(403, "DELETE", "/config/active/monitors/Ping", nil)
		}
		if got := string(f.on("vtm-1").want(200, "GET", "/status/local_tm/information", nil).body); got != information {
			t.Errorf("information was %s, is %s", information, got)
		}
		for _, e := range f.Member("vtm-1").EventLog() {
			if e.Tag == "confconflict" {
				t.Errorf("a restart makes a conflict: %s", e)
			}
		}
	})
	// A folder that was away comes back later and takes over what is newer.
	if err := os.RemoveAll(filepath.Join(dir, "vtm-2")); err != nil {
		t.Fatal(err)
	}
	inFleet(t, 2, kept(dir), func(t *testing.T, f *fleet) {
		if !f.has("vtm-2", "pools/web") || f.has("vtm-2", "pools/gone") {
			t.Error("a member that lost its folder does not get the configuration")
		}
	})
}

func TestADamagedFileIsNamedAndNothingStarts(t *testing.T) {
	for name, content := range map[string]string{
		"empty":       "",
		"no header":   "{}",
		"not JSON":    "x\n{}",
		"bad content": "{}\n{\"properties\":{\"basic\":{\"port\":1}}}",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "vtm-1", "conf", "pools", "web")
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := vtm.StartCluster(realCluster(dir, 1))
			if err == nil {
				c.Close()
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), file) {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
}

// realCluster has free ports on addresses of 127.1.201.0/24.
func realCluster(dir string, members int) vtm.ClusterOptions {
	return vtm.ClusterOptions{
		Options: vtm.Options{
			World: outside.Real(), Log: slog.New(slog.DiscardHandler), Users: map[string]string{"admin": "secret"},
			PlainHTTP: true, RESTPort: vtm.AnyPort, ReplicateAtOnce: true, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
		},
		Members: members, Base: netip.MustParseAddr("127.1.201.0"), Data: dir, ControlPort: vtm.AnyPort,
	}
}

func BenchmarkStartOf20000StoredResources(b *testing.B) {
	dir := b.TempDir()
	c, err := vtm.StartCluster(realCluster(dir, 3))
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range c.Names() { // as files, which is faster than PUTs and the same
		for i := range 20_000 {
			text := fmt.Sprintf(`{"versions":[{"member":"vtm-1","n":1}],"at":"2026-01-01T00:00:00Z","by":"vtm-1"}`+"\n"+
				`{"properties":{"basic":{"note":"pool %d","monitors":["Connect"],"nodes_table":[{"node":"127.2.0.1:30000"},{"node":"127.2.0.2:30000"}]}}}`, i)
			if err := os.WriteFile(filepath.Join(dir, m, "conf", "pools", fmt.Sprint("pool-", i)), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.Close()
	for b.Loop() {
		began := time.Now()
		c, err := vtm.StartCluster(realCluster(dir, 3))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		b.StopTimer()
		c.Close()
		b.StartTimer()
	}
}
