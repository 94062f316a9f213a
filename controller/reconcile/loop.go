package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
	"vtm-ingress/internal/outside"
)

// confirmAfter is how long the brake waits before it asks Kubernetes again.
const confirmAfter = 5 * time.Second

// Lease says whether this instance may write: a Writer, outside of tests.
type Lease interface {
	// Permit says whether this instance is the writer now.
	Permit() (Permit, bool)
	// Changed signals that Permit may answer differently.
	Changed() <-chan struct{}
	// Announce is called before the first write of a term through a member, by its REST
	// URL.
	Announce(ctx context.Context, term int, through string) error
	// Begin starts a write of that term through that member, if it may start; end is
	// called when it has ended.
	Begin(term int, through string) (p Permit, end func(), ok bool)
}

// Options for New.
type Options struct {
	World    outside.World
	Log      *slog.Logger
	Actor    string
	Settings *config.Settings
	// Client is used by the Loop alone.
	Client *vtm.Client
	Lease  Lease
	// Home, if set, is the REST URL of the instance's own traffic manager while that is
	// healthy, "" while it is not: the one to write through, as soon as that makes no
	// difference.
	Home func() string
	// TooOld, if set, is the identity of a cluster that can't be watched since its API
	// server is too old; "" if it is not. Changed signals that too.
	TooOld func() types.UID
	// Relay is how log lines get to the traffic manager; nil: they don't.
	Relay *translate.Relay
	// ACME, if set, says how far certificates are that are issued; ACMEChanged signals
	// that it may say something else.
	ACME        func() *translate.ACME
	ACMEChanged <-chan struct{}
	// Snapshot returns what Kubernetes holds, nil until all caches are full;
	// Changed signals that it may return something else, with capacity 1.
	Snapshot func() *kube.Snapshot
	Changed  <-chan struct{}
	// Confirm lists all of Kubernetes once more, past all caches.
	Confirm func(context.Context) (*kube.Snapshot, error)
	// Relist, if set, is called where Confirm shows that Snapshot is wrong: it has all
	// listed anew.
	Relist func()
	// Report tells Ingresses' owners. Only the writer calls it.
	Report func(context.Context, []report.Entry)
	// Warn, if set, tells operators what concerns no single Ingress, with a reason in one
	// word; Over that it is no longer so. Only the writer calls them.
	Warn func(reason, message string)
	Over func(reason string)
	// InLine, if set, is told each time the steps of a plan were sent, before owners are
	// told of them.
	InLine func()
	// Done, if set, is told after each round what it came to.
	Done func(Round)
	// Busy, if set, is told when a round begins and when it has ended.
	Busy func(bool)
}

// Loop drives a change from Snapshot to report, again and again.
type Loop struct {
	o          Options
	look       chan func() // what Look wants done by Run's goroutine
	translator *translate.Translator
	selfSigned *translate.KeyPair // made once; nil if it couldn't be

	// Of Run's goroutine alone.
	observed   *Observed // nil: not read yet, or not to be trusted any more
	observedAt time.Time
	through    string    // REST URL of the member through which observed was read
	member     string    // its name in the cluster; "": not known
	term       int       // the writer's term in which observed was read; 0: none
	inherited  int       // the term that takeOver is of
	cluster    types.UID // the Kubernetes cluster for which observed was read
	trouble    *trouble
	told       map[types.NamespacedName]*told
	before     map[vtm.ID]*vtm.Resource // what was settled before the last reading
	// confirmAt is when Kubernetes is asked again whether so many Ingresses cease;
	// zero: the brake holds nothing.
	confirmAt time.Time
	confirmed []types.UID // Ingresses of which a second list agreed that they cease
	// standingBy is since when this instance is not the writer; zero: it is.
	standingBy time.Time
	judged     map[types.NamespacedName]struct{} // see Round
	latest     *Round                            // nil: there was none
	glances    glances
	tables     map[vtm.ID]time.Time // when virtual servers' tables of certificates were sent: see gather
	classes    goneClasses
	served     *served // nil: told already, or not read yet
	servedTerm int     // the term in which served was read
	// notices are to be told of Ingresses besides their verdicts; retell says that
	// all are told of once more, since somebody may have changed their status.
	notices  map[types.NamespacedName][]translate.Reason
	retell   bool
	snapshot *kube.Snapshot // of the latest round
	again    bool           // a round is due at once
	wake     time.Time      // when the next round is due without a change; zero: none

	// What a round looks at, so that its work is proportional to the change. Of
	// Run's goroutine alone, too. A resource that is not in unsettled is in settled
	// as it is desired, or neither desired nor there; an Ingress that neither is in
	// untold nor needs what is in unsettled was told as it is.
	unsettled touched[vtm.ID]
	untold    touched[types.NamespacedName]
	users     users

	// Guards what follows, observed's content included, while a plan is applied.
	mu       sync.Mutex
	takeOver takeOver
	settled  map[vtm.ID]*vtm.Resource // desired resources that are on the traffic manager
	failures map[vtm.ID]*failure
	kept     map[vtm.ID]kept
	waits    map[vtm.ID]string // why a resource's change wasn't sent in the last round
	// replicating are resources that were written and that other members may not have
	// yet: see replicates.
	replicating map[vtm.ID]struct{}
}

