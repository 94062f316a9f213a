package dataplane

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// vserver is one virtual server at run time. It lives from its creation to its
// deletion, whatever is changed in between.
type vserver struct {
	d     *DataPlane
	name  string
	stats serverStats

	// For connections and requests, without a lock.

	conf atomic.Pointer[serverConf]
	gen  atomic.Pointer[generation] // nil: takes no connections

	// Under DataPlane.mu.

	deleted   bool // connections may still drain
	claims    []place
	up        int  // endpoints it owns that are bound
	announced bool // told by a vsstart event
	usedRules []string
	usedPool  string
}

// serverConf is a virtual server's configuration, made ready once.
type serverConf struct {
	*VirtualServer
	requestRules    []string // those enabled
	responseRules   []string
	completionRules []string       // at the end of transactions
	location        *regexp.Regexp // nil: none, or not a regular expression
	problem         string         // why the server cannot run at all
	sites           *sites
	mode            mode
	tls             atomic.Pointer[serverTLS] // nil: not asked for yet
	cookiePath      *regexp.Regexp            // nil: none, or not a regular expression
	// Replacements as package regexp writes them.
	locationReplace, cookieReplace string
}

func (c *serverConf) runs() bool { return c.Enabled && c.problem == "" }

// newServerConf makes a configuration ready. What of it cannot be carried out is
// returned, each problem with its key.
func newServerConf(v *VirtualServer) (*serverConf, []error) {
	c := &serverConf{
		VirtualServer: v,
		requestRules:  enabledRules(v.RequestRules),
		responseRules: enabledRules(v.ResponseRules),

		completionRules: enabledRules(v.CompletionRules),
	}
	var problems []error
	for _, re := range []struct {
		key, text string
		to        **regexp.Regexp
	}{{"http!location_regex", v.LocationRegex, &c.location}, {"cookie!path_regex", v.Cookie.PathRegex, &c.cookiePath}} {
		if re.text == "" {
			continue
		}
		var err error
		if *re.to, err = regexp.Compile(re.text); err != nil {
			problems = append(problems, fmt.Errorf("%s is ignored: %w", re.key, err))
		}
	}
	c.locationReplace, c.cookieReplace = substitution(v.LocationReplace), substitution(v.Cookie.PathReplace)
	var missing string
	var known bool
	if c.mode, missing, known = modeOf(v.Protocol); !known {
		c.problem = fmt.Sprintf("protocol '%s' is not emulated", v.Protocol)
	} else if missing != "" {
		problems = append(problems, fmt.Errorf("protocol '%s' is passed on as it is: %s", v.Protocol, missing))
	}
	if v.SSLDecrypt {
		c.sites = newSites(v)
	}
	return c, problems
}

// groupRef is a reference to a group of a regular expression, as the product
// writes them.
var groupRef = regexp.MustCompile(`\$([1-9])`)

// substitution makes a replacement of the product's into one of package regexp,
// where "$1x" would be a group named "1x".
func substitution(s string) string { return groupRef.ReplaceAllString(s, "$${$1}") }

// enabledRules leaves out the uses that are switched off by a leading '/'.
func enabledRules(names []string) []string {
	var list []string
	for _, n := range names {
		if !strings.HasPrefix(n, "/") {
			list = append(list, n)
		}
	}
	return list
}

// listensOn keeps the index of the virtual servers whose addresses a Traffic IP
// Group's change concerns; conf nil leaves it as it is. The caller holds d.mu.
func (d *DataPlane) listensOn(name string, conf *serverConf, on bool) {
	switch {
	case conf == nil:
	case conf.ListenOnAny && on:
		d.anywhere[name] = true
	case conf.ListenOnAny:
		delete(d.anywhere, name)
	default:
		for _, g := range conf.ListenOnTrafficIPs {
			switch servers := d.listeners[g]; {
			case on && servers == nil:
				d.listeners[g] = map[string]bool{name: true}
			case on:
				servers[name] = true
			default:
				delete(servers, name)
				if len(servers) == 0 {
					delete(d.listeners, g)
				}
			}
		}
	}
}

// applyServer stores a virtual server's configuration; nil deletes it. Its
// listeners follow by claim and resolve. The caller holds d.mu.
func (d *DataPlane) applyServer(name string, vs *VirtualServer) {
	v := d.servers[name]
	if v == nil {
		v = &vserver{d: d, name: name}
		d.servers[name] = v
	}
	section := "vservers/" + name
	// After what is used from now on: a rule that stays names thousands of pools, whose
	// use would change back and forth.
	defer func(rules []string, pool string) {
		for _, r := range rules {
			d.uses.rule(r, -1)
		}
		if pool != "" {
			d.uses.pool(pool, -1)
		}
	}(v.usedRules, v.usedPool)
	v.usedRules, v.usedPool = nil, ""
	d.listensOn(name, v.conf.Load(), false)
	if v.deleted = vs == nil; v.deleted {
		return
	}
	conf, problems := newServerConf(vs)
	for _, p := range problems {
		d.event(Event{Level: "WARN", Section: section, Tag: "confmod", Text: p.Error()})
	}
	if conf.Enabled {
		v.usedRules = slices.Concat(conf.requestRules, conf.responseRules, conf.completionRules)
		for _, r := range v.usedRules {
			d.uses.rule(r, 1)
			if d.rule(r) == nil {
				d.missing(section, "rule", r)
			}
		}
		if conf.Pool != discard {
			v.usedPool = conf.Pool
			d.uses.pool(conf.Pool, 1)
			if d.pool(conf.Pool) == nil {
				d.missing(section, "pool", conf.Pool)
			}
		}
		for _, g := range conf.ListenOnTrafficIPs {
			if d.groups[g] == nil && !conf.ListenOnAny {
				d.missing(section, "Traffic IP Group", g)
			}
		}
		if conf.problem != "" {
			d.event(Event{Level: "SERIOUS", Section: section, Tag: "confmod", Text: "Virtual server cannot start: " + conf.problem})
		}
		for _, key := range conf.sites.keys(func(key string) bool { return d.key(key) == nil }) {
			d.missing(section, "server key", key)
		}
		for _, p := range d.tlsProblems(conf) {
			d.event(Event{Level: "WARN", Section: section, Tag: "confmod", Text: p})
		}
		if f := conf.ErrorFile; f != "" && f != "Default" {
			if _, ok := file(&d.files, f); !ok {
				d.missing(section, "error file", f)
			}
		}
	}
	v.conf.Store(conf)
	d.listensOn(name, conf, true)
	if conf.runs() {
		v.start(conf)
	} else {
		v.stop()
	}
}

// announce tells when the server has begun or ceased to listen. The caller holds
// d.mu.
func (v *vserver) announce() {
	if up := v.up > 0; up != v.announced {
		v.announced = up
		e := Event{Level: "INFO", Section: "vservers/" + v.name, Tag: "vsstop", Text: "Virtual server stopped"}
		if up {
			e.Tag, e.Text = "vsstart", "Virtual server started"
		}
		v.d.event(e)
	}
}
