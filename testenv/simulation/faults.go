package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vtm-ingress/sim/acme"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/vtm"
)

// Fault is one thing that fails for a while. As text, which ParseFault reads and
// String prints, it begins with who:
//
//	vtm FAULT                  one of `vtm-sim faults`
//	kubernetes FAULT           one of kube.FaultRule
//	kubernetes without KIND NAME  somebody deletes an object, and makes it again
//	controller NAME killed     it ends at once, and is started again
//	controller NAME stopped    it ends in an orderly way, and is started again
//	controller NAME frozen     it stands still, and goes on
//	controller NAME cut PARTY  PARTY is kubernetes, a traffic manager, vtm for all of
//	                           these, or everything
//	authority down             the certificate authority's connections end without an answer
//	authority garbage          it answers HTML
//	settings NAME=VALUE        somebody writes that into the settings of all controllers
//	node NAME cut kubernetes   NAME is that of a node, or "all"
type Fault struct {
	VTM        *vtm.FaultRule
	Rule       *kube.FaultRule
	Kind, Name string // of what Kubernetes is without
	Node       string
	Authority  string // down, garbage
	Setting    string // "name=value"
	Controller string // a, b and so on
	What       string // of a controller: killed, stopped, frozen, cut
	Party      string // from which it is cut

	lasts  time.Duration
	number int
}

// ParseFault reads one fault.
func ParseFault(text string) (Fault, error) {
	words := strings.Fields(text)
	wrong := func() (Fault, error) {
		return Fault{}, fmt.Errorf("fault %q: write vtm FAULT, kubernetes FAULT, kubernetes without KIND NAME, controller NAME killed|stopped|frozen, controller NAME cut PARTY, authority down|garbage, settings NAME=VALUE, or node NAME cut kubernetes", text)
	}
	if len(words) < 2 {
		return wrong()
	}
	rest := strings.Join(words[1:], " ")
	switch words[0] {
	case "vtm":
		rules, err := vtm.ParseFaults(rest)
		if err != nil {
			return Fault{}, err
		}
		if len(rules) != 1 {
			return wrong()
		}
		return Fault{VTM: &rules[0]}, nil
	case "kubernetes":
		if words[1] == "without" {
			if len(words) != 4 || paths[words[2]] == "" {
				return wrong()
			}
			return Fault{Kind: words[2], Name: words[3]}, nil
		}
		rule, err := kube.ParseFault(rest)
		if err != nil {
			return Fault{}, err
		}
		return Fault{Rule: &rule}, nil
	case "authority":
		if rest != acme.Down && rest != acme.Garbage {
			return wrong()
		}
		return Fault{Authority: rest}, nil
	case "settings":
		if len(words) != 2 || !strings.Contains(rest, "=") {
			return wrong()
		}
		return Fault{Setting: rest}, nil
	case "node":
		if len(words) != 4 || words[2] != "cut" || words[3] != "kubernetes" {
			return wrong()
		}
		return Fault{Node: words[1]}, nil
	case "controller":
		f := Fault{Controller: words[1]}
		switch {
		case len(words) == 3 && slices.Contains([]string{"killed", "stopped", "frozen"}, words[2]):
			f.What = words[2]
		case len(words) == 4 && words[2] == "cut":
			f.What, f.Party = "cut", words[3]
		default:
			return wrong()
		}
		return f, nil
	}
	return wrong()
}

func (f Fault) String() string {
	switch {
	case f.VTM != nil:
		return "vtm " + f.VTM.String()
	case f.Rule != nil:
		return "kubernetes " + f.Rule.String()
	case f.Kind != "":
		return "kubernetes without " + f.Kind + " " + f.Name
	case f.Authority != "":
		return "authority " + f.Authority
	case f.Setting != "":
		return "settings " + f.Setting
	case f.Node != "":
		return "node " + f.Node + " cut kubernetes"
	case f.What == "cut":
		return "controller " + f.Controller + " cut " + f.Party
	}
	return "controller " + f.Controller + " " + f.What
}

// leases are the paths of Leases, for faults.
const leases = "leases/*"

// dataPath reports whether the fault may make clients' requests fail by itself.
func (f Fault) dataPath() bool {
	if f.VTM == nil {
		return false
	}
	switch f.VTM.Kind {
	case "stop", "freeze", "isolate", "restart", "cut":
		return true
	}
	return false
}