// trouble is a traffic manager that can't be used at all.
type trouble struct {
	err      error // the first one of this kind
	kind     vtm.Kind
	foreign  bool // it answers, but belongs to another cluster
	attempts int
	next     time.Time
}

// reason is the trouble as Ingresses' owners are told.
func (t *trouble) reason() *translate.Reason {
	return &translate.Reason{Code: code(t.err), Message: t.err.Error()}
}

// New makes a Loop.
func New(o Options) *Loop {
	l := &Loop{
		o:          o,
		users:      newUsers(),
		judged:     map[types.NamespacedName]struct{}{},
		look:       make(chan func()),
		translator: translate.New(),
		told:       map[types.NamespacedName]*told{},
		notices:    map[types.NamespacedName][]translate.Reason{},
		settled:    map[vtm.ID]*vtm.Resource{},
		failures:   map[vtm.ID]*failure{},
		kept:       map[vtm.ID]kept{},
		waits:      map[vtm.ID]string{},
		tables:     map[vtm.ID]time.Time{},
		glances:    glances{claimed: map[vtm.Type]bool{}},

		replicating: map[vtm.ID]struct{}{},
	}
	var err error
	if l.selfSigned, err = NewSelfSigned(o.World, o.Actor+"/self-signed"); err != nil {
		o.Log.Error("shared addresses have no certificate for hosts without one: set default_certificate", "error", err)
	}
	l.lookAtAll()
	return l
}

// lookAtAll makes the next round compare and tell everything.
func (l *Loop) lookAtAll() {
	l.unsettled.everything()
	l.untold.everything()
}

func (l *Loop) now() time.Time { return l.o.World.Clock().Now() }

// Run works until ctx ends, and returns when no request is under way any more.
func (l *Loop) Run(ctx context.Context) {
	for {
		l.busy(true)
		l.round(ctx)
		l.busy(false)
		if ctx.Err() != nil {
			return
		}
		if l.again {
			continue
		}
		if !l.wait(ctx) {
			return
		}
	}
}

func (l *Loop) busy(is bool) {
	if l.o.Busy != nil {
		l.o.Busy(is)
	}
}

// wait returns when a round is due, false when ctx ended.
func (l *Loop) wait(ctx context.Context) bool {
	var due <-chan time.Time
	if !l.wake.IsZero() {
		timer := l.o.World.Clock().NewTimer(max(l.wake.Sub(l.now()), 0))
		defer timer.Stop()
		due = timer.C()
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case look := <-l.look:
			look()
			continue
		case <-l.o.Changed:
		case <-l.o.ACMEChanged:
		case <-l.o.Lease.Changed():
		case <-due:
		}
		return true
	}
}

// wakeAt asks for a round at t at the latest.
func (l *Loop) wakeAt(t time.Time) {
	if l.wake.IsZero() || t.Before(l.wake) {
		l.wake = t
	}
}

