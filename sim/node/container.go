package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/internal/outside"
)

// Program is what a container runs. Run returns its exit code: soon after Stop is
// closed, and at once when ctx ends; by then it has ended all that it began.
type Program interface {
	Run(ctx context.Context, c *Container) int
}

// Container is what a program sees of where it runs.
type Container struct {
	World           outside.World
	Pod, Namespace  string
	Node, Name      string
	PodIP           netip.Addr
	Args            []string // the image's command is not overridden: only args count
	Env             []string // NAME=value
	Ports           []int    // TCP containerPorts, in their order
	Output          io.Writer
	Stop            <-chan struct{} // closed instead of SIGTERM
	actor, hostAddr string
	fabric          *Fabric
}

// Listen opens one of the pod's ports. Other pods and node ports reach it there.
func (c *Container) Listen(port int) (net.Listener, error) {
	l, err := c.World.Listen(c.actor, "tcp", net.JoinHostPort(c.hostAddr, "0"))
	if err != nil {
		return nil, err
	}
	c.fabric.listens(netip.AddrPortFrom(c.PodIP, uint16(port)), l.Addr().String())
	return l, nil
}

// container is one container of a pod with its restarts.
type container struct {
	spec    corev1.Container
	program Program // nil: unknown image
	worker  *podWorker

	mu       sync.Mutex
	running  *run // nil: not started, waiting or ended
	waiting  *corev1.ContainerStateWaiting
	last     *corev1.ContainerStateTerminated // of the run before
	ended    *corev1.ContainerStateTerminated // it will not run again
	restarts int32
	ready    bool // by its readiness probe, while it runs
}

// run is one start of a container.
type run struct {
	started time.Time
	cancel  context.CancelFunc // kills
	stop    func()             // asks to end
	done    chan struct{}
	cause   string // why it was stopped, for the next status
}

// crashBackOff is the delay before the n-th restart: 10 s doubled up to 5 min, as
// a kubelet has it.
func crashBackOff(restarts int32) time.Duration {
	d := 10 * time.Second
	for ; restarts > 1 && d < 5*time.Minute; restarts-- {
		d *= 2
	}
	return min(d, 5*time.Minute)
}

// supervise runs the container until the pod ends it or its restart policy does.
func (c *container) supervise(ctx context.Context, pod *corev1.Pod) {
	w := c.worker
	if c.program == nil {
		c.unknownImage(ctx, pod)
		return
	}
	for {
		environment, err := w.environment(ctx, pod, c.spec)
		if err != nil {
			c.set(func() {
				c.waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: err.Error()}
			})
			w.agent.events.write(ctx, pod, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
			if !w.pause(ctx, 10*time.Second) {
				return
			}
			continue
		}
		code, finished, killed := c.runOnce(ctx, pod, environment)
		if killed || w.stopping() {
			c.set(func() { c.ended = finished })
			return
		}
		policy := pod.Spec.RestartPolicy
		if policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && code == 0 {
			c.set(func() { c.ended = finished })
			return
		}
		c.mu.Lock()
		c.restarts++
		c.last = finished
		delay := crashBackOff(c.restarts)
		if c.restarts == 1 {
			delay = 0
		}
		if delay > 0 {
			c.waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.spec.Name, pod.Name)}
		}
		c.mu.Unlock()
		w.changed()
		if delay > 0 {
			w.agent.events.write(ctx, pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+c.spec.Name)
		}
		if !w.pause(ctx, delay) {
			c.set(func() { c.ended = finished })
			return
		}
	}
}

// runOnce starts the program and waits for its end.
func (c *container) runOnce(ctx context.Context, pod *corev1.Pod, environment []string) (code int, finished *corev1.ContainerStateTerminated, killed bool) {
	w := c.worker
	runContext, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	var once sync.Once
	r := &run{
		started: w.agent.now(), cancel: cancel, done: make(chan struct{}),
		stop: func() { once.Do(func() { close(stop) }) },
	}
	self := &Container{
		World: w.agent.World, Pod: pod.Name, Namespace: pod.Namespace, Node: w.agent.Name, Name: c.spec.Name,
		PodIP: w.ip, Args: c.arguments(environment), Env: environment, Stop: stop,
		Output: w.agent.Fabric.log(pod.Namespace, pod.Name, c.spec.Name),
		actor:  w.actor(), hostAddr: w.agent.Address.String(), fabric: w.agent.Fabric,
	}
	for _, p := range c.spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			self.Ports = append(self.Ports, int(p.ContainerPort))
		}
	}
	c.set(func() { c.running, c.waiting, c.ready = r, nil, c.spec.ReadinessProbe == nil })
	w.agent.events.write(ctx, pod, corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)

	probes := c.startProbes(runContext, r)
	if w.stopping() {
		r.stop() // the pod was deleted while we started
	}
	code = c.program.Run(runContext, self)
	killed = ctx.Err() != nil
	cancel()
	probes.Wait()
	for _, port := range self.Ports {
		w.agent.Fabric.gone(netip.AddrPortFrom(w.ip, uint16(port)))
	}
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	finished = &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, Message: r.cause,
		StartedAt: metav1.NewTime(r.started), FinishedAt: metav1.NewTime(w.agent.now()),
	}
	c.set(func() { c.running, c.ready = nil, false })
	close(r.done)
	return code, finished, killed
}

