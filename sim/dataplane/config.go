package dataplane

import (
	"time"
)

// Update is a change of configuration: only what changed, by name. A nil value
// means that the object was deleted. The data plane keeps the values it is
// given: the caller never changes one afterwards, it sends a new one.
//
// Objects may refer to others that do not exist (a real traffic manager accepts
// that); such references are told in State and by an Event, and come to life
// when the missing object arrives.
type Update struct {
	// Global replaces the settings of the whole traffic manager; nil leaves them.
	Global *Global

	TrafficIPGroups map[string]*TrafficIPGroup
	VirtualServers  map[string]*VirtualServer
	Pools           map[string]*Pool
	Monitors        map[string]*Monitor
	Rules           map[string]*Rule
	ServerKeys      map[string]*ServerKey
	CAs             map[string]*File // certificate authorities, PEM
	ExtraFiles      map[string]*File
	TicketKeys      map[string]*TicketKey
	ClientKeys      map[string]*ServerKey // certificates shown to nodes
	Persistence     map[string]*Persistence
	Protection      map[string]*Protection
	MonitorScripts  map[string]*File

	// What rules ask for by name.

	Rates            map[string]*Rate
	ServiceLevels    map[string]*ServiceLevel
	BandwidthClasses map[string]*BandwidthClass
	Authenticators   map[string]*Authenticator
	Locations        map[string]*Location
	TrafficManagers  map[string]*TrafficManager
}

// Global is what concerns the data plane in global_settings. Until the first
// Update that has one, the defaults of the REST schema hold.
type Global struct {
	// IdleTimeout is how long an unused connection to a node is kept
	// (connection!idle_timeout, 10 s). 0: until the node closes it.
	IdleTimeout time.Duration
	// VariablePoolUse: rules may compute the names of pools, so every pool counts
	// as used and is monitored (trafficscript!variable_pool_use, false).
	VariablePoolUse bool
	// MaxInstructions is after how many instructions without waiting a rule is
	// ended (trafficscript!max_instr, 100000).
	MaxInstructions int
	Script          ScriptSettings

	TLS      GlobalTLS
	WebCache GlobalCache
	Sessions SessionCaches
}

// TrafficIPGroup is an entry of traffic_ip_groups.
type TrafficIPGroup struct {
	Enabled     bool
	IPAddresses []string // IPv4 or IPv6 addresses in text
	Machines    []string // names of traffic managers
	Slaves      []string // of these, those that host nothing while others work
	// Raise are those of IPAddresses that this machine raises, as its cluster has
	// decided; nil: it decides by Machines and Slaves alone, as one on its own.
	Raise []string
}

// VirtualServer is an entry of virtual_servers. The comments name section and
// key where that is not the field's name in basic.
type VirtualServer struct {
	Enabled  bool
	Port     int
	Protocol string // of the schema's enumeration; see modeOf
	Pool     string // default pool; "discard" drops the connection

	ListenOnAny        bool
	ListenOnTrafficIPs []string // names of Traffic IP Groups
	ListenOnHosts      []string // addresses of this machine

	// Names in their order; a leading '/' means that the use is disabled.
	RequestRules  []string
	ResponseRules []string
	// CompletionRules run when a transaction has ended.
	CompletionRules []string
	// ServiceLevelClass counts the response times (slm_class).
	ServiceLevelClass string
	// Whether requests are written down at all, and all that no rule decides about:
	// log!enabled or syslog!enabled, log!save_all; recent_connections!enabled,
	// !save_all. Rules see it; nothing is written.
	RequestLog, RequestLogAll               bool
	RecentConnections, RecentConnectionsAll bool
	RulesOnConnect                          bool // client_first: request rules do not wait for data

	MaxConcurrentConnections int    // 0: no limit
	ProtectionClass          string // "": none

	// PROXY protocol from clients: a connection that does not begin with its
	// header is dropped, or taken as it is if that is optional.
	ProxyProtocol         bool
	ProxyProtocolOptional bool

	// Durations; 0 means no limit.
	ConnectTimeout         time.Duration // until complete request headers
	Timeout                time.Duration // connection!timeout: no data
	Keepalive              bool          // connection!keepalive
	KeepaliveTimeout       time.Duration // connection!keepalive_timeout
	MaxTransactionDuration time.Duration // connection!max_transaction_duration

	// MaxClientBuffer bounds in bytes the request headers, and how much of a
	// request's body is kept so that it can be sent again to another node
	// (connection!max_client_buffer).
	MaxClientBuffer int

	AddClusterIP          bool   // http!add_cluster_ip: X-Cluster-Client-Ip
	AddXForwardedFor      bool   // http!add_x_forwarded_for
	AddXForwardedProto    bool   // http!add_x_forwarded_proto
	StripXForwardedProto  bool   // http!strip_x_forwarded_proto
	AutodetectUpgrade     bool   // http!autodetect_upgrade_headers
	LocationRewrite       string // http!location_rewrite: always, if_host_matches, never
	LocationRegex         string // http!location_regex, http!location_replace
	LocationReplace       string
	UpgradeProtocols      []string // http!auto_upgrade_protocols; none: all
	MimeDetect            bool     // http!mime_detect
	MimeDefault           string   // http!mime_default
	ErrorFile             string   // connection_errors!error_file: "Default" or an extra file
	ServerFirstBanner     string   // connection!server_first_banner
	Nagle                 bool     // tcp!nagle
	CloseWithRST          bool     // tcp!close_with_rst
	ProxyClose            bool     // tcp!proxy_close: a client's FIN is passed on
	LogClientFailures     bool     // log!client_connection_failures
	LogServerFailures     bool     // log!server_connection_failures
	LogSSLFailures        bool     // log!ssl_failures
	HTTP2                 HTTP2
	TLS                   ServerTLS
	Gzip                  Gzip
	WebCache              WebCache
	Cookie                Cookie
	UDP                   UDP
	SSLDecrypt            bool   // basic!ssl_decrypt
	ServerCertDefault     string // ssl!server_cert_default: name of a server key
	ServerCertAlt         []string
	ServerCertHostMapping []HostMapping
}

// HostMapping is a row of ssl!server_cert_host_mapping.
type HostMapping struct {
	Host            string // exact name, "*.suffix", or an IP address
	Certificate     string // name of a server key
	AltCertificates []string
}

// Rule is an entry of rules: the source text of a rule or a rule library.
type Rule struct {
	Source string
}

// ServerKey is an entry of ssl/server_keys, PEM. Public may be a chain.
type ServerKey struct {
	Public  string
	Private string
}

// Event is something that happened, as a traffic manager's event log tells it.
type Event struct {
	Level   string   // INFO, WARN, SERIOUS, FATAL
	Section string   // "vservers/web", "pools/app", "rules/route", "nodes/10.0.0.1:80"
	Tag     string   // primary tag, "vsstart"
	More    []string // further tags
	Text    string
}
