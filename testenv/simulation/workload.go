package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"vtm-ingress/sim/sandbox"
)

// How many of each kind of object users play with.
const (
	ingresses = 8
	secrets   = 4
)

// step does the n-th thing that users do. What it is, is a function of the seed
// and of n alone; whether the API server takes it, is not.
func (r *run) step(ctx context.Context, n int) {
	pick := func(count int, what string) int { return r.below(count, "step/"+what, n) }
	var text string
	var err error
	switch kind := pick(23, "kind"); {
	case kind < 9:
		i := r.ingress(n)
		text = "apply Ingress " + i.String()
		err = r.apply(ctx, "Ingress", shop, i.name, i.manifest())
	case kind < 11:
		name := fmt.Sprintf("i-%d", pick(ingresses, "ingress"))
		text = "delete Ingress " + name
		err = r.remove(ctx, "Ingress", shop, name)
	case kind < 13:
		name := fmt.Sprintf("secret-%d", pick(secrets, "secret"))
		good := pick(4, "good") > 0
		text = fmt.Sprintf("apply Secret %s, good: %v", name, good)
		var manifest string
		if manifest, err = secretManifest(name, name+".example", good); err == nil {
			r.secretKnown(manifest)
			err = r.apply(ctx, "Secret", shop, name, manifest)
		}
	case kind < 14:
		name := fmt.Sprintf("secret-%d", pick(secrets, "secret"))
		text = "delete Secret " + name
		err = r.remove(ctx, "Secret", shop, name)
	case kind < 16:
		name, pods := fmt.Sprintf("web-%d", pick(shopServices, "service")), pick(4, "pods")
		text = fmt.Sprintf("scale Deployment %s to %d", name, pods)
		err = r.apply(ctx, "Deployment", shop, name, deploymentManifest(name, pods, 0, true))
	case kind < 17:
		name, ready := fmt.Sprintf("web-%d", pick(shopServices, "service")), pick(3, "ready") > 0
		text = fmt.Sprintf("roll Deployment %s, ready: %v", name, ready)
		err = r.apply(ctx, "Deployment", shop, name, deploymentManifest(name, 2, n+1, ready))
	case kind < 18:
		name := fmt.Sprintf("web-%d", pick(shopServices, "service"))
		if pick(2, "delete") == 0 {
			text = "delete Service " + name
			err = r.remove(ctx, "Service", shop, name)
		} else {
			policy := []string{"Local", "Cluster"}[pick(2, "policy")]
			text = "apply Service " + name + " " + policy
			err = r.apply(ctx, "Service", shop, name, serviceManifest(name, policy))
		}
	case kind < 19:
		text, err = r.editByHand(ctx, n)
	case kind < 20:
		if pick(2, "class") == 0 {
			text = "delete IngressClass " + secondClass
			err = r.remove(ctx, "IngressClass", "", secondClass)
		} else {
			text = "apply IngressClass " + secondClass
			err = r.apply(ctx, "IngressClass", "", secondClass, classManifest(secondClass))
		}
	case kind < 22:
		change := [][2]string{
			{"default_ssl_redirect", "true"}, {"default_ssl_redirect", "false"}, {"allowed_addresses", allowedAddresses}, {"allowed_addresses", ""},
			{"resync_period", "40s"}, {"resync_period", "1m"}, {"vtm_verbose", "false"}, {"vtm_verbose", "true"},
		}[pick(8, "setting")]
		text = fmt.Sprintf("set %s to %q", change[0], change[1])
		r.system.set(change[0], change[1])
	default:
		text = "nobody does anything"
	}
	outcome := ""
	switch {
	case apierrors.IsNotFound(err):
		outcome = ": there is none"
	case err != nil:
		outcome = ": fails"
	}
	r.note("step %d: %s%s", n, text, outcome)
}

