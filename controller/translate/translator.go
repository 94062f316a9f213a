package translate

import (
	"maps"
	"reflect"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
)

// Translator translates, and remembers the last translation to do only what a
// change takes. That is all it remembers for: a fresh one gives the same result.
// It is for one goroutine at a time.
type Translator struct {
	handful handful
	many    int // see each
	env     *environment
	entries map[types.NamespacedName]*entry
	sites   map[model.Site]*site

	// snapshot is the last one: what differs from it is read.
	snapshot kube.Snapshot

	keys map[types.NamespacedName]*serverKey // by Secret

	// users are the entries with a backend of a Service, secretUsers those that name a
	// Secret; idle those that are not working, which depend on Programmed.
	users       entriesBy[types.NamespacedName]
	secretUsers entriesBy[types.NamespacedName]
	idle        map[*entry]bool

	// The work of one translation; empty between two.
	due        map[*entry]bool               // entries to be refreshed
	dueKeys    map[types.NamespacedName]bool // Secrets whose server keys may have changed
	dirty      map[model.Site]bool           // sites whose claims changed since they were allotted
	reanswered map[model.Site]bool           // sites whose challenges changed
	gone       []*entry                      // entries that were removed
	withdrawn  []*vtm.Resource               // what sites that are no more had shown

	shownKeys map[types.NamespacedName]*vtm.Resource // what Desired holds of each Secret

	// standard is the server key of shared listeners that decrypt; users are those
	// listeners, and shown what Desired holds of it by their need alone.
	standard standard
	relay    relay
	acme     acmeState

	libraries map[string]bool // Programmed.Libraries of the last translation; not changed in place

	last    *Result
	changes Changes
}

// site is what a Translator remembers of one site.
type site struct {
	claimants []*entry // by rank
	// allotment is what the first allotted claimants got: who comes last, as new
	// Ingresses do, changes nothing of it.
	allotment model.Allotment
	allotted  int
	listeners map[uint16]*listener
	redirect  []*vtm.Resource // of port 80, if that redirects or answers
	answers   bool            // port 80 answers a certificate authority
	// redirectTo is the port that port 80 redirects to, 0 if it doesn't; redirecting
	// is for whom port 80 is there.
	redirectTo  uint16
	redirecting model.Owner
	group       *vtm.Resource   // nil on an existing group
	shown       []*vtm.Resource // what Desired holds of it
}

// New makes a Translator that remembers nothing.
func New() *Translator {
	t := &Translator{
		handful: usualHandful, many: usuallyMany,
		entries: map[types.NamespacedName]*entry{}, sites: map[model.Site]*site{},
		keys: map[types.NamespacedName]*serverKey{}, shownKeys: map[types.NamespacedName]*vtm.Resource{},
		users: entriesBy[types.NamespacedName]{}, secretUsers: entriesBy[types.NamespacedName]{}, idle: map[*entry]bool{},
		due: map[*entry]bool{}, dueKeys: map[types.NamespacedName]bool{}, dirty: map[model.Site]bool{}, reanswered: map[model.Site]bool{},
		acme:     newACMEState(),
		standard: standard{users: map[*listener]bool{}},
	}
	t.last = &Result{Desired: map[vtm.ID]*vtm.Resource{}, Verdicts: map[types.NamespacedName]*Verdict{}, of: t}
	return t
}

// Translate says what should be on the traffic manager for in, and what becomes
// of each Ingress of ours. It never fails: what can't be served has a verdict
// that says why.
//
// The result may not be modified, and holds until the next call, which changes
// its maps in place: Changes tells how. What did not change keeps its identity: a
// Resource and a Verdict. Of in, all but Programmed is remembered and may not be
// modified after.
func (t *Translator) Translate(in Input) *Result {
	env := newEnvironment(in, t.env)
	fresh := env != t.env
	t.env = env
	if fresh {
		t.restart()
	}
	t.readLibraries(in.Programmed.Libraries)
	t.readIngresses(in.Snapshot.Ingresses, fresh)
	t.readBackends(in.Snapshot)
	t.readSecrets(in.Snapshot.Secrets, fresh)
	t.snapshot = *in.Snapshot
	t.chooseStandard(in)
	t.readACME(in.ACME)
	t.chooseRelay(in)
	for e := range t.idle {
		t.due[e] = true
	}
	due := slices.Collect(maps.Keys(t.due))
	t.each(len(due), func(i int) { due[i].refresh(in, env, t.keys, t.intern) })
	for _, e := range due {
		if e.working() {
			delete(t.idle, e)
		} else {
			t.idle[e] = true
		}
		t.enter(e)
	}
	for where := range t.dirty {
		t.allot(where)
	}
	t.furnish()
	for where := range t.reanswered {
		if s := t.sites[where]; s != nil && !t.dirty[where] {
			t.answer(where, s)
			t.dirty[where] = true
		}
	}
	clear(t.reanswered)
	t.assemble()
	t.last.Certificates = t.wantedCertificates()
	return t.last
}

