package kinds

import (
	"crypto/tls"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func secretRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Secret"),
		Resource:         "secrets",
		Singular:         "secret",
		Namespaced:       true,
		New:              newOf[corev1.Secret],
		NewList:          newOf[corev1.SecretList],

		Default: on(func(s *corev1.Secret) {
			defaultTo(&s.Type, corev1.SecretTypeOpaque)
			// stringData is write-only: it overrides data and is never stored.
			for k, v := range s.StringData {
				if s.Data == nil {
					s.Data = map[string][]byte{}
				}
				s.Data[k] = []byte(v)
			}
			s.StringData = nil
		}),

		Validate: check(validateSecret),
		ValidateUpdate: checkBoth(func(new, old *corev1.Secret) field.ErrorList {
			errs := apivalidation.ValidateImmutableField(new.Type, old.Type, field.NewPath("type"))
			if deref(old.Immutable) {
				errs = append(errs, keepImmutable(field.NewPath("immutable"), deref(new.Immutable))...)
				errs = append(errs, keepImmutable(field.NewPath("data"), same(new.Data, old.Data))...)
			}
			return errs
		}),
		Warnings: func(obj runtime.Object) []string {
			s := obj.(*corev1.Secret)
			if s.Type != corev1.SecretTypeTLS {
				return nil
			}
			// The real server stores a pair that does not fit, and says so. The
			// error names the kind of fault, never a key's content.
			if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
				return []string{err.Error()}
			}
			return nil
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			column("Type", corev1.Secret{}.SwaggerDoc()["type"]),
			column("Data", corev1.Secret{}.SwaggerDoc()["data"]),
			ageColumn(),
		},
		Row: cells(func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp.Time, now)}
		}),
		SelectableFields: selectable(true, func(s *corev1.Secret, set fields.Set) {
			set["type"] = string(s.Type)
		}),
	}
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	errs := validateNamespaced(&s.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	data := field.NewPath("data")
	size := 0
	for _, k := range keys(s.Data) {
		errs = append(errs, invalid(data.Key(k), k, validation.IsConfigMapKey(k))...)
		size += len(s.Data[k])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}

	need := func(key string) bool {
		if _, there := s.Data[key]; there {
			return true
		}
		errs = append(errs, field.Required(data.Key(key), ""))
		return false
	}
	needJSON := func(key string) {
		if !need(key) {
			return
		}
		if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
			errs = append(errs, field.Invalid(data.Key(key), "<secret contents redacted>", "must be a JSON object"))
		}
	}
	switch s.Type {
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey)
		need(corev1.TLSPrivateKeyKey)
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		needJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		needJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey)
			need(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	}
	return errs
}
