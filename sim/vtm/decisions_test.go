package vtm_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"vtm-ingress/sim/vtm"
)

// The tests of this file show what docs/emulated-vtm.md decides where nothing
// public tells what a real traffic manager does, unless another file shows it.

func TestWhatCannotBeWrittenIsForbiddenAndOtherMethodsAreNotThere(t *testing.T) {
	_, c := start(t, nil)
	c.want(201, "PUT", "/config/active/pools/p", `{}`)
	for path, want := range map[string][3]int{ // PUT, DELETE, POST
		"":                                    {403, 403, 405},
		"/config/active":                      {403, 403, 405},
		"/config/active/pools":                {403, 403, 405},
		"/config/active/ssl":                  {403, 403, 405},
		"/config/active/puddles":              {403, 404, 404},
		"/config/active/ssl/puddles":          {403, 404, 404},
		"/config/active/pools/p":              {200, 204, 405},
		"/config/active/pools/p/q":            {404, 404, 404},
		"/config/active/global_settings":      {200, 403, 405},
		"/config/active/appliance/nat":        {200, 403, 405},
		"/config/active/monitors/Ping":        {200, 403, 405},
		"/config/active/user_groups/Admin":    {200, 403, 405},
		"/status/local_tm/state":              {403, 403, 405},
		"/status/local_tm/information":        {403, 403, 405},
		"/status/local_tm/statistics/globals": {403, 403, 405},
		"/status/local_tm/statistics/pools":   {403, 403, 405},
	} {
		for i, method := range []string{"PUT", "DELETE", "POST"} {
			r := c.do(method, path, `{}`)
			if r.status != want[i] {
				t.Errorf("%s %s: %d %s, want %d", method, path, r.status, r.body, want[i])
			}
			if r.status == 405 && (r.header.Get("Allow") == "" || r.json(t)["error_id"] != "resource.method_not_allowed") {
				t.Errorf("%s %s: %v %s", method, path, r.header, r.body)
			}
		}
		c.do("PUT", "/config/active/pools/p", `{}`)
		for _, method := range []string{"OPTIONS", "PATCH", "TRACE", "BREW"} {
			if r := c.do(method, "/config/active/pools/p", nil); r.status != 405 || r.header.Get("Allow") != "GET, HEAD, PUT, DELETE" {
				t.Errorf("%s: %d %v", method, r.status, r.header)
			}
		}
	}
}