// round brings the traffic manager to what Kubernetes holds now, as far as it
// can now, and says in l.wake when it wants to be called again.
func (l *Loop) round(ctx context.Context) {
	l.again, l.wake = false, time.Time{}
	snapshot := l.o.Snapshot()
	if snapshot == nil {
		l.tellAlone(ctx)
		return // Changed signals when all caches are full
	}
	began := l.now()
	permit, writing := l.o.Lease.Permit()
	if !writing {
		l.standBy(ctx, snapshot)
		return
	}
	l.standingBy = time.Time{}
	if l.trouble != nil && began.Before(l.trouble.next) {
		l.tellTrouble(ctx, snapshot)
		return
	}
	if l.observed != nil && l.trouble == nil && l.term == permit.Term {
		l.glance(ctx)
	}
	if mutation.On(mutation.TakeoverBlind) && l.observed != nil && l.term != permit.Term {
		l.term, l.observedAt = permit.Term, began
	}
	if l.observed == nil || l.trouble != nil || l.term != permit.Term || l.cluster != snapshot.ClusterUID || l.moved() || !began.Before(l.readAgain()) {
		l.takeOver.over(began)
		if !l.observe(ctx, snapshot, permit) {
			l.tellTrouble(ctx, snapshot)
			return
		}
		l.term = permit.Term
	}
	l.wakeAt(l.readAgain())
	if !l.reread(ctx) {
		l.tellTrouble(ctx, snapshot)
		return
	}

	result := l.translate(snapshot)
	plan := l.plan(ctx, result)
	if l.observedAt.Before(began) {
		switch found, err := l.lookBeforeCreating(ctx, plan); {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.enterTrouble(err)
			l.tellTrouble(ctx, snapshot)
			return
		case found:
			result = l.translate(snapshot)
			plan = l.plan(ctx, result)
		}
	}
	plan = l.gather(plan)
	if l.moved() {
		l.again = true // another one was asked by now: it is read whole first
		return
	}
	if len(plan.Steps) > 0 {
		if err := l.o.Lease.Announce(ctx, l.term, l.through); err != nil {
			l.o.Log.Debug("nothing is written before the Lease names the traffic manager that it goes through", "error", err)
			l.wakeAt(l.now().Add(l.o.Settings.RetryPeriod))
			return
		}
	}
	l.noteClaims(plan)
	applied := l.apply(ctx, plan)
	l.wrote(applied.writes)
	l.wakeAt(l.glances.at)
	if applied.snapshot != nil {
		snapshot = applied.snapshot // result is of this one now
	}
	var problem *translate.Reason
	switch {
	case ctx.Err() != nil:
		return
	case applied.abort == errNoPermit:
		// Another one may write by now: nothing is told, and all is read anew.
		l.again = true
		return
	case applied.abort != nil && l.moved():
		l.again = true // through another one
		return
	case applied.abort != nil:
		l.enterTrouble(applied.abort)
		problem = l.trouble.reason()
	}
	if applied.abort == nil && l.o.InLine != nil {
		l.o.InLine()
	}
	now := l.now()
	for id, f := range l.failures {
		switch {
		case f.next.After(now):
			l.wakeAt(f.next)
		case l.waits[id] == "":
			// Due, yet not sent (overtaken, or held back): not at once again, or
			// rounds would follow each other without a pause.
			l.wakeAt(now.Add(confirmAfter))
		}
		// One that waits for another resource is sent in the round in which that one
		// succeeds.
	}
	for id := range l.failures {
		// What nobody wants any more and isn't there needs no further attempt.
		if result.Desired[id] == nil && l.observed.Owned[id] == nil {
			delete(l.failures, id)
		}
	}
	drift := l.tellDrift(plan)
	live := l.tell(ctx, snapshot, result, began, problem)
	l.done(Round{
		Began: began, Ended: l.now(), Writing: true, Result: result,
		Writes: applied.writes, Failed: applied.failed, Live: live, Retries: applied.retries, Drift: drift,
	})
}

