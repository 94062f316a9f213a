package admin_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var update = flag.Bool("update", false, "write docs/screenshots")

// tab is a tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// openTab starts Chromium with a profile of its own, or skips the test where there
// is none.
func openTab(t *testing.T) *tab {
	t.Helper()
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	path, err := exec.LookPath(path)
	if err != nil {
		why := fmt.Sprintf("no Chromium: install it, or set CHROMIUM to its path: %v", err)
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-proxy-server", true), chromedp.WindowSize(1280, 900),
	)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(stop)
	allocated, end := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	tabbed, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	return &tab{t, tabbed}
}

type step = chromedp.Action[chromedp.Void]

// do carries out steps, and fails the test with what a person sees if one fails.
func (b *tab) do(steps ...step) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		seen, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
		b.t.Fatalf("%v\nthe page is\n%.2000s", err, seen)
	}
}

// eval returns the value of an expression of the page's script, or what it promises.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until looks again and again until an expression is true, on whatever page there
// is then.
func (b *tab) until(expression string) {
	b.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		// An error is a page that is being left.
		if is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression, chromedp.EvalAwaitPromise)); err == nil && is {
			return
		}
		select {
		case <-again.C:
		case <-b.ctx.Done():
			b.t.Fatalf("%s does not become true: %v", expression, b.ctx.Err())
		}
	}
}

// shows waits until a person reads that on the page.
func (b *tab) shows(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// open goes to a page.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("main")))
}

func (b *tab) click(selector string) { b.t.Helper(); b.do(chromedp.Click(chromedp.CSS(selector))) }

// set gives a field a value.
func (b *tab) set(selector, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(selector), value))
}

func (b *tab) logIn(base, user string) {
	b.t.Helper()
	b.open(base)
	b.do(chromedp.SendKeys(chromedp.CSS("#user"), user), chromedp.SendKeys(chromedp.CSS("#password"), "secret"))
	b.click("button.main")
	b.until(`document.querySelector(".logout") !== null`)
}

