package contract_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"vtm-ingress/controller/certs"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/acme"
	simdns "vtm-ingress/sim/dns"
	simkube "vtm-ingress/sim/kube"
)

// challengeRule answers the certificate authority in these tests.
var challengeRule = vtm.ID{Type: vtm.Rules, Name: "k8s_challenges"}

// issuing is a Manager of certificates between an API server, a traffic manager and a
// certificate authority. Who serves is made by hand: each host is where challenges
// are answered.
type issuing struct {
	*testing.T
	ctx      context.Context
	world    outside.World
	manager  *vtm.Client   // nil: there is no traffic manager
	members  []*vtm.Client // that are asked; nil: manager alone
	api      kubernetes.Interface
	ca       *acme.CA
	settings *config.Settings

	issuer *certs.Manager
	stop   func() // ends the issuer
	starts int
	log    logged

	mu     sync.Mutex
	deaf   bool        // what is to be answered does not reach the traffic manager
	forbid func() bool // that it writes; nil: nothing does
	wanted []translate.Certificate
	last   *kube.Snapshot
}

// withIssuer runs f beside an issuer that has not begun yet.
func withIssuer(t *testing.T, o acme.CAOptions, f func(*issuing)) {
	t.Helper()
	withManager(t, func(t *testing.T, m *manager) {
		ctx, cancel := context.WithCancel(t.Context())
		i := &issuing{T: t, ctx: ctx, world: m.world, manager: m.client, stop: func() {}}
		api, err := simkube.Start(simkube.Options{World: m.world, Address: "127.3.0.1:6443", PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubeclient.New(m.world, "issuer", api.Config("issuer"))
		if err != nil {
			t.Fatal(err)
		}
		i.api = client
		listener, err := m.world.Listen("web", "tcp", "10.1.1.1:80")
		if err != nil {
			t.Fatal(err)
		}
		web := &http.Server{Handler: http.HandlerFunc(i.answer)}
		var ended sync.WaitGroup
		ended.Go(func() { _ = web.Serve(listener) })
		o.Resolve = func(host string) []netip.Addr {
			if strings.HasPrefix(host, "nowhere") {
				return nil
			}
			return []netip.Addr{netip.MustParseAddr("10.1.1.1")}
		}
		o.Dial = func(ctx context.Context, actor string, to netip.AddrPort) (net.Conn, error) {
			return m.world.Dial(ctx, actor, "tcp", to.String())
		}
		if o.World == nil {
			o.World = m.world
		}
		o.Log, o.Address = slog.New(slog.DiscardHandler), "127.3.0.3:14000"
		if i.ca, err = acme.StartCA(o); err != nil {
			t.Fatal(err)
		}
		i.settle(i.ca.Server)
		f(i)
		i.stop()
		cancel()
		web.Close()
		ended.Wait()
		i.ca.Close()
		client.Close()
		api.Close()
	})
}

func (i *issuing) settle(authority *acme.Server) {
	s := *config.Default()
	s.ACMEDirectory, s.ACMECA, s.ACMETermsAgreed = authority.DirectoryURL(), authority.TrustPEM(), true
	i.settings = &s
}

// answer is what a traffic manager's port 80 does.
func (i *issuing) answer(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	issuer, deaf := i.issuer, i.deaf
	i.mu.Unlock()
	if issuer == nil || deaf {
		http.NotFound(w, r)
		return
	}
	for _, c := range issuer.State().Challenges {
		if c.Host == r.Host && translate.ChallengePath+c.Token == r.URL.Path {
			_, _ = w.Write([]byte(c.KeyAuthorization))
			return
		}
	}
	http.NotFound(w, r)
}

// start begins an instance that writes.
func (i *issuing) start() {
	i.Helper()
	i.starts++
	term, forbid := i.starts, i.forbid
	o := certs.Options{
		World: i.world, Log: i.log.logger(), Actor: fmt.Sprint("issuer/", i.starts), Settings: i.settings,
		Client: i.api,
		May: func() (reconcile.Permit, bool) {
			return reconcile.Permit{Term: term}, forbid == nil || !forbid()
		},
		Began: func() {}, Ended: func(error) {},
	}
	switch {
	case i.members != nil:
		o.Members = i.members
	case i.manager != nil:
		o.Members = []*vtm.Client{i.manager}
	}
	issuer := certs.New(o)
	ctx, cancel := context.WithCancel(i.ctx)
	var ended sync.WaitGroup
	ended.Go(func() { issuer.Run(ctx) })
	ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-issuer.Changed():
			}
			i.mu.Lock()
			deaf := i.deaf
			i.mu.Unlock()
			if i.manager == nil || deaf {
				continue
			}
			i.program(ctx, issuer)
		}
	})
	i.mu.Lock()
	i.issuer, i.last = issuer, nil
	i.mu.Unlock()
	i.stop = func() { cancel(); ended.Wait(); i.stop = func() {} }
	i.look()
}

