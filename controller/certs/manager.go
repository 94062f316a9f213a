package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	legolog "github.com/go-acme/lego/v4/log"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// lego logs by itself, for the whole process, also what programs for DNS print; what
// matters is in its errors.
var quiet = sync.OnceFunc(func() { legolog.Logger = log.New(io.Discard, "", 0) })

// lookAgain is how often what is due is looked at without a change.
const lookAgain = 10 * time.Minute

// permitAgain is how often one that wrote looks whether it may write again.
const permitAgain = 3 * time.Second

// Options for New.
type Options struct {
	World    outside.World
	Log      *slog.Logger
	Actor    string
	Settings *config.Settings
	// Client reads and writes Secrets.
	Client kubernetes.Interface
	// Members are clients of the REST API, one for each traffic manager.
	Members []*vtm.Client
	// May says whether this instance is the one that writes.
	May func() (reconcile.Permit, bool)
	// Began is called when an order begins, Ended when it has ended, with its error.
	Began func()
	Ended func(error)
}

// Manager gets certificates and renews them.
type Manager struct {
	o       Options
	changed chan struct{} // State says something else
	woken   chan struct{}

	mu         sync.Mutex
	wanted     []translate.Certificate
	snapshot   *kube.Snapshot
	challenges map[types.NamespacedName][]translate.Challenge
	states     map[types.NamespacedName]translate.CertificateState
	ending     map[types.NamespacedName]time.Time // certificates that others made, with their end
	state      *translate.ACME

	// Of Run's goroutine alone.
	account *account // nil: not read in this term
	term    int
	running map[types.NamespacedName]*running
	ended   chan ended
	// waits are orders that have begun and go on later.
	waits map[types.NamespacedName]*waiting
	// registered is when the account was registered last in this term.
	registered time.Time
	// renewals is what the authority says of certificates (RFC 9773); asking ends the
	// questions that are under way, if any.
	renewals map[types.NamespacedName]renewal
	asking   context.CancelFunc
	told     chan []renewal
	// surplus is since when certificates are for more hosts than are wanted.
	surplus map[types.NamespacedName]time.Time
	// issued is what the cache held of a Secret when its certificate was issued, and
	// when that was: until the cache is up to date, it isn't looked at.
	issued map[types.NamespacedName]issued
	// leaves are the certificates of the Secrets that were looked at last: to read one
	// takes far longer than to look at it.
	leaves map[types.NamespacedName]read
	// nextTidy is when Secrets are looked over again; ends is when the certificates end
	// that others made: to read one takes far longer than to look at it.
	nextTidy time.Time
	ends     map[*corev1.Secret]time.Time
	// nextLeft is when records that were left behind are looked for again.
	nextLeft time.Time
	// lastWave is when the last wave of renewals began.
	lastWave time.Time
	// hinderedUntil is before when nothing can be ordered.
	hinderedUntil time.Time
}

// read is what a Secret holds; leaf is nil if that is no certificate.
type read struct {
	secret *corev1.Secret
	leaf   *x509.Certificate
}

type issued struct {
	cached *corev1.Secret
	at     time.Time
}

// registerAgain is how long an account lasts at least: an authority that forgets it at
// once is not asked without end.
const registerAgain = time.Hour

// cacheDelay is how long the cache may be behind.
const cacheDelay = 10 * time.Second

// running is an order under way.
type running struct {
	certificate translate.Certificate
	cancel      context.CancelFunc
}

// ended is what became of an order.
type ended struct {
	job    *job
	cached *corev1.Secret // when it began
	err    error
}

// New makes a Manager.
func New(o Options) *Manager {
	quiet()
	m := &Manager{
		o: o, changed: make(chan struct{}, 1), woken: make(chan struct{}, 1),
		challenges: map[types.NamespacedName][]translate.Challenge{}, states: map[types.NamespacedName]translate.CertificateState{},
		state: &translate.ACME{}, running: map[types.NamespacedName]*running{}, ended: make(chan ended), issued: map[types.NamespacedName]issued{},
		leaves: map[types.NamespacedName]read{}, waits: map[types.NamespacedName]*waiting{}, renewals: map[types.NamespacedName]renewal{},
		told: make(chan []renewal), surplus: map[types.NamespacedName]time.Time{},
	}
	return m
}

