package kube_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

// TestKubectl runs the scripts of testdata/kubectl by real kubectls: an old one
// and the current one. Conditions: [old], [current].
func TestKubectl(t *testing.T) {
	for _, tool := range []struct{ name, variable string }{{"old", "KUBECTL_1_20"}, {"current", "KUBECTL"}} {
		t.Run(tool.name, func(t *testing.T) {
			path, err := filepath.Abs(os.Getenv(tool.variable))
			if info, missing := os.Stat(path); os.Getenv(tool.variable) == "" || err != nil || missing != nil || info.IsDir() {
				why := fmt.Sprintf("no kubectl: set %s to the path of one (it is %q)", tool.variable, os.Getenv(tool.variable))
				if os.Getenv("REQUIRE_TOOLS") == "1" {
					t.Fatal(why)
				}
				t.Skip(why)
			}
			testscript.Run(t, testscript.Params{
				Dir: "testdata/kubectl",
				Condition: func(name string) (bool, error) {
					if name != "old" && name != "current" {
						return false, fmt.Errorf("unknown condition %q", name)
					}
					return name == tool.name, nil
				},
				Setup: func(env *testscript.Env) error { return setUpScript(env, path) },
			})
		})
	}
}

// setUpScript starts a server for one script and puts kubectl on its PATH.
func setUpScript(env *testscript.Env, kubectl string) error {
	s, err := kube.Start(kube.Options{
		World: outside.Real(), Address: "127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	env.Defer(s.Close)
	config, bin := filepath.Join(env.WorkDir, ".kubeconfig"), filepath.Join(env.WorkDir, ".bin")
	if err := os.WriteFile(config, s.Kubeconfig(), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(kubectl, filepath.Join(bin, "kubectl")); err != nil {
		return err
	}
	env.Setenv("KUBECONFIG", config)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return nil
}
