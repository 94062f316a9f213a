package acme

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"vtm-ingress/internal/outside"
)

// DefaultProfile is the one of an order that names none, where there are several.
const DefaultProfile = "default"

// PebbleOptions for StartPebble.
type PebbleOptions struct {
	World outside.World
	Log   *slog.Logger
	// Address of the directory, as "127.3.0.3:14000".
	Address string
	// Resolver is the DNS server (TCP) that says where hosts are, as "127.3.0.2:53".
	// The addresses it gives are dialled as they are.
	Resolver string
	// HTTPPort is where HTTP-01 looks; 80 unless that can't be bound.
	HTTPPort int
	// Profiles are the lifetimes of certificates by profile; none: 90 days, as
	// profile "default".
	Profiles map[string]time.Duration
	// BadNonces is how many of a hundred good nonces are refused; Pebble's own
	// default is 5.
	BadNonces int
	// ValidationDelay lets each look at a challenge wait up to that long, in whole
	// seconds; 0: none. Authorizations are reused never, so that each order is judged.
	ValidationDelay time.Duration
	// PollAfter is what it asks clients for by Retry-After before they look again at an
	// order or authorization, in whole seconds; 0: it asks for nothing.
	PollAfter time.Duration
	// ExternalAccounts, if any, are required of new accounts: base64url HMAC keys by
	// key identifier (RFC 8555, section 7.3.4).
	ExternalAccounts map[string]string
	// Blocked are domains for which nothing is issued.
	Blocked []string
}

// Pebble is a Server whose certificates can be looked into.
type Pebble struct {
	*Server
	db *db.MemoryStore
}

// StartPebble runs Pebble in this process. It reads some of its settings from the
// environment when it starts, which are set for the whole process: don't start two
// with different delays at the same moment. It holds one goroutine for ever.
func StartPebble(o PebbleOptions) (*Pebble, error) {
	logger := log.New(io.Discard, "", 0)
	if o.Log.Enabled(context.Background(), slog.LevelDebug) {
		logger = slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)
	}
	sleep := map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_SLEEPTIME": ""}
	if seconds := int(o.ValidationDelay / time.Second); seconds > 0 {
		sleep = map[string]string{"PEBBLE_VA_NOSLEEP": "", "PEBBLE_VA_SLEEPTIME": strconv.Itoa(seconds)}
	}
	sleep["PEBBLE_WFE_NONCEREJECT"] = strconv.Itoa(o.BadNonces)
	sleep["PEBBLE_AUTHZREUSE"] = "0"
	for name, value := range sleep {
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("pebble: %w", err)
		}
	}
	profiles := map[string]ca.Profile{}
	for name, life := range o.Profiles {
		profiles[name] = ca.Profile{Description: life.String() + " of life", ValidityPeriod: uint64(life / time.Second)}
	}
	if len(profiles) == 0 {
		profiles[DefaultProfile] = ca.Profile{Description: "90 days of life"}
	}
	store := db.NewMemoryStore()
	for id, key := range o.ExternalAccounts {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			return nil, fmt.Errorf("pebble: external account %q: %w", id, err)
		}
	}
	for _, domain := range o.Blocked {
		if err := store.AddBlockedDomain(domain); err != nil {
			return nil, fmt.Errorf("pebble: blocked domain %q: %w", domain, err)
		}
	}
	if o.HTTPPort == 0 {
		o.HTTPPort = 80
	}
	poll := int(o.PollAfter / time.Second)
	authority := ca.New(logger, store, "", "ecdsa", 1, 1, profiles)
	front := wfe.New(logger, store, va.New(logger, o.HTTPPort, 443, false, o.Resolver, store), authority,
		[]string{"sandbox.invalid"}, false, len(o.ExternalAccounts) > 0, poll, poll)
	s, err := serve(o.World, o.Log, "acme", o.Address, wfe.DirectoryPath, oneAtATime(front.Handler()))
	if err != nil {
		return nil, err
	}
	s.roots = func() []byte {
		return append(authority.GetRootCert(0).PEM(), authority.GetRootCert(1).PEM()...)
	}
	return &Pebble{Server: s, db: store}, nil
}

// oneAtATime is handler for one request after the other: two at a time may wait for each
// other for ever. Pebble holds its store's lock while it waits for an authorization's to
// make an order, and the other way round to show an authorization.
func oneAtATime(handler http.Handler) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Before, so that nobody waits for a client that sends slowly.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		defer mu.Unlock()
		handler.ServeHTTP(w, r)
	})
}

// SuggestRenewal sets the window that renewal information gives for a certificate
// (RFC 9773, section 4.2), by its serial number.
func (p *Pebble) SuggestRenewal(serial *big.Int, start, end time.Time) error {
	return p.db.SetARIResponse(serial, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`,
		start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339)))
}
