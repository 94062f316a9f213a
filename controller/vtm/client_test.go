package vtm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
)

// These tests look at what a well-behaved traffic manager never sends. What it
// does send is tested against the emulated one.

func newClient(t *testing.T, change func(*Options), endpoints ...string) *Client {
	t.Helper()
	o := Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Actor: "test",
		Endpoints: endpoints, Username: "admin", Password: "secret",
	}
	if change != nil {
		change(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func answers(t *testing.T, status int, body string) *Client {
	return newClient(t, nil, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}).URL)
}

func TestErrorsSayWhoMustAct(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		kind   Kind
		says   []string
	}{
		{"refusal", 400, `{"error_id":"resource.validation_error","error_text":"The resource provided is invalid","error_info":{"basic":{"pool":{"error_id":"json.unknown_property","error_text":"Property is unknown"},"nodes_table":{"a:1":{"weight":{"error_id":"x.y","error_text":"Too heavy"}}}}}}`,
			Refused, []string{"PUT pools/p", "The resource provided is invalid", "basic/pool: Property is unknown", "basic/nodes_table/a:1/weight: Too heavy"}},
		{"wrong password", 401, `{"error_id":"auth.invalid","error_text":"User name or password was invalid"}`, Unauthorised, []string{"vtm_password"}},
		{"wrong password, other body", 401, `<html>`, Unauthorised, []string{"vtm_password"}},
		{"missing", 404, `{"error_id":"resource.not_found","error_text":"Invalid resource URI"}`, NotFound, []string{"Invalid resource URI"}},
		{"another server's 404", 404, "<html>nginx</html>", Garbage, []string{"vtm_endpoints", "nginx"}},
		{"unavailable", 503, "", Outage, []string{"503"}},
		{"no JSON", 200, "hello \x00\n", Garbage, []string{`hello \x00`, "vtm_endpoints"}},
		{"other JSON", 200, `{"a":1}`, Garbage, []string{"properties"}},
		{"half JSON", 200, `{"properties":{"basic":`, Garbage, nil},
		{"two answers", 200, `{"properties":{}}{"properties":{}}`, Garbage, nil},
		{"empty", 200, ``, Garbage, []string{"empty"}},
		{"redirect", 302, ``, Garbage, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := answers(t, test.status, test.body).Put(t.Context(), New(Pools, "p", Properties{"basic": {"note": ""}}))
			if err == nil {
				t.Fatal("no error")
			}
			if kind := KindOf(err); kind != test.kind {
				t.Errorf("kind %d, want %d: %v", kind, test.kind, err)
			}
			if got, want := errors.Is(err, ErrNotFound), test.kind == NotFound; got != want {
				t.Errorf("is ErrNotFound %v, want %v", got, want)
			}
			if got, want := Ambiguous(err), test.kind == Outage || test.kind == Garbage; got != want {
				t.Errorf("ambiguous %v, want %v", got, want)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

func TestGarbageIsQuotedInPart(t *testing.T) {
	_, err := answers(t, 200, strings.Repeat("x", 100_000)).List(t.Context(), Pools)
	if n := strings.Count(err.Error(), "x"); n > maxQuote+20 {
		t.Errorf("%d bytes quoted", n)
	}
}

func TestManyDetailsAreCut(t *testing.T) {
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf(`"k%d":{"error_id":"a.b","error_text":"wrong\u0007"}`, i))
	}
	_, err := answers(t, 400, `{"error_id":"a.b","error_text":"no","error_info":{"basic":{`+strings.Join(keys, ",")+`}}}`).
		Get(t.Context(), ID{Pools, "p"})
	if text := err.Error(); len(text) > 2000 || !strings.Contains(text, "and 980 more") || strings.ContainsRune(text, 7) {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}

func TestServerKeysAreNeverQuoted(t *testing.T) {
	_, err := answers(t, 200, `{"PRIVATE":"SECRET`).Get(t.Context(), ID{ServerKeys, "k"})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

func TestListsThatAreNoneAreErrors(t *testing.T) {
	for _, body := range []string{`{}`, `{"children":null}`, `[]`, `{"children":[{"name":""}]}`, `{"children":{}}`, ``,
		`{"children":[null]}`, `{"children":[{"name":1}]}`, `{"children":["a"]}`, `{"children":[{"name":"a"}`, `{"children":[]} {}`} {
		names, err := answers(t, 200, body).List(t.Context(), Pools)
		if err == nil {
			t.Errorf("%s: no error, but the names %q", body, names)
		}
	}
	names, err := answers(t, 200, `{"children":[]}`).List(t.Context(), Pools)
	if err != nil || len(names) != 0 {
		t.Errorf("empty folder: %q, %v", names, err)
	}
}

func TestListsNameWhatIsNoFolderSorted(t *testing.T) {
	names, err := answers(t, 200, `{"more":{"children":[{"name":"z"}]},"children":[
		{"href":"/b%20c","name":"b c","more":[1]}, {"name":"a\u00e4","href":"/a"}, {"name":"folder","href":"/folder/"}, {"name":"b c"}]}`).List(t.Context(), Pools)
	if want := []string{"aä", "b c"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("names %q %v, want %q", names, err, want)
	}
}

func TestOfTheStateOnlySentencesAreRead(t *testing.T) {
	state, err := answers(t, 200, `{"state":{"pools":[{"name":"p","active_nodes":1}],"errors":["a","b"],"license":"x","tip_errors":["c"]},"more":1}`).State(t.Context())
	if err != nil || !slices.Equal(state.Errors, []string{"a", "b"}) || !slices.Equal(state.TIPErrors, []string{"c"}) {
		t.Errorf("%+v %v", state, err)
	}
	for _, body := range []string{`{}`, `{"state":null}`, `{"state":[]}`, `{"state":{"errors":{}}}`, `{"state":{"errors":["a"]}`, ``} {
		if _, err := answers(t, 200, body).State(t.Context()); KindOf(err) != Garbage {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestMissingIsDeletedAlready(t *testing.T) {
	if err := answers(t, 404, `{"error_id":"resource.not_found","error_text":""}`).Delete(t.Context(), ID{Pools, "p"}); err != nil {
		t.Error(err)
	}
	if err := answers(t, 404, `not found`).Delete(t.Context(), ID{Pools, "p"}); err == nil {
		t.Error("a server that is no traffic manager: no error")
	}
}

func TestConnectionThatBreaksIsAnOutage(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"prop")
			conn.Close()
		}
	})
	_, err := newClient(t, nil, s.URL).Put(t.Context(), New(Pools, "p", Properties{}))
	if KindOf(err) != Outage || !Ambiguous(err) {
		t.Errorf("%v", err)
	}
}

func TestRequestsEndAtTheirDeadline(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, func(o *Options) { o.Timeout = 50 * time.Millisecond }, s.URL)
	_, err := c.Get(t.Context(), ID{Pools, "p"})
	if KindOf(err) != Outage || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// unused returns a URL at which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestNextEndpointIsUsedWhenOneIsAwayAndThenKept(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"children":[]}`) })
	c := newClient(t, nil, unused(t), s.URL)
	if _, err := c.List(t.Context(), Pools); err != nil {
		t.Fatal(err)
	}
	if c.Endpoint() != s.URL {
		t.Errorf("endpoint in use is %s, want %s", c.Endpoint(), s.URL)
	}
}

func TestWhatIsBoundToAMemberGoesToNoOther(t *testing.T) {
	var agents []string
	good := func(w http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
		io.WriteString(w, `{"properties":{}}`)
	}
	one, two := serve(t, good), serve(t, good)
	c := newClient(t, nil, one.URL, two.URL)
	id := ID{Type: Pools, Name: "p"}
	through := c.Through(one.URL, "me; term 1")
	if _, err := through.Put(t.Context(), New(Pools, "p", Properties{})); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(agents, []string{"me; term 1"}) {
		t.Errorf("the traffic manager was told %q", agents)
	}
	one.Close()
	for n := 0; c.Endpoint() != two.URL; n++ {
		// The first requests may meet a connection that breaks.
		if err := through.Delete(t.Context(), id); err == nil || errors.Is(err, ErrElsewhere) || n > hungAfter {
			t.Fatalf("the member is away: %v", err)
		}
	}
	if err := through.Delete(t.Context(), id); !errors.Is(err, ErrElsewhere) || KindOf(err) != Unreachable {
		t.Errorf("another member is in use: %v", err)
	}
	if len(agents) != 1 {
		t.Errorf("the other member was asked by %q", agents)
	}
	if c.Use("http://elsewhere") || c.Endpoint() != two.URL || !c.Use(one.URL) || c.Endpoint() != one.URL {
		t.Error("a member can't be chosen, or a stranger can")
	}
}

func TestAnswersOfAnyKindKeepTheEndpoint(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	c := newClient(t, nil, s.URL, unused(t))
	for range 2 * hungAfter {
		if _, err := c.List(t.Context(), Pools); KindOf(err) != Outage {
			t.Fatal(err)
		}
	}
	if c.Endpoint() != s.URL {
		t.Error("went on to another member")
	}
}

func TestMemberThatHangsIsLeft(t *testing.T) {
	hung := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"children":[]}`) })
	c := newClient(t, func(o *Options) { o.Timeout = 30 * time.Millisecond }, hung.URL, s.URL)
	for range hungAfter {
		if _, err := c.List(t.Context(), Pools); err == nil {
			t.Fatal("no error")
		}
	}
	if _, err := c.List(t.Context(), Pools); err != nil {
		t.Error(err)
	}
}

func TestNoConnectionIsNoAmbiguity(t *testing.T) {
	_, err := newClient(t, nil, unused(t), unused(t)).Put(t.Context(), New(Pools, "p", Properties{}))
	if KindOf(err) != Unreachable || Ambiguous(err) {
		t.Errorf("%v", err)
	}
}

func TestPasswordFollowsNoRedirect(t *testing.T) {
	leaked := false
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { leaked = true })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := newClient(t, nil, s.URL).Get(t.Context(), ID{Pools, "p"}); err == nil || leaked {
		t.Errorf("leaked %v, error %v", leaked, err)
	}
}

func TestErrorsNeverHoldThePassword(t *testing.T) {
	_, err := answers(t, 401, `{"error_id":"auth.invalid","error_text":""}`).List(t.Context(), Pools)
	if strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestCertificateIsVerifiedAsAsked(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"children":[]}`)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(s.Close)
	sum := sha256.Sum256(s.Certificate().Raw)
	pinned := hex.EncodeToString(sum[:])
	for _, test := range []struct {
		name string
		tls  TLS
		ok   bool
	}{
		{"system roots", TLS{}, false},
		{"off", TLS{Insecure: true}, true},
		{"fingerprint", TLS{Fingerprint: pinned}, true},
		{"fingerprint with colons", TLS{Fingerprint: strings.ToUpper(pinned[:2] + ":" + pinned[2:])}, true},
		{"other fingerprint", TLS{Fingerprint: strings.Repeat("00", 32), Insecure: true}, false},
	} {
		_, err := newClient(t, func(o *Options) { o.TLS = test.tls }, s.URL).List(t.Context(), Pools)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && KindOf(err) != Unreachable {
			t.Errorf("%s: kind %d, want Unreachable", test.name, KindOf(err))
		}
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) { o.Endpoints = nil },
		func(o *Options) { o.Endpoints = []string{"10.0.0.1:9070"} },
		func(o *Options) { o.Endpoints = []string{"ftp://a"} },
		func(o *Options) { o.Endpoints = []string{"https://a/api/tm"} },
		func(o *Options) { o.TLS.Fingerprint = "12" },
		func(o *Options) { o.TLS.CA = []byte("no PEM") },
	} {
		o := Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Endpoints: []string{"https://a"}}
		change(&o)
		if _, err := NewClient(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestEachKeepsTheOrderWithinALaneAndReturnsAtTheEnd(t *testing.T) {
	c := newClient(t, nil, unused(t))
	var ids []ID
	for i := range 100 {
		ids = append(ids, ID{Pools, fmt.Sprint(i)})
	}
	order := make([][]ID, len(c.lanes))
	c.Each(ids, func(id ID) {
		n := c.laneOf(configPath(id))
		order[n] = append(order[n], id) // a lane's calls never overlap: -race would tell
	})
	want := make([][]ID, len(c.lanes))
	for _, id := range ids {
		n := c.laneOf(configPath(id))
		want[n] = append(want[n], id)
	}
	if fmt.Sprint(order) != fmt.Sprint(want) {
		t.Errorf("order\n%v, want\n%v", order, want)
	}
}

func TestLanesAreUsedEvenly(t *testing.T) {
	c := &Client{lanes: make([]*lane, 8)}
	for _, pattern := range []string{"k8s_shop_web-%[1]d_web-%[1]d_80", "k8s_shop_web-%05[1]d_web-%05[1]d_80", "k8s_10.1.%[1]d.%[1]d_80_http"} {
		var used [8]int
		for i := range 1000 {
			used[c.laneOf(configPath(ID{Pools, fmt.Sprintf(pattern, i)}))]++
		}
		if slices.Min(used[:]) < 1000/8/2 {
			t.Errorf("%s: %v", pattern, used)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"properties":{"basic":{"nodes_table":[{"node":1},7,null],"monitors":"x","port":1e99}}}`))
	f.Add([]byte(`{"properties":{"basic":{"note":"a","note":"b"},"basic":{"note":"c"}}}`))
	f.Add([]byte(`{"children":[{"name":"a","href":"/a/"},{"name":"b"}],"state":{"errors":["e"]}}`))
	f.Add([]byte(`{"error_id":"a.b","error_info":{"basic":{"k":{"error_text":1}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range Types {
			checkReadLikeBefore(t, kind, body)
			if r, err := decode(ID{kind, "x"}, body); err == nil {
				if again := New(kind, "x", r.Properties()); !kind.IsFile() && !Equal(r, again) {
					t.Errorf("normal form is not stable: %v and %v", r.Properties(), again.Properties())
				}
				if !kind.IsFile() {
					// A key that the schema doesn't know may hold 1.0, which is sent as 1.
					sent := encode(r.settings)
					if back, err := decode(ID{kind, "x"}, sent); err != nil || !bytes.Equal(encode(back.settings), sent) {
						t.Errorf("%s, sent and read again: %v", sent, err)
					}
				}
				r.Mark()
			}
		}
		new(Error).parseErrorBody(body)
		if names, err := decodeChildren(body, everyName); err == nil && slices.Contains(names, "") {
			t.Error("a child without a name")
		}
		decodeState(body)
	})
}
