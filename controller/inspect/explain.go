package inspect

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/vtm"
)

// ErrNoIngress says that there is nothing to explain.
var ErrNoIngress = errors.New("there is none in the watched namespaces")

// Explain tells of one Ingress what becomes of it and why, where it is served,
// and what stands for it on the traffic manager. The error is ErrNoIngress.
func (v *View) Explain(name types.NamespacedName) (string, error) {
	ingress := v.Snapshot.Ingresses[name]
	if ingress == nil {
		return "", fmt.Errorf("Ingress %s: %w", name, ErrNoIngress)
	}
	var b strings.Builder
	verdict := v.Result.Verdicts[name]
	if verdict == nil {
		fmt.Fprintf(&b, "Ingress %s: not ours: its class is not one of this controller's, and nothing is done about it\n", name)
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
	for _, id := range verdict.Resources {
		rule := v.Result.Desired[id]
		if rule == nil || id.Type != vtm.Rules || !strings.Contains(string(rule.Content), "pool.") {
			continue
		}
		fmt.Fprintf(&b, "Routes, in the order in which they are tried, by %s:\n", id)
		for line := range strings.Lines(string(rule.Content)) {
			b.WriteString("  | " + line)
		}
	}
	return b.String(), nil
}