// program lets the traffic manager answer the challenges of now.
func (i *issuing) program(ctx context.Context, issuer *certs.Manager) {
	rule := []byte("# none\n")
	for _, c := range issuer.State().Challenges {
		rule = append(rule, "# "+c.Answer()+"\n"...)
	}
	if _, err := i.manager.Put(ctx, vtm.NewFile(vtm.Rules, challengeRule.Name, rule)); err != nil && ctx.Err() == nil {
		i.Error(err)
	}
}

// wants says which certificates are wanted from now on: each for hosts, by its Secret.
func (i *issuing) wants(wanted ...translate.Certificate) {
	i.Helper()
	for n := range wanted {
		wanted[n].Needs = []vtm.ID{challengeRule}
		wanted[n].Ingresses = []types.NamespacedName{{Namespace: wanted[n].Secret.Namespace, Name: "web"}}
		slices.Sort(wanted[n].Hosts)
	}
	i.wanted = wanted
	if i.issuer != nil {
		i.look()
	}
}

func certificateFor(secret string, hosts ...string) translate.Certificate {
	return translate.Certificate{Secret: types.NamespacedName{Namespace: "default", Name: secret}, Hosts: hosts}
}

// look gives the issuer what Kubernetes holds now. What did not change keeps its
// identity.
func (i *issuing) look() {
	i.Helper()
	list, err := i.api.CoreV1().Secrets("").List(i.ctx, metav1.ListOptions{})
	if err != nil {
		i.Fatal(err)
	}
	next := &kube.Snapshot{}
	for n := range list.Items {
		secret := &list.Items[n]
		name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
		if secret.Type != corev1.SecretTypeTLS {
			continue
		}
		if i.last != nil && i.last.Secrets.Get(name) != nil && i.last.Secrets.Get(name).ResourceVersion == secret.ResourceVersion {
			secret = i.last.Secrets.Get(name)
		}
		next.Secrets = next.Secrets.With(name, secret)
	}
	for _, c := range i.wanted {
		ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: c.Secret.Namespace, Name: c.Secret.Name}}
		ingress.Spec.TLS = []networkingv1.IngressTLS{{SecretName: c.Secret.Name, Hosts: c.Hosts}}
		next.Ingresses = next.Ingresses.With(c.Secret, ingress)
	}
	i.last = next
	i.issuer.Want(i.wanted, next)
}

// until waits, for d at most, until good says nothing.
func (i *issuing) until(d time.Duration, good func() string) {
	i.Helper()
	end := i.world.Clock().Now().Add(d)
	for {
		i.look()
		lacks := good()
		if lacks == "" {
			return
		}
		if i.world.Clock().Now().After(end) {
			i.Fatalf("not within %s: %s\n%s", d, lacks, i.log.whole())
		}
		time.Sleep(min(time.Second, d/100))
	}
}

// pass lets time go by.
func (i *issuing) pass(d time.Duration) {
	i.Helper()
	for end := i.world.Clock().Now().Add(d); i.world.Clock().Now().Before(end); {
		i.look()
		time.Sleep(d / 100)
	}
}

// leaf is the certificate in a Secret; nil: none.
func (i *issuing) leaf(secret string) *x509.Certificate {
	i.Helper()
	s, err := i.api.CoreV1().Secrets("default").Get(i.ctx, secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		i.Fatal(err)
	}
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		i.Fatal(err)
	}
	return pair.Leaf
}

