package main

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shown is what a command of a page gives, by how it begins. plan ends with 1 where
// something would change, as kubectl diff does. Those marked again only look, and may
// be asked until what was done before has arrived.
type shown struct {
	begins string
	status int
	gives  *regexp.Regexp
	again  bool
}

// What the README's commands for operators give, in its order.
var operators = []shown{
	{"bin/vtm-ingress-controller check", 0, regexp.MustCompile(`(?m)^ok `), true},
	{"bin/vtm-ingress-controller plan -f", 1, regexp.MustCompile(`(?s)"hello\.example".*create virtual_servers/k8s_10\.0\.2\.223_80_http.*4 to create, 0 to change, 0 to delete`), true},
	{"kubectl apply", 0, regexp.MustCompile(`ingress.networking.k8s.io/hello created`), false},
	{"bin/vtm-ingress-controller explain", 0, regexp.MustCompile(`(?s)Ingress default/hello: programmed.*10\.0\.2\.223.*hello\.example`), true},
}

// What the commands of docs/certificates.md give.
var certificates = []shown{
	{"kubectl apply", 0, regexp.MustCompile(`ingress.networking.k8s.io/secure created`), false},
	{"kubectl describe ingress secure", 0, regexp.MustCompile(`Programmed .*served on .*10\.0\.2\.224:443`), true},
	{"kubectl get secret secure-certificate", 0, regexp.MustCompile(`(?s)notAfter=.*DNS:secure\.example`), false},
	{"bin/vtm-ingress-controller explain secure", 0, regexp.MustCompile(`(?s)Ingress default/secure: programmed.*10\.0\.2\.224.*secure\.example`), true},
	{"curl -s -o /dev/null", 0, regexp.MustCompile(`^302\n$`), false},
	{"kubectl delete secret", 0, regexp.MustCompile(`secret "secure-certificate" deleted`), false},
	{"kubectl get secret secure-certificate", 0, regexp.MustCompile(`kubernetes\.io/tls`), true},
	{"kubectl get events", 0, regexp.MustCompile(`(?m)^.*Warning +CertificatePending +ingress/secure`), true},
	{"kubectl delete -f", 0, regexp.MustCompile(`ingress.networking.k8s.io "secure" deleted`), false},
}

// commandsIn are those of a page's block of code that follows a line which is to be
// tried beside `make sim`.
func commandsIn(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "with `make sim` in another terminal:\n\n```\n")
	block, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatalf("%s has no commands to try beside make sim", page)
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

func TestTheREADMEsCommandsForOperatorsWork(t *testing.T) {
	showsWhatWorks(t, "README.md", operators)
}

func TestTheCommandsAboutCertificatesWork(t *testing.T) {
	needs(t, "curl")
	needs(t, "openssl")
	showsWhatWorks(t, "docs/certificates.md", certificates)
}

// showsWhatWorks runs the commands of a page.
func showsWhatWorks(t *testing.T, page string, promises []shown) {
	tools := kubectls(t)
	kubectl := tools["current"]
	if kubectl == "" {
		kubectl = tools["old"]
	}
	if kubectl == "" {
		t.Skip("no kubectl: set KUBECTL or KUBECTL_1_20 to the path of one")
	}
	t.Chdir("../..")
	bin := t.TempDir()
	if err := os.Symlink(kubectl, filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "vtm-ingress-controller")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/vtm-ingress-controller").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	at := addresses(t)
	box := startSandbox(t, flags{Nodes: 3, TrafficManagers: 3, Controller: true, Authority: true, Strict: true, Addresses: at})
	// The page's addresses may be in use here by what runs beside this test.
	mapped := at.Mapped.Masked().Addr().As4()
	secure := netip.AddrFrom4([4]byte{mapped[0], mapped[1], 2, 224})
	here := strings.NewReplacer("127.1.0.", strings.TrimSuffix(at.TrafficManagers.String(), "0"),
		"127.64.2.224:80", netip.AddrPortFrom(secure, bindablePort(secure, 80)).String(), "bin/vtm-ingress-controller", program).Replace

	exports := []string{box.commands[0]} // KUBECONFIG
	sh := &shell{t: t, env: append(os.Environ(), "HOME="+t.TempDir())}
	n := 0
	for _, command := range commandsIn(t, page) {
		if strings.HasPrefix(command, "export ") {
			exports = append(exports, here(command))
			continue
		}
		if n == len(promises) || !strings.HasPrefix(command, promises[n].begins) {
			t.Fatalf("nobody knows what %q promises", command)
		}
		promise := promises[n]
		n++
		for deadline := time.Now().Add(time.Minute); ; {
			out, err := sh.run(strings.Join(exports, "\n") + "\n" + here(command))
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status, err = exit.ExitCode(), nil
			}
			if err == nil && status == promise.status && promise.gives.MatchString(out) {
				break
			}
			if !promise.again || time.Now().After(deadline) {
				t.Fatalf("%s\n%s(status %d, %v)\nwant status %d and %s", command, out, status, err, promise.status, promise.gives)
			}
		}
	}
	if n != len(promises) {
		t.Errorf("%d commands are shown, want %d", n, len(promises))
	}
	if err := box.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
