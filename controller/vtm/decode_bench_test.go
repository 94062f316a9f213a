package vtm

import (
	"encoding/json"
	"strings"
	"testing"
)

// BenchmarkDecode reads the answer to a virtual server's PUT, with all its keys.
func BenchmarkDecode(b *testing.B) {
	all := Properties{}
	for section, of := range schema()[VirtualServers] {
		all[section] = map[string]any{}
		for name, key := range of {
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

func BenchmarkDecodeChildren(b *testing.B) {
	var children []map[string]string
	for i := range 2500 {
		name := "k8s_10.1." + string(rune('a'+i%26)) + strings.Repeat("1", i%9)
		children = append(children, map[string]string{"name": name, "href": "/api/tm/8.3/config/active/traffic_ip_groups/" + name})
	}
	body, err := json.Marshal(map[string]any{"children": children})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := decodeChildren(body, func([]byte) bool { return false }); err != nil {
			b.Fatal(err)
		}
	}
}
