package inspect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// ErrNoIngress says that there is nothing to explain.
var ErrNoIngress = errors.New("there is none in the watched namespaces")

// Explain tells of one Ingress what becomes of it and why, where it is served,
// and what stands for it on the traffic manager. The error is ErrNoIngress.
func (v *View) Explain(name types.NamespacedName) (string, error) {
	ingress := v.Snapshot.Ingresses.Get(name)
	if ingress == nil {
		return "", fmt.Errorf("Ingress %s: %w", name, ErrNoIngress)
	}
	var b strings.Builder
	verdict := reconcile.Expired(v.Says.Of(v.Result.Verdicts[name]), v.Now)
	if verdict == nil {
		fmt.Fprintf(&b, "Ingress %s: not ours, and nothing is done about it: %s\n", name, v.Result.Foreign(ingress))
		return b.String(), nil
	}
	fmt.Fprintf(&b, "Ingress %s: %s\n", name, word(verdict.Outcome))
	for _, reason := range verdict.Reasons {
		fmt.Fprintf(&b, "  %s: %s\n", reason.Code, reason.Message)
	}
	if len(verdict.Addresses) > 0 {
		b.WriteString("Addresses:\n")
		for _, address := range verdict.Addresses {
			fmt.Fprintf(&b, "  %s, ports %s\n", address.IP, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(address.Ports)), ", "), "[]"))
		}
	}
	if len(verdict.Resources) == 0 {
		return b.String(), nil
	}
	b.WriteString("On the traffic manager:\n")
	waiting := map[vtm.ID]string{}
	for i := range v.Plan.Steps {
		s := &v.Plan.Steps[i]
		waiting[s.ID] = "not there as it should be: to " + s.Action.String()
	}
	for _, h := range v.Plan.Held {
		waiting[h.ID] = "held: " + h.Reason
	}
	for _, id := range verdict.Resources {
		state := "as it should be"
		switch why, ok := waiting[id]; {
		case ok:
			state = why
		case v.Result.Desired[id] == nil:
			state = "somebody else's, used as it is"
		}
		fmt.Fprintf(&b, "  %s: %s\n", id, state)
	}
	if routing := v.Result.Routing(name); routing != nil {
		tellRouting(&b, name, routing)
	}
	return b.String(), nil
}

// mentioned is how many other Ingresses are named at most.
const mentioned = 5

func tellRouting(b *strings.Builder, self types.NamespacedName, r *translate.Routing) {
	if r.Passthrough {
		fmt.Fprintf(b, "Connections to port %d are passed on as they come, to %s\n", r.Port, targetText(r.Default))
		return
	}
	fmt.Fprintf(b, "Routes on port %d, in the order in which they are tried", r.Port)
	if n := len(r.Older); n > 0 {
		fmt.Fprintf(b, ", after those of the older Ingresses on it (%d):\n", n)
		for _, other := range r.Older[:min(n, mentioned)] {
			fmt.Fprintf(b, "     Ingress %s\n", other)
		}
		if n > mentioned {
			fmt.Fprintf(b, "     and %d more\n", n-mentioned)
		}
	} else {
		b.WriteString(":\n")
	}
	for i := range r.Routes {
		route := &r.Routes[i]
		host := "every host"
		if route.Host != "" {
			host = "host " + strconv.Quote(route.Host)
		}
		fmt.Fprintf(b, "  %d. %s, %s %q to %s", i+1, host, route.Kind, route.Path, targetText(&route.Target))
		switch route.Covered {
		case types.NamespacedName{}:
		case self:
			b.WriteString("; never used: another path of this Ingress takes all its requests")
		default:
			fmt.Fprintf(b, "; never used: Ingress %s takes all its requests", route.Covered)
		}
		b.WriteString("\n")
	}
	const rest = "  What no route on this port takes, of any Ingress, "
	switch {
	case r.DefaultOf != types.NamespacedName{}:
		fmt.Fprintf(b, rest+"goes to the default backend of Ingress %s\n", r.DefaultOf)
	case r.Default != nil:
		fmt.Fprintf(b, rest+"goes to %s\n", targetText(r.Default))
	default:
		b.WriteString(rest + "gets 404\n")
	}
}

func targetText(t *translate.Target) string {
	nodes := "no nodes: 503"
	if len(t.Nodes) > 0 {
		nodes = "nodes " + strings.Join(t.Nodes, ", ")
	}
	return fmt.Sprintf("Service %s, port %s (%s)", t.Service, t.Port, nodes)
}
