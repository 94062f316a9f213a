package controllers_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/sim/network"
	"vtm-ingress/testenv/kubetest"
)

// story is a cluster's life with rollouts, a lost node, an API server that forgets and
// restarts, and a namespace's end.
func story(t *testing.T, seed uint64) string {
	var trace network.Trace
	network.SeedChance(seed)
	inBubble(t, setup{nodes: 3, seed: seed, trace: &trace}, func(c *cluster) {
		c.service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
		c.service(func(s *corev1.Service) { s.Name = "second" })
		c.app(nil)
		c.Eventually("the first rollout", c.rolledOut)
		c.template("2")
		time.Sleep(1500 * time.Millisecond)
		c.patch(`{"spec":{"replicas":6}}`)
		c.Eventually("the second rollout", c.rolledOut)
		c.Net.Cut("node-2", "127.20.0.1")
		time.Sleep(time.Minute)
		c.Net.Heal("node-2", "127.20.0.1")
		c.Server.ForgetHistory()
		c.Server.Unavailable(true)
		time.Sleep(5 * time.Second)
		c.Server.Unavailable(false)
		time.Sleep(time.Minute)
		c.deleteApp(metav1.DeletePropagationForeground)
		c.Eventually("the end of the pods", func() (bool, any) { return len(c.pods()) == 0, len(c.pods()) })
	})
	return trace.Canonical()
}

func TestARunRepeatsExactly(t *testing.T) {
	if !network.Repeats {
		t.Skip("client-go's jitter is random in this build: make test, which sets -tags hashedrand")
	}
	first := strings.Split(story(t, 7), "\n")
	for n := range 5 {
		again := strings.Split(story(t, 7), "\n")
		for i := range min(len(first), len(again)) {
			if first[i] != again[i] {
				t.Fatalf("run %d differs in line %d of %d:\n%s\nfirst:\n%s", n+2, i, len(first),
					strings.Join(again[max(0, i-5):min(len(again), i+3)], "\n"), strings.Join(first[max(0, i-5):min(len(first), i+3)], "\n"))
			}
		}
		if len(first) != len(again) {
			t.Fatalf("%d lines, then %d", len(first), len(again))
		}
	}
	if other := story(t, 8); other == strings.Join(first, "\n") {
		t.Error("another seed makes no difference")
	}
}

// idle counts what is asked in an hour in which nothing happens.
func idle(t *testing.T, services int) int {
	var trace network.Trace
	var began, ended int
	inBubble(t, setup{nodes: 3, trace: &trace}, func(c *cluster) {
		for range services {
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{GenerateName: "idle-"}, Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Port: 80}},
			}}
			must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Create(c.Ctx, s, metav1.CreateOptions{}))
		}
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		time.Sleep(time.Minute)
		requests := func() (n int) {
			for line := range strings.SplitSeq(trace.Canonical(), "\n") {
				if !strings.Contains(line, " dial ") && !strings.Contains(line, "/readiness/") {
					n++
				}
			}
			return n
		}
		began = requests()
		time.Sleep(time.Hour)
		ended = requests()
	})
	return ended - began
}

func TestIdleServicesCostNothing(t *testing.T) {
	few, many := idle(t, 1), idle(t, 60)
	// Each of three nodes renews its Lease and looks at its Node every ten seconds; the
	// rest is watches that begin anew.
	if few > 3*2*360+500 || many > few+20 {
		t.Errorf("%d requests an hour with one Service, %d with 60", few, many)
	}
	t.Logf("%d requests an hour with one Service, %d with 60", few, many)
}
