package main

import (
	"encoding/json"
	"fmt"
	"sync"
)

// What is loaded: as a controller writes it for 1,000 Ingresses with addresses of
// their own, and more pools and rules than they use.
const (
	loaded        = 20_000
	loadedServers = 1000 // virtual servers that listen, their groups and keys
	loadedPools   = 5000
	loadedRules   = loaded - 3*loadedServers - loadedPools
)

// loadedResource is the i-th resource.
func loadedResource(i int) (path, body string) {
	for _, kind := range []struct {
		n  int
		of func(int) (string, string)
	}{
		{loadedPools, func(i int) (string, string) { return poolPath(i), poolBody(i, 0) }},
		{loadedRules, ruleResource},
		{loadedServers, groupResource},
		{loadedServers, keyResource},
		{loadedServers, serverResource},
	} {
		if i < kind.n {
			return kind.of(i)
		}
		i -= kind.n
	}
	panic("there are not that many resources")
}

func poolPath(i int) string { return fmt.Sprintf("pools/k8s_default_shop-%d_http", i) }

// poolBody differs with each change. Pools in use have no monitor: there are no
// nodes, and what is measured is not how fast connections to them are refused.
func poolBody(i, change int) string {
	monitors := `["Connect"]`
	if i < 2*loadedServers {
		monitors = "[]"
	}
	return fmt.Sprintf(`{"properties":{"basic":{"note":"vtm-ingress/1 id=k8s owner=Service/default/shop-%d","monitors":%s,"node_delete_behavior":"drain",`+
		`"nodes_table":[{"node":"10.9.0.1:%d"},{"node":"10.9.0.2:%d"},{"node":"10.9.0.3:%d","weight":%d}]}}}`, i, monitors, 30000+i%2000, 30000+i%2000, 30000+i%2000, 1+change%100)
}

func ruleResource(i int) (string, string) {
	return fmt.Sprintf("rules/k8s_default_shop-%d_route", i), fmt.Sprintf("# vtm-ingress/1 id=k8s owner=Ingress/default/shop-%d\n"+
		"$host = http.getHostHeader();\n$path = http.getPath();\n"+
		"if( string.icmp( $host, \"shop-%d.example\" ) == 0 && string.startsWith( $path, \"/api/\" ) ) {\n\tpool.use( \"k8s_default_shop-%d_http\" );\n}\n", i, i, i%loadedServers)
}

func groupResource(i int) (string, string) {
	return fmt.Sprintf("traffic_ip_groups/k8s_shop-%d", i),
		fmt.Sprintf(`{"properties":{"basic":{"ipaddresses":["10.40.%d.%d"],"machines":["vtm-1","vtm-2","vtm-3"]}}}`, i/250, 1+i%250)
}

func serverResource(i int) (string, string) {
	return fmt.Sprintf("virtual_servers/k8s_shop-%d_443", i),
		fmt.Sprintf(`{"properties":{"basic":{"enabled":true,"port":8443,"pool":"k8s_default_shop-%d_http","listen_on_any":false,"listen_on_traffic_ips":["k8s_shop-%d"],`+
			`"request_rules":["k8s_default_shop-%d_route"],"ssl_decrypt":true},"http":{"add_x_forwarded_for":true,"add_x_forwarded_proto":true},"ssl":{"server_cert_default":"k8s_shop-%d"}}}`, i+loadedServers, i, i, i)
}

// keyResource is the i-th server key; all are one pair, which is big enough.
func keyResource(i int) (string, string) {
	return fmt.Sprintf("ssl/server_keys/k8s_shop-%d", i), keyBody()
}

var keyBody = sync.OnceValue(func() string {
	certificate, private, err := selfSigned("shop.example")
	if err != nil {
		panic(err) // the generator of a running machine does not fail
	}
	body, err := json.Marshal(map[string]any{"properties": map[string]any{"basic": map[string]string{
		"public":  string(certificate),
		"private": string(private),
	}}})
	if err != nil {
		panic(err)
	}
	return string(body)
})
