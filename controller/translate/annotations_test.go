package translate

import "testing"

// An annotation that has the wrong one of the prefixes is meant, not another one of that
// prefix.
func TestTheNearestAnnotationIsThatOfTheSameName(t *testing.T) {
	for name, want := range map[string]string{
		"vtm.pulsesecure.net/ssl-passthrough":    "ingress.kubernetes.io/ssl-passthrough",
		"ingress.kubernetes.io/re-encrypt":       "vtm.pulsesecure.net/re-encrypt",
		"vtm.pulsesecure.net/ip-adress":          "vtm.pulsesecure.net/ip-address",
		"ingress.kubernetes.io/SSL-redirect":     "ingress.kubernetes.io/ssl-redirect",
		"vtm.pulsesecure.net/pool_customization": "vtm.pulsesecure.net/pool-customization",
	} {
		if got := nearest(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
