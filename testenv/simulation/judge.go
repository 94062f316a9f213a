package simulation

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"vtm-ingress/sim/kube"
)

// forget is for how long after a change the answer of before is still right: a
// controller may be cut off, and a successor must first get the Lease.
const forget = 3 * time.Minute

// response is what a client got.
type response struct {
	err         error // none of what follows
	status      int
	pod         string // namespace/name; "": none answered
	never       bool   // that Pod was never ready
	location    string
	certificate string // fingerprint of the leaf; "": it was no TLS
}

// failed says that a client got nothing, or that the traffic manager has no backend.
func (g *response) failed() bool { return g.err != nil || g.status >= 500 }

func (g *response) String() string {
	switch {
	case g.err != nil:
		return g.err.Error()
	case g.pod != "":
		return "answered by Pod " + g.pod
	case g.location != "":
		return fmt.Sprintf("status %d to %s", g.status, g.location)
	}
	return fmt.Sprintf("status %d", g.status)
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// look is what tells whether Kubernetes holds anything else than when it was last asked.
type look struct {
	revision uint64 // of what makes a world
	settings settings
}

// learn notes what Kubernetes holds now, if that is something else than before.
func (r *run) learn() {
	// Nobody lists anew what did not change, unless faults had, or have, a say in the answer.
	now := look{r.system.box.Kubernetes.Changed(worldly...), r.system.modelled()}
	sure := !slices.ContainsFunc(r.system.box.Kubernetes.Faults(), func(f kube.FaultRule) bool { return f.User != controllerUser })
	r.mu.Lock()
	known := sure && r.known == now
	r.mu.Unlock()
	if known {
		return
	}
	w, ok := r.lookAtWorld()
	if !ok {
		return // away: it can't change
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known = (look{}); sure {
		r.known = now
	}
	if r.hadSecond && !w.second {
		r.secondLost = r.now()
	}
	r.hadSecond = w.second
	if len(r.worlds) > 0 && r.worlds[len(r.worlds)-1].text == w.text {
		// Status is no part of it, and is looked at once all is well.
		last := r.worlds[len(r.worlds)-1]
		w.from = last.from
		r.worlds[len(r.worlds)-1] = w
		return
	}
	w.from = r.now()
	if len(w.parted) > 0 && r.secondLost != 0 && r.now() < r.secondLost+forget {
		r.worlds = append(r.worlds, w.withParted())
	}
	r.worlds = append(r.worlds, w)
	for len(r.worlds) > 1 && r.worlds[1].from < r.now()-2*forget {
		r.worlds = r.worlds[1:]
	}
	for name, f := range w.secrets {
		if f != "" {
			r.fingerprints[f] = true
		}
		if strings.HasPrefix(name, steady+"/") {
			r.kept[name] = f // what serves goes on with it when it is taken away
		}
	}
}

// withParted is the world as it is for a controller that does not know yet that the second
// class is gone, or lets it count for another minute.
func (w *world) withParted() *world {
	with := &world{from: w.from, secrets: w.secrets, services: w.services, settings: w.settings, text: w.text, second: true}
	with.ingresses = slices.Concat(w.ingresses, w.parted)
	slices.SortFunc(with.ingresses, byRank)
	return with
}

// byRank compares Ingresses by rank.
func byRank(a, b networkingv1.Ingress) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
}

// worldly are the resources of which a world is made.
var worldly = []schema.GroupResource{
	networkingv1.Resource("ingresses"), networkingv1.Resource("ingressclasses"), corev1.Resource("services"),
	corev1.Resource("secrets"), appsv1.Resource("deployments"),
}

// lookAtWorld asks the API server; false while it is away.
func (r *run) lookAtWorld() (*world, bool) {
	var ingresses networkingv1.IngressList
	var services corev1.ServiceList
	var secrets corev1.SecretList
	var deployments appsv1.DeploymentList
	var listed networkingv1.IngressClassList
	for path, into := range map[string]any{
		"/apis/networking.k8s.io/v1/ingresses": &ingresses, "/api/v1/services": &services,
		"/api/v1/secrets": &secrets, "/apis/apps/v1/deployments": &deployments,
		"/apis/networking.k8s.io/v1/ingressclasses": &listed,
	} {
		if status, err := r.system.get(path, into); err != nil || status != http.StatusOK {
			return nil, false
		}
	}
	r.mu.Lock()
	kept := maps.Clone(r.kept)
	r.mu.Unlock()
	w := &world{secrets: kept, services: map[string]service{}, settings: r.system.modelled()}
	var text strings.Builder
	fmt.Fprintln(&text, w.settings)
	ours := slices.Clone(classes) // they are never away for as long as counts
	for _, class := range listed.Items {
		ours = append(ours, class.Name)
		w.second = w.second || class.Name == secondClass
	}
	for _, i := range ingresses.Items {
		switch name := i.Spec.IngressClassName; {
		case name != nil && slices.Contains(ours, *name), name == nil && i.Annotations["kubernetes.io/ingress.class"] == "vtm":
			w.ingresses = append(w.ingresses, i)
		case name != nil && *name == secondClass:
			w.parted = append(w.parted, i)
		}
	}
	slices.SortFunc(w.ingresses, byRank)
	fmt.Fprintln(&text, w.second)
	for _, i := range slices.Concat(w.ingresses, w.parted) {
		spec, _ := json.Marshal(i.Spec)
		fmt.Fprintln(&text, i.UID, i.Namespace, i.Name, i.Annotations, string(spec))
	}
	replicas := map[string]*appsv1.Deployment{}
	for n := range deployments.Items {
		d := &deployments.Items[n]
		replicas[d.Namespace+"/"+d.Name] = d
	}
	for _, s := range services.Items {
		name := s.Namespace + "/" + s.Name
		d := replicas[name]
		if d == nil {
			continue
		}
		spec, _ := json.Marshal(s.Spec)
		template, _ := json.Marshal(d.Spec)
		known := service{works: s.Spec.Type == corev1.ServiceTypeNodePort, pods: int(*d.Spec.Replicas), text: string(s.UID) + string(spec) + string(template)}
		if d.Spec.Template.Annotations[neverReady] != "" {
			known.pods = -1 // those of before may go on
		}
		w.services[name] = known
		fmt.Fprintln(&text, name, known.text)
	}
	for _, s := range secrets.Items {
		for _, data := range s.Data { // of those that the controllers made, too
			r.keyKnown(data)
		}
		if s.Type != corev1.SecretTypeTLS {
			continue
		}
		name := s.Namespace + "/" + s.Name
		w.secrets[name] = ""
		if pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err == nil {
			w.secrets[name] = fingerprint(pair.Certificate[0])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.secrets)) {
		fmt.Fprintln(&text, name, w.secrets[name])
	}
	w.text = text.String()
	return w, true
}

// since are the worlds that there were at some time from an instant on.
func (r *run) since(at time.Duration) []*world {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := 0
	for n, w := range r.worlds {
		if w.from <= at {
			first = n
		}
	}
	return slices.Clone(r.worlds[first:])
}

// judge says whether a client got what it must: what is right by all that Kubernetes
// held lately, where that is one thing; else something that was right by some of it.
func (r *run) judge(q question, got response, sent time.Duration) {
	worlds := r.since(sent - forget)
	if len(worlds) == 0 {
		return
	}
	var answers []answer
	certain := true
	last := worlds[len(worlds)-1]
	for _, w := range worlds {
		served, refused := w.answer(q, asServed), w.answer(q, asRefused)
		answers = append(answers, served)
		if refused != served {
			answers = append(answers, refused)
		}
		// Of two that depend on the past, one may be served and the other not.
		certain = certain && (w.site(q.address, asServed).conditional < 2 || strings.HasPrefix(served.service, steady+"/"))
		if name := served.service; name != "" {
			certain = certain && w.services[name].text == last.services[name].text && last.services[name].pods >= 0
		}
	}
	r.judgeCertificate(q, got, answers, certain)
	for _, a := range answers {
		certain = certain && a.kind == answers[0].kind && a.service == answers[0].service && a.location == answers[0].location
	}
	if got.never {
		r.violate(3, "%s was %s, which was never ready", q, &got)
	}
	if got.pod != "" && certainOrNot(worlds, certain) && !slices.ContainsFunc(answers, func(a answer) bool { return a.kind == byPod && podOf(got.pod, a.service) }) {
		r.misrouted(q, got, worlds)
		return
	}
	if !certain {
		return
	}
	if why := r.differs(q, answers[0], got, last); why != "" {
		r.count(true, q, answers[0].service, sent, why)
	} else if answers[0].kind == byPod && got.pod != "" {
		r.count(false, q, answers[0].service, sent, "")
	}
}

// certainOrNot says whether all that Ingresses depend on the past for can be told.
func certainOrNot(worlds []*world, certain bool) bool {
	if certain {
		return true
	}
	for _, w := range worlds {
		for _, s := range w.allSites(asServed) {
			if s.conditional > 1 {
				return false
			}
		}
	}
	return true
}

// differs says in what a response differs from the answer that must come; "" if it
// does not.
func (r *run) differs(q question, want answer, got response, w *world) string {
	text := ""
	switch want.kind {
	case nobody:
		if got.pod == "" {
			return "" // what else is there serves nobody
		}
		text = "nobody"
	case byPod:
		text = "a Pod of " + want.service
		known := w.services[want.service]
		switch {
		case got.pod != "" && podOf(got.pod, want.service):
			return ""
		case got.failed() && (!known.works || known.pods <= 0): // or there were none of before
			return ""
		case !known.works || known.pods == 0:
			text = "no Pod of " + want.service
		}
	case missing:
		text = "404"
		if got.status == http.StatusNotFound {
			return ""
		}
	case badPath:
		text = "400"
		if got.status == http.StatusBadRequest {
			return ""
		}
	case redirect:
		text = "a redirect to " + want.location
		if got.status >= 300 && got.status < 400 && got.location == want.location {
			return ""
		}
	}
	return fmt.Sprintf("%s: want %s, got %s", q, text, &got)
}

func podOf(pod, service string) bool { return service != "" && strings.HasPrefix(pod, service+"-") }

// misrouted tells of a Pod that should not have answered: one of an Ingress that is
// refused there (7), or another one (3).
func (r *run) misrouted(q question, got response, worlds []*world) {
	for _, w := range worlds {
		for _, i := range w.site(q.address, asServed).refused {
			for _, name := range backendsOf(i) {
				if podOf(got.pod, i.Namespace+"/"+name) {
					r.violate(7, "%s was %s, of Ingress %s/%s, which an older one excludes there", q, &got, i.Namespace, i.Name)
					return
				}
			}
		}
	}
	r.violate(3, "%s was %s; right is %s", q, &got, wantedOf(worlds, q))
}

func wantedOf(worlds []*world, q question) string {
	var texts []string
	for _, w := range worlds {
		a := w.answer(q, asServed)
		texts = append(texts, fmt.Sprint(a.kind, " ", a.service, a.location))
	}
	return strings.Join(slices.Compact(texts), ", then ")
}

// judgeCertificate is invariant 5: no TLS host is shown a wrong certificate while the
// right one is known.
func (r *run) judgeCertificate(q question, got response, answers []answer, certain bool) {
	if got.certificate == "" || !certain {
		return
	}
	r.mu.Lock()
	shown := got.certificate
	if !r.fingerprints[shown] {
		shown = "" // none of any Secret
	}
	r.mu.Unlock()
	var right []string
	for _, a := range answers {
		if a.certificate == unknown || a.certificate == shown {
			return
		}
		right = append(right, cmp.Or(a.certificate, "none of any Secret"))
	}
	slices.Sort(right)
	r.violate(5, "%s was shown the certificate %s; right is %s", q, cmp.Or(shown, "of no Secret"), strings.Join(slices.Compact(right), " or "))
}
