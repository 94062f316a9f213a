package node

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// podWorker runs one pod from the time it is bound here until it is deleted. Its
// goroutines are owned by run.
type podWorker struct {
	agent      *agent
	ips        []netip.Addr // by the node's stacks
	started    time.Time
	containers []*container
	wake       chan struct{} // capacity 1: something changed
	ending     chan struct{} // closed when the pod was deleted

	mu       sync.Mutex
	pod      *corev1.Pod // as last seen
	vanished bool        // it is gone from the API server
}

func newPodWorker(a *agent, pod *corev1.Pod) *podWorker {
	w := &podWorker{agent: a, pod: pod, wake: make(chan struct{}, 1), ending: make(chan struct{})}
	w.noteEnd()
	return w
}

// noteEnd closes ending once the pod was deleted; mu is held, or w is new.
func (w *podWorker) noteEnd() {
	if (w.vanished || w.pod.DeletionTimestamp != nil) && !w.stopping() {
		close(w.ending)
	}
}

func (w *podWorker) actor() string {
	p := w.latest()
	return w.agent.Actor + "/pod/" + p.Namespace + "/" + p.Name
}

func (w *podWorker) latest() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

func (w *podWorker) stopping() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

// changed makes run look at its state again.
func (w *podWorker) changed() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// see takes a newer version of the pod; nil: it is gone.
func (w *podWorker) see(pod *corev1.Pod) {
	w.mu.Lock()
	if pod == nil {
		w.vanished = true
	} else {
		w.pod = pod
	}
	w.noteEnd()
	w.mu.Unlock()
	w.changed()
}

// pause waits unless the pod is deleted meanwhile; false if it is, or ctx ended.
func (w *podWorker) pause(ctx context.Context, d time.Duration) bool {
	timer := w.agent.World.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.ending:
	case <-timer.C():
	}
	return ctx.Err() == nil && !w.stopping()
}

// run owns everything of the pod. It returns when the pod is deleted or ctx ends;
// then no program of it runs any more.
func (w *podWorker) run(ctx context.Context) {
	// Pods of one list are handed over in no order: each begins at an instant of its
	// own, and takes its address then.
	if !w.agent.sleep(ctx, w.agent.World.Jitter(w.actor(), 0, time.Millisecond)) || !w.takeAddresses(ctx) {
		return
	}
	defer w.agent.freeAddresses(w.ips)
	w.started = w.agent.now()
	pod := w.latest()
	podContext, kill := context.WithCancel(ctx)
	var supervisors sync.WaitGroup
	defer supervisors.Wait()
	defer kill()
	for _, spec := range pod.Spec.Containers {
		c := &container{spec: spec, program: w.agent.Images.find(spec.Image), worker: w}
		c.waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		w.containers = append(w.containers, c)
	}
	for _, c := range w.containers {
		supervisors.Go(func() { c.supervise(podContext, pod) })
	}
	w.changed()
	for !w.stopping() {
		select {
		case <-ctx.Done():
			return
		case <-w.ending:
		case <-w.wake:
			w.settle(ctx)
			w.tell(ctx)
		}
	}
	w.end(ctx, kill, &supervisors)
}

// takeAddresses waits for an address of each of the node's ranges; false if ctx ended or
// the pod is gone first.
func (w *podWorker) takeAddresses(ctx context.Context) bool {
	for {
		var err error
		if w.ips, err = w.agent.takeAddresses(); err == nil {
			return true
		}
		if w.stopping() {
			w.release(ctx)
			return false
		}
		w.agent.tell(ctx, w.latest(), corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
		w.pause(ctx, 10*time.Second)
		if ctx.Err() != nil {
			return false
		}
	}
}

// grace is how long the pod's programs have to end.
func (w *podWorker) grace() time.Duration {
	pod := w.latest()
	return time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, 30))) * time.Second
}

