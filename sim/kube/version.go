package kube

import (
	"fmt"
	"strconv"
	"strings"

	apiversion "k8s.io/apimachinery/pkg/version"
)

const (
	oldestMinor = 18
	newestMinor = 37
)

// kubernetesVersion is the minor version of Kubernetes 1 that a server presents
// itself as.
type kubernetesVersion int

// parseVersion reads "1.21", "v1.21" or "v1.21.3"; "" is the newest.
func parseVersion(s string) (kubernetesVersion, error) {
	if s == "" {
		return newestMinor, nil
	}
	parts := strings.Split(strings.TrimPrefix(s, "v"), ".")
	if len(parts) >= 2 && parts[0] == "1" {
		if minor, err := strconv.Atoi(parts[1]); err == nil && minor >= oldestMinor && minor <= newestMinor {
			return kubernetesVersion(minor), nil
		}
	}
	return 0, fmt.Errorf("emulated API server: version %q: give one from 1.%d to 1.%d", s, oldestMinor, newestMinor)
}

// String is "1.21", as package kinds takes it.
func (v kubernetesVersion) String() string { return fmt.Sprintf("1.%d", int(v)) }

// atLeast tells whether this is 1.minor or newer.
func (v kubernetesVersion) atLeast(minor int) bool { return int(v) >= minor }

// info is the answer of /version.
func (v kubernetesVersion) info() apiversion.Info {
	return apiversion.Info{
		Major:        "1",
		Minor:        strconv.Itoa(int(v)),
		GitVersion:   fmt.Sprintf("v1.%d.0", int(v)),
		GitCommit:    "emulated",
		GitTreeState: "clean",
		GoVersion:    "go1.26",
		Compiler:     "gc",
		Platform:     "linux/amd64",
	}
}
