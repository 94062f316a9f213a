package trafficscript_test

import (
	"net/netip"
	"strings"
	"testing"

	ts "vtm-ingress/sim/trafficscript"
)

// files is what ReadTables is given.
func files(all map[string]string) func(string) (ts.File, bool) {
	return func(name string) (ts.File, bool) {
		content, ok := all[name]
		return ts.File{Content: content}, ok
	}
}

func TestTheTablesOfTheUserAnswerRules(t *testing.T) {
	tables, err := ts.ReadTables(files(map[string]string{
		ts.PlacesFile: "# network, code, country\n10.0.0.0/8,DE,Germany\n10.1.0.0/16,DE,Germany,BE,Berlin,\"Berlin, Mitte\",52.52,13.405\n2001:db8::/32,FR,France\n",
		ts.HostsFile:  "10.1.2.3 Web.example.com web # the shop\n2001:db8::1 web.example.com\n\n10.1.2.4 web.example.com\n",
		ts.UsersFile:  `{"ldap": {"ada": {"password": "secret", "attributes": {"group": "admin", "OK": "0"}}}}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	h := newHost()
	m := h.tx.Machine
	m.Place, m.Resolver, m.Authenticate = tables.Place, tables, tables.Authenticate
	result := compile(t, testLibrary+`
		eq(geo.getCity("10.1.2.3") . geo.getLatitude("10.1.2.3"), "Berlin, Mitte52.52");
		eq(geo.getCountryCode("10.2.0.1") . geo.getCity("10.2.0.1") . geo.getLatitude("10.2.0.1"), "DE");
		eq(geo.getCountry("2001:db8::5") . geo.getCountry("11.0.0.1"), "France");
		eq(net.dns.resolveHost("WEB.example.com.") . net.dns.resolveHost6("web.example.com") . net.dns.resolveHost("none"), "10.1.2.32001:db8::1");
		eq(net.dns.resolveIP("10.1.2.3") . net.dns.resolveIP("10.9.9.9"), "Web.example.com10.9.9.9");
		eq(auth.query("ldap", "ada", "secret"), ["Error" => "", "OK" => 1, "group" => "admin"]);
		$a = auth.query("ldap", "ada", "wrong"); eq($a["OK"] . $a["Error"], "0"); $a = auth.query("ldap", "bob"); eq($a["OK"], 0);
		$a = auth.query("other", "ada"); lang.assert(string.contains($a["Error"], "is not asked"), $a["Error"]);`).
		Run(t.Context(), h, ts.Limits{})
	if result.End != ts.Finished {
		t.Error(result.Err)
	}
}

func TestWrongTablesAreTold(t *testing.T) {
	for name, tests := range map[string]map[string]string{
		ts.PlacesFile: {"10.0.0.0/8,DE\nhere,DE\n": "line 2: 'here' is no network", "10.0.0.0/8,,,,,,91,0": "latitude", "10.0.0.0/8,,,,,,,,,x": "10 fields", "10.0.0.0/8,\"": "line 1"},
		ts.HostsFile:  {"10.0.0.1 a\n10.0.0.1": "line 2", "host 10.0.0.1": "line 1"},
		ts.UsersFile:  {"{\n": "line 2", `{"ldap": "secret"}`: "no JSON object of authenticators"},
	} {
		for content, want := range tests {
			tables, err := ts.ReadTables(files(map[string]string{name: content}))
			if err == nil || !strings.Contains(err.Error(), "extra file '"+name+"': ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s %q: %v", name, content, err)
			}
			if name == ts.PlacesFile && strings.HasPrefix(content, "10.0.0.0/8,DE") {
				if p, _ := tables.Place(netip.MustParseAddr("10.0.0.1")); p.CountryCode != "DE" {
					t.Errorf("the lines before are lost: %+v", p)
				}
			}
		}
	}
}