// issued waits until a Secret has a certificate for hosts.
func (i *issuing) issued(within time.Duration, secret string, hosts ...string) *x509.Certificate {
	i.Helper()
	var leaf *x509.Certificate
	i.until(within, func() string {
		if leaf = i.leaf(secret); leaf == nil {
			return "there is no Secret " + secret
		}
		for _, host := range hosts {
			if err := leaf.VerifyHostname(host); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	return leaf
}

// told waits until the state of a Secret's certificate says all of some words.
func (i *issuing) told(secret string, words ...string) translate.CertificateState {
	i.Helper()
	var state translate.CertificateState
	i.until(time.Minute, func() string {
		state = i.issuer.State().States[types.NamespacedName{Namespace: "default", Name: secret}]
		for _, word := range words {
			if !strings.Contains(state.Message, word) {
				return fmt.Sprintf("%q lacks %q", state.Message, word)
			}
		}
		return ""
	})
	return state
}

// kept is what the account's Secret holds.
func (i *issuing) kept() map[string][]byte {
	i.Helper()
	s, err := i.api.CoreV1().Secrets("default").Get(i.ctx, "vtm-ingress-k8s-acme", metav1.GetOptions{})
	if err != nil {
		i.Fatal(err)
	}
	return s.Data
}

// tamper changes what the account's Secret holds.
func (i *issuing) tamper(key, value string) {
	i.Helper()
	api := i.api.CoreV1().Secrets("default")
	s, err := api.Get(i.ctx, "vtm-ingress-k8s-acme", metav1.GetOptions{})
	if err == nil {
		s.Data[key] = []byte(value)
		_, err = api.Update(i.ctx, s, metav1.UpdateOptions{})
	}
	if err != nil {
		i.Fatal(err)
	}
}

// nothingLeft: no order, record or challenge is kept any more.
func (i *issuing) nothingLeft() {
	i.Helper()
	i.until(time.Minute, func() string {
		var orders map[string]any
		if err := json.Unmarshal(i.kept()["orders"], &orders); err != nil || len(orders) > 0 {
			return fmt.Sprintf("orders %s are kept (%v)", i.kept()["orders"], err)
		}
		if challenges := i.issuer.State().Challenges; len(challenges) > 0 {
			return fmt.Sprint("challenges are left: ", challenges)
		}
		return ""
	})
}

func TestAnotherInstanceGoesOnWithAnOrder(t *testing.T) {
	for _, at := range []string{"challenge", "finalize", "certificate"} {
		t.Run("killed at "+at, func(t *testing.T) {
			withIssuer(t, acme.CAOptions{}, func(i *issuing) {
				i.ca.Refuse(acme.Refusal{Request: at, Problem: "serverInternal"})
				i.wants(certificateFor("shop", "shop.example", "www.shop.example"))
				i.start()
				i.told("shop", "serverInternal", "the next attempt is at")
				i.stop()
				i.ca.Refuse()
				i.start()
				i.issued(time.Minute, "shop", "shop.example", "www.shop.example")
				i.nothingLeft()
				if orders, issued := i.ca.Asked("newOrder"), i.ca.Issued(); orders != 1 || issued != 1 {
					i.Errorf("%d orders gave %d certificates", orders, issued)
				}
			})
		})
	}
}

func TestACertificateThatNobodyPutAwayIsNotOrderedAgain(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.forbid = func() bool { return i.ca.Issued() > 0 } // another one is the writer then
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		i.until(time.Minute, func() string {
			if i.ca.Issued() == 0 {
				return "nothing is issued"
			}
			return ""
		})
		i.pass(time.Minute)
		if i.leaf("shop") != nil {
			i.Error("it was put into a Secret by one that may not write")
		}
		if failed := string(i.kept()["attempts"]); strings.Contains(failed, "shop") {
			i.Errorf("one that may not write has noted a failure: %s", failed)
		}
		i.stop()
		i.forbid = nil
		i.start()
		i.issued(time.Minute, "shop", "shop.example")
		i.nothingLeft()
		if i.ca.Issued() != 1 {
			i.Errorf("%d certificates were issued", i.ca.Issued())
		}
	})
}

// A change that comes to all members between the questions to two of them is not
// taken for one that is late, which would be waited for.
func TestAChallengeMayComeWhileMembersAreAsked(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		asked, err := vtm.NewClient(vtm.Options{
			World: i.world, Log: slog.New(slog.DiscardHandler), Actor: "asked first",
			Endpoints: []string{i.manager.Endpoint()}, Username: "admin", Password: "secret",
			Observe: func(_, _ string, status int) {
				i.mu.Lock()
				first := i.deaf && status == http.StatusNotFound
				i.deaf = i.deaf && !first
				i.mu.Unlock() // no clock goes on in a bubble while somebody waits for a lock
				if first {
					i.program(i.ctx, i.issuer)
				}
			},
		})
		if err != nil {
			i.Fatal(err)
		}
		defer func() { i.stop(); asked.Close() }()
		i.deaf, i.members = true, []*vtm.Client{asked, i.manager}
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		i.issued(10*time.Second, "shop", "shop.example")
		if i.stop(); i.deaf {
			i.Error("the first member did not lack the challenge")
		}
	})
}

