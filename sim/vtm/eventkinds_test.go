package vtm_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vtm-ingress/sim/vtm"
)

func TestTheEventLogTellsOfWhateverHappens(t *testing.T) {
	inFleet(t, 2, func(o *vtm.ClusterOptions) { o.ReplicateAtOnce = true }, func(t *testing.T, f *fleet) {
		c := f.on("vtm-1")
		stop := f.node("127.9.0.1:8080", 10)
		c.want(201, "PUT", "/config/active/ssl/server_keys/old", expiredKey(t))
		c.want(201, "PUT", "/config/active/rules/tell", []byte(`
			log.info("all is well"); log.warn("careful"); log.error("oh no");
			event.emit("sold out", "shoes");
			http.sendResponse("200", "text/plain", "x", "");`))
		c.want(201, "PUT", "/config/active/event_types/shop", `{"properties":{"trafficscript":{"event_tags":["sold out"]}}}`)
		c.want(201, "PUT", "/config/active/event_types/rule%20warnings", `{"properties":{"rules":{"event_tags":["rulelogmsgwarn"],"objects":["tell"]}}}`)
		c.want(201, "PUT", "/config/active/pools/app", `{"properties":{"basic":{"nodes_table":[{"node":"127.9.0.1:8080"}],"monitors":["Connect"]}}}`)
		c.want(201, "PUT", "/config/active/traffic_ip_groups/edge", group([]string{"vtm-1", "vtm-2"}, []string{"192.0.2.1", "192.0.2.2"}, ""))
		c.want(201, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"port":80,"pool":"app","enabled":true,
			"listen_on_any":false,"listen_on_traffic_ips":["edge"],"request_rules":["tell"]}}}`)
		c.want(201, "PUT", "/config/active/virtual_servers/tls", `{"properties":{"basic":{"port":443,"pool":"app","enabled":true,"ssl_decrypt":true,
			"listen_on_any":false,"listen_on_traffic_ips":["edge"]},"ssl":{"server_cert_default":"old"}}}`)
		for _, address := range []string{"192.0.2.1", "192.0.2.2"} { // one is vtm-1's
			if _, _, err := f.fetch("client", address, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		time.Sleep(time.Minute)
		defer f.node("127.9.0.1:8080", 10)()
		time.Sleep(time.Minute)
		f.fault("isolate member=vtm-2")
		time.Sleep(time.Minute)
		f.fault("licence-expired member=vtm-1")
		time.Sleep(time.Minute)
		f.fault("")
		time.Sleep(time.Minute)
		req, _ := http.NewRequest("GET", c.base+"/config/active/pools", nil)
		req.SetBasicAuth("admin", "wrong")
		c.send(req)
		c.want(200, "PUT", "/config/active/virtual_servers/web", `{"properties":{"basic":{"enabled":false}}}`)
		c.want(204, "DELETE", "/config/active/virtual_servers/web", nil)

		// Tag -> section and the beginning of the text, of some line with it.
		want := map[string]string{
			"running":                  "general\tTraffic manager vtm-1 is running",
			"confadd":                  "vservers/web\tConfiguration file added",
			"confmod":                  "vservers/web\tConfiguration file modified",
			"confdel":                  "vservers/web\tConfiguration file deleted",
			"vsstart":                  "vservers/web\tVirtual server started",
			"vsstop":                   "vservers/web\tVirtual server stopped",
			"monitorfail":              "monitors/Connect\tMonitor has detected a failure",
			"monitorok":                "monitors/Connect\tMonitor is working",
			"nodefail":                 "pools/app\tNode 127.9.0.1:8080 has failed - A monitor has detected a failure",
			"nodeworking":              "pools/app\tNode 127.9.0.1:8080 is working again",
			"pooldied":                 "pools/app\tPool has no back-end nodes responding",
			"poolok":                   "pools/app\tPool now has working nodes",
			"rulelogmsginfo":           "rules/tell\tall is well",
			"rulelogmsgwarn":           "rules/tell\tcareful",
			"rulelogmsgserious":        "rules/tell\toh no",
			"customevent":              "rules/tell\tsold out: shoes",
			"vssslcertexpired":         "vservers/tls\tCertificate 'old' has expired on ",
			"machinetimeout":           "faulttolerance\tTimed out waiting for a heartbeat of machine vtm-2",
			"machinefail":              "faulttolerance\tMachine vtm-2 has failed",
			"machineok":                "faulttolerance\tMachine vtm-2 is working again",
			"allmachinesok":            "faulttolerance\tAll machines are working",
			"flipperraiselocalworking": "faulttolerance\tRaising Traffic IP addresses here: 192.0.2.",
			"dropipinfo":               "faulttolerance\tDropping Traffic IP addresses: 192.0.2.",
			"expired":                  "licensekeys\tThe licence key has expired",
			"usinglicense":             "licensekeys\tThe licence key is valid",
			"authfail":                 "admin\tUser \"admin\" ",
		}
		line := regexp.MustCompile(`^\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]\t(INFO|WARN|SERIOUS|FATAL)\t[^\t]+\t[a-z0-9]+\t.*[^\t]$`)
		found := map[string]bool{}
		for _, e := range f.Member("vtm-1").EventLog() {
			if !line.MatchString(e.String()) {
				t.Errorf("a line has another form: %q", e)
			}
			section, text, _ := strings.Cut(want[e.Tag], "\t")
			if want[e.Tag] != "" && e.Section == section && strings.HasPrefix(e.Text, text) {
				found[e.Tag] = true
			}
		}
		for _, tag := range slices.Sorted(maps.Keys(want)) {
			if !found[tag] {
				t.Errorf("no line %s %q", tag, want[tag])
			}
		}
		// The machine that was away tells of itself.
		tags := f.eventTags("vtm-2")
		for _, tag := range []string{"pingfrontendfail", "dropipwarn", "machinerecovered", "activatedautomatically"} {
			if !slices.Contains(tags, tag) {
				t.Errorf("vtm-2 does not tell %s", tag)
			}
		}
		for path, least := range map[string]float64{
			"events/shop": 1, "events/rule%20warnings": 1, "events/All%20Custom%20TrafficScript%20Events": 1,
			"events/Service%20Failed": 3, "events/Service%20Recovered": 3, "events/Infrastructure%20Problem": 4, "events/SSL%20Certificate%20Expiry": 1,
		} {
			if got, _ := c.counter(path, "matched").(float64); got < least || least == 1 && got > 2 {
				t.Errorf("%s matched %v, want %v or more", path, got, least)
			}
		}
	})
}
