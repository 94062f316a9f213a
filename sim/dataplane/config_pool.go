package dataplane

import "time"

// Pool is an entry of pools. The comments name section and key where that is not
// the field's name in basic.
type Pool struct {
	Nodes []Node
	// Algorithm as in load_balancing!algorithm.
	Algorithm string
	// PriorityEnabled: requests go to the nodes of the highest priorities, as many
	// as it takes to have PriorityNodes working ones (load_balancing!priority_*).
	PriorityEnabled  bool
	PriorityNodes    int
	FailurePool      string
	Monitors         []string
	PersistenceClass string // "": none

	PassiveMonitoring      bool
	NodeConnectionAttempts int           // failures in a row that fail a node, 1..100
	NodeRetryFailTime      time.Duration // node!retry_fail_time
	CloseOnDeath           bool          // node!close_on_death: cut connections to a node that fails

	MaxConnectionAttempts         int           // nodes tried for a request; 0: all
	MaxTimedOutConnectionAttempts int           // tries that got no reply in time; 0: any number
	MaxConnectTime                time.Duration // connection!max_connect_time
	MaxReplyTime                  time.Duration // connection!max_reply_time: start of response

	// Limits of requests under way on a node of this machine; 0: none. Further ones
	// wait (connection!max_connections_per_node, connection!max_transactions_per_node).
	MaxConnectionsPerNode  int
	MaxTransactionsPerNode int
	MaxQueueSize           int           // connection!max_queue_size, 0: any number wait
	QueueTimeout           time.Duration // connection!queue_timeout, 0: for any time

	Keepalive              bool // http!keepalive
	KeepaliveNonIdempotent bool // http!keepalive_non_idempotent
	MaxIdlePerNode         int  // max_idle_connections_pernode; 0: no limit
	CloseWithRST           bool // node_close_with_rst

	UDPResponseTimeout time.Duration // udp!response_timeout: a node that takes longer failed a try; 0: none does
	// UDPAcceptFrom is udp!accept_from: whose datagrams are answers. "dest_only", or
	// nothing: those of the node's address and port; "dest_ip_only": of any port of the
	// node; "ip_mask": of UDPAcceptMask, a network in CIDR form or with a mask; "all".
	UDPAcceptFrom, UDPAcceptMask string

	// DeleteDrain: a removed node goes on with what it serves
	// (node_delete_behavior "drain"); otherwise its connections end at once.
	DeleteDrain bool
	// DrainTimeout bounds that (node_drain_to_delete_timeout); 0: no bound.
	DrainTimeout time.Duration

	TLS NodeTLS
}

// NodeTLS is the section ssl of a pool.
type NodeTLS struct {
	Enabled bool // enable
	// StrictVerify: the node's certificate must be valid, issued by an authority of
	// the catalog, and name the node or one of CommonNames (strict_verify,
	// common_name_match). Otherwise any certificate will do.
	StrictVerify bool
	CommonNames  []string
	ServerName   bool // server_name: send SNI
	// ClientAuth: a node that asks for a certificate gets one of the catalog:
	// FixedCertificate if that is set, else one that its authorities accept
	// (client_auth, ssl_fixed_client_certificate).
	ClientAuth       bool
	FixedCertificate string
	SendCloseAlerts  bool // send_close_alerts
	// Versions as in support_tls1 to support_tls1_3: "use_default", "enabled" or
	// "disabled", for TLS 1.0 to 1.3.
	Versions     [4]string
	CipherSuites string   // cipher_suites; "": the global ones
	Curves       []string // elliptic_curves; none: the global ones
	// SessionCache and Tickets are "use_default", "enabled" or "disabled"
	// (session_cache_enabled, session_tickets_enabled).
	SessionCache string
	Tickets      string
}

// Node is a row of a pool's nodes_table.
type Node struct {
	Address  string // "host:port", IPv6 as "[::1]:80"
	State    string // "active", "draining", "disabled"
	Weight   int    // 1..100
	Priority int    // the higher, the sooner
}

// Persistence is an entry of persistence.
type Persistence struct {
	Type        string // of the schema's enumeration
	Cookie      string // type cookie: the application's cookie
	Delete      bool   // a session whose node is gone is forgotten
	FailureMode string // "new_node", "close", "url"
	URL         string
	PrefixV4    int  // subnet_prefix_length_v4; 0: each address on its own
	PrefixV6    int  // subnet_prefix_length_v6
	AlwaysSet   bool // transparent_always_set_cookie
	// Directives are appended to a transparent cookie (transparent_directives),
	// with the semicolon before the first.
	Directives string
}

// SessionCaches are the keys of global_settings, section session: how many
// sessions each cache holds, and after what time without a request one is
// forgotten (0: never).
type SessionCaches struct {
	IPSize, UniversalSize, J2EESize, ASPSize, SSLSize int
	IPExpiry, UniversalExpiry, J2EEExpiry             time.Duration
}

// Monitor is an entry of monitors. Types sip and rtsp are not carried out: what
// they watch counts as working.
type Monitor struct {
	Type     string // of the schema's enumeration; ping is carried out as a TCP connection
	Delay    time.Duration
	Timeout  time.Duration
	Failures int
	BackOff  bool
	Scope    string // "pernode", "poolwide"
	Machine  string // poolwide: "host:port" that is asked
	UseSSL   bool
	Verbose  bool // every test is told in the event log

	Path          string // http!path
	HostHeader    string
	StatusRegex   string
	BodyRegex     string
	Authorization string // http!authentication: "user:password"

	WriteString    string // tcp!write_string, with escapes such as \r\n
	ResponseRegex  string // tcp!response_regex
	CloseString    string // tcp!close_string, with escapes
	MaxResponseLen int    // tcp!max_response_len in bytes; 0: no limit

	Program   string // script!program: name of a monitor script
	Arguments []ProgramArgument
}

// ProgramArgument is a row of a monitor's script!arguments.
type ProgramArgument struct{ Name, Value string }

// Protection is an entry of protection: a service protection class. Zero means
// no limit.
type Protection struct {
	Enabled bool
	Testing bool          // tell what would be refused, and refuse nothing
	LogTime time.Duration // least time between two lines of a kind; 0: no lines
	Rule    string        // run before the virtual server's rules

	// Addresses, subnets in CIDR form or with a mask, or "all"
	// (access_restriction!allowed, access_restriction!banned).
	Allowed []string
	Banned  []string

	Max1, Max10, MinConnections int // concurrent_connections!max_1_connections and so on
	// PerProcess: concurrent_connections!per_process_connection_count; an emulated
	// traffic manager is one process.
	PerProcess bool

	MaxRate   int           // connection_rate!max_connection_rate: connections in RateTimer
	RateTimer time.Duration // connection_rate!rate_timer

	CheckRFC2396     bool // http!check_rfc2396
	RejectBinary     bool // http!reject_binary
	SendErrorPage    bool // http!send_error_page: answer instead of closing
	MaxBodyLength    int  // http!max_body_length, in bytes, as those below
	MaxHeaderLength  int  // one header, name and value
	MaxRequestLength int  // all headers
	MaxURLLength     int
}
