package simulation

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
)

// This file says by itself, from the specification and the rules of routing alone,
// what clients must be answered. It shares nothing with the controller's translation,
// so that what is wrong there is seen here. It knows what this simulation's users
// write, no more.

// question is one request of a client.
type question struct {
	address    string
	port       int
	tls        bool
	host, path string
}

func (q question) String() string {
	scheme := "http"
	if q.tls {
		scheme = "https"
	}
	return scheme + "://" + q.host + q.path + " at " + q.address + ":" + strconv.Itoa(q.port)
}

// kinds of answers.
const (
	nobody   = "nobody"   // nothing listens
	byPod    = "pod"      // a Pod of a Service answers, or the Service has none
	missing  = "404"      // no Ingress serves host and path
	badPath  = "400"      // the path is ambiguous, or leaves the root
	redirect = "redirect" // to HTTPS
)

// answer is what must come.
type answer struct {
	kind     string
	service  string // of kind byPod: namespace/name
	location string // of kind redirect
	// certificate is that of a TLS listener: the fingerprint of a Secret's, "" for none
	// of any Secret, unknown for one that isn't known.
	certificate string
}

const unknown = "?"

// world is what Kubernetes held for some time, as far as it says what clients must
// be answered.
type world struct {
	from      time.Duration
	ingresses []networkingv1.Ingress // of our classes, by rank
	second    bool                   // secondClass is there
	parted    []networkingv1.Ingress // of secondClass, which is not there
	secrets   map[string]string      // fingerprint of the certificate by namespace/name; "": it can't be used
	services  map[string]service     // by namespace/name
	settings  settings
	text      string // all of this: equal worlds have equal texts

	// mu guards what is made when somebody asks: clients do at one time, and ask the same
	// again and again.
	mu      sync.Mutex
	sites   map[assumption]map[string]*site
	answers map[assumed]answer
}

// settings are those of the controllers that decide what clients are answered.
type settings struct {
	redirect   bool // default_ssl_redirect
	restricted bool // allowed_addresses is allowedAddresses
}

// service is what stands behind a backend.
type service struct {
	works bool   // it is a NodePort's
	pods  int    // that its Deployment shall have
	text  string // all that decides how it answers: where it is the same, nothing changed
}

// assumption says how an Ingress counts which is served only if it was served before:
// one whose Secret or whose last Service is gone.
type assumption int

const (
	asServed  assumption = iota
	asRefused            // it is not
	asTold               // as its status says
)

// assumed is a question, and what it is answered by.
type assumed struct {
	question
	assumption
}

// site is what is at one address.
type site struct {
	exclusive   bool
	first       *networkingv1.Ingress
	ports       map[int]*listener
	redirectTo  int  // port 80 redirects there; 0: it doesn't
	answers     bool // port 80 answers a certificate authority
	refused     []*networkingv1.Ingress
	conditional int // how many depend on the assumption
}

// listener is what is at one port of it.
type listener struct {
	tls          bool // clients speak it
	ingresses    []*networkingv1.Ingress
	certificates map[string]string // Secret by host
	standard     string            // Secret for all other hosts; "": none of any Secret
}

// claim is where an Ingress wants to be served.
type claim struct {
	address   string
	exclusive bool
	port      int
	tls       bool
	redirect  bool
	optional  bool // of the redirect: without it, it is served all the same
	issued    bool // a certificate authority issues its certificates
	// conditional: it is served only if it was before.
	conditional bool
}

const (
	annotationDomain      = "vtm.pulsesecure.net/"
	issuedAnnotation      = annotationDomain + "use-lets-encrypt"
	passthroughAnnotation = "ingress.kubernetes.io/ssl-passthrough"
)

