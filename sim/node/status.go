package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// status is what the pod's containers amount to now.
func (w *podWorker) status(pod *corev1.Pod) corev1.PodStatus {
	s := *pod.Status.DeepCopy()
	s.HostIPs, s.PodIPs = nil, nil
	for i, stack := range w.agent.Stacks {
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: stack.Address.String()})
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: w.ips[i].String()})
	}
	s.HostIP, s.PodIP = s.HostIPs[0].IP, s.PodIPs[0].IP
	if s.StartTime == nil {
		s.StartTime = ptr.To(metav1.NewTime(w.started))
	}
	s.ContainerStatuses = nil
	ready, running, ended, failed := true, 0, 0, 0
	for _, c := range w.containers {
		cs, final := c.status()
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
		ready = ready && cs.Ready
		switch {
		case final && cs.State.Terminated != nil:
			ended++
			if cs.State.Terminated.ExitCode != 0 {
				failed++
			}
		case cs.State.Running != nil, cs.State.Terminated != nil, cs.LastTerminationState.Terminated != nil:
			running++ // or between two runs
		}
	}
	switch {
	case ended == len(w.containers) && failed > 0:
		s.Phase = corev1.PodFailed
	case ended == len(w.containers):
		s.Phase = corev1.PodSucceeded
	case running+ended == len(w.containers):
		s.Phase = corev1.PodRunning
	default:
		s.Phase = corev1.PodPending
	}
	reason := ""
	if !ready {
		reason = "ContainersNotReady"
	}
	w.condition(&s, corev1.PodScheduled, true, "")
	w.condition(&s, corev1.PodInitialized, true, "")
	w.condition(&s, corev1.ContainersReady, ready, reason)
	w.condition(&s, corev1.PodReady, ready && w.gatesOpen(pod), reason)
	s.QOSClass = corev1.PodQOSBestEffort
	return s
}

// gatesOpen says whether all readiness gates are true.
func (w *podWorker) gatesOpen(pod *corev1.Pod) bool {
	for _, gate := range pod.Spec.ReadinessGates {
		open := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !open {
			return false
		}
	}
	return true
}

func (w *podWorker) condition(s *corev1.PodStatus, kind corev1.PodConditionType, is bool, reason string) {
	fresh := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.NewTime(w.agent.now())}
	if is {
		fresh.Status = corev1.ConditionTrue
	}
	for i, old := range s.Conditions {
		if old.Type == kind {
			if old.Status == fresh.Status {
				fresh.LastTransitionTime = old.LastTransitionTime
			}
			fresh.LastProbeTime = old.LastProbeTime
			s.Conditions[i] = fresh
			return
		}
	}
	s.Conditions = append(s.Conditions, fresh)
}

// sameStatus compares what this node writes; times are kept to the second there.
func sameStatus(a, b corev1.PodStatus) bool {
	return apiequality.Semantic.DeepEqual(truncated(a), truncated(b))
}

func truncated(s corev1.PodStatus) corev1.PodStatus {
	s = *s.DeepCopy()
	cut := func(t *metav1.Time) { *t = metav1.NewTime(t.Truncate(1e9).UTC()) }
	if s.StartTime != nil {
		cut(s.StartTime)
	}
	for i := range s.Conditions {
		cut(&s.Conditions[i].LastTransitionTime)
	}
	for i := range s.ContainerStatuses {
		for _, state := range []*corev1.ContainerState{&s.ContainerStatuses[i].State, &s.ContainerStatuses[i].LastTerminationState} {
			if state.Running != nil {
				cut(&state.Running.StartedAt)
			}
			if state.Terminated != nil {
				cut(&state.Terminated.StartedAt)
				cut(&state.Terminated.FinishedAt)
			}
		}
	}
	return s
}

// status of the container; final: it will not run again.
func (c *container) status() (_ corev1.ContainerStatus, final bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cs := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, RestartCount: c.restarts, Started: ptr.To(c.running != nil && c.started),
	}
	cs.LastTerminationState.Terminated = c.last
	switch {
	case c.running != nil:
		cs.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.running.started)}
		cs.Ready = c.ready
		cs.ImageID = "builtin://" + c.spec.Image
		cs.ContainerID = "hollow://" + c.spec.Name
	case c.waiting != nil:
		cs.State.Waiting = c.waiting
	case c.exited != nil:
		cs.State.Terminated = c.exited
	}
	return cs, c.final
}