// tellAlone sees to it that the event log hears of a cluster that can't be watched
// since its API server is too old. Nothing else is changed: of what such a
// cluster holds nothing is known.
func (l *Loop) tellAlone(ctx context.Context) {
	if l.o.TooOld == nil || l.o.Relay == nil {
		return
	}
	uid := l.o.TooOld()
	permit, writing := l.o.Lease.Permit()
	if uid == "" || !writing {
		return
	}
	l.wakeAt(l.now().Add(l.o.Settings.ResyncPeriod))
	snapshot := &kube.Snapshot{ClusterUID: uid}
	if !l.observe(ctx, snapshot, permit) {
		return
	}
	l.term = permit.Term
	if err := l.o.Lease.Announce(ctx, l.term, l.through); err != nil {
		return
	}
	result := l.translate(snapshot)
	plan := l.diff(result).filter(func(s *Step) string {
		if s.Action != Delete && s.After.ID.Name == translate.RelayName(l.o.Settings.ControllerID) {
			return ""
		}
		return "Kubernetes can't be watched"
	})
	l.apply(ctx, plan)
}

// plan is what is to be sent now, as far as nothing holds it back.
func (l *Loop) plan(ctx context.Context, result *translate.Result) *Plan {
	plan := l.diff(result)
	if l.takeOver.waiting() {
		if l.takeOver.desired == nil {
			l.takeOver.desired = maps.Clone(result.Desired)
		}
		plan = plan.filter(func(s *Step) string {
			if l.takeOver.leaves(s) {
				return "may have been written through another traffic manager: left as it is until that must have been replicated"
			}
			return ""
		})
	}
	l.dropFutile(plan)
	return l.postpone(l.brake(ctx, plan))
}

func (l *Loop) translate(snapshot *kube.Snapshot) *translate.Result {
	l.snapshot = snapshot
	input := translate.Input{Snapshot: l.keepClasses(snapshot), Settings: l.o.Settings, SelfSigned: l.selfSigned, Relay: l.o.Relay}
	if l.o.ACME != nil {
		input.ACME = l.o.ACME()
	}
	if l.observed != nil {
		input.Appliance = l.observed.Appliance
		input.Programmed = l.observed.Programmed()
	}
	result := l.translator.Translate(input)
	changes := l.translator.Changes()
	for _, id := range changes.Resources {
		l.unsettled.add(id)
	}
	for _, name := range changes.Ingresses {
		l.users.update(name, result.Verdicts[name])
		l.judged[name] = struct{}{}
		l.untold.add(name)
	}
	return result
}

// standBy keeps this instance ready to become the writer: what it knows of the
// traffic manager may be old, and is read anew by then.
func (l *Loop) standBy(ctx context.Context, snapshot *kube.Snapshot) {
	l.trouble, l.confirmAt, l.confirmed = nil, time.Time{}, nil
	l.term = 0
	now := l.now()
	if l.standingBy.IsZero() {
		l.standingBy = now
	}
	if settled := l.standingBy.Add(l.o.Settings.RetryPeriod); now.Before(settled) {
		// It may well become the writer at once, and would read all twice.
		l.wakeAt(settled)
		return
	}
	// Another instance tells now; what it told is not known here.
	clear(l.told)
	clear(l.notices)
	clear(l.failures)
	clear(l.replicating)
	l.forgetSays()
	l.lookAtAll()
	var trouble error
	if l.observed == nil {
		observed, through, err := l.readWhole(ctx, snapshot.ClusterUID)
		if err != nil {
			l.o.Log.Debug("standing by: the traffic manager can't be read", "error", err)
			trouble = err
			l.wakeAt(l.now().Add(sickEvery))
		} else {
			l.use(observed, snapshot)
			l.through = through
		}
	}
	result := l.translate(snapshot)
	l.done(Round{Began: now, Ended: l.now(), Result: result, Trouble: trouble})
}

// moved says whether another member is in use than the one that observed is of.
func (l *Loop) moved() bool { return l.o.Client.Endpoint() != l.through }

// readAgain is when all is read anew though nothing happens. It waits until changes of
// ours are replicated: asking would put that off.
func (l *Loop) readAgain() time.Time {
	at := l.observedAt.Add(l.o.Settings.ResyncPeriod)
	if next := l.takeOver.next(); !next.IsZero() && next.Before(at) {
		at = next
	}
	if replicated := l.glances.replicating(); at.Before(replicated) {
		return replicated
	}
	return at
}

// goThrough picks the member to go through before all is read: see takeOver.
func (l *Loop) goThrough(permit Permit) {
	home := ""
	if l.o.Home != nil {
		home = l.o.Home()
	}
	if permit.Term != l.inherited {
		l.inherited = permit.Term
		l.takeOver.inherit(permit.Inherited)
		if in := permit.Inherited.Through; in != "" {
			home = in
		}
	} else if !l.takeOver.resting(l.now(), l.glances.replication.Ends()) {
		return
	}
	if home != "" {
		l.o.Client.Use(home)
	}
}

