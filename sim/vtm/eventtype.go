package vtm

import (
	"slices"
	"strings"
)

// eventTypeMatcher is an event type made ready to look at events.
type eventTypeMatcher struct {
	name    string
	all     bool                 // the built-in one that matches every event
	groups  map[string]eventTags // by section of the resource: "pools", "faulttolerance"
	actions []string
}

// eventTags are what one section of an event type selects.
type eventTags struct {
	tags    map[string]bool // "*": all of this group
	objects map[string]bool // "*", or none at all: whatever it is about
}

// allEvents matches whatever happens: its lists are empty on a real one too.
const allEvents = "All Events"

// newMatcher prepares an event type.
func newMatcher(r *resource) eventTypeMatcher {
	m := eventTypeMatcher{name: r.name, all: r.name == allEvents && r.builtin, groups: make(map[string]eventTags), actions: r.list("basic", "actions")}
	for _, sec := range r.kind.sections {
		if sec.name == "basic" {
			continue
		}
		tags := setOf(r.list(sec.name, "event_tags"))
		if len(tags) > 0 {
			g := eventTags{tags: tags}
			if r.kind.property(sec.name, "objects") != nil { // not every group is about objects
				g.objects = setOf(r.list(sec.name, "objects"))
			}
			m.groups[sec.name] = g
		}
	}
	return m
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}

// matches tells whether the event type is for an event.
func (m eventTypeMatcher) matches(e Event) bool {
	if m.all {
		return true
	}
	group, object := groupOf(e)
	g, ok := m.groups[group]
	if !ok {
		return false
	}
	tag := e.Tag
	if group == "trafficscript" {
		// The tag is the name that the rule gave its event.
		tag, _, _ = strings.Cut(e.Text, ": ")
	}
	if !g.tags["*"] && !g.tags[tag] {
		return false
	}
	return len(g.objects) == 0 || object == "" || g.objects["*"] || g.objects[object]
}

// groupOf is the section of event types that an event belongs to, and the name of
// the object that it is about, "" if it is about none.
func groupOf(e Event) (group, object string) {
	section, object, _ := strings.Cut(e.Section, "/")
	switch {
	case e.Tag == "customevent":
		return "trafficscript", ""
	case e.Tag == "confadd", e.Tag == "confmod", e.Tag == "confdel", e.Tag == "confok":
		return "config", ""
	case section == "admin":
		return "general", ""
	case section == "ssl":
		return "ssl", ""
	}
	return section, object
}

