package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

const (
	// chunk is how many steps are sent at least before others are let pass that came
	// meanwhile: changes of endpoints.
	chunk = 512
	// brokenAfter is after how many requests in a row without a sensible answer the
	// traffic manager counts as away, and the plan is given up.
	brokenAfter = 3
)

// applying is one application of one plan.
type applying struct {
	l *Loop
	// missing are what is desired and wasn't there when the plan was made: what
	// refers to one waits for it.
	missing map[vtm.ID]bool
	// snapshot is what overtook the plan, nil if nothing did. Of the Loop's goroutine
	// alone.
	snapshot *kube.Snapshot

	// Guarded by l.mu while a stage is under way.
	broken    int               // requests in a row without a sensible answer
	abort     error             // why the rest isn't sent; nil: it is
	blocked   map[vtm.ID]vtm.ID // what must not be deleted -> because of whom
	overtaken map[vtm.ID]bool   // pools whose nodes are newer than the plan's
	writes    int               // requests that were sent
	failed    int
	retries   int  // steps that were sent once before, and failed
	row       int  // steps since others were let pass
	passing   bool // those others are sent
	// left are steps that weren't sent, so that others can pass.
	left map[vtm.ID]bool
}

var errNoPermit = errors.New("this instance may not write any more")

// apply sends the steps of a plan. It returns when all requests have ended. What
// succeeded is in l.observed and l.settled after, what failed in l.failures.
func (l *Loop) apply(ctx context.Context, p *Plan) *applying {
	a := &applying{l: l, missing: map[vtm.ID]bool{}, blocked: map[vtm.ID]vtm.ID{}, overtaken: map[vtm.ID]bool{}, left: map[vtm.ID]bool{}}
	clear(l.waits)
	for _, r := range p.Same {
		if f := l.failures[r.ID]; f != nil && f.unsure {
			continue // what was read before that request proves nothing
		}
		delete(l.failures, r.ID)
		l.settled[r.ID] = r
		if _, differs := l.kept[r.ID]; !differs {
			l.observed.share(r)
		}
	}
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Action == Create {
			a.missing[s.ID] = true
		}
	}
	for _, h := range p.Held {
		if l.observed.Owned[h.ID] == nil {
			a.missing[h.ID] = true
		}
		l.waits[h.ID] = h.Reason
		a.block(h.ID, h.keeps)
	}
	for begin := 0; begin < len(p.Steps) && a.abort == nil; {
		end := begin + 1
		for end < len(p.Steps) && p.Steps[end].Stage == p.Steps[begin].Stage {
			end++
		}
		for steps := p.Steps[begin:end]; len(steps) > 0; steps = a.rest(steps) {
			a.run(ctx, steps)
			if a.abort == nil && (len(a.left) > 0 || end < len(p.Steps)) {
				l.overtake(ctx, a)
			}
		}
		begin = end
	}
	return a
}

// rest takes those of steps that were left out.
func (a *applying) rest(steps []Step) (rest []Step) {
	if a.abort == nil {
		for _, s := range steps {
			if a.left[s.ID] {
				rest = append(rest, s)
			}
		}
	}
	clear(a.left)
	return rest
}

// run sends independent steps, several at a time.
func (a *applying) run(ctx context.Context, steps []Step) {
	ids := make([]vtm.ID, 0, len(steps))
	byID := make(map[vtm.ID]*Step, len(steps))
	var alone []*Step
	for i := range steps {
		s := &steps[i]
		if len(s.MakeWay) > 0 {
			alone = append(alone, s) // it also writes other resources than its own
			continue
		}
		ids = append(ids, s.ID)
		byID[s.ID] = s
	}
	a.l.o.Client.Each(ids, func(id vtm.ID) { a.step(ctx, byID[id]) })
	for _, s := range alone {
		a.step(ctx, s)
	}
}

// step sends one step, if nothing speaks against it.
func (a *applying) step(ctx context.Context, s *Step) {
	l := a.l
	l.mu.Lock()
	if a.abort != nil || a.overtaken[s.ID] || ctx.Err() != nil {
		l.mu.Unlock()
		return
	}
	if !a.passing {
		if a.row >= chunk && len(l.o.Changed) > 0 {
			a.left[s.ID] = true
			l.mu.Unlock()
			return
		}
		a.row++
	}
	if reason := a.hindered(s); reason != "" {
		l.waits[s.ID] = reason
		a.block(s.ID, s.MakeWay)
		l.mu.Unlock()
		return
	}
	if f := l.failures[s.ID]; f != nil && f.desired == s.After {
		a.retries++
	}
	l.mu.Unlock()

	disabled, err := a.makeWay(ctx, s)
	var stored *vtm.Resource
	if err == nil {
		stored, err = a.send(ctx, s)
	}
	if err != nil {
		a.giveBack(ctx, disabled)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		a.broken = 0
		delete(l.failures, s.ID)
		a.succeeded(s, stored)
	case errors.Is(err, errNoPermit) || ctx.Err() != nil:
		a.stop(errNoPermit)
		if vtm.Ambiguous(err) {
			l.fail(s.ID, s.After, err)
		}
	default:
		a.failed++
		a.block(s.ID, s.MakeWay)
		l.fail(s.ID, s.After, err)
		switch vtm.KindOf(err) {
		case vtm.Unreachable, vtm.Unauthorised:
			a.stop(err)
		case vtm.Outage, vtm.Garbage:
			if a.broken++; a.broken >= brokenAfter {
				a.stop(err)
			}
		default:
			a.broken = 0
		}
	}
}

