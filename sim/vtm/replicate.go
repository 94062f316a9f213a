package vtm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"vtm-ingress/sim/dataplane"
)

// replication is what one member of a cluster has still to tell the others.
type replication struct {
	wake    chan struct{} // capacity 1: there may be something to do, or sooner
	working chan struct{} // capacity 1: holds a token while changes are sent

	mu          sync.Mutex // guards all below
	changed     map[target]struct{}
	firstChange time.Time // of changed
	lastRequest time.Time // any request to the REST API of this member
	// behind are the members that missed changes: they are compared as a whole.
	// At most one entry a member.
	behind map[string]*missed
	delays uint64 // drawn so far
}

// missed says what is known of a member that is behind.
type missed struct {
	told  bool      // the event log has a line about it
	again time.Time // not before
}

const (
	// receiveBatch bounds how many changes a member takes in before others may
	// write to it again.
	receiveBatch = 256
	// replicateRetry is the pause after a failed attempt at a member that answers.
	replicateRetry = 5 * time.Second
	// tombstoneAge is how long a tombstone is kept although everyone has it: longer
	// than a write may take.
	tombstoneAge = 2 * writeTimeout
	// catchUpSpread bounds the pause before a member that is behind is given what it
	// missed: members that notice at one instant do not act at one instant.
	catchUpSpread = 10 * time.Millisecond
)

// noteChange records a change of this member's own to replicate. It is called
// before the change's writing token is given back.
func (t *TrafficManager) noteChange(r *resource) {
	if t.cluster == nil {
		return
	}
	p := &t.replication
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.changed) == 0 {
		p.firstChange = r.at
		signal(p.wake)
	}
	p.changed[target{r.kind.path, r.name}] = struct{}{}
}

// noteRequest puts off the replication, as every request does.
func (t *TrafficManager) noteRequest() {
	t.replication.mu.Lock()
	defer t.replication.mu.Unlock()
	t.replication.lastRequest = t.o.World.Clock().Now()
}

// fellBehind records members that have to be compared as a whole, as soon as
// they can be reached.
func (t *TrafficManager) fellBehind(names ...string) {
	p := &t.replication
	p.mu.Lock()
	defer p.mu.Unlock()
	soon := t.soon()
	for _, name := range names {
		if name != t.o.Name && p.behind[name] == nil {
			p.behind[name] = &missed{again: soon}
		}
	}
	signal(p.wake)
}

// linkChanged has the replication look again at whom it can reach.
func (t *TrafficManager) linkChanged() {
	p := &t.replication
	p.mu.Lock()
	defer p.mu.Unlock()
	soon := t.soon()
	for _, m := range p.behind {
		m.again = soon
	}
	signal(p.wake)
}

