package admin_test

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/facts"
)

const (
	settingsPage     = "/system/ingress-controller"
	settingsResource = "custom/vtm-ingress-controller"
)

// form is what a browser would send: every field of the page as it is.
func (p page) form() url.Values {
	v := p.hiddenFields()
	for _, m := range regexp.MustCompile(`<input id="[^"]*" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(p.text, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	for _, m := range regexp.MustCompile(`(?s)<select id="[^"]*" name="([^"]*)".*?</select>`).FindAllStringSubmatch(p.text, -1) {
		v.Set(m[1], "")
		if chosen := regexp.MustCompile(`<option(?: value="([^"]*)")? selected>([^<]*)<`).FindStringSubmatch(m[0]); chosen != nil {
			v.Set(m[1], chosen[2])
		}
	}
	return v
}

func TestTheSettingsPageOffersEverySettingThatIsNotLocal(t *testing.T) {
	var all struct {
		Settings []struct {
			Key, Type, Meaning string
			Local              bool
		}
	}
	if err := json.Unmarshal(facts.Settings, &all); err != nil {
		t.Fatal(err)
	}
	p := start(t, 1, "127.9.1.0").browser("vtm-1").logIn("admin").want(200, settingsPage)
	form, local := p.form(), 0
	for _, s := range all.Settings {
		_, offered := form[s.Key]
		if s.Local {
			local++
		}
		switch {
		case offered != (!s.Local && s.Type != "secret"):
			t.Errorf("%s (%s, local: %v): offered is %v", s.Key, s.Type, s.Local, offered)
		case !s.Local && !strings.Contains(p.text, html.EscapeString(s.Meaning)):
			t.Errorf("the meaning of %s is not there", s.Key)
		}
	}
	if local == 0 || len(form) < 20 {
		t.Errorf("%d settings are local, %d fields are offered", local, len(form))
	}
}

func TestASettingThatIsWrongIsToldBesideItsFieldAndNothingIsStored(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1").logIn("admin")
	for _, tc := range []struct{ key, value, problem string }{
		{"enable_ingctrl", "yes", "Want true or false."},
		{"k8s_token_file", "token", "Want the file's whole path, from /."},
		{"k8s_endpoint", "10.0.0.1:6443", "Want a URL such as"},
		{"k8s_endpoint", "http://10.0.0.1:6443", "Want https"},
		{"k8s_endpoint", "https://me:secret@10.0.0.1:6443", "A URL holds no user and password"},
		{"k8s_endpoint", "https://10.0.0.1:99999", "Want a URL such as"},
		{"node_address_type", "Hostname", "Want InternalIP or ExternalIP."},
		{"resync_period", "5", "Want a number with a unit"},
		{"resync_period", "25h", "Want 1s to 24h."},
		{"lease_duration", "0s", "Want 1s to 5m."},
		{"controller_id", "Big", "Want 1 to 32 lower-case letters"},
		{"default_traffic_ip_group", "a/b", "Want 1 to 200 characters"},
		{"event_log_relay_port", "65536", "Want a port"},
		{"allowed_addresses", "shop=10.0.0.0/8, shop", `"shop": Want namespace=address`},
		{"secret_label_selector", "a\x00b", "No control characters and line ends"},
		{"secret_label_selector", "a\nb", "No control characters and line ends"},
		{"secret_label_selector", strings.Repeat("x", 4097), "Longer than 4096 bytes."},
		{"k8s_token", "eyJhbGciOi", "Secrets are not stored here. Name a file in k8s_token_file."},
		{"k8s_ca_file", `/<script>"'`, ""},
	} {
		form := b.want(200, settingsPage).form()
		form.Set(tc.key, tc.value)
		form.Set("controller_id", map[bool]string{true: tc.value, false: "kept-typing"}[tc.key == "controller_id"])
		p := b.post(settingsPage, form)
		if tc.problem == "" {
			if p.status != 303 {
				t.Errorf("%s=%q: %d, want 303", tc.key, tc.value, p.status)
			}
			continue
		}
		if p.status != 422 || !strings.Contains(p.text, `<a href="#`+tc.key+`">`+tc.key+`</a>: `+html.EscapeString(tc.problem)) {
			t.Errorf("%s=%.50q: %d, told %q", tc.key, tc.value, p.status, regexp.MustCompile(`<li><a href="#[^<]*</a>[^<]*`).FindAllString(p.text, -1))
		}
		again := p.form()
		if tc.key != "controller_id" && again.Get("controller_id") != "kept-typing" || tc.key != "k8s_token" && len(tc.value) < 100 && !strings.ContainsAny(tc.value, "\x00\n") && tc.key != "enable_ingctrl" && tc.key != "node_address_type" && again.Get(tc.key) != tc.value {
			t.Errorf("%s=%q: what was typed is lost: %v", tc.key, tc.value, again)
		}
		if tc.key == "k8s_token" && strings.Contains(p.text, tc.value) {
			t.Error("a secret that was typed is shown")
		}
		if list := s.rest("vtm-1", "GET", "custom", ""); strings.Contains(list, "vtm-ingress-controller") {
			t.Fatalf("%s=%q was stored: %s", tc.key, tc.value, list)
		}
	}
	if got := s.settings("vtm-1"); got["k8s_ca_file"][0] != `/<script>"'` || got["controller_id"][0] != "kept-typing" || len(got) != 2 {
		t.Errorf("stored is %q", got)
	}
	if p := b.want(200, settingsPage); strings.Contains(p.text, "<script>") || p.form().Get("k8s_ca_file") != `/<script>"'` {
		t.Error("a value is not shown as it is")
	}
}

