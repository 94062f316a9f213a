package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

const (
	// glanceEvery is how often the traffic manager's state and the time of its last
	// configuration change are asked for while nothing happens; sickEvery while it
	// says that something of ours is wrong.
	glanceEvery = time.Minute
	sickEvery   = 10 * time.Second
	// afterReplication is the least distance of a glance to what ends the
	// replication of a change: replication waits for a pause in requests
	// (vtm/rest.md §5).
	afterReplication = time.Second
	// clockSlack bounds what the time of a change that a traffic manager tells may
	// differ from when its answer arrived here.
	clockSlack = 2 * time.Second
)

// glances is what a Loop remembers of the traffic manager's own words. Of Run's
// goroutine alone.
type glances struct {
	at          time.Time // when the next one is due; zero: with the next round
	replication vtm.Replication
	// wrote is when the last change of ours ended, first that of those that were not
	// followed by a glance; both zero: there was none. through is the member.
	wrote, first time.Time
	through      string
	// claimed are the types of what was made since it was last read who else made some
	// for the same address.
	claimed map[vtm.Type]bool
	sick    Says     // replaced, never changed
	others  []string // what concerns none of ours, sorted
}

// replicating says until when a change of ours may not be replicated; zero: all are.
// Nothing is asked of the traffic manager before, since that would put it off.
func (g *glances) replicating() time.Time {
	if g.first.IsZero() || g.replication.Lull == 0 {
		return time.Time{}
	}
	return g.at
}

// wrote notes that changes were made just now: they are replicated first, then
// the state is looked at.
func (l *Loop) wrote(writes int) {
	if writes == 0 {
		return
	}
	g := &l.glances
	g.wrote, g.through = l.now(), l.o.Client.Endpoint()
	if g.first.IsZero() {
		g.first = g.wrote
	}
	g.at = g.wrote.Add(g.replication.Lull)
	if latest := g.first.Add(g.replication.Absolute); latest.Before(g.at) {
		g.at = latest
	}
	g.at = g.at.Add(afterReplication)
}

// replicates reports whether other members learn of a change only after a while: until
// the glance after that, what was written may not be live on an address that one of
// them may hold.
func (l *Loop) replicates() bool {
	return l.glances.replication.Lull > 0 && len(l.observed.Appliance.Members) > 1
}

// readMember learns the name of the member that is written through, where that makes a
// difference: some addresses can't be held by others.
func (l *Loop) readMember(ctx context.Context) {
	l.member = ""
	members := l.observed.Appliance.Members
	fewer := false
	for _, machines := range l.observed.Machines {
		fewer = fewer || len(machines) < len(members)
	}
	if !fewer || !l.replicates() {
		return
	}
	if information, err := l.o.Client.Information(ctx); err == nil && information.UUID != "" {
		l.member = l.o.Client.NameOf(ctx, information.UUID, members)
	}
}

// heldElsewhere reports whether another member than the one that is written through may
// hold an address of an Ingress. A group of ours may be on any.
func (l *Loop) heldElsewhere(verdict *translate.Verdict, result *translate.Result) bool {
	for _, id := range verdict.Resources {
		if id.Type != vtm.VirtualServers || result.Desired[id] == nil {
			continue
		}
		for _, group := range stringsOf(result.Desired[id].Value("basic", "listen_on_traffic_ips")) {
			machines, theirs := l.observed.Machines[group]
			if !theirs || slices.ContainsFunc(machines, func(name string) bool { return name != l.member }) {
				return true
			}
		}
	}
	return false
}

// readReplication learns how long replication waits for a pause.
func (l *Loop) readReplication(ctx context.Context) {
	g := &l.glances
	var err error
	if g.replication, err = l.o.Client.Replication(ctx); err != nil {
		g.replication = vtm.UsualReplication
	}
}