// Changes says what the last Translate changed.
func (t *Translator) Changes() Changes { return t.changes }

// restart forgets what was made of the environment: it is another one now.
func (t *Translator) restart() {
	for _, s := range t.sites {
		t.withdrawn = append(t.withdrawn, s.shown...)
	}
	clear(t.sites)
	t.acme.stale = true
	clear(t.standard.users)
	for _, e := range t.entries {
		e.claim, e.grant = model.Claim{}, model.Grant{}
		e.listener, e.granted, e.stale = nil, nil, true
		t.due[e] = true
	}
}

// readLibraries has the listeners made anew whose libraries came to be on the traffic
// manager, or are there no more. That is seldom, so that all are looked at.
func (t *Translator) readLibraries(libraries map[string]bool) {
	if maps.Equal(t.libraries, libraries) {
		return
	}
	before := t.libraries
	t.libraries = maps.Clone(libraries) // its owner goes on changing it
	for where, s := range t.sites {
		for _, l := range s.listeners {
			if name := t.env.names.libraries(l.place); before[name] != libraries[name] {
				l.changed, t.dirty[where] = true, true
			}
		}
	}
}

// readIngresses brings the entries up to date.
func (t *Translator) readIngresses(ingresses *kube.Table[types.NamespacedName, *networkingv1.Ingress], fresh bool) {
	var changed []types.NamespacedName
	if fresh {
		changed = slices.Collect(ingresses.Keys())
		for key := range t.entries {
			if ingresses.Get(key) == nil {
				t.remove(t.entries[key])
			}
		}
	} else {
		for key := range t.snapshot.Ingresses.Differing(ingresses) {
			changed = append(changed, key)
		}
	}
	wishes := make([]*wish, len(changed))
	t.each(len(changed), func(i int) {
		if ingress := ingresses.Get(changed[i]); ingress != nil && t.env.classes.own(ingress) {
			wishes[i] = readWish(ingress, t.env.settings)
		}
	})
	for i, key := range changed {
		t.readIngress(key, ingresses.Get(key), wishes[i], fresh)
	}
}

// readIngress takes over an object and what it asks for; nil if it is none of ours, or
// there is none any more.
func (t *Translator) readIngress(key types.NamespacedName, ingress *networkingv1.Ingress, w *wish, fresh bool) {
	e := t.entries[key]
	ours := w != nil
	if e != nil && (!ours || e.wish.share.Owner != ownerOf(ingress)) {
		// Also when it was deleted and made again: another Ingress, of another rank.
		t.remove(e)
		e = nil
	}
	if !ours {
		return
	}
	if e == nil {
		e = &entry{key: key}
		t.entries[key] = e
	}
	t.due[e] = true
	t.forgetUses(e)
	e.read(ingress, w, t.env, fresh, t.intern)
	for i := range e.backends {
		t.users.add(e.service(i), e)
	}
	for i := range e.wish.transport.tls {
		t.secretUsers.add(e.secret(i), e)
	}
	t.acme.note(e)
}

// readBackends finds the entries whose backends changed.
func (t *Translator) readBackends(s *kube.Snapshot) {
	changed := func(service types.NamespacedName) {
		for _, e := range t.users[service] {
			t.due[e] = true
		}
	}
	for service := range t.snapshot.Services.Differing(s.Services) {
		changed(service)
	}
	for service := range t.snapshot.Endpoints.Differing(s.Endpoints) {
		changed(service)
	}
}

// forgetUses is called before an entry changes and when it goes.
func (t *Translator) forgetUses(e *entry) {
	for i := range e.backends {
		t.users.remove(e.service(i), e)
	}
	if e.wish == nil {
		return // it is new
	}
	t.acme.forget(e)
	for i := range e.wish.transport.tls {
		t.secretUsers.remove(e.secret(i), e)
		t.dueKeys[e.secret(i)] = true // it may have been kept for this entry alone
	}
}

