package node_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"vtm-ingress/sim/node"
	"vtm-ingress/testenv/kubetest"
)

const echo = `{image: "hello:1", ports: [{containerPort: 8080}]}`

func TestANodeTellsWhatItIsAndLives(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		n := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-1", metav1.GetOptions{}))
		version := must[string](c)(func() (string, error) { v, err := c.Discovery().ServerVersion(); return v.GitVersion, err }())
		if n.Labels["kubernetes.io/hostname"] != "node-1" || n.Status.Addresses[0].Address != "127.21.1.1" ||
			n.Status.NodeInfo.KubeletVersion != version || n.Status.Capacity.Pods().IsZero() || n.Spec.PodCIDR != "10.244.1.0/24" {
			t.Errorf("%+v", n)
		}
		lease := func() time.Time {

			return must[*coordinationv1.Lease](c)(c.CoordinationV1().Leases("kube-node-lease").Get(c.Ctx, "node-1", metav1.GetOptions{})).Spec.RenewTime.Time
		}
		first := lease()
		time.Sleep(15 * time.Second)
		if !lease().After(first) {
			t.Error("the Lease is not renewed")
		}
		before := n.ResourceVersion
		time.Sleep(2 * time.Minute)
		if after := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-1", metav1.GetOptions{})); after.ResourceVersion != before {
			t.Errorf("the Node is written although nothing changes")
		}
		time.Sleep(5 * time.Minute)
		if after := must[*corev1.Node](c)(c.CoreV1().Nodes().Get(c.Ctx, "node-1", metav1.GetOptions{})); after.ResourceVersion == before {
			t.Errorf("the Node's heartbeat is older than five minutes")
		}
	})
}

func TestAPodRunsAndSaysSo(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", echo, onNode(1))
		c.Eventually("it to be ready", c.ready("a"))
		p := c.get("a")
		if p.Status.Phase != corev1.PodRunning || p.Status.HostIP != "127.21.1.1" || !strings.HasPrefix(p.Status.PodIP, "10.244.1.") ||
			p.Status.StartTime == nil || state(p).State.Running == nil || state(p).RestartCount != 0 || len(p.Status.Conditions) < 4 {
			t.Errorf("%+v", p.Status)
		}
		c.pod("b", echo, onNode(1))
		c.Eventually("another to be ready", c.ready("b"))
		if other := c.get("b").Status.PodIP; other == p.Status.PodIP {
			t.Errorf("two pods have the address %s", other)
		}
	})
}

func TestAnUnknownImageIsWaitedFor(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "registry.example/nothing:1"}`, nil)
		for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
			c.Eventually(reason, func() (bool, any) {
				s := state(c.get("a"))
				return s.State.Waiting != nil && s.State.Waiting.Reason == reason, s
			})
		}
		c.Event("Failed", `Failed to pull image "registry.example/nothing:1"`)
		c.Event("BackOff", "Back-off pulling image")
		if p := c.get("a"); p.Status.Phase != corev1.PodPending {
			t.Errorf("%s", p.Status.Phase)
		}
		c.delete("a", metav1.DeleteOptions{})
		c.Within(time.Second, "its deletion, which has nothing to wait for", c.gone("a"))
	})
}

func TestReadinessIsUnderTheCallersControl(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 3}}`, nil)
		c.Eventually("it to be ready", c.ready("a"))
		port := c.service("a", "Cluster")
		put := func(value string) {
			t.Helper()
			c.Eventually("an answer", func() (bool, any) {
				status, _, err := c.request("PUT", 1, port, "/ready?value="+value)
				return status == 200, err
			})
		}
		put("false")
		began := time.Now()
		c.Eventually("it not to be ready", func() (bool, any) { ok, s := c.ready("a")(); return !ok, s })
		if took := time.Since(began); took < 1900*time.Millisecond || took > 3100*time.Millisecond {
			t.Errorf("after %s; three failures, a second apart, were asked for", took)
		}
		if p := c.get("a"); p.Status.Phase != corev1.PodRunning || state(p).RestartCount != 0 {
			t.Errorf("%+v", p.Status)
		}
		c.Event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
	})
}

