package trafficscript

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"time"
)

// Host is what surrounds a running rule: the data plane, for one transaction.
// A Host is used by one goroutine at a time.
type Host interface {
	// Transaction returns what the rule reads and changes. It returns the same
	// value for the whole run.
	Transaction() *Transaction

	// RequestBody waits for the first max bytes of the request's body and
	// returns them; less when the body is shorter. max 0 means all of it. What
	// was read is still sent to the node. An error aborts the rule.
	RequestBody(ctx context.Context, max int) (string, error)

	// ResponseBody does the same for the node's response, without its transfer
	// and content encoding. It is called in response rules alone.
	ResponseBody(ctx context.Context, max int) (string, error)

	// PoolNodes returns the nodes of a pool, sorted by address, and false if
	// there is no pool of this name.
	PoolNodes(pool string) ([]PoolNode, bool)

	// Log writes to the event log.
	Log(Event)

	// Now returns the time.
	Now() time.Time

	// Random returns the next number of the transaction's random source, all
	// 64 bits of it.
	Random() uint64

	// Sleep returns after d, or with an error as soon as ctx is done.
	Sleep(ctx context.Context, d time.Duration) error

	// Waiting is called before the rule waits for anything, so that the Host can
	// see to it that the wait ends with the time-out of the connection.
	Waiting()
}

// Phase tells when a rule runs.
type Phase uint8

const (
	RequestPhase    Phase = iota // after the request's headers, before load balancing
	ResponsePhase                // after the response's headers
	CompletionPhase              // after the transaction
)

// String returns the phase as rule.getState does: REQUEST, RESPONSE or
// COMPLETION.
func (p Phase) String() string {
	switch p {
	case ResponsePhase:
		return "RESPONSE"
	case CompletionPhase:
		return "COMPLETION"
	}
	return "REQUEST"
}

// Transaction is one request with its response, as a rule sees it. The Host
// fills it before the first rule, changes Phase and Response in between, and
// reads the decisions after each rule. Strings hold bytes.
type Transaction struct {
	// Facts. Rules do not change them.

	Phase         Phase
	VirtualServer string         // its name
	Remote        netip.AddrPort // the client
	Local         netip.AddrPort // the address the client connected to, here
	Dest          netip.AddrPort // the same before address translation; invalid: equal to Local
	TLS           *TLS           // nil on a plain connection
	DefaultPool   string         // the virtual server's pool
	Node          string         // "ip:port" of the node that serves; "" in request rules
	NodeLocal     netip.AddrPort // the address from which the node is connected to; invalid: not connected
	NodeTLS       bool           // the connection to the node is encrypted
	Retries       int            // how often the request was sent again so far
	Resendable    bool           // request.isResendable, request.retry: the whole request can be sent again

	MaxDuration  time.Duration // the virtual server's max_transaction_duration; 0: none
	Started      time.Time     // when the client's first byte came; zero: not known
	QueueTime    time.Duration // spent waiting for a connection to a node
	ResponseTime time.Duration // from the request's first byte to the response's headers; 0: no response
	Completion   string        // completion rules: why the transaction ended, as connection.getCompletionReasonCode says; "": COMPLETE

	Machine *Machine // nil: a machine that knows nothing

	// The messages. Rules change them in place, each in its own phase; the Host
	// sends on what it finds here.

	Request  *Request
	Response *Response // nil in request rules

	// Stores, shared between transactions. nil ones hold nothing.

	Data           *Store // data.*: of the traffic manager
	LocalData      *Store // data.local.*
	ConnectionData *Store // connection.data.*: of the connection

	// What generic protocols carry instead of Request and Response, which are
	// then empty but not nil; nil for HTTP.

	ClientData *Data // request.get and its like
	ServerData *Data // response.get and its like; nil in request rules

	// Ways to the client and to others while the rule runs. nil: there is none.

	Streamer Streamer // http.stream.*
	Cache    Cache    // http.cache.exists, http.cache.respondIfCached
	Sockets  *Sockets // tcp.*: those of the client's connection

	// Decisions. Their zero value means that no rule decided. The Host acts on
	// Answer, Close, Discard, FromCache and Streamed when Run returns Decided; the
	// others stay until changed.

	Pool            string           // pool.use, pool.select: always a pool that PoolNodes knows, or "discard"
	PoolNode        netip.AddrPort   // pool.use, pool.select with host and port: this machine, with the pool's settings
	Persistence     string           // persistence class instead of the pool's; "": the pool's
	PersistenceKey  string           // key for universal persistence
	PersistenceNode string           // "host:port" for named node persistence
	SourceIP        netip.Addr       // request.setRemoteIP: for logs and transparency; invalid: Remote's
	Idempotent      *bool            // whether a failed try may go to another node; nil: by method
	Overrides       Overrides        // limits for this transaction alone
	Answer          *Answer          // send this to the client instead of asking a node
	SetCookies      []string         // http.setResponseCookie in request rules: Set-Cookie values to add to the response, whichever it will be
	Interim         []string         // request.sendResponse: raw bytes to the client, before anything else
	Close           *string          // connection.close: send these bytes, then close; nil: no
	Discard         bool             // connection.discard, pool.use("discard"): close without a word
	Retry           bool             // request.retry: balance and send the request again
	Excluded        []netip.AddrPort // request.avoidNode: nodes not to use
	FromCache       bool             // http.cache.respondIfCached: Cache has the answer
	Streamed        StreamEnd        // http.stream.finishResponse, http.stream.continueFromBackend
	Compress        *bool            // http.compress.enable, .disable; nil: as the virtual server is set
	NoCache         bool             // http.cache.disable: neither look up nor store
	CacheKey        string           // http.cache.setkey: further part of the cache's key
	NodeServerName  string           // ssl.setTLSServerName: SNI towards the node; "": the pool's

	RequestQuality  Quality // of the traffic to the node
	ResponseQuality Quality // of the traffic to the client
	Kerberos        Kerberos

	streaming streaming

	// Facts that rules may change. The Host fills them before the first rule.

	NodeCloseAlert    bool   // whether the node gets a TLS close alert
	ServiceLevelClass string // a class that Machine knows; "" for none
	RequestLog        Marking
	RecentConnections Marking
}

