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
// virtual server, and the rules that it takes. x is what the holder asks for; only
// of an exclusive listener it has anything in it.
func (env *environment) listener(l *model.Listener, x *serverExtras) []*vtm.Resource {
	mark := env.mark(l.Holder())
	rules := []any{}
	asked := vtm.Properties{}
	var out []*vtm.Resource
	if x.hasRequest {
		script := env.script(env.names.requestScript(l.Holder()), l.Holder(), x.request)
		out, rules = append(out, script), append(rules, script.Name)
	}
	if x.hasResponse {
		script := env.script(env.names.responseScript(l.Holder()), l.Holder(), x.response)
		out = append(out, script)
		asked["basic"] = map[string]any{"response_rules": []any{script.Name}}
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
	return append(out, vtm.New(vtm.VirtualServers, env.names.server(l.Place), merge(vtm.Properties{
		"basic": {
			"note":                  mark.Format(),
			"enabled":               true,
			"protocol":              "http",
			"port":                  int64(l.Port),
			"listen_on_any":         false,
			"listen_on_traffic_ips": []any{env.names.group(l.Site)},
			"pool":                  pool,
			"request_rules":         rules,
		},
		"http": {
			"add_x_forwarded_for":   true,
			"add_x_forwarded_proto": true,
		},
	}, merge(asked, x.custom))))
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
