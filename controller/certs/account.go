package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/outside"

	"github.com/go-acme/lego/v4/acme"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// requestTimeout bounds one request to Kubernetes or to the authority.
const requestTimeout = 30 * time.Second

// The keys of the account's Secret.
const (
	accountKey      = "account.key" // PEM, PKCS #8
	accountURL      = "url"         // empty: not registered
	accountFrom     = "directory"   // where it is registered
	accountPrint    = "fingerprint" // of the key with which it is registered
	accountAttempts = "attempts"    // JSON: attempt by "namespace/name"
	accountSpent    = "spent"       // JSON: spent
	accountOrders   = "orders"      // JSON: begun by "namespace/name"
	accountRecords  = "records"     // JSON: list of record
	accountSuffix   = "-acme"       // of its name, after the Lease's
	userAgent       = "vtm-ingress" // to the authority
	managedBy       = "app.kubernetes.io/managed-by"
	managerName     = "vtm-ingress-controller"
)

// begun is an order that was begun, so that whoever writes next goes on with it.
type begun struct {
	URL   string   `json:"url"`
	Hosts []string `json:"hosts"`
	Key   string   `json:"key"` // of the certificate: PEM, PKCS #8
	// Taken is what it took from budgets of certificates, by their keys in spent.
	Taken map[string]time.Duration `json:"taken"`
}

// account is what the account's Secret holds. Its methods may be called from several
// goroutines.
type account struct {
	key   *ecdsa.PrivateKey
	token chan struct{} // held by who writes the Secret: capacity 1

	mu       sync.Mutex     // guards all below, never held over a wait
	secret   *corev1.Secret // as it was seen last
	url      string
	attempts map[string]attempt
	spent    spent
	orders   map[string]begun
	records  []record // that were made, or are about to be
	changes  uint64   // so far
	saved    uint64   // of them
}

// change changes what is kept, in memory.
func (a *account) change(how func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how()
	a.changes++
}

func (a *account) attempt(secret types.NamespacedName) attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts[secret.String()]
}

// drop forgets an order that has given no certificate. It is called with mu held.
func (a *account) drop(secret string) {
	a.spent.giveBack(a.orders[secret].Taken)
	delete(a.orders, secret)
}

func (a *account) location() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.url
}

// begun is the order that was begun for a certificate, if it is for its hosts.
func (a *account) begun(c translate.Certificate) (begun, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, is := a.orders[c.Secret.String()]
	return b, is && slices.Equal(b.Hosts, c.Hosts)
}

// where names the account's Secret.
func (m *Manager) where() string {
	return "Secret " + m.o.Settings.LeaseNamespace + "/" + m.o.Settings.LeaseName + accountSuffix
}

