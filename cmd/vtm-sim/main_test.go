package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"vtm-ingress/sim/vtm"
)

// TestMain lets this test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("VTM_SIM_TEST_RUNS_THE_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "VTM_SIM_TEST_RUNS_THE_PROGRAM=1")
	return c
}

// startSim runs the program until the test ends, and returns the members' REST URLs
// when it has printed all.
func startSim(t *testing.T, args ...string) (*exec.Cmd, []string) {
	t.Helper()
	c := program(args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	var urls []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if u := regexp.MustCompile(`  (https://\S+/api/tm/8.3)  SHA`).FindStringSubmatch(lines.Text()); u != nil {
			urls = append(urls, u[1])
		}
		if strings.Contains(lines.Text(), "curl -X PUT") {
			break
		}
	}
	if len(urls) != 3 {
		t.Fatalf("it printed the URLs %q", urls)
	}
	return c, urls
}

// cluster runs the program with three members on free ports.
func cluster(t *testing.T, data, address string) (*exec.Cmd, []string) {
	t.Helper()
	return startSim(t, "--cluster=3", "--data="+data, "--address="+address, "--rest-port=0", "--admin-port=0", "--control-port=0", "--address-map=loopback")
}

func request(method, url, body string) (int, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth("admin", loopbackPassword)
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestAKilledProcessLosesNothingThatItAcknowledged(t *testing.T) {
	data := t.TempDir()
	c, urls := cluster(t, data, "127.1.203.1")
	type made struct {
		name   string
		status int
	}
	acknowledged := make(chan made, 10_000)
	go func() {
		defer close(acknowledged)
		for i := range cap(acknowledged) {
			name := fmt.Sprint("pool-", i)
			status, err := request("PUT", urls[i%3]+"/config/active/pools/"+name, `{"properties":{"basic":{"note":"x"}}}`)
			if err != nil {
				return // it is dead
			}
			acknowledged <- made{name, status}
		}
	}()
	var names []string
	for m := range acknowledged {
		if m.status != 201 {
			t.Errorf("%s: %d", m.name, m.status)
		}
		if names = append(names, m.name); len(names) == 60 {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait()
	_, urls = cluster(t, data, "127.1.203.1")
	for i, name := range names {
		if status, err := request("GET", urls[(i+1)%3]+"/config/active/pools/"+name, ""); status != 200 {
			t.Errorf("%s was acknowledged and is lost: %d %v", name, status, err)
		}
	}
}

func TestAnInterruptEndsItCleanly(t *testing.T) {
	c, _ := cluster(t, t.TempDir(), "127.1.204.1")
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFaultsListsEveryKind(t *testing.T) {
	var out bytes.Buffer
	faultsCommand{}.print(&out)
	for _, k := range vtm.FaultKinds() {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(k.Name) + `\b`).MatchString(out.String()) {
			t.Errorf("%s is not listed:\n%s", k.Name, out.String())
		}
	}
}

func TestMistakesAreToldAndEndTheProgram(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--cluster=0"}, "between 1 and 16"},
		{[]string{"--address=192.0.2.1"}, "give a password in --password-file or VTM_SIM_PASSWORD"},
		{[]string{"--address-map=/does/not/exist"}, "neither none nor loopback nor a file"},
		{[]string{"ts", "check", "/does/not/exist"}, "/does/not/exist"},
	} {
		out, err := program(tc.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("%q: %v\n%s", tc.args, err, out)
		}
	}
}