func (t *Translator) remove(e *entry) {
	e.stands = false
	t.enter(e)
	t.forgetUses(e)
	delete(t.entries, e.key)
	delete(t.due, e)
	delete(t.idle, e)
	t.gone = append(t.gone, e)
}

// enter makes an entry's claim the one that it has now.
func (t *Translator) enter(e *entry) {
	var claim model.Claim
	if e.stands {
		claim = e.wants()
	}
	if claim == e.claim {
		return
	}
	if e.claim.Share != nil {
		old := t.sites[e.claim.Site]
		if at, ok := slices.BinarySearchFunc(old.claimants, e, compareRank); ok {
			old.claimants = slices.Delete(old.claimants, at, at+1)
			old.claimsFrom(at)
		}
		t.dirty[e.claim.Site] = true
		e.leave()
	}
	e.claim = claim
	if claim.Share != nil {
		at := t.sites[claim.Site]
		if at == nil {
			at = &site{listeners: map[uint16]*listener{}}
			t.sites[claim.Site] = at
		}
		i, _ := slices.BinarySearchFunc(at.claimants, e, compareRank)
		at.claimants = slices.Insert(at.claimants, i, e)
		at.claimsFrom(i)
		t.dirty[claim.Site] = true
	}
}

// claimsFrom notes that the claims from the i-th on are other ones.
func (s *site) claimsFrom(i int) {
	if i < s.allotted {
		s.allotment, s.allotted = model.Allotment{}, 0
	}
}

// compareRank orders entries that claim by rank; no two are equal.
func compareRank(a, b *entry) int {
	return a.claim.Share.Owner.Compare(b.claim.Share.Owner)
}

// allot gives a site to those who claim it.
func (t *Translator) allot(where model.Site) {
	s := t.sites[where]
	allotment := &s.allotment
	for _, e := range s.claimants[s.allotted:] {
		grant := allotment.Grant(&e.claim)
		if grant.Refused != nil {
			e.leave()
		} else {
			t.grant(s, e)
		}
		if !grant.Equal(e.grant) {
			e.grant, e.stale = grant, true
		}
		if e.stale {
			t.due[e] = true
		}
	}
	s.allotted = len(s.claimants)
	if s.allotted == 0 {
		t.withdrawn = append(t.withdrawn, s.shown...)
		delete(t.sites, where)
	}
	s.redirectTo, s.redirecting = allotment.RedirectTo, allotment.Redirecting
	if s.redirectTo == 0 {
		s.redirecting = allotment.Answering
	}
	t.acme.stale = t.acme.stale || s.answers
	s.answers = allotment.Answering.UID != ""
	t.acme.stale = t.acme.stale || s.answers
	for port, l := range s.listeners {
		switch {
		case len(l.shares) == 0:
			delete(s.listeners, port)
			delete(t.standard.users, l)
		case l.changed && l.exclusive && l.kind.tls:
			if c := l.shares[0].certificates; c != nil && c.standard == "" {
				t.standard.users[l] = true
			} else {
				delete(t.standard.users, l)
			}
		}
	}
}

// furnish makes what the sites take that were allotted, each by itself.
func (t *Translator) furnish() {
	sites := slices.Collect(maps.Keys(t.dirty))
	concerned := make([][]*entry, len(sites))
	t.each(len(sites), func(i int) {
		where, s := sites[i], t.sites[sites[i]]
		if s == nil {
			return
		}
		if where.Group == "" {
			s.group = t.intern(t.env.group(where, s.allotment.Holder))
		}
		t.answer(where, s)
		for _, l := range s.listeners {
			if l.changed {
				t.build(l, func(e *entry) { concerned[i] = append(concerned[i], e) })
			}
		}
	})
	for _, entries := range concerned {
		for _, e := range entries {
			e.stale, t.due[e] = true, true
		}
	}
}

// answer makes what is on port 80 of a site that redirects or answers a certificate
// authority.
func (t *Translator) answer(where model.Site, s *site) {
	s.redirect = nil
	if s.redirectTo == 0 && !s.answers {
		return
	}
	s.redirect = t.env.redirect(where, s.redirectTo, s.redirecting, t.acme.at(s))
	for i := range s.redirect {
		s.redirect[i] = t.intern(s.redirect[i])
	}
}