func TestOtherHostsEndAnOrderAtOnce(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.deaf = true
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		i.pass(10 * time.Second) // it waits for the traffic manager, which takes minutes
		i.mu.Lock()
		i.deaf = false
		i.mu.Unlock()
		i.wants(certificateFor("shop", "other.example"))
		i.issued(20*time.Second, "shop", "other.example")
		i.nothingLeft()
	})
}

func TestLimitsHoldOverRestartsAndAreTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.settings.ACMEOrdersPerNamespace = config.Limit{Count: 2, Per: time.Hour}
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"), certificateFor("c", "c.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		i.issued(time.Minute, "b", "b.example")
		for range 5 { // a loop of restarts
			if state := i.told("c", "acme_orders_per_namespace", "goes on at"); state.Failed || state.Next.IsZero() {
				i.Errorf("state %+v", state)
			}
			i.stop()
			i.start()
		}
		if n := i.ca.Asked("newOrder"); n != 2 {
			i.Errorf("%d orders of 2", n)
		}
		i.issued(time.Hour, "c", "c.example")
	})
}

func TestFailuresAreKeptOverRestarts(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("shop", "nowhere.example"))
		i.start()
		for range 10 {
			i.told("shop", "host nowhere.example could not be verified", "the next attempt is at")
			i.stop()
			i.start()
			i.pass(6 * time.Minute)
		}
		if n := i.ca.Asked("newOrder"); n < 3 || n > 6 {
			i.Errorf("%d orders within an hour", n)
		}
		i.wants() // what is kept of a Secret that nobody wants goes
		i.pass(48 * time.Hour)
		if attempts := string(i.kept()["attempts"]); attempts != "{}" {
			i.Errorf("attempts %s are kept", attempts)
		}
	})
}

func TestRetryAfterIsObeyedWhateverTheProblem(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.ca.Refuse(acme.Refusal{Request: "newOrder", Problem: "serverInternal", Status: 503, RetryAfter: 5 * time.Hour, Times: 1})
		i.wants(certificateFor("a", "a.example"))
		i.start()
		if state := i.told("a", "serverInternal"); state.Next.Sub(i.world.Clock().Now()) < 4*time.Hour {
			i.Errorf("the next attempt is at %s, now is %s", state.Next, i.world.Clock().Now())
		}
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"))
		i.pass(4 * time.Hour)
		if n := i.ca.Asked("newOrder"); n != 1 {
			i.Errorf("%d orders, though the authority asked all to wait", n)
		}
		i.issued(2*time.Hour, "b", "b.example")
		i.issued(time.Minute, "a", "a.example")
	})
}

func TestAnAccountThatIsGoneIsRegisteredAnew(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		before := string(i.kept()["url"])
		i.pass(2 * time.Hour)
		i.ca.ForgetAccounts()
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"))
		i.issued(time.Minute, "b", "b.example")
		if after := string(i.kept()["url"]); after == before {
			i.Errorf("the account is still %s", after)
		}
	})
}

