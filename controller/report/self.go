package report

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// selfRetry is after an Event of the controller that could not be told.
const selfRetry = 10 * time.Second

// SelfOptions for NewSelf.
type SelfOptions struct {
	World  outside.World
	Config *rest.Config
	Actor  string
	// Namespace and Name of the controller's Lease.
	Namespace, Name string
	// May says whether this instance is the one that writes.
	May func() bool
}

// Self tells operators what concerns the controller as a whole and no Ingress: by
// Warning Events of its Lease, the one object in Kubernetes that is its own. What the
// log says too is told here once each time that it begins. Its methods may be called
// from several goroutines.
type Self struct {
	o      SelfOptions
	client *kubeclient.Client
	wake   chan struct{} // capacity 1: there is something to tell

	mu      sync.Mutex
	waiting map[string]pendingEvent // by reason
}

// NewSelf makes a Self that tells nothing until Run.
func NewSelf(o SelfOptions) (*Self, error) {
	client, err := kubeclient.New(o.World, o.Actor, o.Config)
	if err != nil {
		return nil, err
	}
	return &Self{o: o, client: client, wake: make(chan struct{}, 1), waiting: map[string]pendingEvent{}}, nil
}

// Warn tells what is wrong as soon as it can. Of one reason only the latest is told.
func (s *Self) Warn(reason, message string) {
	s.mu.Lock()
	s.waiting[reason] = pendingEvent{told: told{true, reason, message}, at: s.o.World.Clock().Now()}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Over takes back what was not told yet.
func (s *Self) Over(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, reason)
}

// Run tells until ctx ends, and returns when no request is under way any more.
func (s *Self) Run(ctx context.Context) {
	defer s.client.Close()
	for ctx.Err() == nil {
		var again <-chan time.Time
		if s.tell(ctx) {
			again = s.o.World.Clock().After(selfRetry)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-again:
		}
	}
}

// tell tells what waits, and says whether something still does: since that failed, or
// another instance writes and tells.
func (s *Self) tell(ctx context.Context) (left bool) {
	s.mu.Lock()
	waiting := maps.Clone(s.waiting)
	s.mu.Unlock()
	for _, reason := range slices.Sorted(maps.Keys(waiting)) {
		if !s.o.May() || s.create(ctx, waiting[reason]) != nil {
			left = true
			continue
		}
		s.mu.Lock()
		if s.waiting[reason] == waiting[reason] {
			delete(s.waiting, reason)
		}
		s.mu.Unlock()
	}
	return left
}

func (s *Self) create(ctx context.Context, e pendingEvent) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := s.client.CoordinationV1().Leases(s.o.Namespace).Get(ctx, s.o.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	event := newEvent(corev1.ObjectReference{
		APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease",
		Namespace: lease.Namespace, Name: lease.Name, UID: lease.UID,
	}, e, s.o.Actor)
	_, err = s.client.CoreV1().Events(lease.Namespace).Create(ctx, event, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) {
		return nil // it is told, or can't be: the log has it
	}
	return err
}
