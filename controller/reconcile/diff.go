package reconcile

import (
	"bytes"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// Diff says what has to be done so that the traffic manager, which holds
// observed, holds desired. It is pure. settled holds the desired resources that
// are known to be there: those whose pointer is the same are not compared; it may
// be nil.
func Diff(desired map[vtm.ID]*vtm.Resource, observed *Observed, settled map[vtm.ID]*vtm.Resource) *Plan {
	return diff(func(yield func(vtm.ID) bool) {
		for id := range desired {
			if !yield(id) {
				return
			}
		}
		for id := range observed.Owned {
			if _, ok := desired[id]; !ok && !yield(id) {
				return
			}
		}
	}, desired, observed, settled)
}

// diff is Diff of the resources that ids gives, each once; all others are as they
// should be.
func diff(ids iter.Seq[vtm.ID], desired map[vtm.ID]*vtm.Resource, observed *Observed, settled map[vtm.ID]*vtm.Resource) *Plan {
	p := &Plan{}
	for id := range ids {
		want, have := desired[id], observed.Owned[id]
		if want == nil {
			if have == nil || mutation.On(mutation.OrphansLeft) {
				continue
			}
			if server := usedByForeign(id, observed); server != "" {
				p.Held = append(p.Held, Held{ID: id, Reason: "the virtual server " + strconv.Quote(server) + ", which is not ours, listens on it: it stays until that changes"})
				continue
			}
			p.Steps = append(p.Steps, Step{Action: Delete, ID: id, Before: have})
			continue
		}
		if settled[id] == want {
			continue
		}
		if have == nil && observed.Clashes[id] {
			p.Held = append(p.Held, Held{ID: id, Reason: "somebody else's resource has this name: rename or remove it on the traffic manager"})
			continue
		}
		send := compare(want, have)
		if send == nil {
			p.Same = append(p.Same, want)
			continue
		}
		step := Step{Action: Update, ID: id, Before: have, After: want, Send: send}
		if have == nil {
			step.Action = Create
		}
		p.Steps = append(p.Steps, step)
	}
	assignStages(p)
	p.sort()
	makeWay(p, desired, observed)
	return p
}

// compare returns what has to be sent so that have, which may be nil, becomes
// want; nil when nothing has to. A key that is not wanted and isn't at its
// default is set back to it.
func compare(want, have *vtm.Resource) *vtm.Resource {
	if have == nil {
		return want
	}
	if want.Type.IsFile() {
		if bytes.Equal(want.Content, have.Content) {
			return nil
		}
		return want
	}
	var send []vtm.Setting
	vtm.EachKey(want, have, func(section, key string, value, had any) {
		if value == nil {
			normal, ok := vtm.Default(want.Type, section, key)
			if !ok || reflect.DeepEqual(had, normal) {
				return
			}
			value = normal
		} else {
			if had == nil {
				had = have.Value(section, key)
			}
			if had != nil && vtm.SameValue(want.Type, section, key, value, had) {
				return
			}
		}
		send = append(send, vtm.Setting{Section: section, Key: key, Value: value})
	})
	if len(send) == 0 && mutation.On(mutation.RewritesAll) {
		return want
	}
	if len(send) == 0 {
		return nil
	}
	return vtm.Of(want.ID, send)
}

// usedByForeign names a virtual server that is not ours and listens on the
// Traffic IP Group id.
func usedByForeign(id vtm.ID, observed *Observed) string {
	if id.Type != vtm.TrafficIPGroups {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(observed.Appliance.Servers)) {
		if slices.Contains(observed.Appliance.Servers[name].Groups, id.Name) {
			return name
		}
	}
	return ""
}

// assignStages gives each step its stage. Pools that another one fails over to,
// and rules that another one imports, come before those; what refers to them is
// in the same plan, or is there already and hinders nothing.
func assignStages(p *Plan) {
	referred := map[vtm.ID]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		r := s.After
		if r == nil {
			r = s.Before
		}
		if s.ID.Type != vtm.Pools && s.ID.Type != vtm.Rules {
			continue
		}
		eachReference(r, func(to vtm.ID) {
			if to.Type == s.ID.Type && to != s.ID {
				referred[to] = true
			}
		})
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		s.Stage = stageOf(s, referred[s.ID])
	}
}

func stageOf(s *Step, referred bool) Stage {
	var stage Stage
	switch s.ID.Type {
	case vtm.ServerKeys:
		stage = stageKeys
	case vtm.Monitors:
		stage = stageMonitors
	case vtm.Persistence:
		stage = stagePersistence
	case vtm.Pools:
		stage = stagePools
		if referred {
			stage = stageFailurePools
		}
		if onlyNodes(s) {
			return stageNodes
		}
	case vtm.Rules:
		stage = stageRules
		if referred {
			stage = stageLibraries
		}
	case vtm.TrafficIPGroups:
		stage = stageGroups
	default:
		stage = stageServers
		if mutation.On(mutation.ServersFirst) && s.Action != Delete {
			stage = stageKeys
		}
	}
	if s.Action == Delete && mutation.On(mutation.DeletesFirst) {
		return stageNodes
	}
	if s.Action == Delete {
		return stageDeleteKeys - (stage - stageKeys)
	}
	return stage
}

// onlyNodes reports whether a step changes nothing but a pool's nodes, and
// leaves some.
func onlyNodes(s *Step) bool {
	if s.Action != Update || !hasNodes(s.After) || len(s.Send.Settings()) != 1 {
		return false
	}
	return s.Send.Get("basic", "nodes_table") != nil
}

// place is an address and a port that a virtual server can hold.
type place struct {
	address string
	port    int64
}

// placesOf returns the places that a virtual server holds, none if it is nil or
// disabled. owned looks up our Traffic IP Groups.
func placesOf(server *vtm.Resource, owned func(vtm.ID) *vtm.Resource, appliance *translate.Appliance) []place {
	if server == nil || server.Value("basic", "enabled") != true {
		return nil
	}
	port, _ := server.Value("basic", "port").(int64)
	var out []place
	for _, name := range stringsOf(server.Value("basic", "listen_on_traffic_ips")) {
		if group := owned(vtm.ID{Type: vtm.TrafficIPGroups, Name: name}); group != nil {
			for _, address := range stringsOf(group.Get("basic", "ipaddresses")) {
				out = append(out, place{address, port})
			}
			continue
		}
		for _, address := range appliance.Groups[name].Addresses {
			out = append(out, place{address.String(), port})
		}
	}
	return out
}

// makeWay finds the virtual servers that leave a place which another one takes
// in the same plan.
func makeWay(p *Plan, desired map[vtm.ID]*vtm.Resource, observed *Observed) {
	wanted := func(id vtm.ID) *vtm.Resource { return desired[id] }
	held := func(id vtm.ID) *vtm.Resource { return observed.Owned[id] }
	leaving := map[place]vtm.ID{}
	for i := range p.Steps {
		if s := &p.Steps[i]; s.ID.Type == vtm.VirtualServers {
			stays := placesOf(s.After, wanted, &observed.Appliance)
			for _, at := range placesOf(s.Before, held, &observed.Appliance) {
				if !slices.Contains(stays, at) {
					leaving[at] = s.ID
				}
			}
		}
	}
	if len(leaving) == 0 {
		return
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.ID.Type != vtm.VirtualServers {
			continue
		}
		for _, at := range placesOf(s.After, wanted, &observed.Appliance) {
			if id, ok := leaving[at]; ok && id != s.ID && !slices.Contains(s.MakeWay, id) {
				s.MakeWay = append(s.MakeWay, id)
			}
		}
	}
}
