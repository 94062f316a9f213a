package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	PodIPs          []netip.Addr // one of each family of the node, its primary's first
	Args            []string     // the image's command is not overridden: only args count
	Env             []string     // NAME=value
	Ports           []int        // TCP containerPorts, in their order
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
	for _, ip := range c.PodIPs {
		c.fabric.listens(netip.AddrPortFrom(ip, uint16(port)), l.Addr().String())
	}
	return l, nil
}

// container is one container of a pod with its restarts.
type container struct {
	spec    corev1.Container
	program Program // nil: unknown image
	worker  *podWorker

	// One of running, waiting and exited is set; mu guards all of these.
	mu       sync.Mutex
	running  *run
	waiting  *corev1.ContainerStateWaiting
	exited   *corev1.ContainerStateTerminated
	last     *corev1.ContainerStateTerminated // of the run before
	final    bool                             // it will not run again
	restarts int32
	started  bool // by its startup probe, while it runs
	ready    bool // by its readiness probe, while it runs
}

// run is one start of a container.
type run struct {
	started time.Time
	kill    context.CancelFunc
	stop    func() // asks to end
	cause   string // why it is stopped, for the next status; under container.mu
}

// forgiveAfter is how long a run must last for the crashes before it to be forgotten.
const forgiveAfter = 10 * time.Minute

// crashBackOff is the delay before the next run after a number of crashes: none after
// the first, then 10 s doubled up to 5 min, as a kubelet has it.
func crashBackOff(crashes int) time.Duration {
	if crashes < 2 {
		return 0
	}
	d := 10 * time.Second
	for ; crashes > 2 && d < 5*time.Minute; crashes-- {
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
	for crashes := 0; ; {
		environment, err := w.environment(ctx, pod, c.spec)
		if err != nil {
			c.set(func() {
				if c.exited != nil {
					c.last, c.exited = c.exited, nil
				}
				c.waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: err.Error()}
			})
			w.agent.tell(ctx, pod, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
			if !w.pause(ctx, 10*time.Second) {
				return
			}
			continue
		}
		finished := c.runOnce(ctx, pod, environment)
		policy := pod.Spec.RestartPolicy
		if ctx.Err() != nil || w.stopping() || policy == corev1.RestartPolicyNever ||
			policy == corev1.RestartPolicyOnFailure && finished.ExitCode == 0 {
			c.set(func() { c.exited, c.final = finished, true })
			return
		}
		if crashes++; finished.FinishedAt.Sub(finished.StartedAt.Time) >= forgiveAfter {
			crashes = 1
		}
		delay := crashBackOff(crashes)
		if delay == 0 {
			c.set(func() { c.exited = finished })
			continue
		}
		c.set(func() {
			c.last = finished
			c.waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.spec.Name, pod.Name)}
		})
		w.agent.tell(ctx, pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+c.spec.Name)
		if !w.pause(ctx, delay) {
			c.set(func() { c.waiting, c.exited, c.final = nil, finished, true })
			return
		}
	}
}

// runOnce starts the program and waits for its end. Until the container's next state
// is set, it is the one that exited.
func (c *container) runOnce(ctx context.Context, pod *corev1.Pod, environment []string) *corev1.ContainerStateTerminated {
	w := c.worker
	runContext, kill := context.WithCancel(ctx)
	defer kill()
	stop := make(chan struct{})
	r := &run{started: w.agent.now(), kill: kill, stop: sync.OnceFunc(func() { close(stop) })}
	self := &Container{
		World: w.agent.World, Pod: pod.Name, Namespace: pod.Namespace, Node: w.agent.Name, Name: c.spec.Name,
		PodIPs: w.ips, Args: c.arguments(environment), Env: environment, Stop: stop,
		Output: w.agent.Fabric.log(pod.Namespace, pod.Name, pod.UID, c.spec.Name),
		actor:  w.actor(), hostAddr: w.agent.Stacks[0].Listens.String(), fabric: w.agent.Fabric,
	}
	for _, p := range c.spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			self.Ports = append(self.Ports, int(p.ContainerPort))
		}
	}
	c.set(func() {
		if c.exited != nil {
			c.last = c.exited
		}
		if c.last != nil {
			c.restarts++
		}
		c.running, c.waiting, c.exited = r, nil, nil
		c.started = c.spec.StartupProbe == nil
		c.ready = c.started && c.spec.ReadinessProbe == nil
	})
	w.agent.tell(ctx, pod, corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)

	probes := c.startProbes(runContext, r)
	if w.stopping() {
		r.stop() // the pod was deleted while we started
	}
	code := c.program.Run(runContext, self)
	kill()
	probes.Wait()
	for _, port := range self.Ports {
		for _, ip := range w.ips {
			w.agent.Fabric.gone(netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	finished := &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason,
		StartedAt: metav1.NewTime(r.started), FinishedAt: metav1.NewTime(w.agent.now()),
	}
	c.mu.Lock()
	finished.Message = r.cause
	c.running, c.ready, c.exited = nil, false, finished
	c.mu.Unlock()
	return finished
}

// unknownImage waits as a kubelet that can't pull does.
func (c *container) unknownImage(ctx context.Context, pod *corev1.Pod) {
	w := c.worker
	text := fmt.Sprintf("image %q is in no row of this node's table of images", c.spec.Image)
	for delay := 10 * time.Second; ; delay = min(2*delay, 5*time.Minute) {
		c.set(func() { c.waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: text} })
		w.agent.tell(ctx, pod, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.spec.Image, text))
		if !w.pause(ctx, time.Second) {
			return
		}
		w.agent.tell(ctx, pod, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.spec.Image))
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

// stop asks a running program to end.
func (c *container) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.running.stop()
	}
}
