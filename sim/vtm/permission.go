package vtm

import (
	"net/http"
	"strings"
)

// pages are the pages of the admin server whose permission a resource needs: what
// a user may do over REST follows from what its group may do there (vtm/rest.md
// §4). The names of pages are those of the built-in groups that public exports
// hold; for types that no such page is named after, "Catalog" decides.
var pages = map[string]string{
	"action_programs":        "Extra_Files",
	"actions":                "Alerting",
	"appliance/nat":          "NAT",
	"aptimizer/profiles":     "Aptimizer",
	"aptimizer/scopes":       "Aptimizer",
	"bandwidth":              "Bandwidth",
	"bgpneighbors":           "Traffic_IP_Groups",
	"cloud_api_credentials":  "Catalog",
	"custom":                 "Custom",
	"dns_server/zone_files":  "Catalog",
	"dns_server/zones":       "Catalog",
	"event_types":            "Alerting",
	"extra_files":            "Extra_Files",
	"glb_services":           "Catalog",
	"global_settings":        "Global_Settings",
	"kerberos/keytabs":       "Catalog",
	"kerberos/krb5confs":     "Catalog",
	"kerberos/principals":    "Catalog",
	"license_keys":           "License_Keys",
	"locations":              "Catalog",
	"log_export":             "Analytics_Export",
	"monitor_scripts":        "Extra_Files",
	"monitors":               "Monitors",
	"persistence":            "Persistence",
	"pools":                  "Pools",
	"protection":             "Service_Protection",
	"rate":                   "Rate",
	"rule_authenticators":    "Catalog",
	"rules":                  "Rules",
	"saml/trustedidps":       "Catalog",
	"security":               "Security",
	"service_level_monitors": "SLM",
	"servicediscovery":       "Extra_Files",
	"ssl/admin_cas":          "SSL",
	"ssl/cas":                "SSL",
	"ssl/client_keys":        "SSL",
	"ssl/server_keys":        "SSL",
	"ssl/ticket_keys":        "SSL",
	"traffic_ip_groups":      "Traffic_IP_Groups",
	"traffic_managers":       "Traffic_Managers",
	"user_authenticators":    "Access_Management",
	"user_groups":            "Access_Management",
	"virtual_servers":        "Virtual_Servers",

	"status/information": "MainIndex",
	"status/state":       "Diagnose",
	"status/statistics":  "Monitoring",
	"status/backups":     "Backup",
}

// access is what a group may do with a page.
type access int

const (
	accessNone access = iota
	accessRead
	accessFull
)

// access of a user to a page. Users without a group are of the group Admin. What
// a group does not name follows the page before the last "!" of its name, then
// its permission "all", and without that there is none. An unknown level is none.
func (t *TrafficManager) access(user, page string) access {
	name, set := t.o.Groups[user]
	if !set {
		return accessFull
	}
	group := t.store.get(t.schema.types["user_groups"], name)
	if group == nil {
		return accessNone
	}
	levels := make(map[string]string)
	for _, p := range group.table("basic", "permissions") {
		levels[p.text("name")] = p.text("access_level")
	}
	level, named := levels[page]
	for !named {
		i := strings.LastIndexByte(page, '!')
		if i < 0 {
			level = levels["all"]
			break
		}
		page = page[:i]
		level, named = levels[page]
	}
	switch level {
	case "full":
		return accessFull
	case "ro":
		return accessRead
	}
	return accessNone
}

// permitted refuses what the user's group does not allow on the page that path,
// a resource type's or "status/…", belongs to.
func (r *request) permitted(path string) *apiError {
	page := pages[path]
	has := r.of.access(r.user, page)
	if has == accessFull || has == accessRead && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return nil
	}
	return errForbidden("The user's group does not permit this: it has no such permission for the page '" + page + "'")
}
