package dataplane

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// deviations are the cases of h2spec in which Go's HTTP/2 server is known to
// answer otherwise than the suite wants, by section and number, with the reason.
var deviations = map[string]string{
	"http2/6.5.3/1":   "a SETTINGS frame that names a setting twice ends the connection, against floods",
	"http2/8.1.2.2/1": "answered with 400, and the node never sees it",
	"http2/8.1.2.2/2": "answered with 400, and the node never sees it",
}

func TestHTTP2ConformsToItsSpecification(t *testing.T) {
	p, port := secure(t, Update{}, func(v *VirtualServer) {
		// The schema's defaults.
		v.HTTP2 = HTTP2{Enabled: true, MaxConcurrentStreams: 200, HeaderTableSize: 4096, MaxFrameSize: 16384, HeadersSizeLimit: 262144, StreamWindowSize: 65535}
	})
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("some data ", 10)) })
	p.Apply(Update{Pools: map[string]*Pool{"app": aPool(addr(b))}})
	c := &config.Config{Host: "127.0.0.1", Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, TLS: true, Insecure: true}
	passed := 0
	var run func(*spec.TestGroup)
	run = func(g *spec.TestGroup) {
		for i, test := range g.Tests {
			id := fmt.Sprintf("%s/%d", g.ID(), i+1)
			conn, err := spec.Dial(c)
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			err = test.Run(c, conn)
			conn.Close()
			switch reason := deviations[id]; {
			case errors.Is(err, spec.ErrSkipped):
				t.Logf("%s does not apply: %s", id, test.Desc)
			case err != nil && reason == "":
				t.Errorf("%s: %s: %v (%s)", id, test.Desc, err, test.Requirement)
			case err == nil:
				passed++
			}
		}
		for _, below := range g.Groups {
			run(below)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		run(g)
	}
	if passed < 130 {
		t.Errorf("%d cases passed, want 130 at least", passed)
	}
	t.Logf("%d cases passed", passed)
}

func TestHTTP2LimitsAreThoseSet(t *testing.T) {
	_, port := secure(t, Update{}, func(v *VirtualServer) {
		v.HTTP2 = HTTP2{Enabled: true, MaxConcurrentStreams: 7, HeadersSizeLimit: 2000, MaxFrameSize: 32768, StreamWindowSize: 100_000}
	})
	c := &config.Config{Host: "127.0.0.1", Port: port, Timeout: 5 * time.Second, TLS: true, Insecure: true}
	conn, err := spec.Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(conn.Settings)
	for _, want := range []string{"MAX_CONCURRENT_STREAMS:7", "MAX_FRAME_SIZE:32768", "INITIAL_WINDOW_SIZE:100000"} {
		if !strings.Contains(got, want) {
			t.Errorf("settings %s: no %s", got, want)
		}
	}
	tr := &http.Transport{ForceAttemptHTTP2: true}
	tr.TLSClientConfig, _ = c.TLSConfig()
	defer tr.CloseIdleConnections()
	for size, want := range map[int]int{100: 200, 5000: 0} {
		req, _ := http.NewRequest("GET", fmt.Sprintf("https://127.0.0.1:%d/", port), nil)
		req.Header.Set("X-Big", strings.Repeat("x", size))
		res, err := (&http.Client{Transport: tr}).Do(req)
		if want == 0 && err != nil {
			continue // the connection is dropped
		}
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != want || res.ProtoMajor != 2 {
			t.Errorf("%d bytes of headers: %s %s, want %d", size, res.Proto, res.Status, want)
		}
	}
}
