package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
)

// stuckAfter is how long the controller may work without a sign of life. Each
// request that it makes ends within a minute, with or without an answer.
const stuckAfter = 5 * time.Minute

// Status tells how a controller is doing. The zero value is one that hasn't
// started. Its methods may be called from several goroutines.
type Status struct {
	mu    sync.Mutex
	ready bool
	// whenReady is called when ready is set first; nil: nothing is.
	whenReady func()
	writing   bool
	busy      bool      // a round is under way
	sign      time.Time // the last sign of life
	trouble   error     // why the traffic manager could not be used, last
	watcher   *kube.Watcher
	loop      *reconcile.Loop   // nil: none runs
	writer    *reconcile.Writer // nil: none runs
	home      *reconcile.Home
}

// Standing says which instance writes, and where this one stands.
type Standing struct {
	// Instance is this one's name in the Lease; "" while nothing runs.
	Instance string `json:"instance"`
	Writing  bool   `json:"writing"`
	// Writer is the instance that holds the Lease, as it was seen last; "": nobody.
	Writer string `json:"writer"`
	// Term counts how often an instance became the writer.
	Term int `json:"term"`
	// Through is the REST URL of the traffic manager that is written through, and
	// LastWrite when that happened last, as far as the Lease tells.
	Through   string     `json:"through,omitempty"`
	LastWrite *time.Time `json:"lastWrite,omitempty"`
	// Own says what is wrong with this instance's own traffic manager; "": it is healthy
	// and in the cluster.
	Own string `json:"ownTrafficManagerProblem,omitempty"`
}

// Standing says which instance writes.
func (s *Status) Standing() Standing {
	s.mu.Lock()
	writer, home := s.writer, s.home
	s.mu.Unlock()
	if writer == nil {
		return Standing{}
	}
	r := writer.Record()
	now := Standing{Instance: writer.Identity(), Writer: r.Holder, Term: r.Term, Through: r.Through}
	_, now.Writing = writer.Permit()
	if !r.LastWrite.IsZero() {
		now.LastWrite = &r.LastWrite
	}
	if err := home.Err(); err != nil {
		now.Own = err.Error()
	}
	return now
}

// Ready reports whether all is known of Kubernetes and of the traffic manager,
// and this instance has either brought the traffic manager in line once or stands
// by. A controller that is switched off is ready. It stays ready: what serves
// goes on serving whatever happens to the controller.
func (s *Status) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// WhenReady has f called once, when Ready says so first. It is called before the
// controller starts.
func (s *Status) WhenReady(f func()) { s.whenReady = f }

// isReady notes that Ready says so. mu is held.
func (s *Status) isReady() {
	if !s.ready && s.whenReady != nil {
		s.whenReady()
	}
	s.ready = true
}

// Writing reports whether this instance was the one that writes, when it last
// looked.
func (s *Status) Writing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing
}

// NotReady says what Ready waits for; nil: it waits for nothing.
func (s *Status) NotReady() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ready:
		return nil
	case s.watcher == nil:
		return errors.New("the settings can't be used yet: the log says why")
	case s.watcher.Err() != nil:
		return s.watcher.Err()
	case s.watcher.Snapshot() == nil:
		return errors.New("Kubernetes has not been read whole yet")
	case s.trouble != nil:
		return s.trouble
	}
	return errors.New("the traffic manager has not been brought in line yet")
}

// Alive is nil unless the controller works on something without any sign of life
// since long before now: a restart is the remedy then. That Kubernetes or the
// traffic manager is away is no reason, since a restart would not help.
func (s *Status) Alive(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if silent := now.Sub(s.sign); s.busy && silent > stuckAfter {
		return fmt.Errorf("stuck: a round is under way and nothing has happened for %s", silent.Round(time.Second))
	}
	return nil
}

// Explain says what became of an Ingress, and why, as the controller that runs
// sees it. It changes nothing.
func (s *Status) Explain(ctx context.Context, name types.NamespacedName) (text string, err error) {
	s.mu.Lock()
	loop := s.loop
	s.mu.Unlock()
	if loop == nil {
		return "", errors.New("the controller does nothing: it is switched off, or its settings can't be used")
	}
	looked := loop.Look(ctx, func(snapshot *kube.Snapshot, observed *reconcile.Observed, plan *reconcile.Plan, round reconcile.Round) {
		view := &inspect.View{Snapshot: snapshot, Observed: observed, Result: round.Result, Plan: plan, Says: round.Says, Now: round.Ended}
		if text, err = view.Explain(name); err != nil {
			return
		}
		switch {
		case round.Trouble != nil:
			text += "The traffic manager can't be used: " + round.Trouble.Error() + "\n"
		case !round.Writing:
			text += "This instance stands by: what it knows of the traffic manager is as it was when it began to, and what other instances wrote since is missing.\n"
		}
	})
	return text, errors.Join(looked, err)
}

// begin notes what runs from now on.
func (s *Status) begin(watcher *kube.Watcher, loop *reconcile.Loop, writer *reconcile.Writer, home *reconcile.Home) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer, s.home = writer, home
	s.watcher, s.loop, s.trouble, s.busy = watcher, loop, nil, false
}

// end notes that it has ended.
func (s *Status) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loop, s.writer, s.home, s.busy, s.writing = nil, nil, nil, false, false
}

// nowReady notes that there is nothing more to do before it counts as ready: thousands
// of owners need not be told of what was sent, and one that is switched off has nothing
// to send.
func (s *Status) nowReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isReady()
}

func (s *Status) work(now time.Time, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.sign = busy, now
}

// alive notes a sign of life.
func (s *Status) alive(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sign = now
}

func (s *Status) round(r reconcile.Round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.trouble = r.Writing, r.Trouble
	if r.Trouble == nil {
		s.isReady()
	}
}
