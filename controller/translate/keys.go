package translate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate/model"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/mutation"
)

// serverKey is what a Secret of type kubernetes.io/tls becomes. Immutable.
type serverKey struct {
	secret *corev1.Secret // that it was made from
	// resource is nil if the Secret can't be used: why says what is wrong with it,
	// without anything that it holds.
	resource *vtm.Resource
	leaf     *x509.Certificate
	why      string
}

// secretOwner gives a Secret as an owner in the model.
func secretOwner(secret *corev1.Secret) model.Owner {
	return model.Owner{Namespace: secret.Namespace, Name: secret.Name, UID: string(secret.UID)}
}

// serverKey reads a Secret. The traffic manager takes any text for a key, and
// then serves nothing with it (vtm/rest.md §7), so that it is checked here.
func (env *environment) serverKey(secret *corev1.Secret) *serverKey {
	k := &serverKey{secret: secret}
	certificate, private := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	owner := secretOwner(secret)
	switch {
	case !lawful(owner):
		k.why = "its namespace, name or UID is not one that Kubernetes gives"
	case len(certificate) == 0:
		k.why = "it has no " + corev1.TLSCertKey
	case len(private) == 0:
		k.why = "it has no " + corev1.TLSPrivateKeyKey
	case encrypted(private):
		k.why = "its " + corev1.TLSPrivateKeyKey + " is encrypted, and nobody here knows the passphrase: store it decrypted"
	}
	if k.why != "" {
		return k
	}
	pair, err := tls.X509KeyPair(certificate, private)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		// Its text is the library's own and quotes at most the type of a PEM block.
		k.why = fmt.Sprintf("its %s and %s are no certificate and its private key: %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, show(err.Error()))
		return k
	}
	mark := env.mark(owner)
	mark.Kind = "Secret"
	k.leaf = pair.Leaf
	k.resource = vtm.New(vtm.ServerKeys, env.names.serverKey(types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}), vtm.Properties{
		"basic": {
			"note":    mark.Format(),
			"public":  string(certificate),
			"private": string(private),
			"request": "",
		},
	})
	return k
}

// encrypted reports whether a private key in PEM is, as PKCS #8 (RFC 5958) or in the
// older way (RFC 1421).
func encrypted(private []byte) bool {
	for {
		block, rest := pem.Decode(private)
		if block == nil {
			return false
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.HasSuffix(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
		private = rest
	}
}

// covers reports whether the certificate is for a host; for a wildcard, as for a name
// that it covers.
func (k *serverKey) covers(host string) bool {
	if domain, ok := strings.CutPrefix(host, "*"); ok {
		host = "any" + domain
	}
	return k.leaf.VerifyHostname(host) == nil
}

// readSecrets brings the server keys up to date, and finds the entries that name
// one that changed.
func (t *Translator) readSecrets(secrets *kube.Table[types.NamespacedName, *corev1.Secret], fresh bool) {
	read := func(name types.NamespacedName) {
		if mutation.On(mutation.RenewalIgnored) && t.keys[name] != nil && secrets.Get(name) != nil {
			return
		}
		t.dueKeys[name] = true
		for _, e := range t.secretUsers[name] {
			t.due[e] = true
		}
		secret := secrets.Get(name)
		if secret == nil {
			delete(t.keys, name)
			return
		}
		k := t.env.serverKey(secret)
		if k.resource != nil {
			k.resource = t.intern(k.resource)
		}
		t.keys[name] = k
	}
	if fresh {
		for name := range t.keys {
			if secrets.Get(name) == nil {
				read(name)
			}
		}
		for name := range secrets.Keys() {
			read(name)
		}
		return
	}
	for name := range t.snapshot.Secrets.Differing(secrets) {
		read(name)
	}
}

// serverKeyResource is what should be on the traffic manager for a Secret: its key,
// or, while it is missing or bad, the one that an Ingress which serves goes on with.
func (t *Translator) serverKeyResource(secret types.NamespacedName) *vtm.Resource {
	if k := t.keys[secret]; k != nil && k.resource != nil {
		return k.resource
	}
	for _, e := range t.secretUsers[secret] {
		if e.listener != nil && e.certificates != nil && e.certificates.kept[secret] != nil {
			return e.certificates.kept[secret] // the same for all
		}
	}
	return nil
}
