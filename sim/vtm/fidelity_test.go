package vtm

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/network"
)

const fidelityPage = "../../docs/vtm-fidelity.md"

// feature is something that a traffic manager does, and the keys that say how. It
// is told by them: in full if all take effect, stored only if none does.
type feature struct {
	name string
	keys string // "TYPE SECTION/KEY", a path.Match pattern each; of a file "TYPE content"
	// says is what the keys do not tell.
	says string
}

var features = []feature{
	{"Virtual servers: port, protocol, default pool, listening", "virtual_servers basic/enabled,virtual_servers basic/port,virtual_servers basic/protocol,virtual_servers basic/pool,virtual_servers basic/listen_on_*", ""},
	{"TrafficScript request and response rules", "rules content,virtual_servers basic/request_rules,virtual_servers basic/response_rules", "functions: [trafficscript-functions.md](trafficscript-functions.md)"},
	{"TrafficScript completion rules", "virtual_servers basic/completion_rules", ""},
	{"Limits of rules", "global_settings trafficscript/max_instr,global_settings trafficscript/memory_warning,global_settings trafficscript/execution_time_warning", ""},
	{"Time-outs and buffers of client connections", "virtual_servers connection/*,virtual_servers basic/connect_timeout", ""},
	{"HTTP headers that are added and rewritten", "virtual_servers http/add_*,virtual_servers http/strip_*,virtual_servers http/location_*,virtual_servers http/mime_*", ""},
	{"HTTP/2", "virtual_servers http2/*", ""},
	{"TLS towards clients: certificates and SNI", "virtual_servers basic/ssl_decrypt,virtual_servers ssl/server_cert_*,ssl/server_keys basic/public,ssl/server_keys basic/private", ""},
	{"TLS towards clients: versions and ciphers", "virtual_servers ssl/support_*,virtual_servers ssl/cipher_suites,virtual_servers ssl/elliptic_curves,virtual_servers ssl/signature_algorithms", ""},
	{"Client certificates", "virtual_servers ssl/request_client_cert,virtual_servers ssl/client_cert_*,ssl/cas content", ""},
	{"OCSP", "virtual_servers ssl/ocsp_*", ""},
	{"TLS session tickets", "ssl/ticket_keys basic/*,virtual_servers ssl/session_*", ""},
	{"Compression", "virtual_servers gzip/*", ""},
	{"Web cache", "virtual_servers web_cache/*", ""},
	{"Cookies rewritten", "virtual_servers cookie/*", ""},
	{"Request logging", "virtual_servers log/*", ""},
	{"Error pages", "virtual_servers connection_errors/error_file,extra_files content", ""},
	{"UDP", "virtual_servers udp/end_point_persistence,virtual_servers udp/response_datagrams_expected,virtual_servers udp/timeout,pools udp/*", ""},
	{"PROXY protocol", "virtual_servers basic/proxy_protocol", ""},
	{"Load balancing", "pools load_balancing/algorithm,pools basic/nodes_table.node,pools basic/nodes_table.state,pools basic/nodes_table.weight", ""},
	{"Priority groups", "pools load_balancing/priority_*,pools basic/nodes_table.priority", ""},
	{"Passive monitoring and retries", "pools basic/passive_monitoring,pools basic/*_connection_attempts,pools basic/node_connection_attempts,pools node/*", ""},
	{"Failure pools", "pools basic/failure_pool", ""},
	{"Draining and deletion of nodes", "pools basic/node_delete_behavior,pools basic/node_drain_to_delete_timeout", ""},
	{"Limits and queues of pools", "pools connection/max_connections_per_node,pools connection/max_queue_size,pools connection/queue_timeout", ""},
	{"TLS towards nodes", "pools ssl/*,ssl/client_keys basic/public,ssl/client_keys basic/private", ""},
	{"Transparent to nodes", "pools basic/transparent,virtual_servers basic/transparent", ""},
	{"Autoscaling", "pools auto_scaling/*", ""},
	{"Discovery of nodes by DNS", "pools dns_autoscale/*", ""},
	{"Service discovery plugins", "pools service_discovery/*,servicediscovery content", ""},
	{"Session persistence", "pools basic/persistence_class,persistence basic/type,persistence basic/cookie,persistence basic/failure_mode,persistence basic/url", ""},
	{"Sessions shared by the members of a cluster", "global_settings cluster_comms/state_sync_*", "passed inside the process; an interval of 0 shares none; state_sync_timeout does nothing, since nothing is waited for"},
	{"Health monitors", "monitors basic/type,monitors basic/delay,monitors basic/timeout,monitors basic/failures,monitors basic/scope,monitors basic/machine,monitors basic/use_ssl,monitors basic/back_off", ""},
	{"HTTP monitors", "monitors http/*", ""},
	{"TCP transaction monitors", "monitors tcp/*", ""},
	{"Program monitors", "monitors script/*,monitor_scripts content", ""},
	{"RTSP, SIP and UDP monitors", "monitors rtsp/*,monitors sip/*,monitors udp/*", ""},
	{"Traffic IP Groups", "traffic_ip_groups basic/enabled,traffic_ip_groups basic/ipaddresses,traffic_ip_groups basic/machines,traffic_ip_groups basic/slaves,traffic_ip_groups basic/mode,traffic_ip_groups basic/ip_assignment_mode,traffic_ip_groups basic/keeptogether", ""},
	{"Route health injection", "traffic_ip_groups basic/rhi_*,bgpneighbors basic/*", "working active machines go before passive ones; no routing protocol is spoken"},
	{"Fault tolerance", "global_settings fault_tolerance/monitor_interval,global_settings fault_tolerance/monitor_timeout,global_settings fault_tolerance/auto_failback,global_settings fault_tolerance/autofailback_delay", "heartbeats are passed inside the process"},
	{"Replication of the configuration", "global_settings rest_api/replicate_*,traffic_managers cluster_comms/allow_update", ""},
	{"REST: limits and logins", "global_settings rest_api/auth_timeout,global_settings rest_api/http_max_*,global_settings rest_api/http_keep_alive_timeout,global_settings security/login_delay,global_settings security/max_login_attempts,global_settings security/max_login_suspension_time,global_settings security/track_unknown_users,security basic/access", ""},
	{"User groups' permissions", "user_groups basic/permissions.*", "REST and admin pages: by the page of each type, see [emulated-vtm.md](emulated-vtm.md)"},
	{"Admin pages: sessions", "user_groups basic/timeout", "taken for minutes"},
	{"Where the REST API listens", "traffic_managers rest_api/port,traffic_managers rest_api/bind_ips", "port 9070 stands for the program's flags"},
	{"External authentication of users", "user_authenticators basic/*,user_authenticators ldap/*,user_authenticators radius/*,user_authenticators tacacs_plus/*", ""},
	{"Password rules", "global_settings security/password_*", "users cannot be changed over REST on a real traffic manager either"},
	{"Event types and actions", "event_types *,actions basic/type", "log and, where allowed, program; others are stored only"},
	{"Action programs", "action_programs content,actions program/*", "only where the program is started so"},
	{"Bandwidth classes", "bandwidth basic/maximum,bandwidth basic/sharing", ""},
	{"Request rates", "rate basic/*", ""},
	{"Service protection", "protection *", ""},
	{"Service level monitoring", "service_level_monitors basic/*", ""},
	{"Global load balancing", "glb_services basic/*", ""},
	{"Locations", "locations basic/*", ""},
	{"DNS server", "dns_server/zones basic/*,dns_server/zone_files content", ""},
	{"Aptimizer", "aptimizer/profiles basic/*,aptimizer/scopes basic/*", ""},
	{"Kerberos", "kerberos/principals basic/*,kerberos/keytabs content,kerberos/krb5confs content", ""},
	{"SAML", "saml/trustedidps basic/*,virtual_servers auth/*", ""},
	{"Authenticators of rules", "rule_authenticators *", ""},
	{"Log export", "log_export basic/*", ""},
	{"Licence keys", "license_keys content", "an expired licence is a fault that can be set"},
	{"NAT", "appliance/nat basic/*", ""},
	{"Settings of the appliance", "traffic_managers appliance/*", ""},
	{"SNMP", "traffic_managers snmp/*", ""},
}

