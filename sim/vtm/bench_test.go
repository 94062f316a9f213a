package vtm_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/vtm"
)

// BenchmarkREST measures requests over one kept-alive connection, with
// 20,000 resources present, 5,000 of them pools.
func BenchmarkREST(b *testing.B) {
	tm, err := vtm.Start(vtm.Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "127.0.0.1", RESTPort: vtm.AnyPort,
		Users: map[string]string{"admin": "secret"}, Strict: true, PlainHTTP: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer tm.Close()
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	do := func(method, path, body string) {
		req, _ := http.NewRequest(method, "http://"+tm.RESTAddress()+"/api/tm/8.3/config/active/"+path, strings.NewReader(body))
		req.SetBasicAuth("admin", "secret")
		resp, err := c.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			b.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
		}
	}
	pool := func(n int) string {
		return fmt.Sprintf(`{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.1:%d"},{"node":"127.2.0.2:80"}],"monitors":["Connect"],"note":"mark"}}}`, n%60000+1)
	}
	for i := range 5000 {
		do("PUT", fmt.Sprintf("pools/p%d", i), pool(i))
		do("PUT", fmt.Sprintf("rules/r%d", i), fmt.Sprintf(`if( http.getPath() == "/a" ) { pool.use( "p%d" ); }`, i))
		do("PUT", fmt.Sprintf("traffic_ip_groups/t%d", i), `{"properties":{"basic":{"machines":["vtm-1"]}}}`)
		do("PUT", fmt.Sprintf("virtual_servers/v%d", i), fmt.Sprintf(`{"properties":{"basic":{"port":80,"pool":"p%d","request_rules":["r%d"]}}}`, i, i))
	}
	b.Run("PutPool", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			do("PUT", "pools/p77", pool(i))
		}
	})
	b.Run("GetPool", func(b *testing.B) {
		for b.Loop() {
			do("GET", "pools/p77", "")
		}
	})
	b.Run("GetVirtualServer", func(b *testing.B) {
		for b.Loop() {
			do("GET", "virtual_servers/v77", "")
		}
	})
	b.Run("List5000", func(b *testing.B) {
		for b.Loop() {
			do("GET", "pools", "")
		}
	})
}

// BenchmarkReplicatedPUT changes one pool among 20,000 resources of three
// members, which all have the change when it is answered.
func BenchmarkReplicatedPUT(b *testing.B) {
	cluster, err := vtm.StartCluster(realCluster("", 3))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	url := "http://" + cluster.Info()[0].REST + "/api/tm/8.3/config/active/pools/"
	put := func(name, body string) {
		req, _ := http.NewRequest("PUT", url+name, strings.NewReader(body))
		req.SetBasicAuth("admin", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	for i := range 20_000 {
		put(fmt.Sprint("pool-", i), `{"properties":{"basic":{"nodes_table":[{"node":"127.2.0.1:30000"}]}}}`)
	}
	n := 0
	for b.Loop() {
		n++
		put("pool-10000", fmt.Sprintf(`{"properties":{"basic":{"note":"%d"}}}`, n))
	}
}

// BenchmarkChangeOfALibrary changes one of 128 rule libraries of a virtual server with
// 5,000 pools, on three strict members, which all have the change when it is answered.
func BenchmarkChangeOfALibrary(b *testing.B) {
	const libraries, hosts = 128, 40
	o := realCluster("", 3)
	o.Strict = true
	cluster, err := vtm.StartCluster(o)
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	url := "http://" + cluster.Info()[0].REST + "/api/tm/8.3/config/active/"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	put := func(path, kind, body string) {
		req, _ := http.NewRequest("PUT", url+path, strings.NewReader(body))
		req.SetBasicAuth("admin", "secret")
		req.Header.Set("Content-Type", kind)
		resp, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		answer, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			b.Errorf("PUT %s: %d %s", path, resp.StatusCode, answer)
		}
	}
	// library names its first host anew with each change, and with it a pool.
	library := func(i, change int) string {
		var text strings.Builder
		text.WriteString("sub find( $name, $path, $go ) {\n")
		for k := range hosts {
			pool := i*hosts + k
			if k == 0 {
				pool += change / libraries % 2
			}
			fmt.Fprintf(&text, "    if( $name == \"host-%d-%d-%d.example\" ) {\n        # Ingress number %d of them\n", i, k, change*(1-min(k, 1)), k)
			fmt.Fprintf(&text, "        $rank = \"80000000%08d!namespace!ingress-%d\";\n", k, k)
			fmt.Fprintf(&text, "        if( string.startsWith( $path, \"/shop/\" ) ) { if( $go ) pool.use( \"pool-%d\" ); return $rank; }\n    }\n", pool)
		}
		text.WriteString("    return \"\";\n}\n")
		return text.String()
	}
	for i := range libraries*hosts + 1 {
		put(fmt.Sprint("pools/pool-", i), "application/json", `{"properties":{"basic":{"monitors":[]}}}`)
	}
	var imports, search strings.Builder
	for i := range libraries {
		put(fmt.Sprint("rules/lib-", i), "text/plain", library(i, 0))
		fmt.Fprintf(&imports, "import \"lib-%d\" as lib%d;\n", i, i)
		fmt.Fprintf(&search, "    if( $key == %d ) return lib%d.find( $name, $path, $go );\n", i, i)
	}
	put("rules/main", "text/plain", imports.String()+"sub find( $name, $key, $path, $go ) {\n"+search.String()+"}\n"+
		"$host = http.getHostHeader();\nif( find( $host, string.len( $host ), http.getPath(), 0 ) != \"\" ) find( $host, string.len( $host ), http.getPath(), 1 );\n")
	put("virtual_servers/web", "application/json", `{"properties":{"basic":{"enabled":false,"port":80,"pool":"discard","request_rules":["main"]}}}`)
	put("virtual_servers/web", "application/json", `{"properties":{"basic":{"enabled":true}}}`)
	n := 0 // of all runs: no text comes twice
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			b.ReportAllocs()
			changes := make(chan int)
			var writing sync.WaitGroup
			for range clients {
				writing.Go(func() {
					for i := range changes {
						put(fmt.Sprint("rules/lib-", i%libraries), "text/plain", library(i%libraries, i))
					}
				})
			}
			for b.Loop() {
				n++
				changes <- n
			}
			close(changes)
			writing.Wait()
		})
	}
}
