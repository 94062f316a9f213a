package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// Round is what one pass from Snapshot to report came to.
type Round struct {
	Began, Ended time.Time
	// Writing says that this instance was the writer; else it only translated.
	Writing bool
	Result  *translate.Result
	// Says is what the traffic manager said is wrong, when its writer last asked.
	Says Says
	// Writes are the requests sent, Failed those of them without success.
	Writes, Failed int
	// Live are, of the Ingresses that became live in this round, the times since
	// the change was first seen.
	Live []time.Duration
	// Trouble is why the traffic manager can't be used, nil: it can.
	Trouble error
	// Judged are the Ingresses of which the verdict in Result, or what Says adds, may
	// be another than in the Round before, each once.
	Judged []types.NamespacedName
	// Retries are those of Writes that repeat what had failed.
	Retries int
	// Drift is how many resources somebody else had changed or deleted and this round
	// put right.
	Drift int
	// ObservedAt is when all was read of the traffic manager the last time; zero:
	// never.
	ObservedAt time.Time
}

func (l *Loop) done(r Round) {
	r.Says = l.glances.sick
	r.Judged, r.ObservedAt = slices.Collect(maps.Keys(l.judged)), l.observedAt
	clear(l.judged)
	l.latest = &r
	if l.o.Done != nil {
		l.o.Done(r)
	}
}

// told is what was reported of an Ingress last.
type told struct {
	verdict  *translate.Verdict // of the translation
	reasons  []translate.Reason // the verdict's and the traffic manager's
	since    time.Time          // when this verdict was first seen
	underWay time.Time          // when what is to become live, or did, was seen
	live     bool
	problems []translate.Reason
	grown    bool // it was Complete once: see starting
	unsaid   bool // nothing was reported: see gathering
	// displaced: it was served until another Ingress claimed what it has.
	displaced bool
}

// displaces says whether a verdict takes the place away from an Ingress that was served
// and has not changed itself, or did so before.
func (t *told) displaces(now *translate.Verdict) bool {
	return t != nil && now.By != types.NamespacedName{} && t.verdict.Generation == now.Generation &&
		(t.displaced || t.verdict.Outcome != translate.Rejected)
}

// displaced is the verdict of one that is displaced, as its owner is told.
func displaced(v *translate.Verdict) *translate.Verdict {
	shown := *v
	shown.Reasons = slices.Clone(v.Reasons)
	shown.Reasons[0].Message += "; this one was served until that Ingress claimed it"
	return &shown
}

// tell reports each Ingress whose verdict or whose state on the traffic manager
// changed. problem, if not nil, concerns all that aren't live. It returns how
// long those that became live took.
func (l *Loop) tell(ctx context.Context, snapshot *kube.Snapshot, result *translate.Result, seen time.Time, problem *translate.Reason) (live []time.Duration) {
	var entries []report.Entry
	waiting := map[types.NamespacedName]struct{}{} // those that are looked at next time, too
	for name := range l.untoldNames(result) {
		before, verdict := l.told[name], result.Verdicts[name]
		if l.observed == nil && (verdict == nil || verdict.Outcome == translate.Rejected) {
			// Without knowledge of the traffic manager verdicts are incomplete, and a
			// rejection may be wrong.
			waiting[name] = struct{}{}
			continue
		}
		if verdict == nil {
			if ingress := snapshot.Ingresses.Get(name); ingress != nil && before != nil {
				// It is another class's now.
				entries = append(entries, report.Entry{Ingress: ingress})
			}
			delete(l.told, name)
			continue
		}
		now := &told{verdict: verdict, since: seen, underWay: seen, grown: before != nil && before.grown || verdict.Outcome == translate.Complete}
		if before != nil && before.verdict == verdict {
			now.since = before.since
			if !before.live {
				now.underWay = before.underWay
			}
		}
		if problem == nil && l.notices[name] == nil && l.gathering(verdict) {
			waiting[name] = struct{}{}
			if before == nil || before.verdict != verdict {
				now.unsaid = true
				l.told[name] = now
			}
			continue
		}
		shown := Expired(l.glances.sick.Of(verdict), l.now()) // looked at again with each resync
		var again time.Time
		if shown, again = l.starting(shown, snapshot, now); !again.IsZero() {
			waiting[name] = struct{}{}
			l.wakeAt(again)
		}
		if now.displaced = before.displaces(verdict); now.displaced {
			shown = displaced(shown)
		}
		now.reasons = shown.Reasons
		now.live, now.problems = l.outcome(verdict, result, problem)
		if !now.live && verdict.Outcome != translate.Rejected {
			waiting[name] = struct{}{}
		}
		if before != nil && !before.unsaid && before.verdict == verdict && before.live == now.live && slices.Equal(before.problems, now.problems) &&
			slices.Equal(before.reasons, now.reasons) && l.notices[name] == nil && !l.retell {
			continue
		}
		ingress := snapshot.Ingresses.Get(name)
		if ingress == nil {
			continue // cannot be: the verdict comes from this Snapshot
		}
		l.told[name] = now
		if now.live && (before == nil || !before.live || before.verdict != verdict) {
			live = append(live, l.now().Sub(now.underWay))
		}
		entries = append(entries, report.Entry{Ingress: ingress, Verdict: shown, Live: now.live, Problems: now.problems, Notices: l.notices[name]})
	}
	entries = append(entries, l.left(snapshot, result)...)
	l.untold = touched[types.NamespacedName]{keys: waiting}
	l.retell = false
	clear(l.notices)
	l.prune(result)
	slices.SortFunc(entries, func(a, b report.Entry) int {
		if c := strings.Compare(a.Ingress.Namespace, b.Ingress.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Ingress.Name, b.Ingress.Name)
	})
	if len(entries) > 0 {
		l.o.Report(ctx, entries)
	}
	return live
}

