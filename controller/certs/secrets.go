package certs

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
)

// current reads the Secret of a certificate past all caches; nil if there is none.
// One that somebody else made is an error: it is never overwritten.
func (m *Manager) current(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	secret, err := m.o.Client.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("Secret %s can't be read: %w", name, err)
	case !kube.IssuedBy(secret, m.o.Settings.ControllerID) || secret.Type != corev1.SecretTypeTLS:
		return nil, fmt.Errorf("Secret %s was not made by this controller, so it is not overwritten: name another one in spec.tls, or delete it", name)
	}
	return secret, nil
}

// store puts a certificate into its Secret.
func (m *Manager) store(ctx context.Context, name types.NamespacedName, chain, key []byte) error {
	secret, err := m.current(ctx, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	api := m.o.Client.CoreV1().Secrets(name.Namespace)
	data := map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key}
	if secret == nil {
		made := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: name.Name, Namespace: name.Namespace,
				Labels: map[string]string{}, Annotations: map[string]string{kube.IssuedFor: m.o.Settings.ControllerID},
			},
			Type: corev1.SecretTypeTLS, Data: data,
		}
		// What is not selected would never be seen again.
		if selected, err := labels.ConvertSelectorToLabelsMap(m.o.Settings.SecretLabelSelector); err == nil {
			made.Labels = selected
		}
		made.Labels[managedBy] = managerName
		_, err = api.Create(ctx, made, metav1.CreateOptions{})
	} else {
		secret = secret.DeepCopy()
		secret.Data = data
		_, err = api.Update(ctx, secret, metav1.UpdateOptions{}) // refused if it changed meanwhile
	}
	if err != nil {
		return fmt.Errorf("Secret %s could not be written: %w", name, err)
	}
	return nil
}