// State is an input of translation. Changed signals that it is another one.
func (m *Manager) State() *translate.ACME {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Changed has capacity 1.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

// Want says which certificates are wanted, and what Kubernetes holds.
func (m *Manager) Want(wanted []translate.Certificate, snapshot *kube.Snapshot) {
	m.mu.Lock()
	same := slices.EqualFunc(m.wanted, wanted, equal) &&
		m.snapshot != nil && !slices.ContainsFunc(wanted, func(c translate.Certificate) bool {
		return m.snapshot.Secrets.Get(c.Secret) != snapshot.Secrets.Get(c.Secret)
	})
	m.wanted, m.snapshot = wanted, snapshot
	m.mu.Unlock()
	if !same {
		signal(m.woken)
	}
}

func equal(a, b translate.Certificate) bool {
	return a.Secret == b.Secret && slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.Needs, b.Needs)
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func (m *Manager) now() time.Time { return m.o.World.Clock().Now() }

// publish makes State anew. It is called with mu held.
func (m *Manager) publish() {
	next := &translate.ACME{States: maps.Clone(m.states), Ending: m.ending}
	for _, some := range m.challenges {
		next.Challenges = append(next.Challenges, some...)
	}
	slices.SortFunc(next.Challenges, func(a, b translate.Challenge) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Host, b.Host), strings.Compare(a.Token, b.Token))
	})
	if slices.Equal(next.Challenges, m.state.Challenges) && maps.Equal(next.States, m.state.States) && maps.Equal(next.Ending, m.state.Ending) {
		return
	}
	m.state = next
	signal(m.changed)
}

// answer sets the challenges of a certificate that are to be answered.
func (m *Manager) answer(secret types.NamespacedName, challenges []translate.Challenge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(challenges) == 0 {
		delete(m.challenges, secret)
	} else {
		m.challenges[secret] = challenges
	}
	m.publish()
}

func (m *Manager) tell(secret types.NamespacedName, state *translate.CertificateState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state == nil {
		delete(m.states, secret)
	} else {
		m.states[secret] = *state
	}
	m.publish()
}

// wantedNow is what a certificate is wanted for now; nil if it isn't, or is for other
// hosts.
func (m *Manager) wantedNow(c translate.Certificate) *translate.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.wanted, func(w translate.Certificate) bool { return w.Secret == c.Secret && slices.Equal(w.Hosts, c.Hosts) })
	if i < 0 {
		return nil
	}
	now := m.wanted[i]
	return &now
}

// Run works until ctx ends, and returns when no order is under way any more.
func (m *Manager) Run(ctx context.Context) {
	defer m.stop()
	for {
		next := m.look(ctx)
		timer := m.o.World.Clock().NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-m.woken:
		case <-timer.C():
		case end := <-m.ended:
			m.finish(ctx, end)
		case told := <-m.told:
			m.hear(told)
		}
		timer.Stop()
	}
}

// stop ends all orders and questions, and waits for them.
func (m *Manager) stop() {
	for _, r := range m.running {
		r.cancel()
	}
	for len(m.running) > 0 {
		delete(m.running, (<-m.ended).job.certificate.Secret)
	}
	if m.asking != nil {
		m.asking()
		<-m.told
		m.asking = nil
	}
}

