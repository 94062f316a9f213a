package vtm_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

const backups = "/status/local_tm/backups/full"

// sendAs sends a body of any media type.
func (c *client) sendAs(method, path, media, accept string, body []byte) reply {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth("admin", "secret")
	for name, value := range map[string]string{"Content-Type": media, "Accept": accept} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return c.send(req)
}

func TestABackupIsMadeListedDescribedAndDeleted(t *testing.T) {
	_, c := start(t, nil)
	if got := string(c.want(200, "GET", backups, nil).body); got != `{"children":[]}` {
		t.Errorf("without backups: %s", got)
	}
	c.want(404, "GET", backups+"/none", nil)
	c.want(404, "DELETE", backups+"/none", nil)
	c.want(404, "PUT", backups+"/none?restore", nil)
	made := c.want(201, "PUT", backups+"/before%20it", `{"properties":{"backup":{"description":"all well"}}}`)
	about := read(t, made)["backup"]
	if about["description"] != "all well" || about["version"] != "22.3" || about["time_stamp"].(float64) < 1e9 {
		t.Errorf("made %v", about)
	}
	if got := c.want(200, "GET", backups+"/before%20it", nil); string(got.body) != string(made.body) {
		t.Errorf("reads %s, was answered %s", got.body, made.body)
	}
	if got := string(c.want(200, "GET", backups, nil).body); !strings.Contains(got, `"href":"/api/tm/8.3/status/local_tm/backups/full/before%20it"`) {
		t.Errorf("list %s", got)
	}
	// What was read can be put back, with another description.
	again := strings.Replace(string(made.body), "all well", "still well", 1)
	if got := c.want(200, "PUT", backups+"/before%20it", again); string(got.body) != again {
		t.Errorf("described anew: %s", got.body)
	}
	for body, id := range map[string]string{
		`{"properties":{"backup":{"description":5}}}`: "json.wrong_type", `{"properties":{"backup":{"size":5}}}`: "json.unknown_property",
	} {
		r := c.want(400, "PUT", backups+"/x", body)
		if !strings.Contains(string(r.body), id) {
			t.Errorf("%s: %s", body, r.body)
		}
	}
	c.want(400, "PUT", backups+"/x", `[`)
	c.want(400, "PUT", backups+"/x", `{"backup":{}}`)
	c.want(400, "PUT", backups+"/.hidden", `{}`)
	c.want(400, "PUT", backups+"/"+strings.Repeat("x", 201), `{}`)
	c.want(405, "PATCH", backups+"/before%20it", `{}`)
	c.want(204, "DELETE", backups+"/before%20it", nil)
	c.want(404, "GET", backups+"/before%20it", nil)
}

// configure makes one of several kinds of resources, and has it read back.
func configure(c *client) func() string {
	c.t.Helper()
	c.want(201, "PUT", "/config/active/pools/a", `{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.1:80","weight":3}],"note":"one"}}}`)
	c.want(201, "PUT", "/config/active/rules/r%20%25", []byte("pool.use( \"a\" );\r\n\x00"))
	c.want(201, "PUT", "/config/active/ssl/server_keys/k", `{"properties":{"basic":{"private":"PRIVATE","public":"PUBLIC"}}}`)
	c.want(200, "PUT", "/config/active/global_settings", `{"properties":{"trafficscript":{"max_instr":12345}}}`)
	c.want(200, "PUT", "/config/active/monitors/Ping", `{"properties":{"basic":{"delay":9}}}`)
	return func() string {
		c.t.Helper()
		out := ""
		for _, path := range []string{"pools", "pools/a", "pools/b", "rules", "rules/r%20%25", "ssl/server_keys/k", "monitors", "monitors/Ping"} {
			out += fmt.Sprintf("%s %s\n", path, c.do("GET", "/config/active/"+path, nil).body)
		}
		return out + fmt.Sprint(c.get("global_settings", "trafficscript", "max_instr"))
	}
}

// spoil changes, deletes and adds.
func spoil(c *client) {
	c.t.Helper()
	c.want(200, "PUT", "/config/active/pools/a", `{"properties":{"basic":{"note":"two"}}}`)
	c.want(201, "PUT", "/config/active/pools/b", `{}`)
	c.want(204, "DELETE", "/config/active/rules/r%20%25", nil)
	c.want(200, "PUT", "/config/active/ssl/server_keys/k", `{"properties":{"basic":{"private":"other"}}}`)
	c.want(200, "PUT", "/config/active/global_settings", `{"properties":{"trafficscript":{"max_instr":5}}}`)
	c.want(200, "PUT", "/config/active/monitors/Ping", `{"properties":{"basic":{"delay":2}}}`)
}