// outcome says whether all that an Ingress needs is on the traffic manager, on each
// member that may hold its addresses as far as is known, and else why not.
func (l *Loop) outcome(verdict *translate.Verdict, result *translate.Result, problem *translate.Reason) (live bool, problems []translate.Reason) {
	if verdict.Outcome == translate.Rejected {
		return false, nil
	}
	live = true
	for _, id := range verdict.Resources {
		want := result.Desired[id]
		if want == nil || l.settled[id] == want {
			// Nil: somebody else's, which is used as it is.
			if _, underWay := l.replicating[id]; underWay && l.heldElsewhere(verdict, result) {
				live = false
			}
			continue
		}
		live = false
		if f := l.failures[id]; f != nil {
			problems = append(problems, translate.Reason{Code: code(f.err), Message: id.String() + ": " + f.err.Error()})
		} else if why, ok := l.waits[id]; ok {
			problems = append(problems, translate.Reason{Code: "Waiting", Message: id.String() + ": " + why})
		}
	}
	if !live && problem != nil {
		return false, []translate.Reason{*problem}
	}
	return live, problems
}

// code is the Event's reason for an error of the traffic manager.
func code(err error) string {
	var foreign *ForeignClusterError
	if errors.As(err, &foreign) {
		return "TrafficManagerOwnedByOther"
	}
	switch vtm.KindOf(err) {
	case vtm.Refused, vtm.NotFound:
		return "TrafficManagerRefused"
	case vtm.Unauthorised:
		return "TrafficManagerUnauthorised"
	case vtm.Garbage:
		return "TrafficManagerGarbage"
	default:
		return "TrafficManagerUnavailable"
	}
}

// tellTrouble reports the trouble to all that are not served because of it.
func (l *Loop) tellTrouble(ctx context.Context, snapshot *kube.Snapshot) {
	if l.trouble == nil || ctx.Err() != nil {
		return
	}
	l.wakeAt(l.trouble.next)
	result := l.translate(snapshot)
	began := l.now()
	l.tell(ctx, snapshot, result, began, l.trouble.reason())
	l.done(Round{Began: began, Ended: l.now(), Writing: true, Result: result, Trouble: l.trouble.err})
}

// concerns names the Kubernetes object that a resource belongs to, for a log line.
func concerns(r *vtm.Resource) []any {
	if mark, ok := r.Mark(); ok && mark.Namespace != "" {
		return []any{"namespace", mark.Namespace, "name", mark.Name}
	}
	return nil
}