// glance asks, when that is due, what the traffic manager says is wrong, and
// whether somebody else changed its configuration: then all is read anew in this
// round. That it can't be asked is no trouble: writes will tell.
func (l *Loop) glance(ctx context.Context) {
	g := &l.glances
	now := l.now()
	if now.Before(g.at) {
		l.wakeAt(g.at)
		return
	}
	g.at, g.first = now.Add(glanceEvery), time.Time{} // what was written is replicated
	clear(l.replicating)
	defer func() { l.wakeAt(g.at) }()
	state, err := l.o.Client.State(ctx)
	if err != nil {
		l.o.Log.Debug("the traffic manager's state can't be read", "error", err)
		return
	}
	l.diagnose(state)
	if len(g.sick) > 0 {
		g.at = now.Add(sickEvery)
	}
	l.learnClaims(ctx)
	since, err := l.o.Client.SinceChange(ctx)
	if err != nil {
		l.o.Log.Debug("the time of the traffic manager's last change can't be read", "error", err)
		return
	}
	own := g.wrote
	if !own.IsZero() && g.through != l.o.Client.Endpoint() {
		own = own.Add(g.replication.Absolute) // this member learned of it late
	}
	if changedByOthers(l.now().Add(-since), own, l.observedAt) {
		l.o.Log.Debug("somebody else changed the traffic manager's configuration: all is read anew")
		l.observed = nil
	}
}

// noteClaims notes that a plan claims addresses, or ports of addresses that others use
// too.
func (l *Loop) noteClaims(p *Plan) {
	for i := range p.Steps {
		s := &p.Steps[i]
		switch {
		case s.Action != Create:
		case s.ID.Type == vtm.TrafficIPGroups:
			l.glances.claimed[s.ID.Type] = true
		case s.ID.Type == vtm.VirtualServers:
			for _, name := range stringsOf(s.After.Value("basic", "listen_on_traffic_ips")) {
				if _, theirs := l.observed.Appliance.Groups[name]; theirs {
					l.glances.claimed[s.ID.Type] = true
				}
			}
		}
	}
}

// contested reports whether an Ingress was told that somebody else came to its address.
func (l *Loop) contested() bool {
	for _, told := range l.told {
		if slices.ContainsFunc(told.verdict.Reasons, func(r translate.Reason) bool { return r.Code == translate.AddressContested }) {
			return true
		}
	}
	return false
}

// learnClaims reads who else claimed what was claimed since it last did. Of two
// controllers that claim an address at the same moment neither can see the other
// before, and the time of the last change does not tell them apart (clockSlack).
func (l *Loop) learnClaims(ctx context.Context) {
	g := &l.glances
	contested := l.contested()
	for _, t := range []vtm.Type{vtm.TrafficIPGroups, vtm.VirtualServers} {
		if !g.claimed[t] && !contested {
			continue
		}
		found, err := l.learnOthers(ctx, t)
		if err != nil {
			l.o.Log.Debug("it can't be read who else has addresses", "error", err)
			g.at = l.now().Add(sickEvery)
			return
		}
		delete(g.claimed, t)
		if found || contested {
			g.at = l.now().Add(sickEvery)
		}
	}
}

// changedByOthers says whether the last change that a traffic manager tells of was
// neither ours nor there when all was read. One that came within clockSlack of either
// is found when all is read anew.
func changedByOthers(changed, own, observed time.Time) bool {
	return changed.After(own.Add(clockSlack)) && changed.After(observed.Add(clockSlack))
}

// Says are a traffic manager's own words about what is wrong, by the resource of
// ours that they name; sorted.
type Says map[vtm.ID][]string

// Diagnose finds out which resources of ours a traffic manager's words concern.
// Their exact form is the product's; names in them are looked for. others are the
// words that concern none of ours, sorted.
func Diagnose(state vtm.State, observed *Observed, controllerID string) (says Says, others []string) {
	says = Says{}
	for _, text := range slices.Concat(state.Errors, state.TIPErrors) {
		concerned := false
		for _, name := range namesIn(text, vtm.Prefix(controllerID)) {
			for _, t := range vtm.Types {
				id := vtm.ID{Type: t, Name: name}
				r := observed.Owned[id]
				if r == nil {
					continue
				}
				concerned = true
				if t == vtm.Pools && !hasNodes(r) {
					continue // its Ingress is told why
				}
				says[id] = append(says[id], text)
			}
		}
		if !concerned {
			others = append(others, text)
		}
	}
	for id, texts := range says {
		slices.Sort(texts)
		says[id] = slices.Compact(texts)
	}
	slices.Sort(others)
	return says, others
}

