package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// maxName is the longest name of a resource, in bytes: a name is a file's name on
// the traffic manager (vtm/rest.md §6), with a suffix for some types.
const maxName = 200

// namer names resources. Parts are joined by "_", which no part but a group's
// name may hold, so that different things never get one name: what belongs to an
// Ingress is <id>_<namespace>_<name>_<part>, what listens <id>_<site>_<port>_<part>.
type namer struct {
	id string // setting controller_id
}

func (n namer) join(parts ...string) string {
	name := vtm.Prefix(n.id) + strings.Join(parts, "_")
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	cut := maxName - 11
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "_" + hex.EncodeToString(sum[:5])
}

// pool names a backend's pool.
func (n namer) pool(owner model.Owner, backend string) string {
	return n.join(owner.Namespace, owner.Name, backend)
}

// monitor, persistence, requestScript and responseScript name what an Ingress has
// one of.
func (n namer) monitor(owner model.Owner) string {
	return n.join(owner.Namespace, owner.Name, "monitor")
}

func (n namer) persistence(owner model.Owner) string {
	return n.join(owner.Namespace, owner.Name, "persistence")
}

func (n namer) requestScript(owner model.Owner) string {
	return n.join(owner.Namespace, owner.Name, "request")
}

func (n namer) responseScript(owner model.Owner) string {
	return n.join(owner.Namespace, owner.Name, "response")
}

// serverKey names what a Secret becomes.
func (n namer) serverKey(secret types.NamespacedName) string {
	return n.join(secret.Namespace, secret.Name, "key")
}

// redirect names the rule that sends clients of a place to another one.
func (n namer) redirect(p model.Place) string {
	return n.join(siteText(p.Site), strconv.Itoa(int(p.Port)), "redirect")
}

// server names the virtual server that listens at a place.
func (n namer) server(p model.Place) string {
	return n.join(siteText(p.Site), strconv.Itoa(int(p.Port)), "http")
}

// rule names the rule that routes what comes in at a place.
func (n namer) rule(p model.Place) string {
	return n.join(siteText(p.Site), strconv.Itoa(int(p.Port)), "routes")
}

// library names one of the rule libraries with the routes of a place.
func (n namer) library(p model.Place, bucket int) string {
	return n.join(plainText(siteText(p.Site)), strconv.Itoa(int(p.Port)), "routes-"+strconv.Itoa(bucket))
}

// librariesMark stands in the names of rule libraries before their number.
const librariesMark = "_routes-"

// LibrariesOf gives what the names of a listener's rule libraries have in common, of
// the name of one; false if it is none.
func LibrariesOf(rule string) (common string, ok bool) {
	at := strings.LastIndex(rule, librariesMark)
	if at < 0 {
		return "", false
	}
	common, number := rule[:at+len(librariesMark)], rule[at+len(librariesMark):]
	_, err := strconv.ParseUint(number, 10, 8)
	return common, err == nil
}

// libraries gives the same of a place.
func (n namer) libraries(p model.Place) string {
	common, _ := LibrariesOf(n.library(p, 0))
	return common
}

// rest names the rule library for what no route of a place takes.
func (n namer) rest(p model.Place) string {
	return n.join(plainText(siteText(p.Site)), strconv.Itoa(int(p.Port)), "routes-rest")
}

// ownKey names the self-signed certificate. A Secret's has a part more.
func (n namer) ownKey() string { return n.join("self-signed") }

// relay names all that stands for the event log's relay.
func (n namer) relay() string { return n.join("event-log") }

// plainText gives a text that needs no quotes and is not long: itself, or one that is
// made of it.
func plainText(s string) string {
	if word.MatchString(s) && len(s) <= 100 { // room for the rest of a name
		return s
	}
	sum := sha256.Sum256([]byte(s))
	plain := strings.Map(func(r rune) rune {
		if word.MatchString(string(r)) {
			return r
		}
		return '-'
	}, s)
	return plain[:min(len(plain), 60)] + "-" + hex.EncodeToString(sum[:5])
}

// group names the Traffic IP Group on which a site listens: an existing one's
// name, or that of the one that we create for an address.
func (n namer) group(s model.Site) string {
	if s.Group != "" {
		return s.Group
	}
	return n.join(siteText(s), "group")
}

// siteText is a site's part of a name. No address looks like a group's.
func siteText(s model.Site) string {
	if s.Group != "" {
		return "group-" + s.Group
	}
	return strings.ReplaceAll(s.Address.String(), ":", "-")
}