func TestARestoredBackupIsTheConfigurationOnEveryMember(t *testing.T) {
	for _, data := range []string{"", t.TempDir()} {
		cluster, err := vtm.StartCluster(vtm.ClusterOptions{
			Options: vtm.Options{
				World: outside.Real(), Log: slog.New(slog.DiscardHandler), Users: map[string]string{"admin": "secret"}, Strict: true,
				RESTPort: vtm.AnyPort, ReplicateAtOnce: true, PlainHTTP: true, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
			},
			Members: 2, Base: netip.MustParseAddr("127.1.44.0"), NoControl: true, Data: data,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		members := make([]*client, 2)
		for i := range members {
			members[i] = &client{t: t, http: http.DefaultClient, base: "http://" + cluster.Member(fmt.Sprint("vtm-", i+1)).RESTAddress() + "/api/tm/8.3"}
		}
		c := members[0]
		// Strict: keys must be a pair, so this one stays away.
		c.want(201, "PUT", "/config/active/pools/a", `{"properties":{"basic":{"note":"one"}}}`)
		c.want(201, "PUT", "/config/active/rules/lib", []byte(`sub hello() { return "x"; }`))
		c.want(201, "PUT", "/config/active/rules/user", []byte(`import lib; pool.use( "a" );`))
		shown := func(c *client) string {
			out := ""
			for _, path := range []string{"pools", "pools/a", "rules", "rules/user", "traffic_managers"} {
				out += string(c.do("GET", "/config/active/"+path, nil).body)
			}
			return out
		}
		before := shown(c)
		c.want(201, "PUT", backups+"/good", nil)
		c.want(200, "PUT", "/config/active/pools/a", `{"properties":{"basic":{"note":"two"}}}`)
		c.want(204, "DELETE", "/config/active/rules/user", nil)
		c.want(204, "DELETE", "/config/active/rules/lib", nil)
		c.want(201, "PUT", "/config/active/pools/b", `{}`)
		if shown(c) == before {
			t.Fatal("nothing was spoilt")
		}
		if r := c.want(200, "PUT", backups+"/good?restore", nil); !strings.Contains(string(r.body), `"time_stamp"`) {
			t.Errorf("restored: %s", r.body)
		}
		for i, m := range members {
			if got := shown(m); got != before {
				t.Errorf("data %q, member %d after the restore:\n%s\nbefore:\n%s", data, i+1, got, before)
			}
		}
		// The references are known again, and backups are each member's own.
		c.want(400, "DELETE", "/config/active/pools/a", nil)
		c.want(400, "DELETE", "/config/active/rules/lib", nil)
		members[1].want(404, "GET", backups+"/good", nil)
		members[1].want(200, "GET", "/status/vtm-1/backups/full/good", nil)
		cluster.Close()
	}
}

func TestABackupIsDownloadedUploadedAndRestored(t *testing.T) {
	_, c := start(t, nil)
	shown := configure(c)
	before := shown()
	c.want(201, "PUT", backups+"/good", `{"properties":{"backup":{"description":"good"}}}`)
	archive := c.sendAs("GET", backups+"/good", "", "application/x-tar", nil)
	if archive.status != 200 || archive.header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %v", archive.status, archive.header)
	}

	// It goes into a traffic manager that was never told of it, and back.
	_, other := start(t, nil)
	if r := other.sendAs("POST", backups+"/copy", "application/octet-stream", "", archive.body); r.status != 201 || read(t, r)["backup"]["description"] != "good" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	other.want(201, "PUT", "/config/active/pools/mine", `{}`)
	other.want(200, "PUT", backups+"/copy?restore", nil)
	o := *other
	if got := fmt.Sprint(o.get("global_settings", "trafficscript", "max_instr")); got != "12345" {
		t.Errorf("max_instr is %s", got)
	}
	other.want(404, "GET", "/config/active/pools/mine", nil)
	other.want(200, "GET", "/config/active/traffic_managers/vtm-1.sim", nil)
	if got := other.sendAs("GET", backups+"/copy", "", "application/x-tar", nil); !bytes.Equal(got.body, archive.body) {
		t.Error("what was uploaded downloads differently")
	}

	spoil(c)
	if shown() == before {
		t.Fatal("nothing was spoilt")
	}
	c.want(200, "PUT", backups+"/good?restore", nil)
	if got := shown(); got != before {
		t.Errorf("restored:\n%s\nbefore:\n%s", got, before)
	}
	c.want(403, "DELETE", "/config/active/monitors/Ping", nil) // still built in
}

func TestBackupsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	run := func() (*vtm.TrafficManager, *client) { return start(t, func(o *vtm.Options) { o.Data = dir }) }
	tm, first := run()
	shown := configure(first)
	before := shown()
	first.want(201, "PUT", backups+"/good%25", nil)
	tm.Close()
	tm, c := run()
	spoil(c)
	c.want(200, "PUT", backups+"/good%25?restore", nil)
	tm.Close()
	_, again := run()
	*first = *again
	if got := shown(); got != before {
		t.Errorf("after two restarts:\n%s\nbefore:\n%s", got, before)
	}
}

func TestAnArchiveThatIsNoBackupIsRefused(t *testing.T) {
	_, c := start(t, nil)
	archive := func(entries ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			name, content, _ := strings.Cut(e, "=")
			_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600})
			_, _ = io.WriteString(w, content)
		}
		_ = w.Close()
		return b.Bytes()
	}
	const about = `backup.json={"description":"x"}`
	for what, body := range map[string][]byte{
		"empty": {}, "no tar": []byte("hello"), "without backup.json": archive("conf/pools/a={}"), "half": archive(about, "conf/pools/a={}")[:1100],
		"outside":   archive(about, "conf/../../etc/passwd=x"),
		"dot":       archive(about, "conf/rules/.x=x"),
		"type":      archive(about, "conf/puddles/a={}"),
		"singleton": archive(about, "conf/global_settings/x={}"),
		"bad key":   archive(about, `conf/pools/a={"properties":{"basic":{"nodes":1}}}`),
		"twice":     archive(about, "conf/rules/a=1", "conf/rules/a=2"),
	} {
		if r := c.sendAs("POST", backups+"/x", "application/octet-stream", "", body); r.status != 400 || r.json(t)["error_id"] != "resource.invalid_backup" {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	c.want(404, "GET", backups+"/x", nil)
	if r := c.sendAs("POST", backups+"/x", "application/json", "", archive(about)); r.status != 415 {
		t.Errorf("as JSON: %d", r.status)
	}
	c.want(405, "POST", "/config/active/pools/p", `{}`)
}