// loadAccount reads the account's Secret, and makes one if there is none: a key of
// which Kubernetes does not know is never registered.
func (m *Manager) loadAccount(ctx context.Context) (*account, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	name := m.o.Settings.LeaseName + accountSuffix
	api := m.o.Client.CoreV1().Secrets(m.o.Settings.LeaseNamespace)
	secret, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		key, err := outside.NewKey(m.o.World.Rand(m.o.Actor + "/account"))
		if err != nil {
			return nil, fmt.Errorf("key of the ACME account: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("key of the ACME account: %w", err)
		}
		secret, err = api.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedBy: managerName}},
			Data:       map[string][]byte{accountKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("%s of the ACME account could not be made: %w", m.where(), err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("%s of the ACME account can't be read: %w", m.where(), err)
	}
	a := &account{secret: secret, token: make(chan struct{}, 1), attempts: map[string]attempt{}, spent: spent{}, orders: map[string]begun{}}
	block, _ := pem.Decode(secret.Data[accountKey])
	if block == nil {
		return nil, fmt.Errorf("%s: %s is no private key in PEM: restore it, or delete the Secret to begin with a new account", m.where(), accountKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: %s is not the ECDSA key that the controller made: restore it, or delete the Secret to begin with a new account", m.where(), accountKey)
	}
	a.key = key
	m.recall(a, secret)
	return a, nil
}

// recall takes from the account's Secret what it holds besides the key. What somebody
// has made unreadable is forgotten: all of it can be had anew.
func (m *Manager) recall(a *account, secret *corev1.Secret) {
	location := string(secret.Data[accountURL])
	u, err := url.Parse(location)
	switch {
	case location == "" || string(secret.Data[accountFrom]) != m.o.Settings.ACMEDirectory:
	case err != nil || u.Scheme != "https" || string(secret.Data[accountPrint]) != fingerprint(a.key):
		m.o.Log.Warn("the account's key or URL is another than when it was registered: it is registered anew", "secret", m.where())
	default:
		a.url = location
	}
	read := func(key string, into any) {
		text := secret.Data[key]
		if len(text) == 0 {
			return
		}
		if err := json.Unmarshal(text, into); err != nil {
			m.o.Log.Warn("what was kept of orders can't be read: it begins anew", "secret", m.where(), "key", key)
		}
	}
	read(accountAttempts, &a.attempts)
	read(accountSpent, &a.spent)
	read(accountOrders, &a.orders)
	read(accountRecords, &a.records)
	// After "null", or an error halfway.
	if a.attempts == nil {
		a.attempts = map[string]attempt{}
	}
	if a.spent == nil {
		a.spent = spent{}
	}
	if a.orders == nil {
		a.orders = map[string]begun{}
	}
}

func fingerprint(key *ecdsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "" // no key that ParsePKCS8PrivateKey takes
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// save writes what is kept. Changes of others that were made meanwhile are written
// with it, so that many orders at one time take few writes. Only the instance that writes
// may do so: it would take back what the next one has noted.
func (m *Manager) save(ctx context.Context, a *account) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a.mu.Lock()
	wanted := a.changes
	a.mu.Unlock()
	select {
	case a.token <- struct{}{}:
	case <-ctx.Done():
		return m.unsaved(ctx.Err())
	}
	defer func() { <-a.token }()
	if _, may := m.o.May(); !may {
		return m.unsaved(errOther)
	}
	a.mu.Lock()
	if a.saved >= wanted {
		a.mu.Unlock()
		return nil
	}
	a.spent.prune(m.now())
	version, secret := a.changes, a.secret
	data := map[string][]byte{accountURL: []byte(a.url), accountFrom: []byte(m.o.Settings.ACMEDirectory), accountPrint: []byte(fingerprint(a.key))}
	var err error
	for key, value := range map[string]any{accountAttempts: a.attempts, accountSpent: a.spent, accountOrders: a.orders, accountRecords: a.records} {
		if data[key], err = json.Marshal(value); err != nil {
			break
		}
	}
	a.mu.Unlock()
	if err != nil {
		return m.unsaved(err)
	}
	api := m.o.Client.CoreV1().Secrets(m.o.Settings.LeaseNamespace)
	write := func(onto *corev1.Secret) error {
		onto = onto.DeepCopy()
		if onto.Data == nil {
			onto.Data = map[string][]byte{}
		}
		maps.Copy(onto.Data, data)
		written, err := api.Update(ctx, onto, metav1.UpdateOptions{})
		if err == nil {
			secret = written
		}
		return err
	}
	err = write(secret)
	if apierrors.IsConflict(err) {
		var current *corev1.Secret
		if current, err = api.Get(ctx, secret.Name, metav1.GetOptions{}); err == nil {
			err = write(current)
		}
	}
	if err != nil {
		return m.unsaved(err)
	}
	a.mu.Lock()
	a.secret, a.saved = secret, version
	a.mu.Unlock()
	return nil
}

func (m *Manager) unsaved(err error) error {
	return fmt.Errorf("%s of the ACME account could not be written: %w", m.where(), err)
}

// register makes the account known to the authority, once.
func (m *Manager) register(ctx context.Context, a *account) error {
	authority, err := m.reach(ctx, "account", a.key, "")
	if err != nil {
		return err
	}
	defer authority.done()
	request := acme.Account{TermsOfServiceAgreed: m.o.Settings.ACMETermsAgreed}
	if mail := m.o.Settings.ACMEEmail; mail != "" {
		request.Contact = []string{"mailto:" + mail}
	}
	made := acme.ExtendedAccount{}
	if id := m.o.Settings.ACMEEABKeyID; id != "" {
		made, err = authority.core.Accounts.NewEAB(request, id, m.o.Settings.ACMEEABHMAC.Reveal())
	} else {
		made, err = authority.core.Accounts.New(request)
	}
	switch {
	case isProblem(err, "unauthorized"):
		return authority.failed(fmt.Errorf("the account could not be registered (delete %s to begin with a new one, if the authority no longer takes this): %w", m.where(), err))
	case isProblem(err, "externalAccountRequired"):
		return authority.failed(fmt.Errorf("the account could not be registered (set acme_eab_key_id and acme_eab_hmac to what the authority gave you): %w", err))
	case err != nil:
		return authority.failed(fmt.Errorf("the account could not be registered: %w", err))
	case made.Location == "":
		return errors.New("the account could not be registered: the certificate authority's answer names no account")
	}
	a.change(func() { a.url = made.Location })
	if err := m.save(ctx, a); err != nil {
		a.change(func() { a.url = "" })
		return err
	}
	m.o.Log.Info("registered with the certificate authority", "directory", m.o.Settings.ACMEDirectory, "account", made.Location)
	return nil
}
