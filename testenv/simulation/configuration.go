package simulation

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"vtm-ingress/sim/vtm"
)

// This file judges what a writer makes of a traffic manager, write by write: clients
// ask too seldom to see what is there for a millisecond.

// place is where virtual servers listen.
type place struct {
	address string
	port    int
}

// poolNames are those of our pools, in a rule or alone: k8s_NAMESPACE_INGRESS_SERVICE_PORT.
var poolNames = regexp.MustCompile(`k8s_([a-z0-9-]+)_([a-z0-9.-]+)_[a-z0-9-]+_80\b`)

// listens are the Ingresses, namespace/name, that a traffic manager sends requests to,
// by the place where these come in.
func listens(tm *vtm.TrafficManager) map[place]map[string]bool {
	addresses := map[string][]string{}
	for name, body := range tm.Configuration("traffic_ip_groups") {
		addresses[name] = basicOf(body).Addresses
	}
	rules := tm.Configuration("rules")
	all := map[place]map[string]bool{}
	for name, body := range tm.Configuration("virtual_servers") {
		if !strings.HasPrefix(name, "k8s_") {
			continue
		}
		server := basicOf(body)
		if !server.Enabled {
			continue
		}
		text := server.Pool
		for _, rule := range server.Rules {
			text += "\n" + string(rules[rule])
			// Routes of many Ingresses stand in libraries that the rule imports.
			for library, content := range rules {
				if strings.Contains(string(rules[rule]), library) {
					text += "\n" + string(content)
				}
			}
		}
		for _, group := range server.Groups {
			for _, address := range addresses[group] {
				at := place{address, server.Port}
				for _, m := range poolNames.FindAllStringSubmatch(text, -1) {
					if all[at] == nil {
						all[at] = map[string]bool{}
					}
					all[at][m[1]+"/"+m[2]] = true
				}
			}
		}
	}
	return all
}

// basic is what counts here of the section basic of a virtual server, or of a traffic IP
// group.
type basic struct {
	Enabled   bool
	Pool      string
	Port      int
	Rules     []string `json:"request_rules"`
	Groups    []string `json:"listen_on_traffic_ips"`
	Addresses []string `json:"ipaddresses"`
}

func basicOf(body []byte) basic {
	var resource struct{ Properties struct{ Basic basic } }
	_ = json.Unmarshal(body, &resource) // it is the traffic manager's own
	return resource.Properties.Basic
}

// judgeConfiguration is invariant 7 for what a writer just wrote: no two Ingresses are
// served at one place of which one excludes the other.
func (s *system) judgeConfiguration(r *http.Request) {
	_, path, ok := strings.Cut(r.URL.Path, "/config/active/")
	if !ok || !(strings.HasPrefix(path, "virtual_servers/") || strings.HasPrefix(path, "rules/") || strings.HasPrefix(path, "traffic_ip_groups/")) {
		return
	}
	member := slices.IndexFunc(s.box.RESTEndpoints(), func(url string) bool { return strings.HasSuffix(url, "//"+r.URL.Host) })
	if member < 0 {
		return
	}
	tm := s.box.TrafficManagers.Member(s.box.TrafficManagers.Names()[member])
	if tm == nil || s.run.lateWrites() {
		return
	}
	if s.run.stepping.Load() {
		s.run.learn() // a controller may be faster than the user whose change this is
	}
	worlds := s.run.since(s.run.now() - forget)
	served := listens(tm)
	for _, at := range slices.SortedFunc(maps.Keys(served), func(a, b place) int {
		return strings.Compare(a.address+":"+strconv.Itoa(a.port), b.address+":"+strconv.Itoa(b.port))
	}) {
		names := slices.Sorted(maps.Keys(served[at]))
		for n, a := range names {
			if refused(worlds, at, a) {
				s.run.violate(7, "after %s %s, %s is served at %s:%d, and an older one excludes it there", r.Method, path, a, at.address, at.port)
			}
			for _, b := range names[n+1:] {
				if excludes(worlds, at, a, b) {
					s.run.violate(7, "after %s %s, %s is served at %s:%d beside %s, and one excludes the other", r.Method, path, a, at.address, at.port, b)
				}
			}
		}
	}
}