// keys presses keys where the focus is.
func (b *tab) keys(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// fill gives a cluster what a small shop would have; back-ends really answer, but
// for one.
func (s *site) fill() {
	s.t.Helper()
	var nodes []string
	for range 3 {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
		s.t.Cleanup(backend.Close)
		nodes = append(nodes, strings.TrimPrefix(backend.URL, "http://"))
	}
	row := func(node, state string) string { return fmt.Sprintf(`{"node":%q,"state":%q}`, node, state) }
	pool := func(name, monitors string, rows ...string) {
		s.rest("vtm-1", "PUT", "pools/"+name, fmt.Sprintf(`{"properties":{"basic":{"nodes_table":[%s],"monitors":[%s]}}}`, strings.Join(rows, ","), monitors))
	}
	pool("shop_frontend", `"Connect"`, row(nodes[0], "active"), row(nodes[1], "active"), row(nodes[2], "draining"))
	pool("shop_api", `"Connect"`, row(nodes[1], "active"), row("127.2.0.9:31080", "active"))
	pool("blog", `"Connect"`, row(nodes[2], "active"), row(nodes[0], "disabled"))
	s.rest("vtm-1", "PUT", "rules/shop_route", "if( string.startsWith( http.getPath(), \"/api/\" ) ) {\n\tpool.use( \"shop_api\" );\n}\n")
	s.rest("vtm-1", "PUT", "rules/blog_headers", "http.setResponseHeader( \"X-Served-By\", \"blog\" );\n")
	group := func(name, addresses, more string) {
		s.rest("vtm-1", "PUT", "traffic_ip_groups/"+name, fmt.Sprintf(`{"properties":{"basic":{"ipaddresses":[%s],"machines":["vtm-1","vtm-2","vtm-3"],"note":"For the %s"%s}}}`, addresses, name, more))
	}
	group("shop", `"10.0.2.223","10.0.2.224"`, "")
	group("blog", `"10.0.5.10"`, `,"slaves":["vtm-3"]`)
	s.rest("vtm-1", "PUT", "virtual_servers/shop_80", `{"properties":{"basic":{"enabled":true,"port":80,"pool":"shop_frontend","listen_on_any":false,"listen_on_traffic_ips":["shop"],"request_rules":["shop_route"],"note":"The shop"}}}`)
	s.rest("vtm-1", "PUT", "virtual_servers/blog_8080", `{"properties":{"basic":{"enabled":true,"port":8080,"pool":"blog","listen_on_any":false,"listen_on_traffic_ips":["blog"],"response_rules":["blog_headers"]}}}`)
	s.rest("vtm-1", "PUT", "virtual_servers/old_shop", `{"properties":{"basic":{"enabled":false,"port":8000,"pool":"discard"}}}`)
	s.rest("vtm-1", "PUT", "persistence/shop_cookie", `{"properties":{"basic":{"type":"transparent"}}}`)
}

func TestAnAdministratorSeesTheTrafficMapInARealBrowser(t *testing.T) {
	b, s := openTab(t), start(t, 3, "127.9.2.0")
	s.fill()
	b.logIn(s.admin("vtm-2"), "admin")
	for _, text := range []string{"Traffic map", "shop_80", "shop_frontend", "shop_route", "10.0.2.223:80", "hosted by vtm-", "draining", "disabled", "vtm-3"} {
		b.shows(text)
	}
	// The node that does not answer is found by its monitor, and told in words.
	b.until(nodeFailed)
	b.do(chromedp.Reload())
	b.shows("1 of 2 nodes failed")
	for _, link := range eval[[]string](b, `[...document.querySelectorAll(".map a")].map(a => a.getAttribute("href"))`) {
		if status := eval[int](b, fmt.Sprintf(`fetch(%q).then(r => r.status)`, link)); status != 200 {
			t.Errorf("the map links to %s, which answers %d", link, status)
		}
	}
	if marks := eval[int](b, `[...document.querySelectorAll(".status")].filter(s => s.innerText.trim() === "").length`); marks != 0 {
		t.Errorf("%d states are told without a word", marks)
	}
}

// nodeFailed becomes true when a monitor has found the node that does not answer.
const nodeFailed = `fetch("/").then(r => r.text()).then(t => t.includes("of 2 nodes failed"))`

func TestNewLinesOfTheLogArriveByThemselvesAndTheFilterHolds(t *testing.T) {
	b, s := openTab(t), start(t, 2, "127.9.3.0")
	b.logIn(s.admin("vtm-1")+"/log", "admin")
	b.shows("Event Log")
	s.rest("vtm-2", "PUT", "pools/arrives-now", `{}`)
	b.shows("pools/arrives-now")
	b.set("#text", "only-this")
	b.click(".filter button")
	b.shows("No line fits.")
	s.rest("vtm-1", "PUT", "pools/not-wanted", `{}`)
	s.rest("vtm-1", "PUT", "pools/only-this-%3Cscript%3Ealert(1)", `{}`)
	b.shows("pools/only-this-<script>alert(1)")
	text := eval[string](b, `document.body.innerText`)
	if strings.Contains(text, "not-wanted") || strings.Contains(text, "arrives-now") || strings.Contains(text, "No line fits.") {
		t.Errorf("the filter let through what does not fit:\n%s", text)
	}
	// The page of its own: setting fields in one whose rows come and go meets a node
	// that is just replaced.
	b.open(s.admin("vtm-1") + "/log?level=WARN")
	b.until(`new URLSearchParams(location.search).get("level") === "WARN" && document.readyState === "complete"`)
	if n := eval[int](b, `[...document.querySelectorAll("#log .status")].filter(s => s.innerText === "INFO").length`); n != 0 {
		t.Errorf("the level lets %d lines of INFO through", n)
	}
}

func TestASettingChangedOnOneMemberIsOnTheOther(t *testing.T) {
	b, s := openTab(t), start(t, 2, "127.9.4.0")
	b.logIn(s.admin("vtm-1")+"/system/ingress-controller", "admin")
	b.until(`document.querySelector("#vtm_verbose") !== null`)
	b.set("#vtm_verbose", "true")
	b.set("#k8s_token_file", "/etc/vtm/token")
	b.click(".settings button.main")
	b.shows("The settings are updated")
	if got := s.settings("vtm-2"); fmt.Sprint(got) != "map[k8s_token_file:[/etc/vtm/token] vtm_verbose:[true]]" {
		t.Errorf("vtm-2 has %v", got)
	}
	b.set("#resync_period", "soon")
	b.click(".settings button.main")
	b.shows("Nothing was changed yet")
	b.until(`document.activeElement.id === "errors"`)
	if value := eval[string](b, `document.querySelector("#resync_period").value`); value != "soon" {
		t.Errorf("what was typed is %q now", value)
	}
}

// TestAllIsReachedByTheKeyboard logs in, goes to a page, changes a setting and logs
// out without a pointer.
func TestAllIsReachedByTheKeyboard(t *testing.T) {
	b, s := openTab(t), start(t, 1, "127.9.5.0")
	b.open(s.admin("vtm-1") + "/")
	b.keys("admin", kb.Tab, "secret", kb.Enter)
	b.until(`document.querySelector(".logout") !== null && document.readyState === "complete"`)
	b.keys(kb.Tab)
	if skip := eval[string](b, `document.activeElement.textContent + " " + (document.activeElement.getBoundingClientRect().left >= 0)`); skip != "Skip to the content true" {
		t.Errorf("the first that the keyboard reaches is %q, want a visible link to the content", skip)
	}
	b.tabTo(`a[href="/system/ingress-controller"]`)
	b.keys(kb.Enter)
	b.until(`document.querySelector("#enable_ingctrl") !== null && document.readyState === "complete"`)
	b.tabTo("#enable_ingctrl")
	b.keys(kb.ArrowDown, kb.ArrowDown) // not set, true, false
	b.tabTo(".settings button.main")
	b.keys(kb.Enter)
	b.shows("The settings are updated")
	if got := s.settings("vtm-1"); fmt.Sprint(got) != "map[enable_ingctrl:[false]]" {
		t.Errorf("settings are %v", got)
	}
	b.tabTo(".logout button")
	b.keys(kb.Enter)
	b.until(`document.querySelector("#user") !== null`)
}

// tabTo presses Tab until the focus is there, and checks on the way that it can be
// seen where it is.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	for range 200 {
		b.keys(kb.Tab)
		if !eval[bool](b, `document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
			b.t.Errorf("the focus can't be seen on %.200s", eval[string](b, `document.activeElement.outerHTML`))
		}
		if eval[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
	}
	b.t.Fatalf("Tab does not reach %s", selector)
}

func TestNothingIsWiderThanAPhone(t *testing.T) {
	b, s := openTab(t), start(t, 3, "127.9.6.0")
	s.fill()
	long := strings.Repeat("a-very-long-name", 12)
	s.rest("vtm-1", "PUT", "pools/"+long, `{"properties":{"basic":{"nodes_table":[{"node":"a-node-with-a-very-long-name.of-a-very-long-domain.example:31080"}]}}}`)
	s.rest("vtm-1", "PUT", "virtual_servers/"+long, `{"properties":{"basic":{"enabled":true,"port":8081,"pool":"`+long+`"}}}`)
	s.rest("vtm-1", "PUT", "traffic_ip_groups/v6", `{"properties":{"basic":{"ipaddresses":["2001:db8:1111:2222:3333:4444:5555:6666"],"machines":["vtm-1"]}}}`)
	b.logIn(s.admin("vtm-1"), "admin")
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
	for _, path := range append(allPages, "/catalogs/pools?name="+long, "/catalogs/virtual_servers?name=shop_80", "/catalogs/rules?name=shop_route", "/catalogs/user_groups?name=Guest", "/catalogs/virtual_servers") {
		b.open(s.admin("vtm-1") + path)
		width, widest := eval[int](b, `document.documentElement.clientWidth`), eval[int](b, `document.documentElement.scrollWidth`)
		if width != 360 || widest > width {
			t.Errorf("%s is %d pixels wide on a phone of %d:\n%s", path, widest, width,
				eval[string](b, `[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > 361).slice(0, 3).map(e => e.outerHTML.slice(0, 150)).join("\n")`))
		}
	}
}

func TestAnEndedSessionIsToldOnThePage(t *testing.T) {
	b, s := openTab(t), start(t, 1, "127.9.7.0")
	b.logIn(s.admin("vtm-1")+"/log", "admin")
	b.shows("Event Log")
	s.forward.Add(int64(31 * time.Minute))
	b.shows("Your session has ended: reload the page to log in.")
	b.do(chromedp.Reload())
	b.shows("Please log in again.")
	b.do(chromedp.SendKeys(chromedp.CSS("#user"), "admin"), chromedp.SendKeys(chromedp.CSS("#password"), "secret"))
	b.click("button.main")
	b.shows("Show new lines as they come") // where it was
}

// screenshots are the pages shown in docs/admin-pages.md.
var screenshots = []struct {
	name, path string
	phone      bool
}{
	{"home", "/", false},
	{"home-phone", "/", true},
	{"virtual-server", "/catalogs/virtual_servers?name=shop_80", false},
	{"pools", "/catalogs/pools", false},
	{"pool", "/catalogs/pools?name=shop_api", false},
	{"rule", "/catalogs/rules?name=shop_route", false},
	{"catalogs", "/catalogs", false},
	{"cluster", "/cluster", false},
	{"diagnose", "/diagnose", false},
	{"event-log", "/log", false},
	{"ingress-controller", "/system/ingress-controller", false},
	{"login", "/login", false},
}

const screenshotFolder = "../../../docs/screenshots"

// TestTheScreenshotsAreThere wants a picture of each page; with -update it takes
// them. What they show is looked at, not compared: fonts differ between machines.
func TestTheScreenshotsAreThere(t *testing.T) {
	if !*update {
		for _, shot := range screenshots {
			b, err := os.ReadFile(filepath.Join(screenshotFolder, shot.name+".png"))
			if err != nil {
				t.Errorf("`make docs` takes it: %v", err)
				continue
			}
			if _, kind, err := image.DecodeConfig(bytes.NewReader(b)); kind != "png" || err != nil || len(b) > 200<<10 {
				t.Errorf("%s: kind %s, %d bytes, %v; want a png of at most 200 KB", shot.name, kind, len(b), err)
			}
		}
		return
	}
	b, s := openTab(t), start(t, 3, "127.1.0.0")
	s.fill()
	s.rest("vtm-1", "PUT", "custom/vtm-ingress-controller", `{"properties":{"basic":{"string_lists":[{"name":"k8s_endpoint","value":["https://api.mykube.local:6443"]},{"name":"k8s_token_file","value":["/etc/vtm-ingress/token"]},{"name":"vtm_password_file","value":["/etc/vtm-ingress/password"]},{"name":"vtm_verbose","value":["true"]}]}}}`)
	b.logIn(s.admin("vtm-1"), "admin")
	b.until(nodeFailed)
	if err := os.MkdirAll(screenshotFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shot := range screenshots {
		viewport := chromedp.EmulateViewport(1200, 860)
		switch {
		case shot.phone:
			viewport = chromedp.EmulateViewport(390, 1200, chromedp.EmulateMobile)
		case shot.name == "login":
			b.click(".logout button")
			b.until(`document.querySelector("#user") !== null`)
			viewport = chromedp.EmulateViewport(1200, 480)
		}
		b.do(viewport)
		b.open(s.admin("vtm-1") + shot.path)
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(screenshotFolder, shot.name+".png"), small(t, picture), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// small packs a picture as tightly as can be.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, decoded); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