// ingress is the one that is applied in step n.
func (r *run) ingress(n int) ingressSpec {
	pick := func(count int, what string) int { return r.below(count, "ingress/"+what, n) }
	which := pick(ingresses, "which")
	host := func(what string) string {
		switch pick(8, what+"/kind") {
		case 0:
			return "" // all of them
		case 1:
			return "*.wild.example"
		case 2: // one that another has
			return fmt.Sprintf("host-%d.example", pick(ingresses, what))
		case 3:
			return "a.wild.example"
		}
		return fmt.Sprintf("host-%d.example", which)
	}
	service := func(what string) string { return fmt.Sprintf("web-%d", pick(shopServices+1, what)) }
	i := ingressSpec{name: fmt.Sprintf("i-%d", which), class: "vtm", annotations: map[string]string{}}
	switch pick(16, "class") {
	case 0:
		i.class = ""
	case 1:
		i.class = "other"
	case 2, 3, 4:
		i.class = secondClass
	}
	switch pick(12, "address") {
	case 0:
		i.annotations["vtm.pulsesecure.net/ip-address"] = "10.1.0.999"
	case 1: // none at all
	case 2: // one that an older Ingress has
		i.annotations["vtm.pulsesecure.net/ip-address"] = sharedAddresses[0]
	case 3, 4, 5, 6, 7, 8:
		i.annotations[annotationDomain+"shared-ip-address"] = sharedAddresses[pick(len(sharedAddresses), "shared")]
	default:
		i.annotations["vtm.pulsesecure.net/ip-address"] = fmt.Sprintf("10.1.1.%d", which+1)
	}
	for n := range 1 + pick(3, "rules") {
		what := fmt.Sprintf("rule-%d", n)
		rule := ruleSpec{host: host(what)}
		for m := range 1 + pick(3, what+"/paths") {
			what := fmt.Sprintf("%s/path-%d", what, m)
			p := pathSpec{"/", "Prefix", service(what + "/service")}
			switch pick(7, what) {
			case 0:
				p.path = "/app"
			case 1:
				p.path = "/app/one/"
			case 2:
				p.path, p.kind = "/app", "Exact"
			case 3:
				p.path, p.kind = "/file", "Exact"
			case 4:
				p.path, p.kind = "/p/*/end", "ImplementationSpecific"
			}
			same := func(other pathSpec) bool {
				return strings.Trim(other.path, "/") == strings.Trim(p.path, "/") && other.kind == p.kind
			}
			if !slices.ContainsFunc(rule.paths, same) {
				rule.paths = append(rule.paths, p)
			}
		}
		if !slices.ContainsFunc(i.rules, func(other ruleSpec) bool { return other.host == rule.host }) {
			i.rules = append(i.rules, rule)
		}
	}
	shared := i.annotations[annotationDomain+"shared-ip-address"] != ""
	if pick(4, "default") == 0 || shared && pick(4, "default/shared") == 0 {
		i.backend = service("default/service") // of several on a shared address the oldest one's counts
	}
	if pick(10, "passthrough") == 0 {
		i.annotations[passthroughAnnotation], i.annotations[annotationDomain+"port"] = "true", "443"
		if i.backend = sealed; pick(4, "passthrough/rules") > 0 {
			i.rules = nil
		}
		return i
	}
	if pick(2, "tls") == 0 {
		i.secret = fmt.Sprintf("secret-%d", pick(secrets, "secret"))
		if pick(3, "issued") == 0 {
			i.secret = fmt.Sprintf("issued-%d", which)
			i.annotations[issuedAnnotation] = "true"
		}
		i.tlsHosts = []string{i.secret + ".example"}
		if i.annotations[issuedAnnotation] == "" && pick(3, "tls/host") == 0 { // perhaps one that another shows another certificate for
			i.tlsHosts[0] = fmt.Sprintf("secret-%d.example", pick(secrets, "tls/other"))
		}
		if !slices.ContainsFunc(i.rules, func(other ruleSpec) bool { return other.host == i.tlsHosts[0] }) {
			i.rules = append(i.rules, all(i.tlsHosts[0], service("tls/service"))...)
		}
		// Older Ingresses show other certificates for these at two of the addresses.
		if more := pick(3, "tls/more"); more > 0 && i.annotations[issuedAnnotation] == "" {
			i.tlsHosts = append(i.tlsHosts, []string{"*.wild.example", "four.steady.example"}[more-1])
		}
		if pick(3, "redirect") == 0 {
			i.annotations["ingress.kubernetes.io/ssl-redirect"] = "true"
		}
	}
	switch pick(10, "more") {
	case 0:
		i.annotations["vtm.pulsesecure.net/port"] = []string{"8080", "443"}[pick(2, "port")] // 443: beside TLS, if plain
	case 1:
		i.annotations["vtm.pulsesecure.net/monitor"] = `{"properties":{"basic":{"type":"http"},"http":{"path":"/ready"}}}`
	case 2:
		i.annotations["vtm.pulsesecure.net/persistence"] = `{"properties":{"basic":{"type":"ip"}}}`
	case 3:
		i.annotations["vtm.pulsesecure.net/monitor"] = `{"properties":`
	}
	return i
}

// editByHand is what somebody does to a resource that is the controller's, on the
// traffic manager itself.
func (r *run) editByHand(ctx context.Context, n int) (string, error) {
	var pools []string
	for _, w := range r.system.box.TrafficManagers.Writes() {
		if w.Method == http.MethodPut && w.User == sandbox.ControllerUser && strings.HasPrefix(w.Path, "pools/") {
			pools = append(pools, w.Path)
		}
	}
	if len(pools) == 0 {
		return "nothing to edit by hand", nil
	}
	path := pools[r.below(len(pools), "edit/pool", n)]
	text := "somebody sets passive_monitoring of " + path
	err := r.put(ctx, 0, path, `{"properties":{"basic":{"passive_monitoring":false}}}`)
	return text, err
}

// put writes to a member as somebody who is not the controller, who never creates
// what isn't there unless it is foreign.
func (r *run) put(ctx context.Context, member int, path, body string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second+37*time.Nanosecond)
	defer cancel()
	status, _, err := r.rest(ctx, member, http.MethodGet, path, "")
	if _, mine := foreign[path]; err == nil && status == http.StatusNotFound && !mine {
		return errors.New("it is not there")
	}
	status, answer, err := r.rest(ctx, member, http.MethodPut, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("status %d: %.300s", status, answer)
	}
	return err
}

// rest sends one request to a member's REST API as somebody who is not the
// controller.
func (r *run) rest(ctx context.Context, member int, method, path, body string) (status int, answer []byte, err error) {
	url := r.system.box.RESTEndpoints()[member] + "/api/tm/8.3/config/active/" + path
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body == "" {
		request.Body = http.NoBody
	}
	request.SetBasicAuth(sandbox.AdminUser, sandbox.Password)
	request.Header.Set("Content-Type", "application/json")
	client := r.system.network.World().HTTPClient(fmt.Sprintf("somebody/%d", member), nil)
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
