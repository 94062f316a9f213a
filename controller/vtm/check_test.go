package vtm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"vtm-ingress/controller/vtm"
)

func TestWhatTheTrafficManagerWouldRefuseIsTold(t *testing.T) {
	for _, test := range []struct {
		t            vtm.Type
		section, key string
		value        string // JSON
		want         string // "": accepted
	}{
		{vtm.Monitors, "basic", "delay", `5`, ""},
		{vtm.Monitors, "basic", "delay", `0`, "at least 1"},
		{vtm.Monitors, "basic", "delay", `1000000`, "at most 999990"},
		{vtm.Monitors, "basic", "delay", `"5"`, "no whole number"},
		{vtm.Monitors, "basic", "delay", `5.5`, "no whole number"},
		{vtm.Monitors, "basic", "delay", `1e300`, "no whole number"},
		{vtm.Monitors, "basic", "use_ssl", `"true"`, "neither true nor false"},
		{vtm.Monitors, "basic", "use_ssl", `null`, "neither true nor false"},
		{vtm.Monitors, "basic", "type", `"http"`, ""},
		{vtm.Monitors, "basic", "type", `"https"`, "not one of connect, http"},
		{vtm.Monitors, "basic", "factory", `true`, "unknown"},
		{vtm.Monitors, "http", "path", `"/\n"`, "control character"},
		{vtm.Monitors, "http", "path", `7`, "no text"},
		{vtm.Monitors, "nothing", "path", `7`, "unknown"},
		{vtm.Monitors, "script", "arguments", `[{"name":"a","value":"b"}]`, ""},
		{vtm.Monitors, "script", "arguments", `[{"name":"a"}]`, "without value"},
		{vtm.Monitors, "script", "arguments", `[{"name":"a","value":"b","c":1}]`, "unknown"},
		{vtm.Monitors, "script", "arguments", `{"name":"a"}`, "no table"},
		{vtm.Pools, "basic", "monitors", `["Ping"]`, ""},
		{vtm.Pools, "basic", "monitors", `"Ping"`, "no list"},
		{vtm.VirtualServers, "basic", "request_rules", `["a",1]`, "number 2"},
	} {
		var value any
		if err := json.Unmarshal([]byte(test.value), &value); err != nil {
			t.Fatal(err)
		}
		r := vtm.New(test.t, "x", vtm.Properties{test.section: {test.key: value}})
		err := vtm.Check(test.t, test.section, test.key, r.Get(test.section, test.key))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s/%s = %s: %v, want %q", test.t, test.section, test.key, test.value, err, test.want)
		}
	}
}
