package translate

import (
	"cmp"
	"maps"
	"slices"

	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// listener is what listens at one place: those to whom it is granted, and what it
// takes on the traffic manager. It is changed entry by entry, so that the work is
// proportional to the change.
type listener struct {
	place model.Place
	site  *site
	kind  listenerKind

	exclusive bool     // the same as kind.exclusive
	shares    []*entry // by rank; entry.granted is what each brought
	index     *index   // of a shared listener
	changed   bool     // since it was built

	// shadows of each host's routes, by owner; no empty ones.
	shadows map[model.Host]map[*entry][]model.Shadow

	// What it takes: built.
	own       []*vtm.Resource       // virtual server and rules
	libraries map[int]*vtm.Resource // by bucket; nil: the routes stand in one rule
	main      *vtm.Resource         // the rule that asks them
	rest      *vtm.Resource         // the library of default backends; nil if there is none
	rows      []any                 // certificates by host, of a shared listener that decrypts
	rowsOld   bool                  // rows are to be made anew
}

// listenerKind is what two claims of one place must have in common.
type listenerKind struct{ exclusive, tls bool }

func kindOf(c *model.Claim) listenerKind { return listenerKind{c.Exclusive || c.Alone, c.TLS} }

func newListener(s *site, place model.Place, kind listenerKind) *listener {
	l := &listener{place: place, site: s, kind: kind, exclusive: kind.exclusive, shadows: map[model.Host]map[*entry][]model.Shadow{}}
	if !kind.exclusive {
		l.index = newIndex()
	}
	return l
}

// holder is the oldest owner, in whose name the listener stands.
func (l *listener) holder() model.Owner { return l.shares[0].granted.Owner }

// restShare is the share whose default backend is used, nil if there is none.
func (l *listener) restShare() *model.Share {
	switch {
	case !l.exclusive && len(l.index.defaults) > 0 && mutation.On(mutation.YoungestDefault):
		return l.index.defaults[len(l.index.defaults)-1].granted
	case !l.exclusive && len(l.index.defaults) > 0:
		return l.index.defaults[0].granted
	case l.exclusive && !mutation.On(mutation.DefaultLost) && l.shares[0].granted.Default != "":
		return l.shares[0].granted
	}
	return nil
}

func (l *listener) routes() int {
	if l.exclusive {
		return len(l.shares[0].granted.Routes)
	}
	return l.index.routes
}

// insert and remove keep a list of entries that are granted something sorted by
// rank.
func insert(list []*entry, e *entry) []*entry {
	at, _ := slices.BinarySearchFunc(list, e, compareGranted)
	return slices.Insert(list, at, e)
}

func remove(list []*entry, e *entry) []*entry {
	if at, ok := slices.BinarySearchFunc(list, e, compareGranted); ok {
		return slices.Delete(list, at, at+1)
	}
	return list
}

func compareGranted(a, b *entry) int { return a.granted.Owner.Compare(b.granted.Owner) }

// join grants the listener to an entry.
func (l *listener) join(e *entry) {
	e.listener, e.granted, e.stale = l, e.claim.Share, true
	l.shares = insert(l.shares, e)
	l.changed = true
	if l.index != nil {
		l.index.add(e)
	}
	l.rowsOld = l.rowsOld || len(e.granted.Certificates) > 0
}

// leave takes from an entry what it was granted.
func (e *entry) leave() {
	e.grant = model.Grant{}
	l := e.listener
	if l == nil {
		return
	}
	l.shares = remove(l.shares, e)
	l.changed = true
	if l.index != nil {
		l.index.remove(e)
	}
	l.rowsOld = l.rowsOld || len(e.granted.Certificates) > 0
	e.listener, e.granted, e.stale = nil, nil, true
}

// index finds what stands on a shared listener.
type index struct {
	routes   int
	hosts    map[model.Host][]*entry            // those with routes of a host, by rank
	under    map[model.Host]map[model.Host]bool // hosts by the wildcard that covers them
	buckets  [buckets]map[model.Host]bool       // hosts by library
	defaults []*entry                           // those with a default backend, by rank
	all      []*entry                           // those that take all requests, by rank
	changed  map[model.Host]bool                // hosts whose routes changed since the listener was built
	first    struct{ byDefault, byAll *entry }  // of defaults and all, when it was built
}

func newIndex() *index {
	return &index{hosts: map[model.Host][]*entry{}, under: map[model.Host]map[model.Host]bool{}, changed: map[model.Host]bool{}}
}

func (x *index) add(e *entry) {
	share := e.granted
	x.routes += len(share.Routes)
	for _, host := range share.Hosts() {
		if x.hosts[host] == nil {
			x.register(host)
		}
		x.hosts[host] = insert(x.hosts[host], e)
		x.changed[host] = true
	}
	if share.Default != "" {
		x.defaults = insert(x.defaults, e)
	}
	if share.TakesAll() {
		x.all = insert(x.all, e)
	}
}

func (x *index) remove(e *entry) {
	share := e.granted
	x.routes -= len(share.Routes)
	for _, host := range share.Hosts() {
		x.hosts[host] = remove(x.hosts[host], e)
		x.changed[host] = true
		if len(x.hosts[host]) == 0 {
			x.forget(host)
		}
	}
	x.defaults, x.all = remove(x.defaults, e), remove(x.all, e)
}

// register is for a host that has routes now.
func (x *index) register(host model.Host) {
	bucket := bucketOf(host)
	if x.buckets[bucket] == nil {
		x.buckets[bucket] = map[model.Host]bool{}
	}
	x.buckets[bucket][host] = true
	for _, above := range host.Above() {
		if above != "" {
			if x.under[above] == nil {
				x.under[above] = map[model.Host]bool{}
			}
			x.under[above][host] = true
		}
	}
}

// forget is for a host that has no routes any more.
func (x *index) forget(host model.Host) {
	delete(x.hosts, host)
	delete(x.buckets[bucketOf(host)], host)
	for _, above := range host.Above() {
		delete(x.under[above], host)
		if len(x.under[above]) == 0 {
			delete(x.under, above)
		}
	}
}

// around are the entries that may take requests for a host, by rank, each once.
func (x *index) around(host model.Host) []*entry {
	around := slices.Clone(x.hosts[host])
	for _, above := range host.Above() {
		around = append(around, x.hosts[above]...)
	}
	slices.SortFunc(around, compareGranted)
	return slices.Compact(around)
}

// affected are the hosts with routes that may be covered by others than before.
func (x *index) affected() map[model.Host]bool {
	if x.changed[""] {
		all := maps.Clone(x.changed)
		for host := range x.hosts {
			all[host] = true
		}
		return all
	}
	affected := maps.Clone(x.changed)
	for host := range x.changed {
		maps.Copy(affected, x.under[host])
	}
	return affected
}

// build makes what the listener takes, where it changed, and calls tell with each
// entry that others' changes concern.
func (t *Translator) build(l *listener, tell func(*entry)) {
	if l.exclusive {
		clear(l.shadows)
		for _, host := range l.shares[0].granted.Hosts() {
			l.findShadows(host, l.shares, func(*entry) {})
		}
	} else {
		for host := range l.index.affected() {
			l.findShadows(host, l.index.around(host), tell)
		}
		t.tellDefaults(l, tell)
	}
	t.buildRules(l, tell)
	if l.index != nil {
		clear(l.index.changed)
	}
	l.changed = false
}

// findShadows finds the shadows of a host's routes anew; around are all that may
// take its requests.
func (l *listener) findShadows(host model.Host, around []*entry, tell func(*entry)) {
	shares := make([]*model.Share, len(around))
	of := make(map[*model.Share]*entry, len(around))
	for i, e := range around {
		shares[i], of[e.granted] = e.granted, e
	}
	var found map[*entry][]model.Shadow
	for _, shadow := range model.Shadows(host, shares) {
		if found == nil {
			found = map[*entry][]model.Shadow{}
		}
		found[of[shadow.Share]] = append(found[of[shadow.Share]], shadow)
	}
	before := l.shadows[host]
	if found == nil {
		delete(l.shadows, host)
	} else {
		l.shadows[host] = found
	}
	for e := range before {
		if e.listener == l && !slices.Equal(before[e], found[e]) {
			tell(e)
		}
	}
	for e := range found {
		if before[e] == nil {
			tell(e)
		}
	}
}

// tellDefaults tells all with a default backend when another one is first.
func (t *Translator) tellDefaults(l *listener, tell func(*entry)) {
	first := l.index.first
	first.byDefault, first.byAll = nil, nil
	if len(l.index.defaults) > 0 {
		first.byDefault = l.index.defaults[0]
	}
	if len(l.index.all) > 0 {
		first.byAll = l.index.all[0]
	}
	if first != l.index.first {
		for _, e := range l.index.defaults {
			tell(e)
		}
	}
	l.index.first = first
}

// shadowsOf are the routes of an entry, and its default backend, that never get a
// request.
func (l *listener) shadowsOf(e *entry) []model.Shadow {
	var all []model.Shadow
	for _, host := range e.granted.Hosts() {
		all = append(all, l.shadows[host][e]...)
	}
	if l.index == nil || e.granted.Default == "" {
		return all
	}
	by := l.index.first.byAll
	if by == nil {
		by = l.index.first.byDefault
	}
	if by != nil && by != e {
		all = append(all, model.Shadow{Share: e.granted, Covered: by.granted.Owner})
	}
	return all
}

// buildRules makes rules, libraries and virtual server.
func (t *Translator) buildRules(l *listener, tell func(*entry)) {
	names := t.env.names
	many := t.handful.exceeded(len(l.shares), l.routes(), t.libraries[names.libraries(l.place)])
	if many != (l.libraries != nil) {
		// What it takes has other names now.
		for _, e := range l.shares {
			tell(e)
		}
		l.libraries, l.rest, l.main = nil, nil, nil
	}
	var routing []*vtm.Resource
	rule := func(name string, content []byte) *vtm.Resource {
		return t.intern(vtm.NewFile(vtm.Rules, name, content))
	}
	mark := t.env.listenerMark(l.place)
	switch {
	case many:
		t.buildLibraries(l, mark.Comment())
		if !l.exclusive {
			l.rest = rule(names.rest(l.place), emitRest(l.restShare(), names, mark.Comment()))
		}
		if l.main == nil || l.exclusive {
			// It is the same for all Ingresses of a shared listener.
			l.main = rule(names.rule(l.place), emitMain(l, names, mark.Comment()))
		}
		routing = append(routing, l.main)
	case needsRule(l):
		routing = append(routing, rule(names.rule(l.place), emitRule(l, names, t.env.mark(l.holder()).Comment())))
	}
	if l.rowsOld && !l.exclusive {
		l.rows, l.rowsOld = certificateRows(l.shares, l.rows), false
	}
	l.own = t.env.server(l, routing, t.standard.name)
	for i := range l.own {
		l.own[i] = t.intern(l.own[i])
	}
}

// buildLibraries makes the libraries whose hosts changed; all, if there were none.
func (t *Translator) buildLibraries(l *listener, mark string) {
	names := t.env.names
	due := map[int]bool{}
	if l.libraries == nil || l.exclusive {
		l.libraries = make(map[int]*vtm.Resource, buckets)
		for bucket := range buckets {
			due[bucket] = true
		}
	} else {
		for host := range l.index.changed {
			due[bucketOf(host)] = true
		}
	}
	content := map[int][]hosted{}
	if l.exclusive {
		share := l.shares[0].granted
		for _, host := range share.Hosts() {
			content[bucketOf(host)] = append(content[bucketOf(host)], hosted{host, hash(string(host)), []*model.Share{share}})
		}
	} else {
		for bucket := range due {
			for host := range l.index.buckets[bucket] {
				h := hosted{host: host, hash: hash(string(host))}
				for _, e := range l.index.hosts[host] {
					h.shares = append(h.shares, e.granted)
				}
				content[bucket] = append(content[bucket], h)
			}
		}
	}
	of := slices.Collect(maps.Keys(due))
	made := make([]*vtm.Resource, len(of))
	t.each(len(of), func(i int) {
		made[i] = t.intern(vtm.NewFile(vtm.Rules, names.library(l.place, of[i]), emitLibrary(content[of[i]], names, mark)))
	})
	for i, bucket := range of {
		l.libraries[bucket] = made[i]
	}
}

// certificateRows is the table of certificates by host, sorted; before is what it was.
func certificateRows(shares []*entry, before []any) []any {
	byHost := map[string]string{}
	for _, e := range shares {
		for host, name := range e.granted.Certificates {
			if mutation.On(mutation.OneCertificate) && len(byHost) > 0 {
				continue
			}
			byHost[host] = name // the same for all (model.Allotment)
		}
	}
	return rowsOf(byHost, before)
}

// rowsOf makes the rows, or takes them from before, which is sorted, too: mostly one of
// thousands changed.
func rowsOf(byHost map[string]string, before []any) []any {
	rows := make([]any, 0, len(byHost))
	text := func(row any, column string) string { return row.(map[string]any)[column].(string) }
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		for len(before) > 0 && text(before[0], "host") < host {
			before = before[1:]
		}
		if len(before) > 0 && text(before[0], "host") == host && text(before[0], "certificate") == byHost[host] {
			rows = append(rows, before[0])
			continue
		}
		rows = append(rows, map[string]any{"host": host, "certificate": byHost[host]})
	}
	return rows
}

// needs are the resources of the listener that an entry is served by.
func (l *listener) needs(e *entry) []vtm.ID {
	var ids []vtm.ID
	for _, r := range l.own {
		ids = append(ids, r.ID)
	}
	if l.libraries != nil {
		seen := map[int]bool{}
		for _, host := range e.granted.Hosts() {
			if bucket := bucketOf(host); !seen[bucket] {
				seen[bucket] = true
				ids = append(ids, l.libraries[bucket].ID)
			}
		}
		if l.rest != nil && e.granted.Default != "" {
			ids = append(ids, l.rest.ID)
		}
	}
	if e.grant.Redirect || e.wish.letsEncrypt {
		for _, r := range l.site.redirect {
			ids = append(ids, r.ID)
		}
	}
	if l.site.group != nil {
		ids = append(ids, l.site.group.ID)
	}
	return ids
}

// resources are all that it takes.
func (l *listener) resources() []*vtm.Resource {
	all := slices.Clone(l.own)
	for _, bucket := range slices.SortedFunc(maps.Keys(l.libraries), cmp.Compare[int]) {
		all = append(all, l.libraries[bucket])
	}
	if l.rest != nil {
		all = append(all, l.rest)
	}
	return all
}