// soon is within catchUpSpread. replication.mu is held.
func (t *TrafficManager) soon() time.Time {
	t.replication.delays++
	return t.o.World.Clock().Now().Add(t.o.World.Jitter("vtm/"+t.o.Name+"/catch-up", t.replication.delays, catchUpSpread))
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// replicateSettings are the REST API's timers, from global_settings.
func (t *TrafficManager) replicateSettings() (lull, absolute, timeout time.Duration) {
	g := t.globalSettings()
	return g.seconds("rest_api", "replicate_lull"), g.seconds("rest_api", "replicate_absolute"), g.seconds("rest_api", "replicate_timeout")
}

func (t *TrafficManager) globalSettings() *resource {
	return t.store.get(t.schema.types["global_settings"], "")
}

// replicationDue says when there is something to send; false: nothing, until
// something changes.
func (t *TrafficManager) replicationDue() (time.Time, bool) {
	lull, absolute, _ := t.replicateSettings()
	p := &t.replication
	p.mu.Lock()
	defer p.mu.Unlock()
	var due time.Time
	any := false
	if len(p.changed) > 0 {
		due, any = p.firstChange.Add(absolute), true
		if quiet := p.lastRequest.Add(lull); quiet.Before(due) {
			due = quiet
		}
	}
	for name, m := range p.behind {
		if t.cluster.reach(t.o.Name, name) && !t.cluster.held(t.o.Name) && (!any || m.again.Before(due)) {
			due, any = m.again, true
		}
	}
	return due, any
}

// replicateLoop sends changes when they are due, until ctx ends.
func (t *TrafficManager) replicateLoop(ctx context.Context) {
	clock := t.o.World.Clock()
	for {
		due, any := t.replicationDue()
		wait := due.Sub(clock.Now())
		if any && wait <= 0 {
			t.replicate(ctx, false)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		if !any {
			select {
			case <-t.replication.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer := clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-t.replication.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// replicateNow sends what there is if replicate_lull is 0, so that a client that
// was answered finds its change on every member that can be reached.
func (t *TrafficManager) replicateNow(ctx context.Context) {
	if t.cluster == nil {
		return
	}
	if lull, absolute, _ := t.replicateSettings(); min(lull, absolute) == 0 {
		t.replicate(ctx, false)
	}
}

// replicate sends this member's changes to all others. Who cannot be reached or
// refuses is behind from then on; with all, those that are behind are not made to
// wait.
func (t *TrafficManager) replicate(ctx context.Context, all bool) {
	p := &t.replication
	select {
	case p.working <- struct{}{}:
		defer func() { <-p.working }()
	case <-ctx.Done():
		return
	}
	now := t.o.World.Clock().Now()
	p.mu.Lock()
	changed := p.changed
	p.changed = make(map[target]struct{})
	p.mu.Unlock()
	list := make([]*resource, 0, len(changed))
	for _, at := range slices.SortedFunc(maps.Keys(changed), target.compare) {
		if r := t.store.last(t.schema.types[at.path], at.name); r != nil {
			list = append(list, r)
		}
	}
	_, _, timeout := t.replicateSettings()
	if timeout == 0 {
		timeout = writeTimeout
	}
	for _, peer := range t.cluster.others(t.o.Name) {
		p.mu.Lock()
		m := p.behind[peer]
		p.mu.Unlock()
		reach := t.cluster.reach(t.o.Name, peer) && !t.cluster.held(t.o.Name)
		if len(list) == 0 && (m == nil || !reach || !all && now.Before(m.again)) {
			continue
		}
		send := list
		if m != nil {
			send = t.store.all(t.schema)
		}
		err := errUnreachable
		if reach {
			err = t.push(ctx, peer, send, timeout)
		}
		t.pushed(peer, err)
	}
	t.cluster.bury(ctx, now.Add(-tombstoneAge))
}

var errUnreachable = errors.New("it cannot be reached")

// push gives changes to another member and waits until they are in effect there.
func (t *TrafficManager) push(ctx context.Context, peer string, list []*resource, timeout time.Duration) error {
	if entry := t.store.get(t.schema.types["traffic_managers"], t.o.Name); entry != nil && !entry.flag("cluster_comms", "allow_update") {
		return errors.New("cluster_comms!allow_update forbids this traffic manager to change others")
	}
	to := t.cluster.running(peer)
	if to == nil {
		return errUnreachable
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return to.receive(ctx, list)
}

// pushed records the outcome of an attempt at a member, and tells it when it is
// news.
func (t *TrafficManager) pushed(peer string, err error) {
	p := &t.replication
	p.mu.Lock()
	m := p.behind[peer]
	if err == nil {
		delete(p.behind, peer)
		p.mu.Unlock()
		if m != nil && m.told {
			t.logEvent(dataplane.Event{Level: "INFO", Section: "general", Tag: "confrepok", Text: "Configuration replicated to " + peer + " again"})
		}
		return
	}
	if m == nil {
		m = &missed{}
		p.behind[peer] = m
	}
	m.again = t.o.World.Clock().Now().Add(replicateRetry)
	tell := !m.told
	m.told = true
	p.mu.Unlock()
	if !tell {
		return
	}
	tag := "confrepfailed"
	if errors.Is(err, context.DeadlineExceeded) {
		tag = "confreptimeout"
	}
	t.logEvent(dataplane.Event{Level: "SERIOUS", Section: "general", Tag: tag,
		Text: fmt.Sprintf("Replication of configuration to %s failed: %v. It is repeated when %s answers", peer, err, peer)})
}

// receive takes in changes of another member, in parts, so that writes of this
// member's own clients come in between.
func (t *TrafficManager) receive(ctx context.Context, list []*resource) error {
	var rules []*resource
	for part := range slices.Chunk(list, receiveBatch) {
		select {
		case t.writing <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		taken, err := t.takeIn(part)
		<-t.writing
		for _, r := range taken {
			if r.kind.path == "rules" && !r.deleted {
				rules = append(rules, r)
			}
		}
		if err != nil {
			return err
		}
	}
	if t.strict != nil && len(rules) > 0 {
		// A rule may have come before the library that it imports.
		select {
		case t.writing <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, r := range rules {
			if t.store.get(r.kind, r.name) == r {
				t.strict.changed(nil, r)
			}
		}
		<-t.writing
	}
	return nil
}

// takeIn merges changes of another member into this one's configuration and puts
// them into effect; the caller holds the writing token. It returns what is new
// here.
func (t *TrafficManager) takeIn(list []*resource) ([]*resource, error) {
	if err := t.diskError(); err != nil {
		return nil, err
	}
	var u dataplane.Update
	var taken []*resource
	apply := false
	for _, theirs := range list {
		mine := t.store.last(theirs.kind, theirs.name)
		next, content := reconcile(mine, theirs)
		if next == nil {
			continue
		}
		if err := t.commit(next); err != nil {
			return taken, err
		}
		taken = append(taken, next)
		if next.conflict != "" && (mine == nil || next.conflict != mine.conflict) {
			t.logEvent(dataplane.Event{Level: "WARN", Section: confName(next), Tag: "confconflict", Text: next.conflict})
		}
		existed := mine != nil && !mine.deleted
		if !content || next.deleted && !existed {
			continue
		}
		t.lastWrite.Store(t.o.World.Clock().Now().UnixNano())
		t.logEvent(confEvent(existed, next))
		apply = t.update(&u, next) || apply
	}
	if apply {
		t.data.Apply(u)
	}
	return taken, nil
}

// reconcile says what a member that has mine (nil: nothing) makes of theirs, and
// whether that is other content than it has. nil means that mine stays.
func reconcile(mine, theirs *resource) (next *resource, content bool) {
	if mine == nil {
		return theirs, true
	}
	switch theirs.versions.compare(mine.versions) {
	case newer:
		return theirs, !equal(mine, theirs)
	case concurrent:
	default:
		return nil, false
	}
	kept, lost := mine, theirs
	if theirs.beats(mine.stamp) {
		kept, lost = theirs, mine
	}
	merged := &resource{
		kind: kept.kind, name: kept.name, builtin: kept.builtin, deleted: kept.deleted,
		stamp:    stamp{mine.versions.union(theirs.versions), kept.at, kept.by},
		conflict: kept.conflict, values: kept.values, content: kept.content,
	}
	if !equal(kept, lost) {
		merged.conflict = fmt.Sprintf("Conflict: %s and %s both changed this while they could not replicate. The change of %s at %s is kept, that of %s at %s is lost",
			min(kept.by, lost.by), max(kept.by, lost.by), kept.by, kept.at.UTC().Format(time.RFC3339Nano), lost.by, lost.at.UTC().Format(time.RFC3339Nano))
	}
	return merged, kept == theirs && !equal(mine, theirs)
}

// equal compares content alone.
func equal(a, b *resource) bool {
	if a.deleted || b.deleted || a.kind.class == files {
		return a.deleted == b.deleted && bytes.Equal(a.content, b.content)
	}
	return bytes.Equal(appendStored(nil, a), appendStored(nil, b))
}

// forgetPeer drops what is kept about a member that has left.
func (t *TrafficManager) forgetPeer(name string) {
	t.replication.mu.Lock()
	defer t.replication.mu.Unlock()
	delete(t.replication.behind, name)
}

// removeEntry deletes the entry of a member that has left from traffic_managers.
func (t *TrafficManager) removeEntry(name string) bool {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	old := t.store.get(t.schema.types["traffic_managers"], name)
	if old == nil {
		return false
	}
	gone := &resource{kind: old.kind, name: name, deleted: true, stamp: nextStamp(old, t.o.World.Clock().Now(), t.o.Name)}
	if t.commit(gone) != nil {
		return false
	}
	t.logEvent(confEvent(true, gone))
	t.noteChange(gone)
	return true
}

// bury forgets, everywhere, deletions of before a time: if all members run and
// reach each other and none has anything to tell, then all have heard of them.
func (c *Cluster) bury(ctx context.Context, before time.Time) {
	var all []*TrafficManager
	any := false
	for _, name := range c.Names() {
		tm := c.running(name)
		if tm == nil || !tm.replicated() {
			return
		}
		for _, other := range c.others(name) {
			if !c.reach(name, other) {
				return
			}
		}
		any = any || tm.store.hasTombs(before)
		all = append(all, tm)
	}
	if !any {
		return
	}
	for _, tm := range all {
		select {
		case tm.writing <- struct{}{}:
		case <-ctx.Done():
			return
		}
		gone := tm.store.bury(before)
		if tm.disk != nil {
			tm.disk.bury(gone)
		}
		<-tm.writing
	}
}

// replicated tells whether all that this member knows is on the others.
func (t *TrafficManager) replicated() bool {
	p := &t.replication
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.changed) == 0 && len(p.behind) == 0
}
