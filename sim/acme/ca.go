package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"vtm-ingress/internal/outside"
)

// CAOptions for StartCA.
type CAOptions struct {
	World outside.World
	Log   *slog.Logger
	// Address of the directory, as "127.3.0.3:14000".
	Address string
	// Resolve says where a host is; none: there is no such name.
	Resolve func(host string) []netip.Addr
	// Text are the TXT records of a name; nil: there are none.
	Text func(name string) []string
	// Dial connects to such an address, as somebody on the internet does.
	Dial func(ctx context.Context, actor string, address netip.AddrPort) (net.Conn, error)
	// Profiles are the lifetimes of certificates, by profile; none: 90 days, as
	// profile "default".
	Profiles map[string]time.Duration
	// ExternalAccounts, if any, are required of new accounts: base64url HMAC keys by
	// key identifier (RFC 8555, section 7.3.4).
	ExternalAccounts map[string]string
}

// CA is a small certificate authority for simulation: clock, network and
// randomness come from its World, it has no goroutine but those of its
// connections, it looks at a challenge before it answers the request that asks for
// that, and it refuses a nonce only if told so. What it knows is lost with it.
type CA struct {
	*Server
	o      CAOptions
	random io.Reader

	root, intermediate       *x509.Certificate
	rootKey, intermediateKey *ecdsa.PrivateKey
	// other certifies the intermediate too: certificates have two chains.
	other, crossed *x509.Certificate

	mu             sync.Mutex // guards all below; never held over a wait
	counter        int
	nonces         map[string]bool
	accounts       map[string]*account // by URL path
	orders         map[string]*order
	authorizations map[string]*authorization
	certificates   map[string]*issued // by URL path
	bySerial       map[string]*issued
	refusals       []*Refusal
	blocked        map[string]bool
	asked          map[string]int // requests so far, by what Refusal.Request calls them
}

type account struct {
	path    string
	key     *jose.JSONWebKey
	contact []string
	valid   bool
}

// Refusal is a fault of the CA: requests that it refuses with a problem document.
type Refusal struct {
	// Request is which: "newNonce", "newAccount", "newOrder", "authorization",
	// "challenge", "finalize", "order", "certificate", "renewalInfo", "directory"; or
	// "any".
	Request string
	// Problem is the last part of the type, as "rateLimited" or "serverInternal"
	// (RFC 8555, section 6.7).
	Problem string
	// Detail is the problem's text; empty: one that says that it was told to.
	Detail string
	// Status is the HTTP status; 0: the one that fits the problem.
	Status int
	// RetryAfter, if set, is sent with it, in whole seconds.
	RetryAfter time.Duration
	// Garbage: HTML with status 200 instead of a problem.
	Garbage bool
	// Times is how often; 0: until Refuse is called without any.
	Times int
}

// StartCA serves until Close.
func StartCA(o CAOptions) (*CA, error) {
	if len(o.Profiles) == 0 {
		o.Profiles = map[string]time.Duration{DefaultProfile: 90 * 24 * time.Hour}
	}
	if o.Text == nil {
		o.Text = func(string) []string { return nil }
	}
	ca := &CA{
		o: o, random: o.World.Rand("acme/ca"),
		nonces: map[string]bool{}, accounts: map[string]*account{}, orders: map[string]*order{},
		authorizations: map[string]*authorization{}, certificates: map[string]*issued{}, bySerial: map[string]*issued{},
		blocked: map[string]bool{}, asked: map[string]int{},
	}
	if err := ca.makeChain(); err != nil {
		return nil, fmt.Errorf("ACME server at %s: %w", o.Address, err)
	}
	var err error
	ca.Server, err = serve(o.World, o.Log, "acme", o.Address, "/directory", ca.handler())
	if err != nil {
		return nil, err
	}
	ca.roots = func() []byte { return append(toPEM(ca.root.Raw), toPEM(ca.other.Raw)...) }
	return ca, nil
}

// Refuse replaces the faults; without any it is well again.
func (ca *CA) Refuse(refusals ...Refusal) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.refusals = nil
	for _, r := range refusals {
		ca.refusals = append(ca.refusals, &r)
	}
}

// Block makes the CA issue nothing for a domain; it is rejectedIdentifier.
func (ca *CA) Block(domain string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.blocked[domain] = true
}

// Issued counts the certificates that were issued so far.
func (ca *CA) Issued() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.certificates)
}

// Asked counts the requests of a kind so far, as Refusal.Request names them.
func (ca *CA) Asked(request string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.asked[request]
}

// Replaced counts the certificates that another one has replaced (RFC 9773).
func (ca *CA) Replaced() (n int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, c := range ca.certificates {
		if c.replaced {
			n++
		}
	}
	return n
}

// ForgetAccounts makes the CA forget all accounts, with their orders.
func (ca *CA) ForgetAccounts() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	clear(ca.accounts)
	clear(ca.orders)
	clear(ca.authorizations)
}

// SuggestRenewal sets the window that renewal information gives for a certificate
// (RFC 9773, section 4.2), by its serial number.
func (ca *CA) SuggestRenewal(serial *big.Int, start, end time.Time) error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c := ca.bySerial[string(serial.Bytes())]
	if c == nil {
		return fmt.Errorf("no certificate has the serial number %x", serial)
	}
	c.window = &window{Start: start, End: end}
	return nil
}

// refusal is the fault that this request meets, if any.
func (ca *CA) refusal(request string) *Refusal {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.asked[request]++
	for i, r := range ca.refusals {
		if r.Request != request && r.Request != "any" {
			continue
		}
		if r.Times > 0 {
			if r.Times--; r.Times == 0 {
				ca.refusals = append(ca.refusals[:i:i], ca.refusals[i+1:]...)
			}
		}
		return r
	}
	return nil
}

// name gives each object a number of its own.
func (ca *CA) name() int {
	ca.counter++
	return ca.counter
}
