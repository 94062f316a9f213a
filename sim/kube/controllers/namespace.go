package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// namespaces empties namespaces that are deleted, and then lets them go.
type namespaces struct {
	*manager
	client kubernetes.Interface
	lister corelisters.NamespaceLister
	pods   corelisters.PodLister
	queue  *loop
}

func (m *manager) addNamespaces() error {
	client, err := m.client("namespace")
	if err != nil {
		return err
	}
	core := m.factory.Core().V1()
	c := &namespaces{manager: m, client: client, lister: core.Namespaces().Lister(), pods: core.Pods().Lister()}
	c.queue = m.loop("namespace", c.sync)
	on(core.Namespaces().Informer(), func(n, _ *corev1.Namespace) {
		if n.DeletionTimestamp != nil {
			c.queue.add(n.Name)
		}
	})
	// Pods are what a namespace waits for: look again when the last is gone.
	on(core.Pods().Informer(), func(p, _ *corev1.Pod) {
		if n, err := c.lister.Get(p.Namespace); err != nil || n.DeletionTimestamp == nil {
			return
		}
		if left, err := c.pods.Pods(p.Namespace).List(labels.Everything()); err == nil && len(left) == 0 {
			c.queue.add(p.Namespace)
		}
	})
	return nil
}

// errNotEmpty makes the queue try again, each time later.
var errNotEmpty = errors.New("the namespace still holds something")

func (c *namespaces) sync(ctx context.Context, name string) error {
	n, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || n.DeletionTimestamp == nil || !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return err
	}
	left, err := c.empty(ctx, name)
	if err != nil {
		return err
	}
	if left {
		return errNotEmpty
	}
	changed := n.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = c.client.CoreV1().Namespaces().Finalize(ctx, changed, metav1.UpdateOptions{})
	return err
}

// empty deletes all that a namespace holds, and says whether something is left.
func (c *namespaces) empty(ctx context.Context, name string) (left bool, err error) {
	_, lists, err := discovery.ToDiscoveryInterfaceWithContext(c.client.Discovery()).ServerGroupsAndResourcesWithContext(ctx)
	if err != nil {
		return false, err
	}
	slices.SortFunc(lists, func(a, b *metav1.APIResourceList) int { return strings.Compare(a.GroupVersion, b.GroupVersion) })
	for _, list := range lists {
		for _, r := range list.APIResources {
			if !r.Namespaced || strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "deletecollection") {
				continue
			}
			path := apiPath(list.GroupVersion, r.Name, name)
			body, err := c.client.Discovery().RESTClient().Get().AbsPath(path).Param("limit", "1").
				SetHeader("Accept", "application/json").Do(ctx).Raw()
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return false, err
			}
			var found struct{ Items []json.RawMessage }
			if err := json.Unmarshal(body, &found); err != nil {
				return false, err
			}
			if len(found.Items) == 0 {
				continue
			}
			left = true
			if err := c.client.Discovery().RESTClient().Delete().AbsPath(path).Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
				return false, err
			}
		}
	}
	return left, nil
}
