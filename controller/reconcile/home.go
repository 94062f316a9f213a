package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// HomeOptions for NewHome.
type HomeOptions struct {
	World outside.World
	Log   *slog.Logger
	Actor string
	// Client of the instance's own traffic manager alone. Home is its only user.
	Client *vtm.Client
	// Others says that the cluster has other members.
	Others bool
	// Every is the distance of looks while all is as it was, Retry while it is not, and
	// Moment how long it must be otherwise before that counts.
	Every, Retry, Moment time.Duration
	// Busy says that a change made through that member may not have been replicated: it
	// is not asked then, since replication waits for a pause in requests.
	Busy func(endpoint string) bool
	// Judge is told at first, and when it changes, whether the traffic manager is healthy
	// and in the cluster.
	Judge func(fit bool)
}

// Home looks after the instance's own traffic manager.
type Home struct {
	o    HomeOptions
	uuid string // of Run's goroutine alone, as name
	name string // the member's, in the cluster; "": not known yet

	mu      sync.Mutex
	fitness fitness
	err     error // what the last look found wrong
}

// NewHome makes a Home; Run makes it look.
func NewHome(o HomeOptions) *Home {
	return &Home{o: o, fitness: fitness{moment: o.Moment}}
}

// Endpoint is the REST URL of the own traffic manager while that is healthy and in the
// cluster; "" while it is not, or that is not known yet.
func (h *Home) Endpoint() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.fitness.fit {
		return ""
	}
	return h.o.Client.Endpoint()
}

// Err is what is wrong with the own traffic manager, by the last look; nil: nothing.
func (h *Home) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.fitness.judged {
		return errors.New("not looked at yet")
	}
	return h.err
}

// Run looks until ctx ends.
func (h *Home) Run(ctx context.Context) {
	for n := uint64(0); ctx.Err() == nil; n++ {
		wait := h.o.Every
		// The first look is due in any case: nothing is written before it.
		if (n == 0 || !h.o.Busy(h.o.Client.Endpoint())) && h.look(ctx) {
			wait = h.o.Retry
		}
		select {
		case <-ctx.Done():
		case <-h.o.World.Clock().After(wait + h.o.World.Jitter(h.o.Actor+"/home", n, wait/10)):
		}
	}
}

// look looks once, and reports whether the next look is due soon.
func (h *Home) look(ctx context.Context) (soon bool) {
	err := h.ask(ctx)
	if ctx.Err() != nil {
		return false
	}
	h.mu.Lock()
	first := !h.fitness.judged
	changed := h.fitness.look(err == nil, h.o.World.Clock().Now())
	fit, against := h.fitness.fit, !h.fitness.against.IsZero()
	h.err = err
	h.mu.Unlock()
	if !changed {
		return against
	}
	switch {
	case !fit:
		h.o.Log.Warn("this instance's own traffic manager is away or not in the cluster: others should be the writer", "endpoint", h.o.Client.Endpoint(), "error", err)
	case !first:
		h.o.Log.Warn("this instance's own traffic manager is healthy and in the cluster again", "endpoint", h.o.Client.Endpoint())
	}
	h.o.Judge(fit)
	return false
}

// ask is nil if the traffic manager answers and is a member of the cluster.
func (h *Home) ask(ctx context.Context) error {
	information, err := h.o.Client.Information(ctx)
	if err != nil {
		return err
	}
	members, err := h.o.Client.Members(ctx)
	if err != nil {
		return err
	}
	if information.UUID == "" {
		return errors.New("it is starting: it does not tell its identity yet")
	}
	if information.UUID != h.uuid || !slices.Contains(members, h.name) {
		h.uuid, h.name = information.UUID, h.o.Client.NameOf(ctx, information.UUID, members)
	}
	switch {
	case h.name == "":
		return fmt.Errorf("it is none of the members that its own configuration names (%s)", strings.Join(members, ", "))
	case h.o.Others && len(members) == 1:
		return errors.New("it has left the cluster: it is the only member that its configuration names, and vtm_endpoints names others")
	}
	return nil
}
