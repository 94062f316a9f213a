package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/idna"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// MaxCertificateHosts is how many hosts public authorities take in one
// certificate.
const MaxCertificateHosts = 100

// ChallengePath is where a certificate authority asks, before the token (RFC 8555
// §8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// ACME is how far certificates are that are issued for Ingresses. Immutable.
type ACME struct {
	// Challenges are those that a certificate authority may ask for now, sorted.
	Challenges []Challenge
	// States of certificates that are being issued, or could not be, by Secret.
	States map[types.NamespacedName]CertificateState
	// Ending are Secrets with certificates that end soon or have ended, and that others
	// made, with their end.
	Ending map[types.NamespacedName]time.Time
}

// Challenge is a question of a certificate authority and its answer (RFC 8555
// §8.3). It is answered where an Ingress of Namespace wants a certificate for Host.
type Challenge struct {
	Namespace, Host, Token, KeyAuthorization string
}

// CertificateState is how far one certificate is.
type CertificateState struct {
	Failed  bool   // the last attempt; else one is under way or waits its turn
	Message string // what an owner should know, with the next attempt's time if there is one
	// Next is when it is tried again, or goes on; zero: it is under way.
	Next time.Time
}

func (a *ACME) state(secret types.NamespacedName) CertificateState {
	if a == nil {
		return CertificateState{}
	}
	return a.States[secret]
}

func (a *ACME) ends(secret types.NamespacedName) (end time.Time, soon bool) {
	if a == nil {
		return time.Time{}, false
	}
	end, soon = a.Ending[secret]
	return end, soon
}

const certificatePending = "CertificatePending"

func (s CertificateState) code() string {
	if s.Failed {
		return "CertificateFailed"
	}
	return certificatePending
}

func (s CertificateState) text() string { return cmp.Or(s.Message, "it is being ordered") }

// Certificate is one that is to be issued, and renewed.
type Certificate struct {
	Secret types.NamespacedName
	Hosts  []string // sorted, each once, at least one
	// Ingresses that want it, sorted.
	Ingresses []types.NamespacedName
	// Needs are the resources that answer a certificate authority for it: rules,
	// virtual servers and Traffic IP Groups; sorted.
	Needs []vtm.ID
}

func (c Certificate) equal(d Certificate) bool {
	return c.Secret == d.Secret && slices.Equal(c.Hosts, d.Hosts) && slices.Equal(c.Ingresses, d.Ingresses) && slices.Equal(c.Needs, d.Needs)
}

// readLetsEncrypt is for an Ingress whose certificates are issued for it.
func (w *wish) readLetsEncrypt(settings *config.Settings) {
	switch {
	case !settings.ACMETermsAgreed:
		w.findings.add(fatal, "NotSupported", "annotation %s needs the setting acme_terms_agreed, which is false: ask whoever runs the controller, or remove the annotation", annLetsEncrypt)
		return
	case len(w.transport.tls) == 0:
		w.findings.add(fatal, "InvalidTLS", "annotation %s needs spec.tls, which says for which hosts and into which Secrets: add it, or remove the annotation", annLetsEncrypt)
		return
	case w.port == plainPort:
		w.findings.add(fatal, "InvalidPort", "annotations %s and %s: the certificate authority asks on port %d: use another port", annPort, annLetsEncrypt, plainPort)
	}
	w.letsEncrypt = true
	for i := range w.transport.tls {
		ref := &w.transport.tls[i]
		if len(ref.hosts) == 0 {
			for _, host := range w.share.Hosts() {
				if host != "" {
					ref.hosts = append(ref.hosts, string(host))
				}
			}
		}
		if len(ref.hosts) == 0 {
			w.findings.add(fatal, "InvalidTLS", "spec.tls, entry %d: it names no host, and neither does spec.rules: a certificate is issued for hosts: add them", i+1)
		}
		if len(ref.hosts) > MaxCertificateHosts {
			w.findings.add(fatal, "InvalidTLS", "spec.tls, entry %d: it has %d hosts, and a certificate is issued for at most %d: use several Secrets", i+1, len(ref.hosts), MaxCertificateHosts)
		}
		for _, host := range ref.hosts {
			if why := unissuable(host, settings); why != "" {
				w.findings.add(fatal, "InvalidTLS", "spec.tls, entry %d: no certificate is issued for %s: %s", i+1, show(host), why)
			}
		}
	}
}

