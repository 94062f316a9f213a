package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

// MinimumVersion is the oldest Kubernetes that works (specification, section
// Prerequisites): it is the first with Ingress in networking.k8s.io/v1.
const MinimumVersion = "1.19"

// TooOldError says that the cluster's Kubernetes is older than MinimumVersion.
type TooOldError struct {
	Version string // as the API server says it, e.g. "v1.18.20"
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("Kubernetes %s is too old: version %s is the minimum", e.Version, MinimumVersion)
}

// UnavailableError says that the Kubernetes API server doesn't give what it was
// asked for. What it told before stays valid.
type UnavailableError struct {
	Host string // of the API server
	What string // what was asked, e.g. "list ingresses"
	Err  error
}

func (e *UnavailableError) Error() string {
	remedy := ""
	switch {
	case apierrors.IsUnauthorized(e.Err):
		remedy = ": is the token or certificate still valid?"
	case apierrors.IsForbidden(e.Err):
		remedy = ": grant the controller's user that right"
	}
	cause := e.Err
	if wrapped := (*url.Error)(nil); errors.As(cause, &wrapped) {
		cause = wrapped.Err // the rest repeats what is said here
	}
	return fmt.Sprintf("Kubernetes API server %s, %s: %v%s", e.Host, e.What, cause, remedy)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// repeatAfter is how often a problem that stays is told again.
const repeatAfter = 10 * time.Minute

// health tells problems with the API server: each once, and again after a while,
// though many requests fail for one reason.
type health struct {
	log   *slog.Logger
	clock clock.PassiveClock
	host  string

	mu      sync.Mutex
	failing map[string]error     // by who failed: a resource, or cluster
	heard   map[string]time.Time // by who got an answer or an object last
	told    map[string]time.Time // by kind of problem
}

func newHealth(log *slog.Logger, clock clock.PassiveClock, host string) *health {
	return &health{log: log, clock: clock, host: host, failing: map[string]error{}, heard: map[string]time.Time{}, told: map[string]time.Time{}}
}

// failed notes that who could not do what it wanted, e.g. "list ingresses".
func (h *health) failed(who, what string, err error) {
	kind := "no answer"
	var status apierrors.APIStatus
	var old *TooOldError
	switch {
	case errors.As(err, &old):
		kind = "too old"
	case errors.As(err, &status):
		kind = fmt.Sprint(who, status.Status().Code, status.Status().Reason)
		err = &UnavailableError{h.host, what, err}
	default:
		err = &UnavailableError{h.host, what, err}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing[who] = err
	now := h.clock.Now()
	if at, ok := h.told[kind]; ok && now.Sub(at) < repeatAfter {
		return
	}
	h.told[kind] = now
	h.log.Error(err.Error() + "; what is served stays as it is, and it is tried again")
}

// worked notes that who got an answer, and says whether it had failed before.
func (h *health) worked(who string) (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard[who] = h.clock.Now()
	if _, ok := h.failing[who]; !ok {
		return false
	}
	delete(h.failing, who)
	if len(h.failing) == 0 {
		clear(h.told)
		h.log.Warn("Kubernetes API server " + h.host + " can be used again")
	}
	return true
}

// hear notes that an object came for who.
func (h *health) hear(who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard[who] = h.clock.Now()
}

// err is one of the present problems, nil if there is none.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, who := range slices.Sorted(maps.Keys(h.failing)) {
		return h.failing[who]
	}
	return nil
}
