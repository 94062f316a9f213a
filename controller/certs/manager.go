package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// lego logs by itself, with keys of its own; what matters is in its errors.
func init() { legolog.Logger = log.New(io.Discard, "", 0) }

// lookAgain is how often what is due is looked at without a change.
const lookAgain = 10 * time.Minute

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
	state      *translate.ACME
	drawn      uint64 // keys so far: no two are drawn alike

	// Of Run's goroutine alone.
	account *account // nil: not read in this term
	term    int
	running map[types.NamespacedName]context.CancelFunc
	ended   chan ended
	// issued is what the cache held of a Secret when its certificate was issued, and
	// when that was: until the cache is up to date, it isn't looked at.
	issued map[types.NamespacedName]issued
	// leaves are the certificates of the Secrets that were looked at last: to read one
	// takes far longer than to look at it.
	leaves map[types.NamespacedName]read
	// nextRenewal is before when no renewal begins.
	nextRenewal time.Time
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

// cacheDelay is how long the cache may be behind.
const cacheDelay = 10 * time.Second

// ended is what became of an order.
type ended struct {
	certificate translate.Certificate
	cached      *corev1.Secret // when it began
	err         error
}

// New makes a Manager.
func New(o Options) *Manager {
	m := &Manager{
		o: o, changed: make(chan struct{}, 1), woken: make(chan struct{}, 1),
		challenges: map[types.NamespacedName][]translate.Challenge{}, states: map[types.NamespacedName]translate.CertificateState{},
		state: &translate.ACME{}, running: map[types.NamespacedName]context.CancelFunc{}, ended: make(chan ended), issued: map[types.NamespacedName]issued{},
		leaves: map[types.NamespacedName]read{},
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
		return m.snapshot.Secrets[c.Secret] != snapshot.Secrets[c.Secret]
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
	next := &translate.ACME{States: maps.Clone(m.states)}
	for _, some := range m.challenges {
		next.Challenges = append(next.Challenges, some...)
	}
	slices.SortFunc(next.Challenges, func(a, b translate.Challenge) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Host, b.Host), strings.Compare(a.Token, b.Token))
	})
	if slices.Equal(next.Challenges, m.state.Challenges) && maps.Equal(next.States, m.state.States) {
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

// stillWanted reports whether a certificate is wanted for the same hosts.
func (m *Manager) stillWanted(c translate.Certificate) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.wanted, func(w translate.Certificate) bool {
		return w.Secret == c.Secret && slices.Equal(w.Hosts, c.Hosts)
	})
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
		}
		timer.Stop()
	}
}