// look begins what is due, and returns when to look again.
func (m *Manager) look(ctx context.Context) time.Duration {
	m.mu.Lock()
	wanted, snapshot := m.wanted, m.snapshot
	m.mu.Unlock()
	permit, may := m.o.May()
	if !may || m.term != permit.Term {
		m.stop()
		m.account, m.term, m.hinderedUntil, m.registered = nil, permit.Term, time.Time{}, time.Time{}
		clear(m.issued)
		clear(m.waits)
		clear(m.renewals)
		m.nextTidy, m.nextLeft = time.Time{}, time.Time{}
	}
	if !may && snapshot != nil {
		return permitAgain
	}
	if snapshot == nil {
		return lookAgain
	}
	again := min(lookAgain, m.tidy(ctx, snapshot))
	if len(wanted) == 0 && len(m.running) == 0 && m.account == nil {
		return again
	}
	// What is not wanted any more, or for other hosts, ends.
	for _, r := range m.running {
		if m.wantedNow(r.certificate) == nil {
			r.cancel()
		}
	}
	if wait := m.hinderedUntil.Sub(m.now()); wait > 0 {
		return min(again, wait)
	}
	if m.account == nil {
		a, err := m.loadAccount(ctx)
		if err != nil {
			return m.hindered(ctx, wanted, snapshot, err)
		}
		m.account = a
	}
	m.forget(ctx, wanted)
	m.removeLeft(ctx)
	if m.account == nil {
		return 0 // it is made anew
	}
	again = min(again, m.ask(ctx, wanted, snapshot))
	now := m.now()
	list, next := m.due(wanted, snapshot, now)
	again = min(again, next)
	if len(list) > 0 && m.account.location() == "" {
		if err := m.register(ctx, m.account); err != nil {
			return m.hindered(ctx, wanted, snapshot, err)
		}
		m.registered = now
	}
	wave := untilWave(m.lastWave, list, now)
	if pause := wavePause(list, now); pause > 0 && wave <= 0 {
		m.lastWave = now
		again = min(again, pause)
	}
	for _, j := range list {
		if len(m.running) >= maxOrders {
			break
		}
		if j.kind != first && wave > 0 {
			again = min(again, wave)
			continue
		}
		m.begin(ctx, j, snapshot.Secrets.Get(j.certificate.Secret))
	}
	return again
}

// due are the orders that can begin now, renewals first, and after how long there may
// be others. It tells what the others wait for.
func (m *Manager) due(wanted []translate.Certificate, snapshot *kube.Snapshot, now time.Time) (list []*job, again time.Duration) {
	again = lookAgain
	at := map[*job]time.Time{}
	for _, c := range wanted {
		if m.running[c.Secret] != nil {
			continue
		}
		if was, is := m.issued[c.Secret]; is {
			if snapshot.Secrets.Get(c.Secret) == was.cached && now.Before(was.at.Add(cacheDelay)) {
				again = min(again, was.at.Add(cacheDelay).Sub(now))
				continue
			}
			delete(m.issued, c.Secret) // the cache is up to date
		}
		if len(c.Hosts) > translate.MaxCertificateHosts {
			m.tell(c.Secret, &translate.CertificateState{Failed: true, Message: fmt.Sprintf(
				"Ingresses %s together want it for %d hosts, and a certificate is issued for at most %d: use several Secrets", names(c.Ingresses), len(c.Hosts), translate.MaxCertificateHosts)})
			continue
		}
		failed, leaf := m.account.attempt(c.Secret).asOf(now), m.leaf(c.Secret, snapshot)
		if m.asking != nil && leaf != nil && m.renewals[c.Secret].leaf != leaf && kube.IssuedBy(snapshot.Secrets.Get(c.Secret), m.o.Settings.ControllerID) {
			continue // the answer says whether it is a renewal to the authority, and ends the wait
		}
		due := m.settle(c, leaf, dueAt(c, leaf, m.renewals[c.Secret].suggested(leaf), failed), now)
		if due.After(now) {
			again = min(again, due.Sub(now))
			if failed.Failures > 0 && slices.Equal(failed.Hosts, c.Hosts) {
				m.tell(c.Secret, failedState(failed))
			}
			continue
		}
		j := &job{certificate: c, account: m.account, leaf: leaf}
		if id := m.renewals[c.Secret].id(leaf); id != "" && slices.ContainsFunc(c.Hosts, func(host string) bool { return leaf.VerifyHostname(host) == nil }) {
			j.replaces = id
		}
		if covers(leaf, c.Hosts) {
			j.kind = renewed
			if j.replaces != "" {
				j.kind = replaces
			}
		}
		if wait := m.wait(j, now); wait != nil {
			again = min(again, wait.until.Sub(now))
			m.tell(c.Secret, waitingState(wait))
			continue
		}
		at[j] = due
		list = append(list, j)
	}
	slices.SortStableFunc(list, func(a, b *job) int {
		return cmp.Or(-cmp.Compare(min(a.kind, renewed), min(b.kind, renewed)), at[a].Compare(at[b]))
	})
	return list, again
}

