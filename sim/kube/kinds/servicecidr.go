package kinds

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func serviceCIDRRow() Kind {
	return Kind{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"),
		Resource:         "servicecidrs",
		Singular:         "servicecidr",
		MinVersion:       "1.33",
		New:              newOf[networkingv1.ServiceCIDR],
		NewList:          newOf[networkingv1.ServiceCIDRList],

		PrepareForCreate: on(func(c *networkingv1.ServiceCIDR) { c.Status = networkingv1.ServiceCIDRStatus{} }),
		PrepareForUpdate: onBoth(func(new, old *networkingv1.ServiceCIDR) { new.Status = *old.Status.DeepCopy() }),
		PrepareForStatusUpdate: onBoth(func(new, old *networkingv1.ServiceCIDR) {
			new.Spec = *old.Spec.DeepCopy()
		}),

		Validate: check(validateServiceCIDR),
		ValidateUpdate: checkBoth(func(new, old *networkingv1.ServiceCIDR) field.ErrorList {
			// A second family may be added.
			if len(old.Spec.CIDRs) == 1 && len(new.Spec.CIDRs) == 2 && new.Spec.CIDRs[0] == old.Spec.CIDRs[0] {
				return nil
			}
			return apivalidation.ValidateImmutableField(new.Spec.CIDRs, old.Spec.CIDRs, field.NewPath("spec", "cidrs"))
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("CIDRs", "The ranges of addresses of Services"),
			ageColumn(),
		},
		Row: cells(func(c *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), age(c.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable[*networkingv1.ServiceCIDR](false, nil),
	}
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	errs := validateClusterScoped(&c.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	at := field.NewPath("spec", "cidrs")
	switch len(c.Spec.CIDRs) {
	case 0:
		return append(errs, field.Required(at, "at least one CIDR required"))
	case 1, 2:
	default:
		return append(errs, field.Invalid(at, c.Spec, "may only hold up to 2 values"))
	}
	var families []bool
	for i, text := range c.Spec.CIDRs {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), text)...)
		if prefix, err := netip.ParsePrefix(text); err == nil {
			families = append(families, prefix.Addr().Is4())
		}
	}
	if len(families) == 2 && len(slices.Compact(families)) == 1 {
		errs = append(errs, field.Invalid(at, c.Spec, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"))
	}
	return errs
}