// unissuable says why no public authority issues a certificate for a host, "" if one
// may. The host is in lower case.
func unissuable(host string, settings *config.Settings) string {
	_, err := netip.ParseAddr(host)
	name, wildcard := strings.CutPrefix(host, "*.")
	labels := strings.Split(name, ".")
	ascii, notIDN := idna.Lookup.ToASCII(name)
	switch {
	case wildcard && settings.ACMEDNSProvider == "":
		return "a wildcard needs another way to prove who owns it (DNS-01), and the setting acme_dns_provider is empty: name each host"
	case err == nil:
		return "it is an IP address: name a host"
	case len(labels) < 2:
		return "it has no dot, so it is no public name"
	case strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) >= 0:
		if notIDN != nil {
			return "it holds characters that no name in DNS has"
		}
		return "name it as DNS does: " + ascii
	case len(name) > 253:
		return "it is longer than 253 characters, and no name in DNS is"
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return "it has a part between dots that is empty or longer than 63 characters, and no name in DNS has"
		}
		if strings.HasPrefix(label, "xn--") && notIDN != nil {
			return "it has a part that begins with xn-- and stands for no international name"
		}
	}
	return ""
}

// Answer is the text by which one sees that a rule answers a challenge.
func (c Challenge) Answer() string { return Quote(c.KeyAuthorization) }

// emitChallenges answers a certificate authority, and nobody else. What a client
// sees of another path there is not found.
func emitChallenges(challenges []Challenge) string {
	if len(challenges) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "$path = http.getPath();\nif (string.startsWith($path, %s)) {\n    $host = http.getHostHeader();\n", Quote(ChallengePath))
	for _, c := range challenges {
		fmt.Fprintf(&b, "    if ($host == %s && $path == %s) {\n        http.sendResponse(\"200 OK\", \"application/octet-stream\", %s, \"\");\n    }\n",
			Quote(c.Host), Quote(ChallengePath+c.Token), c.Answer())
	}
	b.WriteString("    " + notFound + "}\n")
	return b.String()
}

// acmeState is what a Translator remembers of certificates that are issued.
type acmeState struct {
	now     *ACME
	entries map[*entry]bool   // that want some
	hosts   entriesBy[string] // all entries, by the hosts that they name
	touched map[string]bool   // hosts that entries came to or left since dispute looked
	stale   bool              // last may not be what is wanted
	last    []Certificate
}

func newACMEState() acmeState {
	return acmeState{entries: map[*entry]bool{}, hosts: entriesBy[string]{}, touched: map[string]bool{}}
}

// note is called when an entry is new or changed, forget before that and when it
// goes.
func (a *acmeState) note(e *entry) {
	e.named = nil
	for _, host := range e.wish.share.Hosts() {
		e.named = append(e.named, string(host))
	}
	for _, ref := range e.wish.transport.tls {
		e.named = append(e.named, ref.hosts...)
	}
	for _, host := range e.named {
		a.hosts.add(host, e)
		a.touched[host] = true
	}
	if e.wish.letsEncrypt {
		a.entries[e] = true
		a.stale = true
	}
}

func (a *acmeState) forget(e *entry) {
	for _, host := range e.named {
		a.hosts.remove(host, e)
		a.touched[host] = true
	}
	e.named = nil
	e.disputed = nil // found anew where it names a host again
	if a.entries[e] {
		delete(a.entries, e)
		a.stale = true
	}
}

// first is the oldest owner of another namespace that named a host, or a wildcard
// that covers it, before owner did.
func (a *acmeState) first(host string, owner model.Owner) (first model.Owner, disputed bool) {
	names := []string{host}
	if domain, ok := strings.CutPrefix(host, "*"); ok {
		// A certificate for it is one for each host that it covers.
		for name := range a.hosts {
			if first, rest, ok := strings.Cut(name, "."); ok && first != "*" && "."+rest == domain {
				names = append(names, name)
			}
		}
	} else if _, domain, ok := strings.Cut(host, "."); ok {
		names = append(names, "*."+domain)
	}
	for _, name := range names {
		for _, e := range a.hosts[name] {
			other := e.wish.share.Owner
			if other.Namespace != owner.Namespace && other.Compare(owner) < 0 && (!disputed || other.Compare(first) < 0) {
				first, disputed = other, true
			}
		}
	}
	// Whoever of the owner's own namespace was earlier still holds it for all of it.
	if disputed {
		for _, e := range a.hosts[host] {
			if other := e.wish.share.Owner; other.Namespace == owner.Namespace && other.Compare(first) < 0 {
				return model.Owner{}, false
			}
		}
	}
	return first, disputed
}

// readACME finds the entries and sites that what changed concerns.
func (t *Translator) readACME(now *ACME) {
	t.dispute()
	was := t.acme.now
	if now == was {
		return
	}
	t.acme.now = now
	for e := range t.acme.entries {
		for i := range e.wish.transport.tls {
			if name := e.secret(i); was.state(name) != now.state(name) {
				t.due[e] = true
			}
		}
	}
	for _, name := range changedEnds(was, now) {
		for _, e := range t.secretUsers[name] {
			t.due[e] = true
		}
	}
	for _, c := range changedChallenges(was, now) {
		for _, e := range t.acme.hosts[c.Host] {
			if t.acme.entries[e] && e.key.Namespace == c.Namespace && e.claim.Share != nil {
				t.reanswered[e.claim.Site] = true
			}
		}
	}
}