// grant lets an entry join the listener that it claims.
func (t *Translator) grant(s *site, e *entry) {
	c := &e.claim
	l := s.listeners[c.Port]
	if l == nil || l.kind != kindOf(c) {
		if l != nil {
			// Those who were there are refused now.
			for _, other := range slices.Clone(l.shares) {
				other.leave()
				t.due[other] = true
			}
			delete(t.standard.users, l)
		}
		l = newListener(s, model.Place{Site: c.Site, Port: c.Port}, kindOf(c))
		s.listeners[c.Port] = l
		if l.kind.tls && !l.exclusive {
			t.standard.users[l] = true
		}
	}
	if e.listener == l && e.granted == c.Share {
		return
	}
	e.leave()
	l.join(e)
}

// intern returns the last result's resource instead of an equal one.
func (t *Translator) intern(r *vtm.Resource) *vtm.Resource {
	if last := t.last.Desired[r.ID]; vtm.Equal(last, r) {
		return last
	}
	return r
}

// assemble makes the verdicts that are stale, and brings the result up to date
// with what this translation touched.
func (t *Translator) assemble() {
	desired, verdicts := t.last.Desired, t.last.Verdicts
	before := map[vtm.ID]*vtm.Resource{} // of each resource that is touched
	touch := func(id vtm.ID) {
		if _, ok := before[id]; !ok {
			before[id] = desired[id]
		}
	}
	withdraw := func(resources []*vtm.Resource) {
		for _, r := range resources {
			touch(r.ID)
			delete(desired, r.ID)
		}
	}
	show := func(resources []*vtm.Resource) {
		for _, r := range resources {
			touch(r.ID)
			desired[r.ID] = r
		}
	}

	t.showRelay(withdraw, show) // nothing else has names like its own
	// All that goes goes first: what comes may have the same name.
	withdraw(t.withdrawn)
	if t.standard.shown != nil && (t.standard.shown != t.standard.resource || len(t.standard.users) == 0) {
		withdraw([]*vtm.Resource{t.standard.shown})
		t.standard.shown = nil
	}
	for _, e := range t.gone {
		withdraw(e.shown)
	}
	for where := range t.dirty {
		if s := t.sites[where]; s != nil {
			withdraw(s.shown)
		}
	}
	for e := range t.due {
		if e.stale {
			withdraw(e.shown)
		}
		for i := range e.wish.transport.tls {
			t.dueKeys[e.secret(i)] = true
		}
	}
	for name := range t.dueKeys {
		if shown := t.shownKeys[name]; shown != nil {
			withdraw([]*vtm.Resource{shown})
			delete(t.shownKeys, name)
		}
	}

	var judged []types.NamespacedName
	for _, e := range t.gone {
		if t.entries[e.key] == nil {
			delete(verdicts, e.key)
			judged = append(judged, e.key)
		}
	}
	for where := range t.dirty {
		if s := t.sites[where]; s != nil {
			s.shown = s.resources()
			show(s.shown)
		}
	}
	stale := slices.Collect(maps.Keys(t.due))
	stale = slices.DeleteFunc(stale, func(e *entry) bool { return !e.stale })
	judgements := make([]*Verdict, len(stale)) // nil: as before
	t.each(len(stale), func(i int) {
		e := stale[i]
		e.stale = false
		e.shown = e.shows()
		if verdict := e.judge(t.env, &t.standard); !reflect.DeepEqual(verdicts[e.key], verdict) {
			judgements[i] = verdict
		}
	})
	for i, e := range stale {
		show(e.shown)
		if judgements[i] != nil {
			verdicts[e.key] = judgements[i]
			judged = append(judged, e.key)
		}
	}

	for name := range t.dueKeys {
		if r := t.serverKeyResource(name); r != nil {
			t.shownKeys[name] = r
			show([]*vtm.Resource{r})
		}
	}
	if r := t.standard.resource; r != nil && len(t.standard.users) > 0 {
		t.standard.shown = r
		show([]*vtm.Resource{r})
	}

	t.changes = Changes{Ingresses: judged}
	for id, r := range before {
		if desired[id] != r {
			t.changes.Resources = append(t.changes.Resources, id)
		}
	}
	t.changes.sort()
	t.withdrawn, t.gone = nil, nil
	clear(t.dirty)
	clear(t.due)
	clear(t.dueKeys)
}

// resources that the site takes.
func (s *site) resources() []*vtm.Resource {
	var all []*vtm.Resource
	for _, l := range s.listeners {
		all = append(all, l.resources()...)
	}
	all = append(all, s.redirect...)
	if s.group != nil {
		all = append(all, s.group)
	}
	return all
}
