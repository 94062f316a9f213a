package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"vtm-ingress/sim/sandbox"
)

// addresses are a block beside those of a sandbox that runs on this machine, of
// the test lanes, and of another run of this test.
func addresses(t *testing.T) sandbox.Addresses {
	t.Helper()
	for block := byte(118); block < 126; block += 2 {
		lock, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:9999", block))
		if err != nil {
			continue
		}
		t.Cleanup(func() { lock.Close() })
		return sandbox.AddressesIn(block, block+1)
	}
	t.Fatal("all blocks of loopback addresses are in use")
	panic("unreachable")
}

// running is a sandbox as its user sees it.
type running struct {
	commands []string // printed, in their order
	pages    []string // URLs of admin pages
	stop     func() error
}

// startSandbox returns when the sandbox has printed all that it prints.
func startSandbox(t *testing.T, f flags) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, f, writer)
		writer.CloseWithError(io.EOF)
		done <- err
	}()
	r := &running{}
	r.stop = sync.OnceValue(func() error {
		cancel()
		_, _ = io.Copy(io.Discard, reader) // until it has ended
		return <-done
	})
	t.Cleanup(func() { _ = r.stop() })

	command := regexp.MustCompile(`^  (export|curl|\S*kubectl) `)
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		t.Log(lines.Text())
		if command.MatchString(lines.Text()) {
			r.commands = append(r.commands, strings.TrimSpace(lines.Text()))
		}
		if page := strings.TrimSpace(lines.Text()); strings.HasPrefix(page, "https://") {
			r.pages = append(r.pages, page)
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			go io.Copy(io.Discard, reader) //nolint // ends with the writer
			return r
		}
	}
	t.Fatalf("the sandbox did not come up: %v", r.stop())
	return nil
}

// kubectls are those that the printed commands are tried with.
func kubectls(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, variable := range map[string]string{"old": "KUBECTL_1_20", "current": "KUBECTL"} {
		path, err := filepath.Abs(os.Getenv(variable))
		if info, missing := os.Stat(path); os.Getenv(variable) != "" && err == nil && missing == nil && !info.IsDir() {
			found[name] = path
		} else if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatalf("no kubectl: set %s to the path of one (it is %q)", variable, os.Getenv(variable))
		}
	}
	return found
}

func needs(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no %s: %v", tool, err)
	}
}

// What each printed command promises, by how it begins. Those marked again only
// look, and may be asked until what was done before has arrived.
var promises = []struct {
	begins string
	gives  *regexp.Regexp
	again  bool
}{
	{"kubectl get nodes", regexp.MustCompile(`(?s)node-1 +Ready.*node-2 +Ready.*node-3 +Ready`), false},
	{"kubectl apply", regexp.MustCompile(`(?s)deployment.apps/hello created.*ingress.networking.k8s.io/hello created`), false},
	{"kubectl rollout status", regexp.MustCompile(`successfully rolled out`), false},
	{"kubectl get ingress", regexp.MustCompile(`hello +vtm +hello.example +10\.0\.2\.223 +80`), true},
	{"curl -s --connect-to", regexp.MustCompile(`"pod": "hello-`), true},
	{"kubectl describe ingress", regexp.MustCompile(`Programmed .*served on 10\.0\.2\.223:80`), true},
	{"kubectl scale", regexp.MustCompile(`deployment.apps/hello scaled`), false},
	{"kubectl rollout restart", regexp.MustCompile(`deployment.apps/hello restarted`), false},
	{"kubectl apply", regexp.MustCompile(`ingress.networking.k8s.io/secure created`), false},
	{"curl -s --retry", regexp.MustCompile(`"pod": "hello-`), false},
	{"kubectl describe secret", regexp.MustCompile(`(?s)Type: +kubernetes.io/tls.*tls.crt`), false},
	{"kubectl delete", regexp.MustCompile(`ingress.networking.k8s.io "secure" deleted`), false},
	{"kubectl delete", regexp.MustCompile(`ingress.networking.k8s.io "hello" deleted`), false},
	{"curl -sk -u", regexp.MustCompile(`^{"children":\[({"name":"k8s_event-log"[^}]*})?\]}`), true}, // nothing is left but what takes log lines
	{"curl -s http", regexp.MustCompile(`(?s)"name": "vtm-1".*"state": "working"`), false},
	{"curl -s http", regexp.MustCompile(`^$`), false}, // no faults
}

