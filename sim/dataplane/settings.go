package dataplane

import "time"

// What a virtual server does with its protocol, in sections as the REST API has
// them. The zero values are those of a section that nothing was set in, except
// where a comment says otherwise; "" in an enumeration is its default.

// HTTP2 is section http2 of a virtual server. Those that are not here are stored
// only: Go's server decides itself about frame sizes that it sends, about
// indexing and about padding.
type HTTP2 struct {
	Enabled              bool // negotiated by ALPN, over TLS alone
	ConnectTimeout       time.Duration
	MaxConcurrentStreams int
	HeaderTableSize      int // bytes
	MaxFrameSize         int // bytes, 16384 to 16777215
	HeadersSizeLimit     int // bytes; 0: the traffic manager's own limit
	StreamWindowSize     int // bytes
	IdleNoStreams        time.Duration
	IdleOpenStreams      time.Duration
}

// ServerTLS is what section ssl of a virtual server says beyond certificates.
// The switches are "enabled", "disabled" or "use_default".
type ServerTLS struct {
	TLS10, TLS11, TLS12, TLS13 string
	Tickets                    string   // session_tickets_enabled
	CipherSuites               string   // names, separated by spaces, commas or colons; "": the global ones
	Curves                     []string // P256, P384, P521; none: the global ones

	ClientCert  string   // request_client_cert: dont_request, request, require
	ClientCAs   []string // names of certificate authorities; none: all certificates are accepted
	CertHeaders string   // client_cert_headers: none, simple, all
	CASites     []CASite

	AddHeaders      bool // add_http_headers
	SendCloseAlerts bool
}

// CASite is a row of ssl!ca_sites: what is asked of clients of one host or
// address.
type CASite struct {
	Host        string
	ClientCAs   []string
	RequestCert string
	CertHeaders string
}

// Gzip is section gzip of a virtual server.
type Gzip struct {
	Enabled     bool
	Level       int      // 1..9; 0: 1
	IncludeMime []string // "text/html" or "text/*"
	MinSize     int      // bytes
	MaxSize     int      // bytes; 0: no limit
	NoSize      bool     // responses of unknown length too
	ETag        string   // etag_rewrite: wrap, weaken, delete, ignore
}

// WebCache is section web_cache of a virtual server.
type WebCache struct {
	Enabled       bool
	ControlOut    string // the Cache-Control header of every cached response; "": as it came
	MaxTime       time.Duration
	ErrorPageTime time.Duration
	RefreshTime   time.Duration
}

// Cookie is section cookie of a virtual server: what becomes of cookies that
// nodes set.
type Cookie struct {
	Domain      string // no_rewrite, set_to_named, set_to_request
	NewDomain   string
	PathRegex   string
	PathReplace string
	Secure      string // no_modify, set_secure, unset_secure
}

// UDP is section udp of a virtual server.
type UDP struct {
	EndPointPersistence bool // a client's datagrams of one session go to one node
	Responses           int  // response_datagrams_expected; -1: until Timeout
	Timeout             time.Duration
}

// GlobalTLS is what section ssl of the global settings says of clients' TLS.
type GlobalTLS struct {
	TLS10, TLS11, TLS12, TLS13 bool
	Tickets                    bool
	CipherSuites               string
	Curves                     []string
}

// GlobalCache is section web_cache of the global settings.
type GlobalCache struct {
	Size           string // "20%" of 1 GiB, "100MB": of all contents
	MaxFileSize    string // of one response; a percentage is of Size
	MaxFiles       int
	NormalizeQuery bool // a=1&b=2 is the same as b=2&a=1
}

// File is an uploaded file: an entry of extra_files or of ssl/cas.
type File struct {
	Content  string
	Modified time.Time // resource.getMTime
}

// TicketKey is an entry of ssl/ticket_keys.
type TicketKey struct {
	Key   string // as uploaded; what is used is a hash of it
	Begin time.Time
	End   time.Time
}

// defaultGlobal are the schema's defaults.
func defaultGlobal() *Global {
	return &Global{
		IdleTimeout: 10 * time.Second, MaxInstructions: 100_000,
		TLS:      GlobalTLS{TLS10: true, TLS11: true, TLS12: true, TLS13: true, Tickets: true},
		Sessions: defaultSessionCaches,
		WebCache: GlobalCache{Size: "20%", MaxFileSize: "2%", MaxFiles: 10000, NormalizeQuery: true},
	}
}
