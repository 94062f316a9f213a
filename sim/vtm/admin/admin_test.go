package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/vtm"
)

// later is a world whose clock can be set forward.
type later struct {
	outside.World
	by *atomic.Int64 // nanoseconds
}

type laterClock struct {
	outside.Clock
	by *atomic.Int64
}

func (w later) Clock() outside.Clock { return laterClock{w.World.Clock(), w.by} }
func (c laterClock) Now() time.Time {
	return c.Clock.Now().Add(time.Duration(c.by.Load()))
}

// site is a cluster with admin pages.
type site struct {
	t       *testing.T
	cluster *vtm.Cluster
	forward *atomic.Int64
}

// start runs a cluster on loopback addresses whose last but one octet is its own.
func start(t *testing.T, members int, base string) *site {
	t.Helper()
	s := &site{t: t, forward: new(atomic.Int64)}
	var err error
	s.cluster, err = vtm.StartCluster(vtm.ClusterOptions{
		Options: vtm.Options{
			World: later{outside.Real(), s.forward}, Log: slog.New(slog.DiscardHandler),
			Users:      map[string]string{"admin": "secret", "reader": "secret", "nobody": "secret"},
			Groups:     map[string]string{"reader": "Readers", "nobody": "no such group"},
			AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
			RESTPort:   vtm.AnyPort, AdminPort: vtm.AnyPort, ReplicateAtOnce: true,
		},
		Members: members, Base: netip.MustParseAddr(base), NoControl: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cluster.Close)
	s.rest("vtm-1", "PUT", "user_groups/Readers", `{"properties":{"basic":{"permissions":[{"name":"all","access_level":"ro"}]}}}`)
	return s
}

func (s *site) admin(member string) string {
	return "https://" + s.cluster.Member(member).AdminAddress()
}

// rest sends a request over REST and fails the test unless it succeeds.
func (s *site) rest(member, method, path, body string) string {
	s.t.Helper()
	u := "https://" + s.cluster.Member(member).RESTAddress() + "/api/tm/8.3/config/active/" + path
	req, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("admin", "secret")
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "rules/") {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	c := &http.Client{Transport: insecure(), Timeout: 20 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %v\n%s", method, path, resp.StatusCode, err, b)
	}
	return string(b)
}

// insecure trusts every certificate: those here are made when a member starts.
func insecure() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}

// browser is a client that keeps cookies and follows no redirects.
type browser struct {
	t    *testing.T
	base string
	http *http.Client
}

// page is an answer.
type page struct {
	status int
	header http.Header
	text   string
}