// diagnose tells what is new in the traffic manager's words.
func (l *Loop) diagnose(state vtm.State) {
	g := &l.glances
	sick, others := Diagnose(state, l.observed, l.o.Settings.ControllerID)
	for id := range union(sick, g.sick) {
		if slices.Equal(sick[id], g.sick[id]) {
			continue
		}
		for _, verdict := range l.users.of[id] {
			l.untold.add(verdict.Ingress)
			l.judged[verdict.Ingress] = struct{}{}
		}
	}
	for _, id := range sortedIDs(sick) {
		for _, text := range sick[id] {
			if !slices.Contains(g.sick[id], text) {
				level := slog.LevelError
				if id.Type == vtm.Pools {
					level = slog.LevelInfo // nodes come and go, and the traffic manager logs it itself
				}
				l.o.Log.With(concerns(l.observed.Owned[id])...).Log(context.Background(), level, "the traffic manager says that something is wrong", "resource", id.String(), "says", text)
			}
		}
	}
	for _, text := range others {
		if !slices.Contains(g.others, text) {
			l.o.Log.Warn("the traffic manager says that something is wrong, which concerns nothing of ours", "says", text)
		}
	}
	g.sick, g.others = sick, others
}

// forgetSays is for an instance that stands by: it does not ask.
func (l *Loop) forgetSays() {
	for id := range l.glances.sick {
		for _, verdict := range l.users.of[id] {
			l.judged[verdict.Ingress] = struct{}{}
		}
	}
	l.glances.sick, l.glances.others = nil, nil
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	both := make(map[K]V, len(a)+len(b))
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

// namesIn gives the words of a text that begin with prefix, each once. Names of
// ours hold letters, digits, "_", "-" and "." alone.
func namesIn(text, prefix string) (names []string) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	}) {
		// The end of a sentence is no part of a name.
		if word = strings.TrimRight(word, "."); strings.HasPrefix(word, prefix) && !slices.Contains(names, word) {
			names = append(names, word)
		}
	}
	return names
}

// Of is a verdict with what the traffic manager says of what the Ingress needs; the
// verdict itself, which may be nil, if it says nothing.
func (s Says) Of(v *translate.Verdict) *translate.Verdict {
	if len(s) == 0 || v == nil || v.Outcome == translate.Rejected {
		return v
	}
	var reasons []translate.Reason
	for _, id := range v.Resources {
		for _, text := range s[id] {
			reasons = append(reasons, translate.Reason{Code: "TrafficManagerError",
				Message: fmt.Sprintf("the traffic manager says of %s: %s", id, text)})
		}
	}
	if len(reasons) == 0 {
		return v
	}
	worse := *v
	worse.Outcome = translate.Degraded
	if worse.Problem == "" {
		worse.Problem = reasons[0].Code
	}
	worse.Reasons = slices.Concat(reasons, v.Reasons)
	return &worse
}

// tellDrift tells what was found changed by somebody else and put right, and says
// how many resources that were.
func (l *Loop) tellDrift(p *Plan) (found int) {
	if l.before == nil {
		return 0
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		was := l.before[s.ID]
		if was == nil || was != s.After || l.settled[s.ID] != s.After {
			continue
		}
		found++
		log := l.o.Log.With(concerns(s.After)...)
		text := "put back what somebody else deleted on the traffic manager"
		if s.Action == Create {
			log.Warn(text, "resource", s.ID.String())
			text += ": " + s.ID.String()
		} else {
			text = "put right what somebody else changed on the traffic manager"
			log.Warn(text, "resource", s.ID.String(), "keys", keysOf(s.Send))
			text += ": " + s.ID.String() + " (" + strings.Join(keysOf(s.Send), ", ") + ")"
		}
		if mark, ok := s.After.Mark(); ok && mark.Kind == "Ingress" {
			name := types.NamespacedName{Namespace: mark.Namespace, Name: mark.Name}
			l.notices[name] = append(l.notices[name], translate.Reason{Code: "PutRight", Message: text})
			l.untold.add(name)
		}
	}
	l.before = nil
	return found
}
