package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podFieldPaths are the fields of its own pod that an environment variable may
// show, besides labels and annotations by key.
var podFieldPaths = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
	"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}

func validatePodSpec(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	volumes, e := validateVolumes(spec.Volumes, path.Child("volumes"))
	errs = append(errs, e...)

	names := sets.New[string]()
	containers := path.Child("containers")
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(containers, ""))
	}
	for i := range spec.Containers {
		errs = append(errs, validateContainer(&spec.Containers[i], containers.Index(i), spec, volumes, names)...)
	}
	for i := range spec.InitContainers {
		at := path.Child("initContainers").Index(i)
		c := &spec.InitContainers[i]
		errs = append(errs, validateContainer(c, at, spec, volumes, names)...)
		if deref(c.RestartPolicy) == "" && c.ReadinessProbe != nil {
			errs = append(errs, field.Forbidden(at.Child("readinessProbe"), "may not be set for init containers without restartPolicy=Always"))
		}
	}

	errs = append(errs, oneOf(path.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, oneOf(path.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metav1validation.ValidateLabels(spec.NodeSelector, path.Child("nodeSelector"))...)
	subdomain := func(child, value string) {
		if value != "" {
			errs = append(errs, dnsSubdomain(path.Child(child), value)...)
		}
	}
	subdomain("serviceAccountName", spec.ServiceAccountName)
	subdomain("nodeName", spec.NodeName)
	subdomain("priorityClassName", spec.PriorityClassName)
	if spec.Hostname != "" {
		errs = append(errs, dnsLabel(path.Child("hostname"), spec.Hostname)...)
	}
	if spec.Subdomain != "" {
		errs = append(errs, dnsLabel(path.Child("subdomain"), spec.Subdomain)...)
	}
	if s := spec.ActiveDeadlineSeconds; s != nil && (*s < 1 || *s > 1<<31-1) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *s, validation.InclusiveRangeError(1, 1<<31-1)))
	}
	if g := spec.TerminationGracePeriodSeconds; g != nil {
		errs = append(errs, nonNegative(path.Child("terminationGracePeriodSeconds"), *g)...)
	}
	errs = append(errs, validateTolerations(spec.Tolerations, path.Child("tolerations"))...)
	if spec.Affinity != nil {
		errs = append(errs, validateAffinity(spec.Affinity, path.Child("affinity"))...)
	}
	return errs
}

// validateVolumes gives the names of the volumes, which mounts refer to.
func validateVolumes(volumes []corev1.Volume, path *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, v := range volumes {
		at := path.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, dnsLabel(at.Child("name"), v.Name)...)
		}
		if names.Has(v.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		}
		names.Insert(v.Name)
		if v.ConfigMap != nil && v.ConfigMap.Name == "" {
			errs = append(errs, field.Required(at.Child("configMap", "name"), ""))
		}
		if v.Secret != nil && v.Secret.SecretName == "" {
			errs = append(errs, field.Required(at.Child("secret", "secretName"), ""))
		}
		if v.HostPath != nil && v.HostPath.Path == "" {
			errs = append(errs, field.Required(at.Child("hostPath", "path"), ""))
		}
	}
	return names, errs
}