// builtinEventTypes are those that a new traffic manager has, with the tags that
// public exports of them hold: name -> section -> tags.
func builtinEventTypes() map[string]map[string]map[string]any {
	all := map[string]struct {
		note string
		tags map[string]string // section -> tags, blanks between
	}{
		allEvents:                         {"", nil},
		"All Custom TrafficScript Events": {"Events created using the TrafficScript function event.emit().", map[string]string{"trafficscript": "*"}},
		"Audit Events":                    {"Audit log events.", map[string]string{"general": "audit"}},
		"Connection Failures": {"All connection failures that might occur with the Virtual Traffic Manager or your services.", map[string]string{
			"vservers": "connfail connerror sslfail ssldrop",
		}},
		"Critical Problem Occurred": {"Every critical problem that might occur with the Virtual Traffic Manager or your services.", map[string]string{
			"faulttolerance": "machinetimeout pingfrontendfail pinggwfail flipperipexists machinefail pingbackendfail routingswfailurelimitreached routingswstartfailed",
			"general":        "appliance zxtmswerror",
			"glb":            "glbservicedied",
			"java":           "javaterminatefail javastartfail javadied",
			"licensekeys":    "expired unlicensed licensecorrupt license-unauthorized licenseclustertoobig",
			"monitors":       "monitorfail",
			"pools":          "pooldied nodefail",
			"slm":            "slmclasslimitexceeded slmfallenbelowserious",
			"sslhw":          "sslhwfail",
		}},
		"Critical Problem Resolved": {"Triggered when a critical problem recovers.", map[string]string{
			"faulttolerance": "allmachinesok flipperbackendsworking dropipinfo flipperfrontendsworking machineok flipperraiselocalworking flipperrecovered activatealldead activatedautomatically routingswoperational",
			"glb":            "glbserviceok",
			"java":           "javastarted",
			"licensekeys":    "usinglicense",
			"monitors":       "monitorok",
			"pools":          "poolok nodeworking",
			"slm":            "slmnodeinfo slmrecoveredserious",
			"sslhw":          "sslhwrestart sslhwstart",
		}},
		"Default Events": {"", map[string]string{
			"faulttolerance": "allmachinesok flipperbackendsworking dropipinfo dropipwarn flipperfrontendsworking machineok machinetimeout pingfrontendfail pinggwfail flipperipexists machinefail flipperraiselocalworking flipperraiseosdrop flipperraiseothersdead flipperdadreraise pingbackendfail flipperrecovered activatedautomatically activatealldead ec2flipperraiselocalworking ec2flipperraiseothersdead dropec2ipwarn ec2nopublicip",
			"general":        "appliance",
			"licensekeys":    "expiresoon expired unlicensed",
			"monitors":       "monitorok monitorfail",
			"pools":          "poolok pooldied nodeworking nodefail",
			"protection":     "triggersummary",
			"slm":            "slmnodeinfo slmrecoveredserious slmfallenbelowserious",
			"sslhw":          "sslhwrestart sslhwstart sslhwfail",
		}},
		"GLB Services": {"Events relating to GLB Services and locations.", map[string]string{
			"glb":       "glbnewmaster glbserviceok glbmanualfailback glbdeadlocmissingips glbmissingips glbnolocations glbtoomanylocations glbactivedcmismatch glbfailalter glblogwritefail glbservicedied",
			"locations": "locationmonitorok locationsoapok locationunavailable locationdisabled locationenabled locationdraining locationnotdraining locationavailable locationok locempty locmovemachine locationmonitorfail locationsoapfail locationfail",
		}},
		"Infrastructure Problem": {"Events relating to machines failing or not responding.", map[string]string{
			"faulttolerance": "pingbackendfail machinetimeout pinggwfail machinefail pingfrontendfail ospfneighborsfailed ospfneighborsdegraded",
			"monitors":       "monitorfail",
			"pools":          "nodefail",
			"slm":            "slmfallenbelowserious",
		}},
		"Infrastructure Problem Resolved": {"Events relating to machines recovering.", map[string]string{
			"faulttolerance": "allmachinesok flipperbackendsworking flipperfrontendsworking machineok flipperrecovered activatealldead activatedautomatically ospfneighborsok",
			"monitors":       "monitorok",
			"pools":          "nodeworking",
			"slm":            "slmrecoveredserious",
		}},
		"License Key Problem": {"Warnings about invalid, failed and expired license keys.", map[string]string{
			"licensekeys": "expiresoon licenseclustertoobig expired licensecorrupt unlicensed tpslimited ssltpslimited bwlimited license-rejected-unauthorized license-rejected-authorized license-graceperiodexpired license-timedout-unauthorized license-timedout-authorized license-unauthorized",
		}},
		"License Key Recovered": {"Triggers when a licence key recovers.", map[string]string{"licensekeys": "usinglicense"}},
		"Resource Starvation": {"Events triggered when we have run out of system resources or hit a configured limit in the Virtual Traffic Manager.", map[string]string{
			"general":  "fewfreefds",
			"rules":    "rulebufferlarge",
			"vservers": "maxclientbufferdrop responsetoolarge rtspstreamnoports sipstreamnoports",
		}},
		"Routing Software": {"", nil},
		"SSL Certificate Expiry": {"Warnings about SSL certificates that have expired or are about to.", map[string]string{
			"vservers": "vscacertexpired vscacerttoexpire vscrloutofdate vssslcertexpired vssslcerttoexpire",
		}},
		"Service Failed": {"Problems with services (virtual servers, pools, GLB services, classes and related files).", map[string]string{
			"glb":        "glbmissingips glbnolocations glbtoomanylocations glblogwritefail glbservicedied",
			"java":       "javanotfound servleterror",
			"locations":  "locationunavailable locempty locationmonitorfail locationsoapfail locationfail",
			"monitors":   "monitorfail",
			"pools":      "pooldied noderesolvefailure noderesolvemultiple nodefail ehloinvalid starttlsinvalid nostarttls",
			"protection": "triggersummary",
			"rules":      "datastorefull ruleabort rulexmlerr rulebodycomperror rulebufferlarge rulelogmsgwarn poolactivenodesunknown pooluseunknown norate rulenopersistence forwardproxybadhost invalidemit rulelogmsgserious",
			"slm":        "slmfallenbelowserious slmnodeinfo",
			"vservers":   "vslogwritefail respcompfail responsetoolarge rtspstreamnoports sipstreamnoports vscacertexpired vscacerttoexpire vscrloutofdate vssslcertexpired vssslcerttoexpire",
		}},
		"Service Recovered": {"Triggers when a service is running correctly.", map[string]string{
			"glb":       "glbnewmaster glbserviceok glbmanualfailback",
			"locations": "locationmonitorok locationsoapok locationavailable locationok",
			"monitors":  "monitorok",
			"pools":     "poolok nodeworking",
			"slm":       "slmrecoveredserious",
			"vservers":  "vsstart vsstop privkeyok",
		}},
		"TrafficScript Error": {"Any problem that can be emitted by a TrafficScript/RuleBuilder rule.", map[string]string{
			"rules": "datastorefull ruleabort rulexmlerr rulelogmsgwarn poolactivenodesunknown pooluseunknown rulenopersistence forwardproxybadhost invalidemit rulebufferlarge norate rulelogmsgserious",
		}},
	}
	// These sections also say for which objects.
	withObjects := []string{"glb", "licensekeys", "locations", "monitors", "pools", "protection", "rules", "slm", "vservers"}
	out := make(map[string]map[string]map[string]any, len(all))
	for name, e := range all {
		sections := map[string]map[string]any{"basic": {"built_in": true, "note": e.note}}
		for section, tags := range e.tags {
			sections[section] = map[string]any{"event_tags": strings.Fields(tags)}
			if slices.Contains(withObjects, section) {
				sections[section]["objects"] = []string{"*"}
			}
		}
		out[name] = sections
	}
	return out
}

// builtinActions are the actions that a new traffic manager has.
func builtinActions() map[string]map[string]map[string]any {
	return map[string]map[string]map[string]any{
		"E-Mail":    {"basic": {"type": "email"}},
		"SNMP Trap": {"basic": {"type": "trap"}},
		"Syslog":    {"basic": {"type": "syslog"}},
	}
}
