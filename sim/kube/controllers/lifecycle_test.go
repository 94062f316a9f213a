package controllers_test

import (
	"context"
	"testing"
	"time"

	"vtm-ingress/sim/kube"
	"vtm-ingress/testenv/kubetest"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func (c *cluster) deleteApp(policy metav1.DeletionPropagation) {
	c.T.Helper()
	if err := c.AppsV1().Deployments(kubetest.Namespace).Delete(c.Ctx, "app", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		c.T.Fatal(err)
	}
}

func (c *cluster) appThere() bool {
	c.T.Helper()
	_, err := c.AppsV1().Deployments(kubetest.Namespace).Get(c.Ctx, "app", metav1.GetOptions{})
	if err != nil && !gone(err) {
		c.T.Fatal(err)
	}
	return err == nil
}

func TestInTheBackgroundDependentsFollowTheirOwner(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		c.deleteApp(metav1.DeletePropagationBackground)
		if c.appThere() {
			t.Error("the Deployment waits")
		}
		c.Eventually("its dependents to be gone", func() (bool, any) { return len(c.replicaSets())+len(c.pods()) == 0, c.pods() })
	})
}

func TestInTheForegroundAnOwnerWaitsForItsDependents(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		c.deleteApp(metav1.DeletePropagationForeground)
		c.during("the Deployment to be gone", func() (bool, any) { return !c.appThere(), nil }, func() {
			left := len(c.pods()) // asked for before the Deployment, so that it may not be gone yet
			if left > 0 && len(c.replicaSets()) == 0 {
				t.Fatalf("the ReplicaSet is gone before %d pods", left)
			}
		})
		if left := len(c.pods()) + len(c.replicaSets()); left != 0 {
			t.Errorf("%d dependents are left", left)
		}
	})
}

func TestOrphansStay(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		c.deleteApp(metav1.DeletePropagationOrphan)
		c.Eventually("the Deployment to be gone", func() (bool, any) { return !c.appThere(), nil })
		time.Sleep(time.Minute)
		if sets := c.replicaSets(); len(sets) != 1 || len(sets[0].OwnerReferences) != 0 || len(c.pods()) != 3 {
			t.Errorf("%d pods, %+v", len(c.pods()), sets)
		}
	})
}

func TestADependentStaysWhileOneOwnerDoes(t *testing.T) {
	inBubble(t, setup{}, func(c *cluster) {
		owner := func(name string) metav1.OwnerReference {
			m := must[*corev1.ConfigMap](c)(c.CoreV1().ConfigMaps(kubetest.Namespace).Create(c.Ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
			return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: m.UID, BlockOwnerDeletion: ptr.To(true)}
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs", OwnerReferences: []metav1.OwnerReference{owner("a"), owner("b")}}}
		must[*corev1.Secret](c)(c.CoreV1().Secrets(kubetest.Namespace).Create(c.Ctx, secret, metav1.CreateOptions{}))
		foreground := metav1.DeletePropagationForeground
		for _, name := range []string{"a", "b"} {
			if err := c.CoreV1().ConfigMaps(kubetest.Namespace).Delete(c.Ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
				t.Fatal(err)
			}
			c.Eventually(name+" to be gone", func() (bool, any) {
				_, err := c.CoreV1().ConfigMaps(kubetest.Namespace).Get(c.Ctx, name, metav1.GetOptions{})
				return gone(err), err
			})
			time.Sleep(time.Minute)
			_, err := c.CoreV1().Secrets(kubetest.Namespace).Get(c.Ctx, "theirs", metav1.GetOptions{})
			if gone(err) != (name == "b") {
				t.Errorf("after the end of %s: %v", name, err)
			}
		}
	})
}

func TestANamespaceEndsWithAllItHolds(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		must[*corev1.Namespace](c)(c.CoreV1().Namespaces().Create(c.Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}))
		c.app(nil) // of another namespace, which stays
		must[*appsv1.Deployment](c)(c.AppsV1().Deployments("shop").Create(c.Ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: c.deployment().Spec,
		}, metav1.CreateOptions{}))
		must[*corev1.Service](c)(c.CoreV1().Services("shop").Create(c.Ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, Selector: map[string]string{"app": "app"}},
		}, metav1.CreateOptions{}))
		pods := func() []corev1.Pod {
			return must[*corev1.PodList](c)(c.CoreV1().Pods("shop").List(c.Ctx, metav1.ListOptions{})).Items
		}
		c.Eventually("its pods to be ready", func() (bool, any) {
			p := pods()
			return len(p) == 3 && ready(p[0]) && ready(p[1]) && ready(p[2]), p
		})
		if err := c.CoreV1().Namespaces().Delete(c.Ctx, "shop", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		there := func() bool {
			_, err := c.CoreV1().Namespaces().Get(c.Ctx, "shop", metav1.GetOptions{})
			return !gone(err)
		}
		c.Eventually("the last pod to be gone", func() (bool, any) {
			before := there()
			left := len(pods())
			if left > 0 && !before {
				t.Fatalf("the namespace is gone before %d pods", left)
			}
			return left == 0, left
		})
		c.Within(200*time.Millisecond, "the namespace to be gone with its last pod", func() (bool, any) {
			return !there(), nil
		})
		if _, err := c.AppsV1().Deployments("shop").Get(c.Ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the Deployment: %v", err)
		}
		c.Eventually("the other namespace to be as it was", c.rolledOut)
	})
}