// byHand are keys whose readers the run below does not reach: it starts no
// programs. Tests of their own show what they do.
var byHand = []string{
	"action_programs content", "actions basic/timeout", "actions basic/verbose", "actions program/program",
	"actions program/arguments.name", "actions program/arguments.value",
}

// fidelity is what was found out by running a cluster.
type fidelity struct {
	schema *schema
	effect map[string]struct{} // "TYPE SECTION/KEY[.COLUMN]"; "TYPE content"
	// refused are values of enumerations that the emulator says it does not carry
	// out: "TYPE SECTION/KEY" -> values.
	refused map[string][]string
}

// tryEverything runs a cluster, gives it every value that the schema has, and
// gathers what was read by whoever carries things out.
func tryEverything(t *testing.T) *fidelity {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	log := &reads{keys: make(map[string]struct{})}
	for _, kind := range sch.types {
		kind.reads = log
	}
	for _, key := range byHand {
		log.keys[key] = struct{}{}
	}
	f := &fidelity{schema: sch, effect: log.keys, refused: make(map[string][]string)}
	data := t.TempDir() // actions that log need a place
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: 1})
		cluster, err := startCluster(ClusterOptions{
			Options: Options{
				World: n.World(), Log: slog.New(slog.DiscardHandler), PlainHTTP: true, ReplicateAtOnce: true, PerClientTransports: true,
				Users: map[string]string{"admin": "secret", "guest": "guest"}, Groups: map[string]string{"guest": "Guest"},
				AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
			},
			Members: 2, Base: netip.MustParseAddr("127.1.0.0"), NoControl: true, Data: data,
		}, sch)
		if err != nil {
			t.Fatal(err)
		}
		tm := cluster.Member("vtm-1")
		send := func(method, target, body string) int {
			r := httptest.NewRequest(method, "/api/tm/8.3/config/active/"+target, strings.NewReader(body))
			a, refused := tm.route(&request{Request: r, of: tm, user: "admin", expert: everything})
			if refused != nil {
				if refused.status != http.StatusNotFound {
					t.Logf("%s %s: %.500s", method, target, refused.body())
				}
				return refused.status
			}
			return a.status
		}
		(&adminView{t: tm}).SessionTimeout("guest")
		tm.admits(netip.MustParseAddr("192.0.2.1"))
		tm.logIn(t.Context(), "guest", "wrong", netip.Addr{})
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/api/tm/8.3/config/active/pools", nil)
		r.SetBasicAuth("guest", "guest")
		tm.serve(w, r)
		for _, address := range []string{tm.RESTAddress()} { // a connection that becomes idle
			c := n.World().HTTPClient("admin", nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/", nil)
			if resp, err := c.Do(req); err == nil {
				_ = resp.Body.Close()
			}
			cancel()
			c.CloseIdleConnections()
		}
		if status := send("PUT", "pools/sample", "{}"); status != 201 {
			t.Fatalf("a pool: %d", status)
		}
		send("PUT", "event_types/All%20Events", `{"properties":{"basic":{"actions":["sample"]}}}`)
		for _, at := range slices.Sorted(maps.Keys(sch.types)) {
			f.tryType(t, tm, sch.types[at], send)
		}
		time.Sleep(time.Minute)
		for _, name := range cluster.Names() {
			for _, text := range []string{"stop member=" + name, ""} {
				rules, err := ParseFaults(text)
				if err == nil {
					err = cluster.SetFaults(rules)
				}
				if err != nil {
					t.Error(err)
				}
				time.Sleep(30 * time.Second)
			}
		}
		cluster.Close()
		n.Close()
		time.Sleep(2 * time.Minute)
	})
	return f
}