// stop ends all orders and waits for them.
func (m *Manager) stop() {
	for _, cancel := range m.running {
		cancel()
	}
	for len(m.running) > 0 {
		delete(m.running, (<-m.ended).certificate.Secret)
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
		m.account, m.term, m.hinderedUntil = nil, permit.Term, time.Time{}
		clear(m.issued)
	}
	if !may || snapshot == nil || len(wanted) == 0 && len(m.running) == 0 {
		return lookAgain
	}
	// What is not wanted any more, or for other hosts, ends.
	for name, cancel := range m.running {
		if !slices.ContainsFunc(wanted, func(c translate.Certificate) bool { return c.Secret == name }) {
			cancel()
		}
	}
	if wait := m.hinderedUntil.Sub(m.now()); wait > 0 {
		return wait
	}
	if m.account == nil {
		a, err := m.loadAccount(ctx)
		if err != nil {
			return m.hindered(ctx, wanted, snapshot, err)
		}
		m.account = a
	}
	if len(m.leaves) > 2*len(wanted) {
		clear(m.leaves) // most of them nobody wants any more
	}
	now, again := m.now(), lookAgain
	type due struct {
		certificate translate.Certificate
		at          time.Time
		renewal     bool
	}
	var list []due
	for _, c := range wanted {
		if m.running[c.Secret] != nil {
			continue
		}
		if was, is := m.issued[c.Secret]; is && snapshot.Secrets[c.Secret] == was.cached && now.Before(was.at.Add(cacheDelay)) {
			again = min(again, was.at.Add(cacheDelay).Sub(now))
			continue
		}
		failed := m.account.attempts[c.Secret.String()]
		leaf := m.leaf(c.Secret, snapshot)
		at := dueAt(c, leaf, failed)
		if at.After(now) {
			again = min(again, at.Sub(now))
			if failed.Failures > 0 && slices.Equal(failed.Hosts, c.Hosts) {
				m.tell(c.Secret, failedState(failed))
			}
			continue
		}
		list = append(list, due{c, at, leaf != nil})
	}
	slices.SortStableFunc(list, func(a, b due) int {
		if a.renewal != b.renewal {
			if a.renewal {
				return -1
			}
			return 1
		}
		return a.at.Compare(b.at)
	})
	if len(list) > 0 && m.account.url == "" {
		if err := m.register(ctx, m.account); err != nil {
			return m.hindered(ctx, wanted, snapshot, err)
		}
	}
	for _, d := range list {
		if len(m.running) >= maxOrders {
			break
		}
		if d.renewal {
			// There is time, and others' changes shall not wait.
			if wait := m.nextRenewal.Sub(now); wait > 0 {
				again = min(again, wait)
				continue
			}
			m.nextRenewal = now.Add(renewalPace)
		}
		m.begin(ctx, d.certificate, snapshot.Secrets[d.certificate.Secret])
	}
	return again
}

// leaf is the certificate in a Secret; nil if there is none.
func (m *Manager) leaf(name types.NamespacedName, snapshot *kube.Snapshot) *x509.Certificate {
	secret := snapshot.Secrets[name]
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
	after := time.Minute
	if at := retryAfter(err, m.now()); !at.IsZero() {
		after = max(after, at.Sub(m.now()))
	}
	for _, c := range wanted {
		if !dueAt(c, m.leaf(c.Secret, snapshot), attempt{}).After(m.now()) {
			m.tell(c.Secret, &translate.CertificateState{Failed: true, Message: inWords(err)})
		}
	}
	m.hinderedUntil = m.now().Add(after)
	return after
}

func failedState(a attempt) *translate.CertificateState {
	return &translate.CertificateState{Failed: true, Message: fmt.Sprintf("%s; the next attempt is at %s", a.Message, a.Next.UTC().Format(time.RFC3339))}
}

func (m *Manager) begin(ctx context.Context, c translate.Certificate, cached *corev1.Secret) {
	ctx, cancel := context.WithCancel(ctx)
	m.running[c.Secret] = cancel
	a := &account{key: m.account.key, url: m.account.url}
	m.o.Began()
	go func() {
		err := m.order(ctx, c, a)
		m.o.Ended(err)
		m.ended <- ended{c, cached, err} // Run and stop wait for it
	}()
}

// finish notes what became of an order.
func (m *Manager) finish(ctx context.Context, end ended) {
	name := end.certificate.Secret
	m.running[name]()
	delete(m.running, name)
	key := name.String()
	before, had := m.account.attempts[key]
	switch {
	case ctx.Err() != nil:
		return
	case end.err == nil:
		m.tell(name, nil)
		m.issued[name] = issued{end.cached, m.now()}
		if !had {
			return
		}
		delete(m.account.attempts, key)
	case !m.stillWanted(end.certificate):
		m.tell(name, nil)
		return
	default:
		failed := before.fail(end.certificate.Hosts, inWords(end.err), retryAfter(end.err, m.now()), m.now())
		m.account.attempts[key] = failed
		m.o.Log.Error("certificate could not be issued", "secret", key, "error", end.err, "next", failed.Next)
		m.tell(name, failedState(failed))
	}
	text, err := json.Marshal(m.account.attempts)
	if err == nil {
		err = m.saveAccount(ctx, map[string][]byte{accountAttempts: text})
	}
	if err != nil {
		m.o.Log.Error("a failed order could not be noted for after a restart", "error", err)
	}
}