func TestASecretFoundInTheResourceIsToldNeverShownAndKeptUntilItIsRemoved(t *testing.T) {
	s := start(t, 2, "127.9.1.0")
	s.rest("vtm-1", "PUT", settingsResource, `{"properties":{"basic":{"string_lists":[
		{"name":"vtm_password","value":["hunter2"]},{"name":"k8s_token","value":["tok-en"]},
		{"name":"vtm_endpoints","value":["https://10.0.0.1:9070"]},{"name":"of <b>ours</b>","value":["x","y"]},
		{"name":"watch_namespace","value":["shop"]}]}}}`)
	b := s.browser("vtm-2").logIn("admin")
	for _, path := range []string{settingsPage, "/catalogs/custom", "/catalogs/custom?name=vtm-ingress-controller", "/log", "/", "/diagnose"} {
		if p := b.want(200, path); strings.Contains(p.text, "hunter2") || strings.Contains(p.text, "tok-en") {
			t.Errorf("%s shows a secret", path)
		}
	}
	p := b.want(200, settingsPage)
	if n := strings.Count(p.text, "<strong>A value is set</strong>"); n != 2 {
		t.Errorf("%d secrets are told, want 2", n)
	}
	for _, name := range []string{"vtm_endpoints", "of <b>ours</b>"} {
		if !strings.Contains(p.text, "<code>"+html.EscapeString(name)+"</code></p><p class=\"message warn\">This is no setting that is kept here") {
			t.Errorf("the row %q is not told", name)
		}
	}
	form := p.form()
	form.Set("vtm_verbose", "true")
	form.Set("remove", "vtm_password")
	if p := b.post(settingsPage, form); p.status != 303 {
		t.Fatalf("update: %d\n%s", p.status, p.text)
	}
	got := s.settings("vtm-1")
	if _, there := got["vtm_password"]; there || len(got) != 5 || got["k8s_token"][0] != "tok-en" || !slices.Equal(got["of <b>ours</b>"], []string{"x", "y"}) ||
		got["vtm_endpoints"] == nil || got["watch_namespace"][0] != "shop" || got["vtm_verbose"][0] != "true" {
		t.Errorf("stored is %q", got)
	}
	form = b.want(200, settingsPage).form()
	form["remove"] = []string{"of <b>ours</b>", "vtm_endpoints", "k8s_token"}
	form.Set("watch_namespace", "")
	if p := b.post(settingsPage, form); p.status != 303 {
		t.Fatalf("update: %d\n%s", p.status, p.text)
	}
	if got := s.settings("vtm-2"); len(got) != 1 || got["vtm_verbose"] == nil {
		t.Errorf("stored is %q", got)
	}
}

func TestOfTwoEditorsTheSecondIsToldAndNobodysChangeIsLost(t *testing.T) {
	s := start(t, 2, "127.9.1.0")
	first, second := s.browser("vtm-1").logIn("admin"), s.browser("vtm-2").logIn("admin")
	one, two := first.want(200, settingsPage).form(), second.want(200, settingsPage).form()
	one.Set("watch_namespace", "shop")
	one.Set("secret_label_selector", "team=a")
	two.Set("controller_id", "blue")
	two.Set("secret_label_selector", "team=b")
	if p := first.post(settingsPage, one); p.status != 303 || p.header.Get("Location") != settingsPage+"?updated" {
		t.Fatalf("the first: %d\n%s", p.status, p.text)
	}
	if p := first.want(200, settingsPage+"?updated"); !strings.Contains(p.text, "The settings are updated") {
		t.Error("the update is not told")
	}
	p := second.post(settingsPage, two)
	if p.status != 409 || !strings.Contains(p.text, "Somebody else changed the settings while this form was open") {
		t.Fatalf("the second: %d\n%s", p.status, p.text)
	}
	if got := s.settings("vtm-1"); len(got) != 2 || got["watch_namespace"][0] != "shop" {
		t.Errorf("after the refusal stored is %q", got)
	}
	again := p.form()
	if again.Get("controller_id") != "blue" || again.Get("secret_label_selector") != "team=b" {
		t.Error("what the second typed is lost")
	}
	if n := strings.Count(p.text, "Somebody else set this to <code>team=a</code>"); n != 1 {
		t.Errorf("the field that both changed is told %d times", n)
	}
	if again.Get("watch_namespace") != "shop" {
		t.Errorf("the second's form says watch_namespace=%q: selecting Update again would undo what the first changed", again.Get("watch_namespace"))
	}
	if p := second.post(settingsPage, again); p.status != 303 {
		t.Fatalf("the second again: %d\n%s", p.status, p.text)
	}
	if got := s.settings("vtm-1"); len(got) != 3 || got["controller_id"][0] != "blue" || got["watch_namespace"][0] != "shop" || got["secret_label_selector"][0] != "team=b" {
		t.Errorf("stored is %q", got)
	}
}

