package translate

import (
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
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

// pool gives a backend's pool; x is what its Ingress asks for.
func (env *environment) pool(b model.Backend, x *extras) *vtm.Resource {
	nodes := make([]any, len(b.Nodes))
	for i, node := range b.Nodes {
		nodes[i] = map[string]any{"node": node}
	}
	return vtm.New(vtm.Pools, env.names.pool(b.Owner, b.Name), env.customize(b.Owner, x, vtm.Properties{
		"basic": {
			"note":     env.mark(b.Owner).Format(),
			"monitors": []any{connectMonitor},
			// A removed node finishes what it does: one write instead of two.
			"node_delete_behavior": "drain",
			"nodes_table":          nodes,
		},
	}))
}

// listener gives what a listener takes besides pools and a Traffic IP Group: its
// virtual server, the rules that it takes, and the virtual server that redirects to
// it. asked is what the holder asks for; nil unless the listener is exclusive.
func (env *environment) listener(l *model.Listener, asked *entry) []*vtm.Resource {
	if asked == nil {
		return env.server(l, &serverExtras{}, &transport{}, nil)
	}
	w := asked.wish
	own := env.server(l, &w.extras.server, &w.transport, asked.certificates)
	if w.transport.redirect {
		own = append(own, env.redirect(l)...)
	}
	return own
}

func (env *environment) server(l *model.Listener, x *serverExtras, t *transport, c *certificates) []*vtm.Resource {
	mark := env.mark(l.Holder())
	rules := []any{}
	responses := vtm.Properties{}
	var out []*vtm.Resource
	if x.hasRequest {
		script := env.script(env.names.requestScript(l.Holder()), l.Holder(), x.request)
		out, rules = append(out, script), append(rules, script.Name)
	}
	if x.hasResponse {
		script := env.script(env.names.responseScript(l.Holder()), l.Holder(), x.response)
		out = append(out, script)
		responses["basic"] = map[string]any{"response_rules": []any{script.Name}}
	}
	if needsRule(l) {
		name := env.names.rule(l.Place)
		out = append(out, vtm.NewFile(vtm.Rules, name, emitRule(l, env.names, mark.Comment())))
		rules = append(rules, name)
	}
	pool := discard
	if share := l.Shares[0]; l.Exclusive && share.Default != "" {
		pool = env.names.pool(share.Owner, share.Default)
	}
	properties := env.listening(l, l.Port, mark, pool, rules)
	if t.passthrough {
		properties["basic"]["protocol"] = "ssl"
	} else {
		properties["http"] = map[string]any{"add_x_forwarded_for": true, "add_x_forwarded_proto": true}
	}
	if c != nil {
		properties = merge(properties, c.properties())
	}
	return append(out, vtm.New(vtm.VirtualServers, env.names.server(l.Place), merge(merge(properties, responses), x.custom)))
}

// redirect gives the virtual server on port 80, and its rule, that sends clients to
// the one that decrypts.
func (env *environment) redirect(l *model.Listener) []*vtm.Resource {
	from := model.Place{Site: l.Site, Port: plainPort}
	mark := env.mark(l.Holder())
	rule := vtm.NewFile(vtm.Rules, env.names.redirect(from), emitRedirect(l.Port, mark.Comment()))
	return []*vtm.Resource{rule, vtm.New(vtm.VirtualServers, env.names.server(from),
		env.listening(l, plainPort, mark, discard, []any{rule.Name}))}
}

// listening gives what all virtual servers of ours have.
func (env *environment) listening(l *model.Listener, port uint16, mark vtm.Mark, pool string, rules []any) vtm.Properties {
	return vtm.Properties{
		"basic": {
			"note":                  mark.Format(),
			"enabled":               true,
			"protocol":              "http",
			"port":                  int64(port),
			"listen_on_any":         false,
			"listen_on_traffic_ips": []any{env.names.group(l.Site)},
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
