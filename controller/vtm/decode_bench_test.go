package vtm

import (
	"encoding/json"
	"testing"
)

// BenchmarkDecode reads the answer to a virtual server's PUT, with all its keys.
func BenchmarkDecode(b *testing.B) {
	all := Properties{}
	for section, keys := range schema()[VirtualServers] {
		all[section] = map[string]any{}
		for name, key := range keys {
			all[section][name] = key.Default
		}
	}
	all["basic"]["port"], all["basic"]["pool"], all["basic"]["note"] = 80, "k8s_pool", "a note"
	all["basic"]["listen_on_traffic_ips"] = []string{"k8s_10.1.0.1"}
	all["ssl"]["server_cert_host_mapping"] = []any{map[string]any{"host": "a.example", "certificate": "k8s_a"}}
	body, err := json.Marshal(map[string]any{"properties": all})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(ID{VirtualServers, "k8s_a"}, body); err != nil {
			b.Fatal(err)
		}
	}
}