func TestACertificateIsRenewedWhenTheAuthorityAsksForIt(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.settings.ACMECertificatesPerHosts = config.Limit{Count: 1, Per: 168 * time.Hour} // renewals that it knows don't count
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		old := i.issued(time.Minute, "shop", "shop.example")
		now := i.world.Clock().Now()
		if err := i.ca.SuggestRenewal(old.SerialNumber, now.Add(24*time.Hour), now.Add(25*time.Hour)); err != nil {
			i.Fatal(err)
		}
		i.pass(23 * time.Hour)
		if !i.leaf("shop").Equal(old) {
			i.Fatal("it is renewed before its time")
		}
		i.pass(3 * time.Hour)
		renewed := i.leaf("shop")
		if renewed.Equal(old) {
			i.Fatal("it is not renewed, though the authority asked for it")
		}
		if bytes.Equal(old.RawSubjectPublicKeyInfo, renewed.RawSubjectPublicKeyInfo) {
			i.Error("the key is used again")
		}
		if i.ca.Replaced() != 1 {
			i.Error("the order does not say which certificate it replaces")
		}
	})
}

func TestAnAuthorityThatWantsAllRenewedAtOnceIsNotAskedWithoutEnd(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		for range 5 {
			leaf := i.issued(time.Minute, "shop", "shop.example")
			if err := i.ca.SuggestRenewal(leaf.SerialNumber, leaf.NotBefore.Add(-2*time.Hour), leaf.NotBefore.Add(-time.Hour)); err != nil {
				i.Fatal(err)
			}
			i.pass(time.Hour)
		}
		if i.ca.Issued() > 3 {
			i.Errorf("%d certificates in five hours", i.ca.Issued())
		}
	})
}

func TestSecretsThatNobodyUsesGoAfterThirtyDays(t *testing.T) {
	withIssuer(t, acme.CAOptions{Profiles: map[string]time.Duration{"default": 200 * 24 * time.Hour}}, func(i *issuing) {
		i.wants(certificateFor("kept", "kept.example"), certificateFor("gone", "gone.example"))
		i.start()
		i.issued(time.Minute, "kept", "kept.example")
		old := i.issued(time.Minute, "gone", "gone.example")
		i.wants(certificateFor("kept", "kept.example"))
		i.pass(29 * 24 * time.Hour)
		i.wants(certificateFor("kept", "kept.example"), certificateFor("gone", "gone.example"))
		i.pass(24 * time.Hour)
		if now := i.leaf("gone"); now == nil || !now.Equal(old) {
			i.Fatal("it is not used again")
		}
		i.wants(certificateFor("kept", "kept.example"))
		i.pass(29 * 24 * time.Hour)
		i.stop() // the mark outlives the instance
		i.start()
		if i.leaf("gone") == nil {
			i.Fatal("it is gone too soon: the first mark was not taken away")
		}
		i.pass(3 * 24 * time.Hour)
		if i.leaf("gone") != nil {
			i.Error("it is still there")
		}
		if i.leaf("kept") == nil {
			i.Error("one that is used is gone")
		}
	})
}

func TestASecretThatIsDeletedIsMadeAnewAtOnce(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		i.pass(time.Second) // the issuer is told of it
		if err := i.api.CoreV1().Secrets("default").Delete(i.ctx, "a", metav1.DeleteOptions{}); err != nil {
			i.Fatal(err)
		}
		i.issued(3*time.Second, "a", "a.example")
	})
}

func TestCertificatesOfOthersThatEndAreTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("shop", "shop.example"))
		i.start()
		i.issued(time.Minute, "shop", "shop.example")
		api := i.api.CoreV1().Secrets("default")
		secret, err := api.Get(i.ctx, "shop", metav1.GetOptions{})
		if err != nil {
			i.Fatal(err)
		}
		delete(secret.Annotations, kube.IssuedFor) // somebody has made it their own
		if _, err := api.Update(i.ctx, secret, metav1.UpdateOptions{}); err != nil {
			i.Fatal(err)
		}
		name := types.NamespacedName{Namespace: "default", Name: "shop"}
		i.pass(70 * 24 * time.Hour)
		if len(i.issuer.State().Ending) > 0 {
			i.Errorf("told too soon: %v", i.issuer.State().Ending)
		}
		i.pass(8 * 24 * time.Hour)
		if end := i.issuer.State().Ending[name]; !end.Equal(i.leaf("shop").NotAfter) {
			i.Errorf("told is %v", i.issuer.State().Ending)
		}
	})
}

func TestATamperedAccountIsTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		url := string(i.kept()["url"])
		for _, key := range []string{"attempts", "spent", "orders", "records"} {
			i.tamper(key, "rubbish")
		}
		i.tamper("url", "http://elsewhere.example/account")
		i.stop()
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"))
		i.start()
		i.issued(time.Minute, "b", "b.example")
		if now := string(i.kept()["url"]); now != url {
			i.Errorf("the account is %s instead of %s", now, url)
		}
		i.tamper("account.key", "rubbish")
		i.stop()
		i.wants(certificateFor("c", "c.example"))
		i.start()
		i.told("c", "vtm-ingress-k8s-acme", "account.key is no private key in PEM", "restore it, or delete the Secret")
		if err := i.api.CoreV1().Secrets("default").Delete(i.ctx, "vtm-ingress-k8s-acme", metav1.DeleteOptions{}); err != nil {
			i.Fatal(err)
		}
		i.issued(2*time.Minute, "c", "c.example")
	})
}

func TestAnAccountsSecretThatIsDeletedIsMadeAnew(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		key := i.kept()["account.key"]
		if err := i.api.CoreV1().Secrets("default").Delete(i.ctx, "vtm-ingress-k8s-acme", metav1.DeleteOptions{}); err != nil {
			i.Fatal(err)
		}
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"))
		i.issued(time.Minute, "b", "b.example")
		i.nothingLeft()
		if bytes.Equal(i.kept()["account.key"], key) {
			i.Error("the key is the old one")
		}
	})
}

func TestADirectoryThatIsNoneIsTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.ca.Refuse(acme.Refusal{Request: "directory", Garbage: true})
		i.wants(certificateFor("a", "a.example"))
		i.start()
		state := i.told("a", "it answers with text/html and not with a directory", "acme_directory")
		if strings.Contains(state.Message, "It works") {
			i.Errorf("the page is repeated: %s", state.Message)
		}
		i.ca.Refuse()
		i.issued(2*time.Minute, "a", "a.example")
	})
}

func TestMoreHostsThanACertificateCanHaveAreTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		var hosts []string
		for n := range 101 {
			hosts = append(hosts, fmt.Sprintf("h%03d.shop.example", n))
		}
		i.wants(certificateFor("many", hosts...), certificateFor("few", hosts[:100]...))
		i.start()
		i.told("many", "default/web", "101 hosts", "at most 100")
		i.issued(time.Minute, "few", hosts[0], hosts[99])
	})
}

func TestAProfileThatIsNotOfferedIsTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{Profiles: map[string]time.Duration{"default": time.Hour * 2400, "short": time.Hour}}, func(i *issuing) {
		i.settings.ACMEProfile = "eternal"
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.told("a", `no profile "eternal"`, "default, short")
	})
}

func TestThePreferredChainIsTaken(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.settings.ACMEPreferredChain = "Sandbox Other Root"
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		secret, err := i.api.CoreV1().Secrets("default").Get(i.ctx, "a", metav1.GetOptions{})
		if err != nil {
			i.Fatal(err)
		}
		_, rest := pem.Decode(secret.Data[corev1.TLSCertKey])
		block, _ := pem.Decode(rest)
		between, err := x509.ParseCertificate(block.Bytes)
		if err != nil || between.Issuer.CommonName != "Sandbox Other Root" {
			i.Errorf("the chain leads to %v (%v)", between.Issuer, err)
		}
	})
}

