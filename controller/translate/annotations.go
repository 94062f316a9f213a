package translate

import (
	"maps"
	"slices"
	"strings"

	"vtm-ingress/internal/spell"
)

// The prefixes under which annotations are ours.
const (
	vtmPrefix     = "vtm.pulsesecure.net/"
	ingressPrefix = "ingress.kubernetes.io/"
)

// The annotations' canonical names (specification, Ingress Metadata Annotation
// Reference).
const (
	annAddress        = vtmPrefix + "ip-address"
	annShared         = vtmPrefix + "shared-ip-address"
	annPort           = vtmPrefix + "port"
	annReEncrypt      = vtmPrefix + "re-encrypt"
	annMonitor        = vtmPrefix + "monitor"
	annPersistence    = vtmPrefix + "persistence"
	annPoolCustom     = vtmPrefix + "pool-customization"
	annServerCustom   = vtmPrefix + "virtualserver-customization"
	annRequestScript  = vtmPrefix + "request-trafficscript"
	annResponseScript = vtmPrefix + "response-trafficscript"
	annLetsEncrypt    = vtmPrefix + "use-lets-encrypt"
	annRedirect       = ingressPrefix + "ssl-redirect"
	annPassthrough    = ingressPrefix + "ssl-passthrough"
)

// spellings lists each annotation's names, the canonical one first: the
// specification itself spells some in two ways.
var spellings = [...][]string{
	{annAddress},
	{annShared, vtmPrefix + "shared-ipaddress"},
	{annPort},
	{annReEncrypt},
	{annMonitor},
	{annPersistence},
	{annPoolCustom, vtmPrefix + "poolcustomization"},
	{annServerCustom},
	{annRequestScript, vtmPrefix + "requesttrafficscript"},
	{annResponseScript, vtmPrefix + "responsetrafficscript"},
	{annLetsEncrypt, vtmPrefix + "use-letsencrypt"},
	{annRedirect, vtmPrefix + "ssl-redirect"},
	{annPassthrough, ingressPrefix + "sslpassthrough"},
}

// known are all spellings.
var known = func() map[string]bool {
	all := map[string]bool{}
	for _, names := range spellings {
		for _, name := range names {
			all[name] = true
		}
	}
	return all
}()

// readAnnotations gives the values by canonical name. Two spellings with
// different values are fatal; unknown names under our prefixes are a warning.
func readAnnotations(annotations map[string]string, found *findings) map[string]string {
	values := map[string]string{}
	for _, names := range spellings {
		used := "" // the spelling that gave the value
		for _, name := range names {
			value, ok := annotations[name]
			if !ok {
				continue
			}
			if used != "" && value != values[names[0]] {
				found.add(fatal, "ConflictingAnnotations",
					"annotations %s and %s mean the same and differ: remove one", used, name)
				continue
			}
			used, values[names[0]] = name, value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if known[name] || !strings.HasPrefix(name, vtmPrefix) && !strings.HasPrefix(name, ingressPrefix) {
			continue
		}
		found.add(warning, "UnknownAnnotation",
			"annotation %s is unknown and has no effect: did you mean %s?", show(name), nearest(name))
	}
	return values
}

// isTrue reads a boolean annotation: exactly "true" or "false".
func isTrue(values map[string]string, name string, found *findings) bool {
	value, given := values[name]
	if given && value != "true" && value != "false" {
		found.add(fatal, "InvalidAnnotation", `annotation %s is %s: write "true" or "false"`, name, show(value))
	}
	return value == "true"
}

// nearest is the canonical name of the known annotation that is spelt most like
// name, the first of several: after the prefix, of which there are several, and then
// with it.
func nearest(name string) string {
	// A name is at most 316 bytes in Kubernetes; a longer one is like none.
	name = name[:min(len(name), 316)]
	_, own, _ := strings.Cut(name, "/")
	best, least, whole := "", -1, 0
	for _, names := range spellings {
		for _, known := range names {
			_, its, _ := strings.Cut(known, "/")
			d := spell.Distance(own, its)
			if least >= 0 && d > least {
				continue
			}
			if w := spell.Distance(name, known); least < 0 || d < least || w < whole {
				best, least, whole = names[0], d, w
			}
		}
	}
	return best
}
