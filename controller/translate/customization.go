package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// extras are what an Ingress asks of its own pools and virtual server beyond
// routing. Properties are in normal form and nil where nothing is asked.
type extras struct {
	monitor     vtm.Properties
	persistence vtm.Properties
	reEncrypt   bool
	pool        vtm.Properties // over what was computed
	server      serverExtras
}

// serverExtras are those of the virtual server, which an Ingress must have to
// itself (wish.alone).
type serverExtras struct {
	custom vtm.Properties // over what was computed
	// TrafficScript that runs before all other rules.
	request, response string
	hasRequest        bool
	hasResponse       bool
}

// none reports whether nothing is asked of the virtual server.
func (x *serverExtras) none() bool {
	return len(x.custom) == 0 && !x.hasRequest && !x.hasResponse
}

// builtinMonitors are on every traffic manager (vtm/runtime.md, Monitoring), so
// that a reference to one needs nobody's permission.
var builtinMonitors = [...]string{
	"Ping", "Connect", "Simple HTTP", "Simple HTTPS", "Full HTTP", "Full HTTPS", "Client First", "Server First",
	"FTP", "POP", "SMTP", "DNS", "RTSP", "SIP UDP", "SIP TCP", "SIP TLS",
}

const privilegedMonitors = "privileged_monitor_namespaces"

const (
	isIdentity  = "says what the resource is, which follows from the Ingress: remove it"
	isReference = "reaches beyond this Ingress, to objects of the traffic manager or to other nodes: remove it"
)

// identity are the keys that no customization sets: by them the controller knows
// its resources, and routes.
var identity = map[vtm.Type][]string{
	vtm.Monitors:    {"basic/note"},
	vtm.Persistence: {"basic/note"},
	vtm.Pools:       {"basic/note", "basic/nodes_table"},
	vtm.VirtualServers: {
		"basic/note", "basic/enabled", "basic/port", "basic/pool", "basic/listen_on_any", "basic/listen_on_hosts",
		"basic/listen_on_traffic_ips", "basic/request_rules", "basic/response_rules", "basic/completion_rules",
	},
}

// foreign are the keys, or with a slash at the end sections, that name objects of
// the traffic manager which an Ingress's owner has no right to, or that make a
// pool's nodes come from somewhere else.
var foreign = map[vtm.Type][]string{
	// A program runs on the traffic manager itself; a machine is asked for all nodes
	// alike, wherever it is.
	vtm.Monitors: {"script/", "basic/machine"},
	vtm.Pools: {
		"basic/failure_pool", "basic/persistence_class", "basic/bandwidth_class", "ssl/ssl_fixed_client_certificate",
		"auto_scaling/", "dns_autoscale/", "service_discovery/", "kerberos_protocol_transition/",
	},
	vtm.VirtualServers: {
		"basic/bandwidth_class", "basic/glb_services", "basic/protection_class", "basic/slm_class",
		"aptimizer/profile", "auth/saml_idp", "connection_errors/error_file", "dns/zones",
		"kerberos_protocol_transition/", "log/filename",
		"ssl/ca_sites", "ssl/client_cert_cas", "ssl/issued_certs_never_expire", "ssl/ocsp_issuers",
		"ssl/server_cert_default", "ssl/server_cert_alt_certificates", "ssl/server_cert_host_mapping",
	},
}

// refuse says why an Ingress's owner may not set a key, "" if it is allowed. With
// privileged, monitors may run programs and ask any machine.
func refuse(t vtm.Type, privileged bool) func(section, key string, value any) string {
	return func(section, key string, value any) string {
		at := section + "/" + key
		switch {
		case t == vtm.Monitors && privileged && !slices.Contains(identity[t], at):
			return ""
		case slices.Contains(identity[t], at):
			return isIdentity
		case slices.Contains(foreign[t], at), slices.Contains(foreign[t], section+"/"):
			return isReference
		case t == vtm.Monitors && at == "basic/type" && value == "program":
			return "is program, which would run on the traffic manager: choose another type, or list the namespace in the setting " + privilegedMonitors
		case t == vtm.Monitors && at == "basic/scope" && value != "pernode":
			return "is poolwide: a machine would be asked that is no node of the pool: remove it, or list the namespace in the setting " + privilegedMonitors
		case t == vtm.Pools && at == "basic/monitors":
			for _, name := range value.([]any) {
				if !slices.Contains(builtinMonitors[:], name.(string)) {
					return "names " + show(name.(string)) + ", which is not built in: use the annotation " + annMonitor
				}
			}
		}
		return ""
	}
}