// draw is the n-th fault of this run.
func (r *run) draw(n int) Fault {
	pick := func(count int, what string) int { return r.below(count, "fault/"+what, n) }
	members, controllers := r.system.box.TrafficManagers.Names(), r.system.controllers
	member := members[pick(len(members), "member")]
	who := controllers[pick(len(controllers), "controller")].name
	late := []string{"nodes", "endpointslices", "services", "secrets", "ingresses", "ingressclasses"}[pick(6, "late")]
	texts := []string{
		"kubernetes away", "kubernetes away", "kubernetes forgets",
		"controller " + who + " killed", "controller " + who + " killed",
		"controller " + who + " cut kubernetes", "controller " + who + " cut vtm",
		"controller " + who + " cut everything", "controller " + who + " cut " + member,
		"controller " + who + " stopped", "controller " + who + " frozen", "controller " + who + " frozen",
		"kubernetes status 409 user=" + controllerUser + " method=PUT chance=0.5", "kubernetes status 429 user=" + controllerUser + " chance=0.3",
		"kubernetes status 500 user=" + controllerUser + " chance=0.3", "kubernetes drop before user=" + controllerUser + " chance=0.3",
		"kubernetes drop after user=" + controllerUser + " chance=0.3", "kubernetes latency 1700ms user=" + controllerUser + " chance=0.3",
		"kubernetes delay 2300ms user=" + controllerUser, "kubernetes delay 7s user=" + controllerUser + " path=" + late, "kubernetes stale user=" + controllerUser, "kubernetes empty user=" + controllerUser,
		"kubernetes empty user=" + controllerUser, "kubernetes without IngressClass " + classes[pick(len(classes), "class")], "kubernetes without IngressClass " + classes[1],
		// Just the Lease is hard to renew: what users change goes on coming.
		"kubernetes status 500 user=" + controllerUser + " method=PUT path=" + leases + " chance=0.6",
		"kubernetes without Secret steady/five",
		fmt.Sprintf("node node-%d cut kubernetes", 1+pick(2, "node")), "node all cut kubernetes",
		"authority down", "authority garbage", "settings resync_period=soon",
		"vtm status 503 chance=0.5", "vtm status 500 method=PUT chance=0.3", "vtm drop before chance=0.3", "vtm drop after chance=0.3",
		"vtm latency 2300ms chance=0.3 member=" + member, "vtm garbage chance=0.3", "vtm truncate chance=0.3", "vtm slow 50ms chance=0.3",
		"vtm status 503 method=PUT path=pools/* chance=0.5", "vtm drop before method=PUT path=rules/* chance=0.5", // what refers to them is not refused
		"vtm unauthorised chance=0.2", "vtm disk-full member=" + member, "vtm down member=" + member, "vtm hold member=" + member,
		"vtm stop member=" + member, "vtm freeze member=" + member, "vtm isolate member=" + member, "vtm restart member=" + member,
		"vtm repeat 7s method=PUT chance=0.3", "vtm repeat 19s method=DELETE chance=0.5",
		"vtm cut nodes member=" + member, "vtm cut clients member=" + member,
	}
	for range 4 { // often: a write must begin in one of the few seconds in which it could outlast the Lease
		texts = append(texts, "kubernetes latency 3700ms user="+controllerUser+" method=PUT path="+leases)
	}
	if len(members) > 1 {
		other := members[(pick(len(members), "member")+1+pick(len(members)-1, "other"))%len(members)]
		texts = append(texts, "vtm cut "+other+" member="+member)
	}
	switch r.Only {
	case Writers:
		texts = []string{"controller " + who + " killed", "controller " + who + " stopped"}
	case Members:
		texts = []string{"vtm stop member=" + member}
	case Late:
		texts = []string{"vtm repeat 7s chance=0.9", "vtm repeat 31s chance=0.9", "controller " + who + " frozen", "controller " + who + " cut vtm"}
	}
	f, err := ParseFault(texts[pick(len(texts), "kind")])
	if err != nil {
		panic(err) // a mistake in the list above
	}
	f.lasts, f.number = r.between(2*time.Second, 40*time.Second, "fault/lasts", n), n
	switch {
	case f.Rule != nil && f.Rule.Kind == "away":
		f.lasts = r.between(time.Second, 25*time.Second, "fault/lasts", n)
	case f.Kind != "":
		// A class is back within a minute, even if the API server is away meanwhile.
		f.lasts = r.between(time.Second, 15*time.Second, "fault/lasts", n)
	case f.Rule != nil && f.Rule.Path == leases:
		f.lasts = r.between(30*time.Second, 60*time.Second, "fault/lasts", n) // several renewals
	case f.Rule != nil && f.Rule.Kind == "empty":
		f.lasts = r.between(time.Second, 4*time.Second, "fault/lasts", n) // no second list agrees
	case f.Node != "":
		f.lasts = r.between(50*time.Second, 100*time.Second, "fault/lasts", n) // 40 s until it is not ready
	}
	return f
}