func validateContainer(c *corev1.Container, path *field.Path, spec *corev1.PodSpec, volumes, names sets.Set[string]) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		errs = append(errs, dnsLabel(path.Child("name"), c.Name)...)
		if names.Has(c.Name) {
			errs = append(errs, field.Duplicate(path.Child("name"), c.Name))
		}
		names.Insert(c.Name)
	}
	switch {
	case c.Image == "":
		errs = append(errs, field.Required(path.Child("image"), ""))
	case strings.TrimSpace(c.Image) != c.Image:
		errs = append(errs, field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(path.Child("imagePullPolicy"), c.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(path.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validateContainerPorts(c.Ports, path.Child("ports"), spec.HostNetwork)...)
	errs = append(errs, validateEnv(c, path)...)
	errs = append(errs, validateMounts(c.VolumeMounts, volumes, path.Child("volumeMounts"))...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	errs = append(errs, validateProbe(c.LivenessProbe, path.Child("livenessProbe"), true)...)
	errs = append(errs, validateProbe(c.ReadinessProbe, path.Child("readinessProbe"), false)...)
	errs = append(errs, validateProbe(c.StartupProbe, path.Child("startupProbe"), true)...)
	if c.Lifecycle != nil {
		for _, h := range []struct {
			name    string
			handler *corev1.LifecycleHandler
		}{{"postStart", c.Lifecycle.PostStart}, {"preStop", c.Lifecycle.PreStop}} {
			if h.handler == nil {
				continue
			}
			at := path.Child("lifecycle", h.name)
			errs = append(errs, validateHandler(at, handlers{h.handler.Exec, h.handler.HTTPGet, h.handler.TCPSocket, nil, h.handler.Sleep})...)
		}
	}
	return errs
}

func validateContainerPorts(ports []corev1.ContainerPort, path *field.Path, hostNetwork bool) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if messages := validation.IsValidPortName(p.Name); len(messages) > 0 {
				errs = append(errs, invalid(at.Child("name"), p.Name, messages)...)
			} else if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(at.Child("containerPort"), p.ContainerPort)...)
		}
		if p.HostPort != 0 {
			errs = append(errs, portNumber(at.Child("hostPort"), p.HostPort)...)
		}
		if hostNetwork && p.HostPort != p.ContainerPort {
			errs = append(errs, field.Invalid(at.Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
		}
		errs = append(errs, protocol(at.Child("protocol"), p.Protocol)...)
	}
	return errs
}

func validateEnv(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range c.Env {
		at := path.Child("env").Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalid(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(&e, at.Child("valueFrom"))...)
		}
	}
	for i, e := range c.EnvFrom {
		at := path.Child("envFrom").Index(i)
		switch {
		case e.ConfigMapRef == nil && e.SecretRef == nil:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		case e.ConfigMapRef != nil && e.ConfigMapRef.Name == "":
			errs = append(errs, field.Required(at.Child("configMapRef", "name"), ""))
		case e.SecretRef != nil && e.SecretRef.Name == "":
			errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
		}
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	if f := e.ValueFrom.FieldRef; f != nil {
		sources++
		errs = append(errs, validateFieldRef(f, at.Child("fieldRef"))...)
	}
	if r := e.ValueFrom.ResourceFieldRef; r != nil {
		sources++
		if r.Resource == "" {
			errs = append(errs, field.Required(at.Child("resourceFieldRef", "resource"), ""))
		}
	}
	key := func(child, name, key string) {
		sources++
		if name == "" {
			errs = append(errs, field.Required(at.Child(child, "name"), ""))
		}
		if key == "" {
			errs = append(errs, field.Required(at.Child(child, "key"), ""))
			return
		}
		errs = append(errs, invalid(at.Child(child, "key"), key, validation.IsConfigMapKey(key))...)
	}
	if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
		key("configMapKeyRef", r.Name, r.Key)
	}
	if r := e.ValueFrom.SecretKeyRef; r != nil {
		key("secretKeyRef", r.Name, r.Key)
	}
	if e.ValueFrom.FileKeyRef != nil {
		sources++
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFieldRef(f *corev1.ObjectFieldSelector, at *field.Path) field.ErrorList {
	if f.FieldPath == "" {
		return field.ErrorList{field.Required(at.Child("fieldPath"), "")}
	}
	if slices.Contains(podFieldPaths, f.FieldPath) {
		return nil
	}
	for _, by := range []string{"metadata.labels['", "metadata.annotations['"} {
		if strings.HasPrefix(f.FieldPath, by) && strings.HasSuffix(f.FieldPath, "']") {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at.Child("fieldPath"), f.FieldPath, podFieldPaths)}
}

func validateMounts(mounts []corev1.VolumeMount, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	points := sets.New[string]()
	for i, m := range mounts {
		at := path.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if points.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		points.Insert(m.MountPath)
	}
	return errs
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	quantities := func(child string, list corev1.ResourceList) {
		for _, name := range sortedResources(list) {
			q := list[name]
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(path.Child(child).Key(string(name)), q.String(), "must be greater than or equal to 0"))
			}
		}
	}
	quantities("limits", r.Limits)
	quantities("requests", r.Requests)
	for _, name := range sortedResources(r.Requests) {
		request := r.Requests[name]
		if limit, limited := r.Limits[name]; limited && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests"), request.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

func sortedResources(list corev1.ResourceList) []corev1.ResourceName {
	names := make([]corev1.ResourceName, 0, len(list))
	for n := range list {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func validateProbe(p *corev1.Probe, path *field.Path, successOnce bool) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateHandler(path, handlers{p.Exec, p.HTTPGet, p.TCPSocket, p.GRPC, nil})
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds},
		{"timeoutSeconds", p.TimeoutSeconds},
		{"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold},
		{"failureThreshold", p.FailureThreshold},
	} {
		errs = append(errs, nonNegative(path.Child(n.name), int64(n.value))...)
	}
	if successOnce && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

// handlers are the ways to probe a container or to tell it something: exactly
// one is given.
type handlers struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func validateHandler(path *field.Path, h handlers) field.ErrorList {
	var errs field.ErrorList
	given := 0
	give := func(child string) *field.Path {
		given++
		if given > 1 {
			errs = append(errs, field.Forbidden(path.Child(child), "may not specify more than 1 handler type"))
		}
		return path.Child(child)
	}
	if h.exec != nil {
		if at := give("exec"); len(h.exec.Command) == 0 {
			errs = append(errs, field.Required(at.Child("command"), ""))
		}
	}
	if h.http != nil {
		at := give("httpGet")
		if h.http.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		}
		errs = append(errs, portNumberOrName(at.Child("port"), h.http.Port)...)
		errs = append(errs, oneOf(at.Child("scheme"), h.http.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
		for _, header := range h.http.HTTPHeaders {
			errs = append(errs, invalid(at.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
		}
	}
	if h.tcp != nil {
		errs = append(errs, portNumberOrName(give("tcpSocket").Child("port"), h.tcp.Port)...)
	}
	if h.grpc != nil {
		errs = append(errs, portNumber(give("grpc").Child("port"), h.grpc.Port)...)
	}
	if h.sleep != nil {
		errs = append(errs, nonNegative(give("sleep").Child("seconds"), h.sleep.Seconds)...)
	}
	if given == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, qualifiedName(at.Child("key"), t.Key)...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			errs = append(errs, invalid(at.Child("operator"), t.Value, validation.IsValidLabelValue(t.Value))...)
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), t, "value must be empty when `operator` is 'Exists'"))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator,
				[]corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			errs = append(errs, taintEffect(at.Child("effect"), t.Effect)...)
		}
	}
	return errs
}

func validateAffinity(a *corev1.Affinity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	terms := func(at *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			errs = append(errs, validateAffinityTerm(&required[i], at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
		}
		for i := range preferred {
			p := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			if w := preferred[i].Weight; w < 1 || w > 100 {
				errs = append(errs, field.Invalid(p.Child("weight"), w, "must be in the range 1-100"))
			}
			errs = append(errs, validateAffinityTerm(&preferred[i].PodAffinityTerm, p.Child("podAffinityTerm"))...)
		}
	}
	if p := a.PodAffinity; p != nil {
		terms(path.Child("podAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(path.Child("podAntiAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if n := a.NodeAffinity; n != nil && n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		at := path.Child("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		if len(n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms) == 0 {
			errs = append(errs, field.Required(at, "must have at least one node selector term"))
		}
	}
	return errs
}

func validateAffinityTerm(t *corev1.PodAffinityTerm, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabelSelector(t.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, path.Child("labelSelector"))
	if t.TopologyKey == "" {
		return append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metav1validation.ValidateLabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

// validatePodUpdate: of a pod's spec only images, the active deadline and
// tolerations (more of them) may change.
func validatePodUpdate(new, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	if len(new.Spec.Containers) != len(old.Spec.Containers) {
		return field.ErrorList{field.Forbidden(spec.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(new.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	var errs field.ErrorList
	was, is := old.Spec.ActiveDeadlineSeconds, new.Spec.ActiveDeadlineSeconds
	switch {
	case was != nil && is == nil:
		errs = append(errs, field.Invalid(spec.Child("activeDeadlineSeconds"), is, "must not update from a positive integer to nil value"))
	case was != nil && *is > *was:
		errs = append(errs, field.Invalid(spec.Child("activeDeadlineSeconds"), *is, "must be less than or equal to previous value"))
	}
	for _, t := range old.Spec.Tolerations {
		if !slices.ContainsFunc(new.Spec.Tolerations, func(n corev1.Toleration) bool { return n.MatchToleration(&t) }) {
			errs = append(errs, field.Forbidden(spec.Child("tolerations"), "existing toleration can not be modified except its tolerationSeconds"))
			break
		}
	}

	// With what may change taken over from the old one, nothing differs.
	rest := new.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.Tolerations = old.Spec.Tolerations
	if !same(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(spec, "pod updates may not change fields other than `spec.containers[*].image`,"+
			"`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"+
			"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"+diff.Diff(old.Spec, *rest)))
	}
	return errs
}

// validatePodStatus: what has ended for good does not begin again.
func validatePodStatus(new, old *corev1.Pod) field.ErrorList {
	status := field.NewPath("status")
	var errs field.ErrorList
	for i, ip := range new.Status.PodIPs {
		errs = append(errs, validIP(status.Child("podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	if ips := new.Status.PodIPs; len(errs) == 0 && (len(ips) > 2 || len(ips) == 2 && familyOf(ips[0].IP) == familyOf(ips[1].IP)) {
		errs = append(errs, field.Invalid(status.Child("podIPs"), ips, "may specify no more than one IP for each IP family"))
	}
	if len(new.Status.PodIPs) > 0 && new.Status.PodIP != "" && new.Status.PodIP != new.Status.PodIPs[0].IP {
		errs = append(errs, field.Invalid(status.Child("podIPs").Index(0), new.Status.PodIPs[0].IP, "must match `podIP`"))
	}
	if old.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return errs
	}
	for _, o := range old.Status.ContainerStatuses {
		if o.State.Terminated == nil || old.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && o.State.Terminated.ExitCode != 0 {
			continue
		}
		for i, n := range new.Status.ContainerStatuses {
			if n.Name == o.Name && n.State.Terminated == nil {
				errs = append(errs, field.Forbidden(status.Child("containerStatuses").Index(i).Child("state"),
					"may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

// podWarnings: what is allowed and surely not meant.
func podWarnings(spec *corev1.PodSpec, path *field.Path) []string {
	var warnings []string
	for i, c := range spec.Containers {
		seen := sets.New[string]()
		for j, e := range c.Env {
			if seen.Has(e.Name) {
				warnings = append(warnings, fmt.Sprintf("%s: hides previous definition of %q, which may be unexpected",
					path.Child("containers").Index(i).Child("env").Index(j), e.Name))
			}
			seen.Insert(e.Name)
		}
	}
	return warnings
}
