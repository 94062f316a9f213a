package kinds

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func nodeRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
		Resource:         "nodes",
		Singular:         "node",
		ShortNames:       []string{"no"},
		New:              newOf[corev1.Node],
		NewList:          newOf[corev1.NodeList],

		Default: on(func(n *corev1.Node) {
			if n.Status.Allocatable == nil && n.Status.Capacity != nil {
				n.Status.Allocatable = n.Status.Capacity.DeepCopy()
			}
			// One field became a list: the first of the list is the old field.
			if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
				n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
			}
			if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
				n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
			}
		}),
		// A node agent registers its Node with status, so that a create keeps it.
		PrepareForUpdate: onBoth(func(new, old *corev1.Node) {
			new.Status = *old.Status.DeepCopy()
		}),
		PrepareForStatusUpdate: onBoth(func(new, old *corev1.Node) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate:       check(validateNode),
		ValidateUpdate: checkBoth(validateNodeUpdate),
		ValidateStatusUpdate: checkBoth(func(new, _ *corev1.Node) field.ErrorList {
			return validateNodeAddresses(new)
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Status", "The status of the node"),
			column("Roles", "The roles of the node"),
			ageColumn(),
			column("Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"]),
			wideColumn("Internal-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"]),
			wideColumn("External-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"]),
			wideColumn("OS-Image", corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"]),
			wideColumn("Kernel-Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"]),
			wideColumn("Container-Runtime", corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"]),
		},
		Row: cells(func(n *corev1.Node, now time.Time) []any {
			info := n.Status.NodeInfo
			return []any{n.Name, nodeStatus(n), nodeRoles(n), age(n.CreationTimestamp.Time, now), info.KubeletVersion,
				nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
				or(info.OSImage, "<unknown>"), or(info.KernelVersion, "<unknown>"), or(info.ContainerRuntimeVersion, "<unknown>")}
		}),
		SelectableFields: selectable(false, func(n *corev1.Node, set fields.Set) {
			set["spec.unschedulable"] = strconv.FormatBool(n.Spec.Unschedulable)
		}),
	}
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	roles := sets.New[string]()
	for k, v := range n.Labels {
		if role, is := strings.CutPrefix(k, "node-role.kubernetes.io/"); is && role != "" {
			roles.Insert(role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles.Insert(v)
		}
	}
	return orNone(strings.Join(sets.List(roles), ","))
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	i := slices.IndexFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == kind })
	if i < 0 {
		return "<none>"
	}
	return n.Status.Addresses[i].Address
}

func validateNode(n *corev1.Node) field.ErrorList {
	errs := validateClusterScoped(&n.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("spec", "taints"))...)
	errs = append(errs, validateNodeAddresses(n)...)

	cidrs := field.NewPath("spec", "podCIDRs")
	if len(n.Spec.PodCIDRs) > 0 && n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(cidrs.Index(0), n.Spec.PodCIDRs[0], "must match `podCIDR`"))
	}
	for i, c := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(cidrs.Index(i), c, true, nil)...)
	}
	if len(n.Spec.PodCIDRs) > 1 {
		dual, err := netutils.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
		if err == nil && (!dual || len(n.Spec.PodCIDRs) > 2) {
			errs = append(errs, field.Invalid(cidrs, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
	}
	return errs
}

func validateNodeAddresses(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(i), a))
		}
		seen.Insert(a)
	}
	return errs
}

func validateNodeUpdate(new, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(new.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && new.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	var errs field.ErrorList
	seen := sets.New[identity]()
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, qualifiedName(at.Child("key"), t.Key)...)
		errs = append(errs, invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, taintEffect(at.Child("effect"), t.Effect)...)
		id := identity{t.Key, t.Effect}
		if seen.Has(id) {
			err := field.Duplicate(at, t)
			err.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, err)
		}
		seen.Insert(id)
	}
	return errs
}

func taintEffect(path *field.Path, effect corev1.TaintEffect) field.ErrorList {
	return oneOf(path, effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}
