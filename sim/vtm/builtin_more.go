package vtm

import "strings"

// builtinGroups are the user groups that a new traffic manager has, with the
// permissions that public exports of them hold: access level -> pages.
var builtinGroups = map[string]struct {
	description    string
	full, ro, none string
}{
	"Admin": {description: "Full access to all pages", full: "all"},
	"Demo": {
		description: "Full access, except to user management / system",
		full: `Alerting Analytics_Export Aptimizer Audit_Log Bandwidth Catalog Config_Summary Configure Connections Custom Diagnose Draining
			Event_Log Extra_Files Global_Settings Help Java Java!Edit Log_Viewer MainIndex Monitoring Monitors Persistence Pools Rate
			Request_Logs Rules SLM SSL Service_Protection Statd Support Traffic_IP_Groups Traffic_Managers Virtual_Servers Web_Cache Wizard`,
		ro: `Access_Management Backup DateTime License_Keys NAT Networking Reboot Restart SNMP Security Shutdown`,
		none: `Appliance_Console Event_Log!Clear SOAP_API Traffic_Managers!AddRemove Traffic_Managers!Upgrade Web_Cache!Clear
			Wizard!Backup Wizard!ClusterJoin Wizard!FreeDiskSpace Wizard!Restore`,
	},
	"Guest": {
		description: "Read-only access",
		full:        `Connections Event_Log Log_Viewer Monitoring Statd Web_Cache`,
		ro: `Access_Management Alerting Analytics_Export Aptimizer Backup Bandwidth Catalog Config_Summary Configure Custom DateTime
			Diagnose Draining Extra_Files Global_Settings Help License_Keys MainIndex Monitoring!Edit Monitors NAT Networking
			Persistence Pools Rate Reboot Request_Logs Restart Rules SLM SNMP SSL Security Service_Protection Shutdown Support
			Traffic_IP_Groups Traffic_Managers Virtual_Servers Wizard`,
		none: `Appliance_Console Audit_Log Event_Log!Clear SOAP_API Traffic_Managers!AddRemove Traffic_Managers!Upgrade Web_Cache!Clear`,
	},
	"Monitoring": {
		description: "Access only to config summary / monitoring pages",
		full: `Access_Management!LocalUsers!Edit Config_Summary Connections Draining Event_Log Help Log_Viewer Monitoring Statd
			Web_Cache`,
		ro: `Diagnose MainIndex`,
		none: `Access_Management Access_Management!LocalUsers!EditOtherUsers Alerting Appliance_Console Aptimizer Audit_Log Backup
			Bandwidth Catalog Configure Custom DateTime Event_Log!Clear Extra_Files Global_Settings Java Java!Edit License_Keys Monitors
			NAT Networking Persistence Pools Rate Reboot Request_Logs Restart Rules SLM SNMP SOAP_API SSL Security Service_Protection
			Shutdown Support Traffic_IP_Groups Traffic_Managers Virtual_Servers Web_Cache!Clear Wizard`,
	},
}

// groups are builtinGroups as PUT bodies say them.
func groups() map[string]map[string]map[string]any {
	all := make(map[string]map[string]map[string]any, len(builtinGroups))
	for name, g := range builtinGroups {
		var permissions []any
		for _, level := range [][2]string{{"full", g.full}, {"ro", g.ro}, {"none", g.none}} {
			for page := range strings.FieldsSeq(level[1]) {
				permissions = append(permissions, map[string]any{"name": page, "access_level": level[0]})
			}
		}
		all[name] = map[string]map[string]any{"basic": {"description": g.description, "permissions": permissions}}
	}
	return all
}

// logExports are the log files that a new traffic manager may export: their names
// and files are those of public exports; nothing is exported here.
func logExports() map[string]map[string]map[string]any {
	all := make(map[string]map[string]map[string]any)
	for name, e := range map[string]struct {
		files, note string
		enabled     bool
	}{
		"Admin Server Access": {files: "%ZEUSHOME%/admin/log/access*", note: "The Administration Server access log."},
		"Audit Log":           {files: "%ZEUSHOME%/zxtm/log/audit*", note: "The traffic manager audit log.", enabled: true},
		"Event Log":           {files: "%ZEUSHOME%/zxtm/log/errors*", note: "The traffic manager event log.", enabled: true},
		"Process Monitor":     {files: "%ZEUSHOME%/log/process_monitor*", note: "The process monitor log."},
		"Routing Software":    {files: "%ZEUSHOME%/log/routing_sw*", note: "The routing software log."},
	} {
		all[name] = map[string]map[string]any{"basic": {"enabled": e.enabled, "files": []string{e.files}, "note": e.note}}
	}
	return all
}

// builtinFiles are the files that a new traffic manager has: type -> name ->
// content. What the real ones hold is not public: these say what they stand for.
var builtinFiles = map[string]map[string]string{
	"monitor_scripts": {"dns.pl": "# Built into the traffic manager: looks a name up in DNS.\n"},
	"servicediscovery": {
		"BuiltIn-DNS_Resolver": "# Built into the traffic manager: discovers nodes by DNS.\n",
		"BuiltIn-GCE":          "# Built into the traffic manager: discovers nodes in Google Compute Engine.\n",
	},
}