func TestAFailedLivenessProbeRestarts(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", args: ["--drain=3s"], ports: [{containerPort: 8080}],
			livenessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 3}}`, nil)
		c.Eventually("it to be ready", c.ready("a"))
		port := c.service("a", "Cluster")
		c.Eventually("its end of life", func() (bool, any) {
			status, _, err := c.request("PUT", 1, port, "/ready?value=false")
			return status == 200, err
		})
		phases := map[corev1.PodPhase]bool{}
		c.Eventually("its restart", func() (bool, any) {
			p := c.get("a")
			phases[p.Status.Phase] = true
			return state(p).RestartCount == 1 && state(p).State.Running != nil, p.Status
		})
		if len(phases) != 1 || !phases[corev1.PodRunning] {
			t.Errorf("phases %v: a pod that restarts is running all the time", phases)
		}
		if last := state(c.get("a")).LastTerminationState.Terminated; last == nil || !strings.Contains(last.Message, "liveness") || last.ExitCode != 0 ||
			last.FinishedAt.Sub(last.StartedAt.Time) < 3*time.Second {
			t.Errorf("%+v", last)
		}
		c.Eventually("it to be ready again", c.ready("a"))
		time.Sleep(time.Minute)
		if got := state(c.get("a")).RestartCount; got != 1 {
			t.Errorf("%d restarts", got)
		}
		c.Event("Killing", "failed liveness probe")
	})
}

func TestProbesWaitForTheStartupProbe(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", ports: [{containerPort: 8080}],
			startupProbe: {tcpSocket: {port: 8080}, initialDelaySeconds: 20},
			livenessProbe: {tcpSocket: {port: 9999}, periodSeconds: 1, failureThreshold: 1}}`, nil)
		c.Eventually("it to run", func() (bool, any) { return state(c.get("a")).State.Running != nil, nil })
		time.Sleep(15 * time.Second)
		if s := state(c.get("a")); s.Ready || *s.Started || s.RestartCount != 0 {
			t.Errorf("%+v", s)
		}
		c.Eventually("the liveness probe to begin", func() (bool, any) { return state(c.get("a")).RestartCount > 0, nil })
	})
}

func TestACrashLoopBacksOff(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", args: [--no-such-flag]}`, nil)
		var starts []time.Time
		c.Within(5*time.Minute, "five restarts", func() (bool, any) {
			s := state(c.get("a"))
			if int(s.RestartCount) >= len(starts) && s.State.Waiting == nil || int(s.RestartCount) > len(starts) {
				starts = append(starts, time.Now())
			}
			return s.RestartCount == 5, s
		})
		p := c.get("a")
		if p.Status.Phase != corev1.PodRunning {
			t.Errorf("phase %s", p.Status.Phase)
		}
		// Restarts follow at once, after 10, 20, 40 and 80 s.
		if took := time.Since(p.Status.StartTime.Time); took < 150*time.Second || took > 155*time.Second {
			t.Errorf("five restarts in %s", took)
		}
		c.Eventually("CrashLoopBackOff", func() (bool, any) {
			s := state(c.get("a"))
			return s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" && s.LastTerminationState.Terminated.ExitCode == 2, s
		})
		c.Event("BackOff", "Back-off restarting failed container")
		c.delete("a", metav1.DeleteOptions{})
		c.Within(time.Second, "its deletion, which has nothing to wait for", c.gone("a"))
	})
}

