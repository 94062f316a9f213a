package kinds

import (
	"net"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validIP checks an address as the API does: leading zeros and IPv4-mapped IPv6
// addresses are refused.
func validIP(path *field.Path, value string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, value, true, nil)
}

// ordinaryIP refuses the addresses that no endpoint and no external address may
// have: traffic for them would reach a node's own services.
func ordinaryIP(path *field.Path, value string) field.ErrorList {
	ip := netutils.ParseIPSloppy(value)
	if ip == nil {
		return field.ErrorList{field.Invalid(path, value, "must be a valid IP address")}
	}
	for _, refused := range []struct {
		is  func(net.IP) bool
		why string
	}{
		{net.IP.IsUnspecified, "may not be unspecified (0.0.0.0 or ::)"},
		{net.IP.IsLoopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{net.IP.IsLinkLocalUnicast, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{net.IP.IsLinkLocalMulticast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if refused.is(ip) {
			return field.ErrorList{field.Invalid(path, value, refused.why)}
		}
	}
	return nil
}