// lateWrites says whether requests are, or were within the drift period, repeated.
func (r *run) lateWrites() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.repeated.IsZero() && time.Since(r.repeated) < driftPeriod
}

// driftPeriod is how long what somebody else wrote may stay: until all is read anew, by a
// writer that must first get the Lease.
const driftPeriod = 2 * time.Minute

// ofTerm finds the term in the words of who writes.
var ofTerm = regexp.MustCompile(`; term (\d+)\)$`)

// judgeDrifts finds the writes that nobody wants, and when they were put right. While
// nothing else fails, that is within the drift period.
func (r *run) judgeDrifts(writes []vtm.Write) {
	newest := 0
	wanted, since := map[string]uint64{}, map[string]time.Time{}
	r.mu.Lock()
	result := &r.result
	for _, w := range writes {
		_, name, _ := strings.Cut(w.Path, "/")
		if _, foreign := foreign[w.Path]; foreign || !strings.HasPrefix(strings.TrimPrefix(name, "server_keys/"), "k8s_") {
			continue
		}
		term := 0
		if m := ofTerm.FindStringSubmatch(w.Agent); m != nil {
			term, _ = strconv.Atoi(m[1])
		}
		newest = max(newest, term)
		if timely := term == newest && !w.Repeated; timely {
			wanted[w.Path] = w.Holds
		} else if w.Holds != wanted[w.Path] {
			if since[w.Path].IsZero() {
				result.Drifts++
				since[w.Path] = w.Time
			}
			continue
		}
		if from := since[w.Path]; !from.IsZero() {
			result.LongestDrift = max(result.LongestDrift, w.Time.Sub(from))
			delete(since, w.Path)
		}
	}
	longest := result.LongestDrift
	r.mu.Unlock()
	if r.Only == Late && longest > driftPeriod {
		r.violate(1, "what was written late, twice or by hand was put right after %s only", longest)
	}
}

// excludes says whether of two Ingresses at one place, as they were lately, one excludes
// the other in each of their versions.
func excludes(worlds []*world, at place, a, b string) bool {
	versions := func(name string) (list []version) {
		for _, w := range worlds {
			for n := range w.ingresses {
				i := &w.ingresses[n]
				if i.Namespace+"/"+i.Name != name {
					continue
				}
				if c, ok := w.claimOf(i); ok && c.address == at.address {
					list = append(list, version{i, c})
				}
			}
		}
		return list
	}
	first, second := versions(a), versions(b)
	if len(first) == 0 || len(second) == 0 {
		return false // what was there longer ago goes when it can
	}
	for _, x := range first {
		for _, y := range second {
			s := &site{ports: map[int]*listener{}}
			if s.admit(x.ingress, &x.claim) && s.admit(y.ingress, &y.claim) {
				return false
			}
			s = &site{ports: map[int]*listener{}}
			if s.admit(y.ingress, &y.claim) && s.admit(x.ingress, &x.claim) {
				return false
			}
		}
	}
	return true
}

// refused says whether an Ingress wanted to be served at an address lately, and an older
// one excluded it all the time.
func refused(worlds []*world, at place, name string) bool {
	wanted := false
	for _, w := range worlds {
		for n := range w.ingresses {
			i := &w.ingresses[n]
			if i.Namespace+"/"+i.Name != name {
				continue
			}
			if c, ok := w.claimOf(i); !ok || c.address != at.address {
				continue
			}
			if wanted = true; w.site(at.address, asServed).serves(i) || w.site(at.address, asRefused).serves(i) {
				return false
			}
		}
	}
	return wanted
}

// version is an Ingress as it was for a while.
type version struct {
	ingress *networkingv1.Ingress
	claim   claim
}