// shell runs commands as a user's terminal would.
type shell struct {
	t   *testing.T
	env []string
}

func (s *shell) run(command string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", command)
	c.Env = s.env
	out, err := c.CombinedOutput()
	return string(out), err
}

func (s *shell) expect(command string, gives *regexp.Regexp, again bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := s.run(command)
		if err == nil && gives.MatchString(out) {
			return
		}
		if !again || time.Now().After(deadline) {
			s.t.Fatalf("%s\n%s(%v)\nwant: %s", command, out, err, gives)
		}
	}
}

func TestThePrintedCommandsWorkAndNoRequestIsLost(t *testing.T) {
	needs(t, "curl")
	tools := kubectls(t)
	if len(tools) == 0 {
		t.Skip("no kubectl: set KUBECTL or KUBECTL_1_20 to the path of one")
	}
	t.Chdir("../..") // where `make sim` runs
	for name, path := range tools {
		t.Run(name, func(t *testing.T) {
			temporary, bin, home := t.TempDir(), t.TempDir(), t.TempDir()
			t.Setenv("TMPDIR", temporary)
			if err := os.Symlink(path, filepath.Join(bin, "kubectl")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
			at := addresses(t)
			box := startSandbox(t, flags{Nodes: 3, TrafficManagers: 3, Controller: true, Authority: true, Strict: true, Addresses: at})
			sh := &shell{t: t, env: append(os.Environ(), "HOME="+home)}

			var load *load
			for i, command := range box.commands {
				if variable, is := strings.CutPrefix(command, "export "); is {
					sh.env = append(sh.env, variable)
					continue
				}
				if i-1 >= len(promises) || !strings.HasPrefix(command, promises[i-1].begins) {
					t.Fatalf("nobody knows what %q promises", command)
				}
				promise := promises[i-1]
				if strings.HasPrefix(command, "kubectl delete") && strings.HasSuffix(command, "/hello.yaml") {
					// The pods that were replaced go on for their drain time.
					sh.expect("kubectl get pods -o name | wc -l", regexp.MustCompile(`^3\s*$`), true)
					load.end()
				}
				sh.expect(command, promise.gives, promise.again)
				switch {
				case strings.HasPrefix(command, "curl -s --connect-to"):
					load = startLoad(t, regexp.MustCompile(`hello\.example:80:(\S+)`).FindStringSubmatch(command)[1])
				case strings.HasPrefix(command, "kubectl scale"), strings.HasPrefix(command, "kubectl rollout restart"):
					sh.expect("kubectl rollout status deployment/hello", regexp.MustCompile(`successfully rolled out`), false)
				}
			}
			if got := len(box.commands) - 1; got != len(promises) {
				t.Errorf("%d commands are printed, want %d", got, len(promises))
			}
			if len(box.pages) != 3 {
				t.Errorf("the admin pages %q are printed, want three", box.pages)
			}
			for _, page := range box.pages {
				sh.expect("curl -skL --cookie '' "+page, regexp.MustCompile(`(?s)<title>.*name="password"`), false)
			}
			if err := box.stop(); err != nil {
				t.Errorf("ended with %v", err)
			}
			nothingIsLeft(t, at, temporary)
		})
	}
}

// nothingIsLeft checks that the sandbox has removed its files and left its
// addresses.
func nothingIsLeft(t *testing.T, at sandbox.Addresses, temporary string) {
	t.Helper()
	if files, err := os.ReadDir(temporary); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v %v", files, err)
	}
	left := []string{at.APIServer.String(), at.APIServer.Addr().String() + ":9071"}
	for i, tm := 0, at.TrafficManagers.Next(); i < 3; i, tm = i+1, tm.Next() {
		left = append(left, tm.String()+":9070", tm.String()+":9071", tm.String()+":9090")
	}
	for _, address := range left {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("an address is still in use: %v", err)
			continue
		}
		l.Close()
	}
}

// load is a steady stream of requests through the Ingress.
type load struct {
	t       *testing.T
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu     sync.Mutex
	served int
	lost   []error
}