// Marking is whether a transaction will be written down when it ends.
type Marking struct {
	Enabled bool // the virtual server keeps such a record at all
	Marked  bool // this transaction is for it
}

// Overrides are limits that a rule set for its transaction; zero means the pool's
// or the virtual server's own setting.
type Overrides struct {
	MaxReplyTime           time.Duration
	MaxTransactionDuration time.Duration
	Timeout                time.Duration // the virtual server's idle time-out
	MaxConnectionAttempts  int
	MaxTimedOutAttempts    int
}

// Request is the client's request.
type Request struct {
	Method string      // "GET"
	Target string      // as on the request line: "/a%20b?x=1", or absolute
	Proto  string      // "HTTP/1.1"; "" for HTTP/0.9
	Host   string      // the Host header's value, not in Header
	Header http.Header // canonical names
	Body   *string     // replaces the body; nil: the body as it comes
}

// Response is the node's response.
type Response struct {
	Proto  string      // "HTTP/1.1"
	Code   int         // 100 to 999
	Reason string      // "Not Found"; "" for the code's usual one
	Header http.Header // canonical names
	Body   *string     // replaces the body; nil: the body as it comes. Content-Length and Content-Encoding are already right in Header
}

// Answer is a response made by a rule.
type Answer struct {
	Code   int
	Reason string      // "" for the code's usual one
	Header http.Header // canonical names; Content-Type is among them, Content-Length is not
	Body   string
}

// TLS holds facts about the client's TLS connection.
type TLS struct {
	ServerName string // asked for by SNI; "" when none
	SiteName   string // the certificate mapping that matched; "" when the default certificate was used
	CertName   string // name of the server key in use
	SessionID  string
	Cipher     string

	// PassedThrough: TLS is not taken off here; ServerName and SessionID are those
	// of the ClientHello, and nothing else is known.
	PassedThrough bool

	CloseAlert bool // whether the client gets a close alert; rules may change it

	ServerCert  *x509.Certificate   // the certificate in use; nil: not known
	ClientChain []*x509.Certificate // what the client showed and was verified, its own first
}

// PoolNode is a node of a pool and its state.
type PoolNode struct {
	Address string // "ip:port"
	State   NodeState
}

// NodeState is whether a node gets requests.
type NodeState uint8

const (
	NodeActive   NodeState = iota // gets requests
	NodeFailed                    // a monitor or a request found it dead
	NodeDraining                  // gets requests of known sessions alone
	NodeDisabled                  // gets none
)

// Level is the severity of an event log line.
type Level uint8

const (
	LevelInfo    Level = iota // INFO
	LevelWarn                 // WARN
	LevelSerious              // SERIOUS
)

// String returns the level as the event log spells it.
func (l Level) String() string {
	switch l {
	case LevelWarn:
		return "WARN"
	case LevelSerious:
		return "SERIOUS"
	}
	return "INFO"
}

// Event is a line for the event log.
type Event struct {
	Level   Level
	Tag     string // the event's tag in section "rules": "rulelogmsginfo", "pooluseunknown", "ruleabort"…
	Rule    string // name of the rule
	Line    int    // where, from 1; in an imported library the library's line
	Message string // one line of text; already names rule and line where the traffic manager's does
}