// settle is when a certificate is due that is for more hosts than are wanted.
func (m *Manager) settle(c translate.Certificate, leaf *x509.Certificate, due, now time.Time) time.Time {
	if leaf == nil || !covers(leaf, c.Hosts) || !surplus(leaf, c.Hosts) {
		delete(m.surplus, c.Secret)
		return due
	}
	since, is := m.surplus[c.Secret]
	if !is {
		since = now
		m.surplus[c.Secret] = now
	}
	failed := m.account.attempt(c.Secret)
	if sooner := since.Add(settled); sooner.Before(due) && !(failed.Failures > 0 && slices.Equal(failed.Hosts, c.Hosts)) {
		return sooner
	}
	return due
}

// wait is what an order waits for; nil if it can begin.
func (m *Manager) wait(j *job, now time.Time) *waiting {
	name := j.certificate.Secret
	if w := m.waits[name]; w != nil {
		if w.until.After(now) {
			return w
		}
		delete(m.waits, name)
	}
	if _, is := j.account.begun(j.certificate); is {
		return nil // what it takes was taken
	}
	j.account.mu.Lock()
	defer j.account.mu.Unlock()
	if until, what := j.account.spent.allowed(m.o.Settings, j.certificate, j.kind, now); until.After(now) {
		return &waiting{until, what}
	}
	return nil
}

// forget drops what is kept of Secrets that nobody wants any more.
func (m *Manager) forget(ctx context.Context, wanted []translate.Certificate) {
	now := m.now()
	by := make(map[string]translate.Certificate, len(wanted))
	for _, c := range wanted {
		by[c.Secret.String()] = c
	}
	gone := 0
	a := m.account
	a.mu.Lock()
	for name, failed := range a.attempts {
		if _, is := by[name]; !is && now.After(failed.Next.Add(remembered)) {
			delete(a.attempts, name)
			gone++
		}
	}
	for name, order := range a.orders {
		if c, is := by[name]; !is || !slices.Equal(c.Hosts, order.Hosts) {
			a.drop(name)
			gone++
		}
	}
	if gone > 0 {
		a.changes++
	}
	a.mu.Unlock()
	for name := range m.waits {
		if _, is := by[name.String()]; !is {
			delete(m.waits, name)
		}
	}
	m.mu.Lock()
	told := len(m.states)
	for name := range m.states {
		if _, is := by[name.String()]; !is {
			delete(m.states, name)
		}
	}
	if len(m.states) != told {
		m.publish()
	}
	m.mu.Unlock()
	for name := range m.leaves {
		if _, is := by[name.String()]; !is {
			delete(m.leaves, name)
			delete(m.renewals, name)
			delete(m.surplus, name)
		}
	}
	if gone > 0 {
		m.keep(ctx, a)
	}
}

// leaf is the certificate in a Secret; nil if there is none.
func (m *Manager) leaf(name types.NamespacedName, snapshot *kube.Snapshot) *x509.Certificate {
	secret := snapshot.Secrets.Get(name)
	known, is := m.leaves[name]
	if !is || known.secret != secret {
		known = read{secret, leafOf(secret)}
		m.leaves[name] = known
	}
	return known.leaf
}

