package reconcile

import (
	"maps"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// served is what the traffic manager served when this instance began to write: the
// memory of the one before it.
type served struct {
	owners    map[types.UID]bool
	addresses map[string]bool // on which something of ours listens, as in an Ingress's status
}

// servedOf reads it, before anything is changed.
func servedOf(o *Observed) *served {
	s := &served{owners: maps.Clone(o.Programmed().Owners), addresses: map[string]bool{}}
	for id, r := range o.Owned {
		if id.Type != vtm.VirtualServers {
			continue
		}
		for _, name := range stringsOf(r.Value("basic", "listen_on_traffic_ips")) {
			for _, addr := range o.Appliance.Groups[name].Addresses {
				s.addresses[addr.Unmap().String()] = true
			}
			if group := o.Owned[vtm.ID{Type: vtm.TrafficIPGroups, Name: name}]; group != nil {
				for _, addr := range groupOf(group).Addresses {
					s.addresses[addr.Unmap().String()] = true
				}
			}
		}
	}
	return s
}

// left tells of the Ingresses that are served, or have an address that we wrote, and
// became another class's while no instance ran: they lose what was written into their status. It does so once.
func (l *Loop) left(snapshot *kube.Snapshot, result *translate.Result) (entries []report.Entry) {
	if l.served == nil {
		return nil
	}
	for name, ingress := range snapshot.Ingresses.All() {
		if result.Verdicts[name] != nil || l.told[name] != nil {
			continue
		}
		// Its resources may be gone already, if the one before ended between that and
		// the status.
		stale := kube.WroteStatus(ingress, l.o.Settings.ControllerID)
		if !stale && !l.served.owners[ingress.UID] {
			continue
		}
		addresses := l.served.addresses
		if stale {
			addresses = map[string]bool{}
			for _, p := range ingress.Status.LoadBalancer.Ingress {
				addresses[p.IP] = true
			}
		}
		if len(ingress.Status.LoadBalancer.Ingress) > 0 {
			entries = append(entries, report.Entry{Ingress: ingress, Left: addresses})
		}
	}
	l.served = nil
	return entries
}
