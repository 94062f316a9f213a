package simulation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vtm-ingress/sim/vtm"
)

// Fault is one thing that fails for a while. As text, which ParseFault reads and
// String prints, it begins with who: "vtm" and a fault of `vtm-sim faults`;
// "kubernetes away", or "kubernetes forgets" what it would tell resumed watches;
// "controller NAME killed", or "controller NAME cut PARTY", where PARTY is
// "kubernetes", a traffic manager, "vtm" for all of these, or "everything".
type Fault struct {
	VTM        *vtm.FaultRule
	Kubernetes string // away, forgets
	Controller string // a, b and so on
	What       string // of a controller: killed, cut
	Party      string // from which it is cut

	lasts  time.Duration
	number int
}

// ParseFault reads one fault.
func ParseFault(text string) (Fault, error) {
	words := strings.Fields(text)
	wrong := func() (Fault, error) {
		return Fault{}, fmt.Errorf("fault %q: write vtm FAULT, kubernetes away|forgets, controller NAME killed, or controller NAME cut PARTY", text)
	}
	if len(words) < 2 {
		return wrong()
	}
	switch words[0] {
	case "vtm":
		rules, err := vtm.ParseFaults(strings.Join(words[1:], " "))
		if err != nil {
			return Fault{}, err
		}
		if len(rules) != 1 {
			return wrong()
		}
		return Fault{VTM: &rules[0]}, nil
	case "kubernetes":
		if len(words) != 2 || words[1] != "away" && words[1] != "forgets" {
			return wrong()
		}
		return Fault{Kubernetes: words[1]}, nil
	case "controller":
		f := Fault{Controller: words[1]}
		switch {
		case len(words) == 3 && words[2] == "killed":
			f.What = "killed"
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
	case f.Kubernetes != "":
		return "kubernetes " + f.Kubernetes
	case f.What == "killed":
		return "controller " + f.Controller + " killed"
	}
	return "controller " + f.Controller + " cut " + f.Party
}

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
	texts := []string{
		"kubernetes away", "kubernetes away", "kubernetes forgets",
		"controller " + who + " killed", "controller " + who + " killed",
		"controller " + who + " cut kubernetes", "controller " + who + " cut vtm",
		"controller " + who + " cut everything", "controller " + who + " cut " + member,
		"vtm status 503 chance=0.5", "vtm status 500 method=PUT chance=0.3", "vtm drop before chance=0.3", "vtm drop after chance=0.3",
		"vtm latency 2300ms chance=0.3 member=" + member, "vtm garbage chance=0.3", "vtm truncate chance=0.3", "vtm slow 50ms chance=0.3",
		"vtm unauthorised chance=0.2", "vtm disk-full member=" + member, "vtm down member=" + member, "vtm hold member=" + member,
		"vtm stop member=" + member, "vtm freeze member=" + member, "vtm isolate member=" + member, "vtm restart member=" + member,
		"vtm cut nodes member=" + member,
	}
	if len(members) > 1 {
		other := members[(pick(len(members), "member")+1+pick(len(members)-1, "other"))%len(members)]
		texts = append(texts, "vtm cut "+other+" member="+member)
	}
	f, err := ParseFault(texts[pick(len(texts), "kind")])
	if err != nil {
		panic(err) // a mistake in the list above
	}
	f.lasts, f.number = r.between(2*time.Second, 40*time.Second, "fault/lasts", n), n
	if f.Kubernetes == "away" {
		f.lasts = r.between(time.Second, 25*time.Second, "fault/lasts", n)
	}
	return f
}

// activeFault is a fault of the data path and when it excuses failed requests.
type activeFault struct {
	fault Fault
	from  time.Duration
	to    time.Duration // 0: it lasts
}

// inject begins a fault.
func (r *run) inject(f Fault) {
	r.note("fault %d begins: %s, for %s", f.number, f, f.lasts.Round(time.Millisecond))
	r.mu.Lock()
	r.result.Faults++
	if f.dataPath() {
		r.active = append(r.active, activeFault{fault: f, from: r.now()})
	}
	r.mu.Unlock()
	s := r.system
	var err error
	switch {
	case f.VTM != nil:
		err = s.box.TrafficManagers.SetFaults(append(s.box.TrafficManagers.Faults(), *f.VTM))
	case f.Kubernetes == "away":
		s.setAway(true)
	case f.Kubernetes == "forgets":
		s.box.Kubernetes.ForgetHistory()
	case f.What == "killed":
		c := s.controller(f.Controller)
		if c == s.writer() {
			r.killedWriter()
		}
		s.kill(c)
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
	case f.Kubernetes == "away":
		s.setAway(false)
	case f.What == "killed":
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
	for i := range r.active {
		if r.active[i].to == 0 && r.active[i].fault.number == f.number {
			r.active[i].to = r.now()
		}
	}
	r.mu.Unlock()
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
	s.setAway(false)
	for _, c := range s.controllers {
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
