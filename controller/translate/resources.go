package translate

import (
	"cmp"
	"strconv"

	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// connectMonitor is the built-in monitor that tries a TCP connection
// (specification, annotation monitor: "a regular TCP connect monitor").
const connectMonitor = "Connect"

// discard is the built-in pool that drops the connection.
const discard = "discard"

// mark of what an Ingress owns.
func (env *environment) mark(owner model.Owner) vtm.Mark {
	return vtm.Mark{
		ID: env.settings.ControllerID, Cluster: string(env.cluster),
		Kind: "Ingress", Namespace: owner.Namespace, Name: owner.Name, UID: owner.UID,
	}
}

// nodeRetry is how long, in seconds, a traffic manager leaves a node alone that three
// requests in a row could not use (docs/decisions/node-retry.md).
const nodeRetry = 5

// pool gives a backend's pool; x is what its Ingress asks for.
func (env *environment) pool(b model.Backend, x *extras) *vtm.Resource {
	nodes := make([]any, len(b.Nodes))
	for i, node := range b.Nodes {
		nodes[i] = map[string]any{"node": node}
	}
	deleted := "drain" // a removed node finishes what it does: one write instead of two
	if mutation.On(mutation.DrainMissing) {
		deleted = "immediate"
	}
	return vtm.New(vtm.Pools, env.names.pool(b.Owner, b.Name), env.customize(b.Owner, x, vtm.Properties{
		"basic": {
			"note":                 env.mark(b.Owner).Format(),
			"monitors":             []any{connectMonitor},
			"node_delete_behavior": deleted,
			"nodes_table":          nodes,
		},
		"node": {"retry_fail_time": int64(nodeRetry)},
	}))
}

// listenerMark is of the rules that many Ingresses stand in: they would all be
// written anew if they bore the oldest one's name and it went.
func (env *environment) listenerMark(p model.Place) vtm.Mark {
	return vtm.Mark{
		ID: env.settings.ControllerID, Cluster: string(env.cluster),
		Kind: "Listener", Name: plainText(siteText(p.Site)), UID: strconv.Itoa(int(p.Port)),
	}
}

// server gives the virtual server of a listener, after the rules that it takes.
// routing are those that route; standard is the server key that clients of a shared
// listener get if they name no other host, "" for none.
func (env *environment) server(l *listener, routing []*vtm.Resource, standard string) []*vtm.Resource {
	x, t, tls := &serverExtras{}, &transport{}, vtm.Properties(nil)
	switch holder := l.shares[0]; {
	case l.exclusive:
		x, t = &holder.wish.extras.server, &holder.wish.transport
		if holder.certificates != nil {
			tls = decrypting(cmp.Or(holder.certificates.standard, standard), rowsOf(holder.granted.Certificates, nil))
		}
	case l.kind.tls:
		tls = decrypting(standard, l.rows)
		if mutation.On(mutation.TenantsDefault) {
			tls = decrypting(holder.certificates.standard, l.rows)
		}
	}
	mark := env.mark(l.holder())
	rules := []any{}
	responses := vtm.Properties{}
	var out []*vtm.Resource
	if x.hasRequest {
		script := env.script(env.names.requestScript(l.holder()), l.holder(), x.request)
		out, rules = append(out, script), append(rules, script.Name)
	}
	if x.hasResponse {
		script := env.script(env.names.responseScript(l.holder()), l.holder(), x.response)
		out = append(out, script)
		responses["basic"] = map[string]any{"response_rules": []any{script.Name}}
	}
	for _, rule := range routing {
		out, rules = append(out, rule), append(rules, rule.Name)
	}
	pool := discard
	if share := l.restShare(); l.exclusive && share != nil {
		pool = env.names.pool(share.Owner, share.Default)
	}
	properties := env.listening(l.place, mark, pool, rules)
	if t.passthrough {
		properties["basic"]["protocol"] = "ssl"
	} else {
		properties["http"] = map[string]any{"add_x_forwarded_for": true, "add_x_forwarded_proto": true}
	}
	properties = merge(merge(merge(properties, tls), responses), x.custom)
	return append(out, vtm.New(vtm.VirtualServers, env.names.server(l.place), properties))
}

// decrypting are the properties of a virtual server that decrypts. rows are as rowsOf has
// them: sorted, with nothing in them at its default.
func decrypting(standard string, rows []any) vtm.Properties {
	if rows == nil {
		rows = []any{}
	}
	ssl := map[string]any{"server_cert_host_mapping": vtm.Normal{Value: rows}}
	if standard != "" {
		ssl["server_cert_default"] = standard
	}
	return vtm.Properties{"basic": {"ssl_decrypt": true}, "ssl": ssl}
}

// redirect gives the virtual server on port 80 of a site, and its rule, that sends
// clients to the one that decrypts.
//
// Before that, it answers the challenges of a certificate authority. to is 0 where
// nothing is redirected: all else is not found.
func (env *environment) redirect(s model.Site, to uint16, owner model.Owner, challenges []Challenge) []*vtm.Resource {
	from := model.Place{Site: s, Port: plainPort}
	mark := env.mark(owner)
	rule := vtm.NewFile(vtm.Rules, env.names.redirect(from), emitRedirect(to, challenges, mark.Comment()))
	return []*vtm.Resource{rule, vtm.New(vtm.VirtualServers, env.names.server(from),
		env.listening(from, mark, discard, []any{rule.Name}))}
}

// listening gives what all virtual servers of ours have.
func (env *environment) listening(at model.Place, mark vtm.Mark, pool string, rules []any) vtm.Properties {
	return vtm.Properties{
		"basic": {
			"note":                  mark.Format(),
			"enabled":               true,
			"protocol":              "http",
			"port":                  int64(at.Port),
			"listen_on_any":         false,
			"listen_on_traffic_ips": []any{env.names.group(at.Site)},
			"pool":                  pool,
			"request_rules":         rules,
		},
	}
}

// group gives the Traffic IP Group that brings up an address of ours. It lists
// all members, so that any can host the address.
func (env *environment) group(site model.Site, holder model.Owner) *vtm.Resource {
	machines := make([]any, len(env.appliance.Members))
	for i, member := range env.appliance.Members {
		machines[i] = member
	}
	if mutation.On(mutation.OneMachine) && len(machines) > 1 {
		machines = machines[:1]
	}
	return vtm.New(vtm.TrafficIPGroups, env.names.group(site), vtm.Properties{
		"basic": {
			"note":        env.mark(holder).Format(),
			"enabled":     true,
			"ipaddresses": []any{site.Address.String()},
			"machines":    machines,
			"mode":        "singlehosted",
		},
	})
}
