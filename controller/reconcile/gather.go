package reconcile

import (
	"maps"
	"slices"
	"time"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// gatherFor is for how long changes of a virtual server's table of certificates by
// host are gathered at most. It is the one thing that is sent whole, however little
// of it changes.
const gatherFor = 100 * time.Millisecond

// gathers is why such a change waits.
const gathers = "waits for more changes of the table of certificates"

// gather holds changes of tables of certificates that follow one of the same virtual
// server within gatherFor. A change alone goes at once.
func (l *Loop) gather(p *Plan) *Plan {
	now := l.now()
	due := func(id vtm.ID) time.Time { return l.tables[id].Add(gatherFor) }
	maps.DeleteFunc(l.tables, func(id vtm.ID, _ time.Time) bool { return !now.Before(due(id)) })
	if !slices.ContainsFunc(p.Steps, changesTableAlone) {
		return p
	}
	return p.filter(func(s *Step) string {
		if !changesTableAlone(*s) {
			return ""
		}
		if _, sent := l.tables[s.ID]; sent {
			l.wakeAt(due(s.ID))
			return gathers
		}
		l.tables[s.ID] = now
		return ""
	})
}

func changesTableAlone(s Step) bool {
	if s.Action != Update || s.ID.Type != vtm.VirtualServers || len(s.Send.Settings()) != 1 {
		return false
	}
	return s.Send.Get("ssl", "server_cert_host_mapping") != nil
}

// gathering reports whether an Ingress needs a change that gather holds. In a moment
// there is something to tell of it.
func (l *Loop) gathering(verdict *translate.Verdict) bool {
	return slices.ContainsFunc(verdict.Resources, func(id vtm.ID) bool { return l.waits[id] == gathers })
}