// activeFault is a fault of the data path and when it excuses failed requests.
type activeFault struct {
	fault Fault
	from  time.Duration
	to    time.Duration // 0: it lasts
	// raised are the addresses that the member had which stops; nil: it does not.
	raised []string
}

// inject begins a fault.
func (r *run) inject(f Fault) {
	r.note("fault %d begins: %s, for %s", f.number, f, f.lasts.Round(time.Millisecond))
	r.mu.Lock()
	r.result.Faults++
	r.underWay[f.number] = f
	if f.dataPath() {
		a := activeFault{fault: f, from: r.now()}
		if f.VTM.Kind == "stop" {
			for _, member := range r.system.box.TrafficManagers.Info() {
				if member.Name == f.VTM.Member {
					a.raised = member.Raised
				}
			}
		}
		r.active = append(r.active, a)
	}
	r.mu.Unlock()
	r.mayRepeat(f)
	s := r.system
	var err error
	switch {
	case f.VTM != nil:
		err = s.box.TrafficManagers.SetFaults(append(s.box.TrafficManagers.Faults(), *f.VTM))
	case f.Rule != nil:
		s.setFaults(append(s.box.Kubernetes.Faults(), *f.Rule)...)
		if f.Rule.Kind == "empty" {
			s.listAgain()
		}
	case f.Kind != "":
		r.takeAway(f)
	case f.Authority != "":
		s.box.Certificates.Fault(f.Authority)
	case f.Setting != "":
		name, value, _ := strings.Cut(f.Setting, "=")
		before := s.set(name, value)
		if r.settingsBefore[name] == "" { // else two such faults are under way
			r.settingsBefore[name] = before
		}
	case f.Node != "":
		s.network.Cut(f.node(), s.apiHost())
	case f.What == "killed":
		c := s.controller(f.Controller)
		if c == s.writer() {
			r.writerEnds(c, killed)
		}
		s.kill(c)
	case f.What == "stopped":
		c := s.controller(f.Controller)
		if c == s.writer() {
			r.writerEnds(c, stopped)
		}
		s.stop(c)
	case f.What == "frozen":
		s.freeze(s.controller(f.Controller), true)
	default:
		r.cut(s.controller(f.Controller), f.Party, s.network.Cut)
	}
	if err != nil {
		r.violate(0, "fault %s: %v", f, err)
	}
}

// undo ends a fault.
func (r *run) undo(f Fault) {
	r.note("fault %d ends: %s", f.number, f)
	r.mayRepeat(f)
	s := r.system
	var err error
	switch {
	case f.VTM != nil:
		var rest []vtm.FaultRule
		found := false
		for _, rule := range s.box.TrafficManagers.Faults() {
			if !found && rule == *f.VTM {
				found = true
				continue
			}
			rest = append(rest, rule)
		}
		err = s.box.TrafficManagers.SetFaults(rest)
	case f.Rule != nil:
		rules := s.box.Kubernetes.Faults()
		if at := slices.Index(rules, *f.Rule); at >= 0 {
			rules = slices.Delete(rules, at, at+1)
		}
		s.setFaults(rules...)
		if f.Rule.Kind == "empty" {
			s.listAgain()
		}
	case f.Kind != "":
		r.giveBack(f)
	case f.Authority != "":
		s.box.Certificates.Fault("")
	case f.Setting != "":
		name, _, _ := strings.Cut(f.Setting, "=")
		r.putBack(name)
	case f.Node != "":
		s.network.Heal(f.node(), s.apiHost())
		r.nodeBack(f)
	case f.What == "frozen":
		s.freeze(s.controller(f.Controller), false)
	case f.What == "killed", f.What == "stopped":
		if c := s.controller(f.Controller); c.done == nil {
			s.launch(c)
		}
	case f.What == "cut":
		r.cut(s.controller(f.Controller), f.Party, s.network.Heal)
	}
	if err != nil {
		r.violate(0, "fault %s ends: %v", f, err)
	}
	r.mu.Lock()
	delete(r.underWay, f.number)
	for i := range r.active {
		if r.active[i].to == 0 && r.active[i].fault.number == f.number {
			r.active[i].to = r.now()
		}
	}
	r.mu.Unlock()
}

// nodeBack notes that nodes are reached again.
func (r *run) nodeBack(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = append(r.active, activeFault{fault: f, from: r.now(), to: r.now()})
}