// tryType puts a resource of a type with defaults, with all keys set, and with
// each value of each enumeration.
func (f *fidelity) tryType(t *testing.T, tm *TrafficManager, kind *resourceType, send func(method, target, body string) int) {
	name := "sample"
	target := kind.path + "/" + name
	switch {
	case kind.class == singleton:
		target = kind.path
	case kind.path == "traffic_managers":
		target = kind.path + "/vtm-1"
	case kind.class == files:
		if status := send("PUT", target, "# a file"); status != 201 {
			t.Errorf("%s: %d", target, status)
		}
		var u dataplane.Update
		if put(&u, kind.path, name, &resource{kind: kind, name: name}) {
			kind.note("content")
		}
		return
	}
	set := func(what string, values map[*property]any) {
		body := make(map[string]map[string]json.RawMessage)
		for p, v := range values {
			if body[p.section] == nil {
				body[p.section] = make(map[string]json.RawMessage)
			}
			if p.secret {
				v = "sample"
				body[p.section][p.name] = json.RawMessage(`"sample"`)
				continue
			}
			body[p.section][p.name] = p.appendJSON(nil, v)
		}
		b, err := json.Marshal(map[string]any{"properties": body})
		if err != nil {
			t.Fatal(err)
		}
		if status := send("PUT", target, string(b)); status >= 300 {
			t.Errorf("%s, %s: %d", target, what, status)
		}
	}
	minimal, full := make(map[*property]any), make(map[*property]any)
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			full[p], minimal[p] = p.trial(), p.fallback
			if p.required {
				minimal[p] = full[p]
			}
		}
	}
	if kind.path == "virtual_servers" { // it must run
		minimal[kind.property("basic", "enabled")] = true
	}
	set("minimal", minimal)
	if kind.path == "persistence" || kind.path == "monitors" { // they must be used
		send("PUT", "pools/sample", `{"properties":{"basic":{"monitors":["sample"],"persistence_class":"sample"}}}`)
		send("PUT", "virtual_servers/user", `{"properties":{"basic":{"enabled":true,"port":4711,"pool":"sample"}}}`)
	}
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			for _, value := range p.enum {
				for i, base := range []map[*property]any{full, minimal} {
					values := maps.Clone(base)
					values[p] = value
					set(fmt.Sprintf("%s/%s %s", p.section, p.name, value), values)
					if i == 1 && tm.saysNotEmulated() {
						key := kind.path + " " + p.section + "/" + p.name
						f.refused[key] = append(f.refused[key], value)
					}
				}
			}
		}
	}
	set("full", full)
	// Nothing of it is left for the types that follow.
	if kind.class == collection && kind.path != "traffic_managers" && kind.path != "pools" {
		if status := send("DELETE", target, ""); status != 204 {
			t.Errorf("%s: deleted with %d", target, status)
		}
	} else {
		set("defaults again", minimal)
	}
}