// end stops the programs, kills them when the grace period is over, and lets the
// pod go.
func (w *podWorker) end(ctx context.Context, kill func(), supervisors *sync.WaitGroup) {
	pod, grace, began := w.latest(), w.grace(), w.agent.now()
	deadline := w.agent.World.Clock().NewTimer(grace)
	defer deadline.Stop()
	done := make(chan struct{})
	go func() { supervisors.Wait(); close(done) }()
	var hooks sync.WaitGroup
	for _, c := range w.containers {
		hooks.Go(func() {
			if h := c.spec.Lifecycle; h != nil && h.PreStop != nil && h.PreStop.Sleep != nil {
				timer := w.agent.World.Clock().NewTimer(time.Duration(h.PreStop.Sleep.Seconds) * time.Second)
				defer timer.Stop()
				select {
				case <-done: // killed, or ended by itself
				case <-timer.C():
				}
			}
			c.stop()
		})
		w.agent.tell(ctx, pod, corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
	}
	for running := true; running; {
		select {
		case <-done:
		case <-ctx.Done():
			kill()
			<-done
		case <-deadline.C():
			kill()
			<-done
		case <-w.wake:
		}
		w.settle(ctx)
		select {
		case <-done:
			running = false
			continue
		default:
		}
		if shorter := w.grace(); shorter < grace { // deleted again, with less patience
			grace = shorter
			deadline.Reset(max(0, began.Add(grace).Sub(w.agent.now())))
		}
		w.tell(ctx)
	}
	hooks.Wait()
	if ctx.Err() == nil {
		w.tell(ctx)
	}
	w.agent.Fabric.forgetLogs(pod.Namespace, pod.Name, pod.UID)
	if ctx.Err() == nil {
		w.release(ctx)
	}
}

// release deletes the pod for good, again and again until it is gone.
func (w *podWorker) release(ctx context.Context) {
	pod := w.latest()
	for attempt := uint64(0); ; attempt++ {
		w.mu.Lock()
		vanished := w.vanished
		w.mu.Unlock()
		if vanished {
			return
		}
		requestContext, cancel := context.WithTimeout(ctx, requestTimeout)
		err := w.agent.client.CoreV1().Pods(pod.Namespace).Delete(requestContext, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
		cancel()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		if !w.agent.sleep(ctx, time.Second+w.agent.World.Jitter(w.actor()+"/release", attempt, time.Second)) {
			return
		}
	}
}

// settle lets what happens at one instant become one status: else it would be chance
// how much of it a status shows.
func (w *podWorker) settle(ctx context.Context) {
	w.agent.sleep(ctx, time.Millisecond/10+w.agent.World.Jitter(w.actor()+"/settle", 0, time.Millisecond))
	select {
	case <-w.wake: // what it stands for is looked at now
	default:
	}
}

// tell writes the pod's status if it differs from what the API server has.
func (w *podWorker) tell(ctx context.Context) {
	for attempt := uint64(0); ; attempt++ {
		pod := w.latest()
		status := w.status(pod)
		if sameStatus(pod.Status, status) {
			return
		}
		changed := pod.DeepCopy()
		changed.Status = status
		requestContext, cancel := context.WithTimeout(ctx, requestTimeout)
		updated, err := w.agent.client.CoreV1().Pods(pod.Namespace).UpdateStatus(requestContext, changed, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			updated, err = w.agent.client.CoreV1().Pods(pod.Namespace).Get(requestContext, pod.Name, metav1.GetOptions{})
			if err == nil && updated.UID == pod.UID {
				w.keep(pod, updated)
				cancel()
				continue
			}
		}
		cancel()
		if err == nil {
			w.keep(pod, updated)
			return
		}
		if apierrors.IsNotFound(err) || ctx.Err() != nil || w.stopping() && attempt > 3 {
			return
		}
		w.agent.Log.Warn("node: the status of a pod was not written", "node", w.agent.Name, "namespace", pod.Namespace, "pod", pod.Name, "error", err)
		if !w.agent.sleep(ctx, time.Second+w.agent.World.Jitter(w.actor()+"/status", attempt, time.Second)) {
			return
		}
	}
}

// keep takes what a request answered, unless something newer was seen since.
func (w *podWorker) keep(before, answer *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == before && answer.UID == before.UID {
		w.pod = answer
		w.noteEnd()
	}
}

// takeAddresses gives the next free address of each of the node's ranges.
func (a *agent) takeAddresses() ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ips []netip.Addr
	for _, r := range a.pods {
		if !r.findFree() {
			return nil, fmt.Errorf("no free address in %s", r.Prefix)
		}
		ips = append(ips, r.next)
	}
	for i, r := range a.pods {
		r.used[ips[i]] = true
	}
	return ips, nil
}

func (a *agent) freeAddresses(ips []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, r := range a.pods {
		delete(r.used, ips[i])
	}
}

// podRange is where the pods' addresses of one family are; agent.mu guards it.
type podRange struct {
	netip.Prefix
	next netip.Addr // the last one that was found free
	used map[netip.Addr]bool
}

func newPodRange(cidr string) (*podRange, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil || prefix.Addr().BitLen()-prefix.Bits() > 16 {
		return nil, fmt.Errorf("pod CIDR %q is not a range of at most 2^16 addresses: %v", cidr, err)
	}
	prefix = prefix.Masked()
	return &podRange{Prefix: prefix, next: prefix.Addr().Next(), used: map[netip.Addr]bool{}}, nil
}

// findFree goes on to the next free address; false if there is none.
func (r *podRange) findFree() bool {
	for range 1 << (r.Addr().BitLen() - r.Bits()) {
		r.next = r.next.Next()
		if !r.Contains(r.next.Next()) { // the last one is the broadcast address
			r.next = r.Addr().Next() // .1 is the node's own end
			continue
		}
		if !r.used[r.next] {
			return true
		}
	}
	return false
}
