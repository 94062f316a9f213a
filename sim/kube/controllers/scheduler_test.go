package controllers_test

import (
	"testing"
	"time"

	"vtm-ingress/testenv/kubetest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var besideItsKind = corev1.PodAffinityTerm{
	TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}},
}

// perNode counts the pods of app on each node; "" is those without one.
func (c *cluster) perNode() map[string]int {
	count := map[string]int{}
	for _, p := range c.pods() {
		count[p.Spec.NodeName]++
	}
	return count
}

func (c *cluster) node(name, patch string) {
	c.T.Helper()
	must[*corev1.Node](c)(c.CoreV1().Nodes().Patch(c.Ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}))
}

func TestRequiredAntiAffinityLeavesAPodWithoutANode(t *testing.T) {
	inBubble(t, setup{nodes: 2}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{besideItsKind},
			}}
		})
		c.Event("FailedScheduling", "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.")
		time.Sleep(time.Minute)
		if got := c.perNode(); got["node-1"] != 1 || got["node-2"] != 1 || got[""] != 1 {
			t.Errorf("%v", got)
		}
		c.StartNode(c.Ctx, 3)
		c.Eventually("the third pod to run on the new node", func() (bool, any) { return c.perNode()["node-3"] == 1, c.perNode() })
		c.Eventually("the rollout", c.rolledOut)
	})
}

func TestAPlaceIsFreeWhenItsPodIsGone(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) {
			d.Spec.Replicas = ptr.To[int32](1)
			d.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{besideItsKind},
			}}
		})
		c.Eventually("the rollout", c.rolledOut)
		old := c.pods()[0].Name
		c.deletePod(old)
		c.during("its successor to run", func() (bool, any) {
			pods := c.pods()
			return len(pods) == 1 && pods[0].Name != old && ready(pods[0]), pods
		}, func() {
			if c.perNode()["node-1"] > 1 {
				t.Fatal("two pods on a node, of which one is ending")
			}
		})
	})
}

func TestPreferredAntiAffinityCountsMoreThanRoom(t *testing.T) {
	inBubble(t, setup{nodes: 3}, func(c *cluster) {
		put := func(node, app string) {
			must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Create(c.Ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "other-", Labels: map[string]string{"app": app}},
				Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "hello"}}},
			}, metav1.CreateOptions{}))
		}
		for _, node := range []string{"node-1", "node-1", "node-1", "node-2", "node-2"} {
			put(node, "quiet")
		}
		put("node-3", "noisy")
		time.Sleep(time.Second) // for the scheduler to see them
		noisy := besideItsKind
		noisy.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "noisy"}}
		c.app(func(d *appsv1.Deployment) {
			d.Spec.Replicas = ptr.To[int32](1)
			d.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: noisy}},
			}}
		})
		c.Eventually("the rollout", c.rolledOut)
		if got := c.perNode(); got["node-2"] != 1 {
			t.Errorf("the emptiest node without noise is node-2: %v", got)
		}
		// Preferred is not required.
		for _, node := range []string{"node-1", "node-2"} {
			c.node(node, `{"spec":{"unschedulable":true}}`)
		}
		c.template("2")
		c.Eventually("the second rollout", func() (bool, any) {
			ok, status := c.rolledOut()
			return ok && c.perNode()["node-3"] == 1, status
		})
	})
}

func TestPodsOfOneOwnerSpread(t *testing.T) {
	inBubble(t, setup{nodes: 3}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](6) })
		c.Eventually("the rollout", c.rolledOut)
		if got := c.perNode(); got["node-1"] != 2 || got["node-2"] != 2 || got["node-3"] != 2 {
			t.Errorf("%v", got)
		}
	})
}

func TestPodsStayAwayFromNodesThatDoNotTakeThem(t *testing.T) {
	inBubble(t, setup{nodes: 3}, func(c *cluster) {
		c.node("node-1", `{"spec":{"unschedulable":true}}`)
		c.node("node-2", `{"spec":{"taints":[{"key":"for","value":"others","effect":"NoSchedule"}]}}`)
		c.node("node-3", `{"metadata":{"labels":{"disk":"slow"}}}`)
		time.Sleep(time.Second) // for the scheduler to see it
		c.app(func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "fast"} })
		c.Event("FailedScheduling", "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "+
			"1 node(s) had untolerated taint {for: others}, 1 node(s) were unschedulable.")
		time.Sleep(time.Second)
		if got := c.perNode(); got[""] != 3 {
			t.Fatalf("%v", got)
		}
		c.node("node-1", `{"metadata":{"labels":{"disk":"fast"}},"spec":{"unschedulable":null}}`)
		c.Eventually("the rollout", c.rolledOut)
		if got := c.perNode(); got["node-1"] != 3 {
			t.Errorf("%v", got)
		}
		// Who tolerates the taint may go there.
		c.patch(`{"spec":{"template":{"spec":{"nodeSelector":null,"tolerations":[{"key":"for","operator":"Exists"}]}}}}`)
		c.Eventually("the rollout to all nodes", func() (bool, any) {
			ok, status := c.rolledOut()
			return ok && len(c.pods()) == 3, status
		})
		if got := c.perNode(); got["node-1"] != 1 || got["node-2"] != 1 || got["node-3"] != 1 {
			t.Errorf("%v", got)
		}
	})
}