func TestALostNodeServesNobodyAndComesBack(t *testing.T) {
	inBubble(t, setup{nodes: 2}, func(c *cluster) {
		c.service(nil)
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		c.Eventually("the rollout", c.rolledOut)
		var lost corev1.Pod
		for _, p := range c.pods() {
			if p.Spec.NodeName == "node-2" {
				lost = p
			}
		}
		status := func() corev1.ConditionStatus {
			return kubetest.NodeReady(must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-2", metav1.GetOptions{})))
		}
		c.Net.Cut("node-2", "127.20.0.1")
		began := time.Now()
		c.Within(55*time.Second, "the node to be unknown", func() (bool, any) { return status() == corev1.ConditionUnknown, status() })
		if took := time.Since(began); took < 29*time.Second {
			t.Errorf("lost after %s: the lease lasts 40 s", took)
		}
		c.Within(time.Second, "its pod not to be ready, its taint, and its endpoint not to be ready", func() (bool, any) {
			n := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-2", metav1.GetOptions{}))
			return len(n.Spec.Taints) == 1 && n.Spec.Taints[0].Key == corev1.TaintNodeUnreachable && c.conditions("app")[lost.Name] == "", n.Spec
		})
		c.Net.Heal("node-2", "127.20.0.1")
		c.Eventually("the node to be ready and without a taint, and its pod to serve", func() (bool, any) {
			n := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-2", metav1.GetOptions{}))
			return kubetest.NodeReady(n) == corev1.ConditionTrue && len(n.Spec.Taints) == 0 && c.conditions("app")[lost.Name] == "rs", n
		})
		time.Sleep(10 * time.Minute)
		if got := c.pods(); status() != corev1.ConditionTrue || len(got) != 2 || got[0].UID != lost.UID && got[1].UID != lost.UID {
			t.Errorf("node %s, pods %v", status(), got)
		}
	})
}

// An API server that is away just when a Lease is due is back just before the node counts
// as lost, and then the node has not renewed it yet.
func TestNoNodeIsLostBecauseTheAPIServerWasAway(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		node := func() *corev1.Node {
			return must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-1", metav1.GetOptions{}))
		}
		time.Sleep(time.Minute)
		lease := must[*coordinationv1.Lease](c)(c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(c.Ctx, "node-1", metav1.GetOptions{}))
		time.Sleep(time.Until(lease.Spec.RenewTime.Add(9900 * time.Millisecond)))
		away := time.Now()
		c.Server.SetFaults(kube.FaultRule{Kind: "away"})
		time.Sleep(30 * time.Second)
		c.Server.SetFaults()
		time.Sleep(time.Minute)
		if n := node(); kubetest.NodeReady(n) != corev1.ConditionTrue || !n.Status.Conditions[0].LastTransitionTime.Time.Before(away) {
			t.Errorf("it was lost: %v", n.Status.Conditions)
		}
	})
}

func TestPodsLeaveANodeThatStaysLost(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		nodeContext, powerCut := context.WithCancel(c.Ctx)
		c.StartNode(nodeContext, 2)
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		c.Eventually("the rollout", c.rolledOut)
		powerCut()
		time.Sleep(4 * time.Minute)
		if got := c.perNode(); got["node-1"] != 1 || got["node-2"] != 1 {
			t.Errorf("too early: %v", got)
		}
		c.Within(2*time.Minute, "another pod in its place", func() (bool, any) { return c.perNode()["node-1"] == 2, c.perNode() })
		if got := c.perNode()["node-2"]; got != 1 {
			t.Errorf("%d pods end on a node that says nothing; it stays terminating", got)
		}
		if err := c.CoreV1().Nodes().Delete(c.Ctx, "node-2", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Within(time.Second, "its pods to go with the Node", func() (bool, any) { return c.perNode()["node-2"] == 0, c.perNode() })
	})
}
