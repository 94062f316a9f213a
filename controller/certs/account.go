package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"vtm-ingress/internal/outside"

	"github.com/go-acme/lego/v4/acme"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requestTimeout bounds one request to Kubernetes or to the authority.
const requestTimeout = 30 * time.Second

// The keys of the account's Secret.
const (
	accountKey      = "account.key" // PEM, PKCS #8
	accountURL      = "url"         // empty: not registered
	accountFrom     = "directory"   // where it is registered
	accountAttempts = "attempts"    // JSON: attempt by "namespace/name"
	accountSuffix   = "-acme"       // of its name, after the Lease's
	userAgent       = "vtm-ingress" // to the authority
	managedBy       = "app.kubernetes.io/managed-by"
	managerName     = "vtm-ingress-controller"
	issuedFor       = "vtm.pulsesecure.net/issued-by-controller" // the controller_id
)

// account is what the account's Secret holds.
type account struct {
	key      *ecdsa.PrivateKey
	url      string
	attempts map[string]attempt
}

// loadAccount reads the account's Secret, and makes one if there is none: a key of
// which Kubernetes does not know is never registered.
func (m *Manager) loadAccount(ctx context.Context) (*account, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	name := m.o.Settings.LeaseName + accountSuffix
	api := m.o.Client.CoreV1().Secrets(m.o.Settings.LeaseNamespace)
	where := "Secret " + m.o.Settings.LeaseNamespace + "/" + name
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
		_, err = api.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedBy: managerName}},
			Data:       map[string][]byte{accountKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("%s of the ACME account could not be made: %w", where, err)
		}
		return &account{key: key, attempts: map[string]attempt{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s of the ACME account can't be read: %w", where, err)
	}
	a := &account{attempts: map[string]attempt{}}
	block, _ := pem.Decode(secret.Data[accountKey])
	if block == nil {
		return nil, fmt.Errorf("%s: %s is no private key in PEM: restore it, or delete the Secret to begin with a new account", where, accountKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: %s is not the ECDSA key that the controller made: restore it, or delete the Secret to begin with a new account", where, accountKey)
	}
	a.key = key
	if string(secret.Data[accountFrom]) == m.o.Settings.ACMEDirectory {
		a.url = string(secret.Data[accountURL])
	}
	if text := secret.Data[accountAttempts]; len(text) > 0 {
		if err := json.Unmarshal(text, &a.attempts); err != nil || a.attempts == nil {
			m.o.Log.Warn("what was kept of failed orders can't be read: it begins anew", "secret", where)
			a.attempts = map[string]attempt{}
		}
	}
	return a, nil
}

// saveAccount writes values into the account's Secret. Others stay.
func (m *Manager) saveAccount(ctx context.Context, values map[string][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	name := m.o.Settings.LeaseName + accountSuffix
	api := m.o.Client.CoreV1().Secrets(m.o.Settings.LeaseNamespace)
	secret, err := api.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		secret = secret.DeepCopy()
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		for key, value := range values {
			secret.Data[key] = value
		}
		_, err = api.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("Secret %s/%s of the ACME account could not be written: %w", m.o.Settings.LeaseNamespace, name, err)
	}
	return nil
}

// register makes the account known to the authority, once.
func (m *Manager) register(ctx context.Context, a *account) error {
	core, done, err := m.core(ctx, "account", a.key, "")
	if err != nil {
		return err
	}
	defer done()
	request := acme.Account{TermsOfServiceAgreed: m.o.Settings.ACMETermsAgreed}
	if mail := m.o.Settings.ACMEEmail; mail != "" {
		request.Contact = []string{"mailto:" + mail}
	}
	made := acme.ExtendedAccount{}
	if id := m.o.Settings.ACMEEABKeyID; id != "" {
		made, err = core.Accounts.NewEAB(request, id, m.o.Settings.ACMEEABHMAC.Reveal())
	} else {
		made, err = core.Accounts.New(request)
	}
	if err != nil {
		return fmt.Errorf("the account could not be registered: %w", err)
	}
	if made.Location == "" {
		return errors.New("the account could not be registered: the certificate authority's answer names no account")
	}
	if err := m.saveAccount(ctx, map[string][]byte{accountURL: []byte(made.Location), accountFrom: []byte(m.o.Settings.ACMEDirectory)}); err != nil {
		return err
	}
	a.url = made.Location
	m.o.Log.Info("registered with the certificate authority", "directory", m.o.Settings.ACMEDirectory, "account", made.Location)
	return nil
}
