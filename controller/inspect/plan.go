package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// Change is one request that would be sent, as `plan -o json` shows it.
type Change struct {
	Action string `json:"action"` // create, update or delete
	Type   string `json:"type"`   // as in REST paths: pools, ssl/server_keys
	Name   string `json:"name"`
	Owner  string `json:"owner"` // "Ingress shop/web"
	// Before and After hold sections with keys, of an update those alone that differ;
	// of a rule its text. Null where there is nothing. A private key is shown as the
	// traffic manager shows it: the base64 of its SHA-256.
	Before any `json:"before"`
	After  any `json:"after"`
}

// HeldChange is one that would not be made now.
type HeldChange struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// IngressState is what becomes of an Ingress.
type IngressState struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Verdict is programmed, degraded or rejected; foreign, of manifests alone: it is not
	// this controller's.
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons"`
	// Displaced: it is served now, and would not be any more.
	Displaced bool `json:"displaced"`
}

// PlanDocument is `plan -o json`.
type PlanDocument struct {
	Version   int            `json:"version"` // 1
	Changes   []Change       `json:"changes"`
	Held      []HeldChange   `json:"held"`
	Ingresses []IngressState `json:"ingresses"` // by namespace and name
}

// Document gives the plan for programs.
func (v *View) Document() PlanDocument {
	d := PlanDocument{Version: 1, Changes: []Change{}, Held: []HeldChange{}, Ingresses: v.ingresses()}
	for i := range v.Plan.Steps {
		s := &v.Plan.Steps[i]
		owner := ownerOf(s.After)
		if owner == "" {
			owner = ownerOf(s.Before)
		}
		c := Change{Action: s.Action.String(), Type: string(s.ID.Type), Name: s.ID.Name, Owner: owner}
		c.Before, c.After = content(s.Before), content(s.Send)
		if s.Action == reconcile.Update && !s.ID.Type.IsFile() {
			c.Before = content(only(s.Before, s.Send))
		}
		d.Changes = append(d.Changes, c)
	}
	for _, h := range v.Plan.Held {
		d.Held = append(d.Held, HeldChange{string(h.ID.Type), h.ID.Name, h.Reason})
	}
	return d
}

// only leaves of r the keys that of has too.
func only(r, of *vtm.Resource) *vtm.Resource {
	var kept []vtm.Setting
	for _, s := range of.Settings() {
		kept = append(kept, vtm.Setting{Section: s.Section, Key: s.Key, Value: r.Value(s.Section, s.Key)})
	}
	return vtm.Of(r.ID, kept)
}

// content of a resource without its secrets; nil of none.
func content(r *vtm.Resource) any {
	switch {
	case r == nil:
		return nil
	case r.Type.IsFile():
		return string(r.Content)
	}
	shown := map[string]map[string]any{}
	for _, s := range r.Settings() {
		if shown[s.Section] == nil {
			shown[s.Section] = map[string]any{}
		}
		shown[s.Section][s.Key] = vtm.Shown(r.Type, s.Section, s.Key, s.Value)
	}
	return shown
}

// ingresses are the verdicts in order.
func (v *View) ingresses() []IngressState {
	served := v.Observed.Programmed().Owners
	list := make([]IngressState, 0, len(v.Result.Verdicts))
	for name, verdict := range v.Result.Verdicts {
		state := IngressState{
			Namespace: name.Namespace, Name: name.Name, Verdict: word(verdict.Outcome), Reasons: []string{},
			Displaced: verdict.Outcome == translate.Rejected && served[verdict.UID],
		}
		for _, reason := range verdict.Reasons {
			state.Reasons = append(state.Reasons, reason.Code+": "+reason.Message)
		}
		list = append(list, state)
	}
	for _, ingress := range v.Given {
		if name := (types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}); v.Result.Verdicts[name] == nil {
			list = append(list, IngressState{
				Namespace: name.Namespace, Name: name.Name, Verdict: "foreign",
				Reasons: []string{"NotOurs: nothing is done about it: " + v.Result.Foreign(ingress)},
			})
		}
	}
	slices.SortStableFunc(list, func(a, b IngressState) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return list
}

func word(o translate.Outcome) string {
	return map[translate.Outcome]string{
		translate.Complete: "programmed", translate.Degraded: "degraded", translate.Rejected: "rejected",
	}[o]
}

// Empty reports whether nothing would change.
func (v *View) Empty() bool { return len(v.Plan.Steps) == 0 }

// JSON is Document in a form for programs, with a line end.
func (v *View) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(v.Document(), "", "  ")
	return append(b, '\n'), err
}

// String is the plan for people: each change, who is not served and why, and a
// summary.
func (v *View) String() string {
	var b strings.Builder
	b.WriteString(v.Plan.String())
	counts, verdicts := map[reconcile.Action]int{}, map[string]int{}
	for i := range v.Plan.Steps {
		counts[v.Plan.Steps[i].Action]++
	}
	first := true
	for _, state := range v.ingresses() {
		verdicts[state.Verdict]++
		if len(state.Reasons) == 0 {
			continue
		}
		if first {
			b.WriteString("\nIngresses of which something is to be told:\n")
			first = false
		}
		what := state.Verdict
		if state.Displaced {
			what += ", though it is served now: displaced"
		}
		fmt.Fprintf(&b, "  %s/%s (%s)\n", state.Namespace, state.Name, what)
		for _, reason := range state.Reasons {
			fmt.Fprintf(&b, "    %s\n", reason)
		}
	}
	fmt.Fprintf(&b, "\n%d to create, %d to change, %d to delete, %d held back. Ingresses: %d programmed, %d degraded, %d rejected.\n",
		counts[reconcile.Create], counts[reconcile.Update], counts[reconcile.Delete], len(v.Plan.Held),
		verdicts["programmed"], verdicts["degraded"], verdicts["rejected"])
	if ceasing := reconcile.Ceasing(v.Plan, v.Observed); len(ceasing) > 0 {
		fmt.Fprintf(&b, "%d of the Ingresses that are served would cease to be.\n", len(ceasing))
	}
	return b.String()
}
