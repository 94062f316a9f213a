package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vtm-ingress/controller/config"
)

func run(t *testing.T, environment []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = command(t.Context(), args, environment, &out, &err, keepLibraries)
	return status, out.String(), err.String()
}

func TestWrongSettingsAreToldAllAtOnceWithExitStatus2(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("vtm_endpoints: [https://10.0.0.1:9070]\nresync_perod: 10m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := run(t, []string{"VTM_INGRESS_CONFIG=" + file, "VTM_INGRESS_LOG_FORMAT=xml"}, "run", "--node-address-type=Other")
	if status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	for _, text := range []string{"--node-address-type", "VTM_INGRESS_LOG_FORMAT", "settings.yaml:2", "resync_period", "vtm_password"} {
		if !strings.Contains(stderr, text) {
			t.Errorf("not told: %s\n%s", text, stderr)
		}
	}
}

func TestWrongCommandLinesHaveExitStatus2(t *testing.T) {
	for _, args := range [][]string{{}, {"fly"}, {"run", "--vtm-password=x"}, {"run", "--enable-ingctrl=perhaps"}} {
		if status, _, stderr := run(t, nil, args...); status != 2 || stderr == "" {
			t.Errorf("%q: exit status %d, want 2: %s", args, status, stderr)
		}
	}
}

func TestHowToReachKubernetesMustBeSaid(t *testing.T) {
	status, _, stderr := run(t, []string{"VTM_INGRESS_VTM_PASSWORD=x"}, "run", "--vtm-endpoints=https://10.0.0.1:9070")
	if status != 2 || !strings.Contains(stderr, "k8s_config_path") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

func TestEachSettingButSecretsHasItsFlag(t *testing.T) {
	status, help, _ := run(t, nil, "run", "--help")
	if status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	for _, s := range config.All() {
		flag := "--" + strings.ReplaceAll(s.Key, "_", "-")
		if has := regexp.MustCompile("(?m)" + flag + "($|[ =])").MatchString(help); has != (s.Type != "secret") {
			t.Errorf("%s: flag in the help: %v", flag, has)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	status, stdout, _ := run(t, nil, "version")
	if status != 0 || !strings.HasPrefix(stdout, "vtm-ingress-controller ") {
		t.Errorf("exit status %d, %q", status, stdout)
	}
}

// free returns an address at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, ctx context.Context, url string) (int, string) {
	t.Helper()
	for {
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			return response.StatusCode, string(body)
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // it doesn't listen yet
	}
}

func TestHealthReadinessAndMetricsMeanWhatTheySay(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  []string
		ready int
	}{
		{"switched off", []string{"--enable-ingctrl=false", "--k8s-endpoint=http://" + free(t)}, 200},
		{"Kubernetes away", []string{"--vtm-endpoints=http://" + free(t), "--k8s-endpoint=http://" + free(t)}, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			ctx, stop := context.WithCancel(deadline)
			address := free(t)
			var stderr bytes.Buffer
			done := make(chan int, 1)
			go func() {
				done <- command(ctx, append([]string{"run", "--metrics-address=" + address}, test.args...),
					[]string{"VTM_INGRESS_VTM_PASSWORD=secret-1", "VTM_INGRESS_K8S_TOKEN=secret-2", "VTM_INGRESS_VTM_VERBOSE=true"}, io.Discard, &stderr, keepLibraries)
			}()
			if status, _ := get(t, deadline, "http://"+address+"/healthz"); status != 200 {
				t.Errorf("healthz: %d", status)
			}
			if test.ready == 200 {
				// Readiness is reached at once, but not before the first look.
				for status := 0; status != 200; status, _ = get(t, deadline, "http://"+address+"/readyz") {
				}
			} else if status, _ := get(t, deadline, "http://"+address+"/readyz"); status != test.ready {
				t.Errorf("readyz: %d, want %d", status, test.ready)
			}
			if status, body := get(t, deadline, "http://"+address+"/metrics"); status != 200 || !strings.Contains(body, "go_goroutines") {
				t.Errorf("metrics: %d %s", status, body)
			}
			stop()
			if status := <-done; status != 0 {
				t.Errorf("exit status %d after it was told to end: %s", status, stderr.String())
			}
			if strings.Contains(stderr.String(), "secret-") {
				t.Errorf("a secret is logged:\n%s", stderr.String())
			}
		})
	}
}

func TestAddressInUseIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	status, _, stderr := run(t, nil, "run", "--enable-ingctrl=false", "--metrics-address="+l.Addr().String())
	if status != 1 || !strings.Contains(stderr, "metrics_address") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

// keepLibraries leaves what libraries log where it is: other tests of this process
// use them at the same time.
func keepLibraries(*slog.Logger) {}