// saysNotEmulated tells whether the state names something that is stored and not
// carried out.
func (t *TrafficManager) saysNotEmulated() bool {
	b, _ := json.Marshal(t.state())
	return strings.Contains(string(b), "is not emulated")
}

// trial is a value of a key that is not the default.
func (p *property) trial() any {
	switch p.kind {
	case boolKind:
		return p.fallback != true
	case intKind:
		n := int64(1)
		if strings.HasPrefix(p.name, "http_max_") {
			return int64(1 << 20) // the run itself needs some room
		}
		if p.max != nil {
			n = *p.max
			if p.min != nil {
				n = min(n, max(*p.min+1, 9999))
			}
		} else if p.min != nil {
			n = *p.min + 1
		}
		return n
	case floatKind:
		return 1.5
	case stringKind:
		if len(p.enum) > 0 {
			return p.enum[len(p.enum)-1]
		}
		for _, s := range []string{"sample", "192.0.2.1", "192.0.2.1:80"} {
			if p.checkString(s) == nil {
				return s
			}
		}
	case listKind, setKind:
		switch {
		case p.name == "ipaddresses":
			return []string{"192.0.2.1"}
		case p.name == "machines":
			return []string{"vtm-1", "vtm-2"}
		}
		return []string{"sample"}
	}
	r := make(row, len(p.columns))
	for i, c := range p.columns {
		r[i] = c.trial()
	}
	return []row{r}
}

// match lists the keys that a pattern of features means.
func (f *fidelity) match(pattern string) (keys []string) {
	at, key, _ := strings.Cut(pattern, " ")
	for _, k := range f.keys(f.schema.types[at]) {
		ok, _ := path.Match(key, k)
		ok = ok || key == "*"
		if ok {
			keys = append(keys, at+" "+k)
		}
	}
	return keys
}

