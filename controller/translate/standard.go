package translate

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/vtm"
)

// KeyPair is a certificate with its private key, both PEM.
type KeyPair struct {
	Certificate, PrivateKey []byte
}

// standard is the server key that clients of shared listeners get who name no host
// that an Ingress has a certificate for: never a tenant's.
type standard struct {
	name string // of the server key; "": there is none
	// resource is what must be there for it besides the Secrets' own; nil: nothing.
	resource *vtm.Resource
	// why the Secret of the setting default_certificate is not it; "": it is, or none
	// is set.
	why string

	users map[*listener]bool // shared listeners that decrypt
	shown *vtm.Resource      // what Desired holds of resource
}

// chooseStandard finds it anew. It has no part in any Ingress's outcome.
func (t *Translator) chooseStandard(in Input) {
	name, why, resource := "", "", (*vtm.Resource)(nil)
	if setting := t.env.settings.DefaultCertificate; setting != "" {
		var secret types.NamespacedName
		secret.Namespace, secret.Name, _ = strings.Cut(setting, "/")
		name = t.env.names.serverKey(secret)
		if k := t.keys[secret]; k == nil || k.resource == nil {
			why = "the Secret " + show(setting) + " of the setting default_certificate is missing, not selected, or bad"
			if resource = in.Programmed.Keys[name]; resource == nil {
				name = "" // not even the traffic manager has it
			}
		}
	}
	if name == "" {
		name = t.env.names.ownKey()
		resource = t.env.ownKey(in)
		if resource == nil {
			name = ""
		}
	}
	if resource != nil {
		resource = t.intern(resource)
	}
	if name != t.standard.name || why != t.standard.why {
		for l := range t.standard.users {
			t.dirty[l.place.Site], l.changed = true, true
			for _, e := range l.shares {
				e.stale, t.due[e] = true, true
			}
		}
	}
	t.standard.name, t.standard.why, t.standard.resource = name, why, resource
}

// ownKey is the self-signed certificate. Its private key can't be read back, so
// that one which is there stays as it is.
func (env *environment) ownKey(in Input) *vtm.Resource {
	name := env.names.ownKey()
	if there := in.Programmed.Keys[name]; there != nil {
		return there
	}
	if in.SelfSigned == nil {
		return nil
	}
	mark := vtm.Mark{
		ID: env.settings.ControllerID, Cluster: string(env.cluster),
		Kind: "Certificate", Name: "self-signed", UID: "-",
	}
	return vtm.New(vtm.ServerKeys, name, vtm.Properties{"basic": {
		"note": mark.Format(), "public": string(in.SelfSigned.Certificate), "private": string(in.SelfSigned.PrivateKey), "request": "",
	}})
}