// hindered tells all whose certificates are due that none can be ordered.
func (m *Manager) hindered(ctx context.Context, wanted []translate.Certificate, snapshot *kube.Snapshot, err error) time.Duration {
	if ctx.Err() != nil {
		return lookAgain
	}
	m.o.Log.Error("no certificate can be ordered", "error", err)
	next := latest(m.now().Add(time.Minute), retryOf(err))
	for _, c := range wanted {
		if !dueAt(c, m.leaf(c.Secret, snapshot), time.Time{}, attempt{}).After(m.now()) {
			m.tell(c.Secret, failedState(attempt{Message: inWords(err), Next: next}))
		}
	}
	m.hinderedUntil = next
	return next.Sub(m.now())
}

func failedState(a attempt) *translate.CertificateState {
	return &translate.CertificateState{
		Failed: true, Next: a.Next, Message: fmt.Sprintf("%s; the next attempt is at %s", a.Message, a.Next.UTC().Format(time.RFC3339)),
	}
}

func waitingState(w *waiting) *translate.CertificateState {
	return &translate.CertificateState{Next: w.until, Message: fmt.Sprintf("%s; it goes on at %s", w.what, w.until.UTC().Format(time.RFC3339))}
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func names(list []types.NamespacedName) string {
	var all []string
	for _, name := range list {
		all = append(all, name.String())
	}
	return strings.Join(all, ", ")
}

func (m *Manager) begin(ctx context.Context, j *job, cached *corev1.Secret) {
	ctx, cancel := context.WithCancel(ctx)
	m.running[j.certificate.Secret] = &running{j.certificate, cancel}
	go func() {
		err := m.order(ctx, j)
		later := (*waiting)(nil)
		if !j.began && err != nil && !errors.Is(err, errGood) && !errors.As(err, &later) {
			j.count(m) // it failed before it was asked for
		}
		if j.began {
			m.o.Ended(err)
		}
		m.ended <- ended{j, cached, err} // Run and stop wait for it
	}()
}

// finish notes what became of an order.
func (m *Manager) finish(ctx context.Context, end ended) {
	c, name := end.job.certificate, end.job.certificate.Secret
	m.running[name].cancel()
	delete(m.running, name)
	if ctx.Err() != nil {
		return
	}
	a, key := end.job.account, name.String()
	before := a.attempt(name)
	later := (*waiting)(nil)
	switch {
	case end.err == nil || errors.Is(end.err, errGood):
		m.tell(name, nil)
		m.issued[name] = issued{end.cached, m.now()}
		_, begun := a.begun(c)
		if before.Failures == 0 && !begun {
			return
		}
		a.change(func() { delete(a.attempts, key); delete(a.orders, key) })
	case m.wantedNow(c) == nil:
		m.tell(name, nil)
		return // forget drops what is kept of it
	case errors.Is(end.err, errOther):
		m.tell(name, nil)
		return // what is kept is the other's by now
	case errors.As(end.err, &later):
		m.waits[name] = later
		m.tell(name, waitingState(later))
		return
	case isProblem(end.err, "accountDoesNotExist") && m.now().Sub(m.registered) > registerAgain:
		// Authorities lose accounts; with its key it can be had anew, or found again.
		m.o.Log.Warn("the certificate authority does not know the account any more: it is registered anew", "account", a.location(), "secret", m.where())
		a.change(func() { a.url = ""; clear(a.orders) })
	default:
		failed := before.fail(c.Hosts, inWords(end.err), retryOf(end.err), m.now())
		a.change(func() { a.attempts[key] = failed })
		m.o.Log.Error("certificate could not be issued", "secret", key, "error", end.err, "next", failed.Next)
		m.tell(name, failedState(failed))
		var f *failure
		if errors.As(end.err, &f) && f.everyone {
			m.hinderedUntil = latest(m.hinderedUntil, f.retry)
		}
	}
	m.keep(ctx, a)
}

// keep writes what is kept. If somebody has deleted the account's Secret, another one
// is made.
func (m *Manager) keep(ctx context.Context, a *account) {
	err := m.save(ctx, a)
	if err == nil || ctx.Err() != nil || errors.Is(err, errOther) {
		return
	}
	m.o.Log.Error("what became of orders could not be noted for after a restart", "error", err)
	if apierrors.IsNotFound(err) && m.account == a {
		m.account = nil
	}
}