// stop ends the plan for a reason; the first one counts. l.mu is held.
func (a *applying) stop(err error) {
	if a.abort == nil {
		a.abort = err
	}
}

// hindered says why a step can't be made now. l.mu is held.
func (a *applying) hindered(s *Step) (reason string) {
	if s.Action == Delete {
		if user, ok := a.blocked[s.ID]; ok {
			return fmt.Sprintf("stays because of %s, which could not be changed yet", user)
		}
		return ""
	}
	if mutation.On(mutation.FailureHindersNothing) || mutation.On(mutation.ServersFirst) {
		return ""
	}
	eachReference(s.After, func(to vtm.ID) {
		if reason == "" && a.missing[to] && a.l.observed.Owned[to] == nil {
			reason = fmt.Sprintf("waits for %s", to)
		}
	})
	return reason
}

// block notes that id was not changed: what it refers to, as it is on the traffic
// manager, must not be deleted, nor the virtual servers that serve in its place.
// l.mu is held, or no stage is under way.
func (a *applying) block(id vtm.ID, inItsPlace []vtm.ID) {
	eachReference(a.l.observed.Owned[id], func(to vtm.ID) { a.blocked[to] = id })
	for _, other := range inItsPlace {
		a.blocked[other] = id
	}
}

// grace is how long a write that is under way may go on after ctx ended: cut
// off, it could still take effect after another instance became the writer.
const grace = 700 * time.Millisecond

// request makes one write, through the member that was read, if it is permitted, and
// bounds its time.
func (a *applying) request(ctx context.Context, do func(context.Context, *vtm.Through) error) error {
	l := a.l
	permit, end, ok := l.o.Lease.Begin(l.term, l.through)
	if !ok {
		return errNoPermit
	}
	defer end()
	// The clock's distance, not the instant: contexts count real time.
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), permit.Until.Sub(l.now()))
	defer cancel()
	if mutation.On(mutation.WriteUnbounded) {
		write = context.WithoutCancel(ctx)
	}
	defer context.AfterFunc(ctx, func() {
		select {
		case <-write.Done():
		case <-l.o.World.Clock().After(grace):
			cancel()
		}
	})()
	l.mu.Lock()
	a.writes++
	l.mu.Unlock()
	err := do(write, l.o.Client.Through(l.through, permit.Agent))
	if err == nil || vtm.KindOf(err) != vtm.Unreachable {
		l.mu.Lock()
		l.takeOver.written(l.through, l.now())
		l.mu.Unlock()
	}
	return err
}

// send makes the request of a step and returns what is stored after it, nil for
// Delete.
func (a *applying) send(ctx context.Context, s *Step) (stored *vtm.Resource, err error) {
	if s.Action == Delete {
		return nil, a.request(ctx, func(ctx context.Context, to *vtm.Through) error { return to.Delete(ctx, s.ID) })
	}
	a.l.mu.Lock()
	before := a.l.observed.Owned[s.ID]
	a.l.mu.Unlock()
	send := s.Send
	if before != s.Before {
		// It was disabled to make way for another one.
		if send = compare(s.After, before); send == nil {
			return before, nil
		}
	}
	if mutation.On(mutation.KeyLogged) && s.ID.Type == vtm.ServerKeys {
		a.l.o.Log.Info("sending a server key", "private", fmt.Sprint(send.Value("basic", "private")))
	}
	err = a.request(ctx, func(ctx context.Context, to *vtm.Through) error {
		stored, err = to.Put(ctx, send)
		return err
	})
	return stored, err
}

// makeWay disables the virtual servers that hold the place which s takes. It
// returns those it disabled, as they were.
func (a *applying) makeWay(ctx context.Context, s *Step) (disabled []*vtm.Resource, err error) {
	for _, id := range s.MakeWay {
		a.l.mu.Lock()
		old := a.l.observed.Owned[id]
		inTheWay := a.l.sharePlace(old, s.After)
		a.l.mu.Unlock()
		if !inTheWay {
			continue // it moved already
		}
		if err := a.enable(ctx, id, false); err != nil {
			// It may have taken effect.
			return append(disabled, old), err
		}
		disabled = append(disabled, old)
	}
	return disabled, nil
}