func TestAnswersHaveNoValidatorsLocationOrRedirect(t *testing.T) {
	_, c := start(t, nil)
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, r := range []reply{
		c.want(201, "PUT", "/config/active/pools/p/", `{}`), c.want(200, "PUT", "/config/active/pools/p", `{}`), c.want(200, "GET", "/config/active/pools/p/", nil),
		c.want(200, "GET", "/config/active/pools", nil), c.want(200, "GET", "/config/active/pools/", nil),
	} {
		for _, name := range []string{"ETag", "Last-Modified", "Location", "Server"} {
			if v := r.header.Get(name); v != "" {
				t.Errorf("%s: %s", name, v)
			}
		}
	}
	// Conditions are not looked at.
	req, _ := http.NewRequest("PUT", c.base+"/config/active/pools/p", strings.NewReader(`{"properties":{"basic":{"note":"x"}}}`))
	req.SetBasicAuth("admin", "secret")
	req.Header.Set("If-Match", `"nothing"`)
	req.Header.Set("If-None-Match", `*`)
	if r := c.send(req); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestEveryVersionThatIsListedAnswersAndNoOther(t *testing.T) {
	_, c := start(t, nil)
	root := strings.TrimSuffix(c.base, "8.3")
	c.base = root
	listed := []string{}
	for _, child := range c.want(200, "GET", "", nil).json(t)["children"].([]any) {
		listed = append(listed, child.(map[string]any)["name"].(string))
	}
	if got := strings.Join(listed, " "); got != "5.2 6.0 6.1 6.2 7.0 7.1 8.0 8.1 8.2 8.3" {
		t.Errorf("versions %s", got)
	}
	for i, v := range listed {
		c.want(201, "PUT", fmt.Sprintf("%s/config/active/pools/p%d", v, i), `{}`)
		c.want(200, "GET", fmt.Sprintf("8.3/config/active/pools/p%d", i), nil)
		c.want(200, "GET", v+"/status/local_tm/information", nil)
	}
	for _, v := range []string{"4.0", "9.9", "8", "8.30", "8.3%20", "latest", "config"} {
		if r := c.want(404, "GET", v+"/config/active", nil); r.json(t)["error_id"] != "resource.not_found" {
			t.Errorf("%s: %s", v, r.body)
		}
	}
}

func TestExpertKeysShowAndTakeTheKeysThatAreNamed(t *testing.T) {
	_, c := start(t, nil)
	const path = "/config/active/monitors/Ping"
	has := func(query, key string) bool {
		return strings.Contains(string(c.want(200, "GET", path+query, nil).body), `"`+key+`"`)
	}
	for query, want := range map[string][2]bool{ // factory, can_use_ssl
		"": {false, false}, "?expert_keys=": {false, false}, "?expert_keys=factory": {true, false}, "?expert_keys=basic/factory,can_use_ssl": {true, true},
		"?expert_keys=*": {false, false}, "?expert_keys=no_such_key,,/": {false, false}, "?expert_keys=delay": {false, false}, "?expert_keys=FACTORY": {false, false},
	} {
		if got := [2]bool{has(query, "factory"), has(query, "can_use_ssl")}; got != want {
			t.Errorf("%q shows %v, want %v", query, got, want)
		}
	}
	body := `{"properties":{"basic":{"can_use_ssl":true}}}`
	c.want(400, "PUT", path, body)
	c.want(400, "PUT", path+"?expert_keys=factory", body)
	if r := c.want(200, "PUT", path+"?expert_keys=can_use_ssl", body); !strings.Contains(string(r.body), `"can_use_ssl":true`) {
		t.Errorf("%s", r.body)
	}
	if has("", "can_use_ssl") || !strings.Contains(string(c.want(200, "GET", path+"?expert_keys=can_use_ssl", nil).body), `"can_use_ssl":true`) {
		t.Error("what was set is not kept, or is shown to who did not ask")
	}
}

func TestValuesOfDoubtAreDecided(t *testing.T) {
	_, c := start(t, nil)
	const pool = "/config/active/pools/p"
	for body, want := range map[string]string{
		`{"properties":{"basic":{"note":null}}}`:                                                   "json.wrong_type",
		`{"properties":{"basic":{"max_connection_attempts":"5"}}}`:                                 "json.wrong_type",
		`{"properties":{"basic":{"max_connection_attempts":5.0}}}`:                                 "json.wrong_type",
		`{"properties":{"basic":{"nodes_table":[{"node":"10.0.0.1:80"},{"node":"10.0.0.1:80"}]}}}`: "json.invalid_table",
		`{"properties":{"basic":{"nodes_table":[{"node":"10.0.0.1"}]}}}`:                           "property.invalid_value",
		`{"properties":null}`:         "json.wrong_type",
		`null`:                        "json.parse_error",
		``:                            "json.parse_error",
		`{"properties":{}} x`:         "json.parse_error",
		`{"properties":{},"extra":1}`: "json.field_unknown",
	} {
		if r := c.want(400, "PUT", pool, body); !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %s, want %s", body, r.body, want)
		}
	}
	c.want(201, "PUT", pool, `{}`)
	if r := c.sendAs("PUT", pool, "", "", []byte(`{}`)); r.status != 200 {
		t.Errorf("without Content-Type: %d", r.status)
	}
	req, _ := http.NewRequest("PUT", c.base+pool, strings.NewReader("\x1f\x8b"))
	req.SetBasicAuth("admin", "secret")
	req.Header.Set("Content-Encoding", "gzip")
	if r := c.send(req); r.status != 415 {
		t.Errorf("compressed: %d %s", r.status, r.body)
	}
	// Secrets that are no private keys are shown as they are; a private key's hash
	// that is sent back is stored as the key.
	c.want(201, "PUT", "/config/active/user_authenticators/a", `{"properties":{"basic":{"type":"ldap"},"ldap":{"search_password":"geheim"}}}`)
	if got := c.get("user_authenticators/a", "ldap", "search_password"); got != "geheim" {
		t.Errorf("search_password is %v", got)
	}
	c.want(201, "PUT", "/config/active/ssl/client_keys/k", `{"properties":{"basic":{"private":"TEST_TEXT","public":"TEST_TEXT"}}}`)
	hash := c.get("ssl/client_keys/k", "basic", "private")
	c.want(200, "PUT", "/config/active/ssl/client_keys/k", fmt.Sprintf(`{"properties":{"basic":{"private":%q}}}`, hash))
	if again := c.get("ssl/client_keys/k", "basic", "private"); again == hash {
		t.Error("the hash was not stored as the key")
	}
	// A rule need not compile.
	c.want(201, "PUT", "/config/active/rules/r", []byte("An English sentence."))
}

func TestOldHTTPIsSpokenToo(t *testing.T) {
	tm, _ := start(t, func(o *vtm.Options) { o.PlainHTTP = true })
	conn, err := net.Dial("tcp", tm.RESTAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /api/tm/8.3/config/active/pools HTTP/1.0\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != `{"children":[]}` {
		t.Errorf("%s", body)
	}
}

func TestThePageOfDecisionsNamesEveryErrorOfOurs(t *testing.T) {
	page, err := os.ReadFile("../../docs/emulated-vtm.md")
	if err != nil {
		t.Fatal(err)
	}
	source := ""
	for _, name := range []string{"apierror.go", "value.go", "body.go", "backup.go", "config.go", "strict.go", "rest.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source += string(b)
	}
	seen := map[string]bool{
		// Seen on real traffic managers, or never sent.
		"auth.invalid": true, "resource.not_found": true, "resource.validation_error": true, "property.no_default": true, "json.unknown_property": true,
		"json.wrong_type": true, "json.invalid_table": true, "filename.forbiddenpath": true, "json.field_unknown": true, "json.parse_error": true,
		"statistics.no_counters": true, "internal.error": true, "fault.injected": true,
	}
	n := 0
	for _, word := range strings.FieldsFunc(source, func(r rune) bool { return r == '"' || r == '`' || r == ' ' || r == ',' || r == '\n' }) {
		for _, kind := range []string{"resource.", "json.", "property.", "auth.", "strict.", "request.", "fault."} {
			if rest, ok := strings.CutPrefix(word, kind); ok && !seen[word] && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz_") == "" && rest != "" {
				seen[word] = true
				n++
				if !strings.Contains(string(page), "`"+word+"`") {
					t.Errorf("docs/emulated-vtm.md does not name %s", word)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("found only %d identifiers", n)
	}
}
