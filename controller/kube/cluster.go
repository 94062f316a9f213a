package kube

import (
	"context"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
)

const (
	requestTimeout = 10 * time.Second
	// Attempts at the cluster's identity are this far apart, doubled each time.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// cluster is what must be known of the API server before its objects count.
type cluster struct {
	uid       types.UID // of the namespace kube-system
	version   string    // "v1.35.0"
	hasSlices bool      // it serves EndpointSlices of discovery.k8s.io/v1
	hasRanges bool      // it serves ServiceCIDRs of networking.k8s.io/v1
}

var minimum = version.MustParseGeneric(MinimumVersion)

// identify asks the API server who it is. what says which request failed.
func identify(ctx context.Context, client kubernetes.Interface) (c cluster, what string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	discovery := client.Discovery()
	info, err := discovery.ServerVersionWithContext(ctx)
	if err != nil {
		return c, "get its version", err
	}
	c.version = info.GitVersion
	namespace, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return c, "get namespace " + metav1.NamespaceSystem, err
	}
	c.uid = namespace.UID
	if v, err := version.ParseGeneric(info.GitVersion); err == nil && v.LessThan(minimum) {
		return c, "get its version", &TooOldError{Version: info.GitVersion}
	}
	switch _, err := discovery.ServerResourcesForGroupVersionWithContext(ctx, "discovery.k8s.io/v1"); {
	case err == nil:
		c.hasSlices = true
	case !errors.IsNotFound(err):
		return c, "get discovery.k8s.io/v1", err
	}
	list, err := discovery.ServerResourcesForGroupVersionWithContext(ctx, networkingv1.SchemeGroupVersion.String())
	if err != nil {
		return c, "get " + networkingv1.SchemeGroupVersion.String(), err
	}
	c.hasRanges = slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == "servicecidrs" })
	return c, "", nil
}
