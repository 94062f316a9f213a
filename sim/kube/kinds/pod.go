package kinds

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func podRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
		Resource:         "pods",
		Singular:         "pod",
		ShortNames:       []string{"po"},
		Categories:       []string{"all"},
		Namespaced:       true,
		GracefulDelete:   true,
		New:              newOf[corev1.Pod],
		NewList:          newOf[corev1.PodList],

		Default: on(func(p *corev1.Pod) {
			defaultPodSpec(&p.Spec)
			defaultPtr(&p.Spec.EnableServiceLinks, true)
			for i := range p.Spec.InitContainers {
				requestLimits(&p.Spec.InitContainers[i].Resources)
			}
			for i := range p.Spec.Containers {
				requestLimits(&p.Spec.Containers[i].Resources)
			}
		}),
		PrepareForCreate: on(func(p *corev1.Pod) {
			p.Generation = 1
			admitPod(&p.Spec)
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qualityOfService(&p.Spec)}
		}),
		PrepareForUpdate: onBoth(func(new, old *corev1.Pod) {
			new.Status = *old.Status.DeepCopy()
			raiseGeneration(&new.ObjectMeta, &old.ObjectMeta, !same(new.Spec, old.Spec))
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *corev1.Pod) {
			new.Spec = *old.Spec.DeepCopy()
			new.DeletionTimestamp = nil // put back from old: a status update ends no deletion
			new.OwnerReferences = old.DeepCopy().OwnerReferences
			defaultTo(&new.Status.QOSClass, old.Status.QOSClass)
		}),

		Validate: check(func(p *corev1.Pod) field.ErrorList {
			errs := validateNamespaced(&p.ObjectMeta, apivalidation.NameIsDNSSubdomain)
			return append(errs, validatePodSpec(&p.Spec, field.NewPath("spec"))...)
		}),
		ValidateUpdate:       checkBoth(validatePodUpdate),
		ValidateStatusUpdate: checkBoth(validatePodStatus),
		Warnings: func(obj runtime.Object) []string {
			return podWarnings(&obj.(*corev1.Pod).Spec, field.NewPath("spec"))
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
			column("Status", "The aggregate status of the containers in this pod."),
			column("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
			ageColumn(),
			wideColumn("IP", corev1.PodStatus{}.SwaggerDoc()["podIP"]),
			wideColumn("Node", corev1.PodSpec{}.SwaggerDoc()["nodeName"]),
			wideColumn("Nominated Node", corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"]),
			wideColumn("Readiness Gates", corev1.PodSpec{}.SwaggerDoc()["readinessGates"]),
		},
		Row: cells(podCells),
		SelectableFields: selectable(true, func(p *corev1.Pod, set fields.Set) {
			set["spec.nodeName"] = p.Spec.NodeName
			set["spec.host"] = p.Spec.NodeName // the name of old, still accepted
			set["spec.restartPolicy"] = string(p.Spec.RestartPolicy)
			set["spec.schedulerName"] = p.Spec.SchedulerName
			set["spec.serviceAccountName"] = p.Spec.ServiceAccountName
			set["spec.hostNetwork"] = strconv.FormatBool(p.Spec.HostNetwork)
			set["status.phase"] = string(p.Status.Phase)
			set["status.podIP"] = p.Status.PodIP
			set["status.nominatedNodeName"] = p.Status.NominatedNodeName
		}),
	}
}

// admitPod does what the admission plugins ServiceAccount, Priority and
// DefaultTolerationSeconds do to every new pod. The token volume is not added.
func admitPod(spec *corev1.PodSpec) {
	defaultTo(&spec.ServiceAccountName, "default")
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	defaultPtr(&spec.Priority, 0)
	defaultPtr(&spec.PreemptionPolicy, corev1.PreemptLowerPriority)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		tolerated := slices.ContainsFunc(spec.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
		})
		if !tolerated {
			seconds := int64(300)
			spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
}

// qualityOfService: Guaranteed where every container's limits and requests of
// cpu and memory are given and equal, BestEffort where none is given at all.
func qualityOfService(spec *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, any := true, false
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			request, requested := c.Resources.Requests[name]
			limited, requested = limited && !limit.IsZero(), requested && !request.IsZero()
			any = any || limited || requested
			if !limited || requested && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// podCells is the STATUS logic of kubectl get pods: what is most worth telling
// about the containers comes before the phase.
func podCells(p *corev1.Pod, now time.Time) []any {
	status := string(p.Status.Phase)
	if p.Status.Reason != "" {
		status = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			status = corev1.PodReasonSchedulingGated
		}
	}

	total, ready := len(p.Spec.Containers), 0
	var restarts int
	var lastRestart time.Time
	restarted := func(s corev1.ContainerStatus) {
		restarts += int(s.RestartCount)
		if t := s.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(lastRestart) {
			lastRestart = t.FinishedAt.Time
		}
	}

	// Sidecars are init containers that restart always: they count as containers.
	sidecar := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if deref(c.RestartPolicy) == corev1.ContainerRestartPolicyAlways {
			sidecar[c.Name] = true
			total++
		}
	}
	initializing := false
	for i, s := range p.Status.InitContainerStatuses {
		restarted(s)
		if sidecar[s.Name] && s.Ready {
			ready++
		}
		if initializing {
			continue
		}
		terminated, waiting := s.State.Terminated, s.State.Waiting
		switch {
		case terminated != nil && terminated.ExitCode == 0:
			continue
		case sidecar[s.Name] && deref(s.Started):
			continue
		case terminated != nil:
			status = "Init:" + exitReason(terminated)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			status = "Init:" + waiting.Reason
		default:
			status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		initializing = true
	}

	if !initializing || podCondition(p, corev1.PodInitialized) {
		running := false
		for _, s := range slices.Backward(p.Status.ContainerStatuses) {
			restarted(s)
			switch {
			case s.State.Waiting != nil && s.State.Waiting.Reason != "":
				status = s.State.Waiting.Reason
			case s.State.Terminated != nil:
				status = exitReason(s.State.Terminated)
			case s.Ready && s.State.Running != nil:
				running = true
				ready++
			}
		}
		// One container has completed, another runs.
		if status == "Completed" && running {
			status = "NotReady"
			if podCondition(p, corev1.PodReady) {
				status = "Running"
			}
		}
	}

	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			status = "Unknown"
		case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
			status = "Terminating"
		}
	}

	restartCell := strconv.Itoa(restarts)
	if restarts > 0 && !lastRestart.IsZero() {
		restartCell += fmt.Sprintf(" (%s ago)", age(lastRestart, now))
	}
	gates := "<none>"
	if n := len(p.Spec.ReadinessGates); n > 0 {
		met := 0
		for _, g := range p.Spec.ReadinessGates {
			if podCondition(p, g.ConditionType) {
				met++
			}
		}
		gates = fmt.Sprintf("%d/%d", met, n)
	}
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{p.Name, fmt.Sprintf("%d/%d", ready, total), status, restartCell, age(p.CreationTimestamp.Time, now),
		orNone(ip), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), gates}
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

func exitReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