// readWhole reads all through one member, and says through which.
func (l *Loop) readWhole(ctx context.Context, cluster types.UID) (observed *Observed, through string, err error) {
	for range len(l.o.Settings.VTMEndpoints) + 1 {
		through = l.o.Client.Endpoint()
		observed, err = Observe(ctx, l.o.Client, l.o.Settings.ControllerID, string(cluster))
		if err != nil || l.o.Client.Endpoint() == through {
			return observed, through, err
		}
	}
	return nil, "", errors.New("one traffic manager after the other ceases to answer while it is read")
}

// observe reads the traffic manager anew. It reports whether that succeeded; else
// there is trouble.
func (l *Loop) observe(ctx context.Context, snapshot *kube.Snapshot, permit Permit) bool {
	l.goThrough(permit)
	observed, through, err := l.readWhole(ctx, snapshot.ClusterUID)
	if err != nil {
		if ctx.Err() == nil {
			l.enterTrouble(err)
		}
		return false
	}
	if l.trouble != nil {
		l.o.Log.Warn("the traffic manager can be used again", "endpoint", l.o.Client.Endpoint())
		l.trouble = nil
	}
	var known map[vtm.ID]*vtm.Resource
	if l.term == permit.Term {
		known = maps.Clone(l.settled)
	}
	l.use(observed, snapshot)
	l.through = through
	if permit.Term != l.servedTerm {
		l.served, l.servedTerm = servedOf(observed), permit.Term
	}
	l.readReplication(ctx)
	l.readMember(ctx)
	l.takeOver.looked(through, l.now(), l.glances.replication.Ends(), known)
	if l.takeOver.waiting() {
		l.before = nil // what differs is not somebody else's doing
		l.o.Log.Warn("goes on through another traffic manager than the one that was written through last: until that must have been replicated, only what is new is written",
			"endpoint", through, "last", l.takeOver.through, "until", l.takeOver.until.UTC().Format(time.TimeOnly))
	}
	if l.glances.at.IsZero() {
		l.glances.at = l.now().Add(afterReplication)
	}
	return true
}

func (l *Loop) use(observed *Observed, snapshot *kube.Snapshot) {
	l.observed, l.observedAt, l.cluster = observed, l.now(), snapshot.ClusterUID
	if !mutation.On(mutation.DriftIgnored) {
		l.before, l.settled = l.settled, map[vtm.ID]*vtm.Resource{}
	}
	clear(l.tables) // what all are told of now must not wait
	l.lookAtAll()
	l.retell = true
	for _, f := range l.failures {
		f.unsure = false // it was just read
	}
}

// reread reads those resources of which it isn't known whether a write took
// effect, when they are due. It reports false when there is trouble.
func (l *Loop) reread(ctx context.Context) bool {
	now := l.now()
	due := map[vtm.ID]bool{}
	for id, f := range l.failures {
		if f.unsure && !now.Before(f.next) {
			due[id] = true
		}
	}
	if len(due) == 0 {
		return true
	}
	ids := sortedIDs(due)
	read, err := readAll(ctx, l.o.Client, ids)
	if err != nil {
		if ctx.Err() == nil {
			l.enterTrouble(err)
		}
		return false
	}
	for _, id := range ids {
		l.failures[id].unsure = false
		l.learn(id, read[id])
	}
	return true
}

// learn notes what was just read of one resource, nil if there is none.
func (l *Loop) learn(id vtm.ID, r *vtm.Resource) {
	delete(l.settled, id)
	l.unsettled.add(id)
	if r != nil {
		if mark, ok := r.Mark(); ok && mark.ID == l.o.Settings.ControllerID && types.UID(mark.Cluster) == l.cluster {
			l.observed.put(r)
			return
		}
		l.observed.Clashes[id] = true
	}
	l.observed.remove(id)
}

// fewCreated is up to how many resources of a type are asked for one by one.
const fewCreated = 16

