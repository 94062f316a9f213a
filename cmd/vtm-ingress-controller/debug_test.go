package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// start runs the controller of s with public and private addresses until the test
// ends.
func (s *system) start(t *testing.T, args ...string) (public, private string) {
	t.Helper()
	public, private = "http://"+free(t), "http://"+free(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		done <- command(ctx, append([]string{"run", "--config=" + s.settings, "--metrics-address=" + strings.TrimPrefix(public, "http://"),
			"--debug-address=" + strings.TrimPrefix(private, "http://")}, args...), nil, io.Discard, &stderr, keepLibraries)
	}()
	t.Cleanup(func() {
		stop()
		if status := <-done; status != 0 {
			t.Errorf("exit status %d after it was told to end", status)
		}
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	return public, private
}

// eventually asks until the answer is as it should be.
func eventually(t *testing.T, url string, good func(status int, body string) bool) (body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		status, body := get(t, ctx, url)
		if good(status, body) {
			return body
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %d %s", url, status, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestTheDebugEndpointTellsWhatBecameOfAnIngressAndWhy(t *testing.T) {
	s := newSystem(t, "resync_period: 10m\n")
	s.served(t)
	s.StopController()
	_, private := s.start(t)
	text := eventually(t, private+"/debug/ingresses/default/web", func(status int, body string) bool {
		return status == http.StatusOK && strings.Contains(body, "as it should be") && !strings.Contains(body, "to create")
	})
	holds(t, text, "Ingress default/web: ", "On the traffic manager:", "pools/k8s_default_web_")
	if status, body := get(t, t.Context(), private+"/debug/ingresses/default/none"); status != http.StatusNotFound {
		t.Errorf("of an Ingress that there is not: %d %s", status, body)
	}
}

func TestNobodyButProgramsOfThisMachineReachesTheDebugAddress(t *testing.T) {
	status, _, stderr := run(t, nil, "run", "--enable-ingctrl=false", "--debug-address=0.0.0.0:6060")
	if status != 2 || !strings.Contains(stderr, "loopback") {
		t.Errorf("an address that others reach: exit status %d: %s", status, stderr)
	}
	s := newSystem(t, "resync_period: 10m\n")
	_, private := s.start(t, "--enable-ingctrl=false")
	if status, body := get(t, t.Context(), private+"/debug/pprof/goroutine?debug=1"); status != http.StatusOK {
		t.Errorf("a profile: %d %s", status, body)
	}
	for name, change := range map[string]func(*http.Request){
		"a name that resolves to this machine": func(r *http.Request) { r.Host = "evil.example:80" },
		"a page of a browser":                  func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, private+"/debug/pprof/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
}

// Each line of the log is of one form, that of libraries included, and what concerns
// an Ingress names it in keys of its own.
func TestTheLogIsTextOrJSON(t *testing.T) {
	s := newSystem(t, "resync_period: 10m\nvtm_verbose: true\n")
	s.served(t)
	s.StopController()
	for _, format := range []string{"json", "text"} {
		var log lines
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() {
			done <- command(ctx, []string{"run", "--config=" + s.settings, "--metrics-address=" + free(t), "--log-format=" + format}, nil, io.Discard, &log, keepLibraries)
		}()
		is := func(line string) bool {
			return strings.Contains(line, " msg=") && strings.Contains(line, " namespace=default name=web ")
		}
		if format == "json" {
			is = func(line string) bool {
				var parsed struct{ Time, Level, Msg, Namespace, Name string }
				return json.Unmarshal([]byte(line), &parsed) == nil && parsed.Time != "" && parsed.Level == "INFO" && parsed.Msg != "" &&
					parsed.Namespace == "default" && parsed.Name == "web"
			}
		}
		if err := s.Eventually(ctx, func(context.Context) error {
			for _, line := range log.all() {
				if is(line) {
					return nil
				}
			}
			return fmt.Errorf("no line names the Ingress: %q", log.all())
		}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		stop()
		<-done
		for _, line := range log.all() {
			if strings.HasPrefix(line, "time=") != (format == "text") || json.Valid([]byte(line)) != (format == "json") {
				t.Errorf("with log_format %s: %s", format, line)
			}
		}
	}
}

// lines are what was written, by line. Safe to use from several goroutines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

func TestReadinessSaysWhatItWaitsFor(t *testing.T) {
	s := newSystem(t, "resync_period: 10m\n")
	away := free(t)
	public, _ := s.start(t, "--vtm-endpoints=https://"+away, "--retry-period=100ms")
	eventually(t, public+"/readyz", func(status int, body string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(body, away)
	})
	if status, body := get(t, t.Context(), public+"/healthz"); status != http.StatusOK {
		t.Errorf("a restart would not bring the traffic manager back, and yet it is asked for: %d %s", status, body)
	}
}

func TestStatusSaysWhichInstanceWritesAndThroughWhat(t *testing.T) {
	s := newSystem(t, "resync_period: 10m\n")
	s.served(t)
	s.StopController()
	public, _ := s.start(t)
	text := eventually(t, public+"/status", func(status int, body string) bool {
		return status == http.StatusOK && strings.Contains(body, `"writing": true`)
	})
	// What the instance before it wrote is known, too.
	holds(t, text, `"term": 2`, `"through": "https://127.`, `"lastWrite": "20`)
	if strings.Contains(text, "ownTrafficManagerProblem") {
		t.Errorf("its own traffic manager is well: %s", text)
	}
}
