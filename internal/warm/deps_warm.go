//go:build !nowarm

package warm

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/cucumber/godog"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "golang.org/x/net/http2"
	_ "golang.org/x/tools/txtar"
	_ "k8s.io/apimachinery/pkg/api/meta"
	_ "k8s.io/apiserver/pkg/endpoints/handlers"

	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/tools/leaderelection"
	_ "k8s.io/client-go/tools/record"
	_ "k8s.io/kube-openapi/pkg/common"
	_ "k8s.io/utils/clock"
	_ "pgregory.net/rapid"
	_ "sigs.k8s.io/yaml"
)