// keys are all of a type that can take effect: notes are for people.
func (f *fidelity) keys(kind *resourceType) (keys []string) {
	if kind.class == files {
		return []string{"content"}
	}
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			if p.kind == tableKind {
				for _, c := range p.columns {
					keys = append(keys, sec.name+"/"+p.name+"."+c.name)
				}
			} else if p.name != "note" && p.name != "description" {
				keys = append(keys, sec.name+"/"+p.name)
			}
		}
	}
	return keys
}

func verdict(have, all int) string {
	switch have {
	case all:
		return "emulated"
	case 0:
		return "stored only"
	}
	return fmt.Sprintf("in part (%d of %d keys)", have, all)
}

func (f *fidelity) page(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# What the emulated traffic manager carries out

<!-- Made by running it: ` + "`make docs`" + `. -->

Everything that the REST API 8.3 knows is stored, checked and served back. This page
says what of it has an effect. It is made by giving a cluster every key and every value
and noting which keys are read by whoever carries them out; a test compares. A key that
nobody reads is *stored only*. Nothing is refused that a real one accepts, unless the
emulator is started strict (docs/emulated-vtm.md). Notes and descriptions, which are for people, are
not counted. In part means: of the keys, those below.

## Features

| feature | verdict | |
| --- | --- | --- |
`)
	for _, feat := range features {
		have, all := 0, 0
		for pattern := range strings.SplitSeq(feat.keys, ",") {
			keys := f.match(pattern)
			if len(keys) == 0 {
				t.Errorf("feature %q: the schema has nothing like %q", feat.name, pattern)
			}
			for _, k := range keys {
				all++
				if _, ok := f.effect[k]; ok {
					have++
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", feat.name, verdict(have, all), feat.says)
	}
	b.WriteString("\n## Values that are stored only\n\nOf keys that have an effect. The emulator's state names each use.\n\n| key | values |\n| --- | --- |\n")
	for _, key := range slices.Sorted(maps.Keys(f.refused)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", key, strings.Join(f.refused[key], ", "))
	}
	types := slices.Sorted(maps.Keys(f.schema.types))
	fmt.Fprintf(&b, "\n## The %d resource types\n\n| type | verdict |\n| --- | --- |\n", len(types))
	for _, at := range types {
		have, keys := f.inEffect(at)
		fmt.Fprintf(&b, "| `%s` | %s |\n", at, verdict(len(have), len(keys)))
	}
	b.WriteString("\n## Counters\n\nOf `status/NAME/statistics`: those that count; the others are always 0.\n\n")
	counted := CountedStatistics()
	for _, at := range slices.Sorted(maps.Keys(counted)) {
		fields := f.schema.status["statistics/"+at]
		words := "none"
		if n := len(counted[at]); n > 0 {
			words = fmt.Sprintf("%d of %d: %s", n, len(fields), code(counted[at]))
		}
		fmt.Fprintf(&b, "- `%s`: %s\n", at, words)
	}
	b.WriteString("\n## Keys\n")
	for _, at := range types {
		have, keys := f.inEffect(at)
		if f.schema.types[at].class == files || len(have) == 0 {
			continue
		}
		var stored []string
		for _, k := range keys {
			if !slices.Contains(have, k) {
				stored = append(stored, k)
			}
		}
		fmt.Fprintf(&b, "\n### %s\n\nIn effect: %s.\n", at, code(have))
		if len(stored) > 0 {
			fmt.Fprintf(&b, "\nStored only: %s.\n", code(stored))
		}
	}
	return b.String()
}

func (f *fidelity) inEffect(at string) (have, keys []string) {
	keys = f.keys(f.schema.types[at])
	for _, k := range keys {
		if _, ok := f.effect[at+" "+k]; ok {
			have = append(have, k)
		}
	}
	return have, keys
}

func code(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

// TestTheFidelityPageTellsWhatHasAnEffect compares docs/vtm-fidelity.md with what
// a run of the emulator makes of it; `make docs` writes it.
func TestTheFidelityPageTellsWhatHasAnEffect(t *testing.T) {
	f := tryEverything(t)
	want := f.page(t)
	if flag.Lookup("update").Value.String() == "true" { // of golden_test.go
		if err := os.WriteFile(fidelityPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(fidelityPage)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(want, "\n")); d != "" {
		t.Errorf("docs/vtm-fidelity.md is stale: `make docs` writes it (-there +should be):\n%s", d)
	}
}
