// Command kubectl is the Kubernetes command line client of the version that
// go.mod pins, built from its published modules for tests against the emulated
// API server. It adds nothing to the original.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	// Credential plugins that kubeconfig files may name.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

func main() {
	// The original's main is these lines: exit codes of plugins and of
	// kubectl diff pass through util.CheckErr.
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	os.Exit(0)
}