// startLoad lets two clients ask one request after the other: one keeps its
// connection, the other makes a new one each time.
func startLoad(t *testing.T, address string) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop}
	for _, fresh := range []bool{false, true} {
		transport := &http.Transport{
			DisableKeepAlives: fresh,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		}
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		l.clients.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				l.count(ask(client))
			}
		})
	}
	t.Cleanup(func() { stop(); l.clients.Wait() })
	return l
}

func ask(client *http.Client) error {
	answer, err := client.Get("http://hello.example/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, body)
	}
	return nil
}

func (l *load) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lost = append(l.lost, err)
		return
	}
	l.served++
}

// end stops asking and tells what was lost.
func (l *load) end() {
	l.t.Helper()
	l.stop()
	l.clients.Wait()
	if len(l.lost) > 0 || l.served == 0 {
		l.t.Errorf("of %d requests %d were lost, first: %v", l.served+len(l.lost), len(l.lost), errors.Join(l.lost[:min(len(l.lost), 3)]...))
	}
	l.t.Logf("%d requests served", l.served)
}

func TestAnAddressInUseIsToldAndNothingIsLeft(t *testing.T) {
	for _, part := range []string{"API server", "traffic manager"} {
		t.Run(part, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			at := addresses(t)
			taken := at.APIServer.String()
			if part == "traffic manager" {
				taken = at.TrafficManagers.Next().String() + ":9070"
			}
			other, err := net.Listen("tcp", taken)
			if err != nil {
				t.Fatal(err)
			}
			err = run(t.Context(), flags{Nodes: 1, TrafficManagers: 1, Addresses: at}, io.Discard)
			other.Close()
			if err == nil {
				t.Fatal("it runs on an address that is in use")
			}
			for _, text := range []string{taken, "another sandbox may be running"} {
				if !strings.Contains(explain(err), text) {
					t.Errorf("not told: %s\n%s", text, explain(err))
				}
			}
			nothingIsLeft(t, at, temporary)
		})
	}
}

// Ctrl-C may come before all is up.
func TestAnEarlyEndIsNoError(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	at := addresses(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, flags{Nodes: 3, TrafficManagers: 3, Controller: true, Addresses: at}, io.Discard); err != nil {
		t.Errorf("ended with %v", err)
	}
	nothingIsLeft(t, at, temporary)
}

// A container's image may be a program of this machine.
func TestImagesCanBeCommands(t *testing.T) {
	at := addresses(t)
	t.Setenv("TMPDIR", t.TempDir())
	program := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho port=$1\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	box := startSandbox(t, flags{Nodes: 1, TrafficManagers: 1, Addresses: at, Image: []string{"shop/*=" + program + " {PORT}"}})
	config, err := clientcmd.BuildConfigFromFlags("", strings.TrimPrefix(box.commands[0], "export KUBECONFIG="))
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pods := client.CoreV1().Pods("default")
	_, err = pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
			Name: "app", Image: "shop/app:7", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`port=[1-9][0-9]*`)
	for {
		log, err := pods.GetLogs("app", &corev1.PodLogOptions{}).DoRaw(ctx)
		if err == nil && said.Match(log) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the program did not run: %q %v", log, err)
		}
	}
}

func TestWrongFlagsAreTold(t *testing.T) {
	for want, f := range map[string]flags{
		"--nodes=0":             {Nodes: 0},
		"--nodes=201":           {Nodes: 201},
		`--traffic-managers=0`:  {Nodes: 1, TrafficManagers: 0},
		`--traffic-managers=17`: {Nodes: 1, TrafficManagers: 17},
		`--image="x="`:          {Nodes: 1, TrafficManagers: 1, Image: []string{"x="}},
		`--image="[=y"`:         {Nodes: 1, TrafficManagers: 1, Image: []string{"[=y"}},
		`version "1.17"`:        {Nodes: 1, TrafficManagers: 1, KubernetesVersion: "1.17", Addresses: addresses(t)},
		"dual-stack Services":   {Nodes: 1, TrafficManagers: 1, KubernetesVersion: "1.20", DualStack: true, Addresses: addresses(t)},
	} {
		if err := run(t.Context(), f, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s: %v", want, err)
		}
	}
}