func (w *wish) readExtras(values map[string]string, settings *config.Settings) {
	namespace := w.share.Owner.Namespace
	w.extras.reEncrypt = isTrue(values, annReEncrypt, &w.findings)
	if text, ok := values[annMonitor]; ok {
		w.extras.monitor = document{annMonitor, vtm.Monitors, refuse(vtm.Monitors, settings.MayMonitorAnything(namespace))}.read(text, &w.findings)
	}
	if text, ok := values[annPersistence]; ok {
		w.extras.persistence = document{annPersistence, vtm.Persistence, refuse(vtm.Persistence, false)}.read(text, &w.findings)
		w.checkPersistence()
	}
	read := func(name string, allowed func(namespace string) (may bool, setting string), alone bool) (string, bool) {
		text, ok := values[name]
		may, setting := allowed(namespace)
		switch {
		case !ok:
		case !may && strings.HasPrefix(setting, "vtm_"):
			w.findings.add(warning, "AnnotationIgnored", "annotation %s is ignored: the setting %s is off", name, setting)
		case !may:
			w.findings.add(warning, "AnnotationIgnored", "annotation %s is ignored: the setting %s does not list namespace %s", name, setting, namespace)
		case alone && w.shared.IsValid():
			w.findings.add(fatal, "NotOnSharedAddress", "annotation %s concerns a whole virtual server: give the Ingress an address of its own by %s, or remove it",
				name, annAddress)
		default:
			return text, true
		}
		return "", false
	}
	custom := func(name string, t vtm.Type, alone bool) vtm.Properties {
		if text, ok := read(name, settings.MayCustomize, alone); ok {
			return document{name, t, refuse(t, false)}.read(text, &w.findings)
		}
		return nil
	}
	script := func(name string) (string, bool) {
		return read(name, settings.MayScript, true)
	}
	w.extras.pool = custom(annPoolCustom, vtm.Pools, false)
	w.extras.server.custom = custom(annServerCustom, vtm.VirtualServers, true)
	w.extras.server.request, w.extras.server.hasRequest = script(annRequestScript)
	w.extras.server.response, w.extras.server.hasResponse = script(annResponseScript)
}

// checkPersistence refuses what the traffic manager would accept and could not do.
func (w *wish) checkPersistence() {
	basic := w.extras.persistence["basic"]
	if basic["type"] == "cookie" && (basic["cookie"] == nil || basic["cookie"] == "") {
		w.findings.add(fatal, "InvalidAnnotation", "annotation %s: basic/cookie is missing: name the cookie", annPersistence)
	}
	if basic["failure_mode"] == "url" && (basic["url"] == nil || basic["url"] == "") {
		w.findings.add(fatal, "InvalidAnnotation", "annotation %s: basic/url is missing: write where clients are sent", annPersistence)
	}
}

// tellPlacement warns where a node does not stand for one pod, which persistence
// and monitors rely on (specification, Scope and Restrictions).
func (x *extras) tellPlacement(found *findings, what string, service *kube.Service, port *corev1.ServicePort, eps *kube.Endpoints) {
	for _, asked := range []struct {
		annotation string
		asks       bool
	}{{annMonitor, x.monitor != nil}, {annPersistence, x.persistence != nil}} {
		if !asked.asks {
			continue
		}
		if !service.Local {
			found.add(warning, "PodNotIdentified", "%s: annotation %s needs spec.externalTrafficPolicy: Local: a node passes requests on to pods of other nodes",
				what, asked.annotation)
			continue
		}
		if eps == nil || len(eps.CrowdedNodes[port.Name]) == 0 {
			continue
		}
		found.add(warning, "PodNotIdentified", "%s: annotation %s needs at most one pod a node, and node %s has several: add a podAntiAffinity rule to the Deployment",
			what, asked.annotation, show(eps.CrowdedNodes[port.Name][0]))
	}
}

// own gives the resources that belong to an Ingress alone, besides its pools and
// what listens.
func (env *environment) own(owner model.Owner, x *extras) []*vtm.Resource {
	var out []*vtm.Resource
	add := func(t vtm.Type, name string, properties vtm.Properties) {
		if properties != nil {
			out = append(out, vtm.New(t, name, merge(properties, vtm.Properties{"basic": {"note": env.mark(owner).Format()}})))
		}
	}
	add(vtm.Monitors, env.names.monitor(owner), x.monitor)
	add(vtm.Persistence, env.names.persistence(owner), x.persistence)
	return out
}

// customize changes a pool's computed properties into what its Ingress asks for.
func (env *environment) customize(owner model.Owner, x *extras, pool vtm.Properties) vtm.Properties {
	if x.monitor != nil {
		pool["basic"]["monitors"] = []any{env.names.monitor(owner)}
	}
	if x.persistence != nil {
		pool["basic"]["persistence_class"] = env.names.persistence(owner)
	}
	if x.reEncrypt {
		pool["ssl"] = map[string]any{"enable": true}
	}
	return merge(pool, x.pool)
}

// script gives the rule that holds an owner's own TrafficScript.
func (env *environment) script(name string, owner model.Owner, source string) *vtm.Resource {
	var b strings.Builder
	b.WriteString(env.mark(owner).Comment())
	b.WriteString(source)
	if !strings.HasSuffix(source, "\n") {
		b.WriteByte('\n')
	}
	return vtm.NewFile(vtm.Rules, name, []byte(b.String()))
}