func TestKeysAreOfTheTypeThatIsSetAndNeverUsedTwice(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		i.settings.ACMEKeyType = "rsa"
		i.wants(certificateFor("a", "a.example"), certificateFor("b", "b.example"))
		i.start()
		i.issued(time.Minute, "a", "a.example")
		i.issued(time.Minute, "b", "b.example")
		a, isA := i.leaf("a").PublicKey.(*rsa.PublicKey)
		b, isB := i.leaf("b").PublicKey.(*rsa.PublicKey)
		if !isA || !isB || a.N.BitLen() < 2048 {
			i.Fatalf("the keys are %T and %T", i.leaf("a").PublicKey, i.leaf("b").PublicKey)
		}
		if a.Equal(b) {
			i.Error("two certificates have one key")
		}
	})
}

// shifted is a World whose clock is another one.
type shifted struct {
	outside.World
	by time.Duration
}

type shiftedClock struct {
	outside.Clock
	by time.Duration
}

func (s shifted) Clock() outside.Clock { return shiftedClock{s.World.Clock(), s.by} }
func (s shiftedClock) Now() time.Time  { return s.Clock.Now().Add(s.by) }

func TestAClockThatIsWrongIsTold(t *testing.T) {
	withIssuer(t, acme.CAOptions{}, func(i *issuing) {
		real := i.world
		defer func() { i.world = real }()
		// So far that the authority's own HTTPS can't be verified.
		i.world = shifted{real, -3 * time.Hour}
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.told("a", "the clock of this machine", "is it right?")
		i.stop()
		i.world = shifted{real, -30 * time.Minute}
		i.ca.Refuse(acme.Refusal{Request: "newOrder", Problem: "malformed", Times: 1})
		i.wants(certificateFor("a", "a.example"))
		i.start()
		i.told("a", "the clock of this machine is 30m0s behind the certificate authority's: set it right")
		i.issued(time.Hour, "a", "a.example")
		if !strings.Contains(i.log.whole(), "not valid yet by the clock of this machine") {
			i.Errorf("that it is not valid yet is not told:\n%s", i.log.whole())
		}
	})
}

// nameServer is DNS over loopback, and a certificate authority that looks there.
func withNames(t *testing.T, keys map[string]string, f func(*issuing, *simdns.Zone, *simdns.Server)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	world := outside.Real()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i := &issuing{T: t, ctx: ctx, world: world, stop: func() {}}
	api, err := simkube.Start(simkube.Options{World: world, Address: "127.0.0.1:0", PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	client, err := kubeclient.New(world, "issuer", api.Config("issuer"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	i.api = client
	zone := simdns.NewZone(nil)
	server, err := simdns.Start(simdns.Options{World: world, Log: log, Address: "127.0.0.1:0", Zone: zone, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	i.ca, err = acme.StartCA(acme.CAOptions{World: world, Log: log, Address: "127.0.0.1:0", Resolve: zone.Addresses, Text: zone.Text})
	if err != nil {
		t.Fatal(err)
	}
	defer i.ca.Close()
	i.settle(i.ca.Server)
	i.settings.ACMEDNSResolvers = []string{server.Address()}
	f(i, zone, server)
	i.stop()
}

// wildcard gets a certificate for a wildcard host, after which no record is left.
func (i *issuing) wildcard(zone *simdns.Zone) {
	i.Helper()
	i.wants(certificateFor("wild", "*.shop.example"))
	i.start()
	i.issued(50*time.Second, "wild", "any.shop.example")
	i.nothingLeft()
	if left := zone.Text("_acme-challenge.shop.example"); len(left) > 0 {
		i.Errorf("records are left: %q", left)
	}
	if strings.Contains(i.log.whole(), "c2VjcmV0") {
		i.Errorf("a secret is in the log:\n%s", i.log.whole())
	}
}

func TestAWildcardByDynamicUpdates(t *testing.T) {
	keys := map[string]string{"acme-key.": "c2VjcmV0c2VjcmV0c2VjcmV0"}
	withNames(t, keys, func(i *issuing, zone *simdns.Zone, server *simdns.Server) {
		i.settings.ACMEDNSProvider, i.settings.ACMEDNSServer = "rfc2136", server.Address()
		i.settings.ACMEDNSUser, i.settings.ACMEDNSSecret, i.settings.ACMEDNSAlgorithm = "acme-key", config.NewSecret("d3Jvbmd3cm9uZ3dyb25n"), "hmac-sha256"
		i.wants(certificateFor("wild", "*.shop.example"))
		i.start()
		i.told("wild", "its record can't be made", "DNS provider rfc2136")
		i.stop()
		i.settings.ACMEDNSSecret = config.NewSecret(keys["acme-key."])
		if err := i.api.CoreV1().Secrets("default").Delete(i.ctx, "vtm-ingress-k8s-acme", metav1.DeleteOptions{}); err != nil {
			i.Fatal(err) // its failure would be waited for
		}
		i.wildcard(zone)
	})
}

// Pebble refuses good nonces, looks for the record itself, and wants to be left alone
// between two looks.
func TestAWildcardFromPebble(t *testing.T) {
	withNames(t, nil, func(i *issuing, zone *simdns.Zone, server *simdns.Server) {
		pebble, err := acme.StartPebble(acme.PebbleOptions{
			World: i.world, Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:0", Resolver: server.Address(), BadNonces: 20, PollAfter: time.Second,
		})
		if err != nil {
			i.Fatal(err)
		}
		defer pebble.Close()
		resolvers := i.settings.ACMEDNSResolvers
		i.settle(pebble.Server)
		i.settings.ACMEDNSProvider, i.settings.ACMEDNSServer, i.settings.ACMEDNSResolvers = "rfc2136", server.Address(), resolvers
		i.settings.ACMEDNSAlgorithm = "hmac-sha256"
		i.wildcard(zone)
		i.stop()
	})
}

// recorder changes records by HTTP, as provider httpreq asks for it.
func recorder(t *testing.T, zone *simdns.Zone) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := simdns.Recorder(zone)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "" && password != "c2VjcmV0" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		recorder.ServeHTTP(w, r)
	})}
	var ended sync.WaitGroup
	ended.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Close(); ended.Wait() })
	return listener.Addr().String()
}