func (s *site) browser(member string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := insecure()
	s.t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: s.t, base: s.admin(member), http: &http.Client{
		Transport: transport, Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) do(method, path, contentType string, body io.Reader) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, b.base+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(path string) page {
	b.t.Helper()
	return b.do("GET", path, "", nil)
}

func (b *browser) post(path string, form url.Values) page {
	b.t.Helper()
	return b.do("POST", path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

func (b *browser) want(status int, path string) page {
	b.t.Helper()
	p := b.get(path)
	if p.status != status {
		b.t.Fatalf("GET %s: status %d, want %d\n%.3000s", path, p.status, status, p.text)
	}
	return p
}

var hidden = regexp.MustCompile(`name="(csrf|seen|was)" value="([^"]*)"`)

// hiddenFields are those that a form carries unseen.
func (p page) hiddenFields() url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(p.text, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	return v
}

// logIn fails the test unless the user gets in.
func (b *browser) logIn(user string) *browser {
	b.t.Helper()
	form := b.want(200, "/login").hiddenFields()
	form.Set("user", user)
	form.Set("password", "secret")
	form.Set("next", "/")
	if p := b.post("/login", form); p.status != 303 || p.header.Get("Location") != "/" {
		b.t.Fatalf("login of %s: %d\n%s", user, p.status, p.text)
	}
	return b
}

// allPages are pages of every kind, by what is in an empty cluster.
var allPages = []string{
	"/", "/log", "/log?level=WARN&text=x&count=500", "/diagnose", "/cluster", "/catalogs", "/catalogs/pools", "/catalogs/monitors?name=Ping",
	"/catalogs/global_settings", "/catalogs/ssl/server_keys", "/system/ingress-controller", "/log?follow=1",
}

func TestEveryPageNeedsALogin(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1")
	for _, path := range append(allPages, "/no/such/page") {
		p := b.want(303, path)
		if want := "/login?next=" + url.QueryEscape(path); p.header.Get("Location") != want {
			t.Errorf("%s leads to %s, want %s", path, p.header.Get("Location"), want)
		}
	}
	if p := b.get("/log/tail"); p.status != 401 {
		t.Errorf("the tail of the log: %d", p.status)
	}
	if p := b.post("/system/ingress-controller", url.Values{"vtm_verbose": {"true"}}); p.status != 303 || p.header.Get("Location") != "/login" {
		t.Errorf("a form without login: %d %s", p.status, p.header.Get("Location"))
	}
	form := b.want(200, "/login").hiddenFields()
	form.Set("user", "admin")
	form.Set("password", "wrong")
	if p := b.post("/login", form); p.status != 403 || !strings.Contains(p.text, "User name or password was invalid") {
		t.Errorf("a wrong password: %d", p.status)
	}
	b = s.browser("vtm-1")
	form = b.want(200, "/login").hiddenFields()
	form.Set("user", "reader")
	form.Set("password", "secret")
	form.Set("csrf", "guessed")
	if p := b.post("/login", form); p.status != 403 {
		t.Errorf("a login form from elsewhere: %d", p.status)
	}
	for next, want := range map[string]string{"/log?level=WARN": "/log?level=WARN", "//evil.example/": "/", "https://evil.example": "/", "/\\evil.example": "/", "": "/"} {
		form := b.want(200, "/login").hiddenFields()
		form.Set("user", "reader")
		form.Set("password", "secret")
		form.Set("next", next)
		if p := b.post("/login", form); p.header.Get("Location") != want {
			t.Errorf("login with next %q leads to %q, want %q", next, p.header.Get("Location"), want)
		}
		b = s.browser("vtm-1")
	}
}

func TestPagesTellTheBrowserToLoadNothingElseAndRunNothingInline(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1").logIn("admin")
	inline := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\son[a-z]+=|\sstyle=|javascript:`)
	outside := regexp.MustCompile(`(?:src|href|action)="(?:[a-z]+:)?//`)
	for _, path := range append(allPages, "/login", "/no/such/page", "/catalogs/no/such") {
		p := b.get(path)
		if !strings.HasPrefix(p.header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; script-src 'self';") ||
			!strings.Contains(p.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", path, p.header.Get("Content-Security-Policy"))
		}
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		for _, bad := range []*regexp.Regexp{inline, outside} {
			if at := bad.FindString(p.text); at != "" {
				t.Errorf("%s holds %q", path, at)
			}
		}
	}
	for path, kind := range map[string]string{"/static/style.css": "text/css", "/static/app.js": "text/javascript", "/static/icon.svg": "image/svg+xml"} {
		if p := b.want(200, path); !strings.HasPrefix(p.header.Get("Content-Type"), kind) {
			t.Errorf("%s is %q", path, p.header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/static/", "/static/../templates/home.html", "/static/%2e%2e/templates/home.html"} {
		if p := b.get(path); p.status == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

func TestCookiesAreForThisServerAlone(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1")
	form := b.want(200, "/login").hiddenFields()
	form.Set("user", "admin")
	form.Set("password", "secret")
	cookies := b.post("/login", form).header.Values("Set-Cookie")
	if len(cookies) != 2 {
		t.Fatalf("login sets %q", cookies)
	}
	for _, c := range cookies {
		for _, want := range []string{"__Host-", "Path=/", "HttpOnly", "Secure", "SameSite=Strict"} {
			if !strings.Contains(c, want) {
				t.Errorf("%s lacks %s", c, want)
			}
		}
	}
}

func TestAFormWithoutTheSessionsTokenChangesNothing(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b, other := s.browser("vtm-1").logIn("admin"), s.browser("vtm-1").logIn("admin")
	good := b.want(200, "/system/ingress-controller").hiddenFields()
	foreign := other.want(200, "/system/ingress-controller").hiddenFields()
	for name, token := range map[string]string{"none": "", "guessed": "AAAA", "of another session": foreign.Get("csrf")} {
		form := url.Values{"csrf": {token}, "seen": good["seen"], "vtm_verbose": {"true"}}
		if p := b.post("/system/ingress-controller", form); p.status != 403 || !strings.Contains(p.text, "nothing was changed") {
			t.Errorf("token %s: %d", name, p.status)
		}
		if p := b.post("/logout", url.Values{"csrf": {token}}); p.status != 403 {
			t.Errorf("logout with token %s: %d", name, p.status)
		}
	}
	if list := s.rest("vtm-1", "GET", "custom", ""); strings.Contains(list, "vtm-ingress-controller") {
		t.Errorf("something was written: %s", list)
	}
	large := "csrf=" + good.Get("csrf") + "&vtm_verbose=" + strings.Repeat("x", 1<<20)
	if p := b.do("POST", "/system/ingress-controller", "application/x-www-form-urlencoded", strings.NewReader(large)); p.status != 400 {
		t.Errorf("a form of 1 MB: %d", p.status)
	}
	if p := b.post("/logout", url.Values{"csrf": good["csrf"]}); p.status != 303 {
		t.Errorf("logout: %d", p.status)
	}
	b.want(303, "/")
}

func TestASessionEndsWhenItIsIdleAndItsPagesTailDoesNotKeepItAlive(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1").logIn("admin")
	tail := strings.ReplaceAll(regexp.MustCompile(`data-tail="([^"]*)"`).FindStringSubmatch(b.want(200, "/log").text)[1], "&amp;", "&")
	wait := func(d time.Duration) { s.forward.Add(int64(d)) }
	wait(29 * time.Minute)
	b.want(200, "/cluster") // keeps it alive
	wait(20 * time.Minute)
	b.want(200, tail)
	b.want(200, "/log?follow=1")
	wait(11 * time.Minute)
	if p := b.get(tail); p.status != 401 {
		t.Errorf("tail after 31 minutes: %d", p.status)
	}
	b.want(303, "/")
	if p := b.want(200, "/login"); !strings.Contains(p.text, "session has ended") {
		t.Error("the login page does not say that the session has ended")
	}
	// 0: never; and a group's own time.
	s.rest("vtm-1", "PUT", "user_groups/Admin", `{"properties":{"basic":{"timeout":0}}}`)
	s.rest("vtm-1", "PUT", "user_groups/Readers", `{"properties":{"basic":{"timeout":1}}}`)
	b.logIn("admin")
	reader := s.browser("vtm-1").logIn("reader")
	wait(61 * time.Second)
	b.want(200, "/")
	reader.want(303, "/")
}

func TestAGroupThatMayOnlyReadSeesAllAndChangesNothing(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1").logIn("reader")
	for _, path := range allPages {
		b.want(200, path)
	}
	p := b.get("/system/ingress-controller")
	if !strings.Contains(p.text, "may read this page and not change it") || strings.Contains(p.text, ">Update<") {
		t.Error("the page does not say that it can't be changed")
	}
	form := p.hiddenFields()
	form.Set("csrf", b.get("/").hiddenFields().Get("csrf"))
	form.Set("vtm_verbose", "true")
	if p := b.post("/system/ingress-controller", form); p.status != 403 {
		t.Errorf("an update by a reader: %d", p.status)
	}
	if p := b.post("/cluster/reactivate", form); p.status != 403 {
		t.Errorf("a reactivation by a reader: %d", p.status)
	}
	if list := s.rest("vtm-1", "GET", "custom", ""); strings.Contains(list, "vtm-ingress-controller") {
		t.Errorf("something was written: %s", list)
	}
	s.rest("vtm-1", "PUT", "user_groups/Readers", `{"properties":{"basic":{"permissions":[{"name":"all","access_level":"ro"},{"name":"Pools","access_level":"none"}]}}}`)
	b.want(403, "/catalogs/pools")
	if strings.Contains(b.want(200, "/catalogs").text, `href="/catalogs/pools">pools`) {
		t.Error("the catalogs list a type that the group may not see")
	}
	b.want(200, "/catalogs/rules")
	nobody := s.browser("vtm-1").logIn("nobody")
	for _, path := range []string{"/", "/log", "/log/tail", "/diagnose", "/cluster", "/catalogs/pools", "/system/ingress-controller"} {
		nobody.want(403, path)
	}
}

func TestOnlyAdmittedAddressesSeeThePages(t *testing.T) {
	s := start(t, 1, "127.9.1.0")
	b := s.browser("vtm-1").logIn("admin")
	s.rest("vtm-1", "PUT", "security", `{"properties":{"basic":{"access":["10.0.0.0/8"]}}}`)
	for _, path := range []string{"/", "/login", "/static/app.js"} {
		b.want(403, path)
	}
}

// settings are the rows of the resource as REST shows them, by name.
func (s *site) settings(member string) map[string][]string {
	s.t.Helper()
	var r struct {
		Properties struct {
			Basic struct {
				Rows []struct {
					Name  string
					Value []string
				} `json:"string_lists"`
			}
		}
	}
	body := s.rest(member, "GET", "custom/vtm-ingress-controller", "")
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&r); err != nil {
		s.t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, row := range r.Properties.Basic.Rows {
		rows[row.Name] = row.Value
	}
	return rows
}