// claimOf reads an Ingress; false if it is refused for what it says itself.
func (w *world) claimOf(i *networkingv1.Ingress) (c claim, ok bool) {
	dedicated, isDedicated := i.Annotations[annotationDomain+"ip-address"]
	shared, isShared := i.Annotations[annotationDomain+"shared-ip-address"]
	if isDedicated == isShared {
		return c, false // both, or none, and there is no default group
	}
	c.address, c.exclusive = cmp.Or(dedicated, shared), isDedicated
	if _, err := netip.ParseAddr(c.address); err != nil {
		return c, false
	}
	for _, name := range []string{"monitor", "persistence"} {
		if text, is := i.Annotations[annotationDomain+name]; is && !json.Valid([]byte(text)) {
			return c, false
		}
	}
	if w.settings.restricted && i.Namespace == shop && c.address == notForShop {
		return c, false
	}
	passthrough := i.Annotations[passthroughAnnotation] == "true"
	if passthrough && (isShared || len(i.Spec.TLS) > 0 || len(i.Spec.Rules) > 0) {
		return c, false
	}
	c.port, c.tls = 80, len(i.Spec.TLS) > 0
	if c.tls {
		c.port = 443
	}
	if text, is := i.Annotations[annotationDomain+"port"]; is {
		port, err := strconv.Atoi(text)
		if err != nil {
			return c, false
		}
		c.port = port
	}
	asked, says := i.Annotations["ingress.kubernetes.io/ssl-redirect"]
	c.redirect, c.optional = c.tls && (asked == "true" || !says && w.settings.redirect), !says
	if c.redirect && (c.port == 80 || isShared && c.port != 443) {
		if !c.optional {
			return c, false
		}
		c.redirect = false
	}
	c.issued = c.tls && i.Annotations[issuedAnnotation] == "true"
	if c.issued && c.port == 80 {
		return c, false
	}
	c.tls = c.tls || passthrough
	for _, entry := range i.Spec.TLS {
		if c.issued {
			break
		}
		if w.secrets[i.Namespace+"/"+entry.SecretName] == "" {
			c.conditional = true
		}
	}
	works := false
	for _, name := range backendsOf(i) {
		works = works || w.services[i.Namespace+"/"+name].works
	}
	c.conditional = c.conditional || !works
	return c, true
}

func backendsOf(i *networkingv1.Ingress) (names []string) {
	if i.Spec.DefaultBackend != nil {
		names = append(names, i.Spec.DefaultBackend.Service.Name)
	}
	for _, rule := range i.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			names = append(names, path.Backend.Service.Name)
		}
	}
	return names
}

// allSites gives addresses to those who claim them, in the order of rank.
func (w *world) allSites(assume assumption) map[string]*site {
	w.mu.Lock()
	defer w.mu.Unlock()
	if sites := w.sites[assume]; sites != nil {
		return sites
	}
	sites := map[string]*site{}
	for n := range w.ingresses {
		i := &w.ingresses[n]
		c, ok := w.claimOf(i)
		if !ok {
			continue
		}
		s := sites[c.address]
		if s == nil {
			s = &site{ports: map[int]*listener{}}
			sites[c.address] = s
		}
		if c.conditional {
			s.conditional++
			if assume == asRefused || assume == asTold && len(i.Status.LoadBalancer.Ingress) == 0 {
				continue
			}
		}
		if !s.admit(i, &c) {
			s.refused = append(s.refused, i)
		}
	}
	if w.sites == nil {
		w.sites = map[assumption]map[string]*site{}
	}
	w.sites[assume] = sites
	return sites
}

// site is what is at an address.
func (w *world) site(address string, assume assumption) *site {
	if s := w.allSites(assume)[address]; s != nil {
		return s
	}
	return &site{}
}

// admit lets an Ingress in unless an older one excludes it.
func (s *site) admit(i *networkingv1.Ingress, c *claim) bool {
	if s.first != nil && (s.exclusive || c.exclusive) {
		return false
	}
	if c.port == 80 && (s.redirectTo != 0 || s.answers) || c.issued && s.ports[80] != nil {
		return false
	}
	l := s.ports[c.port]
	certificates := map[string]string{}
	for _, entry := range i.Spec.TLS {
		for _, host := range entry.Hosts {
			if certificates[host] == "" {
				certificates[host] = i.Namespace + "/" + entry.SecretName
			}
		}
	}
	if l != nil {
		if l.tls != c.tls {
			return false
		}
		for host, secret := range certificates {
			if other := l.certificates[host]; other != "" && other != secret {
				return false
			}
		}
	}
	redirect := c.redirect
	if c.redirect && (s.ports[80] != nil || s.redirectTo != 0 && s.redirectTo != c.port) {
		if !c.optional {
			return false
		}
		redirect = false
	}
	if s.first == nil {
		s.first, s.exclusive = i, c.exclusive
	}
	if l == nil {
		l = &listener{tls: c.tls, certificates: map[string]string{}}
		s.ports[c.port] = l
		if c.exclusive && len(i.Spec.TLS) > 0 {
			l.standard = i.Namespace + "/" + i.Spec.TLS[0].SecretName
		}
	}
	l.ingresses = append(l.ingresses, i)
	for host, secret := range certificates {
		l.certificates[host] = secret
	}
	if redirect {
		s.redirectTo = c.port
	}
	s.answers = s.answers || c.issued
	return true
}

// serves says whether an Ingress is served here.
func (s *site) serves(i *networkingv1.Ingress) bool {
	for _, l := range s.ports {
		if slices.ContainsFunc(l.ingresses, func(o *networkingv1.Ingress) bool { return o.UID == i.UID }) {
			return true
		}
	}
	return false
}