func TestAWildcardByHTTPRequests(t *testing.T) {
	withNames(t, nil, func(i *issuing, zone *simdns.Zone, _ *simdns.Server) {
		i.settings.ACMEDNSProvider, i.settings.ACMEDNSEndpoint = "httpreq", "http://"+recorder(i.T, zone)+"/acme"
		i.settings.ACMEDNSUser, i.settings.ACMEDNSSecret = "acme", config.NewSecret("c2VjcmV0")
		i.wildcard(zone)
	})
}

func TestAWildcardByAProgram(t *testing.T) {
	withNames(t, nil, func(i *issuing, zone *simdns.Zone, _ *simdns.Server) {
		script, err := simdns.Program(recorder(i.T, zone))
		if err != nil {
			i.Fatal(err)
		}
		program := filepath.Join(i.TempDir(), "dns.sh")
		if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
			i.Fatal(err)
		}
		i.settings.ACMEDNSProvider, i.settings.ACMEDNSProgram = "exec", program
		i.wildcard(zone)
	})
}

func TestARecordThatWasLeftBehindIsRemoved(t *testing.T) {
	withNames(t, nil, func(i *issuing, zone *simdns.Zone, server *simdns.Server) {
		i.settings.ACMEDNSProvider, i.settings.ACMEDNSServer = "rfc2136", server.Address()
		i.settings.ACMEDNSAlgorithm = "hmac-sha256"
		i.wildcard(zone)
		i.stop()
		// As of one that was killed after it had made the record for "token.print".
		i.tamper("records", `[{"host":"shop.example","token":"token","keyAuthorization":"token.print"}]`)
		const text = "geGXac0jpnr_GBoGGXIb8nnygzls1TYLC3imeqgZSLw"
		zone.AddText("_acme-challenge.shop.example", text)
		i.start()
		i.until(20*time.Second, func() string {
			if left := zone.Text("_acme-challenge.shop.example"); len(left) > 0 {
				return fmt.Sprint("left: ", left)
			}
			return ""
		})
	})
}