// mayRepeat notes until when requests may be repeated.
func (r *run) mayRepeat(f Fault) {
	if f.VTM == nil || f.VTM.Kind != "repeat" {
		return
	}
	after, _ := time.ParseDuration(f.VTM.Arg)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repeated = time.Now().Add(after)
}

// putBack gives a setting the value that it had before a fault.
func (r *run) putBack(name string) {
	if before := r.settingsBefore[name]; before != "" {
		r.system.set(name, before)
		delete(r.settingsBefore, name)
	}
}

// node is the beginning of the actors' names.
func (f Fault) node() string {
	if f.Node == "all" {
		return "node-"
	}
	return f.Node
}

// taken is an object that a fault took away.
type taken struct {
	fault    Fault
	manifest string
}

// takeAway deletes an object for a while.
func (r *run) takeAway(f Fault) {
	namespace, name, ok := strings.Cut(f.Name, "/")
	if !ok {
		namespace, name = "", f.Name
	}
	if r.takenAway == nil {
		r.takenAway = map[string]taken{}
	}
	if err := r.remove(context.Background(), f.Kind, namespace, name); err != nil {
		r.note("fault %d: %s %s is not deleted: %v", f.number, f.Kind, f.Name, err)
		return
	}
	r.takenAway[f.Kind+" "+f.Name] = taken{f, r.manifests[f.Kind+" "+name]}
}

// giveBack makes it again, as soon as the API server takes it.
func (r *run) giveBack(f Fault) {
	lost, is := r.takenAway[f.Kind+" "+f.Name]
	if !is {
		return
	}
	namespace, name, ok := strings.Cut(f.Name, "/")
	if !ok {
		namespace, name = "", f.Name
	}
	for r.apply(context.Background(), f.Kind, namespace, name, lost.manifest) != nil {
		// The run's other events wait for it: none of them would bring the API server
		// back.
		r.system.bringBack()
		time.Sleep(time.Second + 19*time.Nanosecond)
	}
	delete(r.takenAway, f.Kind+" "+f.Name)
}

// cut does the same to each link between a controller and a party. The name of a
// controller covers all its starts, so that one which is killed meanwhile and
// starts again is cut off too.
func (r *run) cut(c *instance, party string, do func(actor, host string)) {
	actor := "controller/" + c.name
	host := func(url string) string {
		return strings.TrimPrefix(url[:strings.LastIndexByte(url, ':')], "http://")
	}
	members := r.system.box.RESTEndpoints()
	switch party {
	case "everything":
		do(actor, "")
	case "kubernetes":
		do(actor, host("http://"+r.system.box.Kubernetes.Address()))
	case "vtm":
		for _, url := range members {
			do(actor, host(url))
		}
	default:
		number, err := strconv.Atoi(strings.TrimPrefix(party, "vtm-"))
		if err == nil && (number < 1 || number > len(members)) {
			err = errors.New("there is no such member")
		}
		if err != nil {
			r.violate(0, "fault: cut %s: %v", party, err)
			return
		}
		do(actor, host(members[number-1]))
	}
}

// heal ends all that fails.
func (r *run) heal() {
	r.note("all is well from here on")
	s := r.system
	if err := s.box.TrafficManagers.SetFaults(nil); err != nil {
		r.violate(0, "healing: %v", err)
	}
	s.setFaults()
	s.box.Certificates.Fault("")
	for _, name := range slices.Sorted(maps.Keys(r.settingsBefore)) {
		r.putBack(name)
	}
	s.listAgain() // of some lists it is not known what they left out
	for _, what := range slices.Sorted(maps.Keys(r.takenAway)) {
		r.giveBack(r.takenAway[what].fault)
	}
	r.mu.Lock()
	for _, f := range r.underWay {
		if f.Node != "" {
			r.active = append(r.active, activeFault{fault: f, from: r.now(), to: r.now()})
		}
	}
	clear(r.underWay)
	r.mu.Unlock()
	s.network.Heal("node-", s.apiHost())
	for n := range 3 {
		s.network.Heal(fmt.Sprintf("node-%d", n+1), s.apiHost())
	}
	for _, c := range s.controllers {
		s.freeze(c, false)
		for _, party := range append([]string{"everything", "kubernetes", "vtm"}, s.box.TrafficManagers.Names()...) {
			r.cut(c, party, s.network.Heal)
		}
		if c.done == nil {
			s.launch(c)
		}
	}
	r.mu.Lock()
	for i := range r.active {
		if r.active[i].to == 0 {
			r.active[i].to = r.now()
		}
	}
	r.mu.Unlock()
}

func (s *system) controller(name string) *instance {
	for _, c := range s.controllers {
		if c.name == name {
			return c
		}
	}
	return nil
}