// answer says what a client must be answered.
func (w *world) answer(q question, assume assumption) answer {
	w.mu.Lock()
	a, known := w.answers[assumed{q, assume}]
	w.mu.Unlock()
	if known {
		return a
	}
	a = w.find(q, assume)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers == nil {
		w.answers = map[assumed]answer{}
	}
	w.answers[assumed{q, assume}] = a
	return a
}

// find is answer for the first time.
func (w *world) find(q question, assume assumption) answer {
	s := w.site(q.address, assume)
	if q.port == 80 && s.redirectTo != 0 {
		at := ""
		if s.redirectTo != 443 {
			at = ":" + strconv.Itoa(s.redirectTo)
		}
		return answer{kind: redirect, location: "https://" + q.host + at + q.path}
	}
	if q.port == 80 && s.answers {
		return answer{kind: missing}
	}
	l := s.ports[q.port]
	if l == nil || l.tls != q.tls {
		return answer{kind: nobody}
	}
	a := w.route(l, s.exclusive, q)
	if l.tls {
		secret := l.certificates[q.host]
		// Wildcards among certificates' hosts cover any number of labels on a traffic
		// manager, the longest first.
		for _, domain, ok := strings.Cut(q.host, "."); ok && secret == ""; _, domain, ok = strings.Cut(domain, ".") {
			secret = l.certificates["*."+domain]
		}
		if secret = cmp.Or(secret, l.standard); secret != "" {
			a.certificate = cmp.Or(w.secrets[secret], unknown)
		}
	}
	return a
}

// route tries Ingress by Ingress in the order of rank; in each one hosts before
// wildcards before no host, and of paths the exact one and then the longest.
func (w *world) route(l *listener, exclusive bool, q question) answer {
	path, ok := normal(q.path)
	if !ok && !(exclusive && len(l.ingresses[0].Spec.Rules) == 0) { // else nothing reads it
		return answer{kind: badPath}
	}
	to := func(i *networkingv1.Ingress, b *networkingv1.IngressBackend) answer {
		return answer{kind: byPod, service: i.Namespace + "/" + b.Service.Name}
	}
	_, domain, _ := strings.Cut(q.host, ".")
	for _, i := range l.ingresses {
		for _, host := range []string{q.host, "*." + domain, ""} {
			var best *networkingv1.HTTPIngressPath
			for r := range i.Spec.Rules {
				if rule := &i.Spec.Rules[r]; rule.Host == host && rule.HTTP != nil {
					for p := range rule.HTTP.Paths {
						if found := &rule.HTTP.Paths[p]; takes(found, path) && (best == nil || weight(found) > weight(best)) {
							best = found
						}
					}
				}
			}
			if best != nil {
				return to(i, &best.Backend)
			}
		}
	}
	for _, i := range l.ingresses {
		if i.Spec.DefaultBackend != nil {
			return to(i, i.Spec.DefaultBackend)
		}
	}
	return answer{kind: missing}
}

// takes says whether a path of an Ingress is for that of a request.
func takes(p *networkingv1.HTTPIngressPath, path string) bool {
	switch {
	case *p.PathType == networkingv1.PathTypeExact:
		return path == p.Path
	case *p.PathType == networkingv1.PathTypeImplementationSpecific && strings.Contains(p.Path, "*"):
		before, after, _ := strings.Cut(p.Path, "*")
		return len(path) >= len(before)+len(after) && strings.HasPrefix(path, before) && strings.HasSuffix(path, after)
	}
	prefix := strings.TrimRight(p.Path, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// weight orders paths that take the same request.
func weight(p *networkingv1.HTTPIngressPath) int {
	if *p.PathType == networkingv1.PathTypeExact {
		return 1000
	}
	text, _, pattern := strings.Cut(p.Path, "*")
	if !pattern {
		return 2 * len(strings.TrimRight(text, "/"))
	}
	return 2*len(text) + 1 // before a prefix of the same length
}

// normal folds // and dot segments; false if the path leaves the root or means
// something else decoded. Clients here encode slashes and nothing else.
func normal(path string) (string, bool) {
	if strings.Contains(strings.ToLower(path), "%2f") {
		return "", false
	}
	var elements []string
	for n, element := range strings.Split(path, "/") {
		switch element {
		case "", ".":
			continue
		case "..":
			if len(elements) == 0 {
				return "", false
			}
			elements = elements[:len(elements)-1]
		default:
			elements = append(elements, element)
		}
		_ = n
	}
	folded := "/" + strings.Join(elements, "/")
	if strings.HasSuffix(path, "/") && folded != "/" {
		folded += "/"
	}
	return folded, true
}
