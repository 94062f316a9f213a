package controllers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKubectlRollsOut has a real kubectl, the one that KUBECTL names, do with the
// example what its users do.
func TestKubectlRollsOut(t *testing.T) {
	tool, err := filepath.Abs(os.Getenv("KUBECTL"))
	if info, missing := os.Stat(tool); os.Getenv("KUBECTL") == "" || err != nil || missing != nil || info.IsDir() {
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal("no kubectl: set KUBECTL to the path of one")
		}
		t.Skip("no kubectl: set KUBECTL to the path of one")
	}
	overSockets(t, setup{nodes: 2}, func(c *cluster) {
		config := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(config, c.Server.Kubeconfig(), 0o600); err != nil {
			t.Fatal(err)
		}
		kubectl := func(arguments ...string) string {
			t.Helper()
			command := exec.CommandContext(c.Ctx, tool, arguments...)
			command.Env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+t.TempDir())
			out, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, out)
			}
			return string(out)
		}
		kubectl("apply", "-f", "../../../examples/hello.yaml")
		for _, step := range [][]string{
			{"rollout", "status", "deployment/hello", "--timeout=30s"},
			{"rollout", "restart", "deployment/hello"},
			{"rollout", "status", "deployment/hello", "--timeout=30s"},
			{"scale", "deployment/hello", "--replicas=3"},
			{"wait", "deployment/hello", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s"},
			{"rollout", "undo", "deployment/hello"},
			{"rollout", "status", "deployment/hello", "--timeout=30s"},
		} {
			kubectl(step...)
		}
		if got := kubectl("rollout", "history", "deployment/hello"); !strings.Contains(got, "2 ") || !strings.Contains(got, "3 ") || strings.Contains(got, "1 ") {
			t.Errorf("the history after an undo: %s", got)
		}
		if got := kubectl("logs", "deployment/hello"); !strings.Contains(got, "listening on port 8080") {
			t.Errorf("%q", got)
		}
		kubectl("delete", "-f", "../../../examples/hello.yaml", "--timeout=30s")
		kubectl("wait", "pods", "--all", "--for=delete", "--timeout=30s")
	})
}