// sharePlace reports whether two virtual servers hold the same address and port,
// as the Traffic IP Groups are now. l.mu is held.
func (l *Loop) sharePlace(a, b *vtm.Resource) bool {
	owned := func(id vtm.ID) *vtm.Resource { return l.observed.Owned[id] }
	mine := placesOf(a, owned, &l.observed.Appliance)
	return slices.ContainsFunc(placesOf(b, owned, &l.observed.Appliance), func(at place) bool {
		return slices.Contains(mine, at)
	})
}

// giveBack enables again what makeWay disabled for a step that then failed.
func (a *applying) giveBack(ctx context.Context, disabled []*vtm.Resource) {
	for _, old := range disabled {
		if err := a.enable(ctx, old.ID, true); err != nil {
			a.l.mu.Lock()
			a.l.fail(old.ID, nil, err)
			a.l.mu.Unlock()
		}
	}
}

func (a *applying) enable(ctx context.Context, id vtm.ID, on bool) error {
	return a.request(ctx, func(ctx context.Context, to *vtm.Through) error {
		stored, err := to.Put(ctx, vtm.New(id.Type, id.Name, vtm.Properties{"basic": {"enabled": on}}))
		if err == nil {
			a.l.mu.Lock()
			a.l.observed.put(stored)
			a.l.mu.Unlock()
		}
		return err
	})
}

// succeeded notes the traffic manager's answer to a step. l.mu is held.
func (a *applying) succeeded(s *Step, stored *vtm.Resource) {
	l := a.l
	if s.Action == Delete {
		l.observed.remove(s.ID)
		delete(l.settled, s.ID)
		delete(l.kept, s.ID)
		return
	}
	left := compare(s.After, stored)
	if left == nil {
		stored = sameOf(s.After, stored)
	}
	l.observed.put(stored)
	l.settled[s.ID] = s.After
	if l.replicates() {
		l.replicating[s.ID] = struct{}{}
	}
	before := l.kept[s.ID]
	delete(l.kept, s.ID)
	if left == nil {
		return
	}
	k := kept{desired: s.After, stored: l.observed.Owned[s.ID]}
	if k.again = before.desired == k.desired && vtm.Equal(before.stored, k.stored); k.again {
		l.o.Log.With(concerns(s.After)...).Warn("the traffic manager accepted a change but keeps other values, for the second time: it is not tried again",
			"resource", s.ID.String(), "keys", keysOf(left))
	}
	l.kept[s.ID] = k
}

// kept is what the traffic manager made of a resource against what was sent. Once
// somebody else may have changed it meanwhile; again says that it was the same twice.
type kept struct {
	desired, stored *vtm.Resource
	again           bool
}

// dropFutile takes the steps out of a plan that would send what was sent before
// and change nothing.
func (l *Loop) dropFutile(p *Plan) {
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool {
		k, ok := l.kept[s.ID]
		futile := ok && k.again && k.desired == s.After && vtm.Equal(k.stored, s.Before)
		if futile {
			p.Same = append(p.Same, s.After)
		}
		return futile
	})
}

func keysOf(r *vtm.Resource) []string {
	var keys []string
	for _, c := range changesOf(&Step{ID: r.ID, Send: r}) {
		keys = append(keys, c.key)
	}
	return keys
}

// failure is a resource whose last request failed.
type failure struct {
	err      error
	desired  *vtm.Resource // what should have been sent; nil for Delete
	attempts int
	next     time.Time // when it is tried again
	unsure   bool      // the request may have taken effect: it is read before
}

// fail notes a failure and when to try again. l.mu is held.
func (l *Loop) fail(id vtm.ID, desired *vtm.Resource, err error) {
	f := l.failures[id]
	if f == nil {
		f = &failure{}
		l.failures[id] = f
	}
	if f.attempts > 0 && f.desired != desired {
		f.attempts = 0 // something else is wanted now
	}
	f.err, f.desired = err, desired
	f.unsure = f.unsure || vtm.Ambiguous(err)
	f.attempts++
	f.next = l.now().Add(l.backoff(id.String(), f.attempts, 500*time.Millisecond, time.Minute))
	if mutation.On(mutation.RetryDropped) {
		f.next = f.next.Add(24 * time.Hour)
	}
}

// backoff grows from least to most, doubling, with jitter of up to a half more.
func (l *Loop) backoff(name string, attempts int, least, most time.Duration) time.Duration {
	d := least
	for i := 1; i < attempts && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d + l.o.World.Jitter(l.o.Actor+"/"+name, uint64(attempts), d/2)
}