// arguments are args with $(NAME) replaced from the environment.
func (c *container) arguments(environment []string) []string {
	var pairs []string
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		pairs = append(pairs, "$("+name+")", value)
	}
	replace := strings.NewReplacer(pairs...)
	var list []string
	for _, a := range c.spec.Args {
		list = append(list, replace.Replace(a))
	}
	return list
}

// unknownImage waits as a kubelet that can't pull does.
func (c *container) unknownImage(ctx context.Context, pod *corev1.Pod) {
	w := c.worker
	text := fmt.Sprintf("image %q is in no row of this node's table of images", c.spec.Image)
	for delay := 10 * time.Second; ; delay = min(2*delay, 5*time.Minute) {
		c.set(func() { c.waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: text} })
		w.agent.events.write(ctx, pod, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.spec.Image, text))
		if !w.pause(ctx, delay) {
			return
		}
		c.set(func() {
			c.waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: fmt.Sprintf("Back-off pulling image %q: %s", c.spec.Image, text)}
		})
		if !w.pause(ctx, delay) {
			return
		}
	}
}

// set changes the container's state and tells the pod.
func (c *container) set(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.worker.changed()
}

// stop asks a running program to end; cause is told in the status.
func (c *container) stop(cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		if cause != "" {
			c.running.cause = cause
		}
		c.running.stop()
	}
}

// environment of a container, in the order of its spec; references are read from
// the API server.
func (w *podWorker) environment(ctx context.Context, pod *corev1.Pod, spec corev1.Container) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	core := w.agent.client.CoreV1()
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, from := range spec.EnvFrom {
		data := map[string]string{}
		switch {
		case from.ConfigMapRef != nil:
			m, err := core.ConfigMaps(pod.Namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
			if err != nil && !optional(from.ConfigMapRef.Optional) {
				return nil, err
			}
			if err == nil {
				data = m.Data
			}
		case from.SecretRef != nil:
			s, err := core.Secrets(pod.Namespace).Get(ctx, from.SecretRef.Name, metav1.GetOptions{})
			if err != nil && !optional(from.SecretRef.Optional) {
				return nil, err
			}
			if err == nil {
				for k, v := range s.Data {
					data[k] = string(v)
				}
			}
		}
		for _, k := range sortedKeys(data) {
			set(from.Prefix+k, data[k])
		}
	}
	for _, e := range spec.Env {
		value, found, err := e.Value, true, error(nil)
		if e.ValueFrom != nil {
			value, found, err = w.reference(ctx, pod, e.ValueFrom)
		}
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		if found {
			set(e.Name, value)
		}
	}
	var list []string
	for _, name := range order {
		list = append(list, name+"="+values[name])
	}
	return list, nil
}

func optional(b *bool) bool { return b != nil && *b }

// reference resolves valueFrom; found is false for an optional one that is missing.
func (w *podWorker) reference(ctx context.Context, pod *corev1.Pod, from *corev1.EnvVarSource) (value string, found bool, err error) {
	core := w.agent.client.CoreV1()
	switch {
	case from.FieldRef != nil:
		value, err = w.field(pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := core.ConfigMaps(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil {
			if value, ok := m.Data[ref.Key]; ok {
				return value, true, nil
			}
			err = fmt.Errorf("ConfigMap %s has no key %s", ref.Name, ref.Key)
		}
		if optional(ref.Optional) {
			err = nil
		}
		return "", false, err
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := core.Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil {
			if value, ok := s.Data[ref.Key]; ok {
				return string(value), true, nil
			}
			err = fmt.Errorf("Secret %s has no key %s", ref.Name, ref.Key)
		}
		if optional(ref.Optional) {
			err = nil
		}
		return "", false, err
	}
	return "", false, fmt.Errorf("only fieldRef, configMapKeyRef and secretKeyRef are emulated")
}

// field is the downward API.
func (w *podWorker) field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return w.ip.String(), nil
	case "status.hostIP":
		return w.agent.Address.String(), nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": pod.Labels, "metadata.annotations['": pod.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.TrimSuffix(rest, "']")], nil
		}
	}
	return "", fmt.Errorf("fieldPath %s is not emulated", path)
}