// lookBeforeCreating asks the traffic manager whether what plan creates is there
// by now: a PUT would overwrite what somebody made under that name since all was
// read. It reports whether anything was found, which is known then.
func (l *Loop) lookBeforeCreating(ctx context.Context, plan *Plan) (found bool, err error) {
	byType := map[vtm.Type][]vtm.ID{}
	for i := range plan.Steps {
		if s := &plan.Steps[i]; s.Action == Create {
			byType[s.ID.Type] = append(byType[s.ID.Type], s.ID)
		}
	}
	if len(byType[vtm.TrafficIPGroups]) > 0 {
		if found, err = l.learnOthers(ctx, vtm.TrafficIPGroups); err != nil {
			return false, err
		}
	}
	var ask []vtm.ID
	for _, t := range vtm.Types {
		ids := byType[t]
		if len(ids) > fewCreated {
			names, err := l.o.Client.List(ctx, t) // sorted
			if err != nil {
				return false, err
			}
			ids = slices.DeleteFunc(ids, func(id vtm.ID) bool {
				_, there := slices.BinarySearch(names, id.Name)
				return !there
			})
		}
		ask = append(ask, ids...)
	}
	read, err := readAll(ctx, l.o.Client, ask)
	if err != nil {
		return false, err
	}
	for _, id := range ask {
		if r := read[id]; r != nil {
			l.learn(id, r)
			found = true
		}
	}
	return found, nil
}

// learnOthers reads the Traffic IP Groups or virtual servers that somebody else made
// since all was read, another controller perhaps, and forgets those that are gone: an
// address must not be claimed twice. It reports whether there are some.
func (l *Loop) learnOthers(ctx context.Context, t vtm.Type) (found bool, err error) {
	a := &l.observed.Appliance
	known := slices.Collect(maps.Keys(a.Groups))
	if t == vtm.VirtualServers {
		known = slices.Collect(maps.Keys(a.Servers))
	}
	slices.Sort(known)
	there := func(sorted []string, name string) bool {
		_, is := slices.BinarySearch(sorted, name)
		return is
	}
	ours := []byte(vtm.Prefix(l.o.Settings.ControllerID))
	names, err := l.o.Client.ListSome(ctx, t, func(name []byte) bool {
		// Somebody else's may have a name of ours.
		return !bytes.HasPrefix(name, ours) || there(known, string(name))
	})
	if err != nil {
		return false, err
	}
	var ask []vtm.ID
	for _, name := range names {
		if !there(known, name) {
			ask = append(ask, vtm.ID{Type: t, Name: name})
		}
	}
	gone := slices.DeleteFunc(known, func(name string) bool { return there(names, name) })
	read, err := readAll(ctx, l.o.Client, ask)
	if err != nil || len(read)+len(gone) == 0 {
		return false, err
	}
	// Copies, since translation remembers the old ones.
	groups, servers := maps.Clone(a.Groups), maps.Clone(a.Servers)
	for _, name := range gone {
		if t == vtm.TrafficIPGroups {
			delete(groups, name)
		} else {
			delete(servers, name)
		}
	}
	for id, r := range read {
		if t == vtm.TrafficIPGroups {
			groups[id.Name], l.observed.Machines[id.Name] = groupOf(r), machinesOf(r)
		} else {
			servers[id.Name] = serverOf(r)
		}
	}
	a.Groups, a.Servers = groups, servers
	return true, nil
}

// enterTrouble notes that the traffic manager can't be used, tells it if that is
// new, and sets when it is tried again.
func (l *Loop) enterTrouble(err error) {
	kind := vtm.KindOf(err)
	var other *ForeignClusterError
	foreign := errors.As(err, &other)
	t := l.trouble
	if t == nil || t.kind != kind || t.foreign != foreign {
		attempts := 0
		if t != nil {
			attempts = t.attempts
		}
		t = &trouble{err: err, kind: kind, foreign: foreign, attempts: attempts}
		l.trouble = t
		l.o.Log.Error("the traffic manager can't be used; what it serves stays as it is, and it is tried again", "error", err)
	}
	t.attempts++
	// Not faster than once a second: a wrong password may lead to a suspended
	// account (vtm/rest.md §4).
	t.next = l.now().Add(l.backoff("trouble", t.attempts, time.Second, 30*time.Second))
	l.wakeAt(t.next)
}