func TestHostileNamesAreShownAsTextOnEveryPage(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	const name = `<img src=x onerror=alert(1)>"'&{{.}}`
	escaped := url.PathEscape(name)
	quoted, _ := json.Marshal(name)
	s.rest("vtm-1", "PUT", "rules/"+escaped, `http.redirect( "/" );`)
	s.rest("vtm-1", "PUT", "rules/bad"+escaped, `<img src=x onerror=alert(2)>`)
	s.rest("vtm-1", "PUT", "monitors/"+escaped, `{"properties":{"basic":{"type":"ping"}}}`)
	s.rest("vtm-1", "PUT", "pools/"+escaped, `{"properties":{"basic":{"nodes_table":[{"node":"127.0.0.1:1"}],"monitors":[`+string(quoted)+`],"note":`+string(quoted)+`}}}`)
	s.rest("vtm-1", "PUT", "traffic_ip_groups/"+escaped, `{"properties":{"basic":{"ipaddresses":["192.0.2.77"],"machines":["vtm-1"],"note":`+string(quoted)+`}}}`)
	s.rest("vtm-1", "PUT", "virtual_servers/"+escaped, `{"properties":{"basic":{"enabled":true,"port":8077,"pool":`+string(quoted)+`,"listen_on_any":false,"listen_on_traffic_ips":[`+
		string(quoted)+`,"no <img src=x>"],"request_rules":[`+string(quoted)+`,"bad`+string(quoted[1:])+`]}}}`)
	s.rest("vtm-1", "PUT", "user_groups/"+escaped, `{"properties":{"basic":{"description":`+string(quoted)+`}}}`)
	s.rest("vtm-1", "PUT", settingsResource, `{"properties":{"basic":{"string_lists":[{"name":`+string(quoted)+`,"value":[`+string(quoted)+`]}]}}}`)
	s.rest("vtm-1", "PUT", "global_settings", `{"properties":{"security":{"login_banner":`+string(quoted)+`,"post_login_banner":`+string(quoted)+`,"ui_page_banner":`+string(quoted)+`}}}`)

	q := url.QueryEscape(name)
	paths := slices.Concat(allPages, []string{
		"/?find=" + q, "/log?text=" + q + "&member=" + q + "&level=" + q + "&count=" + q, "/catalogs/pools?find=" + q + "&page=" + q,
		"/catalogs/custom?name=vtm-ingress-controller",
	})
	for _, path := range []string{"rules", "monitors", "pools", "traffic_ip_groups", "virtual_servers", "user_groups"} {
		paths = append(paths, "/catalogs/"+path, "/catalogs/"+path+"?name="+q)
	}
	b := s.browser("vtm-1").logIn("admin")
	shown := 0
	for _, path := range paths {
		p := b.want(200, path)
		if strings.Contains(p.text, "<img src=x") || strings.Contains(p.text, `"'&{`) {
			t.Errorf("%s holds a name as markup", path)
		}
		if strings.Contains(p.text, "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;{{.}}") {
			shown++
		}
	}
	if shown < 15 {
		t.Errorf("only %d pages show the name: does this test still look at the right ones?", shown)
	}
	for path, want := range map[string]int{
		"/catalogs/pools?name=" + url.QueryEscape("a\x00b"): 404, "/catalogs/pools?name=%ff%fe": 404, "/catalogs/%00": 404, "/catalogs/" + escaped: 404,
		"/no/" + escaped: 404, "/log?text=%00%ff&count=-1": 200, "/?find=%00%ff&page=-7": 200, "/catalogs/pools?page=99999999999999999999&find=%00": 200,
		"/catalogs/pools?name=" + strings.Repeat("x", 5000): 404, "/log/tail?after=%00": 400,
	} {
		if p := b.get(path); p.status != want || strings.Contains(p.text, "<img src=x") || strings.Contains(p.text, "\x00") {
			t.Errorf("GET %.60s: %d, want %d", path, p.status, want)
		}
	}
}
