package dns

import (
	"context"
	"net/netip"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const byHost = "host"

// Ingresses knows where the hosts of a cluster's Ingresses are.
type Ingresses struct {
	client kubernetes.Interface
	index  cache.Indexer
}

// NewIngresses looks through client, which is used by it alone.
func NewIngresses(client kubernetes.Interface) *Ingresses {
	return &Ingresses{client: client, index: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{
		byHost: func(o any) ([]string, error) { return hosts(o.(*networkingv1.Ingress)), nil },
	})}
}

// Run watches until ctx ends.
func (i *Ingresses) Run(ctx context.Context) error {
	api := i.client.NetworkingV1().Ingresses(metav1.NamespaceAll)
	cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return api.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, o)
		},
	}, &networkingv1.Ingress{}, i.index, cache.ReflectorOptions{Name: "dns", MinWatchTimeout: 5 * time.Minute}).RunWithContext(ctx)
	return ctx.Err()
}

// Addresses are where a host is: at the addresses in the status of the oldest
// Ingress that names it, or where its annotation wants to be while it has none.
func (i *Ingresses) Addresses(host string) []netip.Addr {
	names := []string{host}
	if _, parent, found := strings.Cut(host, "."); found {
		names = append(names, "*."+parent)
	}
	for _, name := range names {
		found, err := i.index.ByIndex(byHost, name)
		if err != nil {
			return nil
		}
		var oldest *networkingv1.Ingress
		var at []netip.Addr
		for _, o := range found {
			ingress := o.(*networkingv1.Ingress)
			if oldest != nil && !older(ingress, oldest) {
				continue
			}
			if addresses := where(ingress); len(addresses) > 0 {
				oldest, at = ingress, addresses
			}
		}
		if oldest != nil {
			return at
		}
	}
	return nil
}

func older(a, b *networkingv1.Ingress) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}

func hosts(ingress *networkingv1.Ingress) []string {
	seen := map[string]bool{}
	var list []string
	add := func(host string) {
		if host = key(host); host != "" && !seen[host] {
			seen[host] = true
			list = append(list, host)
		}
	}
	for _, rule := range ingress.Spec.Rules {
		add(rule.Host)
	}
	for _, entry := range ingress.Spec.TLS {
		for _, host := range entry.Hosts {
			add(host)
		}
	}
	return list
}

func where(ingress *networkingv1.Ingress) []netip.Addr {
	var list []netip.Addr
	for _, entry := range ingress.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(entry.IP); err == nil {
			list = append(list, a)
		}
	}
	if len(list) > 0 {
		return list
	}
	for _, name := range []string{"ip-address", "shared-ip-address", "shared-ipaddress"} {
		if a, err := netip.ParseAddr(ingress.Annotations["vtm.pulsesecure.net/"+name]); err == nil {
			return []netip.Addr{a}
		}
	}
	return nil
}