func TestARestartPolicyEndsAPod(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", args: [--no-such-flag]}`, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		c.Eventually("its failure", func() (bool, any) { p := c.get("a"); return p.Status.Phase == corev1.PodFailed, p.Status })
		if s := state(c.get("a")); s.RestartCount != 0 || s.State.Terminated == nil || s.State.Terminated.ExitCode != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAPodHasUntilItsGraceIsOver(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		for _, x := range []struct {
			name         string
			drain        string
			grace        int64
			atLeast, max time.Duration
		}{
			{"polite", "2s", 30, 2 * time.Second, 3 * time.Second},
			{"slow", "60s", 4, 4 * time.Second, 5 * time.Second},
		} {
			c.pod(x.name, `{image: "hello:1", args: ["--drain=`+x.drain+`"], ports: [{containerPort: 8080}]}`,
				func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = &x.grace })
			c.Eventually("it to be ready", c.ready(x.name))
			began := time.Now()
			c.delete(x.name, metav1.DeleteOptions{})
			c.Eventually("it to be gone", c.gone(x.name))
			if took := time.Since(began); took < x.atLeast || took > x.max {
				t.Errorf("%s: gone after %s", x.name, took)
			}
		}
		// A second deletion with less patience counts.
		c.pod("hurried", `{image: "hello:1", args: ["--drain=60s"], ports: [{containerPort: 8080}]}`, nil)
		c.Eventually("it to be ready", c.ready("hurried"))
		c.delete("hurried", metav1.DeleteOptions{})
		time.Sleep(2 * time.Second)
		c.delete("hurried", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](3)})
		c.Within(2*time.Second, "it to be gone", c.gone("hurried"))
	})
}

func TestPreStopComesBeforeTheStopSignal(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		c.pod("a", `{image: "hello:1", ports: [{containerPort: 8080}], lifecycle: {preStop: {sleep: {seconds: 5}}}}`, nil)
		c.Eventually("it to be ready", c.ready("a"))
		began := time.Now()
		c.delete("a", metav1.DeleteOptions{})
		c.Eventually("it to be gone", c.gone("a"))
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("gone after %s", took)
		}
	})
}

func (c *cluster) logs(pod string, options corev1.PodLogOptions) string {
	c.T.Helper()
	r, err := c.CoreV1().Pods(kubetest.Namespace).GetLogs(pod, &options).Stream(c.Ctx)
	if err != nil {
		return "error: " + err.Error()
	}
	defer r.Close()
	text := must[[]byte](c)(io.ReadAll(r))
	return string(text)
}

func TestLogsAreThoseOfThisRunOrTheOneBefore(t *testing.T) {
	inBubble(t, "", func(c *cluster) {
		if err := c.CoreV1().Pods(kubetest.Namespace).Delete(c.Ctx, "a", metav1.DeleteOptions{}); err == nil {
			t.Fatal("there is a pod already")
		}
		c.pod("a", `{image: "hello:1", args: ["--drain=2s"], ports: [{containerPort: 8080}, {containerPort: 8081}],
			livenessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1}}`, nil)
		c.Eventually("it to be ready", c.ready("a"))
		if got := c.logs("a", corev1.PodLogOptions{}); got != "listening on port 8080\nlistening on port 8081\n" {
			t.Errorf("%q", got)
		}
		if got := c.logs("a", corev1.PodLogOptions{TailLines: ptr.To[int64](1)}); got != "listening on port 8081\n" {
			t.Errorf("%q", got)
		}
		if got := c.logs("a", corev1.PodLogOptions{LimitBytes: ptr.To[int64](6)}); got != "listen" {
			t.Errorf("%q", got)
		}
		if got := c.logs("a", corev1.PodLogOptions{Previous: true}); !strings.Contains(got, "previous terminated container") {
			t.Errorf("%q", got)
		}
		followed := make(chan string)
		go func() { followed <- c.logs("a", corev1.PodLogOptions{Follow: true}) }()
		port := c.service("a", "Cluster")
		c.Eventually("an answer", func() (bool, any) {
			status, _, err := c.request("PUT", 1, port, "/ready?value=false")
			return status == 200, err
		})
		// The stream ends with the run.
		if got := <-followed; !strings.HasSuffix(got, "stopping, draining for 2s\n") {
			t.Errorf("%q", got)
		}
		c.Eventually("its restart", func() (bool, any) { s := state(c.get("a")); return s.RestartCount == 1 && s.State.Running != nil, s })
		if got := c.logs("a", corev1.PodLogOptions{Previous: true}); !strings.HasSuffix(got, "stopping, draining for 2s\n") {
			t.Errorf("%q", got)
		}
		if got := c.logs("a", corev1.PodLogOptions{}); strings.Contains(got, "stopping") {
			t.Errorf("%q", got)
		}
	})
}