// postpone holds the steps whose last attempt failed and that aren't due yet.
func (l *Loop) postpone(p *Plan) *Plan {
	if len(l.failures) == 0 {
		return p
	}
	now := l.now()
	return p.filter(func(s *Step) string {
		f := l.failures[s.ID]
		if f == nil || !now.Before(f.next) || f.desired != s.After {
			return ""
		}
		return f.err.Error()
	})
}

// deletionHeld is the reason of the Event that says that the brake holds.
const deletionHeld = "DeletionHeld"

func (l *Loop) over(reason string) {
	if l.o.Over != nil {
		l.o.Over(reason)
	}
}

// brake holds a plan that would end the service of too many at once, until a
// second list of Kubernetes, some time later, agrees.
func (l *Loop) brake(ctx context.Context, plan *Plan) *Plan {
	held, ceasing := Brake(plan, l.observed, l.confirmed)
	now := l.now()
	if len(ceasing) == 0 {
		if !l.confirmAt.IsZero() {
			l.confirmAt = time.Time{}
			l.over(deletionHeld)
			l.o.Log.Warn("the plan that was held back takes away less now: going on")
		}
		if len(Ceasing(plan, l.observed)) == 0 {
			l.confirmed = nil
		}
		return plan
	}
	if l.confirmAt.IsZero() {
		l.confirmAt = now.Add(confirmAfter)
		const text = "more than half of the served Ingresses would cease to be served: nothing is taken away until Kubernetes, asked again, agrees"
		l.o.Log.Error(text, "ceasing", len(ceasing), "after", confirmAfter)
		if l.o.Warn != nil {
			l.o.Warn(deletionHeld, fmt.Sprintf("%s (%d of %d, after %s)", text, len(ceasing), len(l.observed.serving), confirmAfter))
		}
	}
	if now.Before(l.confirmAt) {
		l.wakeAt(l.confirmAt)
		return held
	}
	if snapshot, err := l.o.Confirm(ctx); err != nil {
		l.o.Log.Error("Kubernetes could not be asked again whether so many Ingresses cease", "error", err)
	} else {
		// A Translator of its own: this Snapshot shares nothing with the others.
		second := translate.New().Translate(translate.Input{
			Snapshot: snapshot, Settings: l.o.Settings,
			Appliance: l.observed.Appliance, Programmed: l.observed.Programmed(), SelfSigned: l.selfSigned, Relay: l.o.Relay,
		})
		l.confirmed = Ceasing(Diff(second.Desired, l.observed, nil), l.observed)
		if held, ceasing = Brake(plan, l.observed, l.confirmed); len(ceasing) == 0 {
			l.confirmAt = time.Time{}
			l.over(deletionHeld)
			l.o.Log.Warn("Kubernetes, asked again, agrees that so many Ingresses cease: going on")
			return plan
		}
		// It may just have changed; but a watch that began with a wrong list would never say so.
		l.o.Log.Warn("Kubernetes, asked again, does not agree that so many Ingresses cease: all is listed anew", "ceasing", len(ceasing))
		if l.o.Relist != nil {
			l.o.Relist()
		}
	}
	l.confirmAt = l.now().Add(confirmAfter)
	l.wakeAt(l.confirmAt)
	return held
}

// overtake sends changes of pools' nodes that came while a long plan is applied:
// where a Pod is gone, users wait for it.
func (l *Loop) overtake(ctx context.Context, a *applying) {
	a.row = 0
	select {
	case <-l.o.Changed:
	default:
		return
	}
	snapshot := l.o.Snapshot()
	if snapshot == l.snapshot {
		return // Changed was for what this plan is of
	}
	l.again = true
	if snapshot == nil || ctx.Err() != nil {
		return
	}
	a.snapshot = snapshot
	plan := l.diff(l.translate(snapshot))
	var urgent []Step
	for _, s := range plan.Steps {
		if s.Stage == stageNodes && l.failures[s.ID] == nil {
			urgent = append(urgent, s)
		}
	}
	a.passing = true
	a.run(ctx, urgent)
	a.passing = false
	for _, s := range urgent {
		if l.settled[s.ID] == s.After {
			a.overtaken[s.ID] = true
		}
	}
}
