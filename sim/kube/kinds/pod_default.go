package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultPodSpec fills what pods and pod templates leave out.
func defaultPodSpec(spec *corev1.PodSpec) {
	defaultTo(&spec.DNSPolicy, corev1.DNSClusterFirst)
	defaultTo(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	defaultTo(&spec.SchedulerName, corev1.DefaultSchedulerName)
	defaultPtr(&spec.SecurityContext, corev1.PodSecurityContext{})
	defaultPtr(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	// Two names of one field.
	defaultTo(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i], spec.HostNetwork)
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i], spec.HostNetwork)
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
	for i := range spec.TopologySpreadConstraints {
		t := &spec.TopologySpreadConstraints[i]
		defaultPtr(&t.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor)
		defaultPtr(&t.NodeTaintsPolicy, corev1.NodeInclusionPolicyIgnore)
	}
}

func defaultContainer(c *corev1.Container, hostNetwork bool) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
		if isLatest(c.Image) {
			c.ImagePullPolicy = corev1.PullAlways
		}
	}
	defaultTo(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	defaultTo(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		p := &c.Ports[i]
		defaultTo(&p.Protocol, corev1.ProtocolTCP)
		if hostNetwork {
			defaultTo(&p.HostPort, p.ContainerPort)
		}
	}
	for i := range c.Env {
		if f := c.Env[i].ValueFrom; f != nil && f.FieldRef != nil {
			defaultTo(&f.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		defaultTo(&p.TimeoutSeconds, 1)
		defaultTo(&p.PeriodSeconds, 10)
		defaultTo(&p.SuccessThreshold, 1)
		defaultTo(&p.FailureThreshold, 3)
		defaultHTTPGet(p.HTTPGet)
		if p.GRPC != nil {
			defaultPtr(&p.GRPC.Service, "")
		}
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultHTTPGet(g *corev1.HTTPGetAction) {
	if g != nil {
		defaultTo(&g.Path, "/")
		defaultTo(&g.Scheme, corev1.URISchemeHTTP)
	}
}

// isLatest tells whether an image is pulled at each start: its tag is latest,
// or it has neither tag nor digest. A colon before the last slash is a
// registry's port.
func isLatest(image string) bool {
	if strings.Contains(image, "@") {
		return false
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return !tagged || tag == "latest"
}

func defaultVolume(v *corev1.VolumeSource) {
	const mode = 0o644
	if (*v == corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.Secret != nil {
		defaultPtr(&v.Secret.DefaultMode, mode)
	}
	if v.ConfigMap != nil {
		defaultPtr(&v.ConfigMap.DefaultMode, mode)
	}
	if v.HostPath != nil {
		defaultPtr(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.DownwardAPI != nil {
		defaultPtr(&v.DownwardAPI.DefaultMode, mode)
		defaultItems(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		defaultPtr(&v.Projected.DefaultMode, mode)
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if s.DownwardAPI != nil {
				defaultItems(s.DownwardAPI.Items)
			}
			if s.ServiceAccountToken != nil {
				defaultPtr(&s.ServiceAccountToken.ExpirationSeconds, 3600)
			}
		}
	}
}

func defaultItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if items[i].FieldRef != nil {
			defaultTo(&items[i].FieldRef.APIVersion, "v1")
		}
	}
}

// requestLimits requests what is limited and not requested. Templates are left
// alone: the pods made of them get it.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		if _, given := r.Requests[name]; !given {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}