func TestALocalProcessHasTheContainersEnvironment(t *testing.T) {
	images, err := node.DefaultImages().WithCommand("printer", "sh", "-c", `env; echo "args: $*"; sleep 1000`, "printer")
	if err != nil {
		t.Fatal(err)
	}
	overSockets(t, images, func(c *cluster) {
		must[*corev1.ConfigMap](c)(c.CoreV1().ConfigMaps(kubetest.Namespace).Create(c.Ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"COLOUR": "green", "SIZE": "7"},
		}, metav1.CreateOptions{}))
		c.pod("a", `
image: registry.example:5000/team/printer:1.2
args: ["--for=$(WHO)", "$$(WHO)", "$(NOBODY)"]
ports: [{containerPort: 8080}]
envFrom: [{prefix: CM_, configMapRef: {name: settings}}, {secretRef: {name: none, optional: true}}]
env:
- {name: WHO, value: shop}
- {name: GREETING, value: "hello $(WHO)"}
- {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
- {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
- {name: HOSTS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
- {name: SIZE, valueFrom: {configMapKeyRef: {name: settings, key: SIZE}}}
- {name: TOKEN, valueFrom: {secretKeyRef: {name: token, key: value}}}
`, onNode(2))
		c.Eventually("it to wait for its Secret", func() (bool, any) {
			s := state(c.get("a"))
			return s.State.Waiting != nil && s.State.Waiting.Reason == "CreateContainerConfigError", s
		})
		must[*corev1.Secret](c)(c.CoreV1().Secrets(kubetest.Namespace).Create(c.Ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "token"}, StringData: map[string]string{"value": "s3cret"},
		}, metav1.CreateOptions{}))
		c.Eventually("it to be ready", c.ready("a"))
		ip := c.get("a").Status.PodIP
		var lines []string
		c.Eventually("its output", func() (bool, any) {
			lines = strings.Split(c.logs("a", corev1.PodLogOptions{}), "\n")
			return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "args: ") }), lines
		})
		for _, want := range []string{
			"CM_COLOUR=green", "CM_SIZE=7", "WHO=shop", "GREETING=hello shop", "POD=a", "NS=default", "APP=a", "NODE=node-2",
			"IP=" + ip, "HOST=127.21.1.2", "IPS=" + ip, "HOSTS=127.21.1.2", "SIZE=7", "TOKEN=s3cret", "args: --for=shop $(WHO) $(NOBODY)",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("no line %q in %q", want, lines)
			}
		}
		c.delete("a", metav1.DeleteOptions{})
		c.Eventually("the process to end with SIGTERM", c.gone("a"))
	})
}

func TestALocalProcessThatWillNotStopIsKilled(t *testing.T) {
	images, err := node.DefaultImages().WithCommand("stubborn", "sh", "-c", `trap "" TERM; while :; do sleep 0.1; done`)
	if err != nil {
		t.Fatal(err)
	}
	overSockets(t, images, func(c *cluster) {
		c.pod("a", `{image: stubborn, livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 1}}`, nil)
		c.Eventually("its restart by force", func() (bool, any) {
			s := state(c.get("a"))
			return s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 137, s
		})
		c.delete("a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)})
		c.Eventually("it to be gone", c.gone("a"))
	})
}