// changedEnds are the Secrets of which something else is told now.
func changedEnds(was, now *ACME) (changed []types.NamespacedName) {
	of := func(a *ACME) map[types.NamespacedName]time.Time {
		if a == nil {
			return nil
		}
		return a.Ending
	}
	differing(of(was), of(now), func(name types.NamespacedName) { changed = append(changed, name) })
	return changed
}

// differing calls visit with each key that two maps do not hold with the same
// value.
func differing[K, V comparable](a, b map[K]V, visit func(K)) {
	both := 0
	for key, value := range b {
		old, ok := a[key]
		if ok {
			both++
		}
		if !ok || old != value {
			visit(key)
		}
	}
	if both == len(a) {
		return
	}
	for key := range a {
		if _, ok := b[key]; !ok {
			visit(key)
		}
	}
}

// changedChallenges are those that are in one of the two alone.
func changedChallenges(was, now *ACME) []Challenge {
	in := map[Challenge]int{}
	for _, a := range []*ACME{was, now} {
		if a == nil {
			continue
		}
		for _, c := range a.Challenges {
			in[c]++
		}
	}
	var changed []Challenge
	for c, n := range in {
		if n == 1 {
			changed = append(changed, c)
		}
	}
	return changed
}

// dispute finds who may have a certificate for the hosts that Ingresses came to or
// left.
func (t *Translator) dispute() {
	if len(t.acme.touched) == 0 {
		return
	}
	concerned := map[*entry]bool{}
	for host := range t.acme.touched {
		if strings.HasPrefix(host, "*.") {
			maps.Copy(concerned, t.acme.entries) // any may have a host that it covers
		}
		for _, e := range t.acme.hosts[host] {
			if t.acme.entries[e] {
				concerned[e] = true
			}
		}
		if _, domain, ok := strings.Cut(host, "."); ok {
			for _, e := range t.acme.hosts["*."+domain] {
				if t.acme.entries[e] {
					concerned[e] = true
				}
			}
		}
	}
	clear(t.acme.touched)
	for e := range concerned {
		disputed := map[string]model.Owner{}
		for _, ref := range e.wish.transport.tls {
			for _, host := range ref.hosts {
				if first, is := t.acme.first(host, e.wish.share.Owner); is {
					disputed[host] = first
				}
			}
		}
		if !maps.Equal(disputed, e.disputed) {
			e.disputed = disputed
			t.due[e] = true
			t.acme.stale = true
		}
	}
}

// at are the challenges to be answered at a site.
func (a *acmeState) at(s *site) []Challenge {
	if a.now == nil || !s.answers {
		return nil
	}
	wanted := map[string]map[string]bool{} // by namespace and host
	for _, e := range s.claimants {
		if e.listener == nil || !e.wish.letsEncrypt {
			continue
		}
		if wanted[e.key.Namespace] == nil {
			wanted[e.key.Namespace] = map[string]bool{}
		}
		for _, ref := range e.wish.transport.tls {
			for _, host := range ref.hosts {
				wanted[e.key.Namespace][host] = true
			}
		}
	}
	var here []Challenge
	for _, c := range a.now.Challenges {
		if wanted[c.Namespace][c.Host] {
			here = append(here, c)
		}
	}
	return here
}

// wantedCertificates are those of Ingresses that are served. The same slice means
// the same content.
func (t *Translator) wantedCertificates() []Certificate {
	if !t.acme.stale {
		return t.acme.last
	}
	t.acme.stale = false
	bySecret := map[types.NamespacedName]*Certificate{}
	for e := range t.acme.entries {
		if e.listener == nil || len(e.disputed) > 0 {
			continue
		}
		for i, ref := range e.wish.transport.tls {
			name := e.secret(i)
			if bySecret[name] == nil {
				bySecret[name] = &Certificate{Secret: name}
			}
			c := bySecret[name]
			c.Hosts = append(c.Hosts, ref.hosts...)
			c.Ingresses = append(c.Ingresses, e.key)
			for _, r := range e.listener.site.redirect {
				c.Needs = append(c.Needs, r.ID)
			}
			if group := e.listener.site.group; group != nil {
				c.Needs = append(c.Needs, group.ID)
			}
		}
	}
	byName := func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}
	var all []Certificate
	for _, name := range slices.SortedFunc(maps.Keys(bySecret), byName) {
		c := bySecret[name]
		slices.Sort(c.Hosts)
		c.Hosts = slices.Compact(c.Hosts)
		slices.SortFunc(c.Ingresses, byName)
		c.Ingresses = slices.Compact(c.Ingresses)
		c.Needs = sortedIDs(c.Needs)
		all = append(all, *c)
	}
	if !slices.EqualFunc(all, t.acme.last, Certificate.equal) {
		t.acme.last = all
	}
	return t.acme.last
}
